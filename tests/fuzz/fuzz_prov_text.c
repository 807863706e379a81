/* Fuzz target of the client's smaller readers. The first byte says which one gets the rest. */
#include "fuzz_driver.h"

#include "prov_amqp_sasl_tpm.h"
#include "prov_json.h"
#include "prov_names.h"
#include "prov_response.h"
#include "prov_retry.h"
#include "prov_sas.h"
#include "prov_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "fuzz_prov_text: %s\n", what);
    abort();
}

/* For readers whose every outcome is right, as long as they stay within their bounds. */
static void either_way(kn_prov_code code)
{
    (void)code;
}

/* ---- a device whose TPM takes anything ---- */

static kn_prov_code take_any(const prov_identity *identity, const unsigned char *blob, size_t size,
                             prov_error *error)
{
    unsigned sum = 0;

    (void)identity, (void)error;
    require(size > 0 && size <= PROV_TPM_BLOB_MAX, "a blob of no size that a TPM takes");
    for (size_t i = 0; i < size; i++)
        sum += blob[i];
    return sum % 2 ? KN_PROV_OK : prov_fail(error, KN_PROV_E_IDENTITY, "odd");
}

static kn_prov_code sign_any(const prov_identity *identity, const unsigned char *data, size_t size,
                             unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    (void)identity, (void)error;
    memset(ret_mac, size ? data[size - 1] : 0xff, PROV_MAC_BYTES);
    return KN_PROV_OK;
}

static char id[] = "device-1";
static unsigned char public_key[] = {0, 2, 1, 2};
static const prov_identity identity = {
    .registration_id = id,
    .sign = sign_any,
    .activate = take_any,
    .endorsement_key = public_key,
    .endorsement_key_bytes = sizeof public_key,
    .storage_root_key = public_key,
    .storage_root_key_bytes = sizeof public_key,
};

/* ---- the readers; @text has a NUL behind its @size bytes ---- */

static void read_retry(const char *text, size_t size)
{
    prov_retry retry = {.failures = 77};
    prov_error error;

    if (prov_retry_parse(text, size, &retry, &error) == KN_PROV_OK)
        require(retry.failures >= 1 && retry.failures <= PROV_RETRY_FAILURES_MAX &&
                    prov_retry_pause_ms(&retry, 0) <= PROV_RETRY_PAUSE_MAX_S * 1000,
                "a retry state beyond its limits");
    else
        require(retry.failures == 77, "a retry state that was touched");
}

static void read_connection_string(const char *text, size_t size)
{
    prov_service_config config = {.connection_string = text, .timeout_ms = 1000};
    prov_service *service = NULL;
    prov_error error;

    (void)size;
    if (prov_service_open(&config, &service, &error) == KN_PROV_OK)
        prov_service_close(&service);
}

static void make_sas(const char *text, size_t size)
{
    prov_error error;
    char *token = NULL;

    if (prov_sas_make_until(&identity, text, size % 2 ? text : NULL, (int64_t)size, &token, &error) == KN_PROV_OK)
        require(strncmp(token, "SharedAccessSignature sr=", 25) == 0 && strlen(token) < PROV_SAS_TOKEN_MAX &&
                    !strpbrk(token, "\r\n"),
                "a token that is none");
    prov_sas_free(&token);
}

static void read_challenge(const char *text, size_t size)
{
    prov_error error;
    char *key = NULL;

    if (prov_response_parse_challenge(text, size, &key, &error) == KN_PROV_OK && key)
        either_way(prov_identity_take_key(&identity, key, &error));
    free(key);
    either_way(prov_identity_take_key(&identity, text, &error));
}

static void read_json(const char *text, size_t size)
{
    static const prov_json_rules rules = {
        .what = "the text", .code = KN_PROV_E_RESPONSE, .size_max = 4096, .depth_max = 8};
    prov_error error;
    cJSON *tree = NULL;
    char *value = NULL;
    long number = 0;

    if (prov_json_parse(&rules, text, size, &tree, &error) != KN_PROV_OK)
        return;
    if (prov_json_text(&rules, tree, "a", 16, &value, &error) == KN_PROV_OK && value)
        require(strlen(value) <= 16, "a text beyond its limit");
    if (prov_json_number(&rules, tree, "n", &number, &error) == KN_PROV_OK)
        require(number >= 0 && number <= 0x7fffffff, "a number beyond its limit");
    free(value);
    cJSON_Delete(tree);
}

