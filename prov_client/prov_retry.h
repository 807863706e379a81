/* When the next registration may begin, kept in a file, so that neither a restart nor a reboot makes a device
 * forget that it has to wait: devices that lose power together do not come back together.
 *
 * Units: seconds of the wall clock, since no other clock lives through a reboot; pauses in milliseconds.
 * Ownership: all borrowed. Errors: a code and a detail that names the file; callers go on without the state.
 * Threads: one registration for each file at a time. Spec: none; the file is one line,
 *   "keynym-retry 1 FAILURES SAVED NOT-BEFORE", and anything else in it is an error.
 *
 *   file              | event                                | next file
 *   ------------------+--------------------------------------+---------------------------------------------
 *   none              | a registration begins                | 1 failure, so that a power cut counts as one
 *   n failures        | the pause is over, one begins        | n + 1 failures
 *   n failures        | the service throttles or fails       | n failures, not before the end of this pause
 *   n failures        | it ends with the hub                 | none
 *   n failures        | it ends with the service's refusal,  | n failures, not before the back-off and the
 *                     |   or without an answer               |   service's retry-after are over
 *   n failures        | it is cancelled, or the identity     | n - 1 failures, as before
 *                     |   cannot be used                     |
 *   anything else     | a registration begins                | 1 failure; the problem is reported
 *
 * The pause is PROV_RETRY_FILE_MIN_S after the first failure and doubles up to PROV_RETRY_FILE_MAX_S, is never
 * shorter than the service's retry-after, and up to half of it is added at random. A clock that was set back
 * (a device without a battery) makes the pause begin again; no clock makes it longer than it was.
 */
#ifndef PROV_RETRY_H
#define PROV_RETRY_H

#include "prov_error.h"

#define PROV_RETRY_FILE_MIN_S    2U
#define PROV_RETRY_FILE_MAX_S    300U
#define PROV_RETRY_PAUSE_MAX_S   450U /* with half of it added at random */
#define PROV_RETRY_FAILURES_MAX  1000000U
#define PROV_RETRY_TEXT_MAX      80U /* bytes of the file */
#define PROV_RETRY_JITTER_RANGE  65536U

typedef struct prov_retry {
    unsigned failures; /* in a row; 0: there is no file */
    int64_t saved_s;
    int64_t not_before_s;
} prov_retry;

/* Pure. How long to wait at @now_s. */
uint32_t prov_retry_pause_ms(const prov_retry *retry, int64_t now_s);

/* Pure. One failure more, and the pause behind it. @jitter is a random number below PROV_RETRY_JITTER_RANGE. */
void prov_retry_count(prov_retry *retry, int64_t now_s, uint32_t jitter);

/* Pure. Not before @pause_s from @now_s, if that is later than now known. */
void prov_retry_not_before(prov_retry *retry, int64_t now_s, uint32_t pause_s);

/* Pure. KN_PROV_E_ARGUMENT when @text is not what prov_retry_save() writes; @ret_retry is untouched then. */
KN_PROV_MUST_CHECK kn_prov_code prov_retry_parse(const char *text, size_t size, prov_retry *ret_retry,
                                                 prov_error *error);

/* A file that does not exist is a state without failures. */
KN_PROV_MUST_CHECK kn_prov_code prov_retry_load(const char *path, prov_retry *ret_retry, prov_error *error);

/* Replaces the file in one step; a state without failures removes it. */
KN_PROV_MUST_CHECK kn_prov_code prov_retry_save(const char *path, const prov_retry *retry, prov_error *error);

#endif
