/* The list that `keynym doctor` writes: one line for each thing that was looked at, and the next step where it is not well.
 *
 * Units: none. Ownership: kn_checks_end() releases. Errors: remembered in @failed. Threads: none.
 */
#ifndef KN_CMD_CHECKS_H
#define KN_CMD_CHECKS_H

#include "kn_cmd.h"

typedef struct kn_checks {
    cJSON *array; /* NULL: lines on standard output */
    bool failed, out_of_memory;
} kn_checks;

kn_checks kn_checks_begin(bool json);

void kn_check_ok(kn_checks *checks, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));
void kn_check_skip(kn_checks *checks, const char *what, const char *why);
/* @next: what to do, without a full stop; NULL: it is in the text, behind "(next step: ". */
void kn_check_fail(kn_checks *checks, const char *what, const char *next, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Prints what is not printed yet; KN_EXIT_FAILURE when something failed. */
kn_exit kn_checks_end(kn_checks *checks);

#endif
