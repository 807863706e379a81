#include "dps_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "dps_json.h"
#include "test_dps_pki.h"

typedef struct fixture {
    char dir[64];
    dps_store *store;
    dps_service *service;
    test_cert ca, leaf;
    dps_peer peer;
} fixture;

static dps_service *new_service(dps_store *store, unsigned assign_after_s)
{
    dps_service *service = NULL;
    const dps_hubs hubs = {.names = {"hub.test"}, .count = 1};
    const dps_service_config config = {.hubs = &hubs, .retry_after_s = 3, .assign_after_s = assign_after_s};
    assert_true(dps_service_new(store, &config, &service, NULL));
    return service;
}

static void add_group(dps_store *store, const char *id, X509 *cert, const char *hub)
{
    dps_enrollment group = {.is_group = true,
                            .attestation = DPS_ATTEST_X509_SIGNING,
                            .enabled = true,
                            .update_hub = true,
                            .migrate_data = true,
                            .etag = "e"};
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    assert_true(n > 0);
    snprintf(group.id, sizeof(group.id), "%s", id);
    snprintf(group.hub, sizeof(group.hub), "%s", hub);
    group.primary = (dps_blob){der, (size_t)n};
    assert_int_equal(dps_store_enrollment_add(store, &group, NULL), DPS_STORE_OK);
    OPENSSL_free(der);
}

