#include "kn_tpm.h"

#include "kn_backend.h"
#include "kn_proc.h"

kn_err kn_tpm_inspect(kn_ctx *ctx, const char *uri, kn_tpm_info *ret_info)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri ? uri : "tpm2:", &backend);
    if (kn_failed(err))
        return err;
    if (!backend->tpm_inspect)
        return kn_fail(KN_E_TOKEN_CANNOT, "a %s: URI names no TPM", backend->scheme);
    kn_proc_enter();
    err = backend->tpm_inspect(kn_ctx_state(ctx, backend), uri, ret_info);
    kn_proc_leave();
    return err;
}
