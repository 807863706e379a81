/* A way to talk to the hub. One row of hub_transports and one file each; the names are those of
 * prov_transports.
 *
 * Units: milliseconds, bytes. Ownership: a session is borrowed until close(); what comes in belongs to the
 * caller, who calls hub_incoming_clear(). Errors: those of prov_transport.h. Threads: one connection, one
 * thread. Spec: the file of each transport names its own.
 *
 *   state  | call                | next
 *   -------+---------------------+---------------------------------------
 *   (none) | open                | ready, or nothing held after a failure
 *   ready  | send, twin, receive | ready; after a failure but a time-out of receive: broken
 *   any    | close               | (none)
 */
#ifndef HUB_TRANSPORT_H
#define HUB_TRANSPORT_H

#include "kn_hub.h"
#include "prov_transport.h"

typedef struct hub_incoming {
    kn_hub_event_kind kind; /* KN_HUB_MESSAGE or KN_HUB_DESIRED */
    char *body;
    size_t body_size;
    char *properties; /* NULL: none */
} hub_incoming;

void hub_incoming_clear(hub_incoming *incoming);

/* A copy of @size bytes with a NUL behind them; KN_PROV_E_MEMORY. */
KN_PROV_MUST_CHECK kn_prov_code hub_copy(const void *bytes, size_t size, char **ret_text, prov_error *error);

typedef struct hub_connection hub_connection; /* each transport has its own */

typedef struct hub_transport {
    const char *name;
    uint16_t default_port;
    kn_prov_code (*open)(const prov_session *session, hub_connection **ret_connection, prov_error *error);
    kn_prov_code (*send)(hub_connection *connection, const kn_hub_message *message, prov_error *error);
    kn_prov_code (*twin)(hub_connection *connection, char **ret_json,
                         prov_error *error); /* NULL: it has none */
    /* Waits until @deadline, whose arrival is KN_PROV_E_TIMEOUT and leaves the connection ready. */
    kn_prov_code (*receive)(hub_connection *connection, const prov_deadline *deadline,
                            hub_incoming *ret_incoming, prov_error *error);
    void (*close)(hub_connection *connection);
} hub_transport;

extern const hub_transport *const hub_transports[];
extern const size_t hub_transports_count;

extern const hub_transport hub_transport_mqtt;
extern const hub_transport hub_transport_mqtt_ws;
extern const hub_transport hub_transport_amqp;
extern const hub_transport hub_transport_amqp_ws;
extern const hub_transport hub_transport_https;

#define HUB_API_VERSION "2021-04-12"

/* NULL: there is none. */
const hub_transport *hub_transport_find(const char *name);

#endif
