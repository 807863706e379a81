/* Units:     lengths in bytes, times in milliseconds.
 * Ownership: a session owns proton's objects and its token; it borrows host and peer.
 * Errors:    a request that is refused gets a rejected disposition with condition, description (the service's
 * JSON) and info; a link that is refused is detached; the rest of AMQP is proton's to judge. Threads: belongs
 * to one connection. Spec:      private to dps_amqp*.c. AMQP 1.0 with proton's engine, in the dialects of
 * Microsoft's clients: with and without a SASL layer, link addresses with and without "amqps://host", with
 * and without correlation ids. */
#ifndef DPS_AMQP_H
#define DPS_AMQP_H

#include <proton/connection_driver.h>
#include <proton/engine.h>
#include <proton/message.h>

#include "dps_blob.h"
#include "dps_buffer.h"
#include "dps_peer.h"
#include "dps_hub.h"
#include "dps_transport.h"

enum {
    DPS_AMQP_MESSAGE_MAX = 64 * 1024, /* bytes of a request to the device API */
    DPS_AMQP_FRAME_MAX = 64 * 1024,   /* bytes of a frame */
    DPS_AMQP_LINKS_MAX = 16,          /* per connection */
    DPS_AMQP_SESSIONS_MAX = 4,        /* per connection */
    DPS_AMQP_QUEUED_MAX = 64,         /* answers on a link that the peer gave no credit for */
    DPS_AMQP_CREDIT = 10,             /* messages that a peer may send ahead */
    DPS_AMQP_IDLE_MS = 240 * 1000,    /* without a frame; the peer is told half of it */
    DPS_AMQP_ADDRESS_LEN = 512,       /* of a link, and NUL */
    DPS_AMQP_TPM_SEGMENT = 400,       /* bytes of a challenge in one SASL frame */
    DPS_AMQP_TPM_KEY_MAX = 1024,      /* bytes of a TPM2B_PUBLIC */
};

/* How far the exchange of SASL TPM has come. */
typedef enum dps_amqp_tpm_state {
    DPS_AMQP_TPM_INIT,    /* an init with the endorsement key is to come */
    DPS_AMQP_TPM_SRK,     /* asked for the storage root key */
    DPS_AMQP_TPM_SENDING, /* segments of the challenge are on their way */
    DPS_AMQP_TPM_TOKEN,   /* the last one was sent: a token is to come */
} dps_amqp_tpm_state;

typedef struct dps_amqp_sasl {
    dps_amqp_tpm_state state;
    uint8_t endorsement_key[DPS_AMQP_TPM_KEY_MAX];
    size_t endorsement_key_len;
    dps_blob challenge;
    size_t sent;
    unsigned sequence;
    uint8_t segment[1 + DPS_AMQP_TPM_SEGMENT]; /* proton keeps a pointer to it until it is written */
} dps_amqp_sasl;

typedef struct dps_amqp_session {
    const dps_transport_host *host;
    const dps_peer *peer;
    const char *transport;
    pn_connection_driver_t driver;
    pn_message_t *message; /* for decoding and encoding; one at a time */
    dps_amqp_sasl sasl;
    char scope[DPS_AMQP_ADDRESS_LEN];        /* of SASL PLAIN or TPM; with... */
    char registration[DPS_AMQP_ADDRESS_LEN]; /* ...this, whose token is below; else empty */
    char *token;
    char hub_device[DPS_AMQP_ADDRESS_LEN]; /* whose token came to $cbs; empty: none did */
    char *hub_token;
    unsigned links;
    bool opened; /* the peer's OPEN has come */
    bool heard;  /* something came in since the time-out was last asked about */
    bool ended;  /* nothing more is read */
    uint64_t next_tag;
} dps_amqp_session;

typedef struct dps_amqp_link dps_amqp_link;

/* What is served at a link's address; one row each. */
typedef struct dps_amqp_node {
    /* Whether @address (without scheme and host) is this node's; fills @link. */
    bool (*match)(dps_amqp_session *session, const char *address, dps_amqp_link *link);
    /* The peer may attach: true. False: detach with @ret_condition. NULL: always. */
    bool (*attach)(dps_amqp_session *session, dps_amqp_link *link, const char **ret_condition);
    /* A whole message came in on a link to the node; it is in session->message. Settles @delivery. */
    void (*receive)(dps_amqp_session *session, dps_amqp_link *link, pn_delivery_t *delivery);
    /* The peer gave credit, or something may be waiting. NULL: nothing is ever sent unasked. */
    void (*ready)(dps_amqp_session *session, dps_amqp_link *link);
    /* The peer said what became of a message that was sent with a tag. NULL: everything is sent settled. */
    void (*settled)(dps_amqp_session *session, dps_amqp_link *link, pn_delivery_t *delivery);
    size_t message_max;
} dps_amqp_node;

/* The context of a pn_link_t. */
struct dps_amqp_link {
    const dps_amqp_node *node;
    pn_link_t *link;
    char first[DPS_AMQP_ADDRESS_LEN];  /* the id scope, or the device id */
    char second[DPS_AMQP_ADDRESS_LEN]; /* the registration id, or what is behind the device id */
    char api_version[DPS_VERSION_LEN];
    char client_version[DPS_VERSION_LEN];
    dps_hub_device device; /* of the hub's links, once they are attached */
    int64_t position;      /* messages, or versions of the desired properties, up to here were sent */
    bool follows;          /* the twin's desired properties */
    bool sends;            /* this server does, on the link */
};

extern const dps_amqp_node dps_amqp_device_node;
extern const dps_amqp_node dps_amqp_cbs_node;
extern const dps_amqp_node dps_amqp_events_node;
extern const dps_amqp_node dps_amqp_messages_node;
extern const dps_amqp_node dps_amqp_twin_node;

DPS_MUST_CHECK bool dps_amqp_stream_new(const dps_transport_host *host, const dps_peer *peer,
                                        const char *transport, dps_stream *ret_stream);

/* SASL for a server's transport, before it is bound. */
void dps_amqp_sasl_install(dps_amqp_session *session);
void dps_amqp_sasl_free(dps_amqp_session *session);

/* The text of the message's body: a data section, a string or a binary value; empty for anything else. */
dps_span dps_amqp_body(pn_message_t *message);
/* Text of the application property @name; false when it is missing, no string, or does not fit. */
/* Keeps the correlation id of session->message (an answer's own is the request's), and clears the rest of it.
 * @take: from which of the request's ids. False when the id is longer than 128 bytes. */
DPS_MUST_CHECK bool dps_amqp_begin_answer(dps_amqp_session *session, bool from_message_id);
DPS_MUST_CHECK bool dps_amqp_property(pn_message_t *message, const char *name, char *out, size_t cap);
/* The other half of a pair: the sender of this server whose node and names are those of @link; NULL: none. */
pn_link_t *dps_amqp_sender_for(dps_amqp_session *session, const dps_amqp_link *link);
/* Sends session->message, settled. False: the link is full or there is no memory; the connection ends. */
DPS_MUST_CHECK bool dps_amqp_send(dps_amqp_session *session, pn_link_t *sender);
/* The same, not settled: the node's settled() gets the delivery, with this tag, when the peer has decided. */
DPS_MUST_CHECK bool dps_amqp_send_tagged(dps_amqp_session *session, pn_link_t *sender, const char *tag);
/* Settles @delivery. */
void dps_amqp_accept(pn_delivery_t *delivery);
void dps_amqp_reject(pn_delivery_t *delivery, int status, const char *description, unsigned retry_after_s);
const char *dps_amqp_condition(int status);

#endif
