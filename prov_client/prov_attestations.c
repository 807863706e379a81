#include "prov_identity.h"

#include <stdio.h>
#include <string.h>

const prov_attestation *const prov_attestations[] = {
    &prov_attestation_x509,
    &prov_attestation_symmetric,
    &prov_attestation_tpm,
};
const size_t prov_attestations_count = sizeof prov_attestations / sizeof prov_attestations[0];

kn_prov_code prov_attestation_find(const char *name, const prov_attestation **ret_attestation,
                                   prov_error *error)
{
    char known[200] = "";
    size_t used = 0;

    for (size_t i = 0; i < prov_attestations_count; i++) {
        if (strcmp(name, prov_attestations[i]->name) == 0) {
            *ret_attestation = prov_attestations[i];
            return KN_PROV_OK;
        }
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, " %s", prov_attestations[i]->name);
    }
    return prov_fail(error, KN_PROV_E_ARGUMENT, "no attestation \"%.40s\"; there are:%s", name, known);
}
