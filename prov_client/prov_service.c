#include "prov_service.h"

#include "prov_base64.h"
#include "prov_json.h"
#include "prov_response.h"
#include "prov_sas.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API_VERSION      "2021-10-01"
#define HTTPS_PORT       443
#define TOKEN_LIFETIME_S 3600U
#define STEP_TIMEOUT_MS  30000U
#define RETRY_MS         1000U   /* the first pause where the service names none; it doubles */
#define RETRY_MAX_MS     60000U
#define POLICY_MAX       64U
#define PATH_MAX_CHARS   1024U

struct prov_service {
    prov_endpoint endpoint;
    prov_tls_config tls;
    prov_limits limits;
    prov_identity key; /* signs with the key of the connection string */
    char policy[POLICY_MAX + 1];
    prov_http *http;
    char *token;
    int64_t token_end_ms;
};

/* ---- keys in base64 ---- */

static bool decode_key(const char *text, size_t size, unsigned char ret_key[PROV_KEY_MAX], size_t *ret_bytes)
{
    char copy[4 * ((PROV_KEY_MAX + 2) / 3) + 1];
    bool good;

    if (size >= sizeof copy)
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    good = prov_base64_decode(copy, ret_key, PROV_KEY_MAX, ret_bytes);
    OPENSSL_cleanse(copy, sizeof copy);
    return good;
}

static kn_prov_code hmac(const unsigned char *key, size_t key_bytes, const unsigned char *data, size_t size,
                         unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    unsigned bytes = 0;

    if (!HMAC(EVP_sha256(), key, (int)key_bytes, data, size, ret_mac, &bytes) || bytes != PROV_MAC_BYTES)
        return prov_fail(error, KN_PROV_E_MEMORY, "no HMAC could be made");
    return KN_PROV_OK;
}

static kn_prov_code sign(const prov_identity *identity, const unsigned char *data, size_t size,
                         unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    return hmac(identity->key, identity->key_bytes, data, size, ret_mac, error);
}

kn_prov_code prov_device_key(const char *group_key, const char *registration_id,
                             char ret_key[PROV_DEVICE_KEY_CHARS + 1], prov_error *error)
{
    unsigned char key[PROV_KEY_MAX], mac[PROV_MAC_BYTES];
    size_t bytes;
    kn_prov_code code = prov_registration_id_check(registration_id, error);

    if (code)
        return code;
    if (!decode_key(group_key, strlen(group_key), key, &bytes))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the group's key is not base64");
    code = hmac(key, bytes, (const unsigned char *)registration_id, strlen(registration_id), mac, error);
    if (code == KN_PROV_OK)
        (void)EVP_EncodeBlock((unsigned char *)ret_key, mac, sizeof mac);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(mac, sizeof mac);
    return code;
}

/* ---- the connection string ---- */

/* The value behind "NAME=", until the next semicolon; NULL: not there, or there twice. Names are those of Microsoft's tools. */
static const char *part_of(const char *text, const char *name, size_t *ret_size)
{
    const char *found = NULL;
    size_t length = strlen(name);

    for (const char *part = text; part; part = strchr(part, ';')) {
        part += *part == ';';
        if (strncmp(part, name, length) != 0 || part[length] != '=')
            continue;
        if (found)
            return NULL;
        found = part + length + 1;
        *ret_size = strcspn(found, ";\r\n");
    }
    return found && *ret_size ? found : NULL;
}

