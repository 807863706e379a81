/* DPS over MQTT 3.1.1: on TLS (port 8883), and on WebSocket (port 443). */
#include "prov_transport.h"

#include "prov_mqtt_codec.h"
#include "prov_mqtt_topic.h"
#include "prov_sas.h"
#include "prov_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_ALIVE_S        180U
#define PING_MS             60000U /* well below the keep alive, and below the idle limits of common NATs */
#define SUBSCRIBE_PACKET_ID 1U
#define USER_NAME_MAX       512U

struct prov_connection {
    const prov_session *session;
    prov_stream *stream;
    uint16_t packet_id; /* the last one that was used; also the last request id */
    size_t used;        /* bytes in @in */
    uint8_t in[PROV_MQTT_PACKET_MAX];
    uint8_t out[PROV_MQTT_PACKET_MAX];
};

static kn_prov_code send_packet(prov_connection *mqtt, size_t size, const prov_deadline *deadline,
                                prov_error *error)
{
    if (size == 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "a request of more than %u bytes", PROV_MQTT_PACKET_MAX);
    return prov_stream_send(mqtt->stream, mqtt->out, size, deadline, error);
}

/* The packet points into @in: drop_packet() when done with it. */
static kn_prov_code receive_packet(prov_connection *mqtt, const prov_deadline *deadline,
                                   prov_mqtt_packet *ret_packet, prov_error *error)
{
    for (;;) {
        size_t received = 0;
        kn_prov_code code = prov_mqtt_read(mqtt->in, mqtt->used, ret_packet, error);

        if (code || ret_packet->size > 0)
            return code;
        /* There is room: a packet that does not fit was refused at its header. */
        code = prov_stream_recv(mqtt->stream, mqtt->in + mqtt->used, sizeof mqtt->in - mqtt->used, deadline,
                                &received, error);
        if (code)
            return code;
        mqtt->used += received;
    }
}

static void drop_packet(prov_connection *mqtt, const prov_mqtt_packet *packet)
{
    mqtt->used -= packet->size;
    memmove(mqtt->in, mqtt->in + packet->size, mqtt->used);
}

static kn_prov_code expect_packet(prov_connection *mqtt, prov_mqtt_type type, const prov_deadline *deadline,
                                  prov_mqtt_packet *ret_packet, prov_error *error)
{
    kn_prov_code code = receive_packet(mqtt, deadline, ret_packet, error);

    if (code)
        return code;
    if (ret_packet->type != type)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u in %s",
                         (unsigned)ret_packet->type, deadline->step);
    drop_packet(mqtt, ret_packet);
    return KN_PROV_OK;
}

/* User name: {scope}/registrations/{id}/api-version=...&ClientVersion=..., only the version being encoded. */
static kn_prov_code mqtt_connect(prov_connection *mqtt, prov_error *error)
{
    const prov_session *session = mqtt->session;
    prov_deadline deadline = prov_deadline_of_step(&session->limits, "the MQTT connection (CONNACK)");
    char user_name[USER_NAME_MAX];
    prov_mqtt_connect connect = {
        .client_id = session->identity->registration_id,
        .user_name = user_name,
        .keep_alive_s = KEEP_ALIVE_S,
    };
    prov_mqtt_packet packet;
    char *token = NULL;
    kn_prov_code code = prov_session_token(session, &token, error);

    if (code)
        return code;
    connect.password = token;
    (void)snprintf(user_name, sizeof user_name,
                   "%s/registrations/%s/api-version=" PROV_API_VERSION "&ClientVersion=keynym%%2F" KN_VERSION,
                   session->id_scope, session->identity->registration_id);
    code =
        send_packet(mqtt, prov_mqtt_write_connect(&connect, mqtt->out, sizeof mqtt->out), &deadline, error);
    prov_sas_free(&token);
    if (code == KN_PROV_OK)
        code = expect_packet(mqtt, PROV_MQTT_CONNACK, &deadline, &packet, error);
    if (code == KN_PROV_OK && packet.return_code != 0)
        code = prov_fail(error, KN_PROV_E_CONNECT_REFUSED, "MQTT CONNACK with return code %u, %s",
                         packet.return_code, prov_mqtt_connack_text(packet.return_code));
    return code;
}

