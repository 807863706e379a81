/* The activation blob, opened with the private keys as a TPM does it (TPM 2.0 part 1, 24 and 23.3), by code
 * of its own; and TPM attestation through the service. tests/interop/tpm does the same with a software TPM.
 */
#include "dps_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "dps_service.h"
#include "test_dps_pki.h"

typedef struct tpm_key {
    EVP_PKEY *key;
    dps_blob area; /* TPM2B_PUBLIC */
    uint8_t name[34];
} tpm_key;

static tpm_key ek, srk;

static tpm_key make_key(const char *attributes, size_t policy_len)
{
    static const uint8_t parameters[] = {0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0};
    tpm_key k = {.key = EVP_RSA_gen(2048)};
    BIGNUM *n = NULL;
    assert_non_null(k.key);
    assert_int_equal(EVP_PKEY_get_bn_param(k.key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    size_t len = 10 + policy_len + sizeof(parameters) + 256;
    uint8_t *area = calloc(1, 2 + len);
    area[0] = (uint8_t)(len >> 8);
    area[1] = (uint8_t)len;
    memcpy(area + 2, "\x00\x01\x00\x0b", 4);
    memcpy(area + 6, attributes, 4);
    area[11] = (uint8_t)policy_len;
    memcpy(area + 12 + policy_len, parameters, sizeof(parameters));
    assert_int_equal(BN_bn2binpad(n, area + 12 + policy_len + sizeof(parameters), 256), 256);
    BN_free(n);
    k.area = (dps_blob){area, 2 + len};
    k.name[1] = 0x0b;
    SHA256(area + 2, len, k.name + 2);
    return k;
}

static int make_keys(void **state)
{
    (void)state;
    ek = make_key("\x00\x03\x00\xb2", 32);
    srk = make_key("\x00\x03\x04\x72", 0);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(ek.key);
    EVP_PKEY_free(srk.key);
    dps_blob_clear(&ek.area);
    dps_blob_clear(&srk.area);
    return 0;
}

static void open_seed(EVP_PKEY *key, const char *label, const uint8_t *secret, uint8_t ret_seed[32])
{
    size_t n = 256;
    uint8_t out[256];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()), 1);
    char *copy = OPENSSL_malloc(strlen(label) + 1);
    memcpy(copy, label, strlen(label) + 1);
    assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)strlen(label) + 1), 1);
    assert_int_equal(EVP_PKEY_decrypt(ctx, out, &n, secret, 256), 1);
    assert_int_equal(n, 32);
    memcpy(ret_seed, out, 32);
    EVP_PKEY_CTX_free(ctx);
}

static void kdf(const uint8_t seed[32], const char *label, const uint8_t *context, size_t context_len,
                unsigned bits, uint8_t *ret)
{
    uint8_t text[128] = {0, 0, 0, 1}, mac[32];
    size_t n = 4;
    unsigned mac_len;
    memcpy(text + n, label, strlen(label) + 1);
    n += strlen(label) + 1;
    memcpy(text + n, context, context_len);
    n += context_len;
    text[n + 2] = (uint8_t)(bits >> 8);
    text[n + 3] = (uint8_t)bits;
    HMAC(EVP_sha256(), seed, 32, text, n + 4, mac, &mac_len);
    memcpy(ret, mac, bits / 8);
}

static void decrypt(const uint8_t key[16], uint8_t *bytes, size_t n)
{
    static const uint8_t iv[16];
    int out = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv), 1);
    assert_int_equal(EVP_DecryptUpdate(ctx, bytes, &out, bytes, (int)n), 1);
    EVP_CIPHER_CTX_free(ctx);
}

/* Checks the outer HMAC and decrypts in place; returns what is behind the HMAC. */
static uint8_t *open_protected(uint8_t *sized, size_t n, const uint8_t seed[32], const uint8_t name[34])
{
    uint8_t key[32], text[256], mac[32];
    unsigned mac_len;
    assert_int_equal(sized[0] << 8 | sized[1], n);
    assert_memory_equal(sized + 2, "\0\x20", 2);
    uint8_t *data = sized + 36;
    kdf(seed, "INTEGRITY", (const uint8_t *)"", 0, 256, key);
    memcpy(text, data, n - 34);
    memcpy(text + n - 34, name, 34);
    HMAC(EVP_sha256(), key, 32, text, n, mac, &mac_len);
    assert_memory_equal(sized + 4, mac, 32);
    kdf(seed, "STORAGE", name, 34, 128, key);
    decrypt(key, data, n - 34);
    return data;
}

