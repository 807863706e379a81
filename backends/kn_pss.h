/* The AlgorithmIdentifier of RSASSA-PSS, of keys and of signatures.
 *
 * Units: bytes. Ownership: arguments are borrowed. Errors: KN_E_KEY_TYPE names what is not supported; false: no memory.
 * Threads: any. Spec: RFC 8017 appendix A.2.3; RFC 4055 section 3.
 */
#ifndef KN_PSS_H
#define KN_PSS_H

#include "kn_digest.h"
#include "kn_err.h"

#include <openssl/types.h>

/* Values that are the DEFAULT (SHA1, 20 bytes of salt) are left out, as DER wants. */
bool kn_pss_set(X509_ALGOR *algorithm, const kn_digest *digest, const kn_digest *mgf1, size_t salt_bytes);

/* @type and @parameters as X509_ALGOR_get0() gives them. */
KN_MUST_CHECK kn_err kn_pss_get(int type, const void *parameters, const kn_digest **ret_digest,
                                const kn_digest **ret_mgf1, size_t *ret_salt_bytes);

#endif