static kn_prov_code mqtt_subscribe(prov_connection *mqtt, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits, "the MQTT subscription (SUBACK)");
    prov_mqtt_packet packet;
    kn_prov_code code;

    mqtt->packet_id = SUBSCRIBE_PACKET_ID;
    code = send_packet(
        mqtt,
        prov_mqtt_write_subscribe(mqtt->packet_id, PROV_MQTT_RESPONSE_FILTER, 1, mqtt->out, sizeof mqtt->out),
        &deadline, error);
    if (code == KN_PROV_OK)
        code = expect_packet(mqtt, PROV_MQTT_SUBACK, &deadline, &packet, error);
    if (code == KN_PROV_OK && packet.packet_id != mqtt->packet_id)
        code = prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT SUBACK for packet %u instead of %u",
                         packet.packet_id, mqtt->packet_id);
    if (code == KN_PROV_OK && packet.return_code > 1) /* 0x80: refused; 2 was not asked for */
        code = prov_fail(error, KN_PROV_E_CONNECT_REFUSED, "MQTT SUBACK with return code %u",
                         packet.return_code);
    return code;
}

static void mqtt_close(prov_connection *mqtt)
{
    prov_stream_close(&mqtt->stream);
    free(mqtt);
}

static kn_prov_code open_on(const prov_session *session, const char *protocol,
                            prov_connection **ret_connection, prov_error *error)
{
    prov_connection *mqtt = calloc(1, sizeof *mqtt);
    kn_prov_code code;

    if (!mqtt)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the MQTT connection");
    mqtt->session = session;
    code = prov_wire_open(session, protocol, &mqtt->stream, error);
    if (code == KN_PROV_OK)
        code = mqtt_connect(mqtt, error);
    if (code == KN_PROV_OK)
        code = mqtt_subscribe(mqtt, error);
    if (code) {
        mqtt_close(mqtt);
        return code;
    }
    *ret_connection = mqtt;
    return KN_PROV_OK;
}

static kn_prov_code mqtt_open(const prov_session *session, prov_connection **ret_connection,
                              prov_error *error)
{
    return open_on(session, NULL, ret_connection, error);
}

static kn_prov_code mqtt_ws_open(const prov_session *session, prov_connection **ret_connection,
                                 prov_error *error)
{
    return open_on(session, "mqtt", ret_connection, error);
}

static kn_prov_code publish_request(prov_connection *mqtt, const char *operation_id, const char *body,
                                    const prov_deadline *deadline, prov_error *error)
{
    char topic[PROV_MQTT_TOPIC_MAX + 3 * PROV_OPERATION_ID_MAX];
    uint32_t request_id = ++mqtt->packet_id;
    prov_mqtt_publish publish = {.topic = topic, .qos = 1, .packet_id = mqtt->packet_id};
    kn_prov_code code;

    if (mqtt->packet_id == UINT16_MAX) /* out of reach within any time limit at one request a second */
        return prov_fail(error, KN_PROV_E_PROTOCOL, "all MQTT packet identifiers are used up");
    publish.topic_size = operation_id ? prov_mqtt_topic_of_poll(request_id, operation_id, topic, sizeof topic)
                                      : prov_mqtt_topic_of_register(request_id, topic, sizeof topic);
    publish.payload = (const uint8_t *)body;
    publish.payload_size = strlen(body);
    code = send_packet(mqtt, prov_mqtt_write_publish(&publish, mqtt->out, sizeof mqtt->out), deadline, error);
    if (code == KN_PROV_OK)
        prov_trace(mqtt->session, "MQTT PUBLISH %s (%zu bytes)", topic, publish.payload_size);
    return code;
}

static kn_prov_code take_response(prov_connection *mqtt, const prov_mqtt_publish *publish,
                                  prov_reply *ret_reply, prov_error *error)
{
    prov_mqtt_topic topic = {.status = 0};
    kn_prov_code code = prov_mqtt_topic_parse(publish->topic, publish->topic_size, &topic, error);
    char *body;

    if (code)
        return code;
    if (topic.request_id != mqtt->packet_id)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "a response with $rid=%u to the request with $rid=%u",
                         topic.request_id, mqtt->packet_id);
    if (publish->payload_size > PROV_RESPONSE_MAX)
        return prov_fail(error, KN_PROV_E_RESPONSE, "a response of %zu bytes, %u are allowed",
                         publish->payload_size, PROV_RESPONSE_MAX);
    body = malloc(publish->payload_size + 1);
    if (!body)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the response");
    memcpy(body, publish->payload, publish->payload_size);
    body[publish->payload_size] = '\0';
    *ret_reply = (prov_reply){
        .status = topic.status,
        .retry_after_s = topic.retry_after_s,
        .body = body,
        .body_size = publish->payload_size,
    };
    return KN_PROV_OK;
}

