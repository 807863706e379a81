/* The device API's answers, field by field, on every transport. The shapes below were recorded from the
 * service's documentation and from what Microsoft's clients read; "<...>" stands for a format. A field more,
 * a field less or a value of another format is a failure. */
#include "integration/test_dps_amqp_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <regex.h>
#include <signal.h>
#include <time.h>

#define CERT                                                                                                 \
    "{\"subjectName\":\"<name>\",\"sha1Thumbprint\":\"<hex40>\",\"sha256Thumbprint\":\"<hex64>\","           \
    "\"issuerName\":\"<name>\",\"notBeforeUtc\":\"<second>\",\"notAfterUtc\":\"<second>\",\"serialNumber\":" \
    "\"<hex>\","                                                                                             \
    "\"version\":3}"
#define STATE                                                                                                \
    "\"registrationId\":\"<id>\",\"createdDateTimeUtc\":\"<time>\",\"assignedHub\":\"hub.example.test\","    \
    "\"deviceId\":\"<id>\",\"status\":\"assigned\",\"substatus\":\"initialAssignment\","                     \
    "\"lastUpdatedDateTimeUtc\":\"<time>\",\"etag\":\"<etag>\",\"payload\":{\"a\":[1]}"

static const char assigning[] = "{\"operationId\":\"<operation>\",\"status\":\"assigning\"}";
static const char assigned_x509[] =
    "{\"operationId\":\"<operation>\",\"status\":\"assigned\",\"registrationState\":{\"x509\":{"
    "\"certificateInfo\":" CERT ",\"enrollmentGroupId\":\"fleet\",\"signingCertificateInfo\":" CERT "}," STATE
    "}}";
static const char assigned_key[] =
    "{\"operationId\":\"<operation>\",\"status\":\"assigned\",\"registrationState\":{"
    "\"symmetricKey\":{\"enrollmentGroupId\":\"keys\"}," STATE "}}";
static const char error_shape[] =
    "{\"errorCode\":\"<number>\",\"trackingId\":\"<uuid>\",\"message\":\"<text>\","
    "\"timestampUtc\":\"<time>\"}";

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"<operation>", "^5\\.[0-9a-f]{16}\\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
    {"<uuid>", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
    {"<time>", "^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]+Z$"},
    {"<second>", "^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"},
    {"<name>", "^CN=.+$"},
    {"<hex40>", "^[0-9A-F]{40}$"},
    {"<hex64>", "^[0-9A-F]{64}$"},
    {"<hex>", "^[0-9A-F]+$"},
    {"<etag>", "^.+$"},
    {"<text>", "^.+$"},
    {"<id>", "^(cert|key)-[a-z-]+$"},
};

static bool has_format(const char *name, const char *text)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        regex_t regex;
        if (strcmp(formats[i].name, name) != 0)
            continue;
        assert_int_equal(regcomp(&regex, formats[i].pattern, REG_EXTENDED | REG_NOSUB), 0);
        bool ok = regexec(&regex, text, 0, NULL, 0) == 0;
        regfree(&regex);
        return ok;
    }
    return false;
}

/* NULL, or the name of the first member that differs. */
static const char *differs(const cJSON *shape, const cJSON *value)
{
    const char *name = shape->string != NULL ? shape->string : "the whole";
    const char *text = cJSON_GetStringValue(shape);
    if (value == NULL)
        return name;
    if (text != NULL && strcmp(text, "<number>") == 0)
        return cJSON_IsNumber(value) ? NULL : name;
    if (text != NULL && text[0] == '<')
        return cJSON_IsString(value) && has_format(text, value->valuestring) ? NULL : name;
    if (!cJSON_IsObject(shape))
        return cJSON_Compare(shape, value, true) ? NULL : name;
    if (!cJSON_IsObject(value))
        return name;
    const cJSON *item;
    cJSON_ArrayForEach(item, shape)
    {
        const char *inner = differs(item, cJSON_GetObjectItemCaseSensitive(value, item->string));
        if (inner != NULL)
            return inner;
    }
    cJSON_ArrayForEach(item, value)
    {
        if (cJSON_GetObjectItemCaseSensitive(shape, item->string) == NULL)
            return item->string;
    }
    return NULL;
}

static void expect_shape(const char *transport, const char *shape_text, const cJSON *value)
{
    cJSON *shape = cJSON_Parse(shape_text);
    assert_non_null(shape);
    const char *name = differs(shape, value);
    if (name != NULL)
        fail_msg("%s: \"%s\" is not as recorded: %s", transport, name, cJSON_PrintUnformatted(value));
    cJSON_Delete(shape);
}

