/* An MQTT 3.1.1 client on any byte stream: what the device API and the hub have in common.
 *
 * Units: bytes, milliseconds. Ownership: prov_mqtt_client_open() takes the stream, and closes it when it
 * fails as well; a received message points into the client until its next call. Errors: those of the stream;
 * KN_PROV_E_PROTOCOL; KN_PROV_E_CONNECT_REFUSED for a CONNACK or SUBACK that says no. Threads: one client,
 * one thread. Spec: OASIS MQTT 3.1.1. Packet identifiers are used up in order and never again.
 *
 *   state | call                              | next
 *   ------+-----------------------------------+------------------------------------------------
 *   (none)| open                              | open, or nothing held after a failure
 *   open  | subscribe, publish, receive, idle | open; after a failure but a time-out: only close
 *   any   | close                             | (none)
 */
#ifndef PROV_MQTT_CLIENT_H
#define PROV_MQTT_CLIENT_H

#include "prov_mqtt_codec.h"
#include "prov_stream.h"

#define PROV_MQTT_KEEP_ALIVE_S 180U
#define PROV_MQTT_PING_MS      60000U /* well below the keep alive, and below the idle limits of common NATs */
#define PROV_MQTT_FLIGHT_MAX   32U    /* messages that wait for their PUBACK */
#define PROV_MQTT_KEPT_MAX     64U    /* messages that came while something else was waited for */

typedef struct prov_mqtt_client prov_mqtt_client;

/* Sends CONNECT and waits for CONNACK. @limits are borrowed for the client's life. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_open(prov_stream *stream, const prov_mqtt_connect *connect,
                                                      const prov_limits *limits,
                                                      prov_mqtt_client **ret_client, prov_error *error);

/* Waits for SUBACK; messages that come before it are kept for prov_mqtt_client_receive(). */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_subscribe(prov_mqtt_client *client, const char *filter,
                                                           uint8_t qos, prov_error *error);

/* Sends a PUBLISH of QoS 1 and does not wait for its PUBACK, unless PROV_MQTT_FLIGHT_MAX are on their way. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_publish(prov_mqtt_client *client, const char *topic,
                                                         size_t topic_size, const void *payload,
                                                         size_t payload_size, const prov_deadline *deadline,
                                                         prov_error *error);

/* The identifier that the next packet will have; 0: all are used up, and the connection is at its end. */
uint16_t prov_mqtt_client_next_id(const prov_mqtt_client *client);

/* Waits until everything that was published is acknowledged. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_settle(prov_mqtt_client *client,
                                                        const prov_deadline *deadline, prov_error *error);

/* Waits for the next message and acknowledges it. @ret_message is valid until the next call on the client. */
KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_receive(prov_mqtt_client *client,
                                                         const prov_deadline *deadline,
                                                         prov_mqtt_publish *ret_message, prov_error *error);

KN_PROV_MUST_CHECK kn_prov_code prov_mqtt_client_ping(prov_mqtt_client *client, prov_error *error);

/* Says goodbye, for at most a second. Accepts a pointer to NULL. Sets NULL. */
void prov_mqtt_client_close(prov_mqtt_client **client);

#endif
