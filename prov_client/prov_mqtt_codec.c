#include "prov_mqtt_codec.h"

#include <string.h>

enum {
    TYPE_CONNECT = 1,
    TYPE_PUBLISH = 3,
    TYPE_PUBACK = 4,
    TYPE_SUBSCRIBE = 8,
    TYPE_PINGREQ = 12,
    TYPE_DISCONNECT = 14,
};

/* A writer that remembers that something did not fit, so that only the end has to look. */
typedef struct writer {
    uint8_t *data;
    size_t capacity;
    size_t used;
    bool overflow;
} writer;

static void put(writer *w, const void *data, size_t size)
{
    if (w->overflow || size > w->capacity - w->used) {
        w->overflow = true;
        return;
    }
    if (size > 0)
        memcpy(w->data + w->used, data, size);
    w->used += size;
}

static void put_u8(writer *w, uint8_t value)
{
    put(w, &value, 1);
}

static void put_u16(writer *w, uint16_t value)
{
    put_u8(w, (uint8_t)(value >> 8));
    put_u8(w, (uint8_t)(value & 0xff));
}

static void put_text_of(writer *w, const char *text, size_t size)
{
    if (size > UINT16_MAX) {
        w->overflow = true;
        return;
    }
    put_u16(w, (uint16_t)size);
    put(w, text, size);
}

static void put_text(writer *w, const char *text)
{
    put_text_of(w, text, strlen(text));
}

/* Starts a packet whose variable header and payload will have @remaining bytes (section 2.2). */
static writer begin(uint8_t first_byte, size_t remaining, uint8_t *buffer, size_t capacity)
{
    writer w = {.data = buffer, .capacity = capacity};

    if (remaining > PROV_MQTT_PACKET_MAX - PROV_MQTT_HEADER_MAX)
        w.overflow = true;
    put_u8(&w, first_byte);
    do {
        uint8_t digit = (uint8_t)(remaining & 0x7f);

        remaining >>= 7;
        put_u8(&w, (uint8_t)(digit | (remaining ? 0x80 : 0)));
    } while (remaining);
    return w;
}

static size_t finish(const writer *w)
{
    return w->overflow ? 0 : w->used;
}

size_t prov_mqtt_write_connect(const prov_mqtt_connect *connect, uint8_t *buffer, size_t capacity)
{
    size_t remaining = 10 + 2 + strlen(connect->client_id) + 2 + strlen(connect->user_name) +
                       (connect->password ? 2 + strlen(connect->password) : 0);
    writer w = begin(TYPE_CONNECT << 4, remaining, buffer, capacity);

    put_text(&w, "MQTT");
    put_u8(&w, 4);
    put_u8(&w, (uint8_t)(0x80 | (connect->password ? 0x40 : 0) | 0x02));
    put_u16(&w, connect->keep_alive_s);
    put_text(&w, connect->client_id);
    put_text(&w, connect->user_name);
    if (connect->password)
        put_text(&w, connect->password);
    return finish(&w);
}

size_t prov_mqtt_write_subscribe(uint16_t packet_id, const char *filter, uint8_t qos, uint8_t *buffer,
                                 size_t capacity)
{
    writer w = begin(TYPE_SUBSCRIBE << 4 | 0x02, 2 + 2 + strlen(filter) + 1, buffer, capacity);

    put_u16(&w, packet_id);
    put_text(&w, filter);
    put_u8(&w, qos);
    return finish(&w);
}

size_t prov_mqtt_write_publish(const prov_mqtt_publish *publish, uint8_t *buffer, size_t capacity)
{
    size_t remaining = 2 + publish->topic_size + (publish->qos ? 2 : 0) + publish->payload_size;
    uint8_t flags = (uint8_t)((publish->dup ? 8 : 0) | publish->qos << 1 | (publish->retain ? 1 : 0));
    writer w = begin((uint8_t)(TYPE_PUBLISH << 4 | flags), remaining, buffer, capacity);

    put_text_of(&w, publish->topic, publish->topic_size);
    if (publish->qos)
        put_u16(&w, publish->packet_id);
    put(&w, publish->payload, publish->payload_size);
    return finish(&w);
}

size_t prov_mqtt_write_puback(uint16_t packet_id, uint8_t *buffer, size_t capacity)
{
    writer w = begin(TYPE_PUBACK << 4, 2, buffer, capacity);

    put_u16(&w, packet_id);
    return finish(&w);
}

size_t prov_mqtt_write_pingreq(uint8_t *buffer, size_t capacity)
{
    writer w = begin(TYPE_PINGREQ << 4, 0, buffer, capacity);

    return finish(&w);
}

size_t prov_mqtt_write_disconnect(uint8_t *buffer, size_t capacity)
{
    writer w = begin(TYPE_DISCONNECT << 4, 0, buffer, capacity);

    return finish(&w);
}

/* The remaining length: 1 to 4 digits of 7 bits, least significant first. Section 2.2.3. */
static kn_prov_code read_remaining(const uint8_t *data, size_t size, size_t *ret_digits, size_t *ret_value,
                                   prov_error *error)
{
    size_t value = 0;

    *ret_digits = 0;
    for (size_t i = 0; i < 4 && i < size; i++) {
        value |= (size_t)(data[i] & 0x7f) << (7 * i);
        if (data[i] & 0x80)
            continue;
        if (value > PROV_MQTT_PACKET_MAX - PROV_MQTT_HEADER_MAX)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of %zu bytes, %u are allowed", value,
                             PROV_MQTT_PACKET_MAX);
        *ret_digits = i + 1;
        *ret_value = value;
        return KN_PROV_OK;
    }
    if (size >= 4)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet with a length of more than 4 bytes");
    return KN_PROV_OK;
}