static kn_prov_code read_connection(prov_service *s, const char *text, prov_error *error)
{
    char host[PROV_HOST_MAX + 10];
    size_t host_size = 0, policy_size = 0, key_size = 0;
    const char *host_at = part_of(text, "HostName", &host_size);
    const char *policy = part_of(text, "SharedAccessKeyName", &policy_size);
    const char *key = part_of(text, "SharedAccessKey", &key_size);

    if (strlen(text) > PROV_SERVICE_CONNECTION_MAX || !host_at || !policy || !key)
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "the connection string is not HostName=...;SharedAccessKeyName=...;SharedAccessKey=...");
    if (host_size >= sizeof host)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the connection string's HostName is too long");
    if (policy_size > POLICY_MAX ||
        strspn(policy, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") < policy_size)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the connection string's SharedAccessKeyName is no name of a policy");
    if (!decode_key(key, key_size, s->key.key, &s->key.key_bytes))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the connection string's SharedAccessKey is not base64");
    memcpy(host, host_at, host_size);
    host[host_size] = '\0';
    memcpy(s->policy, policy, policy_size);
    return prov_endpoint_parse(host, HTTPS_PORT, &s->endpoint, error);
}

kn_prov_code prov_service_open(const prov_service_config *config, prov_service **ret_service, prov_error *error)
{
    prov_service *s = calloc(1, sizeof *s);
    kn_prov_code code;

    if (!s)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the service API");
    s->key.sign = sign;
    s->limits = prov_limits_start(STEP_TIMEOUT_MS, config->timeout_ms, config->cancel);
    s->tls = (prov_tls_config){.endpoint = &s->endpoint,
                               .ca_file = config->ca_file,
                               .proxy = config->proxy,
                               .proxy_user = config->proxy_user,
                               .proxy_password = config->proxy_password};
    if ((code = read_connection(s, config->connection_string, error)) || (code = prov_http_open(&s->tls, &s->http, error)))
        prov_service_close(&s);
    else
        *ret_service = s;
    return code;
}

void prov_service_close(prov_service **service)
{
    prov_service *s = *service;

    if (!s)
        return;
    prov_http_close(&s->http);
    prov_sas_free(&s->token);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
    *service = NULL;
}

/* ---- requests ---- */

static kn_prov_code renew_token(prov_service *s, prov_error *error)
{
    if (s->token && prov_now_ms() < s->token_end_ms)
        return KN_PROV_OK;
    prov_sas_free(&s->token);
    s->token_end_ms = prov_now_ms() + (int64_t)TOKEN_LIFETIME_S * 500; /* half of its life */
    return prov_sas_make(&s->key, s->endpoint.host, s->policy, TOKEN_LIFETIME_S, &s->token, error);
}

static kn_prov_code exchange(prov_service *s, const prov_service_request *request, prov_http_answer *ret_answer,
                             prov_error *error)
{
    char path[PATH_MAX_CHARS], match[PROV_HTTP_HEADER_MAX + 16], page[PROV_HTTP_HEADER_MAX + 32];
    char authorization[PROV_SAS_TOKEN_MAX + 20];
    prov_http_request http = {
        .method = request->method,
        .path = path,
        .body = request->body ? request->body : strcmp(request->method, "POST") == 0 ? "" : NULL,
        .body_size = request->body ? strlen(request->body) : 0,
        .headers = {"Accept: application/json", "User-Agent: keynym/" KN_VERSION,
                    "Content-Type: application/json; charset=utf-8", authorization},
    };
    size_t headers = 4;
    const prov_deadline deadline = prov_deadline_of_step(&s->limits, "the service's answer");
    int length = snprintf(path, sizeof path, "%s?api-version=" API_VERSION, request->path);
    kn_prov_code code = renew_token(s, error);

    if (code)
        return code;
    if (length < 0 || (size_t)length >= sizeof path)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the name is too long");
    (void)snprintf(authorization, sizeof authorization, "Authorization: %s", s->token);
    if (request->etag) {
        (void)snprintf(match, sizeof match, "If-Match: %s", request->etag);
        http.headers[headers++] = match;
    }
    if (request->continuation && *request->continuation) {
        (void)snprintf(page, sizeof page, "x-ms-continuation: %s", request->continuation);
        http.headers[headers++] = page;
    }
    code = prov_http_exchange(s->http, &http, &deadline, ret_answer, error);
    OPENSSL_cleanse(authorization, sizeof authorization);
    return code;
}

