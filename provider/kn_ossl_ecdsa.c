/* ECDSA: the digest is made in software, the signature in the hardware. A context that waits holds no session. */
#include "kn_ossl_key.h"

#include "kn_crypto.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_NAME_MAX 50 /* bytes of a digest's name, with the final NUL */

typedef struct ecdsa {
    kn_ossl *prov;
    char *properties;
    kn_key *key;
    EVP_MD *md; /* NULL: the caller hashes */
    EVP_MD_CTX *hash;
} ecdsa;

/* AlgorithmIdentifiers of ecdsa-with-SHAx in DER (RFC 5758 section 3.2). */
static const struct {
    const char *digest;
    uint8_t der[14];
    size_t length;
} identifiers[] = {
    {"SHA1", {0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01}, 11},
    {"SHA224", {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x01}, 12},
    {"SHA256", {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}, 12},
    {"SHA384", {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}, 12},
    {"SHA512", {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}, 12},
};

static void *ecdsa_newctx(void *provctx, const char *properties)
{
    ecdsa *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    ctx->prov = provctx;
    if (properties && !(ctx->properties = strdup(properties))) {
        free(ctx);
        return NULL;
    }
    return ctx;
}

static void ecdsa_freectx(void *arg)
{
    ecdsa *ctx = arg;
    if (!ctx)
        return;
    kn_key_unref(&ctx->key);
    EVP_MD_free(ctx->md);
    EVP_MD_CTX_free(ctx->hash);
    free(ctx->properties);
    free(ctx);
}

static void *ecdsa_dupctx(void *arg)
{
    const ecdsa *from = arg;
    ecdsa *to = ecdsa_newctx(from->prov, from->properties);
    if (!to)
        return NULL;
    if (from->key)
        to->key = kn_key_ref(from->key);
    if (from->md && EVP_MD_up_ref(from->md))
        to->md = from->md;
    if (from->hash) {
        to->hash = EVP_MD_CTX_new();
        if (!to->hash || !EVP_MD_CTX_copy_ex(to->hash, from->hash)) {
            ecdsa_freectx(to);
            return NULL;
        }
    }
    return to;
}

static const OSSL_PARAM *ecdsa_settable_ctx_params(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

static int set_digest(ecdsa *ctx, const char *name, const char *properties)
{
    EVP_MD *md = kn_ossl_digest(ctx->prov, name, properties ? properties : ctx->properties);
    if (!md)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s' is not offered by any provider", name));
    int size = EVP_MD_get_size(md);
    if (size < 20 || size > 64 || (EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF)) {
        EVP_MD_free(md);
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s' for ECDSA", name));
    }
    EVP_MD_free(ctx->md);
    ctx->md = md;
    return 1;
}

static int ecdsa_set_ctx_params(void *arg, const OSSL_PARAM params[])
{
    ecdsa *ctx = arg;
    char name[DIGEST_NAME_MAX] = "", properties[256] = "", *text = name;
    if (!params)
        return 1;
    const OSSL_PARAM *digest = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    const OSSL_PARAM *query = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PROPERTIES);
    if (!digest)
        return 1;
    if (!OSSL_PARAM_get_utf8_string(digest, &text, sizeof name))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "a digest name that is too long"));
    if (ctx->hash) /* data may have been hashed already: the same once more, as software keys allow, or an error */
        return EVP_MD_is_a(ctx->md, name) ||
               kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s', but %s was chosen before", name,
                                                EVP_MD_get0_name(ctx->md)));
    text = properties;
    if (query && !OSSL_PARAM_get_utf8_string(query, &text, sizeof properties))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "a property query that is too long"));
    return set_digest(ctx, name, query ? properties : NULL);
}

static int set_key(ecdsa *ctx, const kn_ossl_key *key)
{
    if (!key) {
        if (ctx->key)
            return 1; /* the key of the previous operation */
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "no key was given"));
    }
    if (!key->key)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "the key object is empty"));
    kn_key *old = ctx->key;
    ctx->key = kn_key_ref(key->key);
    kn_key_unref(&old);
    return 1;
}

static int ecdsa_init(void *arg, void *key, const OSSL_PARAM params[])
{
    ecdsa *ctx = arg;
    EVP_MD_CTX_free(ctx->hash);
    ctx->hash = NULL;
    return set_key(ctx, key) && ecdsa_set_ctx_params(ctx, params);
}

