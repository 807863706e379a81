/* Key agreement: ECDH, X25519 and X448 in the token, the KDF of X9.63 (CMS) in software. Spec: provider-keyexch(7). */
#include "kn_ossl_gen.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UKM_MAX 65536 /* bytes */

typedef struct exchange {
    kn_ossl *prov;
    kn_key *key;
    kn_public peer; /* alg NULL: none yet */
    bool x963;
    const kn_digest *digest;
    size_t out_length;
    uint8_t *ukm;
    size_t ukm_length;
} exchange;

static void *exchange_newctx(void *provctx)
{
    exchange *ctx = calloc(1, sizeof *ctx);
    if (ctx)
        ctx->prov = provctx;
    return ctx;
}

static void exchange_freectx(void *arg)
{
    exchange *ctx = arg;
    if (!ctx)
        return;
    kn_key_unref(&ctx->key);
    free(ctx->ukm);
    free(ctx);
}

static int keep_ukm(exchange *ctx, const uint8_t *ukm, size_t length)
{
    if (length > UKM_MAX)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "user keying material of %zu bytes", length));
    uint8_t *copy = length ? malloc(length) : NULL;
    if (length && !copy)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_NO_MEMORY, "user keying material"));
    if (length)
        memcpy(copy, ukm, length);
    free(ctx->ukm);
    ctx->ukm = copy;
    ctx->ukm_length = length;
    return 1;
}

static void *exchange_dupctx(void *arg)
{
    const exchange *from = arg;
    exchange *to = malloc(sizeof *to);
    if (!to)
        return NULL;
    *to = *from;
    if (from->key)
        to->key = kn_key_ref(from->key);
    to->ukm = NULL;
    to->ukm_length = 0;
    if (!keep_ukm(to, from->ukm, from->ukm_length)) {
        exchange_freectx(to);
        return NULL;
    }
    return to;
}

/* ---- parameters ---- */

/* The cofactor of every curve that is offered is 1, so both modes are the same. */
static int set_cofactor_mode(const exchange *ctx, const OSSL_PARAM *p)
{
    int mode = 0;
    return (OSSL_PARAM_get_int(p, &mode) && mode >= -1 && mode <= 1) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "cofactor mode %d", mode));
}

static int set_kdf(exchange *ctx, const OSSL_PARAM *p)
{
    const char *name = NULL;
    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
        return 0;
    if (*name && strcasecmp(name, OSSL_KDF_NAME_X963KDF))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "ECDH with KDF '%.40s'; X963KDF is offered", name));
    ctx->x963 = *name != '\0';
    return 1;
}

static int set_kdf_digest(exchange *ctx, const OSSL_PARAM *p)
{
    const char *name = NULL;
    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
        return 0;
    ctx->digest = kn_ossl_gen_digest(ctx->prov, name);
    return ctx->digest || kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "X963KDF with '%.40s'", name));
}

static int exchange_set_ctx_params(void *arg, const OSSL_PARAM params[])
{
    exchange *ctx = arg;
    const OSSL_PARAM *p;
    const void *ukm = NULL;
    size_t length = 0;
    if (!params)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE)) && !set_cofactor_mode(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_TYPE)) && !set_kdf(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST)) && !set_kdf_digest(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN)) && !OSSL_PARAM_get_size_t(p, &ctx->out_length))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return !p || (OSSL_PARAM_get_octet_string_ptr(p, &ukm, &length) && keep_ukm(ctx, ukm, length));
}

static const OSSL_PARAM *exchange_settable(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_octet_string(OSSL_EXCHANGE_PARAM_KDF_UKM, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

static const OSSL_PARAM *exchange_gettable(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE, NULL),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_TYPE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_EXCHANGE_PARAM_KDF_DIGEST, NULL, 0),
        OSSL_PARAM_size_t(OSSL_EXCHANGE_PARAM_KDF_OUTLEN, NULL),
        OSSL_PARAM_DEFN(OSSL_EXCHANGE_PARAM_KDF_UKM, OSSL_PARAM_OCTET_PTR, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

static int exchange_get_ctx_params(void *arg, OSSL_PARAM params[])
{
    const exchange *ctx = arg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_EC_ECDH_COFACTOR_MODE)) && !OSSL_PARAM_set_int(p, 0))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_TYPE)) &&
        !OSSL_PARAM_set_utf8_string(p, ctx->x963 ? OSSL_KDF_NAME_X963KDF : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, ctx->digest ? ctx->digest->name : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_OUTLEN)) && !OSSL_PARAM_set_size_t(p, ctx->out_length))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_EXCHANGE_PARAM_KDF_UKM);
    return !p || OSSL_PARAM_set_octet_ptr(p, ctx->ukm, ctx->ukm_length);
}

