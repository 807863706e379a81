/* What the library says: one line for each failure, and the text of keynym_hsm_last_error().
 *
 * Units: none. Ownership: arguments are borrowed. Errors: none. Threads: any; the last error is the thread's own.
 */
#ifndef KN_HSM_REPORT_H
#define KN_HSM_REPORT_H

#include "kn_err.h"

/* The failure of @call in this thread. */
void hsm_report(const char *call, kn_err err);

#endif
