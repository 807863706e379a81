/* Units:     times in seconds, lengths in bytes.
 * Ownership: borrows the service and the peer for its life; owns its input and output buffers, both capped.
 * Errors:    a violation of the protocol is logged and ends the session: dps_mqtt_session_open() becomes
 * false. Threads:   a session belongs to one connection. Spec:      MQTT 3.1.1 as the device API uses it;
 * bytes in, bytes out, whatever carries them (TLS, WebSocket).
 *
 *   state      CONNECT        SUBSCRIBE, UNSUBSCRIBE, PUBLISH, PUBACK, PINGREQ   DISCONNECT
 *   waiting    -> connected   closed                                             closed
 *   connected  closed         answered                                           closed
 *   closed     (input is ignored; the output that is left should still be sent) */
#ifndef DPS_MQTT_SESSION_H
#define DPS_MQTT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_peer.h"
#include "dps_service.h"
#include "dps_stream.h"
#include "dps_transport.h"

enum {
    DPS_MQTT_OUTPUT_MAX = 128 * 1024, /* unread answers; a peer that does not read is closed */
    DPS_MQTT_IDLE_TIMEOUT_S = 1800,   /* for clients whose keepalive is 0 or longer than this */
};

typedef struct dps_mqtt_session dps_mqtt_session;

/* @transport: name for the records, constant. NULL when out of memory. */
DPS_MUST_CHECK dps_mqtt_session *dps_mqtt_session_new(dps_service *service, const dps_peer *peer,
                                                      const char *transport);
/* The same as a dps_stream. */
DPS_MUST_CHECK bool dps_mqtt_stream_new(const dps_transport_host *host, const dps_peer *peer,
                                        const char *transport, dps_stream *ret_stream);
void dps_mqtt_session_free(dps_mqtt_session **session);

void dps_mqtt_session_input(dps_mqtt_session *session, const uint8_t *bytes, size_t n);
/* What is to be sent; valid until the next call. NULL when there is nothing. */
const uint8_t *dps_mqtt_session_output(const dps_mqtt_session *session, size_t *ret_n);
void dps_mqtt_session_sent(dps_mqtt_session *session, size_t n);
/* False: close the connection once the output is sent. */
bool dps_mqtt_session_open(const dps_mqtt_session *session);
/* True after an accepted CONNECT: from then on every input starts the time-out below anew. */
bool dps_mqtt_session_connected(const dps_mqtt_session *session);
/* How long a connected peer may stay silent. */
unsigned dps_mqtt_session_timeout_s(const dps_mqtt_session *session);

#endif
