/* An AMQP 1.0 connection over any byte stream: what the device API and the hub have in common. Engine:
 * qpid-proton.
 *
 * Units: bytes, milliseconds. Ownership: prov_amqp_open() takes the stream, and closes it when it fails as
 * well; links belong to the connection; messages are the caller's. Errors: those of the stream;
 * KN_PROV_E_PROTOCOL for frames that are not AMQP; KN_PROV_E_CONNECT_REFUSED for a SASL outcome, a link or a
 * connection that the peer refuses (KN_PROV_E_UNAUTHORIZED, KN_PROV_E_NOT_ENROLLED where its condition says
 * so). Threads: one connection, one thread. Spec: OASIS AMQP 1.0.
 *
 *   state | call                 | next
 *   ------+----------------------+------------------------------------------------
 *   (none)| open                 | open, or nothing held after a failure
 *   open  | attach               | open, with one link more; closed on failure
 *   open  | send, receive, idle  | open; after a failure but a time-out: only close
 *   any   | close                | (none)
 */
#ifndef PROV_AMQP_H
#define PROV_AMQP_H

#include "prov_stream.h"

#include <proton/link.h>
#include <proton/message.h>

#define PROV_AMQP_MESSAGE_MAX   (256U * 1024U) /* bytes of an encoded message, either way */
#define PROV_AMQP_CONDITION_MAX 64U
#define PROV_AMQP_TEXT_MAX      4096U

#define PROV_AMQP_MSSBCBS "MSSBCBS" /* a token will come on $cbs */
#define PROV_AMQP_TPM     "TPM"     /* prov_amqp_sasl_tpm.h */

typedef struct prov_amqp prov_amqp;

typedef struct prov_amqp_config {
    const char *container;
    const char *host;
    const char *mechanism; /* of SASL: "PLAIN", PROV_AMQP_MSSBCBS or _TPM; NULL: no SASL layer at all */
    const char *user;
    const char *password;
    struct prov_sasl_tpm *tpm; /* of PROV_AMQP_TPM; lives until prov_amqp_open() returns */
} prov_amqp_config;

KN_PROV_MUST_CHECK kn_prov_code prov_amqp_open(prov_stream *stream, const prov_amqp_config *config,
                                               const prov_deadline *deadline, prov_amqp **ret_amqp,
                                               prov_error *error);

typedef struct prov_amqp_property {
    const char *name; /* NULL ends a list */
    const char *value;
} prov_amqp_property;

/* Attaches a link named @name: a sender to @address, or a receiver from it with credit for @credit messages
 * (0: a sender). */
KN_PROV_MUST_CHECK kn_prov_code prov_amqp_attach(prov_amqp *amqp, const char *name, const char *address,
                                                 int credit, const prov_amqp_property *properties,
                                                 const prov_deadline *deadline, pn_link_t **ret_link,
                                                 prov_error *error);

/* How the peer settled a message. */
typedef struct prov_amqp_outcome {
    bool accepted;
    char condition[PROV_AMQP_CONDITION_MAX]; /* "amqp:not-found"; "" when there is none */
    char description[PROV_AMQP_TEXT_MAX];
    uint32_t retry_after_s; /* of the condition's info; 0: none */
} prov_amqp_outcome;

/* Sends @message and waits until it is settled. A rejection is an outcome, not an error. */
KN_PROV_MUST_CHECK kn_prov_code prov_amqp_send(prov_amqp *amqp, pn_link_t *sender, pn_message_t *message,
                                               const prov_deadline *deadline, prov_amqp_outcome *ret_outcome,
                                               prov_error *error);

/* Waits for the next message of @receiver, accepts it, and gives its credit back. */
KN_PROV_MUST_CHECK kn_prov_code prov_amqp_receive(prov_amqp *amqp, pn_link_t *receiver,
                                                  const prov_deadline *deadline, pn_message_t *message,
                                                  prov_error *error);

/* Waits until one of @count receivers has a message; which one in @ret_index. */
KN_PROV_MUST_CHECK kn_prov_code prov_amqp_wait(prov_amqp *amqp, pn_link_t *const *receivers, size_t count,
                                               const prov_deadline *deadline, size_t *ret_index,
                                               prov_error *error);

/* Reads, answers and sends heartbeats until @deadline, whose arrival is success. */
KN_PROV_MUST_CHECK kn_prov_code prov_amqp_idle(prov_amqp *amqp, const prov_deadline *deadline,
                                               prov_error *error);

/* The status that a condition stands for, as in HTTP: 401, 404, 429, 500, else 400. */
int prov_amqp_status_of(const char *condition);

/* A number of the map @properties as int, long, ... or as text; 0: absent or no number. */
uint32_t prov_amqp_number(pn_data_t *properties, const char *name);

/* The text of a correlation id or body value; false when it is no text of fewer than @capacity bytes. */
bool prov_amqp_text(pn_data_t *data, char *ret_text, size_t capacity);

/* Accepts a pointer to NULL. Says goodbye for at most a second. */
void prov_amqp_close(prov_amqp **amqp);

#endif
