/* Units:     times in seconds.
 * Ownership: a connection owns its stream and its peer, and libwebsockets owns the connection.
 * Errors:    the callback returns -1 to close its connection, as libwebsockets has it.
 * Threads:   the server's loop.
 * Spec:      carries a dps_stream over a TLS connection of libwebsockets' role "raw-skt". */
#ifndef DPS_CARRIER_H
#define DPS_CARRIER_H

#include <libwebsockets.h>

#include "dps_peer.h"
#include "dps_tls.h"
#include "dps_transport.h"

typedef struct dps_carrier_host {
    dps_transport_host host; /* for the sessions */
    unsigned
        connect_timeout_s; /* from the TCP connection to the first complete request, TLS handshake included */
    lws_dll2_owner_t connections;
    dps_tls_wrong *wrong_certificates; /* borrowed; NULL: none */
} dps_carrier_host;

typedef struct dps_carrier {
    lws_dll2_t list;
    struct lws *wsi;
    dps_stream stream; /* none until the first bytes: the handshake is not done before them */
    dps_peer peer;
    dps_gate gate;
    lws_usec_t hold_us; /* until then nothing is sent; 0: no limit */
    bool paused; /* input is not asked for */
    lws_usec_t deadline_us;
    lws_usec_t tick_us; /* 0: none */
} dps_carrier;

/* The protocol's user pointer is the dps_transport, the context's a dps_carrier_host. */
int dps_carrier_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* Tells every stream that something may be waiting for its device. */
void dps_carrier_wake_all(dps_carrier_host *host);

#endif
