/* TPM attestation against the real server, over AMQP (SASL TPM, then AMQP) and HTTPS. The TPM is one in
 * software. */
#include "../support/soft_tpm.h"
#include "test_dps_amqp_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <time.h>

enum { SEGMENTS_MAX = 4 };

static server dps;
static soft_tpm tpm;

static void encode(const uint8_t *bytes, size_t n, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, bytes, (int)n);
}

static int start(void **state)
{
    (void)state;
    char path[96], text[700];
    test_dir_make(dps.dir);
    assert_true(soft_tpm_make(&tpm));
    assert_int_equal(tpm.ek.len, 316);
    assert_int_equal(tpm.srk.len, 284);
    snprintf(path, sizeof(path), "%s/ek", dps.dir);
    encode(tpm.ek.public_area, tpm.ek.len, text);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", "tpm1",
                                 "--endorsement-key-file", path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    dps.port = dps.amqp_port;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    soft_tpm_clear(&tpm);
    int code = server_stop(&dps, SIGTERM);
    test_dir_remove(dps.dir);
    return code;
}

/* Opens the blob with both keys; the 32-byte HMAC key inside. */
static void activate(const uint8_t *blob, size_t n, uint8_t hmac_key[32])
{
    assert_true(soft_tpm_activate(&tpm, blob, n));
    memcpy(hmac_key, tpm.hmac_key, sizeof tpm.hmac_key);
}

static void sign(const uint8_t hmac_key[32], char *out, size_t cap)
{
    uint8_t mac[32];
    unsigned n = 0;
    char resource[96], text[128], b64[64];
    snprintf(resource, sizeof(resource), "%s%%2fregistrations%%2ftpm1", dps.scope);
    snprintf(text, sizeof(text), "%s\n%lld", resource, (long long)time(NULL) + 600);
    assert_non_null(HMAC(EVP_sha256(), hmac_key, 32, (const uint8_t *)text, strlen(text), mac, &n));
    encode(mac, 32, b64);
    size_t at = (size_t)snprintf(out, cap, "SharedAccessSignature sr=%s&sig=", resource);
    for (const char *c = b64; *c != '\0'; c++)
        at += (size_t)(strchr("+/=", *c) != NULL ? snprintf(out + at, cap - at, "%%%02x", (unsigned)*c)
                                                 : snprintf(out + at, cap - at, "%c", *c));
    snprintf(out + at, cap - at, "&se=%s&skn=registration", strchr(text, '\n') + 1);
}

/* A SASL frame: init with mechanism and response, or a response alone; binaries of up to 64 KiB. */
static void send_sasl(client *c, bool init, const uint8_t *bytes, size_t n)
{
    uint8_t frame[1024] = {0,    0, 0, 0, 2, 1, 0, 0, 0,           0x53, init ? 0x41 : 0x43,
                           0xd0, 0, 0, 0, 0, 0, 0, 0, init ? 2 : 1};
    size_t at = 20;
    if (init) {
        memcpy(frame + at, "\xa3\3TPM", 5);
        at += 5;
    }
    const uint8_t head[] = {0xb0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(frame + at, head, 5);
    memcpy(frame + at + 5, bytes, n);
    at += 5 + n;
    frame[14] = (uint8_t)((at - 16) >> 8);
    frame[15] = (uint8_t)(at - 16);
    frame[2] = (uint8_t)(at >> 8);
    frame[3] = (uint8_t)at;
    client_send(c, frame, at);
}

/* Reads a SASL frame; its descriptor, and the one binary or ubyte that is in it. */
static uint8_t read_sasl(client *c, uint8_t *value, size_t *ret_n)
{
    uint8_t frame[1024];
    client_read(c, frame, 4);
    size_t n = (size_t)frame[2] << 8 | frame[3];
    assert_true(n > 12 && n <= sizeof(frame));
    client_read(c, frame + 4, n - 4);
    size_t at = 11 + (frame[11] == 0xc0 ? 3u : 9u);
    if (frame[at] == 0xa0) {
        *ret_n = frame[at + 1];
        memcpy(value, frame + at + 2, *ret_n);
    } else if (frame[at] == 0xb0) {
        *ret_n = (size_t)frame[at + 3] << 8 | frame[at + 4];
        memcpy(value, frame + at + 5, *ret_n);
    } else {
        *ret_n = 1;
        value[0] = frame[at + 1]; /* the outcome's ubyte; for the mechanisms nobody looks */
    }
    return frame[10];
}

/* As Microsoft's C client does it; returns the outcome's code. */
static uint8_t authenticate(client *c, const soft_tpm_key *endorsement, bool good_token)
{
    uint8_t bytes[1024], value[1024], blob[1024], hmac_key[32];
    size_t n = 0, blob_len = 0;
    char token[512];
    client_open(c, &dps, 0, NULL, NULL);
    client_send(c, "AMQP\3\1\0\0", 8);
    client_expect(c, "AMQP\3\1\0\0", 8);
    assert_int_equal(read_sasl(c, value, &n), 0x40);
    size_t len = 1 + (size_t)snprintf((char *)bytes + 1, 64, "%s", dps.scope);
    bytes[0] = 0;
    bytes[len++] = 0;
    memcpy(bytes + len, "tpm1", 5);
    len += 5;
    memcpy(bytes + len, endorsement->public_area, endorsement->len);
    send_sasl(c, true, bytes, len + endorsement->len);
    assert_int_equal(read_sasl(c, value, &n), 0x42);
    assert_true(n == 1 && value[0] == 0);
    bytes[0] = 0;
    memcpy(bytes + 1, tpm.srk.public_area, tpm.srk.len);
    send_sasl(c, false, bytes, 1 + tpm.srk.len);
    for (uint8_t sequence = 0;; sequence++) {
        uint8_t type = read_sasl(c, value, &n);
        if (type == 0x44)
            return value[0]; /* refused before the challenge */
        assert_int_equal(type, 0x42);
        assert_true(sequence < SEGMENTS_MAX && n > 1 && n <= 401);
        assert_int_equal(value[0] & 0x83, 0x80 | sequence);
        memcpy(blob + blob_len, value + 1, n - 1);
        blob_len += n - 1;
        if ((value[0] & 0x40) != 0)
            break;
        send_sasl(c, false, (const uint8_t *)"", 1);
    }
    activate(blob, blob_len, hmac_key);
    if (!good_token)
        hmac_key[0] ^= 1;
    sign(hmac_key, token, sizeof(token));
    bytes[0] = 0;
    memcpy(bytes + 1, token, strlen(token));
    send_sasl(c, false, bytes, 1 + strlen(token));
    assert_int_equal(read_sasl(c, value, &n), 0x44);
    return value[0];
}

static size_t decode(const char *text, uint8_t *out)
{
    size_t len = strlen(text);
    int n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
    assert_true(n > 0);
    return (size_t)n - (text[len - 1] == '=') - (text[len - 2] == '=');
}

/* After SASL the connection goes on as any other; the hub's key comes in a second blob. */
static void test_amqp(void **state)
{
    (void)state;
    amqp_peer p = {.sender = NULL};
    char path[96], operation[128];
    uint8_t blob[1200], hub_key[32];
    assert_int_equal(authenticate(&p.tls, &tpm.ek, true), 0);
    amqp_open(&p, &amqp_c_sdk, NULL, NULL);
    snprintf(path, sizeof(path), "%s/registrations/tpm1", dps.scope);
    amqp_attach(&p, &amqp_c_sdk, path);
    amqp_ask(&p, &amqp_c_sdk, NULL, NULL, "{\"registrationId\":\"tpm1\"}");
    if (p.rejected)
        fail_msg("%s", p.description);
    cJSON *json = amqp_answer(&p, &amqp_c_sdk);
    snprintf(operation, sizeof(operation), "%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(json, "operationId")));
    cJSON_Delete(json);
    amqp_ask(&p, &amqp_c_sdk, operation, NULL, "{}");
    json = amqp_answer(&p, &amqp_c_sdk);
    const cJSON *given = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "registrationState"), "tpm");
    const char *second = cJSON_GetStringValue(cJSON_GetObjectItem(given, "authenticationKey"));
    assert_non_null(second);
    assert_true(strlen(second) < 1500);
    activate(blob, decode(second, blob), hub_key);
    cJSON_Delete(json);
    amqp_finish(&p);
}

