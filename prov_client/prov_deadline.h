/* Until when a blocking step may take, and who may stop it.
 *
 * Units: milliseconds of the monotonic clock. Ownership: all borrowed; a deadline owns nothing.
 * Errors: KN_PROV_E_TIMEOUT naming the step and the limit, KN_PROV_E_CANCELLED.
 * Threads: the cancel flag may be set by any thread or signal handler; all else belongs to one thread.
 * Spec: none. A cancel is noticed within PROV_SLICE_MS.
 */
#ifndef PROV_DEADLINE_H
#define PROV_DEADLINE_H

#include "prov_error.h"

#include <stdbool.h>

#define PROV_SLICE_MS 100

/* The limits of one registration. */
typedef struct prov_limits {
    uint32_t step_timeout_ms;
    uint32_t timeout_ms;
    int64_t end_ms;
    atomic_bool *cancel; /* may be NULL */
} prov_limits;

typedef struct prov_deadline {
    int64_t at_ms;
    uint32_t limit_ms; /* for the message */
    bool overall;      /* the limit is that of the whole registration */
    const char *step;  /* "the MQTT connection", for the message */
    atomic_bool *cancel;
} prov_deadline;

int64_t prov_now_ms(void);

/* The clock of the registration starts now. */
prov_limits prov_limits_start(uint32_t step_timeout_ms, uint32_t timeout_ms, atomic_bool *cancel);

/* A step that starts now: whichever of the two limits comes first. Borrows @step for the deadline's life. */
prov_deadline prov_deadline_of_step(const prov_limits *limits, const char *step);

/* A pause that starts now and lasts @pause_ms: reaching it is the expected outcome. */
prov_deadline prov_deadline_of_pause(const prov_limits *limits, uint32_t pause_ms);

/* Milliseconds that are left, 0 when none. */
int64_t prov_deadline_left_ms(const prov_deadline *deadline);

/* KN_PROV_OK while there is time and nobody cancelled. */
KN_PROV_MUST_CHECK kn_prov_code prov_deadline_check(const prov_deadline *deadline, prov_error *error);

/* Waits until @fd has one of @events (of poll(2)), or until a slice of time is over, or the deadline. @fd may
 * be -1. Interruptions by signals are no error. Look at the clock with prov_deadline_check() afterwards. */
void prov_deadline_poll(const prov_deadline *deadline, int fd, short events);

/* Lets @pause_ms go by, where there is no connection to look after. */
KN_PROV_MUST_CHECK kn_prov_code prov_deadline_sleep(const prov_limits *limits, uint32_t pause_ms,
                                                    prov_error *error);

#endif
