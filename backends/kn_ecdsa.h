/* ECDSA signatures: from r | s, as tokens give them, to the DER that X.509 and TLS use.
 *
 * Units: bytes. Ownership: the caller's buffers. Errors: KN_E_MODULE_BROKEN for a length or number of no curve.
 * Threads: any. Spec: PKCS#11 v3.0 section 2.3.1 (r | s); RFC 3279 section 2.2.3 (ECDSA-Sig-Value).
 */
#ifndef KN_ECDSA_H
#define KN_ECDSA_H

#include "kn_err.h"

#include <stdint.h>

/* @raw holds r and s, each @raw_length / 2 bytes, big-endian. @ret_der has room for KN_ECDSA_DER_MAX bytes, and is
 * untouched on failure. */
KN_MUST_CHECK kn_err kn_ecdsa_to_der(const uint8_t *raw, size_t raw_length, uint8_t *ret_der, size_t *ret_length);

#endif
