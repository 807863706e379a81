/* What a TPM says of itself: read only, without an authorization, and nothing in it is changed.
 *
 * Units: seconds, counts. Ownership: plain data. Errors: KN_E_TOKEN_CANNOT for a URI of another scheme; KN_E_NO_TPM,
 * KN_E_TPM_LIBRARY, KN_E_TPM_FAILED. Threads: any. Spec: TPM 2.0 part 2, 6.13 (TPM_PT); TCG Provisioning Guidance (handles).
 */
#ifndef KN_TPM_H
#define KN_TPM_H

#include "kn_ctx.h"

#include <stdbool.h>
#include <stdint.h>

/* What is at a persistent handle. */
typedef struct kn_tpm_object {
    uint32_t handle;
    bool present;
    bool fits; /* as attestation needs it; false also when nothing is there */
    char kind[80]; /* "RSA 2048, attributes 0x000300b2"; "" for nothing */
} kn_tpm_object;

typedef struct kn_tpm_info {
    char tcti[256];
    bool managed; /* by a resource manager, as the TCTI's name says */
    char manufacturer[5], vendor[17];
    uint32_t firmware[2];
    unsigned revision, year; /* of the specification; revision times 100 */

    unsigned tries_spent, tries_max; /* wrong authorizations; 0 and 0: no lockout */
    unsigned gives_back_s;           /* one try, within this time */
    bool in_lockout;
    bool owner_auth, endorsement_auth, lockout_auth; /* is one set? */

    unsigned slots_free, sessions_free, persistent, persistent_free; /* the TPM's estimates */

    bool p256, p384, rsa2048, rsa3072;
    kn_tpm_object ek, srk; /* at the handles that @uri says, or the usual ones */
} kn_tpm_info;

/* @uri: of attestation or of a key, "tpm2:..."; NULL: the usual TPM. */
KN_MUST_CHECK kn_err kn_tpm_inspect(kn_ctx *ctx, const char *uri, kn_tpm_info *ret_info);

#endif
