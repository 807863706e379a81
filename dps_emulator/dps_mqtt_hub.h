/* Units:     lengths in bytes.
 * Ownership: a dps_mqtt_hub is part of its session and borrows the hub; emitted topics and payloads are
 * borrowed for the call. Errors:    a constant sentence where the connection has to be closed, NULL where
 * not. Threads:   belongs to one connection; dps_hub_username_parse() and the two property functions are
 * pure. Spec:      IoT Hub over MQTT 3.1.1: user name <hub>/<device>/?api-version=...,
 * devices/<id>/messages/events/, devices/<id>/messages/devicebound/#, $iothub/twin/... */
#ifndef DPS_MQTT_HUB_H
#define DPS_MQTT_HUB_H

#include "dps_hub.h"
#include "dps_mqtt_codec.h"

enum {
    DPS_MQTT_HUB_PACKET_MAX = 272 * 1024, /* bytes: a message of 256 KiB and its topic */
    DPS_MQTT_HUB_TOPIC_MAX = 8 * 1024,
    DPS_MQTT_HUB_IN_FLIGHT = 16, /* messages that wait for a PUBACK */
};

typedef struct dps_hub_username {
    dps_span hub;
    dps_span device;
} dps_hub_username;

/* "<hub>/<device>/..." or "<hub>/<device>"; modules ("<hub>/<device>/<module>/...") are refused. */
DPS_MUST_CHECK bool dps_hub_username_parse(dps_span text, dps_hub_username *ret);

/* "a=b&%24.ct=x" as a JSON object of strings. NULL: broken escapes, no UTF-8, too long, or out of memory. */
DPS_MUST_CHECK char *dps_hub_bag_to_json(dps_span bag);
/* And back: the strings of a JSON object, percent-encoded. NULL when it does not fit or is no object. */
DPS_MUST_CHECK char *dps_hub_bag_from_json(const char *json);

/* How the session sends. @ret_packet_id is set for QoS 1. False: the session has ended. */
typedef struct dps_mqtt_emit {
    bool (*publish)(void *user, const char *topic, dps_span payload, uint8_t qos, uint16_t *ret_packet_id);
    bool (*has_room)(void *user); /* false: the peer has not read enough of what was sent */
    void *user;
} dps_mqtt_emit;

typedef struct dps_mqtt_hub {
    dps_hub *hub;
    dps_hub_device device;
    const char *transport;
    bool twin_answers; /* subscriptions, with their QoS */
    bool patches;
    bool messages;
    uint8_t messages_qos;
    int64_t desired_version; /* patches up to here are known to the device */
    int64_t last_message;    /* messages up to here were sent in this session */
    struct {
        uint16_t packet_id; /* 0: free */
        char message_id[DPS_UUID_LEN];
    } in_flight[DPS_MQTT_HUB_IN_FLIGHT];
} dps_mqtt_hub;

/* The QoS that is granted, or 0x80. */
uint8_t dps_mqtt_hub_subscribe(dps_mqtt_hub *h, dps_span filter, uint8_t qos);
void dps_mqtt_hub_unsubscribe(dps_mqtt_hub *h, dps_span filter);
DPS_MUST_CHECK const char *dps_mqtt_hub_publish(dps_mqtt_hub *h, const dps_mqtt_publish *publish,
                                                const dps_mqtt_emit *emit);
void dps_mqtt_hub_acked(dps_mqtt_hub *h, uint16_t packet_id);
/* Sends what waits for the device. */
void dps_mqtt_hub_wake(dps_mqtt_hub *h, const dps_mqtt_emit *emit);

#endif
