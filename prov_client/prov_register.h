/* The registration protocol, whatever carries it: an answer goes in, the next action comes out.
 *
 * Units: pauses in milliseconds, retry-after in seconds. Ownership: the machine owns its last response;
 *   prov_register_clear() releases it. Errors: the outcome of the registration as a kn_prov_code.
 * Threads: pure, no I/O, no clock, no randomness of its own. Spec: DPS device API 2021-06-01.
 *
 *   state       | answer                    | next                     | action
 *   ------------+---------------------------+--------------------------+------------------------------------
 *   REGISTERING | < 300 assigning           | ASSIGNING                | POLL after retry-after
 *   ASSIGNING   | < 300 assigning           | ASSIGNING                | POLL after retry-after
 *   either      | < 300 assigned            | ENDED                    | DONE
 *   either      | < 300 failed, disabled,   | ENDED                    | error: FAILED, NO_HUB, UNAUTHORIZED,
 *               |   unassigned, malformed   |                          |   DISABLED, RESPONSE
 *   REGISTERING | 429, 5xx                  | REGISTERING              | REGISTER after back-off
 *   ASSIGNING   | 429, 5xx                  | ASSIGNING                | POLL after back-off
 *   either      | 429, 5xx, attempts are up | ENDED                    | error: THROTTLED, SERVICE
 *   either      | 401, 403; 404; others     | ENDED                    | error: UNAUTHORIZED; NOT_ENROLLED;
 *               |                           |                          |   REFUSED; PROTOCOL
 *
 * retry-after counts from 1 to 300 s; any other value, or none, is PROV_RETRY_DEFAULT_S. The back-off
 * starts at retry-after, doubles with every failure in a row up to PROV_BACKOFF_MAX_S, is never shorter than
 * the retry-after of that answer, and up to half of it is added at random so that devices spread out.
 */
#ifndef PROV_REGISTER_H
#define PROV_REGISTER_H

#include "prov_response.h"

#define PROV_RETRY_DEFAULT_S 2U
#define PROV_RETRY_MAX_S     300U
#define PROV_BACKOFF_MAX_S   60U
#define PROV_TRANSIENT_MAX   8U     /* 429 or 5xx in a row */
#define PROV_JITTER_RANGE    65536U /* jitter is a number below this */

/* What a transport brings back. */
typedef struct prov_reply {
    int status;             /* as in HTTP */
    uint32_t retry_after_s; /* 0: none */
    char *body;             /* may be NULL when empty */
    size_t body_size;
} prov_reply;

typedef enum prov_register_state {
    PROV_STATE_REGISTERING,
    PROV_STATE_ASSIGNING,
    PROV_STATE_ENDED,
} prov_register_state;

typedef enum prov_action_kind {
    PROV_ACTION_REGISTER, /* send the registration request */
    PROV_ACTION_POLL,     /* ask for the state of prov_register.response.operation_id */
    PROV_ACTION_DONE,     /* prov_register.response holds the hub */
} prov_action_kind;

typedef struct prov_action {
    prov_action_kind kind;
    uint32_t pause_ms; /* wait this long before */
} prov_action;

typedef struct prov_register {
    prov_register_state state;
    char operation_id[PROV_OPERATION_ID_MAX + 1];
    unsigned transient;     /* 429 and 5xx in a row */
    int status;             /* of the last answer */
    prov_response response; /* of the last answer that could be read */
} prov_register;

#define PROV_REGISTER_INIT                                                                                   \
    {                                                                                                        \
        .state = PROV_STATE_REGISTERING                                                                      \
    }

/* Takes one answer. @jitter is a random number below PROV_JITTER_RANGE. On failure the registration has
 * ended and the code is its outcome; machine->response holds what the service said about it. */
KN_PROV_MUST_CHECK kn_prov_code prov_register_next(prov_register *machine, const prov_reply *reply,
                                                   uint32_t jitter, prov_action *ret_action,
                                                   prov_error *error);

void prov_register_clear(prov_register *machine);

#endif
