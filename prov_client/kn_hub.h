/* Connects a device to its IoT hub: sends telemetry, reads the twin, receives messages and desired
 * properties. Enough to prove an identity and to serve as a health check; for more there are the Azure SDKs.
 *
 * Units: times in milliseconds, sizes in bytes, text is NUL-terminated UTF-8.
 * Ownership: a request and all that it points to are borrowed until kn_hub_close(); a twin is released with
 * free(). Errors: a kn_prov_code; kn_hub_problem() is one line that names the cause. Nothing secret appears
 * in it. Threads: one hub, one thread; any number of hubs at once. A connection does not survive fork().
 * Spec: Azure IoT Hub device API 2021-04-12 over MQTT 3.1.1, AMQP 1.0 and HTTPS. TLS and identity as in
 * kn_prov.h.
 *
 *   state     | event                                | next
 *   ----------+--------------------------------------+------------------------------------------
 *   (new)     | open succeeds / fails                | CONNECTED / nothing is held
 *   CONNECTED | send, twin, listen                   | CONNECTED
 *   CONNECTED | the connection is lost               | WAITING (event DISCONNECTED)
 *   CONNECTED | 80 % of the SAS token's life is over | CONNECTED, by a new connection
 *   WAITING   | the pause is over, connect succeeds  | CONNECTED (event CONNECTED)
 *   WAITING   | connect fails for now                | WAITING, twice as long, at most a minute
 *   WAITING   | another failure, time-out, cancel    | failed: the call returns
 *   any       | the hub refuses the identity:        | REGISTERING when the request says how, else failed
 *             |   UNAUTHORIZED, NOT_ENROLLED         |
 *   REGISTER- | assigned                             | WAITING, for the hub that was assigned (event REGISTERED)
 *     ING     | not assigned                         | failed: the problem names both
 *   REGISTER- | KN_HUB_REGISTRATIONS_MAX in a row    | failed, by the hub's refusal
 *     ING     |   came to a hub that refuses         |
 *
 * The first registration begins at once, those behind it after pauses that grow as those between connections do; a connection that
 * was of use begins the count anew. Nothing but a refusal by name makes a device register again: no failure
 * of the network, and no server that cannot be verified.
 *
 * In one call the first lost connection is replaced at once; the pauses begin with the second.
 * A message whose acknowledgement was lost with the connection is sent again: the hub may see it twice.
 */
#ifndef KN_HUB_H
#define KN_HUB_H

#include "kn_prov.h"

#include <stdbool.h>

#define KN_HUB_BODY_MAX               65536U /* bytes of a message, either way */
#define KN_HUB_PROPERTIES_MAX         4096U  /* bytes of encoded properties */
#define KN_HUB_DEFAULT_SAS_LIFETIME_S 3600U
#define KN_HUB_REGISTRATIONS_MAX      3U /* in a row: until a connection was of use */

/* A new registration, before its hub is connected with: to be kept for the next start. */
typedef void (*kn_hub_on_registered)(const kn_prov_result *result, void *context);

/* Start from a zeroed struct. NULL and 0 mean the default in brackets. */
typedef struct kn_hub_request {
    const char *hub; /* "host", "host:port" or "[address]:port", as the registration gave it; required */
    const char *device_id;   /* as the registration gave it; required */
    const char *transport;   /* a name of kn_prov_transport_name() [KN_PROV_DEFAULT_TRANSPORT] */
    const char *attestation; /* [KN_PROV_DEFAULT_ATTESTATION] */
    const char *ca_file;     /* PEM file, the only trusted roots [the system store] */
    const char *proxy;       /* as in kn_prov_request */
    const char *proxy_user;
    const char *proxy_password;
    uint32_t sas_lifetime_s;   /* [KN_HUB_DEFAULT_SAS_LIFETIME_S] */
    uint32_t step_timeout_ms;  /* the connection, and each exchange [KN_PROV_DEFAULT_STEP_TIMEOUT_MS] */
    uint32_t timeout_ms;       /* all reconnecting in one call [KN_PROV_DEFAULT_TIMEOUT_MS] */
    const kn_prov_request *reprovision; /* how to register when the hub refuses the identity; its callbacks, context and
                                           cancel are this request's. Where the new hub is named without a port, that of
                                           @hub is used [never] */
    kn_hub_on_registered on_registered; /* called in the caller's thread [none] */
    kn_prov_on_trace on_trace;          /* likewise */
    void *context;
    atomic_bool *cancel; /* [none] */
} kn_hub_request;

typedef struct kn_hub kn_hub;

/* Connects. After a failure @ret_hub is a hub that only kn_hub_problem() and kn_hub_close() take, or NULL
 * when memory is out. */
KN_PROV_MUST_CHECK kn_prov_code kn_hub_open(const kn_hub_request *request, kn_hub **ret_hub);

/* One line on this hub's last failure; "" when there was none. Lives until the next call. */
const char *kn_hub_problem(const kn_hub *hub);

typedef struct kn_hub_message {
    const void *body;
    size_t body_size;
    const char *content_type; /* NULL: none */
    const char *properties;   /* "name=value&name=value", names and values percent-encoded; NULL: none */
} kn_hub_message;

/* Sends and waits until the hub has accepted it. */
KN_PROV_MUST_CHECK kn_prov_code kn_hub_send(kn_hub *hub, const kn_hub_message *message);

/* The device's twin as JSON text. KN_PROV_E_ARGUMENT where the transport has none: HTTPS. */
KN_PROV_MUST_CHECK kn_prov_code kn_hub_twin(kn_hub *hub, char **ret_json);

typedef enum kn_hub_event_kind {
    KN_HUB_CONNECTED,
    KN_HUB_DISCONNECTED, /* body: why */
    KN_HUB_MESSAGE,      /* from cloud to device */
    KN_HUB_DESIRED,      /* body: a patch of the desired properties, JSON */
    KN_HUB_REGISTERED,   /* body: the hub that was assigned in place of the one that refused */
} kn_hub_event_kind;

typedef struct kn_hub_event {
    kn_hub_event_kind kind;
    const char *body; /* NUL-terminated behind its size; a message may hold any bytes */
    size_t body_size;
    const char *properties; /* of a message, as in kn_hub_message; "" when there are none */
} kn_hub_event;

/* True: go on listening. */
typedef bool (*kn_hub_on_event)(const kn_hub_event *event, void *context);

/* Calls @on_event for everything that comes, for @duration_ms (0: without end) or until it returns false or
 * cancel is set, which are KN_PROV_OK. */
KN_PROV_MUST_CHECK kn_prov_code kn_hub_listen(kn_hub *hub, uint32_t duration_ms, kn_hub_on_event on_event,
                                              void *context);

/* Accepts a pointer to NULL. Sets NULL. */
void kn_hub_close(kn_hub **hub);

#endif
