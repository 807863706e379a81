/* What `keynym doctor` says of a TPM.
 *
 * Units: none. Ownership: none. Errors: are lines of the list. Threads: none.
 */
#ifndef KN_CMD_DOCTOR_TPM_H
#define KN_CMD_DOCTOR_TPM_H

#include "kn_cmd_checks.h"

#include "kn_ctx.h"

#include <stdbool.h>

/* @uri: of a key in it, or of attestation. @attests: also its endorsement and storage root key. False: it does not answer. */
bool kn_cmd_doctor_tpm(kn_checks *checks, kn_ctx *ctx, const char *uri, bool attests);

#endif
