/* The service API, field by field, over HTTPS against the real server. Requests are the bytes that
 * Microsoft's service clients send; nothing of the emulator is linked. */
#include "integration/test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION "?api-version=2021-10-01"

static server dps;
static test_cert root;
static char owner_key[64], reader_key[64];

/* SharedAccessKey of a policy. */
static void read_key(const char *policy, char out[64])
{
    char text[OUTPUT_MAX], expected[128];
    assert_int_equal(run_program(text, "connection-string", "--dir", dps.dir, "--policy", policy, NULL), 0);
    snprintf(expected, sizeof(expected),
             "HostName=localhost;SharedAccessKeyName=%s;SharedAccessKey=", policy);
    assert_memory_equal(text, expected, strlen(expected));
    snprintf(out, 64, "%.*s", (int)strcspn(text + strlen(expected), "\n"), text + strlen(expected));
}

static int start(void **state)
{
    (void)state;
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    server_start(&dps, (const char *const[]){"--https-port", "0", NULL});
    dps.port = dps.https_port;
    read_key("provisioningserviceowner", owner_key);
    read_key("enrollmentread", reader_key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_dir_remove(dps.dir);
    return code;
}

typedef struct answer {
    int status;
    char head[8192];
    char body[32 * 1024];
    cJSON *json; /* freed by the next call */
} answer;

static void sign(const char *name, const char *key64, const char *host, long long se, char out[512])
{
    unsigned char key[64], mac[32];
    char text[256], b64[64], escaped[160] = "";
    int key_len = EVP_DecodeBlock(key, (const unsigned char *)key64, (int)strlen(key64));
    assert_int_equal(key_len, 33); /* 32 bytes and what stands for "=" */
    snprintf(text, sizeof(text), "%s\n%lld", host, se);
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), key, 32, (unsigned char *)text, strlen(text), mac, &n));
    EVP_EncodeBlock((unsigned char *)b64, mac, 32);
    for (const char *c = b64; *c != '\0'; c++)
        snprintf(escaped + strlen(escaped), sizeof(escaped) - strlen(escaped),
                 strchr("+/=", *c) != NULL ? "%%%02X" : "%c", (unsigned char)*c);
    snprintf(out, 512, "SharedAccessSignature sr=%s&sig=%s&skn=%s&se=%lld", host, escaped, name, se);
}

/* One TLS connection per call, as the C SDK has it. @authorization may be NULL; @fields: more header lines.
 */
static void send_request(answer *a, const char *method, const char *path, const char *authorization,
                         const char *fields, const char *body)
{
    static char request[24 * 1024];
    client c;
    size_t n = 0;
    cJSON_Delete(a->json);
    a->json = NULL;
    snprintf(request, sizeof(request),
             "%s %s HTTP/1.1\r\nHost: localhost:%d\r\n%s%s%s%sContent-Length: %zu\r\n\r\n%s", method, path,
             dps.port, authorization != NULL ? "Authorization: " : "",
             authorization != NULL ? authorization : "", authorization != NULL ? "\r\n" : "", fields,
             strlen(body), body);
    client_open(&c, &dps, 0, NULL, NULL);
    client_send(&c, request, strlen(request));
    while (n < 4 || memcmp(a->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n + 1 < sizeof(a->head));
        client_read(&c, (uint8_t *)a->head + n++, 1);
    }
    a->head[n] = '\0';
    a->status = atoi(a->head + 9);
    const char *length = strstr(a->head, "Content-Length: ");
    size_t size = length != NULL ? (size_t)atoi(length + 16) : 0;
    assert_true(size < sizeof(a->body));
    client_read(&c, (uint8_t *)a->body, size);
    a->body[size] = '\0';
    client_close(&c);
    if (size > 0) {
        a->json = cJSON_Parse(a->body);
        assert_non_null(a->json);
    }
}

static void ask(answer *a, const char *method, const char *path, const char *fields, const char *body)
{
    char sas[512];
    sign("provisioningserviceowner", owner_key, "localhost", (long long)time(NULL) + 3600, sas);
    send_request(a, method, path, sas, fields, body);
}

static void expect(answer *a, int status, const char *method, const char *path, const char *fields,
                   const char *body)
{
    ask(a, method, path, fields, body);
    if (a->status != status)
        fail_msg("%s %s: %d %s", method, path, a->status, a->body);
}

