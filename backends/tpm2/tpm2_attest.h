/* TPM attestation for the Device Provisioning Service: the backend's side of kn_attest.h.
 *
 * Units: bytes. Ownership: as in kn_attest.h. Errors: KN_E_TPM_BLOB for what this TPM cannot open, KN_E_NO_IDENTITY before the
 * first activation; those of tpm2_primary.h. Threads: as in kn_attest.h; the TPM's connection has a lock. Fork: a device may be
 * used in a child, too. Spec: docs/tpm-attestation.md.
 *
 * The identity key is at 0x81000100. A new one is first kept at 0x81000101, and only then is the old one removed: whatever
 * fails or loses its power, one of them is there. A signature takes the key at 0x81000100, else that at 0x81000101.
 */
#ifndef KN_TPM2_ATTEST_H
#define KN_TPM2_ATTEST_H

#include "kn_backend.h"

#define TPM2_IDENTITY_HANDLE 0x81000100u
#define TPM2_IDENTITY_STAGE  0x81000101u

extern const kn_attest_functions tpm2_attest_functions;

#endif
