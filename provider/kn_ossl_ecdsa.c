/* ECDSA. */
#include "kn_ossl_signature.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#define SHA3_ID(last)                                                                                                  \
    {                                                                                                                 \
        0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, (last)                                \
    }

/* AlgorithmIdentifiers of ecdsa-with-SHAx in DER (RFC 5758 section 3.2; NIST's sigAlgs for SHA-3). */
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
    {"SHA3-224", SHA3_ID(9), 13},
    {"SHA3-256", SHA3_ID(10), 13},
    {"SHA3-384", SHA3_ID(11), 13},
    {"SHA3-512", SHA3_ID(12), 13},
};

static int ecdsa_how(const kn_ossl_signature *ctx, kn_sign_how *ret_how)
{
    (void)ctx;
    *ret_how = kn_sign_ecdsa;
    return 1;
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

static int ecdsa_set_ctx_params(void *ctx, const OSSL_PARAM params[])
{
    return !params || kn_ossl_signature_set_digest(ctx, params);
}

static int ecdsa_sign_init(void *ctx, void *key, const OSSL_PARAM params[])
{
    return kn_ossl_signature_begin(ctx, key, false) && ecdsa_set_ctx_params(ctx, params);
}

static int ecdsa_verify_init(void *ctx, void *key, const OSSL_PARAM params[])
{
    return kn_ossl_signature_begin(ctx, key, true) && ecdsa_set_ctx_params(ctx, params);
}

static int ecdsa_digest_sign_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    return ecdsa_sign_init(ctx, key, params) && kn_ossl_signature_start(ctx, name);
}

static int ecdsa_digest_verify_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    return ecdsa_verify_init(ctx, key, params) && kn_ossl_signature_start(ctx, name);
}

static int ecdsa_sign(void *ctx, unsigned char *signature, size_t *length, size_t size, const unsigned char *data,
                      size_t data_length)
{
    return kn_ossl_signature_sign(ctx, ecdsa_how, signature, length, size, data, data_length);
}

static int ecdsa_verify(void *ctx, const unsigned char *signature, size_t length, const unsigned char *data,
                        size_t data_length)
{
    return kn_ossl_signature_verify(ctx, ecdsa_how, signature, length, data, data_length);
}

static int ecdsa_digest_sign_final(void *ctx, unsigned char *signature, size_t *length, size_t size)
{
    return kn_ossl_signature_sign_all(ctx, ecdsa_how, signature, length, size, NULL, 0);
}

static int ecdsa_digest_verify_final(void *ctx, const unsigned char *signature, size_t length)
{
    return kn_ossl_signature_verify_all(ctx, ecdsa_how, signature, length, NULL, 0);
}

static int ecdsa_digest_sign(void *ctx, unsigned char *signature, size_t *length, size_t size, const unsigned char *data,
                           size_t data_length)
{
    return kn_ossl_signature_sign_all(ctx, ecdsa_how, signature, length, size, data, data_length);
}

static int ecdsa_digest_verify(void *ctx, const unsigned char *signature, size_t length, const unsigned char *data,
                             size_t data_length)
{
    return kn_ossl_signature_verify_all(ctx, ecdsa_how, signature, length, data, data_length);
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

static int get_algorithm_id(const kn_ossl_signature *ctx, OSSL_PARAM *p)
{
    for (size_t i = 0; ctx->md && i < sizeof identifiers / sizeof *identifiers; i++)
        if (EVP_MD_is_a(ctx->md, identifiers[i].digest))
            return OSSL_PARAM_set_octet_string(p, identifiers[i].der, identifiers[i].length);
    return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "X.509 has no name for ECDSA with %s",
                                            ctx->md ? EVP_MD_get0_name(ctx->md) : "a digest that is not known"));
}

static int ecdsa_get_ctx_params(void *ctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
    return (!p || get_algorithm_id(ctx, p)) && kn_ossl_signature_get_digest(ctx, params);
}

const OSSL_DISPATCH kn_ossl_ecdsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))kn_ossl_signature_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))kn_ossl_signature_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))kn_ossl_signature_dupctx},
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))ecdsa_sign_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))ecdsa_sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))ecdsa_verify_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))ecdsa_verify},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))ecdsa_digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))kn_ossl_signature_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))ecdsa_digest_sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))ecdsa_digest_sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))ecdsa_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))kn_ossl_signature_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))ecdsa_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))ecdsa_digest_verify},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))ecdsa_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))ecdsa_gettable_ctx_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))ecdsa_set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))ecdsa_settable_ctx_params},
    {0, NULL},
};
