#include "dps_mqtt_codec.h"

#include <stdlib.h>
#include <string.h>

const char *dps_mqtt_err_text(dps_mqtt_err err)
{
    switch (err) {
    case DPS_MQTT_OK:
        return "ok";
    case DPS_MQTT_E_TYPE:
        return "packet type that a client does not send";
    case DPS_MQTT_E_FLAGS:
        return "reserved flag bits are set";
    case DPS_MQTT_E_LENGTH:
        return "malformed length";
    case DPS_MQTT_E_TOO_LARGE:
        return "packet is larger than 16384 bytes";
    case DPS_MQTT_E_UTF8:
        return "string is not UTF-8";
    case DPS_MQTT_E_PROTOCOL_NAME:
        return "protocol name is not MQTT";
    case DPS_MQTT_E_PROTOCOL_LEVEL:
        return "protocol level is not 4 (MQTT 3.1.1)";
    case DPS_MQTT_E_PACKET_ID:
        return "packet identifier is 0";
    case DPS_MQTT_E_TOPIC:
        return "topic name is empty or has a wildcard";
    case DPS_MQTT_E_FILTERS:
        return "no topic filter, or more than 16";
    case DPS_MQTT_E_MEMORY:
        return "out of memory";
    }
    return "unknown error";
}

/* What a client may send, and the flag bits that section 2.2.2 fixes. */
static dps_mqtt_err check_first_byte(uint8_t first)
{
    uint8_t flags = first & 0x0f;
    switch (first >> 4) {
    case DPS_MQTT_PUBLISH:
        return (flags & 0x06) == 0x06 ? DPS_MQTT_E_FLAGS : DPS_MQTT_OK;
    case DPS_MQTT_SUBSCRIBE:
    case DPS_MQTT_UNSUBSCRIBE:
        return flags == 0x02 ? DPS_MQTT_OK : DPS_MQTT_E_FLAGS;
    case DPS_MQTT_CONNECT:
    case DPS_MQTT_PUBACK:
    case DPS_MQTT_PINGREQ:
    case DPS_MQTT_DISCONNECT:
        return flags == 0 ? DPS_MQTT_OK : DPS_MQTT_E_FLAGS;
    default: /* not our enum: the four bits may hold anything */
        return DPS_MQTT_E_TYPE;
    }
}

/* Takes one byte of the fixed header. */
static dps_mqtt_err feed_header(dps_mqtt_reader *reader, uint8_t byte)
{
    if (reader->header_len == 0) {
        dps_mqtt_err err = check_first_byte(byte);
        if (err == DPS_MQTT_OK) {
            reader->first = byte;
            reader->header_len = 1;
            reader->body_len = 0;
        }
        return err;
    }
    unsigned shift = 7u * (reader->header_len - 1u);
    reader->body_len |= (size_t)(byte & 0x7f) << shift;
    reader->header_len++;
    if ((byte & 0x80) != 0)
        return reader->header_len == 5 ? DPS_MQTT_E_LENGTH : DPS_MQTT_OK; /* at most four bytes (2.2.3) */
    if (reader->body_len > (reader->body_max > 0 ? reader->body_max : DPS_MQTT_PACKET_MAX))
        return DPS_MQTT_E_TOO_LARGE;
    if (reader->body_len > 0) {
        reader->body = malloc(reader->body_len);
        if (reader->body == NULL)
            return DPS_MQTT_E_MEMORY;
    }
    reader->body_have = 0;
    reader->in_body = true;
    return DPS_MQTT_OK;
}

