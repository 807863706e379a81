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

const kn_sign_how kn_sign_ecdsa = {.scheme = KN_ECDSA};

/* Does the scheme fit the key, and the input the scheme? */
static kn_err check_input(const kn_alg *alg, const kn_sign_how *how, size_t length)
{
    static const kn_key_type type_of[] = {
        [KN_ECDSA] = KN_KEY_EC, [KN_RSA_PKCS1] = KN_KEY_RSA, [KN_RSA_PSS] = KN_KEY_RSA, [KN_EDDSA] = KN_KEY_ED25519};
    size_t least = 0, most = 0;
    if (type_of[how->scheme] != alg->type)
        return kn_fail(KN_E_KEY_USE, "a signature scheme of another type of key than %s", alg->name);
    switch (how->scheme) {
    case KN_ECDSA:
        least = 20;
        most = 64;
        break;
    case KN_RSA_PKCS1:
        least = how->digest ? how->digest->bytes : 1;
        most = how->digest ? how->digest->bytes : alg->coord_bytes - 11; /* RFC 8017 section 9.2: PS has 8 bytes */
        break;
    case KN_RSA_PSS:
        if (!how->digest || !how->mgf1)
            return kn_fail(KN_E_DIGEST, "PSS needs a digest");
        if (how->digest->bytes + how->salt_bytes + 2 > alg->coord_bytes)
            return kn_fail(KN_E_DATA_SIZE, "a salt of %zu bytes does not fit %s with %s", how->salt_bytes, alg->name,
                           how->digest->name);
        least = most = how->digest->bytes;
        break;
    case KN_EDDSA:
        most = KN_MESSAGE_MAX;
        break;
    }
    if (length < least || length > most)
        return kn_fail(KN_E_DATA_SIZE, "%s takes %zu to %zu bytes here, not %zu", alg->name, least, most, length);
    return kn_success();
}

/* From the form of the backend to that of OpenSSL. */
static kn_err finish(const kn_public *public, const uint8_t *raw, size_t raw_length, uint8_t *ret_signature,
                     size_t *ret_length)
{
    size_t whole = public->alg->type == KN_KEY_RSA ? public->alg->coord_bytes : 2 * public->alg->coord_bytes;
    if (raw_length != whole)
        return kn_fail(KN_E_KEY_CHANGED, "a signature of %zu bytes does not fit %s", raw_length, public->alg->name);
    if (public->alg->type == KN_KEY_EC)
        return kn_ecdsa_to_der(raw, raw_length, ret_signature, ret_length);
    memcpy(ret_signature, raw, raw_length);
    *ret_length = raw_length;
    return kn_success();
}

kn_err kn_key_sign(kn_key *key, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                   size_t *ret_length)
{
    uint8_t raw[KN_SIGNATURE_MAX], done[KN_SIGNATURE_MAX];
    size_t raw_length = 0, done_length = 0;
    unsigned binding = 0;
    kn_err err = check_input(key->public.alg, how, length);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = key->backend->key_sign(key->key, how, data, length, raw, &raw_length, &binding);
    kn_proc_leave();
    if (!kn_failed(err))
        err = finish(&key->public, raw, raw_length, done, &done_length);
    if (kn_failed(err))
        return err;
    if (binding && atomic_load(&key->proved) != binding) {
        if (!kn_crypto_verify(&key->public, how, data, length, done, done_length))
            return kn_fail(KN_E_KEY_CHANGED, "a signature does not verify with the alias's public key");
        atomic_store(&key->proved, binding);
    }
    memcpy(ret_signature, done, done_length);
    *ret_length = done_length;
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