/* The error's four members, and the header field. */
static void expect_error(const answer *a, int status, int code, const char *part)
{
    char field[64];
    if (a->status != status || (int)cJSON_GetNumberValue(cJSON_GetObjectItem(a->json, "errorCode")) != code)
        fail_msg("%d %s", a->status, a->body);
    assert_int_equal(cJSON_GetArraySize(a->json), 4);
    assert_int_equal(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(a->json, "trackingId"))), 36);
    assert_non_null(cJSON_GetStringValue(cJSON_GetObjectItem(a->json, "timestampUtc")));
    if (strstr(cJSON_GetStringValue(cJSON_GetObjectItem(a->json, "message")), part) == NULL)
        fail_msg("\"%s\" is not in %s", part, a->body);
    snprintf(field, sizeof(field), "\r\nx-ms-error-code: %d\r\n", code);
    assert_non_null(strstr(a->head, field));
}

/* The member at a dotted path; "[n]" is not needed. */
static const cJSON *at(const cJSON *json, const char *path)
{
    char copy[128], *save = NULL;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *name = strtok_r(copy, ".", &save); name != NULL; name = strtok_r(NULL, ".", &save))
        json = cJSON_GetObjectItemCaseSensitive(json, name);
    return json;
}

static void expect_text(const answer *a, const char *path, const char *value)
{
    const char *text = cJSON_GetStringValue(at(a->json, path));
    if (text == NULL || strcmp(text, value) != 0)
        fail_msg("%s is %s, not %s, in %s", path, text != NULL ? text : "missing", value, a->body);
}

static void expect_members(const cJSON *object, const char *const *names)
{
    int count = 0;
    for (; names[count] != NULL; count++) {
        if (cJSON_GetObjectItemCaseSensitive(object, names[count]) == NULL)
            fail_msg("there is no %s", names[count]);
    }
    if (cJSON_GetArraySize(object) != count)
        fail_msg("%d members, not %d", cJSON_GetArraySize(object), count);
}

static void etag_of(const answer *a, char out[64])
{
    const char *text = cJSON_GetStringValue(at(a->json, "etag"));
    assert_non_null(text);
    assert_int_equal(text[0], '"');
    snprintf(out, 64, "%s", text);
    char field[96];
    snprintf(field, sizeof(field), "\r\nETag: %s\r\n", text);
    assert_non_null(strstr(a->head, field));
}

/* base64 of the whole PEM text, as the service's clients send certificates. */
static void pem64(X509 *cert, char out[8192])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    long n = BIO_get_mem_data(bio, &text);
    assert_true(n > 0 && n < 6000);
    EVP_EncodeBlock((unsigned char *)out, (unsigned char *)text, (int)n);
    BIO_free(bio);
}

