/* The hub over AMQP 1.0: on TLS (port 5671), and on WebSocket (port 443). A device without a certificate
 * proves itself with a token on the node $cbs. */
#include "hub_transport.h"
#include "prov_amqp.h"
#include "prov_sas.h"
#include "prov_wire.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT   10
#define NODE_MAX (PROV_DEVICE_ID_MAX + 60U)
#define TOKEN    "servicebus.windows.net:sastoken"
#define DESIRED  "/notifications/twin/properties/desired"

struct hub_connection {
    const prov_session *session;
    prov_amqp *amqp;
    pn_link_t *events, *bound;               /* telemetry, messages to the device */
    pn_link_t *twin_requests, *twin_answers; /* NULL until they are needed */
    pn_message_t *message;
    hub_incoming patch; /* that came while the twin was waited for; body NULL: none */
};

static void amqp_close(hub_connection *hub)
{
    prov_amqp_close(&hub->amqp);
    if (hub->message)
        pn_message_free(hub->message);
    hub_incoming_clear(&hub->patch);
    free(hub);
}

/* ---- values of messages ---- */

static void put_text(pn_data_t *data, const char *text)
{
    (void)pn_data_put_string(data, pn_bytes(strlen(text), text));
}

/* A map with one level, of texts; @pairs ends with a NULL name. */
static void put_map(pn_data_t *data, const prov_amqp_property *pairs, bool symbols)
{
    (void)pn_data_put_map(data);
    (void)pn_data_enter(data);
    for (; pairs->name; pairs++) {
        if (symbols)
            (void)pn_data_put_symbol(data, pn_bytes(strlen(pairs->name), pairs->name));
        else
            put_text(data, pairs->name);
        put_text(data, pairs->value);
    }
    (void)pn_data_exit(data);
}

/* "name=value&..." to a map. False when it is not well-formed. */
static bool put_properties(pn_data_t *data, const char *text)
{
    char plain[KN_HUB_PROPERTIES_MAX];

    (void)pn_data_put_map(data);
    (void)pn_data_enter(data);
    while (*text) {
        size_t size = strcspn(text, "&"), name = strcspn(text, "=&");

        if (name == 0 || name == size || !prov_percent_decode(text, name, plain, sizeof plain))
            return false;
        put_text(data, plain);
        if (!prov_percent_decode(text + name + 1, size - name - 1, plain, sizeof plain))
            return false;
        put_text(data, plain);
        text += size + (text[size] == '&');
    }
    (void)pn_data_exit(data);
    return true;
}

static bool append(char *text, size_t *used, const char *separator, pn_bytes_t value)
{
    char plain[KN_HUB_PROPERTIES_MAX], encoded[KN_HUB_PROPERTIES_MAX];

    if (value.size >= sizeof plain || (value.size && memchr(value.start, '\0', value.size)))
        return false;
    if (value.size)
        memcpy(plain, value.start, value.size);
    plain[value.size] = '\0';
    if (!prov_percent_encode(plain, encoded, sizeof encoded) ||
        *used + strlen(separator) + strlen(encoded) >= KN_HUB_PROPERTIES_MAX)
        return false;
    *used += (size_t)snprintf(text + *used, KN_HUB_PROPERTIES_MAX - *used, "%s%s", separator, encoded);
    return true;
}

/* The texts of a message's application properties, as in kn_hub_message; others, and what does not fit, are
 * left out. */
static void read_properties(pn_data_t *data, char ret_text[KN_HUB_PROPERTIES_MAX])
{
    size_t used = 0;

    ret_text[0] = '\0';
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP)
        return;
    (void)pn_data_enter(data);
    while (pn_data_next(data)) {
        pn_bytes_t name = pn_data_get_bytes(data);
        size_t before = used;

        if (!pn_data_next(data))
            break;
        if (pn_data_type(data) != PN_STRING || !append(ret_text, &used, used ? "&" : "", name) ||
            !append(ret_text, &used, "=", pn_data_get_bytes(data))) {
            used = before;
            ret_text[used] = '\0';
        }
    }
    (void)pn_data_exit(data);
}