/* The key that is in a blob. */
static void open_blob(const dps_blob *blob, const char *uri, uint8_t ret_key[32])
{
    uint8_t seed[32], inner_key[16], id_name[34] = {0, 0x0b}, digest[32], text[128];
    const size_t uri_len = strlen(uri);
    assert_int_equal(blob->len, 764 + 2 + uri_len);
    uint8_t *b = blob->bytes;
    open_seed(ek.key, "IDENTITY", b + 56, seed);
    const uint8_t *credential = open_protected(b, 52, seed, srk.name);
    assert_memory_equal(credential, "\0\x10", 2);
    memcpy(inner_key, credential + 2, 16);

    static const uint8_t public_head[] = {0, 48, 0, 8, 0, 0x0b, 0, 4, 4, 0x40, 0, 0, 0, 5, 0, 0x0b, 0, 0x20};
    assert_memory_equal(b + 714, public_head, sizeof(public_head));
    SHA256(b + 716, 48, id_name + 2);
    open_seed(srk.key, "DUPLICATE", b + 458, seed);
    uint8_t *inner = open_protected(b + 312, 142, seed, id_name);
    decrypt(inner_key, inner, 108);
    assert_memory_equal(inner, "\0\x20", 2);
    memcpy(text, inner + 34, 74);
    memcpy(text + 74, id_name, 34);
    SHA256(text, 108, digest);
    assert_memory_equal(inner + 2, digest, 32);
    static const uint8_t sensitive_head[] = {0, 72, 0, 8, 0, 0, 0, 0x20};
    assert_memory_equal(inner + 34, sensitive_head, sizeof(sensitive_head));
    assert_memory_equal(inner + 34 + 40, "\0\x20", 2);
    SHA256(memcpy(text, inner + 42, 32), 0, digest);
    memcpy(text + 32, inner + 76, 32);
    SHA256(text, 64, digest); /* unique: seed and key */
    assert_memory_equal(b + 732, digest, 32);
    memcpy(ret_key, inner + 76, 32);
    decrypt(inner_key, b + 766, uri_len);
    assert_memory_equal(b + 766, uri, uri_len);
}

static void test_wrap(void **state)
{
    (void)state;
    dps_tpm_public e, s;
    dps_blob blob = {0};
    uint8_t key[32], got[32];
    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)(i * 5);
    assert_null(dps_tpm_parse_public(&ek.area, &e));
    assert_null(dps_tpm_parse_public(&srk.area, &s));
    assert_memory_equal(s.name, srk.name, 34);
    assert_true(dps_tpm_wrap(&e, &s, key, sizeof(key), "scope/registrations/dev", &blob));
    open_blob(&blob, "scope/registrations/dev", got);
    assert_memory_equal(got, key, 32);
    dps_blob_clear(&blob);
    assert_false(dps_tpm_wrap(&e, &s, key, 0, "u", &blob));
    uint8_t long_key[DPS_KEY_MAX + 1] = {0};
    assert_false(dps_tpm_wrap(&e, &s, long_key, sizeof(long_key), "u", &blob));
}

