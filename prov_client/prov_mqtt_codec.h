/* MQTT 3.1.1 packets as a client writes and reads them. Bytes in, struct out.
 *
 * Units: bytes. Ownership: writers fill the caller's buffer; a decoded packet points into the caller's bytes.
 * Errors: writers return 0 when the packet does not fit; the reader names what is wrong (KN_PROV_E_PROTOCOL).
 * Threads: pure functions, no I/O. Spec: OASIS MQTT 3.1.1, sections 2 (format) and 3 (packets).
 *   QoS 2 is not part of this client: it is never asked for, so receiving it is an error.
 */
#ifndef PROV_MQTT_CODEC_H
#define PROV_MQTT_CODEC_H

#include "prov_error.h"

#include <stdbool.h>

#define PROV_MQTT_PACKET_MAX (65536U + 1024U) /* a whole packet, in either direction */
#define PROV_MQTT_TOPIC_MAX  512U
#define PROV_MQTT_HEADER_MAX 5U

/* Section 3.1. A clean session, no will. */
typedef struct prov_mqtt_connect {
    const char *client_id;
    const char *user_name;
    const char *password; /* NULL: none */
    uint16_t keep_alive_s;
} prov_mqtt_connect;

typedef struct prov_mqtt_publish {
    const char *topic; /* not NUL-terminated in a decoded packet */
    size_t topic_size;
    const uint8_t *payload;
    size_t payload_size;
    uint8_t qos; /* 0 or 1 */
    bool dup;
    bool retain;
    uint16_t packet_id; /* QoS 1 only */
} prov_mqtt_publish;

size_t prov_mqtt_write_connect(const prov_mqtt_connect *connect, uint8_t *buffer, size_t capacity);
size_t prov_mqtt_write_subscribe(uint16_t packet_id, const char *filter, uint8_t qos, uint8_t *buffer,
                                 size_t capacity);
size_t prov_mqtt_write_publish(const prov_mqtt_publish *publish, uint8_t *buffer, size_t capacity);
size_t prov_mqtt_write_puback(uint16_t packet_id, uint8_t *buffer, size_t capacity);
size_t prov_mqtt_write_pingreq(uint8_t *buffer, size_t capacity);
size_t prov_mqtt_write_disconnect(uint8_t *buffer, size_t capacity);

/* What a server may send; the values are those of the wire. */
typedef enum prov_mqtt_type {
    PROV_MQTT_CONNACK = 2,
    PROV_MQTT_PUBLISH = 3,
    PROV_MQTT_PUBACK = 4,
    PROV_MQTT_SUBACK = 9,
    PROV_MQTT_PINGRESP = 13,
} prov_mqtt_type;

typedef struct prov_mqtt_packet {
    prov_mqtt_type type;
    size_t size;         /* of the whole packet; 0: more bytes are needed, the rest is not set */
    uint16_t packet_id;  /* PUBACK, SUBACK */
    uint8_t return_code; /* CONNACK; SUBACK of its one filter */
    prov_mqtt_publish publish;
} prov_mqtt_packet;

/* Reads the packet at the start of @data. An impossible or oversized packet is refused as soon as its first
 * bytes show it. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_read(const uint8_t *data, size_t size, prov_mqtt_packet *ret_packet,
                                               prov_error *error);

/* The meaning of a CONNACK return code (section 3.2.2.3). Never NULL. */
const char *prov_mqtt_connack_text(uint8_t return_code);
/* What it comes to: the identity is refused (4, 5), the server is not available for now (3), or the connection is (the others). */
kn_prov_code prov_mqtt_connack_code(uint8_t return_code);

#endif
