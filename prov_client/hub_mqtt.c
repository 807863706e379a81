/* The hub over MQTT 3.1.1: on TLS (port 8883), and on WebSocket (port 443). */
#include "hub_transport.h"
#include "prov_mqtt_client.h"
#include "prov_sas.h"
#include "prov_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TWIN_RESPONSES "$iothub/twin/res/"
#define DESIRED        "$iothub/twin/PATCH/properties/desired/"
#define TOPIC_MAX      (KN_HUB_PROPERTIES_MAX + 1024U)

/* What came while the twin was waited for. */
typedef struct queued {
    struct queued *next;
    hub_incoming incoming;
} queued;

struct hub_connection {
    const prov_session *session;
    prov_mqtt_client *client;
    queued *first;
    char bound[PROV_DEVICE_ID_MAX + 40]; /* topic of messages to the device, without its properties */
    char topic[TOPIC_MAX];
    int64_t ping_at_ms;
};

static void mqtt_close(hub_connection *mqtt)
{
    while (mqtt->first) {
        queued *next = mqtt->first->next;

        hub_incoming_clear(&mqtt->first->incoming);
        free(mqtt->first);
        mqtt->first = next;
    }
    prov_mqtt_client_close(&mqtt->client);
    free(mqtt);
}

static kn_prov_code connect_mqtt(hub_connection *mqtt, const char *protocol, prov_error *error)
{
    const prov_session *session = mqtt->session;
    char user_name[PROV_HOST_MAX + PROV_DEVICE_ID_MAX + 100], *token = NULL;
    prov_stream *stream = NULL;
    prov_mqtt_connect connect = {
        .client_id = session->device_id,
        .user_name = user_name,
        .keep_alive_s = PROV_MQTT_KEEP_ALIVE_S,
    };
    kn_prov_code code = prov_session_token(session, &token, error);

    if (code)
        return code;
    connect.password = token;
    (void)snprintf(user_name, sizeof user_name,
                   "%s/%s/?api-version=" HUB_API_VERSION "&DeviceClientType=keynym%%2F" KN_VERSION,
                   session->endpoint.host, session->device_id);
    code = prov_wire_open(session, protocol, &stream, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_open(stream, &connect, &session->limits, &mqtt->client, error);
    prov_sas_free(&token);
    return code;
}

static kn_prov_code open_on(const prov_session *session, const char *protocol,
                            hub_connection **ret_connection, prov_error *error)
{
    hub_connection *mqtt = calloc(1, sizeof *mqtt);
    kn_prov_code code;

    if (!mqtt)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the MQTT connection");
    mqtt->session = session;
    (void)snprintf(mqtt->bound, sizeof mqtt->bound, "devices/%s/messages/devicebound/", session->device_id);
    (void)snprintf(mqtt->topic, sizeof mqtt->topic, "%s#", mqtt->bound);
    code = connect_mqtt(mqtt, protocol, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_subscribe(mqtt->client, mqtt->topic, 1, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_subscribe(mqtt->client, TWIN_RESPONSES "#", 0, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_subscribe(mqtt->client, DESIRED "#", 0, error);
    mqtt->ping_at_ms = prov_now_ms() + PROV_MQTT_PING_MS;
    if (code)
        mqtt_close(mqtt);
    else
        *ret_connection = mqtt;
    return code;
}

static kn_prov_code mqtt_open(const prov_session *session, hub_connection **ret_connection, prov_error *error)
{
    return open_on(session, NULL, ret_connection, error);
}

static kn_prov_code mqtt_ws_open(const prov_session *session, hub_connection **ret_connection,
                                 prov_error *error)
{
    return open_on(session, "mqtt", ret_connection, error);
}

/* devices/{id}/messages/events/{properties}: the content type is the system property $.ct. */
static bool make_topic(hub_connection *mqtt, const kn_hub_message *message, size_t *ret_size)
{
    char type[300] = "";
    int length;

    if (message->content_type && !prov_percent_encode(message->content_type, type, sizeof type))
        return false;
    length =
        snprintf(mqtt->topic, sizeof mqtt->topic, "devices/%s/messages/events/%s%s%s%s",
                 mqtt->session->device_id, *type ? "%24.ct=" : "", type,
                 *type && message->properties ? "&" : "", message->properties ? message->properties : "");
    *ret_size = (size_t)length;
    return length > 0 && *ret_size < sizeof mqtt->topic;
}

static kn_prov_code mqtt_send(hub_connection *mqtt, const kn_hub_message *message, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits, "the hub's PUBACK");
    size_t size;
    kn_prov_code code;

    if (!make_topic(mqtt, message, &size))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the message's properties are too long");
    code = prov_mqtt_client_publish(mqtt->client, mqtt->topic, size, message->body, message->body_size,
                                    &deadline, error);
    return code ? code : prov_mqtt_client_settle(mqtt->client, &deadline, error);
}

static bool begins(const prov_mqtt_publish *message, const char *prefix)
{
    return message->topic_size >= strlen(prefix) && memcmp(message->topic, prefix, strlen(prefix)) == 0;
}

/* A message or a patch. False: it is neither, and is not for us. */
static kn_prov_code take_message(const hub_connection *mqtt, const prov_mqtt_publish *message,
                                 hub_incoming *ret_incoming, bool *ret_taken, prov_error *error)
{
    hub_incoming incoming = {.kind = KN_HUB_DESIRED, .body_size = message->payload_size};
    size_t prefix = strlen(mqtt->bound);
    kn_prov_code code;

    *ret_taken = begins(message, DESIRED) || begins(message, mqtt->bound);
    if (!*ret_taken)
        return KN_PROV_OK;
    if (message->payload_size > KN_HUB_BODY_MAX)
        return prov_fail(error, KN_PROV_E_RESPONSE, "a message of %zu bytes, %u are allowed",
                         message->payload_size, KN_HUB_BODY_MAX);
    code = hub_copy(message->payload, message->payload_size, &incoming.body, error);
    if (code == KN_PROV_OK && begins(message, mqtt->bound)) {
        incoming.kind = KN_HUB_MESSAGE;
        code = hub_copy(message->topic + prefix, message->topic_size - prefix, &incoming.properties, error);
    }
    if (code)
        hub_incoming_clear(&incoming);
    else
        *ret_incoming = incoming;
    return code;
}

static kn_prov_code enqueue(hub_connection *mqtt, const prov_mqtt_publish *message, prov_error *error)
{
    queued **end = &mqtt->first, *one = calloc(1, sizeof *one);
    bool taken = false;
    kn_prov_code code = one ? take_message(mqtt, message, &one->incoming, &taken, error)
                            : prov_fail(error, KN_PROV_E_MEMORY, "no memory for a message");

    if (code || !taken) {
        free(one);
        return code;
    }
    while (*end)
        end = &(*end)->next;
    *end = one;
    return KN_PROV_OK;
}

static bool dequeue(hub_connection *mqtt, hub_incoming *ret_incoming)
{
    queued *one = mqtt->first;

    if (!one)
        return false;
    mqtt->first = one->next;
    *ret_incoming = one->incoming;
    free(one);
    return true;
}

static kn_prov_code mqtt_receive(hub_connection *mqtt, const prov_deadline *deadline,
                                 hub_incoming *ret_incoming, prov_error *error)
{
    if (dequeue(mqtt, ret_incoming))
        return KN_PROV_OK;
    for (;;) {
        prov_deadline part = *deadline;
        prov_mqtt_publish message;
        bool taken;
        kn_prov_code code;

        if (mqtt->ping_at_ms < part.at_ms)
            part.at_ms = mqtt->ping_at_ms;
        code = prov_mqtt_client_receive(mqtt->client, &part, &message, error);
        if (code == KN_PROV_E_TIMEOUT && prov_now_ms() >= mqtt->ping_at_ms) {
            if ((code = prov_mqtt_client_ping(mqtt->client, error)))
                return code;
            mqtt->ping_at_ms = prov_now_ms() + PROV_MQTT_PING_MS;
            continue;
        }
        if (code)
            return code;
        code = take_message(mqtt, &message, ret_incoming, &taken, error);
        if (code || taken)
            return code;
    }
}

/* $iothub/twin/res/{status}/?$rid={request id} */
static bool is_answer(const prov_mqtt_publish *message, unsigned request_id, int *ret_status)
{
    char topic[100], rest[40], expected[40];

    if (!begins(message, TWIN_RESPONSES) || message->topic_size >= sizeof topic)
        return false;
    memcpy(topic, message->topic, message->topic_size);
    topic[message->topic_size] = '\0';
    (void)snprintf(expected, sizeof expected, "/?$rid=%u", request_id);
    if (sscanf(topic, TWIN_RESPONSES "%3d%39s", ret_status, rest) != 2)
        return false;
    return strncmp(rest, expected, strlen(expected)) == 0 &&
           (!rest[strlen(expected)] || rest[strlen(expected)] == '&');
}

static kn_prov_code mqtt_twin(hub_connection *mqtt, char **ret_json, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits, "the twin");
    unsigned request_id = prov_mqtt_client_next_id(mqtt->client);
    int length = snprintf(mqtt->topic, sizeof mqtt->topic, "$iothub/twin/GET/?$rid=%u", request_id);
    kn_prov_code code =
        prov_mqtt_client_publish(mqtt->client, mqtt->topic, (size_t)length, "", 0, &deadline, error);
    prov_mqtt_publish message;
    int status = 0;

    while (code == KN_PROV_OK) {
        code = prov_mqtt_client_receive(mqtt->client, &deadline, &message, error);
        if (code || is_answer(&message, request_id, &status))
            break;
        code = enqueue(mqtt, &message, error);
    }
    if (code)
        return code;
    if (status != 200)
        return prov_fail(error, status == 429 ? KN_PROV_E_THROTTLED : KN_PROV_E_REFUSED,
                         "the twin: status %d", status);
    return hub_copy(message.payload, message.payload_size, ret_json, error);
}

const hub_transport hub_transport_mqtt = {
    .name = "mqtt",
    .default_port = 8883,
    .open = mqtt_open,
    .send = mqtt_send,
    .twin = mqtt_twin,
    .receive = mqtt_receive,
    .close = mqtt_close,
};

const hub_transport hub_transport_mqtt_ws = {
    .name = "mqtt-ws",
    .default_port = 443,
    .open = mqtt_ws_open,
    .send = mqtt_send,
    .twin = mqtt_twin,
    .receive = mqtt_receive,
    .close = mqtt_close,
};