static kn_prov_code read_body(pn_message_t *message, hub_incoming *incoming, prov_error *error)
{
    pn_data_t *body = pn_message_body(message);
    pn_bytes_t bytes = {.size = 0};

    pn_data_rewind(body);
    if (pn_data_next(body) && (pn_data_type(body) == PN_BINARY || pn_data_type(body) == PN_STRING))
        bytes = pn_data_get_bytes(body);
    if (bytes.size > KN_HUB_BODY_MAX)
        return prov_fail(error, KN_PROV_E_RESPONSE, "a message of %zu bytes, %u are allowed", bytes.size,
                         KN_HUB_BODY_MAX);
    incoming->body_size = bytes.size;
    return hub_copy(bytes.start, bytes.size, &incoming->body, error);
}

/* ---- opening ---- */

/* Puts the SAS token on $cbs, and waits for its answer. */
static kn_prov_code put_token(hub_connection *hub, const char *token, prov_error *error)
{
    const prov_session *session = hub->session;
    prov_deadline deadline = prov_deadline_of_step(&session->limits, "the token (put-token on $cbs)");
    char name[PROV_HOST_MAX + PROV_DEVICE_ID_MAX + 20], encoded[3 * sizeof name];
    const prov_amqp_property properties[] = {{.name = "operation", .value = "put-token"},
                                             {.name = "type", .value = TOKEN},
                                             {"name", encoded},
                                             {NULL, NULL}};
    prov_amqp_outcome outcome;
    pn_link_t *sender, *receiver;
    uint32_t status;
    kn_prov_code code;

    (void)snprintf(name, sizeof name, "%s/devices/%s", session->endpoint.host, session->device_id);
    if (!prov_percent_encode(name, encoded, sizeof encoded)) /* there is room for any name */
        encoded[0] = '\0';
    if ((code = prov_amqp_attach(hub->amqp, "keynym-cbs-answers", "$cbs", CREDIT, NULL, &deadline, &receiver,
                                 error)) ||
        (code = prov_amqp_attach(hub->amqp, "keynym-cbs", "$cbs", 0, NULL, &deadline, &sender, error)))
        return code;
    pn_message_clear(hub->message);
    put_text(pn_message_id(hub->message), "token");
    (void)pn_message_set_address(hub->message, "$cbs");
    (void)pn_message_set_reply_to(hub->message, "cbs");
    put_map(pn_message_properties(hub->message), properties, false);
    put_text(pn_message_body(hub->message), token);
    if ((code = prov_amqp_send(hub->amqp, sender, hub->message, &deadline, &outcome, error)))
        return code;
    if (!outcome.accepted)
        return prov_fail(error, KN_PROV_E_UNAUTHORIZED, "the token was rejected: %s: %.300s",
                         outcome.condition, outcome.description);
    if ((code = prov_amqp_receive(hub->amqp, receiver, &deadline, hub->message, error)))
        return code;
    status = prov_amqp_number(pn_message_properties(hub->message), "status-code");
    if (status < 200 || status > 299)
        return prov_fail(error, KN_PROV_E_UNAUTHORIZED, "the token was refused: status-code %u", status);
    return KN_PROV_OK;
}

static kn_prov_code attach(hub_connection *hub, const char *name, const char *node, int credit,
                           const prov_amqp_property *properties, pn_link_t **ret_link, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&hub->session->limits, "the AMQP links");
    char address[NODE_MAX];

    (void)snprintf(address, sizeof address, "/devices/%s/%s", hub->session->device_id, node);
    return prov_amqp_attach(hub->amqp, name, address, credit, properties, &deadline, ret_link, error);
}

static kn_prov_code connect_amqp(hub_connection *hub, const char *protocol, prov_error *error)
{
    const prov_session *session = hub->session;
    prov_amqp_config config = {.container = session->device_id, .host = session->endpoint.host};
    prov_stream *stream = NULL;
    char *token = NULL;
    kn_prov_code code = prov_session_token(session, &token, error);

    if (token)
        config.mechanism = PROV_AMQP_MSSBCBS;
    if (code == KN_PROV_OK)
        code = prov_wire_open(session, protocol, &stream, error);
    if (code == KN_PROV_OK) {
        prov_deadline deadline = prov_deadline_of_step(&session->limits, "the AMQP connection");

        code = prov_amqp_open(stream, &config, &deadline, &hub->amqp, error);
    }
    if (code == KN_PROV_OK && token)
        code = put_token(hub, token, error);
    prov_sas_free(&token);
    return code;
}

