/* The URI that says which TPM attests, and how: "tpm2:" and attributes with ';' between, each "name=value", percent-encoded
 * where it holds ';' or '%'. All are optional.
 *
 *   tcti=CONF               how to reach the TPM, as tpm2-tss names it: device:/dev/tpmrm0, tabrmd:..., swtpm:path=...
 *   owner-auth=SOURCE       where the owner hierarchy's authorization is (kn_pin.h); none: it is empty
 *   endorsement-auth=SOURCE likewise of the endorsement hierarchy
 *   ek-handle=0x81......    persistent handle of the endorsement key
 *   srk-handle=0x81......   persistent handle of the storage root key
 *   ek-unique=zeros|empty   the template of an endorsement key that is made here: the TCG's, or that of the Azure C SDK
 *
 * Units: none. Ownership: tpm2_attest_config_clear() releases. Errors: KN_E_URI_MALFORMED, KN_E_URI_ATTRIBUTE. Threads: pure
 * functions. Spec: docs/tpm-attestation.md.
 */
#ifndef KN_TPM2_ATTEST_URI_H
#define KN_TPM2_ATTEST_URI_H

#include "kn_err.h"

#include <stdint.h>

#define TPM2_EK_HANDLE  0x81010001u
#define TPM2_SRK_HANDLE 0x81000001u

typedef struct tpm2_attest_config {
    char *tcti;             /* NULL: the default */
    char *owner_auth;       /* sources; NULL: the authorization is empty */
    char *endorsement_auth;
    uint32_t ek_handle, srk_handle;
    bool ek_unique_empty;
} tpm2_attest_config;

/* @uri NULL: the defaults. */
KN_MUST_CHECK kn_err tpm2_attest_config_parse(const char *uri, tpm2_attest_config *ret_config);
void tpm2_attest_config_clear(tpm2_attest_config *config);

#endif
