/* Units:     ports 0..65535, 0 lets the system choose.
 * Ownership: rows are constant; a session borrows host and peer for its life.
 * Errors:    see dps_stream.h.
 * Threads:   all calls run in the server's loop.
 * Spec:      one row per port; the server loops over dps_transports and knows none of them by name. */
#ifndef DPS_TRANSPORT_H
#define DPS_TRANSPORT_H

#include <stddef.h>

#include "dps_hub.h"
#include "dps_service.h"
#include "dps_stream.h"

/* What a session needs of the server. */
typedef struct dps_transport_host {
    dps_store *store;
    dps_service *service;
    dps_hub *hub; /* NULL: no hub is served */
} dps_transport_host;

typedef struct dps_transport {
    const char *name; /* in the start line, in records and in logs; */
    const char *alpn; /* what the listener selects when it is offered; libwebsockets acts upon none of them */
    const char *port_option; /* of serve, without the dashes */
    int default_port;
    /* A connection has finished its handshake and sent its first bytes. False when out of memory. */
    bool (*start)(const dps_transport_host *host, const dps_peer *peer, dps_stream *ret_stream);
} dps_transport;

enum { DPS_TRANSPORTS_MAX = 8 };

/* NULL-terminated. */
extern const dps_transport *const dps_transports[];

#endif
