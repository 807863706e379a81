/* Session copies of private keys, for tokens that sign faster with them (SoftHSM reads a token object's attributes anew at
 * each use): the setting token_copy.
 *
 * A copy is made by C_CopyObject with CKA_TOKEN false, in a session of the pool, and lives as long as that session. It is read
 * back: one that is not sensitive, or extractable, is destroyed, and the token's own key signs. When its session is closed, or
 * the token's generation changes, the next signature makes another.
 *
 * Units: none. Ownership: a copy belongs to its key, which says so when it goes (p11_copy_abandon). Errors: none: without a
 * copy the key itself is used. Threads: any; needs the key's lock where it says so. Fork: the child makes its own.
 * Spec: PKCS#11 v3.0 sections 4.4 (session objects), 5.7.2 (C_CopyObject).
 */
#ifndef KN_P11_COPY_H
#define KN_P11_COPY_H

#include "p11_object.h"

typedef struct p11_copy {
    CK_OBJECT_HANDLE handle;
    unsigned owner;      /* p11_session_own() of the session that it lives in; 0: there is no copy */
    unsigned generation; /* the token's, when it was made */
    bool refused;        /* in that generation: not tried again */
} p11_copy;

/* A handle to sign with: that of the copy, which is made when there is none, or @original. Needs the key's lock. */
CK_OBJECT_HANDLE p11_copy_use(p11_copy *copy, p11_call *call, unsigned generation, CK_OBJECT_HANDLE original);

/* The copy is of no use any more: it is destroyed with the next call that has a session, if it is still there. */
void p11_copy_abandon(p11_copy *copy, p11_token *token);

#endif