static kn_prov_code open_on(const prov_session *session, const char *protocol,
                            hub_connection **ret_connection, prov_error *error)
{
    static const prov_amqp_property properties[] = {
        {.name = "com.microsoft:api-version", .value = HUB_API_VERSION},
        {.name = "com.microsoft:client-version", .value = "keynym/" KN_VERSION},
        {.name = NULL},
    };
    hub_connection *hub = calloc(1, sizeof *hub);
    kn_prov_code code;

    if (!hub || !(hub->message = pn_message())) {
        free(hub);
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the AMQP connection");
    }
    hub->session = session;
    code = connect_amqp(hub, protocol, error);
    if (code == KN_PROV_OK)
        code = attach(hub, "keynym-events", "messages/events", 0, properties, &hub->events, error);
    if (code == KN_PROV_OK)
        code = attach(hub, "keynym-bound", "messages/devicebound", CREDIT, properties, &hub->bound, error);
    if (code)
        amqp_close(hub);
    else
        *ret_connection = hub;
    return code;
}

static kn_prov_code amqp_open(const prov_session *session, hub_connection **ret_connection, prov_error *error)
{
    return open_on(session, NULL, ret_connection, error);
}

static kn_prov_code amqp_ws_open(const prov_session *session, hub_connection **ret_connection,
                                 prov_error *error)
{
    return open_on(session, "AMQPWSB10", ret_connection, error);
}

/* ---- telemetry ---- */

static kn_prov_code amqp_send(hub_connection *hub, const kn_hub_message *message, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&hub->session->limits, "the hub's acceptance");
    prov_amqp_outcome outcome;
    kn_prov_code code;

    pn_message_clear(hub->message);
    if (message->content_type)
        (void)pn_message_set_content_type(hub->message, message->content_type);
    if (message->properties && !put_properties(pn_message_properties(hub->message), message->properties))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the properties are not name=value&name=value");
    (void)pn_message_set_inferred(hub->message, true); /* a data section */
    (void)pn_data_put_binary(pn_message_body(hub->message), pn_bytes(message->body_size, message->body));
    code = prov_amqp_send(hub->amqp, hub->events, hub->message, &deadline, &outcome, error);
    if (code)
        return code;
    if (!outcome.accepted)
        return prov_fail(error, KN_PROV_E_REFUSED, "the hub rejected the message: %s: %.300s",
                         outcome.condition, outcome.description);
    return KN_PROV_OK;
}

/* ---- the twin ---- */

static bool make_id(char ret_id[33])
{
    unsigned char bytes[16];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

/* Sends a request of the twin; its body is empty. @id: the correlation that the answer carries. */
static kn_prov_code ask_twin(hub_connection *hub, const prov_amqp_property *annotations, char id[33],
                             prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&hub->session->limits, "the twin");
    prov_amqp_outcome outcome;
    kn_prov_code code;

    if (!make_id(id))
        return prov_fail(error, KN_PROV_E_TLS, "OpenSSL has no random numbers");
    pn_message_clear(hub->message);
    put_text(pn_message_correlation_id(hub->message), id);
    put_map(pn_message_annotations(hub->message), annotations, true);
    (void)pn_message_set_inferred(hub->message, true);
    (void)pn_data_put_binary(pn_message_body(hub->message), pn_bytes(0, ""));
    code = prov_amqp_send(hub->amqp, hub->twin_requests, hub->message, &deadline, &outcome, error);
    if (code == KN_PROV_OK && !outcome.accepted)
        code = prov_fail(error, KN_PROV_E_REFUSED, "the twin: %s: %.300s", outcome.condition,
                         outcome.description);
    return code;
}

static bool is_answer_to(pn_message_t *message, const char *id)
{
    char correlation[80];

    return prov_amqp_text(pn_message_correlation_id(message), correlation, sizeof correlation) &&
           strcmp(correlation, id) == 0;
}

/* Waits for the answer to @id. A patch of the desired properties that comes first is kept: a newer one holds
 * more. */
