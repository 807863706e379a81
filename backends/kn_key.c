#include "kn_key.h"

#include "kn_backend.h"
#include "kn_crypto.h"
#include "kn_decrypt.h"
#include "kn_ecdsa.h"
#include "kn_proc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct kn_key {
    atomic_uint refs;
    atomic_uint label; /* label_state: what the token does with the label of OAEP */
    atomic_uint proved; /* binding whose first signature or agreement was verified; 0: none yet */
    kn_ctx *ctx;
    const kn_backend *backend;
    void *key; /* the backend's */
    char *uri;
    kn_public public;
};

enum label_state { LABEL_UNKNOWN, LABEL_HONOURED, LABEL_IGNORED };

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

/* The uses that are meant; none when they are not of this kind of key. */
static unsigned uses_of(const kn_key_spec *spec)
{
    if (spec->uses == 0)
        return spec->alg->uses & KN_USE_SIGN ? KN_USE_SIGN : spec->alg->uses;
    bool possible = !(spec->uses & ~spec->alg->uses) && !(spec->pss && spec->uses != KN_USE_SIGN);
    return possible ? spec->uses : 0;
}

kn_err kn_key_make(kn_ctx *ctx, const char *uri, const kn_key_spec *spec, kn_key **ret_key)
{
    kn_key *key = NULL;
    kn_key_spec exact = *spec;
    exact.uses = uses_of(spec);
    if (exact.uses == 0)
        return kn_fail(KN_E_KEY_USE, "a new %s%s key cannot be made for that; see docs/algorithms.md",
                       spec->alg->name, spec->pss ? " PSS" : "");
    kn_err err = key_new(ctx, uri, &key);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = key->backend->key_generate(kn_ctx_state(ctx, key->backend), uri, &exact, &key->key, &key->public);
    kn_proc_leave();
    if (kn_failed(err)) {
        kn_key_unref(&key);
        return err;
    }
    key->public.pss = spec->pss;
    key->public.pss_digest = spec->pss_digest;
    key->public.pss_mgf1 = spec->pss_mgf1;
    key->public.pss_salt_min = spec->pss_salt_min;
    *ret_key = key;
    return kn_success();
}

kn_err kn_key_generate(kn_ctx *ctx, const char *uri, const kn_alg *alg, kn_key **ret_key)
{
    return kn_key_make(ctx, uri, &(kn_key_spec){.alg = alg}, ret_key);
}

kn_err kn_public_find(kn_ctx *ctx, const char *uri, kn_public *ret_public)
{
    const kn_backend *backend;
    kn_public public;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->public_find(kn_ctx_state(ctx, backend), uri, &public);
    kn_proc_leave();
    if (!kn_failed(err))
        *ret_public = public;
    return err;
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
    if (old->key) {
        kn_proc_enter();
        old->backend->key_free(old->key);
        kn_proc_leave();
    }
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

static bool scheme_fits(kn_scheme scheme, kn_key_type type)
{
    switch (scheme) {
    case KN_ECDSA:
        return type == KN_KEY_EC;
    case KN_RSA_PKCS1:
    case KN_RSA_PSS:
        return type == KN_KEY_RSA;
    case KN_EDDSA:
        return type == KN_KEY_ED25519 || type == KN_KEY_ED448;
    }
    return false;
}

/* An RSA-PSS key signs with nothing else, and within its restrictions (RFC 4055 section 3.3). */
static kn_err check_pss(const kn_public *public, const kn_sign_how *how)
{
    if (how->scheme != KN_RSA_PSS)
        return kn_fail(KN_E_KEY_USE, "an RSA-PSS key signs with PSS only");
    if (!public->pss_digest)
        return kn_success();
    if (how->digest != public->pss_digest || how->mgf1 != public->pss_mgf1)
        return kn_fail(KN_E_DIGEST, "this RSA-PSS key is for %s with MGF1 of %s", public->pss_digest->name,
                       public->pss_mgf1->name);
    if (how->salt_bytes < public->pss_salt_min)
        return kn_fail(KN_E_DATA_SIZE, "this RSA-PSS key is for salts of at least %zu bytes, not %zu",
                       public->pss_salt_min, how->salt_bytes);
    return kn_success();
}

/* Does the scheme fit the key, and the input the scheme? */
static kn_err check_input(const kn_public *public, const kn_sign_how *how, size_t length)
{
    const kn_alg *alg = public->alg;
    size_t least = 0, most = 0;
    if (!scheme_fits(how->scheme, alg->type))
        return kn_fail(KN_E_KEY_USE, "a signature scheme of another type of key than %s", alg->name);
    kn_err err = public->pss ? check_pss(public, how) : kn_success();
    if (kn_failed(err))
        return err;
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
    kn_err err = check_input(&key->public, how, length);
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
        kn_verdict verdict = kn_crypto_judge(&key->public, how, data, length, done, done_length);
        if (verdict == KN_VERDICT_NONE)
            return kn_fail(KN_E_CRYPTO, "the first signature of a key could not be verified");
        if (verdict == KN_VERDICT_BAD)
            return kn_fail(KN_E_KEY_CHANGED, "a signature does not verify with the alias's public key");
        atomic_store(&key->proved, binding);
    }
    memcpy(ret_signature, done, done_length);
    *ret_length = done_length;
    return kn_success();
}

