#include "hsm_state.h"

#include "hsm_config.h"
#include "hsm_rsa.h"
#include "kn_ossl.h"

#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

static struct {
    pthread_mutex_t lock;
    OSSL_PROVIDER *provider;
    void *provctx;      /* of the built-in one, once it was initialised */
    bool builtin_added; /* OpenSSL knows of our provider from then on */
    unsigned handles;
    bool leaving;
} hsm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static kn_ctx *context_of_provider; /* guarded by the lock, which is held while the provider is loaded */

static int init_provider(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **provctx)
{
    int done = keynym_provider_init_on(context_of_provider, core, in, out, provctx);
    if (done)
        hsm.provctx = *provctx;
    return done;
}

/* OpenSSL keeps functions of ours until the process ends. The shared library is linked so that it stays; the static one may
 * be part of a plug-in that is closed. */
static void stay(void)
{
    Dl_info ours;
    if (dladdr((void *)(uintptr_t)stay, &ours) && ours.dli_fname)
        (void)dlopen(ours.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE); /* fails for a program itself, which stays */
}

/* Needs the lock. */
static kn_err load_provider(void)
{
    if (hsm.provider)
        return kn_success();
    stay();
    kn_err err = hsm_rsa_start();
    if (!kn_failed(err))
        err = hsm_context(&context_of_provider);
    if (kn_failed(err))
        return err;
    /* Another copy of this library, or openssl.cnf, may have brought it; an alias key is complete in itself. */
    bool there = OSSL_PROVIDER_available(NULL, KN_OSSL_NAME);
    if (!there && hsm.provctx) /* OpenSSL kept it, with the context of the last time */
        keynym_provider_use(hsm.provctx, context_of_provider);
    /* The default provider must go on being loaded by itself: retain_fallbacks. */
    if (!there && !hsm.builtin_added)
        hsm.builtin_added = OSSL_PROVIDER_add_builtin(NULL, KN_OSSL_NAME, init_provider);
    if (there || hsm.builtin_added)
        hsm.provider = OSSL_PROVIDER_try_load(NULL, KN_OSSL_NAME, 1);
    if (!hsm.provider)
        return kn_fail(KN_E_CRYPTO, "the provider cannot be added to the process: %s",
                       ERR_reason_error_string(ERR_peek_last_error()) ? ERR_reason_error_string(ERR_peek_last_error())
                                                                      : "no reason given");
    return kn_success();
}

/* Needs the lock. */
static void unload_provider(void)
{
    if (hsm.provider)
        (void)OSSL_PROVIDER_unload(hsm.provider);
    hsm.provider = NULL;
    hsm.leaving = false;
    hsm_contexts_rest();
}

kn_err hsm_init(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    hsm.leaving = false;
    kn_err err = load_provider();
    (void)pthread_mutex_unlock(&hsm.lock);
    return err;
}

void hsm_deinit(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    if (hsm.handles)
        hsm.leaving = true;
    else
        unload_provider();
    (void)pthread_mutex_unlock(&hsm.lock);
}

kn_err hsm_handle_opened(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    kn_err err = load_provider();
    if (!kn_failed(err)) {
        hsm.handles++;
        hsm.leaving = false;
    }
    (void)pthread_mutex_unlock(&hsm.lock);
    return err;
}

void hsm_handle_closed(void)
{
    (void)pthread_mutex_lock(&hsm.lock);
    if (--hsm.handles == 0 && hsm.leaving)
        unload_provider();
    (void)pthread_mutex_unlock(&hsm.lock);
}
