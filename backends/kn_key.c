#include "kn_key.h"

#include "kn_backend.h"
#include "kn_crypto.h"
#include "kn_ecdsa.h"
#include "kn_proc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct kn_key {
    atomic_uint refs;
    atomic_uint proved; /* binding whose first signature was verified; 0: none yet */
    kn_ctx *ctx;
    const kn_backend *backend;
    void *key; /* the backend's */
    char *uri;
    kn_public public;
};

static kn_err key_new(kn_ctx *ctx, const char *uri, kn_key **ret_key)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_key *key = calloc(1, sizeof *key);
    char *copy = strdup(uri);
    if (!key || !copy) {
        free(key);
        free(copy);
        return kn_fail(KN_E_NO_MEMORY, "a key handle");
    }
    atomic_init(&key->refs, 1);
    key->ctx = kn_ctx_ref(ctx);
    key->backend = backend;
    key->uri = copy;
    *ret_key = key;
    return kn_success();
}

kn_err kn_key_open(kn_ctx *ctx, const kn_alias *alias, kn_key **ret_key)
{
    const kn_public *expected = kn_alias_public(alias);
    kn_key *key = NULL;
    kn_err err = key_new(ctx, kn_alias_uri(alias), &key);
    if (kn_failed(err))
        return err;
    if (expected)
        key->public = *expected;
    kn_proc_enter();
    err = key->backend->key_open(kn_ctx_state(ctx, key->backend), key->uri, expected, &key->key, &key->public);
    kn_proc_leave();
    if (kn_failed(err)) {
        kn_key_unref(&key);
        return err;
    }
    *ret_key = key;
    return kn_success();
}

kn_err kn_key_generate(kn_ctx *ctx, const char *uri, const kn_alg *alg, kn_key **ret_key)
{
    kn_key *key = NULL;
    kn_err err = key_new(ctx, uri, &key);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = key->backend->key_generate(kn_ctx_state(ctx, key->backend), uri, alg, &key->key, &key->public);
    kn_proc_leave();
    if (kn_failed(err)) {
        kn_key_unref(&key);
        return err;
    }
    *ret_key = key;
    return kn_success();
}

kn_key *kn_key_ref(kn_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void kn_key_unref(kn_key **key)
{
    kn_key *old = *key;
    *key = NULL;
    if (!old || atomic_fetch_sub(&old->refs, 1) != 1)
        return;
    if (old->key)
        old->backend->key_free(old->key);
    kn_ctx_unref(&old->ctx);
    explicit_bzero(old->uri, strlen(old->uri)); /* may hold pin-value */
    free(old->uri);
    free(old);
}

const kn_public *kn_key_public(const kn_key *key)
{
    return &key->public;
}

const char *kn_key_uri(const kn_key *key)
{
    return key->uri;
}

kn_err kn_key_sign(kn_key *key, const uint8_t *digest, size_t digest_length, uint8_t *ret_signature,
                   size_t *ret_length)
{
    uint8_t raw[2 * KN_EC_COORD_MAX], der[KN_ECDSA_DER_MAX];
    size_t raw_length = 0, der_length = 0;
    unsigned binding = 0;
    if (digest_length < 20 || digest_length > 64)
        return kn_fail(KN_E_DATA_SIZE, "ECDSA takes a digest of 20 to 64 bytes, not %zu", digest_length);
    kn_proc_enter();
    kn_err err = key->backend->key_sign(key->key, digest, digest_length, raw, &raw_length, &binding);
    kn_proc_leave();
    if (kn_failed(err))
        return err;
    if (raw_length != 2 * key->public.alg->coord_bytes)
        return kn_fail(KN_E_KEY_CHANGED, "a signature of %zu bytes does not fit %s", raw_length,
                       key->public.alg->name);
    err = kn_ecdsa_to_der(raw, raw_length, der, &der_length);
    if (kn_failed(err))
        return err;
    if (binding && atomic_load(&key->proved) != binding) {
        if (!kn_crypto_verify(&key->public, digest, digest_length, der, der_length))
            return kn_fail(KN_E_KEY_CHANGED, "a signature does not verify with the alias's public key");
        atomic_store(&key->proved, binding);
    }
    memcpy(ret_signature, der, der_length);
    *ret_length = der_length;
    return kn_success();
}

kn_err kn_key_inspect(kn_key *key, kn_custody *ret_custody)
{
    kn_proc_enter();
    kn_err err = key->backend->key_inspect(key->key, ret_custody);
    kn_proc_leave();
    return err;
}

bool kn_custody_holds(const kn_custody *custody)
{
    return custody->sensitive == KN_FACT_YES && custody->extractable == KN_FACT_NO &&
           custody->always_sensitive == KN_FACT_YES && custody->never_extractable == KN_FACT_YES &&
           custody->local == KN_FACT_YES && custody->generated_here == KN_FACT_YES;
}
