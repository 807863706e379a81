/* Digests of the application's own providers, so that its choice (FIPS, say) holds: fetched in a child of its library
 * context, and kept, because a fetch costs more than all else that a signature does here.
 *
 * Units: none. Ownership: kn_ossl_digests_new() returns, kn_ossl_digests_free() releases; a digest that was given out may
 * outlive neither. Errors: NULL. Threads: any. Fork: the child goes on with what the parent has.
 * Spec: provider-base(7): provider_register_child_cb.
 *
 * What is kept is forgotten when the application loads or unloads a provider or changes its default properties: OpenSSL
 * tells both to whoever registered for it.
 */
#ifndef KN_OSSL_DIGEST_H
#define KN_OSSL_DIGEST_H

#include "kn_digest.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

typedef struct kn_ossl_digests kn_ossl_digests;

/* Fetches nothing yet: a program that never signs with us does not pay for it. */
kn_ossl_digests *kn_ossl_digests_new(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in);
void kn_ossl_digests_free(kn_ossl_digests **digests);

/* The child context itself, for what else is fetched in it. Borrowed. NULL: out of memory. */
OSSL_LIB_CTX *kn_ossl_digests_child(kn_ossl_digests *digests);

/* Release with EVP_MD_free(). @properties may be NULL. NULL: not there. @ret_row: its row in kn_digests, or NULL. */
EVP_MD *kn_ossl_digests_get(kn_ossl_digests *digests, const char *name, const char *properties,
                            const kn_digest **ret_row);

/* The row of an EVP_MD; NULL: none. Slow: OpenSSL looks up its names. */
const kn_digest *kn_ossl_digest_row(const EVP_MD *md);

#endif