/* The comparison finds what it is for. */
static void test_comparison(void **state)
{
    (void)state;
    static const char good[] = "{\"operationId\":\"5.0123456789abcdef.01234567-0123-0123-0123-0123456789ab\","
                               "\"status\":\"assigning\"}";
    static const char *const bad[] = {
        "{\"operationId\":\"5.0123456789abcdef.01234567-0123-0123-0123-0123456789ab\",\"status\":"
        "\"assigned\"}",
        "{\"operationId\":\"4.0123456789abcdef.01234567-0123-0123-0123-0123456789ab\",\"status\":"
        "\"assigning\"}",
        "{\"status\":\"assigning\"}",
        "{\"operationId\":\"5.0123456789abcdef.01234567-0123-0123-0123-0123456789ab\",\"status\":"
        "\"assigning\",\"x\":1}",
        "[]",
    };
    cJSON *shape = cJSON_Parse(assigning), *value = cJSON_Parse(good);
    assert_null(differs(shape, value));
    cJSON_Delete(value);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        value = cJSON_Parse(bad[i]);
        assert_non_null(differs(shape, value));
        cJSON_Delete(value);
    }
    cJSON_Delete(shape);
}

static server dps;
static test_cert root;
static uint8_t group_key[128];
static size_t group_key_len;

static void write_root(void)
{
    char path[96];
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
}

static int start(void **state)
{
    (void)state;
    char out[OUTPUT_MAX];
    test_dir_make(dps.dir);
    write_root();
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "keys", "--symmetric-key",
                                 "--hub", "hub.example.test", NULL),
                     0);
    assert_int_equal(run_program(out, "group", "key", "--dir", dps.dir, "--id", "keys", NULL), 0);
    out[strcspn(out, "\n")] = '\0';
    int n = EVP_DecodeBlock(group_key, (const unsigned char *)out, (int)strlen(out));
    assert_true(n > 0 && strlen(out) < 160);
    group_key_len = (size_t)n - (strstr(out, "==") != NULL ? 2u : strchr(out, '=') != NULL ? 1u : 0u);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
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

/* What a device brings. */
typedef struct identity {
    const char *id;
    const test_cert *leaf; /* NULL: none */
    char sas[512];         /* empty: none */
} identity;

typedef struct reply {
    int status;
    int retry_after; /* 0: none */
    cJSON *body;
} reply;

/* The token of a device whose key is derived from the group's. */
static void sign(identity *who)
{
    uint8_t key[32], mac[32];
    char resource[128], text[192], b64[64], encoded[160] = "";
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), group_key, (int)group_key_len, (const uint8_t *)who->id,
                         strlen(who->id), key, &n));
    snprintf(resource, sizeof(resource), "%s%%2Fregistrations%%2F%s", dps.scope, who->id);
    long long expiry = (long long)time(NULL) + 600;
    snprintf(text, sizeof(text), "%s\n%lld", resource, expiry);
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), mac, &n));
    EVP_EncodeBlock((unsigned char *)b64, mac, 32);
    for (const char *c = b64; *c != '\0'; c++) {
        size_t at = strlen(encoded);
        if (strchr("+/=", *c) != NULL)
            snprintf(encoded + at, sizeof(encoded) - at, "%%%02X", (unsigned)*c);
        else
            snprintf(encoded + at, sizeof(encoded) - at, "%c", *c);
    }
    snprintf(who->sas, sizeof(who->sas), "SharedAccessSignature sr=%s&sig=%s&se=%lld&skn=registration",
             resource, encoded, expiry);
}

static void send_connect(client *c, const identity *who)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4};
    packet p = {.n = sizeof(head)};
    char user[256];
    memcpy(p.bytes, head, sizeof(head));
    p.bytes[p.n++] = who->sas[0] != '\0' ? 0xc2 : 0x82;
    p.bytes[p.n++] = 0;
    p.bytes[p.n++] = 180;
    packet_text(&p, who->id);
    snprintf(user, sizeof(user), "%s/registrations/%s/api-version=2019-03-31&ClientVersion=test%%2F1",
             dps.scope, who->id);
    packet_text(&p, user);
    if (who->sas[0] != '\0')
        packet_text(&p, who->sas);
    packet_finish(&p, 0x10);
    client_send(c, p.bytes, p.n);
    client_expect(c, "\x20\2\0\0", 4);
}