/* ---- the operation ---- */

static int exchange_init(void *arg, void *key_arg, const OSSL_PARAM params[])
{
    exchange *ctx = arg;
    const kn_ossl_key *key = key_arg;
    if (!key || !key->key)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "only the public part of the key is here"));
    kn_key *old = ctx->key;
    ctx->key = kn_key_ref(key->key);
    kn_key_unref(&old);
    ctx->peer = (kn_public){.alg = NULL};
    ctx->x963 = false;
    ctx->digest = NULL;
    ctx->out_length = 0;
    return keep_ukm(ctx, NULL, 0) && exchange_set_ctx_params(ctx, params);
}

/* Whether it is a point of the curve is looked at when the secret is derived. */
static int exchange_set_peer(void *arg, void *peer_arg)
{
    exchange *ctx = arg;
    const kn_ossl_key *peer = peer_arg;
    if (!peer || !kn_ossl_key_has_public(peer))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_PEER, "it has no public key"));
    if (kn_ossl_key_public(peer)->alg != kn_key_public(ctx->key)->alg)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_PEER, "the key is %s, the peer's is %s",
                                                kn_key_public(ctx->key)->alg->name, kn_ossl_key_public(peer)->alg->name));
    ctx->peer = *kn_ossl_key_public(peer);
    return 1;
}

/* ANSI X9.63 with the application's own providers. */
static int run_x963(exchange *ctx, uint8_t *secret, size_t length, unsigned char *out, size_t out_length)
{
    EVP_KDF *kdf = EVP_KDF_fetch(kn_ossl_child(ctx->prov), OSSL_KDF_NAME_X963KDF, NULL);
    EVP_KDF_CTX *run = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)ctx->digest->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, length),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, ctx->ukm, ctx->ukm_length),
        OSSL_PARAM_construct_end(),
    };
    int ok = run && EVP_KDF_derive(run, out, out_length, params) > 0;
    EVP_KDF_CTX_free(run);
    EVP_KDF_free(kdf);
    return ok || kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "X963KDF with %s", ctx->digest->name));
}

static int exchange_derive(void *arg, unsigned char *out, size_t *length, size_t size)
{
    exchange *ctx = arg;
    uint8_t secret[KN_EC_COORD_MAX];
    size_t secret_length = 0;
    size_t room = ctx->x963 ? ctx->out_length : kn_key_public(ctx->key)->alg->coord_bytes;
    if (!ctx->peer.alg)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_PEER, "none was given"));
    if (ctx->x963 && (!ctx->digest || !ctx->out_length))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "X963KDF needs a digest and a length"));
    if (!out) {
        *length = room;
        return 1;
    }
    if (size < room)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "the secret has %zu bytes, room is for %zu", room, size));
    kn_err err = kn_key_derive(ctx->key, &ctx->peer, secret, &secret_length);
    if (kn_failed(err))
        return kn_ossl_raise(ctx->prov, err);
    int ok = 1;
    if (ctx->x963)
        ok = run_x963(ctx, secret, secret_length, out, room);
    else
        memcpy(out, secret, secret_length);
    explicit_bzero(secret, sizeof secret);
    if (ok)
        *length = room;
    return ok;
}

const OSSL_DISPATCH kn_ossl_exchange[] = {
    {OSSL_FUNC_KEYEXCH_NEWCTX, (void (*)(void))exchange_newctx},
    {OSSL_FUNC_KEYEXCH_FREECTX, (void (*)(void))exchange_freectx},
    {OSSL_FUNC_KEYEXCH_DUPCTX, (void (*)(void))exchange_dupctx},
    {OSSL_FUNC_KEYEXCH_INIT, (void (*)(void))exchange_init},
    {OSSL_FUNC_KEYEXCH_SET_PEER, (void (*)(void))exchange_set_peer},
    {OSSL_FUNC_KEYEXCH_DERIVE, (void (*)(void))exchange_derive},
    {OSSL_FUNC_KEYEXCH_GET_CTX_PARAMS, (void (*)(void))exchange_get_ctx_params},
    {OSSL_FUNC_KEYEXCH_GETTABLE_CTX_PARAMS, (void (*)(void))exchange_gettable},
    {OSSL_FUNC_KEYEXCH_SET_CTX_PARAMS, (void (*)(void))exchange_set_ctx_params},
    {OSSL_FUNC_KEYEXCH_SETTABLE_CTX_PARAMS, (void (*)(void))exchange_settable},
    {0, NULL},
};
