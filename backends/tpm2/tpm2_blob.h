/* The activation blob of the Device Provisioning Service: a key for HMAC-SHA256, wrapped for one TPM.
 *
 * Units: bytes. Ownership: a tpm2_blob points into the bytes that were parsed. Errors: KN_E_TPM_BLOB names the field that is
 * wrong and where it begins. Threads: pure functions, no I/O. Spec: TPM 2.0 part 2, structures in big-endian order:
 *
 *   TPM2B_ID_OBJECT          the inner key of 16 or 32 bytes, for the endorsement key and the name of the storage root key
 *   TPM2B_ENCRYPTED_SECRET   its seed, for the endorsement key (RSA 2048)
 *   TPM2B_PRIVATE            the key, wrapped twice
 *   TPM2B_ENCRYPTED_SECRET   the seed of the outer wrapping, for the storage root key (RSA 2048)
 *   TPM2B_PUBLIC             KEYEDHASH, HMAC-SHA256
 *   UINT16 and that many bytes of text, or nothing: not authenticated, not used
 */
#ifndef KN_TPM2_BLOB_H
#define KN_TPM2_BLOB_H

#include "kn_err.h"

#include <stdint.h>

#define TPM2_BLOB_ATTRIBUTES 0x00040440u /* sign, noDA, userWithAuth: what the service gives its keys */

typedef struct tpm2_span {
    const uint8_t *at;
    size_t length;
} tpm2_span;

typedef struct tpm2_blob {
    size_t inner_key_length;     /* 16 or 32 */
    tpm2_span credential, secret; /* without their sizes, like all that follow */
    tpm2_span duplicate, seed;
    tpm2_span policy; /* 0 or 32 bytes */
    tpm2_span unique; /* 32 bytes */
} tpm2_blob;

KN_MUST_CHECK kn_err tpm2_blob_parse(const uint8_t *bytes, size_t length, tpm2_blob *ret_blob);

#endif
