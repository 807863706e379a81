/* The hub over HTTPS (port 443): telemetry, and messages to the device by asking for them. It has no twin. */
#include "hub_transport.h"
#include "prov_http.h"
#include "prov_sas.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 1000U
#define POLL_MS        5000U /* between two questions for messages */
#define USER_AGENT     "User-Agent: keynym/" KN_VERSION

struct hub_connection {
    const prov_session *session;
    prov_http *http;
    int64_t poll_at_ms;
    char authorization[PROV_SAS_TOKEN_MAX + 20]; /* the header; "": the certificate is enough */
};

static void https_close(hub_connection *https)
{
    prov_http_close(&https->http);
    OPENSSL_cleanse(https->authorization, sizeof https->authorization);
    free(https);
}

/* Asks for @path with @body, NULL: none. */
static kn_prov_code ask(hub_connection *https, const char *method, const char *path,
                        const kn_hub_message *message, prov_http_answer *ret_answer, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&https->session->limits, "the hub's answer");
    char type[300];
    prov_http_request request = {
        .method = method, .path = path, .headers = {"Accept: application/json", USER_AGENT}};
    size_t headers = 2;

    if (https->authorization[0])
        request.headers[headers++] = https->authorization;
    if (message) {
        (void)snprintf(type, sizeof type, "Content-Type: %s",
                       message->content_type ? message->content_type : "application/octet-stream");
        request.headers[headers++] = type;
        request.body = message->body;
        request.body_size = message->body_size;
    }
    return prov_http_exchange(https->http, &request, &deadline, ret_answer, error);
}

static kn_prov_code fail_by_status(const char *what, prov_http_answer *answer, prov_error *error)
{
    kn_prov_code code = answer->status == 401 || answer->status == 403 ? KN_PROV_E_UNAUTHORIZED
                        : answer->status == 404                        ? KN_PROV_E_NOT_ENROLLED
                        : answer->status == 429                        ? KN_PROV_E_THROTTLED
                        : answer->status >= 500                        ? KN_PROV_E_SERVICE
                                                                       : KN_PROV_E_REFUSED;

    code = prov_fail(error, code, "%s: HTTP status %d: %.300s", what, answer->status,
                     answer->body ? answer->body : "");
    prov_http_answer_clear(answer);
    return code;
}

/* No request says only "I am here", so the first question for messages proves the identity. */
static kn_prov_code https_open(const prov_session *session, hub_connection **ret_connection,
                               prov_error *error)
{
    hub_connection *https = calloc(1, sizeof *https);
    char *token = NULL;
    kn_prov_code code;

    if (!https)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the HTTPS connection");
    https->session = session;
    code = prov_session_token(session, &token, error);
    if (code == KN_PROV_OK && token)
        (void)snprintf(https->authorization, sizeof https->authorization, "Authorization: %s", token);
    prov_sas_free(&token);
    if (code == KN_PROV_OK)
        code = prov_http_open(&session->tls, &https->http, error);
    if (code)
        https_close(https);
    else
        *ret_connection = https;
    return code;
}

static kn_prov_code https_send(hub_connection *https, const kn_hub_message *message, prov_error *error)
{
    char path[PATH_MAX_BYTES];
    prov_http_answer answer = {.status = 0};
    kn_prov_code code;

    if (message->properties && *message->properties)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "HTTPS carries no properties here; use mqtt or amqp");
    (void)snprintf(path, sizeof path, "/devices/%s/messages/events?api-version=" HUB_API_VERSION,
                   https->session->device_id);
    if ((code = ask(https, "POST", path, message, &answer, error)))
        return code;
    if (answer.status != 204 && answer.status != 200)
        return fail_by_status("the message", &answer, error);
    prov_http_answer_clear(&answer);
    return KN_PROV_OK;
}

/* The lock token of a message is its ETag, which may have quotes around it. */
static kn_prov_code complete(hub_connection *https, const char *etag, prov_error *error)
{
    size_t from = etag[0] == '"', size = strlen(etag) - from;
    char path[PATH_MAX_BYTES], plain[PROV_HTTP_HEADER_MAX], token[3 * PROV_HTTP_HEADER_MAX];
    prov_http_answer answer = {.status = 0};
    kn_prov_code code;
    int length;

    if (size > 0 && etag[from + size - 1] == '"')
        size--;
    (void)snprintf(plain, sizeof plain, "%.*s", (int)size, etag + from);
    if (!prov_percent_encode(plain, token, sizeof token))
        token[0] = '\0';
    length = snprintf(path, sizeof path, "/devices/%s/messages/devicebound/%s?api-version=" HUB_API_VERSION,
                      https->session->device_id, token);
    if (!*token || length < 0 || (size_t)length >= sizeof path)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "a message without a lock token");
    if ((code = ask(https, "DELETE", path, NULL, &answer, error)))
        return code;
    if (answer.status != 204 && answer.status != 200)
        return fail_by_status("completing a message", &answer, error);
    prov_http_answer_clear(&answer);
    return KN_PROV_OK;
}

/* 200 with a message, or 204. */
static kn_prov_code fetch(hub_connection *https, hub_incoming *ret_incoming, bool *ret_taken,
                          prov_error *error)
{
    char path[PATH_MAX_BYTES];
    prov_http_answer answer = {.status = 0};
    hub_incoming incoming = {.kind = KN_HUB_MESSAGE};
    kn_prov_code code;

    *ret_taken = false;
    (void)snprintf(path, sizeof path, "/devices/%s/messages/devicebound?api-version=" HUB_API_VERSION,
                   https->session->device_id);
    if ((code = ask(https, "GET", path, NULL, &answer, error)))
        return code;
    if (answer.status != 200 && answer.status != 204)
        return fail_by_status("messages to the device", &answer, error);
    if (answer.status == 200) {
        code = hub_copy(answer.body ? answer.body : "", answer.body_size, &incoming.body, error);
        incoming.body_size = answer.body_size;
        if (code == KN_PROV_OK)
            code = complete(https, answer.etag, error);
        if (code)
            hub_incoming_clear(&incoming);
        else
            *ret_incoming = incoming;
        *ret_taken = code == KN_PROV_OK;
    }
    prov_http_answer_clear(&answer);
    return code;
}

static kn_prov_code https_receive(hub_connection *https, const prov_deadline *deadline,
                                  hub_incoming *ret_incoming, prov_error *error)
{
    bool taken;
    kn_prov_code code;

    for (;;) {
        while (prov_now_ms() < https->poll_at_ms) {
            if ((code = prov_deadline_check(deadline, error)))
                return code;
            prov_deadline_poll(deadline, -1, 0);
        }
        code = fetch(https, ret_incoming, &taken, error);
        if (code || taken)
            return code;
        https->poll_at_ms = prov_now_ms() + POLL_MS;
    }
}

const hub_transport hub_transport_https = {
    .name = "https",
    .default_port = 443,
    .open = https_open,
    .send = https_send,
    .receive = https_receive,
    .close = https_close,
};
