#include "prov_mqtt_client.h"

#include <stdlib.h>
#include <string.h>

/* A message that came, with topic and payload behind it. */
typedef struct kept {
    struct kept *next;
    prov_mqtt_publish message;
    uint8_t bytes[];
} kept;

struct prov_mqtt_client {
    prov_stream *stream;
    const prov_limits *limits;
    uint16_t last_id;
    uint16_t flight[PROV_MQTT_FLIGHT_MAX]; /* identifiers without a PUBACK */
    unsigned flight_count;
    kept *first, *current;
    unsigned kept_count;
    size_t used; /* bytes in @in */
    uint8_t in[PROV_MQTT_PACKET_MAX];
    uint8_t out[PROV_MQTT_PACKET_MAX];
};

/* ---- packets ---- */

static kn_prov_code send_packet(prov_mqtt_client *client, size_t size, const prov_deadline *deadline,
                                prov_error *error)
{
    if (size == 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "a request of more than %u bytes", PROV_MQTT_PACKET_MAX);
    return prov_stream_send(client->stream, client->out, size, deadline, error);
}

/* The packet points into @in: drop_packet() when done with it. */
static kn_prov_code receive_packet(prov_mqtt_client *client, const prov_deadline *deadline,
                                   prov_mqtt_packet *ret_packet, prov_error *error)
{
    for (;;) {
        size_t received = 0;
        kn_prov_code code = prov_mqtt_read(client->in, client->used, ret_packet, error);

        if (code || ret_packet->size > 0)
            return code;
        /* There is room: a packet that does not fit was refused at its header. */
        code = prov_stream_recv(client->stream, client->in + client->used, sizeof client->in - client->used,
                                deadline, &received, error);
        if (code)
            return code;
        client->used += received;
    }
}

static void drop_packet(prov_mqtt_client *client, const prov_mqtt_packet *packet)
{
    client->used -= packet->size;
    memmove(client->in, client->in + packet->size, client->used);
}

/* ---- what comes in between ---- */

static kn_prov_code keep(prov_mqtt_client *client, const prov_mqtt_publish *message,
                         const prov_deadline *deadline, prov_error *error)
{
    kept **end = &client->first;
    kept *one;

    if (client->kept_count == PROV_MQTT_KEPT_MAX)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "%s: more than %u messages came instead", deadline->step,
                         PROV_MQTT_KEPT_MAX);
    one = malloc(sizeof *one + message->topic_size + message->payload_size);
    if (!one)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for a message");
    one->next = NULL;
    one->message = *message;
    memcpy(one->bytes, message->topic, message->topic_size);
    if (message->payload_size)
        memcpy(one->bytes + message->topic_size, message->payload, message->payload_size);
    one->message.topic = (const char *)one->bytes;
    one->message.payload = one->bytes + message->topic_size;
    while (*end)
        end = &(*end)->next;
    *end = one;
    client->kept_count++;
    if (message->qos == 0)
        return KN_PROV_OK;
    return send_packet(client, prov_mqtt_write_puback(message->packet_id, client->out, sizeof client->out),
                       deadline, error);
}

static kn_prov_code take_puback(prov_mqtt_client *client, uint16_t id, prov_error *error)
{
    for (unsigned i = 0; i < client->flight_count; i++) {
        if (client->flight[i] == id) {
            client->flight[i] = client->flight[--client->flight_count];
            return KN_PROV_OK;
        }
    }
    return prov_fail(error, KN_PROV_E_PROTOCOL,
                     "an MQTT PUBACK for packet %u, which was not sent or is acknowledged", id);
}

/* Takes one packet: messages are kept, acknowledgements noted. CONNACK and SUBACK are the caller's, when it
 * says so. */
static kn_prov_code step(prov_mqtt_client *client, prov_mqtt_type wanted, const prov_deadline *deadline,
                         prov_mqtt_packet *ret_packet, prov_error *error)
{
    kn_prov_code code = receive_packet(client, deadline, ret_packet, error);

    if (code)
        return code;
    switch (ret_packet->type) {
    case PROV_MQTT_PINGRESP:
        break;
    case PROV_MQTT_PUBACK:
        code = take_puback(client, ret_packet->packet_id, error);
        break;
    case PROV_MQTT_PUBLISH:
        code = wanted == PROV_MQTT_CONNACK
                   ? prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH before CONNACK")
                   : keep(client, &ret_packet->publish, deadline, error);
        break;
    case PROV_MQTT_CONNACK:
    case PROV_MQTT_SUBACK:
        if (ret_packet->type != wanted)
            code = prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u out of turn",
                             (unsigned)ret_packet->type);
        break;
    }
    drop_packet(client, ret_packet);
    return code;
}

static kn_prov_code expect(prov_mqtt_client *client, prov_mqtt_type type, const prov_deadline *deadline,
                           prov_mqtt_packet *ret_packet, prov_error *error)
{
    kn_prov_code code;

    do {
        code = step(client, type, deadline, ret_packet, error);
    } while (code == KN_PROV_OK && ret_packet->type != type);
    return code;
}

/* ---- calls ---- */

static void release(prov_mqtt_client *client)
{
    free(client->current);
    while (client->first) {
        kept *next = client->first->next;

        free(client->first);
        client->first = next;
    }
    prov_stream_close(&client->stream);
    free(client);
}

