/* Units:     lengths in bytes; DPS_MQTT_PACKET_MAX is the "remaining length" that a peer may announce.
 * Ownership: frames and spans point into the reader or into the caller's bytes and are valid until the reader
 * is fed again; a reader owns at most one body buffer, of the announced length. Errors:    a value of
 * dps_mqtt_err; every one of them means: close the connection. Threads:   a reader belongs to one connection;
 * the functions are pure (bytes in, struct out). Spec:      MQTT 3.1.1 (OASIS, 29 October 2014), server side,
 * section numbers at the functions. */
#ifndef DPS_MQTT_CODEC_H
#define DPS_MQTT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_text.h"

enum {
    DPS_MQTT_PACKET_MAX = 16 * 1024,    /* bytes, of the device API and before CONNECT */
    DPS_MQTT_PACKET_LIMIT = 272 * 1024, /* bytes, of whatever is put */
    DPS_MQTT_FILTERS_MAX = 16,          /* topic filters in one SUBSCRIBE or UNSUBSCRIBE */
};

typedef enum dps_mqtt_type {
    DPS_MQTT_CONNECT = 1,
    DPS_MQTT_CONNACK = 2,
    DPS_MQTT_PUBLISH = 3,
    DPS_MQTT_PUBACK = 4,
    DPS_MQTT_SUBSCRIBE = 8,
    DPS_MQTT_SUBACK = 9,
    DPS_MQTT_UNSUBSCRIBE = 10,
    DPS_MQTT_UNSUBACK = 11,
    DPS_MQTT_PINGREQ = 12,
    DPS_MQTT_PINGRESP = 13,
    DPS_MQTT_DISCONNECT = 14,
} dps_mqtt_type;

typedef enum dps_mqtt_err {
    DPS_MQTT_OK,
    DPS_MQTT_E_TYPE,           /* a packet that a client does not send */
    DPS_MQTT_E_FLAGS,          /* reserved bits, or QoS 3 */
    DPS_MQTT_E_LENGTH,         /* malformed remaining length, or a body that does not fit its fields */
    DPS_MQTT_E_TOO_LARGE,      /* above DPS_MQTT_PACKET_MAX */
    DPS_MQTT_E_UTF8,           /* a string that is not UTF-8, or has U+0000 */
    DPS_MQTT_E_PROTOCOL_NAME,  /* CONNECT for something that is not MQTT */
    DPS_MQTT_E_PROTOCOL_LEVEL, /* CONNECT for another version: answer CONNACK 1, then close */
    DPS_MQTT_E_PACKET_ID,      /* packet identifier 0 */
    DPS_MQTT_E_TOPIC,          /* empty, or with wildcards */
    DPS_MQTT_E_FILTERS,        /* none, or more than DPS_MQTT_FILTERS_MAX */
    DPS_MQTT_E_MEMORY,
} dps_mqtt_err;

const char *dps_mqtt_err_text(dps_mqtt_err err);

typedef struct dps_mqtt_frame {
    uint8_t type;  /* a dps_mqtt_type */
    uint8_t flags; /* lower four bits of the first byte */
    const uint8_t *body;
    size_t body_len;
} dps_mqtt_frame;

/* Zero-initialise; dps_mqtt_reader_free() returns its memory. */
typedef struct dps_mqtt_reader {
    uint8_t first;
    uint8_t header_len; /* bytes of the fixed header seen so far */
    size_t body_len;    /* announced (partly, while the length is still being read) */
    size_t body_have;
    uint8_t *body;
    bool in_body;
    size_t body_max; /* 0: DPS_MQTT_PACKET_MAX */
} dps_mqtt_reader;

/* Reads from @bytes until a packet is complete or they are used up. @ret_used says how many were taken, also
 * on failure. @ret_complete: a frame is in @ret_frame; call again with the rest. (2.2) */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_reader_feed(dps_mqtt_reader *reader, const uint8_t *bytes, size_t n,
                                                 size_t *ret_used, bool *ret_complete,
                                                 dps_mqtt_frame *ret_frame);
void dps_mqtt_reader_free(dps_mqtt_reader *reader);

typedef struct dps_mqtt_connect {
    dps_span client_id;
    dps_span username;
    dps_span password;
    uint16_t keepalive_s;
    bool clean_session;
    bool has_username;
    bool has_password;
} dps_mqtt_connect;

typedef struct dps_mqtt_publish {
    dps_span topic;
    dps_span payload;
    uint16_t packet_id; /* 0 for QoS 0 */
    uint8_t qos;
    bool dup;
    bool retain;
} dps_mqtt_publish;

typedef struct dps_mqtt_filters {
    uint16_t packet_id;
    size_t count;
    dps_span filter[DPS_MQTT_FILTERS_MAX];
    uint8_t qos[DPS_MQTT_FILTERS_MAX]; /* asked for; 0 in UNSUBSCRIBE */
} dps_mqtt_filters;

/* Outputs are untouched on failure. @frame->type says which one may be called. */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_parse_connect(const dps_mqtt_frame *frame,
                                                   dps_mqtt_connect *ret); /* 3.1 */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_parse_publish(const dps_mqtt_frame *frame,
                                                   dps_mqtt_publish *ret); /* 3.3 */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_parse_puback(const dps_mqtt_frame *frame,
                                                  uint16_t *ret_packet_id); /* 3.4 */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_parse_filters(const dps_mqtt_frame *frame,
                                                   dps_mqtt_filters *ret);     /* 3.8, 3.10 */
DPS_MUST_CHECK dps_mqtt_err dps_mqtt_parse_empty(const dps_mqtt_frame *frame); /* 3.12, 3.14 */

/* Encoders write into @out of @cap bytes and return the length, or 0 when it does not fit. */
size_t dps_mqtt_put_connack(uint8_t *out, size_t cap, uint8_t return_code);
size_t dps_mqtt_put_puback(uint8_t *out, size_t cap, uint16_t packet_id);
size_t dps_mqtt_put_suback(uint8_t *out, size_t cap, uint16_t packet_id, const uint8_t *codes, size_t count);
size_t dps_mqtt_put_unsuback(uint8_t *out, size_t cap, uint16_t packet_id);
size_t dps_mqtt_put_pingresp(uint8_t *out, size_t cap);
size_t dps_mqtt_put_publish(uint8_t *out, size_t cap, const dps_mqtt_publish *publish);

#endif