static int setup(void **state)
{
    char path[80];
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(path, sizeof(path), "%s/dps.db", f->dir);
    assert_true(dps_store_open(path, true, &f->store, NULL));
    f->service = new_service(f->store, 0);
    f->ca = test_cert_make(&(test_cert_spec){.cn = "CA", .ca = 1});
    f->leaf = test_cert_make(&(test_cert_spec){.cn = "Dev-1", .issuer = &f->ca, .eku = "clientAuth"});
    f->peer = (dps_peer){.leaf = f->leaf.cert, .tls_version = "TLSv1.3", .address = "test"};
    add_group(f->store, "group", f->ca.cert, "");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_service_free(&f->service);
    dps_store_close(&f->store);
    test_cert_free(&f->leaf);
    test_cert_free(&f->ca);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static dps_request a_request(const fixture *f, const char *body)
{
    return (dps_request){
        .transport = "mqtt",
        .id_scope = dps_span_of(dps_service_id_scope(f->service)),
        .registration_id = dps_span_of("dev-1"),
        .api_version = dps_span_of("2019-03-31"),
        .client_version = dps_span_of("test%2F1"),
        .body = dps_span_of(body),
    };
}

static const char *text_of(const cJSON *root, const char *path)
{
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", path);
    char *save = NULL;
    for (char *name = strtok_r(copy, ".", &save); name != NULL; name = strtok_r(NULL, ".", &save))
        root = cJSON_GetObjectItemCaseSensitive(root, name);
    assert_true(cJSON_IsString(root));
    return root->valuestring;
}

/* The error body must have its four members; returns nothing else than assertions. */
static void expect_error(dps_response *response, int status, int code, const char *message_part)
{
    assert_int_equal(response->status, status);
    assert_int_equal(response->error_code, code);
    cJSON *root = cJSON_Parse(response->body);
    assert_non_null(root);
    assert_int_equal(cJSON_GetArraySize(root), 4);
    assert_true((int)cJSON_GetNumberValue(cJSON_GetObjectItem(root, "errorCode")) == code);
    assert_int_equal(strlen(text_of(root, "trackingId")), 36);
    assert_int_equal(text_of(root, "timestampUtc")[10], 'T');
    if (strstr(text_of(root, "message"), message_part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", message_part, text_of(root, "message"));
    cJSON_Delete(root);
    dps_response_clear(response);
}

static void expect_register_error(fixture *f, const dps_request *request, int status, int code,
                                  const char *message)
{
    dps_response response;
    dps_service_register(f->service, &f->peer, request, &response);
    expect_error(&response, status, code, message);
}

/* Registers and keeps the operation id. */
static void do_register(fixture *f, const char *body, char ret_operation[DPS_OPERATION_LEN])
{
    dps_response response;
    dps_request request = a_request(f, body);
    dps_service_register(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 202);
    assert_int_equal(response.retry_after_s, 3);
    cJSON *root = cJSON_Parse(response.body);
    assert_string_equal(text_of(root, "status"), "assigning");
    snprintf(ret_operation, DPS_OPERATION_LEN, "%s", text_of(root, "operationId"));
    assert_int_equal(cJSON_GetArraySize(root), 2);
    cJSON_Delete(root);
    dps_response_clear(&response);
}

static cJSON *do_status(fixture *f, const char *operation_id)
{
    dps_response response;
    dps_request request = a_request(f, " ");
    request.operation_id = operation_id;
    dps_service_status(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 200);
    assert_int_equal(response.retry_after_s, 0);
    cJSON *root = cJSON_Parse(response.body);
    assert_non_null(root);
    dps_response_clear(&response);
    return root;
}

static void test_assigned(void **state)
{
    fixture *f = *state;
    char operation[DPS_OPERATION_LEN];
    do_register(f, "{\"registrationId\":\"DEV-1\",\"payload\":{\"model\":\"x/y\"}}", operation);
    cJSON *root = do_status(f, operation);
    assert_string_equal(text_of(root, "operationId"), operation);
    assert_string_equal(text_of(root, "status"), "assigned");
    assert_string_equal(text_of(root, "registrationState.registrationId"), "dev-1");
    assert_string_equal(text_of(root, "registrationState.deviceId"), "dev-1");
    assert_string_equal(text_of(root, "registrationState.assignedHub"), "hub.test");
    assert_string_equal(text_of(root, "registrationState.status"), "assigned");
    assert_string_equal(text_of(root, "registrationState.substatus"), "initialAssignment");
    assert_string_equal(text_of(root, "registrationState.payload.model"), "x/y");
    assert_string_equal(text_of(root, "registrationState.x509.enrollmentGroupId"), "group");
    assert_string_equal(text_of(root, "registrationState.x509.certificateInfo.subjectName"), "CN=Dev-1");
    assert_string_equal(text_of(root, "registrationState.x509.certificateInfo.issuerName"), "CN=CA");
    assert_string_equal(text_of(root, "registrationState.x509.signingCertificateInfo.subjectName"), "CN=CA");
    assert_int_equal(strlen(text_of(root, "registrationState.x509.certificateInfo.sha256Thumbprint")), 64);
    assert_string_equal(text_of(root, "registrationState.createdDateTimeUtc"),
                        text_of(root, "registrationState.lastUpdatedDateTimeUtc"));
    assert_true(strlen(text_of(root, "registrationState.etag")) > 0);
    cJSON_Delete(root);
}

static void test_again(void **state)
{
    fixture *f = *state;
    char first[DPS_OPERATION_LEN], second[DPS_OPERATION_LEN];
    do_register(f, "", first);
    cJSON *before = do_status(f, first);
    do_register(f, " \r\n", second);
    assert_string_not_equal(first, second);
    cJSON *after = do_status(f, second);
    assert_string_equal(text_of(before, "registrationState.createdDateTimeUtc"),
                        text_of(after, "registrationState.createdDateTimeUtc"));
    assert_string_not_equal(text_of(before, "registrationState.etag"),
                            text_of(after, "registrationState.etag"));
    assert_string_equal(text_of(after, "registrationState.substatus"), "initialAssignment");
    assert_string_equal(text_of(after, "registrationState.assignedHub"), "hub.test");
    cJSON_Delete(before);
    cJSON_Delete(after);
    cJSON_Delete(do_status(f, first)); /* the first operation is still known */
}

static void test_other_hub(void **state)
{
    fixture *f = *state;
    char operation[DPS_OPERATION_LEN];
    do_register(f, "", operation);
    assert_int_equal(dps_store_enrollment_delete(f->store, true, "group", NULL), DPS_STORE_OK);
    add_group(f->store, "group2", f->ca.cert, "hub2.test");
    do_register(f, "", operation);
    cJSON *root = do_status(f, operation);
    assert_string_equal(text_of(root, "registrationState.assignedHub"), "hub2.test");
    assert_string_equal(text_of(root, "registrationState.substatus"), "deviceDataMigrated");
    cJSON_Delete(root);
}

static void test_still_assigning(void **state)
{
    fixture *f = *state;
    char operation[DPS_OPERATION_LEN];
    dps_response response;
    dps_service_free(&f->service);
    f->service = new_service(f->store, 300);
    do_register(f, "", operation);
    dps_request request = a_request(f, "");
    request.operation_id = operation;
    dps_service_status(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 202);
    assert_int_equal(response.retry_after_s, 3);
    cJSON *root = cJSON_Parse(response.body);
    assert_string_equal(text_of(root, "status"), "assigning");
    assert_string_equal(text_of(root, "operationId"), operation);
    cJSON_Delete(root);
    dps_response_clear(&response);
}

static void test_bodies(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *body;
        int code;
        const char *message;
    } rows[] = {
        {"{", 400000, "not a JSON object"},
        {"[]", 400000, "not a JSON object"},
        {"\"x\"", 400000, "not a JSON object"},
        {"{} x", 400000, "not a JSON object"},
        {"{\"registrationId\":\"dev-1\\u0000x\"}", 400000, "NUL"},
        {"{\"payload\":\"\xff\"}", 400000, "UTF-8"},
        {"{\"registrationId\":\"dev-2\"}", 400004, "not the one of the connection"},
        {"{\"registrationId\":1}", 400004, "not a string"},
        {"{\"tpm\":{}}", 400004, "TPM"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_request request = a_request(f, rows[i].body);
        expect_register_error(f, &request, 400, rows[i].code, rows[i].message);
    }
    dps_request request = a_request(f, "");
    request.body = (dps_span){"{}\0", 3};
    expect_register_error(f, &request, 400, 400000, "NUL");
    char operation[DPS_OPERATION_LEN];
    do_register(f, "{\"payload\":\"\\\\u0000\"}", operation); /* a backslash and text: no NUL */
    char *big = malloc(DPS_PAYLOAD_MAX + 64);
    assert_non_null(big);
    for (int over = 0; over < 2; over++) { /* with its quotes the string has two more bytes */
        int n = snprintf(big, DPS_PAYLOAD_MAX + 64, "{\"payload\":\"%0*d\"}", DPS_PAYLOAD_MAX - 2 + over, 0);
        assert_true(n > 0);
        request = a_request(f, big);
        if (over) {
            expect_register_error(f, &request, 400, 400004, "longer than 8192");
        } else {
            do_register(f, big, operation);
            cJSON_Delete(do_status(f, operation));
        }
    }
    free(big);
    char *deep = malloc(4001);
    assert_non_null(deep);
    memset(deep, '[', 4000);
    deep[4000] = '\0';
    request = a_request(f, deep);
    expect_register_error(f, &request, 400, 400000, "not a JSON object");
    free(deep);
}

static void test_requests(void **state)
{
    fixture *f = *state;
    dps_request request = a_request(f, "");
    request.api_version = dps_span_of("2018-01-01");
    expect_register_error(f, &request, 400, 400001, "api-version");
    request.api_version = dps_span_of("");
    expect_register_error(f, &request, 400, 400001, "api-version");
    request = a_request(f, "");
    request.registration_id = dps_span_of("dev/1");
    expect_register_error(f, &request, 400, 400004, "Invalid registration id");
    char long_id[DPS_ID_MAX + 2];
    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    request.registration_id = dps_span_of(long_id);
    expect_register_error(f, &request, 400, 400004, "128");
    request = a_request(f, "");
    request.id_scope = dps_span_of("0ne00000000x");
    expect_register_error(f, &request, 401, 401002, "ID scope");
    static const char *const versions[] = {"2019-03-31", "2021-06-01", "2021-10-01"};
    for (size_t i = 0; i < 3; i++) {
        dps_response response;
        request = a_request(f, "");
        request.api_version = dps_span_of(versions[i]);
        dps_service_register(f->service, &f->peer, &request, &response);
        assert_int_equal(response.status, 202);
        dps_response_clear(&response);
    }
}

static void test_unauthorized(void **state)
{
    fixture *f = *state;
    dps_request request = a_request(f, "");
    f->peer.leaf = NULL;
    expect_register_error(f, &request, 401, 401002, "no certificate");
    test_cert stranger = test_cert_make(&(test_cert_spec){.cn = "dev-1", .eku = "clientAuth"});
    f->peer.leaf = stranger.cert;
    expect_register_error(f, &request, 401, 401002, "CA certificate not found");
    test_cert_free(&stranger);
    static const struct {
        test_cert_spec spec;
        const char *message;
    } rows[] = {
        {{.cn = "dev-2"}, "is not the registration id"},
        {{.cn = NULL}, "no common name"},
        {{.cn = "dev-1", .second_cn = "dev-2"}, "more than one common name"},
        {{.cn = "dev-1", .from_s = -20, .to_s = -10}, "has expired"},
        {{.cn = "dev-1", .from_s = 100, .to_s = 200}, "not yet valid"},
        {{.cn = "dev-1", .eku = "serverAuth"}, "client authentication"},
        {{.cn = "dev-1", .digest = "SHA1"}, "is not accepted"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        test_cert_spec spec = rows[i].spec;
        spec.issuer = &f->ca;
        test_cert cert = test_cert_make(&spec);
        f->peer.leaf = cert.cert;
        expect_register_error(f, &request, 401, 401002, rows[i].message);
        test_cert_free(&cert);
    }
    dps_refusal refusal; /* the last of them is on record */
    assert_int_equal(dps_store_refusal_get(f->store, "dev-1", &refusal), DPS_STORE_OK);
    assert_int_equal(refusal.error_code, 401002);
    assert_true(refusal.evidence.leaf.len > 0);
    dps_refusal_clear(&refusal);
}

static void test_disabled(void **state)
{
    fixture *f = *state;
    char operation[DPS_OPERATION_LEN];
    do_register(f, "", operation);
    assert_int_equal(dps_store_enrollment_enable(f->store, true, "group", false), DPS_STORE_OK);
    dps_request request = a_request(f, "");
    expect_register_error(f, &request, 401, 401002, "disabled");
    dps_response response;
    request.operation_id = operation;
    dps_service_status(f->service, &f->peer, &request, &response); /* an open connection too */
    expect_error(&response, 401, 401002, "disabled");
    assert_int_equal(dps_store_enrollment_enable(f->store, true, "group", true), DPS_STORE_OK);
    cJSON_Delete(do_status(f, operation));
    assert_int_equal(dps_store_enrollment_delete(f->store, true, "group", NULL), DPS_STORE_OK);
    request = a_request(f, "");
    expect_register_error(f, &request, 401, 401002, "CA certificate not found");
}

static void test_operations(void **state)
{
    fixture *f = *state;
    char operation[DPS_OPERATION_LEN];
    dps_response response;
    do_register(f, "", operation);
    dps_request request = a_request(f, "");
    request.operation_id = "5.unknown";
    dps_service_status(f->service, &f->peer, &request, &response);
    expect_error(&response, 404, 404202, "Operation not found");
    /* Another device must not read it. */
    test_cert other = test_cert_make(&(test_cert_spec){.cn = "dev-2", .issuer = &f->ca, .eku = "clientAuth"});
    f->peer.leaf = other.cert;
    request.registration_id = dps_span_of("dev-2");
    request.operation_id = operation;
    dps_service_status(f->service, &f->peer, &request, &response);
    expect_error(&response, 404, 404202, "Operation not found");
    test_cert_free(&other);
    dps_service_reject(f->service, DPS_ERR_INVALID_ARGUMENT, "why", &response);
    expect_error(&response, 400, 400004, "why");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_assigned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_hub, setup, teardown),
        cmocka_unit_test_setup_teardown(test_still_assigning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unauthorized, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disabled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