dps_mqtt_err dps_mqtt_reader_feed(dps_mqtt_reader *reader, const uint8_t *bytes, size_t n, size_t *ret_used,
                                  bool *ret_complete, dps_mqtt_frame *ret_frame)
{
    size_t used = 0;
    dps_mqtt_err err = DPS_MQTT_OK;
    *ret_complete = false;
    if (reader->in_body && reader->body_have == reader->body_len) /* the last frame was handed out */
        dps_mqtt_reader_free(reader);
    while (!reader->in_body && used < n && err == DPS_MQTT_OK)
        err = feed_header(reader, bytes[used++]);
    if (err == DPS_MQTT_OK && reader->in_body) {
        size_t want = reader->body_len - reader->body_have;
        size_t take = n - used < want ? n - used : want;
        if (take > 0) {
            memcpy(reader->body + reader->body_have, bytes + used, take);
            reader->body_have += take;
            used += take;
        }
        if (reader->body_have == reader->body_len) {
            *ret_frame = (dps_mqtt_frame){
                .type = reader->first >> 4,
                .flags = reader->first & 0x0f,
                .body = reader->body,
                .body_len = reader->body_len,
            };
            *ret_complete = true;
        }
    }
    *ret_used = used;
    return err;
}

void dps_mqtt_reader_free(dps_mqtt_reader *reader)
{
    free(reader->body);
    *reader = (dps_mqtt_reader){0};
}

/* A cursor over the body; the first field that does not fit sets @err and all further reads return nothing.
 */
typedef struct cursor {
    const uint8_t *at;
    size_t left;
    dps_mqtt_err err;
} cursor;

static cursor cursor_of(const dps_mqtt_frame *frame)
{
    return (cursor){frame->body, frame->body_len, DPS_MQTT_OK};
}

static uint8_t take_u8(cursor *c)
{
    if (c->err != DPS_MQTT_OK)
        return 0;
    if (c->left < 1) {
        c->err = DPS_MQTT_E_LENGTH;
        return 0;
    }
    c->left--;
    return *c->at++;
}

static uint16_t take_u16(cursor *c)
{
    unsigned high = take_u8(c);
    unsigned low = take_u8(c);
    return (uint16_t)(high << 8 | low);
}

static dps_span take_bytes(cursor *c)
{
    size_t n = take_u16(c);
    if (c->err == DPS_MQTT_OK && c->left < n)
        c->err = DPS_MQTT_E_LENGTH;
    if (c->err != DPS_MQTT_OK)
        return (dps_span){"", 0};
    dps_span span = {n > 0 ? (const char *)c->at : "", n};
    c->at += n;
    c->left -= n;
    return span;
}

/* 1.5.3: well-formed UTF-8 without U+0000. */
static dps_span take_string(cursor *c)
{
    dps_span span = take_bytes(c);
    if (c->err == DPS_MQTT_OK && !dps_utf8_valid((const uint8_t *)span.at, span.len))
        c->err = DPS_MQTT_E_UTF8;
    return span;
}

static dps_mqtt_err cursor_end(const cursor *c)
{
    if (c->err != DPS_MQTT_OK)
        return c->err;
    return c->left == 0 ? DPS_MQTT_OK : DPS_MQTT_E_LENGTH;
}

enum connect_flag {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USERNAME = 0x80,
};

static dps_mqtt_err check_connect_flags(uint8_t flags)
{
    if ((flags & FLAG_RESERVED) != 0 || (flags & FLAG_WILL_QOS) == FLAG_WILL_QOS)
        return DPS_MQTT_E_FLAGS;
    if ((flags & FLAG_WILL) == 0 && (flags & (FLAG_WILL_QOS | FLAG_WILL_RETAIN)) != 0)
        return DPS_MQTT_E_FLAGS;
    if ((flags & FLAG_USERNAME) == 0 && (flags & FLAG_PASSWORD) != 0) /* 3.1.2.9 */
        return DPS_MQTT_E_FLAGS;
    return DPS_MQTT_OK;
}