/* A PUBACK or PINGRESP says nothing that is needed; a PUBACK for what was never sent is an error. */
static kn_prov_code take_acknowledgement(const prov_connection *mqtt, const prov_mqtt_packet *packet,
                                         prov_error *error)
{
    switch (packet->type) {
    case PROV_MQTT_PINGRESP:
        return KN_PROV_OK;
    case PROV_MQTT_PUBACK:
        if (packet->packet_id > SUBSCRIBE_PACKET_ID && packet->packet_id <= mqtt->packet_id)
            return KN_PROV_OK;
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBACK for packet %u, which was not sent",
                         packet->packet_id);
    case PROV_MQTT_CONNACK:
    case PROV_MQTT_SUBACK:
    case PROV_MQTT_PUBLISH:
        break;
    }
    return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u out of turn",
                     (unsigned)packet->type);
}

static kn_prov_code acknowledge(prov_connection *mqtt, const prov_mqtt_publish *publish,
                                const prov_deadline *deadline, prov_error *error)
{
    if (publish->qos == 0)
        return KN_PROV_OK;
    return send_packet(mqtt, prov_mqtt_write_puback(publish->packet_id, mqtt->out, sizeof mqtt->out),
                       deadline, error);
}

static kn_prov_code mqtt_exchange(prov_connection *mqtt, const char *operation_id, const char *body,
                                  prov_reply *ret_reply, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits,
                                                   operation_id ? "the answer to the status request"
                                                                : "the answer to the registration request");
    /* The published SDKs send either the body again or one blank; the service reads neither. */
    kn_prov_code code = publish_request(mqtt, operation_id, operation_id ? " " : body, &deadline, error);

    while (code == KN_PROV_OK) {
        prov_mqtt_packet packet;

        code = receive_packet(mqtt, &deadline, &packet, error);
        if (code)
            break;
        if (packet.type == PROV_MQTT_PUBLISH) {
            prov_reply reply = {.status = 0};

            code = take_response(mqtt, &packet.publish, &reply, error);
            if (code == KN_PROV_OK)
                code = acknowledge(mqtt, &packet.publish, &deadline, error);
            if (code) {
                free(reply.body);
                break;
            }
            drop_packet(mqtt, &packet);
            *ret_reply = reply;
            return KN_PROV_OK;
        }
        code = take_acknowledgement(mqtt, &packet, error);
        drop_packet(mqtt, &packet);
    }
    return code;
}

static kn_prov_code ping(prov_connection *mqtt, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits, "the MQTT keep-alive");

    return send_packet(mqtt, prov_mqtt_write_pingreq(mqtt->out, sizeof mqtt->out), &deadline, error);
}

/* Reads on during the pause: a late PUBACK is taken, and a server that closes is noticed at once. */
static kn_prov_code mqtt_pause(prov_connection *mqtt, uint32_t pause_ms, prov_error *error)
{
    kn_prov_code code = KN_PROV_OK;

    while (code == KN_PROV_OK && pause_ms > 0) {
        uint32_t slice_ms = pause_ms > PING_MS ? PING_MS : pause_ms;
        prov_deadline deadline = prov_deadline_of_pause(&mqtt->session->limits, slice_ms);
        prov_mqtt_packet packet;

        while ((code = receive_packet(mqtt, &deadline, &packet, error)) == KN_PROV_OK) {
            code = take_acknowledgement(mqtt, &packet, error);
            drop_packet(mqtt, &packet);
            if (code)
                return code;
        }
        if (code != KN_PROV_E_TIMEOUT)
            return code;
        pause_ms -= slice_ms;
        code = pause_ms > 0 ? ping(mqtt, error) : KN_PROV_OK;
    }
    return code;
}

/* Says goodbye as section 3.14 asks, for at most a second: the outcome of the registration stands already. */
static void mqtt_leave(prov_connection *mqtt)
{
    prov_limits limits = prov_limits_start(1000, 1000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the MQTT farewell");
    prov_error ignored;
    kn_prov_code code =
        send_packet(mqtt, prov_mqtt_write_disconnect(mqtt->out, sizeof mqtt->out), &deadline, &ignored);

    if (code)
        prov_trace(mqtt->session, "MQTT DISCONNECT was not sent: %s", ignored.detail);
    mqtt_close(mqtt);
}

const prov_transport prov_transport_mqtt = {
    .name = "mqtt",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC,
    .default_port = 8883,
    .open = mqtt_open,
    .exchange = mqtt_exchange,
    .pause = mqtt_pause,
    .close = mqtt_leave,
};

const prov_transport prov_transport_mqtt_ws = {
    .name = "mqtt-ws",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC,
    .default_port = 443,
    .open = mqtt_ws_open,
    .exchange = mqtt_exchange,
    .pause = mqtt_pause,
    .close = mqtt_leave,
};
