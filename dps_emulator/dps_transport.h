/* Units:     ports 0..65535, 0 lets the system choose.
 * Ownership: rows are constant; a listener's settings are borrowed while it is set up.
 * Errors:    a callback returns -1 to close its connection, as libwebsockets has it.
 * Threads:   all callbacks run in the server's loop.
 * Spec:      one row per way into the service; the server loops over dps_transports and knows none of them by
 * name. */
#ifndef DPS_TRANSPORT_H
#define DPS_TRANSPORT_H

#include <stddef.h>

#include <libwebsockets.h>

#include "dps_service.h"

typedef struct dps_transport {
    const char *name;        /* in the start line, in records and in logs */
    const char *accept_role; /* libwebsockets role of accepted connections: "raw-skt", or NULL for HTTP */
    const char *alpn; /* what the listener may select; never a protocol that libwebsockets would act upon */
    int default_port;
    size_t session_size; /* bytes per connection that the callback gets as its user pointer, zeroed */
    lws_callback_function *callback;
} dps_transport;

extern const dps_transport dps_transport_mqtt;

/* NULL-terminated. */
extern const dps_transport *const dps_transports[];

/* What a transport needs of the server; the user pointer of the libwebsockets context. */
typedef struct dps_transport_host {
    dps_service *service;
    unsigned
        connect_timeout_s; /* from the TCP connection to the first complete request, TLS handshake included */
} dps_transport_host;

const dps_transport_host *dps_transport_host_of(struct lws *wsi);

#endif