static kn_prov_code check_first_byte(uint8_t first, prov_error *error)
{
    unsigned type = first >> 4, flags = first & 15;

    switch (type) {
    case PROV_MQTT_PUBLISH:
        if ((flags >> 1 & 3) > 1)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH with QoS %u", flags >> 1 & 3);
        if ((flags & 6) == 0 && (flags & 8))
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH with DUP and QoS 0");
        return KN_PROV_OK;
    case PROV_MQTT_CONNACK:
    case PROV_MQTT_PUBACK:
    case PROV_MQTT_SUBACK:
    case PROV_MQTT_PINGRESP:
        if (flags != 0)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u with flags %u", type,
                             flags);
        return KN_PROV_OK;
    default:
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u, which no server sends here",
                         type);
    }
}

/* Section 1.5.3: no NUL in a topic; section 3.3.2.1: no wildcard in a published one. */
static kn_prov_code read_publish(uint8_t first, const uint8_t *body, size_t size,
                                 prov_mqtt_publish *ret_publish, prov_error *error)
{
    prov_mqtt_publish publish = {
        .qos = (uint8_t)(first >> 1 & 3), .dup = (first & 8) != 0, .retain = (first & 1) != 0};
    size_t used = 2, topic_size = size >= 2 ? (size_t)body[0] << 8 | body[1] : 0;

    if (size < 2 || topic_size > size - 2)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH whose topic exceeds the packet");
    if (topic_size == 0 || topic_size > PROV_MQTT_TOPIC_MAX)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT topic of %zu bytes, 1 to %u are allowed",
                         topic_size, PROV_MQTT_TOPIC_MAX);
    publish.topic = (const char *)body + used;
    publish.topic_size = topic_size;
    if (memchr(publish.topic, '\0', topic_size) || memchr(publish.topic, '#', topic_size) ||
        memchr(publish.topic, '+', topic_size))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT topic with NUL, '#' or '+' in it");
    used += topic_size;
    if (publish.qos) {
        if (size - used < 2)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH without packet identifier");
        publish.packet_id = (uint16_t)(body[used] << 8 | body[used + 1]);
        used += 2;
        if (publish.packet_id == 0)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT PUBLISH with packet identifier 0");
    }
    publish.payload = body + used;
    publish.payload_size = size - used;
    *ret_publish = publish;
    return KN_PROV_OK;
}

static kn_prov_code read_body(uint8_t first, const uint8_t *body, size_t size, prov_mqtt_packet *packet,
                              prov_error *error)
{
    size_t expected = 0;

    switch (packet->type) {
    case PROV_MQTT_PUBLISH:
        return read_publish(first, body, size, &packet->publish, error);
    case PROV_MQTT_PINGRESP:
        expected = 0;
        break;
    case PROV_MQTT_CONNACK:
    case PROV_MQTT_PUBACK:
        expected = 2;
        break;
    case PROV_MQTT_SUBACK:
        expected = 3;
        break;
    }
    if (size != expected)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT packet of type %u with %zu bytes instead of %zu",
                         (unsigned)packet->type, size, expected);
    if (packet->type == PROV_MQTT_CONNACK) {
        if (body[0] != 0) /* session present: impossible after a clean session, section 3.2.2.2 */
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an MQTT CONNACK with flags %u", body[0]);
        packet->return_code = body[1];
    } else if (packet->type != PROV_MQTT_PINGRESP) {
        packet->packet_id = (uint16_t)(body[0] << 8 | body[1]);
        packet->return_code = packet->type == PROV_MQTT_SUBACK ? body[2] : 0;
    }
    return KN_PROV_OK;
}

kn_prov_code prov_mqtt_read(const uint8_t *data, size_t size, prov_mqtt_packet *ret_packet, prov_error *error)
{
    prov_mqtt_packet packet = {.size = 0};
    size_t digits = 0, remaining = 0;
    kn_prov_code code;

    if (size == 0) {
        *ret_packet = packet;
        return KN_PROV_OK;
    }
    if ((code = check_first_byte(data[0], error)))
        return code;
    if ((code = read_remaining(data + 1, size - 1, &digits, &remaining, error)))
        return code;
    if (digits > 0 && size - 1 - digits >= remaining) {
        packet.type = (prov_mqtt_type)(data[0] >> 4);
        if ((code = read_body(data[0], data + 1 + digits, remaining, &packet, error)))
            return code;
        packet.size = 1 + digits + remaining;
    }
    *ret_packet = packet;
    return KN_PROV_OK;
}

const char *prov_mqtt_connack_text(uint8_t return_code)
{
    static const char *const texts[] = {
        "accepted",           "unacceptable protocol version", "identifier rejected",
        "server unavailable", "bad user name or password",     "not authorized",
    };

    return return_code < sizeof texts / sizeof texts[0] ? texts[return_code] : "unknown return code";
}

kn_prov_code prov_mqtt_connack_code(uint8_t return_code)
{
    switch (return_code) {
    case 0:
        return KN_PROV_OK;
    case 3:
        return KN_PROV_E_SERVICE;
    case 4:
    case 5:
        return KN_PROV_E_UNAUTHORIZED;
    default:
        return KN_PROV_E_CONNECT_REFUSED;
    }
}