dps_mqtt_err dps_mqtt_parse_connect(const dps_mqtt_frame *frame, dps_mqtt_connect *ret)
{
    cursor c = cursor_of(frame);
    dps_span name = take_string(&c);
    uint8_t level = take_u8(&c);
    if (c.err != DPS_MQTT_OK)
        return c.err;
    if (dps_span_is(name, "MQIsdp")) /* MQTT 3.1: a version, so it gets the version's answer */
        return DPS_MQTT_E_PROTOCOL_LEVEL;
    if (!dps_span_is(name, "MQTT"))
        return DPS_MQTT_E_PROTOCOL_NAME;
    if (level != 4)
        return DPS_MQTT_E_PROTOCOL_LEVEL;
    uint8_t flags = take_u8(&c);
    uint16_t keepalive_s = take_u16(&c);
    dps_span client_id = take_string(&c);
    dps_span username = {"", 0};
    dps_span password = {"", 0};
    if (c.err != DPS_MQTT_OK)
        return c.err;
    dps_mqtt_err err = check_connect_flags(flags);
    if (err != DPS_MQTT_OK)
        return err;
    if ((flags & FLAG_WILL) != 0) { /* read past it: this service delivers to nobody else */
        take_string(&c);
        take_bytes(&c);
    }
    if ((flags & FLAG_USERNAME) != 0)
        username = take_string(&c);
    if ((flags & FLAG_PASSWORD) != 0)
        password = take_bytes(&c);
    err = cursor_end(&c);
    if (err != DPS_MQTT_OK)
        return err;
    *ret = (dps_mqtt_connect){
        .client_id = client_id,
        .username = username,
        .password = password,
        .keepalive_s = keepalive_s,
        .clean_session = (flags & FLAG_CLEAN) != 0,
        .has_username = (flags & FLAG_USERNAME) != 0,
        .has_password = (flags & FLAG_PASSWORD) != 0,
    };
    return DPS_MQTT_OK;
}

dps_mqtt_err dps_mqtt_parse_publish(const dps_mqtt_frame *frame, dps_mqtt_publish *ret)
{
    cursor c = cursor_of(frame);
    uint8_t qos = (frame->flags >> 1) & 3;
    dps_span topic = take_string(&c);
    uint16_t packet_id = qos > 0 ? take_u16(&c) : 0;
    if (c.err != DPS_MQTT_OK)
        return c.err;
    if (qos > 2)
        return DPS_MQTT_E_FLAGS;
    if (qos > 0 && packet_id == 0)
        return DPS_MQTT_E_PACKET_ID;
    if (topic.len == 0 || memchr(topic.at, '#', topic.len) != NULL ||
        memchr(topic.at, '+', topic.len) != NULL)
        return DPS_MQTT_E_TOPIC; /* 3.3.2.1 */
    *ret = (dps_mqtt_publish){
        .topic = topic,
        .payload = {c.left > 0 ? (const char *)c.at : "", c.left},
        .packet_id = packet_id,
        .qos = qos,
        .dup = (frame->flags & 8) != 0,
        .retain = (frame->flags & 1) != 0,
    };
    return DPS_MQTT_OK;
}

dps_mqtt_err dps_mqtt_parse_puback(const dps_mqtt_frame *frame, uint16_t *ret_packet_id)
{
    cursor c = cursor_of(frame);
    uint16_t packet_id = take_u16(&c);
    dps_mqtt_err err = cursor_end(&c);
    if (err == DPS_MQTT_OK)
        *ret_packet_id = packet_id;
    return err;
}

dps_mqtt_err dps_mqtt_parse_filters(const dps_mqtt_frame *frame, dps_mqtt_filters *ret)
{
    dps_mqtt_filters filters = {0};
    cursor c = cursor_of(frame);
    filters.packet_id = take_u16(&c);
    while (c.err == DPS_MQTT_OK && c.left > 0) {
        if (filters.count == DPS_MQTT_FILTERS_MAX)
            return DPS_MQTT_E_FILTERS;
        dps_span filter = take_string(&c);
        uint8_t qos = frame->type == DPS_MQTT_SUBSCRIBE ? take_u8(&c) : 0;
        if (c.err != DPS_MQTT_OK)
            return c.err;
        if (qos > 2) /* 3.8.3.1: reserved bits, or QoS 3 */
            return DPS_MQTT_E_FLAGS;
        if (filter.len == 0)
            return DPS_MQTT_E_TOPIC;
        filters.filter[filters.count] = filter;
        filters.qos[filters.count] = qos;
        filters.count++;
    }
    if (c.err != DPS_MQTT_OK)
        return c.err;
    if (filters.packet_id == 0)
        return DPS_MQTT_E_PACKET_ID;
    if (filters.count == 0)
        return DPS_MQTT_E_FILTERS;
    *ret = filters;
    return DPS_MQTT_OK;
}