/* Every byte of the head matters, and so does every length. */
static void test_public(void **state)
{
    (void)state;
    dps_tpm_public p;
    static const struct {
        size_t at;
        uint8_t value;
        const char *part;
    } rows[] = {
        {0, 0, "another length"},  {3, 0x23, "not RSA"},      {5, 0x0c, "not RSA"},
        {7, 0x01, "restricted"},   {7, 0x07, "restricted"},   {9, 0xb0, "restricted"},
        {11, 65, "not complete"},  {45, 5, "AES-128-CFB"},    {46, 1, "AES-128-CFB"},
        {49, 0x44, "AES-128-CFB"}, {51, 0x14, "AES-128-CFB"}, {52, 4, "2048"},
        {56, 3, "exponent"},       {58, 0, "2048"},           {60, 0, "RSA modulus"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_blob changed = {0};
        assert_true(dps_blob_copy(ek.area.bytes, ek.area.len, &changed));
        changed.bytes[rows[i].at] = rows[i].value;
        const char *problem = dps_tpm_parse_public(&changed, &p);
        if (problem == NULL || strstr(problem, rows[i].part) == NULL)
            fail_msg("byte %zu: %s", rows[i].at, problem != NULL ? problem : "taken");
        dps_blob_clear(&changed);
    }
    for (size_t n = 0; n < ek.area.len; n++) {
        dps_blob cut = {0};
        assert_true(dps_blob_copy(ek.area.bytes, n, &cut)); /* of its exact size, for AddressSanitizer */
        assert_non_null(dps_tpm_parse_public(&cut, &p));
        if (n > 2) { /* and with a length that agrees */
            cut.bytes[0] = (uint8_t)((n - 2) >> 8);
            cut.bytes[1] = (uint8_t)(n - 2);
            assert_non_null(dps_tpm_parse_public(&cut, &p));
        }
        dps_blob_clear(&cut);
    }
}

typedef struct fixture {
    char dir[64];
    dps_store *store;
    dps_service *service;
    dps_peer peer;
} fixture;

static int setup(void **state)
{
    char path[80];
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(path, sizeof(path), "%s/dps.db", f->dir);
    assert_true(dps_store_open(path, true, &f->store, NULL));
    const dps_hubs hubs = {.names = {"hub.test"}, .count = 1};
    const dps_service_config config = {.hubs = &hubs};
    assert_true(dps_service_new(f->store, &config, &f->service, NULL));
    f->peer = (dps_peer){.tls_version = "TLSv1.3", .address = "test"};
    dps_enrollment e = {
        .id = "dev", .attestation = DPS_ATTEST_TPM, .enabled = true, .update_hub = true, .etag = "e"};
    assert_true(dps_blob_copy(ek.area.bytes, ek.area.len, &e.primary));
    assert_int_equal(dps_store_enrollment_add(f->store, &e, NULL), DPS_STORE_OK);
    dps_enrollment_clear(&e);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_service_free(&f->service);
    dps_store_close(&f->store);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

/* @e and @s may be NULL. */
static void make_body(const tpm_key *e, const tpm_key *s, char out[2048])
{
    char *e64 = dps_base64_encode(e != NULL ? e->area.bytes : (uint8_t *)"", e != NULL ? e->area.len : 0);
    char *s64 = dps_base64_encode(s != NULL ? s->area.bytes : (uint8_t *)"", s != NULL ? s->area.len : 0);
    int n = snprintf(out, 2048, "{\"registrationId\":\"dev\",\"tpm\":{");
    if (e != NULL)
        n += snprintf(out + n, 2048 - (size_t)n, "\"endorsementKey\":\"%s\"%s", e64, s != NULL ? "," : "");
    if (s != NULL)
        n += snprintf(out + n, 2048 - (size_t)n, "\"storageRootKey\":\"%s\"", s64);
    snprintf(out + n, 2048 - (size_t)n, "}}");
    free(e64);
    free(s64);
}

static dps_request a_request(const fixture *f, const char *transport, const char *body, const char *sas)
{
    return (dps_request){
        .transport = transport,
        .id_scope = dps_span_of(dps_service_id_scope(f->service)),
        .registration_id = dps_span_of("dev"),
        .api_version = dps_span_of("2021-06-01"),
        .client_version = dps_span_of("t"),
        .sas = dps_span_of(sas),
        .body = dps_span_of(body),
    };
}

static void refused(fixture *f, const char *transport, const char *body, int status, const char *part)
{
    dps_response response = {0};
    dps_request request = a_request(f, transport, body, "");
    dps_service_register(f->service, &f->peer, &request, &response);
    if (response.status != status || response.error_code == 0 || strstr(response.body, part) == NULL ||
        strstr(response.body, "authenticationKey") != NULL)
        fail_msg("%d %s", response.status, response.body);
    dps_response_clear(&response);
}

static void sign(const fixture *f, const uint8_t key[32], char out[512])
{
    uint8_t mac[32];
    char text[128], escaped[160] = "";
    snprintf(text, sizeof(text), "%s/registrations/dev\n4000000000", dps_service_id_scope(f->service));
    assert_true(dps_hmac_sha256(key, 32, text, strlen(text), mac));
    char *b64 = dps_base64_encode(mac, 32);
    for (const char *c = b64; *c != '\0'; c++)
        snprintf(escaped + strlen(escaped), sizeof(escaped) - strlen(escaped),
                 strchr("+/=", *c) != NULL ? "%%%02X" : "%c", (unsigned char)*c);
    free(b64);
    snprintf(out, 512, "SharedAccessSignature sr=%s/registrations/dev&sig=%s&se=4000000000&skn=registration",
             dps_service_id_scope(f->service), escaped);
}

static void key_in(const fixture *f, const char *b64, uint8_t ret_key[32])
{
    dps_blob blob = {0};
    char uri[64];
    snprintf(uri, sizeof(uri), "%s/registrations/dev", dps_service_id_scope(f->service));
    assert_true(dps_base64_decode(dps_span_of(b64), DPS_TPM_CHALLENGE_MAX, &blob));
    open_blob(&blob, uri, ret_key);
    dps_blob_clear(&blob);
}

static void test_service(void **state)
{
    fixture *f = *state;
    char body[2048], sas[512], operation[DPS_OPERATION_LEN];
    uint8_t key[32], hub_key[32];
    dps_response response = {0};
    make_body(&ek, &srk, body);
    dps_request request = a_request(f, "https", body, "");
    dps_service_register(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 401);
    assert_int_equal(response.error_code, 0);
    cJSON *json = cJSON_Parse(response.body);
    assert_int_equal(cJSON_GetArraySize(json), 4);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "message")),
                        "Authorization required, resend request using supplied key");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "keyName")), "registration");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "unencryptedAuthenticationKey")));
    key_in(f, cJSON_GetStringValue(cJSON_GetObjectItem(json, "authenticationKey")), key);
    cJSON_Delete(json);
    dps_response_clear(&response);

    sign(f, key, sas);
    request = a_request(f, "https", body, sas);
    dps_service_register(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 202);
    memcpy(operation, response.operation_id, sizeof(operation));
    dps_response_clear(&response);
    request.operation_id = operation;
    dps_service_status(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 200);
    json = cJSON_Parse(response.body);
    const cJSON *tpm = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "registrationState"), "tpm");
    key_in(f, cJSON_GetStringValue(cJSON_GetObjectItem(tpm, "authenticationKey")), hub_key);
    cJSON_Delete(json);
    dps_response_clear(&response);
    assert_memory_not_equal(key, hub_key, 32);
    dps_registration r; /* the hub has the second key */
    assert_int_equal(dps_store_registration_get(f->store, "dev", &r), DPS_STORE_OK);
    assert_memory_equal(r.keys[0].bytes, hub_key, 32);
    dps_registration_clear(&r);
    /* a key of two hours ago is too old */
    dps_time_set_skew_ms((int64_t)DPS_TPM_WINDOW_S * 2000);
    dps_service_register(f->service, &f->peer, &request, &response);
    dps_time_set_skew_ms(0);
    assert_int_equal(response.status, 401);
    dps_response_clear(&response);
}

