/* DPS over HTTPS (port 443). */
#include "prov_transport.h"

#include "prov_http.h"
#include "prov_sas.h"

#include <openssl/crypto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTENT_TYPE "Content-Type: application/json; charset=utf-8"
#define USER_AGENT   "User-Agent: keynym/" KN_VERSION

struct prov_connection {
    const prov_session *session;
    prov_http *http;
    bool connected;
    char authorization[PROV_SAS_TOKEN_MAX + 20]; /* the header; "": the certificate is enough */
};

static void https_close(prov_connection *https)
{
    prov_http_close(&https->http);
    OPENSSL_cleanse(https->authorization, sizeof https->authorization);
    free(https);
}

static kn_prov_code authorize(prov_connection *https, prov_error *error)
{
    char *token;
    kn_prov_code code = prov_session_token(https->session, &token, error);

    if (code == KN_PROV_OK && token)
        (void)snprintf(https->authorization, sizeof https->authorization, "Authorization: %s", token);
    prov_sas_free(&token);
    return code;
}

static kn_prov_code https_open(const prov_session *session, prov_connection **ret_connection,
                               prov_error *error)
{
    prov_connection *https = calloc(1, sizeof *https);
    kn_prov_code code;

    if (!https)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the HTTPS connection");
    https->session = session;
    code = session->identity->activate ? KN_PROV_OK : authorize(https, error);
    if (code || (code = prov_http_open(&session->tls, &https->http, error)))
        https_close(https);
    else
        *ret_connection = https;
    return code;
}

/* /{scope}/registrations/{id}/register or .../operations/{operation}. The ':' of a registration ID may stand
 * in a path. */
static bool make_path(const prov_session *session, const char *operation_id, char *path, size_t capacity)
{
    char operation[3 * PROV_OPERATION_ID_MAX + 1] = "";
    int length;

    if (operation_id && !prov_percent_encode(operation_id, operation, sizeof operation))
        return false;
    length =
        snprintf(path, capacity, "/%s/registrations/%s/%s%s?api-version=" PROV_API_VERSION, session->id_scope,
                 session->identity->registration_id, operation_id ? "operations/" : "register", operation);
    return length > 0 && (size_t)length < capacity;
}

static kn_prov_code exchange_once(prov_connection *https, const char *operation_id, const char *body,
                                  prov_reply *ret_reply, prov_error *error)
{
    const prov_session *session = https->session;
    prov_deadline deadline =
        prov_deadline_of_step(&session->limits, operation_id ? "the answer to the status request"
                                                             : "the answer to the registration request");
    char path[1400];
    prov_http_request request = {
        .method = operation_id ? "GET" : "PUT",
        .path = path,
        .body = operation_id ? NULL : body,
        .body_size = operation_id ? 0 : strlen(body),
        .headers = {"Accept: application/json", USER_AGENT},
    };
    size_t headers = 2;
    prov_http_answer answer = {.status = 0};
    kn_prov_code code;

    if (!operation_id)
        request.headers[headers++] = CONTENT_TYPE;
    if (https->authorization[0])
        request.headers[headers++] = https->authorization;
    if (!make_path(session, operation_id, path, sizeof path))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the operation id is too long");
    if ((code = prov_http_exchange(https->http, &request, &deadline, &answer, error)))
        return code;
    if (!https->connected)
        prov_trace(session, "TLS connection with %s:%u: %s", session->endpoint.host, session->endpoint.port,
                   prov_http_description(https->http));
    https->connected = true;
    if (answer.body_size > PROV_RESPONSE_MAX) {
        code = prov_fail(error, KN_PROV_E_RESPONSE, "a response of %zu bytes, %u are allowed",
                         answer.body_size, PROV_RESPONSE_MAX);
        prov_http_answer_clear(&answer);
        return code;
    }
    *ret_reply = (prov_reply){
        .status = answer.status,
        .retry_after_s = answer.retry_after_s,
        .body = answer.body,
        .body_size = answer.body_size,
    };
    return KN_PROV_OK;
}

/* A TPM gets the key for its token in an answer 401, and asks again with it. The token is good for the status requests
 * that follow. An answer 401 that holds no key is a refusal, and left in @reply. */
static kn_prov_code answer_challenge(prov_connection *https, const char *body, prov_reply *reply,
                                     prov_error *error)
{
    const prov_identity *identity = https->session->identity;
    char *key = NULL;
    kn_prov_code code = KN_PROV_OK;

    if (reply->body_size > 0)
        code = prov_response_parse_challenge(reply->body, reply->body_size, &key, error);
    if (!key) /* what is no JSON, a gateway's page, is a refusal too: the status decides */
        return KN_PROV_OK;
    free(reply->body);
    *reply = (prov_reply){.status = 0};
    prov_trace(https->session, "the service asks the TPM for proof");
    code = prov_identity_take_key(identity, key, error);
    free(key);
    if (code == KN_PROV_OK)
        code = authorize(https, error);
    if (code == KN_PROV_OK)
        code = exchange_once(https, NULL, body, reply, error);
    return code;
}

static kn_prov_code https_exchange(prov_connection *https, const char *operation_id, const char *body,
                                   prov_reply *ret_reply, prov_error *error)
{
    bool can_prove = https->session->identity->activate && !https->authorization[0] && !operation_id;
    kn_prov_code code = exchange_once(https, operation_id, body, ret_reply, error);

    if (code == KN_PROV_OK && can_prove && ret_reply->status == 401)
        code = answer_challenge(https, body, ret_reply, error);
    return code;
}

/* Each request may have a connection of its own, so nothing needs to be kept alive. */
static kn_prov_code https_pause(prov_connection *https, uint32_t pause_ms, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_pause(&https->session->limits, pause_ms);
    kn_prov_code code;

    while ((code = prov_deadline_check(&deadline, error)) == KN_PROV_OK)
        prov_deadline_poll(&deadline, -1, 0);
    return code == KN_PROV_E_TIMEOUT && !deadline.overall ? KN_PROV_OK : code;
}

const prov_transport prov_transport_https = {
    .name = "https",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC | PROV_ATTESTATION_TPM,
    .default_port = 443,
    .connects_late = true,
    .sends_tpm_keys = true,
    .open = https_open,
    .exchange = https_exchange,
    .pause = https_pause,
    .close = https_close,
};
