/* What tokens do otherwise than the standard or than others: one row for each, by the module that serves them.
 *
 * Generic code first tries what the standard says and mends what a return value explains; a row is for what no return value
 * tells, or what costs the user something to find out.
 *
 * Units: none. Ownership: rows are constant. Errors: none; a module that does not tell who made it has no quirks.
 * Threads: any. Spec: none.
 */
#ifndef KN_P11_QUIRK_H
#define KN_P11_QUIRK_H

#include "p11_state.h"

typedef struct p11_quirk {
    const char *library; /* manufacturerID of CK_INFO */
    const char *model;   /* of CK_TOKEN_INFO; NULL: any */

    bool fixed_uses; /* the token chooses what a new key may do, and fails when a template says that it may not */
    bool scarce;     /* a login holds what the hardware has few of, for all programs: it ends with the last key that is open;
                      * and a failure without a reason is likely that there was none left */
} p11_quirk;

/* All rows that match, in one. Asks the module who made it: not for hot paths. */
p11_quirk p11_quirk_of(const p11_token *token);

/* Is it scarce? Asks only a module whose name speaks for it, so that the others are not asked each time a key is released. */
bool p11_quirk_scarce(const p11_token *token);

/* For documentation and tests. */
const p11_quirk *p11_quirk_table(size_t *ret_count);

#endif