static void read_answer(const char *text, size_t size)
{
    prov_response response = {.status = PROV_RESPONSE_NONE};
    prov_error error;

    if (prov_response_parse(text, size, &response, &error) == KN_PROV_OK)
        prov_response_clear(&response);
    response = (prov_response){.status = PROV_RESPONSE_NONE};
    if (prov_response_parse_error(text, size, &response, &error) == KN_PROV_OK)
        prov_response_clear(&response);
}

/* Messages of SASL, each with its size in front. */
static void speak_tpm(const char *text, size_t size)
{
    prov_session session = {.id_scope = "0ne00000001", .identity = &identity, .sas_lifetime_s = 60};
    prov_sasl_tpm tpm = {.session = &session};
    prov_error error;

    require(prov_sasl_tpm_start(&tpm, &error) == KN_PROV_OK, "the first message");
    for (size_t at = 0; at < size;) {
        size_t length = (unsigned char)text[at++];

        if (length > size - at)
            length = size - at;
        if (prov_sasl_tpm_next(&tpm, (const unsigned char *)text + at, length, &error) != KN_PROV_OK)
            break;
        require(tpm.answer_size > 0 && tpm.answer_size <= sizeof tpm.answer, "an answer of no size");
        at += length;
    }
    prov_sasl_tpm_clear(&tpm);
}

static void read_names(const char *text, size_t size)
{
    prov_endpoint endpoint;
    prov_error error;
    char decoded[256];

    if (prov_endpoint_parse(text, 443, &endpoint, &error) == KN_PROV_OK)
        require(endpoint.port > 0 && *endpoint.host && !strpbrk(endpoint.host, "/@ ?#\r\n"), "a bad endpoint");
    either_way(prov_registration_id_check(text, &error));
    either_way(prov_device_id_check(text, &error));
    either_way(prov_id_scope_check(text, &error));
    either_way(prov_percent_decode(text, size, decoded, sizeof decoded));
    either_way(prov_percent_encode(text, decoded, sizeof decoded));
    (void)prov_http_seconds(text, size);
}

static void (*const readers[])(const char *text, size_t size) = {
    read_retry, read_connection_string, make_sas, read_challenge, read_json, read_answer, speak_tpm, read_names};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size < 1 || size > FUZZ_INPUT_MAX)
        return 0;
    text = malloc(size);
    require(text != NULL, "out of memory");
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    readers[*data % (sizeof readers / sizeof *readers)](text, size - 1);
    free(text);
    return 0;
}

#ifndef KN_LIBFUZZER

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char *const seeds[] = {
        "\x08keynym-retry 1 3 1700000000 1700000008\n",
        "\x01HostName=dps.test:444;SharedAccessKeyName=owner;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==",
        "\x02" "0ne00000001/registrations/device-1",
        "\x03{\"message\":\"Authorization required.\",\"keyName\":\"registration\",\"authenticationKey\":"
        "\"ADQAIHR+AQIDBAUG\",\"unencryptedAuthenticationKey\":null}",
        "\x03" "ADQAIHR+AQIDBAUG",
        "\x04{\"a\":\"text \\u00e9\",\"n\":12,\"o\":[1,{\"x\":null}]}",
        "\x05{\"operationId\":\"5.1.2\",\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h.test\","
        "\"deviceId\":\"d\",\"tpm\":{\"authenticationKey\":\"ADQAIHR+\"},\"payload\":{\"a\":1}}}",
        "\x05{\"errorCode\":401002,\"trackingId\":\"t\",\"message\":\"Unauthorized\",\"timestampUtc\":\"2026\"}",
        "\x07global.azure-devices-provisioning.net:8883",
        "\x07[::1]:443",
    };
    static const char segments[] = "\x06\x01\0\x05\x80key1\x05\xc1key2", early[] = "\x06\x05\xc0key1";

    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
        add(seeds[i], strlen(seeds[i]));
    add(segments, sizeof segments - 1);
    add(early, sizeof early - 1);
}

#endif