static void test_symmetric(void **state)
{
    (void)state;
    answer a = {0};
    char etag[64], fields[128];
    static const char body[] =
        "{\"registrationId\":\"Dev-S\",\"deviceId\":\"d1\",\"attestation\":{\"type\":\"symmetricKey\","
        "\"symmetricKey\":{"
        "\"primaryKey\":\"MDEyMzQ1Njc4OWFiY2RlZg==\",\"secondaryKey\":\"ZmVkY2JhOTg3NjU0MzIxMA==\"}},"
        "\"capabilities\":{\"iotEdge\":true},\"provisioningStatus\":\"enabled\",\"iotHubHostName\":\"h."
        "test\","
        "\"initialTwin\":{\"tags\":{\"a\":1},\"properties\":{\"desired\":{\"b\":2}}},"
        "\"reprovisionPolicy\":{\"updateHubAssignment\":true,\"migrateDeviceData\":false},"
        "\"allocationPolicy\":\"static\",\"iotHubs\":[\"h.test\",\"i.test\"],"
        "\"optionalDeviceInformation\":{\"x\":\"y\"},\"unknownMember\":1}";
    static const char *const members[] = {"registrationId",
                                          "deviceId",
                                          "attestation",
                                          "capabilities",
                                          "initialTwin",
                                          "etag",
                                          "provisioningStatus",
                                          "reprovisionPolicy",
                                          "allocationPolicy",
                                          "iotHubHostName",
                                          "iotHubs",
                                          "createdDateTimeUtc",
                                          "lastUpdatedDateTimeUtc",
                                          "optionalDeviceInformation",
                                          NULL};
    expect(&a, 200, "PUT", "/enrollments/dev-s" VERSION, "", body);
    expect_members(a.json, members);
    expect_text(&a, "registrationId", "Dev-S");
    expect_text(&a, "attestation.type", "symmetricKey");
    assert_null(strstr(a.body, "MDEyMzQ1")); /* keys only through attestationmechanism */
    etag_of(&a, etag);
    expect(&a, 200, "GET", "/enrollments/DEV-S" VERSION, "", "");
    expect_members(a.json, members);
    expect_text(&a, "deviceId", "d1");
    expect_text(&a, "allocationPolicy", "static");
    expect_text(&a, "iotHubHostName", "h.test");
    expect_text(&a, "optionalDeviceInformation.x", "y");
    assert_int_equal(cJSON_GetArraySize(at(a.json, "iotHubs")), 2);
    assert_true(cJSON_IsTrue(at(a.json, "capabilities.iotEdge")));
    assert_true(cJSON_IsTrue(at(a.json, "reprovisionPolicy.updateHubAssignment")));
    assert_true(cJSON_IsFalse(at(a.json, "reprovisionPolicy.migrateDeviceData")));
    assert_true(cJSON_GetNumberValue(at(a.json, "initialTwin.properties.desired.b")) == 2.0);
    assert_null(strstr(a.body, "MDEyMzQ1"));
    expect(&a, 200, "POST", "/enrollments/dev-s/attestationmechanism" VERSION, "", "");
    expect_members(a.json, (const char *const[]){"type", "symmetricKey", NULL});
    expect_text(&a, "symmetricKey.primaryKey", "MDEyMzQ1Njc4OWFiY2RlZg==");
    expect_text(&a, "symmetricKey.secondaryKey", "ZmVkY2JhOTg3NjU0MzIxMA==");

    ask(&a, "PUT", "/enrollments/dev-s" VERSION, "", body);
    expect_error(&a, 409, 409201, "exists");
    ask(&a, "PUT", "/enrollments/dev-s" VERSION, "If-Match: \"AAAAAAAAAAAAAAAAAAAAAA==\"\r\n", body);
    expect_error(&a, 412, 412201, "ETag");
    snprintf(fields, sizeof(fields), "If-Match: %s\r\n", etag);
    static const char disabled[] =
        "{\"registrationId\":\"dev-s\",\"attestation\":{\"type\":\"symmetricKey\"},"
        "\"provisioningStatus\":\"disabled\"}";
    expect(&a, 200, "PUT", "/enrollments/dev-s" VERSION, fields, disabled);
    expect_text(&a, "provisioningStatus", "disabled");
    expect_text(&a, "registrationId", "Dev-S");
    expect(&a, 200, "POST", "/enrollments/dev-s/attestationmechanism" VERSION, "", ""); /* keys stay */
    expect_text(&a, "symmetricKey.primaryKey", "MDEyMzQ1Njc4OWFiY2RlZg==");
    ask(&a, "DELETE", "/enrollments/dev-s" VERSION, fields, "");
    expect_error(&a, 412, 412201, "ETag");
    expect(&a, 200, "PUT", "/enrollments/dev-s" VERSION, "If-Match: *\r\n", disabled);
    etag_of(&a, etag);
    snprintf(fields, sizeof(fields), "If-Match: %.*s\r\n", (int)strlen(etag) - 2,
             etag + 1); /* without quotes */
    expect(&a, 204, "DELETE", "/enrollments/dev-s" VERSION, fields, "");
    assert_int_equal(a.body[0], '\0');
    ask(&a, "GET", "/enrollments/dev-s" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "DELETE", "/enrollments/dev-s" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "PUT", "/enrollments/dev-s" VERSION, "If-Match: *\r\n", disabled);
    expect_error(&a, 404, 404201, "does not exist");
    /* keys that nobody gives are made */
    expect(&a, 200, "PUT", "/enrollments/dev-s" VERSION, "",
           "{\"registrationId\":\"dev-s\",\"attestation\":{\"type\":\"symmetricKey\",\"symmetricKey\":{}}}");
    expect(&a, 200, "POST", "/enrollments/dev-s/attestationmechanism" VERSION, "", "");
    assert_int_equal(strlen(cJSON_GetStringValue(at(a.json, "symmetricKey.primaryKey"))), 44);
    cJSON_Delete(a.json);
}

