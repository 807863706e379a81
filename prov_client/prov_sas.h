/* Shared access signatures: how a device without a certificate proves itself.
 *
 * Units: seconds. Ownership: tokens are wiped and released with prov_sas_free().
 * Errors: KN_PROV_E_IDENTITY when the HSM library does not sign; KN_PROV_E_ARGUMENT when the token would be too long; KN_PROV_E_MEMORY.
 * Threads: as the identity. Spec: "Control access to DPS by using shared access signatures":
 *   SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}, where the signature is
 *   the Base64 of HMAC-SHA256(key, "{resource}\n{expiry}"), and resource, signature and policy are percent-encoded.
 */
#ifndef PROV_SAS_H
#define PROV_SAS_H

#include "prov_identity.h"

#define PROV_SAS_LIFETIME_S 3600U
#define PROV_SAS_TOKEN_MAX  1024U /* bytes, with the NUL */

/* A token for @resource ("scope/registrations/id", "hub/devices/id"), @policy NULL: none. */
KN_PROV_MUST_CHECK kn_prov_code prov_sas_make(const prov_identity *identity, const char *resource,
                                              const char *policy, uint32_t lifetime_s, char **ret_token,
                                              prov_error *error);

/* The same at a given time; pure but for the signature. */
KN_PROV_MUST_CHECK kn_prov_code prov_sas_make_until(const prov_identity *identity, const char *resource,
                                                    const char *policy, int64_t expiry_s, char **ret_token,
                                                    prov_error *error);

/* Accepts a pointer to NULL. Sets NULL. */
void prov_sas_free(char **token);

#endif
