#include "kn_ctx.h"

#include "kn_backend.h"
#include "kn_proc.h"

#include <stdatomic.h>
#include <stdlib.h>

#define BACKENDS_MAX 4

struct kn_ctx {
    atomic_uint refs;
    void *state[BACKENDS_MAX]; /* in the order of kn_backends */
};

kn_err kn_ctx_new(const kn_config *config, kn_ctx **ret_ctx)
{
    static const kn_config defaults = {0};
    kn_ctx *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return kn_fail(KN_E_NO_MEMORY, "a context");
    atomic_init(&ctx->refs, 1);
    for (size_t i = 0; kn_backends[i]; i++) {
        kn_err err = kn_backends[i]->state_new(config ? config : &defaults, &ctx->state[i]);
        if (kn_failed(err)) {
            kn_ctx_unref(&ctx);
            return err;
        }
    }
    *ret_ctx = ctx;
    return kn_success();
}

kn_ctx *kn_ctx_ref(kn_ctx *ctx)
{
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void kn_ctx_unref(kn_ctx **ctx)
{
    kn_ctx *old = *ctx;
    *ctx = NULL;
    if (!old || atomic_fetch_sub(&old->refs, 1) != 1)
        return;
    kn_proc_enter();
    for (size_t i = 0; kn_backends[i]; i++)
        if (old->state[i])
            kn_backends[i]->state_free(old->state[i]);
    kn_proc_leave();
    free(old);
}

void kn_ctx_rest(kn_ctx *ctx)
{
    kn_proc_enter();
    for (size_t i = 0; kn_backends[i]; i++)
        if (kn_backends[i]->state_rest)
            kn_backends[i]->state_rest(ctx->state[i]);
    kn_proc_leave();
}

void *kn_ctx_state(kn_ctx *ctx, const kn_backend *backend)
{
    size_t i = 0;
    while (kn_backends[i] != backend)
        i++;
    return ctx->state[i];
}
