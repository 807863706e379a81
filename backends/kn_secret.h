/* The one type for secrets (PINs, keys of symmetric attestation): locked in memory, left out of core dumps,
 * wiped when released.
 *
 * Units: bytes. Ownership: kn_secret_free() releases; it accepts NULL and sets NULL.
 * Errors: KN_E_NO_MEMORY, and those of kn_secret_read_file(). Threads: one at a time for one object.
 * Fork: the child has a copy, also locked out of dumps.
 */
#ifndef KN_SECRET_H
#define KN_SECRET_H

#include "kn_err.h"

#define KN_PIN_MAX 255 /* bytes of a PIN; PKCS#11 tokens state up to 255 (ulMaxPinLen) */

typedef struct kn_secret kn_secret;

/* Keeps a copy of @data. */
KN_MUST_CHECK kn_err kn_secret_new(const void *data, size_t length, kn_secret **ret_secret);

/* Reads a PIN from the file that @source names ("/path", "file:/path" or "file:///path"). One trailing line
 * end is not part of it. The file must belong to the effective user or to root (root may use anyone's), and must not
 * be accessible to others nor writable or executable by the group: KN_E_PIN_SOURCE otherwise. */
KN_MUST_CHECK kn_err kn_secret_read_pin(const char *source, kn_secret **ret_secret);

const unsigned char *kn_secret_data(const kn_secret *secret);
size_t kn_secret_length(const kn_secret *secret);
void kn_secret_free(kn_secret **secret);

#endif
