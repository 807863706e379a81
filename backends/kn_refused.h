/* PINs and authorizations that were refused in this process, so that each is sent once, whichever key or context asks: a wrong one
 * costs one of the few tries of a token or TPM.
 *
 * What is kept is a hash, salted with a random value of the process, which is kept like a PIN: without it, the hashes in a core
 * dump tell nothing of short PINs. The last 32 are kept.
 *
 * Units: bytes. Ownership: marks are plain data. Errors: KN_E_CRYPTO. Threads: any; who wants that two threads do not send the same
 * one at once holds a lock of his own around asking, sending and remembering. Fork: the child has what its parent had.
 */
#ifndef KN_REFUSED_H
#define KN_REFUSED_H

#include "kn_secret.h"

#include <stdint.h>

typedef struct kn_refused_mark {
    uint8_t hash[32];
} kn_refused_mark;

/* @owner is whose secret it is: one that is wrong here may be right elsewhere. @secret NULL: the empty one. */
KN_MUST_CHECK kn_err kn_refused_mark_of(const void *owner, size_t owner_length, const kn_secret *secret, kn_refused_mark *ret_mark);

bool kn_refused_known(const kn_refused_mark *mark);
void kn_refused_remember(const kn_refused_mark *mark);

#endif