static kn_prov_code code_of(int status)
{
    return status == 401 || status == 403 ? KN_PROV_E_UNAUTHORIZED
           : status == 404                ? KN_PROV_E_NOT_ENROLLED
           : status == 429                ? KN_PROV_E_THROTTLED
           : status >= 500                ? KN_PROV_E_SERVICE
                                          : KN_PROV_E_REFUSED;
}

/* What the service said of its refusal, as far as that can be read. */
static kn_prov_code refusal(const prov_http_answer *answer, prov_error *error)
{
    prov_response said = {.status = PROV_RESPONSE_NONE};
    prov_error ignored;
    kn_prov_code code = code_of(answer->status);

    if (!answer->body || prov_response_parse_error(answer->body, answer->body_size, &said, &ignored))
        said = (prov_response){.status = PROV_RESPONSE_NONE};
    (void)prov_fail(error, code, "HTTP status %d, error code %ld%s%s: %s", answer->status, said.error_code,
                    said.tracking_id ? ", tracking id " : "", said.tracking_id ? said.tracking_id : "",
                    said.error_message ? said.error_message : "the service gives no reason");
    prov_response_clear(&said);
    return code;
}

/* 429, and 5xx of a GET, are asked again, after what the service wants or a pause that doubles, while there is time. */
static kn_prov_code ask_until_answered(prov_service *s, const prov_service_request *request, prov_http_answer *answer,
                                       prov_error *error)
{
    uint32_t pause_ms = RETRY_MS;

    for (;;) {
        kn_prov_code code = exchange(s, request, answer, error);

        /* 429 was not begun; after a 5xx it may have been done, so only a question is asked again */
        bool again = answer->status == 429 || (answer->status >= 500 && strcmp(request->method, "GET") == 0);
        if (code || !again)
            return code;
        uint32_t wait_ms = answer->retry_after_s ? answer->retry_after_s * 1000 : pause_ms;
        if (s->limits.end_ms - prov_now_ms() <= (int64_t)wait_ms)
            return KN_PROV_OK; /* the refusal is what the caller hears */
        prov_http_answer_clear(answer);
        const prov_deadline pause = prov_deadline_of_pause(&s->limits, wait_ms);
        while (prov_deadline_left_ms(&pause) > 0) {
            prov_deadline_poll(&pause, -1, 0);
            if (s->limits.cancel && atomic_load(s->limits.cancel))
                return prov_fail(error, KN_PROV_E_CANCELLED, "stopped while the service wants a pause");
        }
        pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
    }
}

kn_prov_code prov_service_ask(prov_service *s, const prov_service_request *request, prov_service_answer *ret_answer,
                              prov_error *error)
{
    static const prov_json_rules rules = {
        .what = "the service's answer", .code = KN_PROV_E_RESPONSE, .size_max = PROV_HTTP_BODY_MAX, .depth_max = 32};
    prov_http_answer answer = {.status = 0};
    kn_prov_code code = ask_until_answered(s, request, &answer, error);

    *ret_answer = (prov_service_answer){.json = NULL};
    if (code == KN_PROV_OK && answer.status >= 300)
        code = refusal(&answer, error);
    if (code == KN_PROV_OK && answer.body_size)
        code = prov_json_parse(&rules, answer.body, answer.body_size, &ret_answer->json, error);
    if (code == KN_PROV_OK)
        memcpy(ret_answer->continuation, answer.continuation, sizeof answer.continuation);
    if (answer.body)
        OPENSSL_cleanse(answer.body, answer.body_size); /* it may hold keys */
    prov_http_answer_clear(&answer);
    return code;
}

void prov_service_answer_clear(prov_service_answer *answer)
{
    cJSON_Delete(answer->json);
    *answer = (prov_service_answer){.json = NULL};
}