static kn_prov_code twin_answer(hub_connection *hub, const char *id, char **ret_json, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&hub->session->limits, "the twin");
    hub_incoming answer = {.kind = KN_HUB_DESIRED};
    uint32_t status;
    kn_prov_code code;

    for (;;) {
        if ((code = prov_amqp_receive(hub->amqp, hub->twin_answers, &deadline, hub->message, error)))
            return code;
        if (is_answer_to(hub->message, id))
            break;
        hub_incoming_clear(&hub->patch);
        hub->patch.kind = KN_HUB_DESIRED;
        if ((code = read_body(hub->message, &hub->patch, error)))
            return code;
    }
    status = prov_amqp_number(pn_message_annotations(hub->message), "status");
    if (status != 200 && status != 204)
        return prov_fail(error, status == 429 ? KN_PROV_E_THROTTLED : KN_PROV_E_REFUSED,
                         "the twin: status %u", status);
    if (!ret_json)
        return KN_PROV_OK;
    if ((code = read_body(hub->message, &answer, error)))
        return code;
    *ret_json = answer.body;
    return KN_PROV_OK;
}

/* Attaches the two links of the twin, and asks to be told of changes. */
static kn_prov_code open_twin(hub_connection *hub, prov_error *error)
{
    static const prov_amqp_property subscribe[] = {
        {.name = "operation", .value = "PUT"}, {.name = "resource", .value = DESIRED}, {.name = NULL}};
    char id[33], channel[40];
    const prov_amqp_property properties[] = {
        {.name = "com.microsoft:channel-correlation-id", .value = channel},
        {.name = "com.microsoft:api-version", .value = HUB_API_VERSION},
        {.name = NULL},
    };
    kn_prov_code code;

    if (hub->twin_answers)
        return KN_PROV_OK;
    if (!make_id(id))
        return prov_fail(error, KN_PROV_E_TLS, "OpenSSL has no random numbers");
    (void)snprintf(channel, sizeof channel, "twin:%s", id);
    if ((code = attach(hub, "keynym-twin-requests", "twin", 0, properties, &hub->twin_requests, error)) ||
        (code = attach(hub, "keynym-twin-answers", "twin", CREDIT, properties, &hub->twin_answers, error)) ||
        (code = ask_twin(hub, subscribe, id, error)))
        return code;
    return twin_answer(hub, id, NULL, error);
}

static kn_prov_code amqp_twin(hub_connection *hub, char **ret_json, prov_error *error)
{
    static const prov_amqp_property get[] = {{.name = "operation", .value = "GET"}, {.name = NULL}};
    char id[33];
    kn_prov_code code = open_twin(hub, error);

    if (code == KN_PROV_OK)
        code = ask_twin(hub, get, id, error);
    return code ? code : twin_answer(hub, id, ret_json, error);
}

/* ---- what comes in ---- */

static kn_prov_code amqp_receive(hub_connection *hub, const prov_deadline *deadline,
                                 hub_incoming *ret_incoming, prov_error *error)
{
    char properties[KN_HUB_PROPERTIES_MAX];
    pn_link_t *links[2] = {hub->bound};
    hub_incoming incoming = {.kind = KN_HUB_DESIRED};
    kn_prov_code code = open_twin(hub, error);
    size_t which = 0;

    if (code)
        return code;
    if (hub->patch.body) {
        *ret_incoming = hub->patch;
        hub->patch = (hub_incoming){.body = NULL};
        return KN_PROV_OK;
    }
    links[1] = hub->twin_answers;
    if ((code = prov_amqp_wait(hub->amqp, links, 2, deadline, &which, error)) ||
        (code = prov_amqp_receive(hub->amqp, links[which], deadline, hub->message, error)) ||
        (code = read_body(hub->message, &incoming, error)))
        return code;
    if (which == 0) {
        incoming.kind = KN_HUB_MESSAGE;
        read_properties(pn_message_properties(hub->message), properties);
        code = hub_copy(properties, strlen(properties), &incoming.properties, error);
    }
    if (code)
        hub_incoming_clear(&incoming);
    else
        *ret_incoming = incoming;
    return code;
}

const hub_transport hub_transport_amqp = {
    .name = "amqp",
    .default_port = 5671,
    .open = amqp_open,
    .send = amqp_send,
    .twin = amqp_twin,
    .receive = amqp_receive,
    .close = amqp_close,
};

const hub_transport hub_transport_amqp_ws = {
    .name = "amqp-ws",
    .default_port = 443,
    .open = amqp_ws_open,
    .send = amqp_send,
    .twin = amqp_twin,
    .receive = amqp_receive,
    .close = amqp_close,
};
