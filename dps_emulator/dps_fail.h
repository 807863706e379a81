/* Units:     none.
 * Ownership: a dps_fail is a plain value; the caller keeps it on its stack.
 * Errors:    this is the error: one sentence on what failed, one on the next step, for a person to read.
 * Threads:   no shared state.
 * Spec:      none; house rule "what failed + the next step". */
#ifndef DPS_FAIL_H
#define DPS_FAIL_H

#include <stdbool.h>

#define DPS_MUST_CHECK     __attribute__((warn_unused_result))
#define DPS_PRINTF(fmt, a) __attribute__((format(printf, fmt, a)))

/* Exit codes of the program; they are documented in keynym-dps(1). */
enum dps_exit {
    DPS_EXIT_OK = 0,
    DPS_EXIT_FAILED = 1,
    DPS_EXIT_USAGE = 2,
    DPS_EXIT_NOT_FOUND = 3,
    DPS_EXIT_CONFLICT = 4,
};

typedef struct dps_fail {
    enum dps_exit exit_code; /* what the program exits with when nobody handles the failure */
    char text[512];
} dps_fail;

/* Fills @fail and returns false, so that "return dps_fail_set(...)" reads as what it does. @fail may be NULL.
 */
bool dps_fail_set(dps_fail *fail, enum dps_exit exit_code, const char *fmt, ...) DPS_PRINTF(3, 4);

#endif
