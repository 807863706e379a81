/* A device that speaks AMQP, as Microsoft's clients do, with proton's engine as the client. */
#ifndef TEST_DPS_AMQP_CLIENT_H
#define TEST_DPS_AMQP_CLIENT_H

#include "test_dps_harness.h"

#include <cJSON.h>
#include <proton/connection_driver.h>
#include <proton/engine.h>
#include <proton/message.h>

/* How a client introduces itself, and how it spells things. */
typedef struct amqp_dialect {
    const char *name;
    const char *sasl; /* NULL: no SASL layer */
    const char *host; /* in front of the link addresses; "" or "amqps://..." */
    const char *version;
    bool correlation;
    bool poll_with_string; /* the body of the poll is an AmqpValue */
} amqp_dialect;

extern const amqp_dialect amqp_npm;
extern const amqp_dialect amqp_c_sdk;

typedef struct amqp_peer {
    client tls;
    pn_connection_driver_t driver;
    pn_link_t *sender;
    pn_link_t *receiver;
    pn_delivery_t *sent;
    pn_message_t *answer; /* the last message that came in */
    bool answered;
    char condition[64]; /* of the last rejection, refused link, or failed SASL */
    char description[1024];
    int retry_after; /* of the rejection's info; 0: none */
    bool rejected, accepted, closed;
} amqp_peer;

/* Sends OPEN, after SASL where the dialect has it. @user may be NULL. */
void amqp_open(amqp_peer *p, const amqp_dialect *d, const char *user, const char *password);
void amqp_attach(amqp_peer *p, const amqp_dialect *d, const char *path);
/* Connects, opens and attaches both links for the registration id. */
void amqp_begin(amqp_peer *p, const server *s, const amqp_dialect *d, const test_cert *leaf, bool ws,
                const char *id);
void amqp_finish(amqp_peer *p);
/* Talks until something has happened that an answer is made of, or until the links are there. */
void amqp_talk(amqp_peer *p, bool until_attached);
/* @operation NULL registers; @type replaces the operation type when it is not NULL. */
void amqp_ask(amqp_peer *p, const amqp_dialect *d, const char *operation, const char *type, const char *body);
/* The answer's JSON; it must be in a data section, as the C SDK insists. */
cJSON *amqp_answer(amqp_peer *p, const amqp_dialect *d);
/* The application property retry-after, an int; 0: none. */
int amqp_retry_after(amqp_peer *p);

#endif