dps_mqtt_err dps_mqtt_parse_empty(const dps_mqtt_frame *frame)
{
    return frame->body_len == 0 ? DPS_MQTT_OK : DPS_MQTT_E_LENGTH;
}

static size_t put_fixed(uint8_t *out, size_t cap, const uint8_t *packet, size_t n)
{
    if (cap < n)
        return 0;
    memcpy(out, packet, n);
    return n;
}

size_t dps_mqtt_put_connack(uint8_t *out, size_t cap, uint8_t return_code)
{
    const uint8_t packet[] = {DPS_MQTT_CONNACK << 4, 2, 0, return_code};
    return put_fixed(out, cap, packet, sizeof(packet));
}

static size_t put_id_only(uint8_t *out, size_t cap, dps_mqtt_type type, uint16_t packet_id)
{
    const uint8_t packet[] = {(uint8_t)(type << 4), 2, (uint8_t)(packet_id >> 8), (uint8_t)packet_id};
    return put_fixed(out, cap, packet, sizeof(packet));
}

size_t dps_mqtt_put_puback(uint8_t *out, size_t cap, uint16_t packet_id)
{
    return put_id_only(out, cap, DPS_MQTT_PUBACK, packet_id);
}

size_t dps_mqtt_put_unsuback(uint8_t *out, size_t cap, uint16_t packet_id)
{
    return put_id_only(out, cap, DPS_MQTT_UNSUBACK, packet_id);
}

size_t dps_mqtt_put_pingresp(uint8_t *out, size_t cap)
{
    const uint8_t packet[] = {DPS_MQTT_PINGRESP << 4, 0};
    return put_fixed(out, cap, packet, sizeof(packet));
}

size_t dps_mqtt_put_suback(uint8_t *out, size_t cap, uint16_t packet_id, const uint8_t *codes, size_t count)
{
    if (count > DPS_MQTT_FILTERS_MAX || cap < 4 + count)
        return 0;
    out[0] = DPS_MQTT_SUBACK << 4;
    out[1] = (uint8_t)(2 + count);
    out[2] = (uint8_t)(packet_id >> 8);
    out[3] = (uint8_t)packet_id;
    memcpy(out + 4, codes, count);
    return 4 + count;
}

static size_t put_length(uint8_t out[4], size_t length)
{
    size_t n = 0;
    do {
        uint8_t digit = length & 0x7f;
        length >>= 7;
        out[n++] = length > 0 ? digit | 0x80 : digit;
    } while (length > 0);
    return n;
}

size_t dps_mqtt_put_publish(uint8_t *out, size_t cap, const dps_mqtt_publish *publish)
{
    size_t id_len = publish->qos > 0 ? 2 : 0;
    if (publish->topic.len > UINT16_MAX || publish->payload.len > DPS_MQTT_PACKET_LIMIT)
        return 0;
    size_t body_len = 2 + publish->topic.len + id_len + publish->payload.len;
    uint8_t length[4];
    size_t length_len = put_length(length, body_len);
    if (cap < 1 + length_len + body_len)
        return 0;
    uint8_t *p = out;
    *p++ = (uint8_t)(DPS_MQTT_PUBLISH << 4 | publish->qos << 1);
    memcpy(p, length, length_len);
    p += length_len;
    *p++ = (uint8_t)(publish->topic.len >> 8);
    *p++ = (uint8_t)publish->topic.len;
    memcpy(p, publish->topic.at, publish->topic.len);
    p += publish->topic.len;
    if (id_len > 0) {
        *p++ = (uint8_t)(publish->packet_id >> 8);
        *p++ = (uint8_t)publish->packet_id;
    }
    if (publish->payload.len > 0)
        memcpy(p, publish->payload.at, publish->payload.len);
    return 1 + length_len + body_len;
}
