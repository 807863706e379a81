/* What the TPM says of itself, for kn_tpm_inspect() and kn_token_list(). */
#ifndef KN_TPM2_INSPECT_H
#define KN_TPM2_INSPECT_H

#include "../kn_backend.h"

kn_err tpm2_inspect(void *state, const char *uri, kn_tpm_info *ret_info);

/* One row: the TPM that the environment names, or the kernel's. None when there is none, or it may not be opened: whoever lists
 * tokens need not have one. */
kn_err tpm2_token_list(void *state, void (*row)(const kn_token_info *info, void *arg), void *arg);

#endif
