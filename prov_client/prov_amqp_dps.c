/* DPS over AMQP 1.0: on TLS (port 5671), and on WebSocket (port 443). */
#include "prov_amqp.h"
#include "prov_amqp_sasl_tpm.h"
#include "prov_sas.h"
#include "prov_wire.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT          10
#define ADDRESS_MAX     (PROV_ID_SCOPE_MAX + PROV_REGISTRATION_ID_MAX + 32U)
#define ID_MAX          37 /* a UUID and NUL */
#define WS_PROTOCOL     "AMQPWSB10"
#define OPERATION       "iotdps-operation-type"
#define OPERATION_ID    "iotdps-operation-id"
#define OPERATION_FORCE "iotdps-forceRegistration"

struct prov_connection {
    const prov_session *session;
    prov_amqp *amqp;
    pn_link_t *sender, *receiver;
    pn_message_t *message;
};

/* A random UUID, RFC 9562 section 5.4. */
static bool make_id(char ret_id[ID_MAX])
{
    unsigned char b[16];

    if (RAND_bytes(b, sizeof b) != 1)
        return false;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret_id, ID_MAX, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    return true;
}

static void amqp_leave(prov_connection *dps)
{
    prov_amqp_close(&dps->amqp);
    if (dps->message)
        pn_message_free(dps->message);
    free(dps);
}

static void make_address(const prov_session *session, char ret_address[ADDRESS_MAX])
{
    (void)snprintf(ret_address, ADDRESS_MAX, "%s/registrations/%s", session->id_scope,
                   session->identity->registration_id);
}

static kn_prov_code attach_links(prov_connection *dps, prov_error *error)
{
    static const prov_amqp_property properties[] = {
        {.name = "com.microsoft:api-version", .value = PROV_API_VERSION},
        {.name = "com.microsoft:client-version", .value = "keynym/" KN_VERSION},
        {.name = NULL},
    };
    const prov_session *session = dps->session;
    prov_deadline deadline = prov_deadline_of_step(&session->limits, "the AMQP links");
    char address[ADDRESS_MAX];
    kn_prov_code code;

    make_address(session, address);
    code = prov_amqp_attach(dps->amqp, "keynym-responses", address, CREDIT, properties, &deadline,
                            &dps->receiver, error);
    if (code)
        return code;
    return prov_amqp_attach(dps->amqp, "keynym-requests", address, 0, properties, &deadline, &dps->sender,
                            error);
}

static kn_prov_code open_on(const prov_session *session, const char *protocol,
                            prov_connection **ret_connection, prov_error *error)
{
    prov_connection *dps = calloc(1, sizeof *dps);
    prov_stream *stream = NULL;
    char container[ID_MAX], address[ADDRESS_MAX], *token = NULL;
    prov_amqp_config config = {.container = container, .host = session->endpoint.host};
    prov_sasl_tpm tpm = {.session = session};
    prov_deadline deadline;
    kn_prov_code code;

    if (!dps || !(dps->message = pn_message()) || !make_id(container)) {
        free(dps);
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the AMQP connection");
    }
    dps->session = session;
    code = session->identity->activate ? KN_PROV_OK : prov_session_token(session, &token, error);
    if (code == KN_PROV_OK)
        code = prov_wire_open(session, protocol, &stream, error);
    if (code == KN_PROV_OK) {
        if (token) {
            make_address(session, address);
            config.mechanism = "PLAIN";
            config.user = address;
            config.password = token;
        }
        if (session->identity->activate) {
            config.mechanism = PROV_AMQP_TPM;
            config.tpm = &tpm;
        }
        deadline = prov_deadline_of_step(&session->limits, "the AMQP connection");
        code = prov_amqp_open(stream, &config, &deadline, &dps->amqp, error);
    }
    prov_sas_free(&token);
    prov_sasl_tpm_clear(&tpm);
    if (code == KN_PROV_OK)
        code = attach_links(dps, error);
    if (code)
        amqp_leave(dps);
    else
        *ret_connection = dps;
    return code;
}

static kn_prov_code amqp_open(const prov_session *session, prov_connection **ret_connection,
                              prov_error *error)
{
    return open_on(session, NULL, ret_connection, error);
}

static kn_prov_code amqp_ws_open(const prov_session *session, prov_connection **ret_connection,
                                 prov_error *error)
{
    return open_on(session, WS_PROTOCOL, ret_connection, error);
}

/* ---- one exchange ---- */

static void put_text(pn_data_t *data, const char *text)
{
    (void)pn_data_put_string(data, pn_bytes(strlen(text), text));
}

static void put_pair(pn_data_t *map, const char *name, const char *value)
{
    put_text(map, name);
    put_text(map, value);
}