static kn_err check_ciphertext(const kn_alg *alg, const kn_decrypt_how *how, size_t length)
{
    if (alg->type != KN_KEY_RSA)
        return kn_fail(KN_E_KEY_USE, "a %s key cannot decrypt", alg->name);
    if (length != alg->coord_bytes)
        return kn_fail(KN_E_DATA_SIZE, "a ciphertext of %s has %zu bytes, not %zu", alg->name, alg->coord_bytes, length);
    if (how->padding == KN_PAD_OAEP && (!how->digest || !how->mgf1))
        return kn_fail(KN_E_DIGEST, "OAEP needs a digest");
    if (how->label_length > KN_OAEP_LABEL_MAX)
        return kn_fail(KN_E_DATA_SIZE, "an OAEP label of %zu bytes, at most %d", how->label_length, KN_OAEP_LABEL_MAX);
    return kn_success();
}

/* SoftHSM 2.6 ignores the label, so that what was encrypted for another purpose decrypts. Asked once for each key: a
 * ciphertext without label must not decrypt with one. */
static kn_err prove_label(kn_key *key, const kn_decrypt_how *how)
{
    uint8_t probe[16], data[KN_RSA_MAX], plain[KN_RSA_MAX];
    kn_decrypt_how without = *how;
    size_t length, ignored;
    bool good = false;
    char shown[200];
    without.label_length = 0;
    if (atomic_load(&key->label) == LABEL_UNKNOWN) {
        if (!kn_crypto_random(probe, sizeof probe) ||
            !kn_crypto_encrypt(&key->public, &without, probe, sizeof probe, data, &length))
            return kn_fail(KN_E_CRYPTO, "a ciphertext to try OAEP labels with");
        kn_proc_enter();
        kn_err err = key->backend->key_decrypt(key->key, how, data, length, plain, &ignored, &good);
        kn_proc_leave();
        if (kn_failed(err))
            return err;
        atomic_store(&key->label, good ? LABEL_IGNORED : LABEL_HONOURED);
    }
    if (atomic_load(&key->label) == LABEL_HONOURED)
        return kn_success();
    kn_uri_redact(key->uri, shown, sizeof shown);
    return kn_fail(KN_E_TOKEN_CANNOT, "OAEP with a label: the token of '%s' ignores the label", shown);
}

kn_err kn_key_decrypt(kn_key *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                      size_t *ret_length)
{
    kn_decrypted out = {.length = 0};
    kn_err err = check_ciphertext(key->public.alg, how, length);
    if (!kn_failed(err) && key->public.pss)
        err = kn_fail(KN_E_KEY_USE, "an RSA-PSS key only signs");
    if (!kn_failed(err) && how->padding != KN_PAD_OAEP)
        err = kn_decrypt_prepare(how, &key->public, data, &out);
    if (!kn_failed(err) && how->label_length)
        err = prove_label(key, how);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = key->backend->key_decrypt(key->key, how, data, length, out.plain, &out.length, &out.good);
    kn_proc_leave();
    if (!kn_failed(err) && how->padding == KN_PAD_OAEP && !out.good)
        err = kn_fail(KN_E_DECRYPT, "OAEP with %s and MGF1 of %s", how->digest->name, how->mgf1->name);
    if (!kn_failed(err)) {
        if (how->padding != KN_PAD_OAEP)
            kn_decrypt_finish(how, key->public.alg->coord_bytes, &out);
        memcpy(ret_plain, out.plain, KN_RSA_MAX);
        *ret_length = out.length;
    }
    explicit_bzero(&out, sizeof out);
    return err;
}