/* The topic of the answer says status, $rid and retry-after, and nothing else. */
static void mqtt_exchange(const identity *who, const char *operation, const char *body, bool ws, reply *ret)
{
    static const uint8_t subscribe[] = "\x82\x1d\0\1\0\x18$dps/registrations/res/#\1";
    client c;
    message m;
    char expected[128];
    server at = dps;
    at.port = ws ? dps.https_port : dps.port;
    client_open(&c, &at, 0, who->leaf, NULL);
    if (ws)
        client_upgrade(&c, "MQTT");
    send_connect(&c, who);
    client_send(&c, subscribe, sizeof(subscribe) - 1);
    client_expect(&c, "\x90\3\0\1\1", 5);
    if (operation == NULL)
        client_register(&c, "r-1", body, &m);
    else
        client_poll(&c, "r-1", operation, &m);
    const char *wait = strstr(m.topic, "&retry-after=");
    ret->status = m.status;
    ret->retry_after = wait != NULL ? atoi(wait + 13) : 0;
    snprintf(expected, sizeof(expected), "$dps/registrations/res/%d/?$rid=r-1%s", m.status,
             ret->retry_after > 0 ? "&retry-after=3" : "");
    assert_string_equal(m.topic, expected);
    ret->body = cJSON_Parse(m.body);
    client_close(&c);
}

static void over_mqtt(const identity *who, const char *operation, const char *body, reply *ret)
{
    mqtt_exchange(who, operation, body, false, ret);
}

static void over_mqtt_ws(const identity *who, const char *operation, const char *body, reply *ret)
{
    mqtt_exchange(who, operation, body, true, ret);
}

static int status_of(const char *condition)
{
    static const struct {
        const char *condition;
        int status;
    } rows[] = {
        {"amqp:unauthorized-access", 401},     {"amqp:not-found", 404},
        {"com.microsoft:argument-error", 400}, {"com.microsoft:device-container-throttled", 429},
        {"amqp:internal-error", 500},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].condition, condition) == 0)
            return rows[i].status;
    }
    fail_msg("an unknown condition: %s", condition);
    return 0;
}

/* A refusal is the disposition's: its description is the JSON. */
static void amqp_exchange(const identity *who, const char *operation, const char *body, bool ws, reply *ret)
{
    amqp_peer p = {.sender = NULL};
    amqp_dialect d = amqp_npm;
    char user[192], path[192];
    server at = dps;
    at.port = ws ? dps.https_port : dps.amqp_port;
    d.sasl = who->sas[0] != '\0' ? "PLAIN" : NULL;
    snprintf(path, sizeof(path), "%s/registrations/%s", dps.scope, who->id);
    snprintf(user, sizeof(user), "%s", path);
    client_open(&p.tls, &at, 0, who->leaf, NULL);
    if (ws)
        client_upgrade(&p.tls, "AMQPWSB10");
    amqp_open(&p, &d, who->sas[0] != '\0' ? user : NULL, who->sas);
    amqp_attach(&p, &d, path);
    amqp_ask(&p, &d, operation, NULL, body);
    if (p.rejected) {
        ret->status = status_of(p.condition);
        ret->body = cJSON_Parse(p.description);
        ret->retry_after = p.retry_after;
    } else {
        ret->body = amqp_answer(&p, &d);
        ret->retry_after = amqp_retry_after(&p);
        const char *status = cJSON_GetStringValue(cJSON_GetObjectItem(ret->body, "status"));
        assert_non_null(status);
        ret->status = strcmp(status, "assigning") == 0 ? 202 : 200;
    }
    amqp_finish(&p);
}

static void over_amqp(const identity *who, const char *operation, const char *body, reply *ret)
{
    amqp_exchange(who, operation, body, false, ret);
}

static void over_amqp_ws(const identity *who, const char *operation, const char *body, reply *ret)
{
    amqp_exchange(who, operation, body, true, ret);
}

/* The header fields repeat what is in the body, and say when to ask again. */
static void over_https(const identity *who, const char *operation, const char *body, reply *ret)
{
    client c;
    char request[2048], answer[16384], code[32] = "";
    server at = dps;
    at.port = dps.https_port;
    if (operation == NULL)
        snprintf(request, sizeof(request), "PUT /%s/registrations/%s/register", dps.scope, who->id);
    else
        snprintf(request, sizeof(request), "GET /%s/registrations/%s/operations/%s", dps.scope, who->id,
                 operation);
    size_t n = strlen(request);
    n += (size_t)snprintf(request + n, sizeof(request) - n,
                          "?api-version=2019-03-31 HTTP/1.1\r\nHost: dps.test\r\nConnection: close\r\n%s%s%s"
                          "Content-Length: %zu\r\n\r\n%s",
                          who->sas[0] != '\0' ? "Authorization: " : "", who->sas,
                          who->sas[0] != '\0' ? "\r\n" : "", strlen(body), body);
    client_open(&c, &at, 0, who->leaf, NULL);
    client_send(&c, request, n);
    client_read_all(&c, answer, sizeof(answer));
    client_close(&c);
    char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    *end = '\0';
    ret->status = atoi(answer + 9);
    const char *wait = strstr(answer, "\r\nRetry-After: ");
    ret->retry_after = wait != NULL ? atoi(wait + 15) : 0;
    ret->body = cJSON_Parse(end + 4);
    assert_non_null(strstr(answer, "\r\nContent-Type: application/json; charset=utf-8"));
    assert_int_equal(strstr(answer, "\r\nLocation: https://") != NULL, ret->status == 202);
    const cJSON *error = cJSON_GetObjectItem(ret->body, "errorCode");
    if (error != NULL)
        snprintf(code, sizeof(code), "\r\nx-ms-error-code: %d", error->valueint);
    assert_int_equal(strstr(answer, "\r\nx-ms-error-code: ") != NULL, error != NULL);
    assert_non_null(strstr(answer, code));
}