kn_prov_code prov_mqtt_client_open(prov_stream *stream, const prov_mqtt_connect *connect,
                                   const prov_limits *limits, prov_mqtt_client **ret_client,
                                   prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(limits, "the MQTT connection (CONNACK)");
    prov_mqtt_client *client = calloc(1, sizeof *client);
    prov_mqtt_packet packet;
    kn_prov_code code;

    if (!client) {
        prov_stream_close(&stream);
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the MQTT connection");
    }
    client->stream = stream;
    client->limits = limits;
    code = send_packet(client, prov_mqtt_write_connect(connect, client->out, sizeof client->out), &deadline,
                       error);
    if (code == KN_PROV_OK)
        code = expect(client, PROV_MQTT_CONNACK, &deadline, &packet, error);
    if (code == KN_PROV_OK && packet.return_code != 0)
        code = prov_fail(error, prov_mqtt_connack_code(packet.return_code), "MQTT CONNACK with return code %u, %s",
                         packet.return_code, prov_mqtt_connack_text(packet.return_code));
    if (code)
        release(client);
    else
        *ret_client = client;
    return code;
}

uint16_t prov_mqtt_client_next_id(const prov_mqtt_client *client)
{
    return client->last_id == UINT16_MAX ? 0 : (uint16_t)(client->last_id + 1);
}

static kn_prov_code take_id(prov_mqtt_client *client, prov_error *error)
{
    if (client->last_id == UINT16_MAX)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "all MQTT packet identifiers are used up");
    client->last_id++;
    return KN_PROV_OK;
}

kn_prov_code prov_mqtt_client_subscribe(prov_mqtt_client *client, const char *filter, uint8_t qos,
                                        prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(client->limits, "the MQTT subscription (SUBACK)");
    prov_mqtt_packet packet;
    kn_prov_code code = take_id(client, error);

    if (code)
        return code;
    code = send_packet(
        client, prov_mqtt_write_subscribe(client->last_id, filter, qos, client->out, sizeof client->out),
        &deadline, error);
    if (code == KN_PROV_OK)
        code = expect(client, PROV_MQTT_SUBACK, &deadline, &packet, error);
    if (code == KN_PROV_OK && packet.packet_id != client->last_id)
        code = prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT SUBACK for packet %u instead of %u",
                         packet.packet_id, client->last_id);
    if (code == KN_PROV_OK && packet.return_code > 1) /* 0x80: refused; 2 was not asked for */
        code = prov_fail(error, KN_PROV_E_CONNECT_REFUSED, "MQTT SUBACK with return code %u",
                         packet.return_code);
    return code;
}

static kn_prov_code settle_to(prov_mqtt_client *client, unsigned count, const prov_deadline *deadline,
                              prov_error *error)
{
    prov_mqtt_packet packet;
    kn_prov_code code = KN_PROV_OK;

    while (code == KN_PROV_OK && client->flight_count > count)
        code = step(client, PROV_MQTT_PUBACK, deadline, &packet, error);
    return code;
}

kn_prov_code prov_mqtt_client_settle(prov_mqtt_client *client, const prov_deadline *deadline,
                                     prov_error *error)
{
    return settle_to(client, 0, deadline, error);
}

kn_prov_code prov_mqtt_client_publish(prov_mqtt_client *client, const char *topic, size_t topic_size,
                                      const void *payload, size_t payload_size, const prov_deadline *deadline,
                                      prov_error *error)
{
    prov_mqtt_publish publish = {
        .topic = topic, .topic_size = topic_size, .payload = payload, .payload_size = payload_size, .qos = 1};
    kn_prov_code code = settle_to(client, PROV_MQTT_FLIGHT_MAX - 1, deadline, error);

    if (code || (code = take_id(client, error)))
        return code;
    publish.packet_id = client->last_id;
    code = send_packet(client, prov_mqtt_write_publish(&publish, client->out, sizeof client->out), deadline,
                       error);
    if (code == KN_PROV_OK)
        client->flight[client->flight_count++] = client->last_id;
    return code;
}

kn_prov_code prov_mqtt_client_receive(prov_mqtt_client *client, const prov_deadline *deadline,
                                      prov_mqtt_publish *ret_message, prov_error *error)
{
    prov_mqtt_packet packet;
    kn_prov_code code = KN_PROV_OK;

    free(client->current);
    client->current = NULL;
    while (code == KN_PROV_OK && !client->first)
        code = step(client, PROV_MQTT_PUBLISH, deadline, &packet, error);
    if (code)
        return code;
    client->current = client->first;
    client->first = client->first->next;
    client->kept_count--;
    *ret_message = client->current->message;
    return KN_PROV_OK;
}

kn_prov_code prov_mqtt_client_ping(prov_mqtt_client *client, prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(client->limits, "the MQTT keep-alive");

    return send_packet(client, prov_mqtt_write_pingreq(client->out, sizeof client->out), &deadline, error);
}

void prov_mqtt_client_close(prov_mqtt_client **client)
{
    prov_limits limits = prov_limits_start(1000, 1000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the MQTT farewell");
    prov_error ignored;

    if (!*client)
        return;
    /* Section 3.14 asks for it; whoever closes has what it wants, so a failure changes nothing. */
    if (send_packet(*client, prov_mqtt_write_disconnect((*client)->out, sizeof(*client)->out), &deadline,
                    &ignored))
        ignored.detail[0] = '\0';
    release(*client);
    *client = NULL;
}