static void test_refusals(void **state)
{
    fixture *f = *state;
    char body[2048];
    make_body(&ek, &srk, body);
    refused(f, "mqtt", body, 401, "no SAS token"); /* there is no TPM over MQTT */
    refused(f, "mqtt-ws", body, 401, "no SAS token");
    make_body(&srk, &srk, body);
    refused(f, "https", body, 401, "endorsement key");
    make_body(NULL, &srk, body);
    refused(f, "https", body, 401, "endorsement key");
    make_body(&ek, NULL, body);
    refused(f, "https", body, 400, "another length");
    refused(f, "https", "", 401, "endorsement key");
    refused(f, "https", "{", 400, "JSON");
    refused(f, "https", "{\"tpm\":{\"endorsementKey\":\"?\"}}", 400, "base64");
    refused(f, "https", "{\"tpm\":[]}", 400, "TPM");
    assert_int_equal(dps_store_enrollment_enable(f->store, false, "dev", false), DPS_STORE_OK);
    make_body(&ek, &srk, body);
    refused(f, "https", body, 401, "disabled");
}

/* The storage root key is asked for where it was never sent, and must be the enrollment's where that names
 * one. */
static void test_storage_root_key(void **state)
{
    fixture *f = *state;
    char body[2048], sas[512];
    uint8_t key[32];
    dps_blob secret = {0};
    dps_response response = {0};
    assert_int_equal(dps_store_tpm_secret(f->store, &secret), DPS_STORE_OK);
    assert_true(dps_tpm_nonce(&secret, "DEV", &ek.area, dps_tpm_window(dps_time_now_ms()), key));
    dps_blob_clear(&secret);
    sign(f, key, sas);
    static const char *const without[] = {"", "{\"tpm\":{}}"};
    for (size_t i = 0; i < 2; i++) {
        dps_request request = a_request(f, "https", without[i], sas);
        dps_service_register(f->service, &f->peer, &request, &response);
        if (response.status != 400 || strstr(response.body, "storageRootKey") == NULL)
            fail_msg("%d %s", response.status, response.body);
        dps_response_clear(&response);
    }
    dps_enrollment e;
    assert_int_equal(dps_store_enrollment_get(f->store, false, "dev", &e), DPS_STORE_OK);
    assert_true(dps_blob_copy(srk.area.bytes, srk.area.len, &e.secondary));
    assert_int_equal(dps_store_enrollment_update(f->store, &e, NULL, NULL), DPS_STORE_OK);
    dps_enrollment_clear(&e);
    make_body(&ek, &ek, body);
    refused(f, "https", body, 401, "storage root key");
    dps_request request = a_request(f, "https", body, sas);
    dps_service_register(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 401);
    dps_response_clear(&response);
    request = a_request(f, "https", "", sas);
    dps_service_register(f->service, &f->peer, &request, &response);
    assert_int_equal(response.status, 202);
    dps_response_clear(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_public),
        cmocka_unit_test_setup_teardown(test_service, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_storage_root_key, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
