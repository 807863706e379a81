/* TPM attestation, as the Device Provisioning Service has it: an optional capability of a backend.
 *
 * Units: bytes. Ownership: kn_attest_open() returns a handle, kn_attest_free() releases it (it accepts NULL and sets NULL);
 * *_key() functions return memory for free(). Errors: KN_E_NO_ATTESTATION where no backend offers it; the others are the
 * backend's own. Threads: calls on one handle are serialised by the caller. Fork: a handle is not used in a child.
 * Spec: TPM 2.0 library, parts 2 and 3; the Azure IoT C SDK's TPM interface (hsm_client_data.h).
 *
 * A backend offers it with kn_backend.attest; it needs a row in kn_backends.c and nothing else.
 */
#ifndef KN_ATTEST_H
#define KN_ATTEST_H

#include "kn_ctx.h"

#include <stdint.h>

#define KN_ATTEST_KEY_MAX  1024         /* bytes of a marshalled TPM2B_PUBLIC */
#define KN_ATTEST_BLOB_MAX 4096         /* bytes of an activation blob */
#define KN_ATTEST_DATA_MAX (64 * 1024)  /* bytes that are signed at once */
#define KN_ATTEST_BYTES    32           /* of an HMAC-SHA-256 */

typedef struct kn_attest kn_attest;

/* @uri names the TPM; NULL: the first backend that offers attestation, with what it does by default. */
KN_MUST_CHECK kn_err kn_attest_open(kn_ctx *ctx, const char *uri, kn_attest **ret_attest);

/* The public part of the endorsement key and of the storage root key: TPM2B_PUBLIC with its size in front. */
KN_MUST_CHECK kn_err kn_attest_endorsement_key(kn_attest *attest, uint8_t **ret_key, size_t *ret_length);
KN_MUST_CHECK kn_err kn_attest_storage_root_key(kn_attest *attest, uint8_t **ret_key, size_t *ret_length);

/* Takes the identity key that the service sent: activates the credential, imports the key, keeps it. */
KN_MUST_CHECK kn_err kn_attest_activate(kn_attest *attest, const uint8_t *blob, size_t length);

/* HMAC-SHA-256 with the identity key. */
KN_MUST_CHECK kn_err kn_attest_sign(kn_attest *attest, const uint8_t *data, size_t length,
                                    uint8_t ret_signature[KN_ATTEST_BYTES]);

void kn_attest_free(kn_attest **attest);

#endif
