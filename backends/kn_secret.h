/* The one type for secrets (PINs, keys of symmetric attestation): locked in memory, left out of core dumps,
 * wiped when released.
 *
 * Units: bytes. Ownership: kn_secret_free() releases; it accepts NULL and sets NULL.
 * Errors: KN_E_NO_MEMORY. Threads: one at a time for one object.
 * Fork: the child has a copy, also locked out of dumps.
 */
#ifndef KN_SECRET_H
#define KN_SECRET_H

#include "kn_err.h"

#define KN_PIN_MAX 255 /* bytes of a PIN; PKCS#11 tokens state up to 255 (ulMaxPinLen) */

typedef struct kn_secret kn_secret;

/* Keeps a copy of @data. */
KN_MUST_CHECK kn_err kn_secret_new(const void *data, size_t length, kn_secret **ret_secret);

/* With room for @capacity bytes, which the caller fills through kn_secret_room() and states. */
KN_MUST_CHECK kn_err kn_secret_new_empty(size_t capacity, kn_secret **ret_secret);
unsigned char *kn_secret_room(kn_secret *secret);
void kn_secret_set_length(kn_secret *secret, size_t length);

/* Locks it in memory again: a child of fork inherits the pages, but not their lock. */
void kn_secret_lock(const kn_secret *secret);

const unsigned char *kn_secret_data(const kn_secret *secret);
size_t kn_secret_length(const kn_secret *secret);
void kn_secret_free(kn_secret **secret);

#endif
