/* DPS over MQTT 3.1.1: on TLS (port 8883), and on WebSocket (port 443). */
#include "prov_transport.h"

#include "prov_mqtt_client.h"
#include "prov_mqtt_topic.h"
#include "prov_sas.h"
#include "prov_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER_NAME_MAX 512U

struct prov_connection {
    const prov_session *session;
    prov_mqtt_client *client;
    uint16_t request_id; /* of the last request: its packet identifier */
};

static void mqtt_close(prov_connection *mqtt)
{
    prov_mqtt_client_close(&mqtt->client);
    free(mqtt);
}

/* User name: {scope}/registrations/{id}/api-version=...&ClientVersion=..., only the version being encoded. */
static kn_prov_code connect_mqtt(prov_connection *mqtt, const char *protocol, prov_error *error)
{
    const prov_session *session = mqtt->session;
    char user_name[USER_NAME_MAX], *token = NULL;
    prov_stream *stream = NULL;
    prov_mqtt_connect connect = {
        .client_id = session->identity->registration_id,
        .user_name = user_name,
        .keep_alive_s = PROV_MQTT_KEEP_ALIVE_S,
    };
    kn_prov_code code = prov_session_token(session, &token, error);

    if (code)
        return code;
    connect.password = token;
    (void)snprintf(user_name, sizeof user_name,
                   "%s/registrations/%s/api-version=" PROV_API_VERSION "&ClientVersion=keynym%%2F" KN_VERSION,
                   session->id_scope, session->identity->registration_id);
    code = prov_wire_open(session, protocol, &stream, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_open(stream, &connect, &session->limits, &mqtt->client, error);
    prov_sas_free(&token);
    return code;
}

static kn_prov_code open_on(const prov_session *session, const char *protocol,
                            prov_connection **ret_connection, prov_error *error)
{
    prov_connection *mqtt = calloc(1, sizeof *mqtt);
    kn_prov_code code;

    if (!mqtt)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the MQTT connection");
    mqtt->session = session;
    code = connect_mqtt(mqtt, protocol, error);
    if (code == KN_PROV_OK)
        code = prov_mqtt_client_subscribe(mqtt->client, PROV_MQTT_RESPONSE_FILTER, 1, error);
    if (code)
        mqtt_close(mqtt);
    else
        *ret_connection = mqtt;
    return code;
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
    size_t size;
    kn_prov_code code;

    mqtt->request_id = prov_mqtt_client_next_id(mqtt->client);
    size = operation_id ? prov_mqtt_topic_of_poll(mqtt->request_id, operation_id, topic, sizeof topic)
                        : prov_mqtt_topic_of_register(mqtt->request_id, topic, sizeof topic);
    code = prov_mqtt_client_publish(mqtt->client, topic, size, body, strlen(body), deadline, error);
    if (code == KN_PROV_OK)
        prov_trace(mqtt->session, "MQTT PUBLISH %s (%zu bytes)", topic, strlen(body));
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
    if (topic.request_id != mqtt->request_id)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "a response with $rid=%u to the request with $rid=%u",
                         topic.request_id, mqtt->request_id);
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

static kn_prov_code mqtt_exchange(prov_connection *mqtt, const char *operation_id, const char *body,
                                  prov_reply *ret_reply, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&mqtt->session->limits,
                                                   operation_id ? "the answer to the status request"
                                                                : "the answer to the registration request");
    prov_mqtt_publish message;
    /* The published SDKs send either the body again or one blank; the service reads neither. */
    kn_prov_code code = publish_request(mqtt, operation_id, operation_id ? " " : body, &deadline, error);

    if (code == KN_PROV_OK)
        code = prov_mqtt_client_receive(mqtt->client, &deadline, &message, error);
    return code ? code : take_response(mqtt, &message, ret_reply, error);
}

/* Reads on during the pause: a late PUBACK is taken, and a server that closes is noticed at once. */
static kn_prov_code mqtt_pause(prov_connection *mqtt, uint32_t pause_ms, prov_error *error)
{
    kn_prov_code code = KN_PROV_OK;

    while (code == KN_PROV_OK && pause_ms > 0) {
        uint32_t slice_ms = pause_ms > PROV_MQTT_PING_MS ? PROV_MQTT_PING_MS : pause_ms;
        prov_deadline deadline = prov_deadline_of_pause(&mqtt->session->limits, slice_ms);
        prov_mqtt_publish message;

        code = prov_mqtt_client_receive(mqtt->client, &deadline, &message, error);
        if (code == KN_PROV_OK)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT message that nothing had asked for");
        if (code != KN_PROV_E_TIMEOUT)
            return code;
        pause_ms -= slice_ms;
        code = pause_ms > 0 ? prov_mqtt_client_ping(mqtt->client, error) : KN_PROV_OK;
    }
    return code;
}

const prov_transport prov_transport_mqtt = {
    .name = "mqtt",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC,
    .default_port = 8883,
    .open = mqtt_open,
    .exchange = mqtt_exchange,
    .pause = mqtt_pause,
    .close = mqtt_close,
};

const prov_transport prov_transport_mqtt_ws = {
    .name = "mqtt-ws",
    .attestations = PROV_ATTESTATION_X509 | PROV_ATTESTATION_SYMMETRIC,
    .default_port = 443,
    .open = mqtt_ws_open,
    .exchange = mqtt_exchange,
    .pause = mqtt_pause,
    .close = mqtt_close,
};