/* Checks a digest that the caller made. */
static int check_size(const ecdsa *ctx, size_t length)
{
    if (ctx->md && length != (size_t)EVP_MD_get_size(ctx->md))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "%zu bytes are not a %s digest of %d", length,
                                                EVP_MD_get0_name(ctx->md), EVP_MD_get_size(ctx->md)));
    return 1;
}

static int ecdsa_sign(void *arg, unsigned char *signature, size_t *length, size_t size, const unsigned char *digest,
                      size_t digest_length)
{
    ecdsa *ctx = arg;
    size_t room = kn_key_public(ctx->key)->alg->signature_max;
    if (!signature) {
        *length = room;
        return 1;
    }
    if (!check_size(ctx, digest_length))
        return 0;
    if (size < room)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a signature may have %zu bytes, room is for %zu",
                                                room, size));
    kn_err err = kn_key_sign(ctx->key, digest, digest_length, signature, length);
    return kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : 1;
}

static int ecdsa_verify(void *arg, const unsigned char *signature, size_t length, const unsigned char *digest,
                        size_t digest_length)
{
    ecdsa *ctx = arg;
    return check_size(ctx, digest_length) &&
           kn_crypto_verify(kn_key_public(ctx->key), digest, digest_length, signature, length);
}

static int ecdsa_digest_init(void *arg, const char *name, void *key, const OSSL_PARAM params[])
{
    ecdsa *ctx = arg;
    if (!ecdsa_init(ctx, key, params))
        return 0;
    if (name && *name) {
        if ((!ctx->md || !EVP_MD_is_a(ctx->md, name)) && !set_digest(ctx, name, NULL))
            return 0;
    } else if (!ctx->md && !set_digest(ctx, kn_key_public(ctx->key)->alg->default_digest, NULL)) {
        return 0;
    }
    ctx->hash = EVP_MD_CTX_new();
    if (!ctx->hash || !EVP_DigestInit_ex2(ctx->hash, ctx->md, NULL))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "the digest does not start"));
    return 1;
}

static int ecdsa_digest_update(void *arg, const unsigned char *data, size_t length)
{
    ecdsa *ctx = arg;
    return ctx->hash && EVP_DigestUpdate(ctx->hash, data, length);
}

static int ecdsa_digest_sign_final(void *arg, unsigned char *signature, size_t *length, size_t size)
{
    ecdsa *ctx = arg;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_length = 0;
    if (!ctx->hash)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "no operation was begun"));
    if (signature && !EVP_DigestFinal_ex(ctx->hash, digest, &digest_length))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "the digest does not end"));
    return ecdsa_sign(ctx, signature, length, size, digest, digest_length);
}

static int ecdsa_digest_verify_final(void *arg, const unsigned char *signature, size_t length)
{
    ecdsa *ctx = arg;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_length = 0;
    return ctx->hash && EVP_DigestFinal_ex(ctx->hash, digest, &digest_length) &&
           ecdsa_verify(ctx, signature, length, digest, digest_length);
}

static const OSSL_PARAM *ecdsa_gettable_ctx_params(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_size_t(OSSL_SIGNATURE_PARAM_DIGEST_SIZE, NULL),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

static int get_algorithm_id(const ecdsa *ctx, OSSL_PARAM *p)
{
    for (size_t i = 0; ctx->md && i < sizeof identifiers / sizeof *identifiers; i++)
        if (EVP_MD_is_a(ctx->md, identifiers[i].digest))
            return OSSL_PARAM_set_octet_string(p, identifiers[i].der, identifiers[i].length);
    return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "X.509 has no name for ECDSA with %s",
                                            ctx->md ? EVP_MD_get0_name(ctx->md) : "a digest that is not known"));
}

static int ecdsa_get_ctx_params(void *arg, OSSL_PARAM params[])
{
    const ecdsa *ctx = arg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID)) && !get_algorithm_id(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, ctx->md ? EVP_MD_get0_name(ctx->md) : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST_SIZE)) &&
        !OSSL_PARAM_set_size_t(p, ctx->md ? (size_t)EVP_MD_get_size(ctx->md) : 0))
        return 0;
    return 1;
}

const OSSL_DISPATCH kn_ossl_ecdsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))ecdsa_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))ecdsa_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))ecdsa_dupctx},
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))ecdsa_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))ecdsa_sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))ecdsa_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))ecdsa_verify},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))ecdsa_digest_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))ecdsa_digest_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))ecdsa_digest_sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))ecdsa_digest_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))ecdsa_digest_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))ecdsa_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))ecdsa_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))ecdsa_gettable_ctx_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))ecdsa_set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))ecdsa_settable_ctx_params},
    {0, NULL},
};
