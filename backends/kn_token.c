#include "kn_token.h"

#include "kn_backend.h"
#include "kn_proc.h"

#include <stdio.h>

kn_err kn_token_list(kn_ctx *ctx, void (*row)(const kn_token_info *info, void *arg), void *arg)
{
    kn_err first = kn_success();
    char detail[KN_DETAIL_MAX];
    kn_proc_enter();
    for (size_t i = 0; kn_backends[i]; i++) {
        kn_err err = kn_backends[i]->token_list ? kn_backends[i]->token_list(kn_ctx_state(ctx, kn_backends[i]), row, arg) : kn_success();
        if (kn_failed(err) && !kn_failed(first)) {
            first = err;
            (void)snprintf(detail, sizeof detail, "%s", kn_err_detail());
        }
    }
    kn_proc_leave();
    return kn_failed(first) ? kn_fail(first.code, "%s", detail) : first;
}

kn_err kn_token_objects(kn_ctx *ctx, const char *uri, void (*row)(const kn_object_info *info, void *arg),
                        void *arg)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->token_objects(kn_ctx_state(ctx, backend), uri, row, arg);
    kn_proc_leave();
    return err;
}

kn_err kn_token_init(kn_ctx *ctx, const char *uri, const kn_secret *so_pin, const kn_secret *pin)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->token_init(kn_ctx_state(ctx, backend), uri, so_pin, pin);
    kn_proc_leave();
    return err;
}

kn_err kn_token_wants_pin(kn_ctx *ctx, const char *uri, bool unprompted, bool *ret_wants, char ret_label[33])
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->token_wants_pin(kn_ctx_state(ctx, backend), uri, unprompted, ret_wants, ret_label);
    kn_proc_leave();
    return err;
}

kn_err kn_token_login(kn_ctx *ctx, const char *uri, const kn_secret *pin)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->token_login(kn_ctx_state(ctx, backend), uri, pin);
    kn_proc_leave();
    return err;
}
