/* The primary keys of attestation: endorsement key and storage root key, found at their handles or made there.
 *
 * Units: none. Ownership: as named. Errors: KN_E_TPM_HANDLE when something else is at a handle; those of tpm2_conn.h. Threads:
 * inside tpm2_conn_run(). Spec: TCG EK Credential Profile 2.x, template L-1; TPM 2.0 part 2, 12.2 (public areas).
 */
#ifndef KN_TPM2_PRIMARY_H
#define KN_TPM2_PRIMARY_H

#include "tpm2_attest_uri.h"
#include "tpm2_conn.h"

#define TPM2_HANDLES_MAX 254u /* as many as one answer holds */

/* The persistent objects of a TPM. */
typedef struct tpm2_handles {
    uint32_t handle[TPM2_HANDLES_MAX];
    size_t count;
} tpm2_handles;

KN_MUST_CHECK kn_err tpm2_handles_read(tpm2_conn *conn, tpm2_handles *ret_handles);
bool tpm2_handles_have(const tpm2_handles *handles, uint32_t handle);

/* Finds or makes the key. @ret_object is for Esys_TR_Close(). */
KN_MUST_CHECK kn_err tpm2_endorsement_key(tpm2_conn *conn, const tpm2_attest_config *config, const tpm2_handles *handles,
                                          ESYS_TR *ret_object, TPM2B_PUBLIC *ret_public);
KN_MUST_CHECK kn_err tpm2_storage_root_key(tpm2_conn *conn, const tpm2_attest_config *config, const tpm2_handles *handles,
                                           ESYS_TR *ret_object, TPM2B_PUBLIC *ret_public);

/* Gives the hierarchy @object its authorization from @source, NULL: an empty one. */
KN_MUST_CHECK kn_err tpm2_hierarchy_open(tpm2_conn *conn, ESYS_TR hierarchy, const char *source);
void tpm2_hierarchy_close(tpm2_conn *conn, ESYS_TR hierarchy);

#endif