static void make_message(pn_message_t *message, const char *id, const char *operation_id, const char *body)
{
    pn_data_t *properties, *content;

    pn_message_clear(message);
    put_text(pn_message_id(message), id);
    put_text(pn_message_correlation_id(message), id);
    properties = pn_message_properties(message);
    (void)pn_data_put_map(properties);
    (void)pn_data_enter(properties);
    put_pair(properties, OPERATION, operation_id ? "iotdps-get-operationstatus" : "iotdps-register");
    if (operation_id) {
        put_pair(properties, OPERATION_ID, operation_id);
    } else {
        put_text(properties, OPERATION_FORCE);
        (void)pn_data_put_bool(properties, false);
    }
    (void)pn_data_exit(properties);
    content = pn_message_body(message);
    (void)pn_message_set_inferred(message, !operation_id); /* a data section; the poll has an empty value */
    if (operation_id)
        put_text(content, "");
    else
        (void)pn_data_put_binary(content, pn_bytes(strlen(body), body));
}

static kn_prov_code copy_body(const char *text, size_t size, prov_reply *reply, prov_error *error)
{
    reply->body = malloc(size + 1);
    if (!reply->body)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the response");
    if (size)
        memcpy(reply->body, text, size);
    reply->body[size] = '\0';
    reply->body_size = size;
    return KN_PROV_OK;
}

static kn_prov_code take_response(prov_connection *dps, const char *id, prov_reply *ret_reply,
                                  prov_error *error)
{
    pn_data_t *body = pn_message_body(dps->message), *correlation = pn_message_correlation_id(dps->message);
    prov_reply reply = {.status = 200}; /* AMQP has no other: errors are rejections */
    char correlated[ID_MAX];
    pn_bytes_t bytes;
    kn_prov_code code;

    pn_data_rewind(correlation);
    if (pn_data_next(correlation) && pn_data_type(correlation) != PN_NULL &&
        (!prov_amqp_text(correlation, correlated, sizeof correlated) || strcmp(correlated, id) != 0))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an AMQP response that belongs to another request");
    pn_data_rewind(body);
    if (!pn_data_next(body) || (pn_data_type(body) != PN_BINARY && pn_data_type(body) != PN_STRING))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an AMQP response without a data section");
    bytes = pn_data_get_bytes(body);
    if (bytes.size > PROV_RESPONSE_MAX)
        return prov_fail(error, KN_PROV_E_RESPONSE, "a response of %zu bytes, %u are allowed", bytes.size,
                         PROV_RESPONSE_MAX);
    reply.retry_after_s = prov_amqp_number(pn_message_properties(dps->message), "retry-after");
    if (reply.retry_after_s == 0)
        reply.retry_after_s = prov_amqp_number(pn_message_properties(dps->message), "Retry-After");
    if ((code = copy_body(bytes.start, bytes.size, &reply, error)))
        return code;
    *ret_reply = reply;
    return KN_PROV_OK;
}

/* The description of a rejection is the JSON body of the error. */
static kn_prov_code take_rejection(const prov_amqp_outcome *outcome, prov_reply *ret_reply, prov_error *error)
{
    prov_reply reply = {.status = prov_amqp_status_of(outcome->condition),
                        .retry_after_s = outcome->retry_after_s};
    kn_prov_code code = copy_body(outcome->description, strlen(outcome->description), &reply, error);

    if (code == KN_PROV_OK)
        *ret_reply = reply;
    return code;
}

static kn_prov_code amqp_exchange(prov_connection *dps, const char *operation_id, const char *body,
                                  prov_reply *ret_reply, prov_error *error)
{
    prov_deadline deadline =
        prov_deadline_of_step(&dps->session->limits, operation_id ? "the answer to the status request"
                                                                  : "the answer to the registration request");
    prov_amqp_outcome outcome;
    char id[ID_MAX];
    kn_prov_code code;

    if (!make_id(id))
        return prov_fail(error, KN_PROV_E_TLS, "OpenSSL has no random numbers");
    make_message(dps->message, id, operation_id, body);
    code = prov_amqp_send(dps->amqp, dps->sender, dps->message, &deadline, &outcome, error);
    if (code)
        return code;
    if (!outcome.accepted)
        return take_rejection(&outcome, ret_reply, error);
    if ((code = prov_amqp_receive(dps->amqp, dps->receiver, &deadline, dps->message, error)))
        return code;
    return take_response(dps, id, ret_reply, error);
}

static kn_prov_code amqp_pause(prov_connection *dps, uint32_t pause_ms, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_pause(&dps->session->limits, pause_ms);

    return prov_amqp_idle(dps->amqp, &deadline, error);
}

const prov_transport prov_transport_amqp = {
    .name = "amqp",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC | PROV_ATTESTATION_TPM,
    .default_port = 5671,
    .open = amqp_open,
    .exchange = amqp_exchange,
    .pause = amqp_pause,
    .close = amqp_leave,
};

const prov_transport prov_transport_amqp_ws = {
    .name = "amqp-ws",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC | PROV_ATTESTATION_TPM,
    .default_port = 443,
    .open = amqp_ws_open,
    .exchange = amqp_exchange,
    .pause = amqp_pause,
    .close = amqp_leave,
};