/* One agreement with @peer: a secret of the right length that is not zero. */
static kn_err derive_once(kn_key *key, const kn_public *peer, uint8_t secret[KN_EC_COORD_MAX], unsigned *ret_binding)
{
    const kn_alg *alg = key->public.alg;
    size_t length = 0;
    uint8_t any = 0;
    kn_proc_enter();
    kn_err err = key->backend->key_derive(key->key, peer->point, peer->point_length, secret, &length, ret_binding);
    kn_proc_leave();
    if (kn_failed(err))
        return err;
    if (length != alg->coord_bytes)
        return kn_fail(KN_E_KEY_CHANGED, "a secret of %zu bytes does not fit %s", length, alg->name);
    for (size_t i = 0; i < length; i++)
        any |= secret[i];
    if (any == 0) /* RFC 7748 section 6: a point of small order */
        return kn_fail(KN_E_PEER, "the secret with the peer's %s key is zero", alg->name);
    return kn_success();
}

/* Where the token did not tell its public key: the agreement with the curve's base point is that key, of EC its x. */
static kn_err prove_derivation(kn_key *key)
{
    const kn_alg *alg = key->public.alg;
    const uint8_t *own = key->public.point + (alg->type == KN_KEY_EC ? 1 : 0);
    uint8_t shown[KN_EC_COORD_MAX];
    kn_public base;
    unsigned binding = 0;
    if (!kn_crypto_base_point(alg, &base))
        return kn_fail(KN_E_CRYPTO, "the base point of %s", alg->name);
    kn_err err = derive_once(key, &base, shown, &binding);
    if (!kn_failed(err) && memcmp(shown, own, alg->coord_bytes) != 0)
        err = kn_fail(KN_E_KEY_CHANGED, "what was derived is not of the alias's public key");
    if (!kn_failed(err))
        atomic_store(&key->proved, binding);
    return err;
}

kn_err kn_key_derive(kn_key *key, const kn_public *peer, uint8_t *ret_secret, size_t *ret_length)
{
    const kn_alg *alg = key->public.alg;
    uint8_t secret[KN_EC_COORD_MAX];
    unsigned binding = 0;
    if (!(alg->uses & KN_USE_DERIVE))
        return kn_fail(KN_E_KEY_USE, "a %s key cannot derive", alg->name);
    if (peer->alg != alg)
        return kn_fail(KN_E_PEER, "the key is %s, the peer's is %s", alg->name, peer->alg->name);
    if (!kn_crypto_public_valid(peer))
        return kn_fail(KN_E_PEER, "not a point of %s", alg->name);
    kn_err err = derive_once(key, peer, secret, &binding);
    if (!kn_failed(err) && binding && atomic_load(&key->proved) != binding) {
        err = prove_derivation(key);
        if (!kn_failed(err) && atomic_load(&key->proved) != binding) /* found again in between: the secret is of before */
            err = derive_once(key, peer, secret, &binding);
        if (!kn_failed(err) && binding && atomic_load(&key->proved) != binding)
            err = kn_fail(KN_E_SESSION_LOST, "the key was lost and found twice");
    }
    if (!kn_failed(err)) {
        memcpy(ret_secret, secret, alg->coord_bytes);
        *ret_length = alg->coord_bytes;
    }
    explicit_bzero(secret, sizeof secret);
    return err;
}

kn_err kn_key_inspect(kn_key *key, kn_custody *ret_custody)
{
    kn_proc_enter();
    kn_err err = key->backend->key_inspect(key->key, ret_custody);
    kn_proc_leave();
    return err;
}

kn_err kn_key_delete(kn_key *key)
{
    kn_proc_enter();
    kn_err err = key->backend->key_delete(key->key);
    kn_proc_leave();
    return err;
}

kn_err kn_key_certify(kn_key *key, kn_key *attestation_key, const uint8_t *nonce, size_t nonce_length,
                      kn_certification *ret_certification)
{
    if (!key->backend->key_certify || attestation_key->backend != key->backend)
        return kn_fail(KN_E_TOKEN_CANNOT, "certifying a %s: key with a %s: key; a TPM certifies its own keys only", key->backend->scheme,
                       attestation_key->backend->scheme);
    if (nonce_length < 1 || nonce_length > KN_NONCE_MAX)
        return kn_fail(KN_E_DATA_SIZE, "a nonce has 1 to %d bytes, not %zu", KN_NONCE_MAX, nonce_length);
    kn_proc_enter();
    kn_err err = key->backend->key_certify(key->key, attestation_key->key, nonce, nonce_length, ret_certification);
    kn_proc_leave();
    return err;
}