static void test_amqp_refused(void **state)
{
    (void)state;
    client c;
    assert_int_equal(authenticate(&c, &tpm.ek, false), 1); /* another key signed the token */
    client_close(&c);
    assert_int_equal(authenticate(&c, &tpm.srk, true), 1); /* another endorsement key */
    client_close(&c);
}

/* One request on a connection of its own; returns the status and the body. */
static int https(const char *method, const char *path, const char *sas, const char *body, cJSON **ret_body)
{
    client c;
    char request[4096], answer[16384];
    server at = dps;
    at.port = dps.https_port;
    snprintf(request, sizeof(request),
             "%s /%s/registrations/tpm1/%s?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\nConnection: "
             "close\r\n%s%s%s"
             "Content-Length: %zu\r\n\r\n%s",
             method, dps.scope, path, sas[0] != '\0' ? "Authorization: " : "", sas,
             sas[0] != '\0' ? "\r\n" : "", strlen(body), body);
    client_open(&c, &at, 0, NULL, NULL);
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    client_close(&c);
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    *ret_body = cJSON_Parse(end + 4);
    return atoi(answer + 9);
}

/* 401 with the first blob, 202 with the token, and the hub's key in the second blob. */
static void test_https(void **state)
{
    (void)state;
    char body[2048], ek_text[700], srk_text[700], token[512], path[160];
    uint8_t blob[1200], hmac_key[32];
    cJSON *json = NULL;
    encode(tpm.ek.public_area, tpm.ek.len, ek_text);
    encode(tpm.srk.public_area, tpm.srk.len, srk_text);
    snprintf(body, sizeof(body),
             "{\"registrationId\":\"tpm1\",\"tpm\":{\"endorsementKey\":\"%s\",\"storageRootKey\":\"%s\"}}",
             ek_text, srk_text);
    assert_int_equal(https("PUT", "register", "", body, &json), 401);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "keyName")), "registration");
    const char *first = cJSON_GetStringValue(cJSON_GetObjectItem(json, "authenticationKey"));
    assert_non_null(first);
    assert_null(cJSON_GetObjectItem(json, "status")); /* by its absence the C SDK knows a challenge */
    activate(blob, decode(first, blob), hmac_key);
    cJSON_Delete(json);
    sign(hmac_key, token, sizeof(token));
    assert_int_equal(https("PUT", "register", token, body, &json), 202);
    snprintf(path, sizeof(path), "operations/%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(json, "operationId")));
    cJSON_Delete(json);
    assert_int_equal(https("GET", path, token, "", &json), 200);
    const cJSON *given = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "registrationState"), "tpm");
    const char *second = cJSON_GetStringValue(cJSON_GetObjectItem(given, "authenticationKey"));
    assert_non_null(second);
    activate(blob, decode(second, blob), hmac_key);
    cJSON_Delete(json);
    hmac_key[0] ^= 1;
    sign(hmac_key, token, sizeof(token));
    assert_int_equal(https("PUT", "register", token, "{\"registrationId\":\"tpm1\"}", &json), 401);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amqp),
        cmocka_unit_test(test_amqp_refused),
        cmocka_unit_test(test_https),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
