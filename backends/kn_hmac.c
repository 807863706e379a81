#include "kn_hmac.h"

#include "kn_backend.h"
#include "kn_crypto.h"
#include "kn_proc.h"

#include <stdlib.h>
#include <string.h>

struct kn_hmac {
    kn_ctx *ctx;
    const kn_hmac_functions *functions;
    void *key; /* the backend's */
};

/* A handle without a key. */
static kn_err hmac_new(kn_ctx *ctx, const char *uri, kn_hmac **ret_hmac, void **ret_state)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    if (!backend->hmac)
        return kn_fail(KN_E_TOKEN_CANNOT, "%s: has no HMAC keys", backend->scheme);
    kn_hmac *hmac = calloc(1, sizeof *hmac);
    if (!hmac)
        return kn_fail(KN_E_NO_MEMORY, "a key handle");
    hmac->ctx = kn_ctx_ref(ctx);
    hmac->functions = backend->hmac;
    *ret_state = kn_ctx_state(ctx, backend);
    *ret_hmac = hmac;
    return kn_success();
}

static kn_err finish(kn_hmac *hmac, kn_err err, kn_hmac **ret_hmac)
{
    if (kn_failed(err))
        kn_hmac_free(&hmac);
    else
        *ret_hmac = hmac;
    return err;
}

kn_err kn_hmac_open(kn_ctx *ctx, const char *uri, kn_hmac **ret_hmac)
{
    kn_hmac *hmac = NULL;
    void *state;
    kn_err err = hmac_new(ctx, uri, &hmac, &state);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = hmac->functions->open(state, uri, &hmac->key);
    kn_proc_leave();
    return finish(hmac, err, ret_hmac);
}

static kn_err check_size(size_t bytes)
{
    return bytes >= KN_HMAC_KEY_MIN && bytes <= KN_HMAC_KEY_MAX
               ? kn_success()
               : kn_fail(KN_E_DATA_SIZE, "a symmetric key has %d to %d bytes, not %zu", KN_HMAC_KEY_MIN,
                         KN_HMAC_KEY_MAX, bytes);
}

kn_err kn_hmac_generate(kn_ctx *ctx, const char *uri, size_t key_bytes, kn_hmac **ret_hmac)
{
    kn_hmac *hmac = NULL;
    void *state;
    kn_err err = check_size(key_bytes);
    if (!kn_failed(err))
        err = hmac_new(ctx, uri, &hmac, &state);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = hmac->functions->generate(state, uri, key_bytes, &hmac->key);
    kn_proc_leave();
    return finish(hmac, err, ret_hmac);
}

kn_err kn_hmac_import(kn_ctx *ctx, const char *uri, const kn_secret *key, kn_hmac **ret_hmac)
{
    kn_hmac *hmac = NULL;
    void *state;
    kn_err err = check_size(kn_secret_length(key));
    if (!kn_failed(err))
        err = hmac_new(ctx, uri, &hmac, &state);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = hmac->functions->import(state, uri, key, &hmac->key);
    kn_proc_leave();
    return finish(hmac, err, ret_hmac);
}

kn_err kn_hmac_sign(kn_hmac *hmac, const uint8_t *data, size_t length, uint8_t ret_mac[KN_HMAC_BYTES])
{
    uint8_t mac[KN_HMAC_BYTES];
    if (length > KN_HMAC_DATA_MAX)
        return kn_fail(KN_E_DATA_SIZE, "%zu bytes to sign, at most %d are", length, KN_HMAC_DATA_MAX);
    kn_proc_enter();
    kn_err err = hmac->functions->sign(hmac->key, data, length, mac);
    kn_proc_leave();
    if (!kn_failed(err))
        memcpy(ret_mac, mac, sizeof mac);
    return err;
}

kn_err kn_hmac_inspect(kn_hmac *hmac, kn_custody *ret_custody)
{
    kn_proc_enter();
    kn_err err = hmac->functions->inspect(hmac->key, ret_custody);
    kn_proc_leave();
    return err;
}

kn_err kn_hmac_delete(kn_hmac *hmac)
{
    kn_proc_enter();
    kn_err err = hmac->functions->remove(hmac->key);
    kn_proc_leave();
    return err;
}

void kn_hmac_free(kn_hmac **hmac)
{
    kn_hmac *old = *hmac;
    *hmac = NULL;
    if (!old)
        return;
    if (old->key) {
        kn_proc_enter();
        old->functions->free(old->key);
        kn_proc_leave();
    }
    kn_ctx_unref(&old->ctx);
    free(old);
}

kn_err kn_hmac_software(const kn_secret *key, const uint8_t *data, size_t length, uint8_t ret_mac[KN_HMAC_BYTES])
{
    uint8_t mac[KN_HMAC_BYTES];
    if (length > KN_HMAC_DATA_MAX)
        return kn_fail(KN_E_DATA_SIZE, "%zu bytes to sign, at most %d are", length, KN_HMAC_DATA_MAX);
    if (!kn_crypto_hmac(kn_secret_data(key), kn_secret_length(key), data, length, mac))
        return kn_fail(KN_E_CRYPTO, "HMAC-SHA-256");
    memcpy(ret_mac, mac, sizeof mac);
    return kn_success();
}
