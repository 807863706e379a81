/* tpm2-tss, loaded when a TPM is first used: programs that use no TPM pay nothing, and nobody has to have it installed.
 *
 * Units: none. Ownership: the libraries stay loaded. Errors: KN_E_TPM_LIBRARY names library or function. Threads: any.
 * Spec: TCG TSS 2.0 Enhanced System API, Marshaling API; tpm2-tss 3.2 (Debian 12) or later.
 */
#ifndef KN_TPM2_API_H
#define KN_TPM2_API_H

#include "kn_err.h"

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

/* Each row is a function of the library of its list. */
#define TPM2_ESYS_FUNCTIONS(row)                                                                                       \
    row(Esys_Initialize) row(Esys_Finalize) row(Esys_TR_FromTPMPublic) row(Esys_TR_Close) row(Esys_TR_SetAuth) row(Esys_TR_GetName) row(Esys_TR_Serialize)         \
    row(Esys_CreatePrimary) row(Esys_EvictControl) row(Esys_ReadPublic) row(Esys_FlushContext) row(Esys_ContextSave) row(Esys_ContextLoad)                         \
    row(Esys_StartAuthSession) row(Esys_PolicySecret) row(Esys_ActivateCredential) row(Esys_Create) row(Esys_Import) row(Esys_Load)     \
    row(Esys_Sign) row(Esys_Certify) row(Esys_RSA_Decrypt) row(Esys_ECDH_ZGen) row(Esys_HMAC) row(Esys_HMAC_Start) row(Esys_SequenceUpdate) row(Esys_SequenceComplete) row(Esys_GetCapability) row(Esys_TestParms)    \
    row(Esys_Free)
#define TPM2_MU_FUNCTIONS(row)   row(Tss2_MU_TPM2B_PUBLIC_Marshal) row(Tss2_MU_TPMT_PUBLIC_Marshal) row(Tss2_MU_TPMS_ATTEST_Unmarshal)
#define TPM2_TCTI_FUNCTIONS(row) row(Tss2_TctiLdr_Initialize) row(Tss2_TctiLdr_Finalize)

#define TPM2_MEMBER(name) __typeof__(&name) name;
typedef struct tpm2_api {
    TPM2_ESYS_FUNCTIONS(TPM2_MEMBER)
    TPM2_MU_FUNCTIONS(TPM2_MEMBER)
    TPM2_TCTI_FUNCTIONS(TPM2_MEMBER)
} tpm2_api;
#undef TPM2_MEMBER

KN_MUST_CHECK kn_err tpm2_api_load(const tpm2_api **ret_api);

#endif