static void test_x509_group(void **state)
{
    (void)state;
    answer a = {0};
    static char cert[8192], body[16384];
    pem64(root.cert, cert);
    snprintf(body, sizeof(body),
             "{\"enrollmentGroupId\":\"Fleet\",\"attestation\":{\"type\":\"x509\",\"x509\":{"
             "\"signingCertificates\":{"
             "\"primary\":{\"certificate\":\"%s\"},\"secondary\":null}}}}",
             cert);
    /* the C SDK's version of the API */
    expect(&a, 200, "PUT", "/enrollmentGroups/Fleet?api-version=2018-04-01", "", body);
    static const char *const members[] = {
        "enrollmentGroupId", "attestation",        "capabilities",           "etag", "provisioningStatus",
        "reprovisionPolicy", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", NULL};
    static const char *const info[] = {"subjectName",  "sha1Thumbprint", "sha256Thumbprint",
                                       "issuerName",   "notBeforeUtc",   "notAfterUtc",
                                       "serialNumber", "version",        NULL};
    expect(&a, 200, "GET", "/enrollmentgroups/fleet?api-version=2018-04-01", "", "");
    expect_members(a.json, members);
    expect_members(at(a.json, "attestation.x509"), (const char *const[]){"signingCertificates", NULL});
    expect_members(at(a.json, "attestation.x509.signingCertificates.primary.info"), info);
    expect_text(&a, "attestation.x509.signingCertificates.primary.info.subjectName", "CN=Root");
    /* what GET gave can be put back: the certificate is the one of the info */
    static char got[32 * 1024];
    snprintf(got, sizeof(got), "%s", a.body);
    expect(&a, 200, "PUT", "/enrollmentGroups/fleet" VERSION, "If-Match: *\r\n", got);
    expect_text(&a, "attestation.x509.signingCertificates.primary.info.subjectName", "CN=Root");
    /* and one certificate is not for two groups */
    char *id = strstr(body, "Fleet");
    memcpy(id, "Other", 5);
    ask(&a, "PUT", "/enrollmentGroups/other" VERSION, "", body);
    expect_error(&a, 409, 409201, "Fleet has this certificate");
    expect(&a, 200, "POST", "/enrollmentgroups/fleet/attestationmechanism" VERSION, "", "");
    expect_text(&a, "type", "x509");
    expect(&a, 204, "DELETE", "/enrollmentGroups/fleet" VERSION, "", "");
    cJSON_Delete(a.json);
}

static void test_bad_enrollments(void **state)
{
    (void)state;
    answer a = {0};
#define ID  "\"registrationId\":\"bad\","
#define KEY "\"attestation\":{\"type\":\"symmetricKey\"}"
    static const struct {
        const char *body;
        int code;
        const char *message;
    } rows[] = {
        {"", 400000, "JSON"},
        {"{", 400000, "JSON"},
        {"{\"a\":\"\\u0000\"}", 400000, "NUL"},
        {"[]", 400004, "id in the body"},
        {"{" KEY "}", 400004, "id in the body"},
        {"{\"registrationId\":\"other\"," KEY "}", 400004, "id in the body"},
        {"{" ID "\"x\":1}", 400004, "attestation is missing"},
        {"{" ID "\"attestation\":{\"type\":\"none\"}}", 400004, "attestation.type"},
        {"{" ID "\"attestation\":{\"type\":\"x509\"}}", 400004, "no object for its type"},
        {"{" ID "\"attestation\":{\"type\":\"x509\",\"x509\":{}}}", 400004, "exactly one"},
        {"{" ID "\"attestation\":{\"type\":\"x509\",\"x509\":{\"signingCertificates\":{}}}}", 400004,
         "clientCertificates"},
        {"{" ID "\"attestation\":{\"type\":\"x509\",\"x509\":{\"clientCertificates\":{}}}}", 400004,
         "no primary"},
        {"{" ID "\"attestation\":{\"type\":\"x509\",\"x509\":{\"clientCertificates\":{\"primary\":{"
                "\"certificate\":\"AA==\"}}}}}",
         400004, "PEM or DER"},
        {"{" ID "\"attestation\":{\"type\":\"x509\",\"x509\":{\"clientCertificates\":{\"primary\":{\"info\":{"
                "\"sha256Thumbprint\":"
         "\"00\"}}}}}}",
         400004, "PEM or DER"},
        {"{" ID "\"attestation\":{\"type\":\"symmetricKey\",\"symmetricKey\":{\"primaryKey\":\"c2hvcnQ=\"}}}",
         400004, "16 to 64"},
        {"{" ID "\"attestation\":{\"type\":\"symmetricKey\",\"symmetricKey\":{\"primaryKey\":\"!!!!\"}}}",
         400004, "16 to 64"},
        {"{" ID "\"attestation\":{\"type\":\"tpm\",\"tpm\":{}}}", 400004, "endorsementKey"},
        {"{" ID "\"attestation\":{\"type\":\"tpm\",\"tpm\":{\"endorsementKey\":\"AAAA\"}}}", 400004,
         "another length"},
        {"{" ID KEY ",\"provisioningStatus\":\"maybe\"}", 400004, "provisioningStatus"},
        {"{" ID KEY ",\"iotHubHostName\":\"a b\"}", 400004, "host name"},
        {"{" ID KEY ",\"iotHubs\":[\"ok\",\"/\"]}", 400004, "iotHubs"},
        {"{" ID KEY ",\"allocationPolicy\":\"best\"}", 400004, "allocationPolicy"},
        {"{" ID KEY ",\"allocationPolicy\":\"custom\"}", 400004, "webhookUrl"},
        {"{" ID KEY
         ",\"allocationPolicy\":\"custom\",\"customAllocationDefinition\":{\"webhookUrl\":\"http://x\"}}",
         400004, "https"},
        {"{" ID KEY ",\"initialTwin\":[]}", 400004, "initialTwin"},
        {"{" ID KEY ",\"deviceId\":\"a b\"}", 400004, "deviceId"},
        {"{" ID KEY ",\"capabilities\":{\"iotEdge\":1}}", 400004, "iotEdge"},
        {"{" ID KEY ",\"reprovisionPolicy\":true}", 400004, "reprovisionPolicy"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ask(&a, "PUT", "/enrollments/bad" VERSION, "", rows[i].body);
        expect_error(&a, 400, rows[i].code, rows[i].message);
    }
    ask(&a, "PUT", "/enrollments/a%20b" VERSION, "", "{\"registrationId\":\"a b\"," KEY "}");
    expect_error(&a, 400, 400004, "registrationId");
    ask(&a, "GET", "/enrollments/bad" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist"); /* nothing was left behind */
    cJSON_Delete(a.json);
}

static void test_authorization(void **state)
{
    (void)state;
    answer a = {0};
    char sas[512];
    const long long later = (long long)time(NULL) + 3600;
    send_request(&a, "GET", "/enrollments/x" VERSION, NULL, "", "");
    expect_error(&a, 401, 401002, "no SAS token");
    send_request(&a, "GET", "/enrollments/x" VERSION, "Bearer x", "", "");
    expect_error(&a, 401, 401002, "cannot be read");
    sign("provisioningserviceowner", owner_key, "localhost", later - 7200, sas);
    send_request(&a, "GET", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "expired");
    sign("provisioningserviceowner", owner_key, "elsewhere.test", later, sas);
    send_request(&a, "GET", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "another resource");
    sign("provisioningserviceowner", reader_key, "localhost", later, sas);
    send_request(&a, "GET", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "signature");
    sign("nobody", owner_key, "localhost", later, sas);
    send_request(&a, "GET", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "signature");
    sign("enrollmentread", reader_key, "localhost", later, sas);
    send_request(&a, "GET", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    send_request(&a, "DELETE", "/enrollments/x" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "not the right");
    send_request(&a, "POST", "/enrollments/x/attestationmechanism" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "not the right");
    send_request(&a, "GET", "/certificates" VERSION, sas, "", "");
    expect_error(&a, 401, 401002, "not the right");
    ask(&a, "GET", "/enrollments/x?api-version=2017-01-01", "", "");
    expect_error(&a, 400, 400001, "api-version");
    ask(&a, "GET", "/enrollments/x", "", "");
    expect_error(&a, 400, 400001, "api-version");
    cJSON_Delete(a.json);
}

static void test_bulk(void **state)
{
    (void)state;
    answer a = {0};
    char etag[64], body[2048];
#define BULK(mode, list) "{\"mode\":\"" mode "\",\"enrollments\":[" list "]}"
#define ONE(id)          "{\"registrationId\":\"" id "\"," KEY "}"
    expect(&a, 200, "POST", "/enrollments/" VERSION, "", BULK("create", ONE("bulk1") "," ONE("bulk2")));
    expect_members(a.json, (const char *const[]){"isSuccessful", "errors", NULL});
    assert_true(cJSON_IsTrue(at(a.json, "isSuccessful")));
    assert_int_equal(cJSON_GetArraySize(at(a.json, "errors")), 0);
    expect(&a, 200, "POST", "/enrollments/" VERSION, "", BULK("create", ONE("bulk2") "," ONE("bulk3")));
    assert_true(cJSON_IsFalse(at(a.json, "isSuccessful")));
    assert_int_equal(cJSON_GetArraySize(at(a.json, "errors")), 1);
    const cJSON *error = cJSON_GetArrayItem(at(a.json, "errors"), 0);
    expect_members(error, (const char *const[]){"registrationId", "errorCode", "errorStatus", NULL});
    assert_string_equal(cJSON_GetStringValue(at(error, "registrationId")), "bulk2");
    assert_true((int)cJSON_GetNumberValue(at(error, "errorCode")) == 409201);
    expect(&a, 200, "POST", "/enrollments/" VERSION, "", BULK("update", ONE("bulk1") "," ONE("bulk9")));
    assert_int_equal(cJSON_GetArraySize(at(a.json, "errors")), 1);
    expect(&a, 200, "GET", "/enrollments/bulk3" VERSION, "", "");
    etag_of(&a, etag);
    snprintf(body, sizeof(body),
             "{\"mode\":\"updateIfMatchETag\",\"enrollments\":[{\"registrationId\":\"bulk3\",\"etag\":\"\\%.*"
             "s\\\"\"," KEY "},{\"registrationId\":\"bulk1\",\"etag\":\"\\\"other\\\"\"," KEY
             "},{\"registrationId\":\"bulk2\"," KEY "}]}",
             (int)strlen(etag) - 1, etag);
    expect(&a, 200, "POST", "/enrollments/" VERSION, "", body);
    assert_int_equal(cJSON_GetArraySize(at(a.json, "errors")), 2);
    assert_true((int)cJSON_GetNumberValue(at(cJSON_GetArrayItem(at(a.json, "errors"), 0), "errorCode")) ==
                412201);
    expect(
        &a, 200, "POST", "/enrollments/" VERSION, "",
        BULK("delete",
             "{\"registrationId\":\"bulk1\"},{\"registrationId\":\"bulk2\"},{\"registrationId\":\"bulk3\"}"));
    assert_true(cJSON_IsTrue(at(a.json, "isSuccessful")));
    ask(&a, "POST", "/enrollments/" VERSION, "", BULK("replace", ONE("x")));
    expect_error(&a, 400, 400004, "mode");
    ask(&a, "POST", "/enrollments/" VERSION, "", BULK("create", ""));
    expect_error(&a, 400, 400004, "1 to 10");
    expect(&a, 200, "POST", "/enrollments/" VERSION, "", BULK("create", "{},7"));
    assert_int_equal(cJSON_GetArraySize(at(a.json, "errors")), 2);
    cJSON_Delete(a.json);
}

/* Follows x-ms-continuation and joins the ids. */
static void pages(const char *path, const char *query, const char *id_member, const char *type,
                  const char *max, char out[256])
{
    answer a = {0};
    char token[512] = "";
    out[0] = '\0';
    do {
        char fields[768], expected[64];
        snprintf(fields, sizeof(fields), "x-ms-max-item-count: %s\r\n%s%s%s", max,
                 token[0] != '\0' ? "x-ms-continuation: " : "", token, token[0] != '\0' ? "\r\n" : "");
        expect(&a, 200, "POST", path, fields, query);
        snprintf(expected, sizeof(expected), "\r\nx-ms-item-type: %s\r\n", type);
        assert_non_null(strstr(a.head, expected));
        const cJSON *item;
        assert_true(cJSON_IsArray(a.json));
        cJSON_ArrayForEach(item, a.json)
            snprintf(out + strlen(out), 256 - strlen(out), "%s ", cJSON_GetStringValue(at(item, id_member)));
        strcat(out, "|");
        const char *next = strstr(a.head, "\r\nx-ms-continuation: ");
        token[0] = '\0';
        if (next != NULL)
            snprintf(token, sizeof(token), "%.*s", (int)strcspn(next + 21, "\r"), next + 21);
    } while (token[0] != '\0');
    cJSON_Delete(a.json);
}

static void test_query(void **state)
{
    (void)state;
    answer a = {0};
    char ids[256];
    expect(&a, 200, "POST", "/enrollments/" VERSION, "",
           BULK("create", ONE("q-c") "," ONE("q-a") "," ONE(
                              "q-b") ",{\"registrationId\":\"q-d\",\"provisioningStatus\":"
                                     "\"disabled\"," KEY "}"));
#define Q(text) "{\"query\":\"" text "\"}"
    pages("/enrollments/query" VERSION, Q("SELECT * FROM enrollments WHERE registrationId >= 'q-'"),
          "registrationId", "Enrollment", "3", ids);
    assert_string_equal(ids, "q-a q-b q-c |q-d |");
    pages("/enrollments/query" VERSION,
          Q("select * from enrollments where provisioningStatus='disabled' and registrationId>'q'"),
          "registrationId", "Enrollment", "1", ids);
    assert_string_equal(ids, "q-d |");
    pages("/enrollmentGroups/query" VERSION, Q("SELECT * FROM enrollmentGroups"), "enrollmentGroupId",
          "EnrollmentGroup", "9", ids);
    assert_string_equal(ids, "|");
    ask(&a, "POST", "/enrollments/query" VERSION, "", Q("SELECT * FROM enrollmentGroups"));
    expect_error(&a, 400, 400004, "not about enrollments");
    ask(&a, "POST", "/enrollments/query" VERSION, "", Q("DROP TABLE enrollments"));
    expect_error(&a, 400, 400004, "SELECT");
    ask(&a, "POST", "/enrollments/query" VERSION, "", "{}");
    expect_error(&a, 400, 400004, "SELECT");
    ask(&a, "POST", "/enrollments/query" VERSION, "x-ms-max-item-count: 0\r\n",
        Q("SELECT * FROM enrollments"));
    expect_error(&a, 400, 400004, "x-ms-max-item-count");
    ask(&a, "POST", "/enrollments/query" VERSION, "x-ms-continuation: nonsense\r\n",
        Q("SELECT * FROM enrollments"));
    expect_error(&a, 400, 400004, "x-ms-continuation");
    cJSON_Delete(a.json);
}

/* A device registers; the service sees it, in the enrollment and as a registration of its group. */
static void test_registrations(void **state)
{
    (void)state;
    answer a = {0};
    client c;
    char ids[256];
    static char cert[8192], body[16384];
    test_cert dev = test_cert_make(&(test_cert_spec){.cn = "reg-1", .issuer = &root, .eku = "clientAuth"});
    pem64(root.cert, cert);
    snprintf(body, sizeof(body),
             "{\"enrollmentGroupId\":\"regs\",\"attestation\":{\"type\":\"x509\",\"x509\":{"
             "\"signingCertificates\":{"
             "\"primary\":{\"certificate\":\"%s\"}}}}}",
             cert);
    expect(&a, 200, "PUT", "/enrollmentGroups/regs" VERSION, "", body);
    client_open(&c, &dps, 0, &dev, NULL);
    snprintf(body, sizeof(body),
             "PUT /%s/registrations/reg-1/register" VERSION
             " HTTP/1.1\r\nHost: dps\r\nContent-Length: 25\r\n\r\n"
             "{\"payload\":{\"model\":\"m\"}}",
             dps.scope);
    client_send(&c, body, strlen(body));
    uint8_t first[12];
    client_read(&c, first, sizeof(first));
    assert_memory_equal(first, "HTTP/1.1 202", 12);
    client_close(&c);
    test_cert_free(&dev);

    static const char *const members[] = {
        "registrationId", "createdDateTimeUtc",     "assignedHub", "deviceId", "status",
        "substatus",      "lastUpdatedDateTimeUtc", "etag",        "payload",  NULL};
    expect(&a, 200, "GET", "/registrations/REG-1" VERSION, "", "");
    expect_members(a.json, members);
    expect_text(&a, "status", "assigned");
    expect_text(&a, "substatus", "initialAssignment");
    expect_text(&a, "payload.model", "m");
    pages("/registrations/regs/query" VERSION, "", "registrationId", "DeviceRegistration", "5", ids);
    assert_string_equal(ids, "reg-1 |");
    pages("/registrations/regs/query" VERSION, Q("SELECT * FROM registrations WHERE status = 'failed'"),
          "registrationId", "DeviceRegistration", "5", ids);
    assert_string_equal(ids, "|");
    ask(&a, "POST", "/registrations/none/query" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "DELETE", "/registrations/reg-1" VERSION, "If-Match: \"other\"\r\n", "");
    expect_error(&a, 412, 412201, "ETag");
    expect(&a, 204, "DELETE", "/registrations/reg-1" VERSION, "", "");
    ask(&a, "GET", "/registrations/reg-1" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    expect(&a, 204, "DELETE", "/enrollmentGroups/regs" VERSION, "", "");
    cJSON_Delete(a.json);
}

static void test_certificates(void **state)
{
    (void)state;
    answer a = {0};
    static char cert[8192], body[16384];
    char etag[64], code[80];
    pem64(root.cert, cert);
    snprintf(body, sizeof(body), "{\"properties\":{\"certificate\":\"%s\"}}", cert);
    expect(&a, 200, "PUT", "/certificates/our-root" VERSION, "", body);
    expect_members(a.json, (const char *const[]){"name", "etag", "properties", NULL});
    expect_members(at(a.json, "properties"), (const char *const[]){"subject", "expiry", "thumbprint",
                                                                   "isVerified", "created", "updated", NULL});
    assert_true(cJSON_IsFalse(at(a.json, "properties.isVerified")));
    ask(&a, "PUT", "/certificates/our-root" VERSION, "", body);
    expect_error(&a, 409, 409201, "exists");
    ask(&a, "POST", "/certificates/our-root/verify" VERSION, "", body);
    expect_error(&a, 400, 400004, "no verification code");
    expect(&a, 200, "POST", "/certificates/our-root/generateVerificationCode" VERSION, "", "");
    snprintf(code, sizeof(code), "%s", cJSON_GetStringValue(at(a.json, "properties.verificationCode")));
    assert_int_equal(strlen(code), 64);
    snprintf(etag, sizeof(etag), "%s", cJSON_GetStringValue(at(a.json, "etag")));
    expect(&a, 200, "GET", "/certificates/our-root" VERSION, "", "");
    assert_null(at(a.json, "properties.verificationCode"));
    /* a proof by another key, one for another code, then the right one */
    test_cert other = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    test_cert wrong_key = test_cert_make(&(test_cert_spec){.cn = code, .issuer = &other});
    test_cert wrong_code = test_cert_make(&(test_cert_spec){.cn = "0000", .issuer = &root});
    test_cert right = test_cert_make(&(test_cert_spec){.cn = code, .issuer = &root});
    const struct {
        test_cert *proof;
        const char *message;
    } rows[] = {{&wrong_key, "not signed by the key"}, {&wrong_code, "common name"}, {&right, NULL}};
    for (size_t i = 0; i < 3; i++) {
        pem64(rows[i].proof->cert, cert);
        snprintf(body, sizeof(body), "{\"certificate\":\"%s\"}", cert);
        ask(&a, "POST", "/certificates/our-root/verify" VERSION, "", body);
        if (rows[i].message != NULL)
            expect_error(&a, 400, 400004, rows[i].message);
        else
            assert_true(cJSON_IsTrue(at(a.json, "properties.isVerified")));
        test_cert_free(rows[i].proof);
    }
    test_cert_free(&other);
    expect(&a, 200, "GET", "/certificates" VERSION, "", "");
    assert_int_equal(cJSON_GetArraySize(at(a.json, "value")), 1);
    ask(&a, "DELETE", "/certificates/our-root" VERSION, "If-Match: \"other\"\r\n", "");
    expect_error(&a, 412, 412201, "ETag");
    expect(&a, 204, "DELETE", "/certificates/our-root" VERSION, "", "");
    ask(&a, "GET", "/certificates/our-root" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "PUT", "/certificates/x" VERSION, "", "{\"properties\":{}}");
    expect_error(&a, 400, 400004, "PEM or DER");
    cJSON_Delete(a.json);
}

/* What nobody sends by mistake: an answer, and the server is there for the next one. */
static void test_hostile(void **state)
{
    (void)state;
    answer a = {0};
    static char big[20000], path[512];
    memset(big, '[', sizeof(big) - 1);
    ask(&a, "PUT", "/enrollments/bad" VERSION, "", big);
    expect_error(&a, 400, 400000, "JSON");
    snprintf(big, sizeof(big), "{\"query\":\"SELECT * FROM enrollments WHERE ");
    memset(big + strlen(big), '(', 3000);
    strcpy(big + 3030, "\"}");
    ask(&a, "POST", "/enrollments/query" VERSION, "", big);
    expect_error(&a, 400, 400004, "query");
    memset(big, 'x', sizeof(big));
    snprintf(path, sizeof(path), "/enrollments/%.300s" VERSION, big);
    ask(&a, "GET", path, "", "");
    expect_error(&a, 400, 400004, "path");
    ask(&a, "GET", "/enrollments/%00" VERSION, "", "");
    expect_error(&a, 400, 400004, "path");
    ask(&a, "GET", "/enrollments/%2e%2e%2fdps.db" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "GET", "/enrollments/x'%20OR%201=1--" VERSION, "", "");
    expect_error(&a, 404, 404201, "does not exist");
    ask(&a, "PUT", "/enrollments/x" VERSION,
        "If-Match: \"a very long ETag that nobody ever gave to anybody at all\"\r\n", "{}");
    expect_error(&a, 412, 412201, "If-Match");
    ask(&a, "PATCH", "/enrollments/x" VERSION, "", "");
    assert_int_equal(a.status, 405);
    ask(&a, "PUT", "/enrollments/x" VERSION, "", "\xff\xfe");
    expect_error(&a, 400, 400000, "UTF-8");
    cJSON_Delete(a.json);
}

static void test_connection_file(void **state)
{
    (void)state;
    char path[96], out[OUTPUT_MAX];
    struct stat st;
    snprintf(path, sizeof(path), "%s/cs", dps.dir);
    assert_int_equal(
        run_program(out, "connection-string", "--dir", dps.dir, "--host", "dps.test", "--out", path, NULL),
        0);
    assert_string_equal(out, "");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(run_program(out, "connection-string", "--dir", dps.dir, "--out", path, NULL),
                     4); /* never overwrites */
    assert_int_equal(run_program(out, "connection-string", "--dir", dps.dir, "--policy", "nobody", NULL), 3);
    assert_int_equal(run_program(out, "connection-string", "--dir", dps.dir, "--host", "a b", NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symmetric),
        cmocka_unit_test(test_x509_group),
        cmocka_unit_test(test_bad_enrollments),
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_registrations),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_connection_file),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
