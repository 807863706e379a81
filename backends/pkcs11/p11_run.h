/* Runs one operation on a token: takes a session, does it, and when it fails mends what its return value names and
 * repeats it where that is safe.
 *
 * Units: none. Ownership: the session is lent for the step. Errors: those of the last try.
 * Threads: any. Fork: the child's first operation starts with its modules.
 * Spec: PKCS#11 v3.0 section 5.1; p11_ckr.h has the rows.
 *
 * At most one repetition for each class of p11_retry, and only where the return value, or the call that returned it, proves
 * that the operation did not begin.
 */
#ifndef KN_P11_RUN_H
#define KN_P11_RUN_H

#include "p11_object.h"

/* What one step of an operation came to. */
typedef struct p11_step {
    const char *call; /* that failed, with @rv; NULL: @err says it */
    CK_RV rv;         /* also with @err: the Cryptoki value behind it, or CKR_OK */
    bool begun;       /* the operation may have been done by the token */
    bool idle;        /* with @err: nothing is left active in the session, which may be used again */
    kn_err err;       /* when call is NULL */
} p11_step;

typedef struct p11_task {
    const p11_uri *uri; /* where the PIN is; NULL: no login is needed */
    bool read_write;
    p11_step (*step)(p11_call *call, unsigned generation, void *arg);
    void *arg;
} p11_task;

KN_MUST_CHECK kn_err p11_run(p11_token *token, const p11_task *task);

#endif
