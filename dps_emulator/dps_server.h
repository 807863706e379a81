/* Units:     ports 0..65535.
 * Ownership: borrows the service and the settings for its life.
 * Errors:    a dps_fail that names the port and the next step.
 * Threads:   one loop in the calling thread; one server per process, because it owns SIGTERM and SIGINT.
 * Spec:      libwebsockets 4.1 to 4.3: one context, one virtual host per transport. */
#ifndef DPS_SERVER_H
#define DPS_SERVER_H

#include "dps_service.h"
#include "dps_tls.h"
#include "dps_transport.h"

typedef struct dps_server dps_server;

typedef struct dps_server_config {
    const char *bind;           /* an address */
    unsigned connect_timeout_s; /* for TCP connection, TLS handshake and first request together */
    const dps_tls_files *tls;
    dps_tls_wrong *wrong_certificates; /* borrowed; NULL: none */
    int ports[DPS_TRANSPORTS_MAX]; /* in the order of dps_transports; 0: any free port; -1: do not listen */
} dps_server_config;

/* Listens when it returns true. From then on SIGTERM and SIGINT are blocked and end dps_server_run(). */
DPS_MUST_CHECK bool dps_server_new(dps_service *service, dps_hub *hub, const dps_server_config *config,
                                   dps_server **ret_server, dps_fail *fail);
/* The port of the transport at @index of dps_transports, or -1. */
int dps_server_port(const dps_server *server, size_t index);
/* Serves until SIGTERM or SIGINT. False when the loop failed. */
DPS_MUST_CHECK bool dps_server_run(dps_server *server, dps_fail *fail);
void dps_server_free(dps_server **server);

#endif
