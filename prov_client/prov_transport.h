/* A way to carry requests to the service and answers back. One row of prov_transports and one file each.
 *
 * Units: milliseconds. Ownership: a session is borrowed until close(); a reply's body is freed by the caller.
 * Errors: those of prov_stream.h, KN_PROV_E_PROTOCOL, KN_PROV_E_CONNECT_REFUSED. After any of them the
 *   connection can only be closed. Threads: one connection, one thread.
 * Spec: the file of each transport names its own. What an answer means is prov_register.h's.
 *
 *   state  | call                     | next
 *   -------+--------------------------+---------------------------------------
 *   (none) | open                     | ready, or nothing held after a failure
 *   ready  | exchange, pause          | ready, or broken after a failure
 *   broken | (only close)             |
 *   any    | close                    | (none)
 */
#ifndef PROV_TRANSPORT_H
#define PROV_TRANSPORT_H

#include "prov_deadline.h"
#include "prov_identity.h"
#include "prov_names.h"
#include "prov_register.h"
#include "prov_tls.h"

/* Whom to talk to, and as whom: the service by ID scope and registration ID, or the hub by device ID. */
typedef struct prov_session {
    prov_endpoint endpoint;
    const char *id_scope;  /* of the service */
    const char *device_id; /* of the hub */
    uint32_t sas_lifetime_s;
    prov_tls_config tls; /* trust, credentials and proxy */
    const prov_identity *identity;
    prov_limits limits;
    kn_prov_on_trace on_trace; /* may be NULL */
    void *context;
} prov_session;

/* A line for the trace, if anyone listens. */
void prov_trace(const prov_session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The SAS token of a device that has no certificate; NULL in @ret_token for one that has. prov_sas_free() it.
 */
KN_PROV_MUST_CHECK kn_prov_code prov_session_token(const prov_session *session, char **ret_token,
                                                   prov_error *error);

typedef struct prov_connection prov_connection; /* each transport has its own */

typedef struct prov_transport {
    const char *name;
    unsigned attestations; /* bits of prov_attestation_kind */
    uint16_t default_port;
    bool connects_late; /* at the first exchange, not in open() */
    bool sends_tpm_keys; /* in the registration request; others do so before */
    kn_prov_code (*open)(const prov_session *session, prov_connection **ret_connection, prov_error *error);
    /* Sends the registration request (@operation_id NULL) with the JSON text @body, or asks for the state of
     * @operation_id, and waits for the answer. */
    kn_prov_code (*exchange)(prov_connection *connection, const char *operation_id, const char *body,
                             prov_reply *ret_reply, prov_error *error);
    /* Lets @pause_ms go by, keeps the connection alive and notices its end. */
    kn_prov_code (*pause)(prov_connection *connection, uint32_t pause_ms, prov_error *error);
    void (*close)(prov_connection *connection);
} prov_transport;

extern const prov_transport *const prov_transports[];
extern const size_t prov_transports_count;

extern const prov_transport prov_transport_mqtt;
extern const prov_transport prov_transport_mqtt_ws;
extern const prov_transport prov_transport_amqp;
extern const prov_transport prov_transport_amqp_ws;
extern const prov_transport prov_transport_https;

#define PROV_API_VERSION "2021-06-01"

/* An unknown name is KN_PROV_E_ARGUMENT and the message lists those that exist. */
KN_PROV_MUST_CHECK kn_prov_code prov_transport_find(const char *name, const prov_transport **ret_transport,
                                                    prov_error *error);

#endif
