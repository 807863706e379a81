/* What each Cryptoki return value means to us: one row for every value of the standard.
 *
 * Units: none. Ownership: rows are constant. Errors: a value that is not in the table has the row of
 * CKR_GENERAL_ERROR with the name "CKR_?". Threads: any.
 * Spec: PKCS#11 v3.0 section 5.1 (return values).
 */
#ifndef KN_P11_CKR_H
#define KN_P11_CKR_H

#include "../kn_err.h"

#include <p11-kit/pkcs11.h>

/* What can be done before the one repetition that each class allows. An operation that the token may have done is never
 * repeated. */
typedef enum p11_retry {
    P11_NEVER,
    P11_LOGIN,   /* log in again */
    P11_OBJECT,  /* find the object again */
    P11_SESSION, /* the session is suspect, and so are the idle ones: close them, open another */
    P11_SESSIONS, /* all sessions are gone: open new ones */
    P11_TOKEN,   /* find the token again, also in another slot */
    P11_MODULE   /* initialise the module again */
} p11_retry;

typedef struct p11_ckr {
    CK_RV rv;
    const char *name;
    kn_code code;
    p11_retry retry;
    bool not_begun; /* the value proves that the operation did not begin, whichever call returns it */
} p11_ckr;

const p11_ckr *p11_ckr_row(CK_RV rv);

/* For documentation and tests: the table itself. */
const p11_ckr *p11_ckr_table(size_t *ret_count);

/* "CALL on token 'LABEL': CKR_NAME (0x...)" as a failure of the row's code. @label may be NULL. */
kn_err p11_fail(const char *call, const char *label, CK_RV rv);

#endif