static const struct {
    const char *name;
    void (*exchange)(const identity *who, const char *operation, const char *body, reply *ret);
} transports[] = {
    {"mqtt", over_mqtt},       {"mqtt-ws", over_mqtt_ws}, {"amqp", over_amqp},
    {"amqp-ws", over_amqp_ws}, {"https", over_https},
};

enum { TRANSPORTS = sizeof(transports) / sizeof(transports[0]) };

static void expect(size_t t, const identity *who, const char *operation, const char *body, int status,
                   int retry_after, const char *shape, reply *ret)
{
    *ret = (reply){.status = 0};
    transports[t].exchange(who, operation, body, ret);
    if (ret->status != status)
        fail_msg("%s: status %d: %s", transports[t].name, ret->status, cJSON_PrintUnformatted(ret->body));
    assert_int_equal(ret->retry_after, retry_after);
    expect_shape(transports[t].name, shape, ret->body);
}

static void register_and_poll(size_t t, const identity *who, const char *shape)
{
    reply first, second;
    char body[256];
    snprintf(body, sizeof(body), "{\"registrationId\":\"%s\",\"payload\":{\"a\":[1]}}", who->id);
    expect(t, who, NULL, body, 202, 3, assigning, &first);
    const char *operation = cJSON_GetStringValue(cJSON_GetObjectItem(first.body, "operationId"));
    expect(t, who, operation, "{}", 200, 0, shape, &second);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(second.body, "operationId")), operation);
    const cJSON *registration = cJSON_GetObjectItem(second.body, "registrationState");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(registration, "registrationId")), who->id);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(registration, "deviceId")), who->id);
    cJSON_Delete(first.body);
    cJSON_Delete(second.body);
}

static void test_certificates(void **state)
{
    (void)state;
    for (size_t t = 0; t < TRANSPORTS; t++) {
        char id[32];
        snprintf(id, sizeof(id), "cert-%s", transports[t].name);
        test_cert leaf = test_cert_make(&(test_cert_spec){.cn = id, .issuer = &root, .eku = "clientAuth"});
        const identity who = {.id = id, .leaf = &leaf};
        register_and_poll(t, &who, assigned_x509);
        test_cert_free(&leaf);
    }
}

static void test_symmetric_keys(void **state)
{
    (void)state;
    for (size_t t = 0; t < TRANSPORTS; t++) {
        char id[32];
        snprintf(id, sizeof(id), "key-%s", transports[t].name);
        identity who = {.id = id};
        sign(&who);
        register_and_poll(t, &who, assigned_key);
    }
}

static void test_errors(void **state)
{
    (void)state;
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "cert-a", .issuer = &root, .eku = "clientAuth"});
    test_cert stranger = test_cert_make(&(test_cert_spec){.cn = "cert-a", .eku = "clientAuth"});
    const identity good = {.id = "cert-a", .leaf = &leaf}, bad = {.id = "cert-a", .leaf = &stranger};
    const struct {
        const identity *who;
        const char *operation, *body;
        int status, code;
    } rows[] = {
        {&bad, NULL, "{}", 401, 401002},
        {&good, NULL, "{", 400, 400000},
        {&good, NULL, "{\"registrationId\":\"other\"}", 400, 400004},
        {&good, "5.0123456789abcdef.01234567-0123-0123-0123-0123456789ab", " ", 404, 404202},
    };
    for (size_t t = 0; t < TRANSPORTS; t++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            reply r;
            expect(t, rows[i].who, rows[i].operation, rows[i].body, rows[i].status, 0, error_shape, &r);
            assert_int_equal(cJSON_GetObjectItem(r.body, "errorCode")->valueint, rows[i].code);
            if (rows[i].code == 401002)
                assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(r.body, "message")),
                                    "CA certificate not found");
            cJSON_Delete(r.body);
        }
    }
    test_cert_free(&leaf);
    test_cert_free(&stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comparison),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_symmetric_keys),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
