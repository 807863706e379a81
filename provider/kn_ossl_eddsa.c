/* Ed25519 and Ed448: the message is signed as a whole (RFC 8032), so there is one-shot signing and no digest. */
#include "kn_ossl_signature.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

static int eddsa_how(const kn_ossl_signature *ctx, kn_sign_how *ret_how)
{
    (void)ctx;
    *ret_how = (kn_sign_how){.scheme = KN_EDDSA};
    return 1;
}

static int begin(kn_ossl_signature *ctx, const char *name, void *key, bool verifying)
{
    if (name && *name)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s': Ed25519 and Ed448 take no digest", name));
    return kn_ossl_signature_begin(ctx, key, verifying);
}

static int eddsa_digest_sign_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    (void)params;
    return begin(ctx, name, key, false);
}

static int eddsa_digest_verify_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    (void)params;
    return begin(ctx, name, key, true);
}

static int eddsa_digest_sign(void *ctx, unsigned char *signature, size_t *length, size_t size,
                               const unsigned char *data, size_t data_length)
{
    return kn_ossl_signature_sign(ctx, eddsa_how, signature, length, size, data, data_length);
}

static int eddsa_digest_verify(void *ctx, const unsigned char *signature, size_t length, const unsigned char *data,
                                 size_t data_length)
{
    return kn_ossl_signature_verify(ctx, eddsa_how, signature, length, data, data_length);
}

static const OSSL_PARAM *eddsa_gettable_ctx_params(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

/* RFC 8410 section 3: the curve's identifier, no parameters. */
static int eddsa_get_ctx_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_signature *ctx = arg;
    uint8_t der[2 + KN_ALG_OID_MAX] = {0x30};
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
    if (!p)
        return 1;
    if (!ctx->public)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "no key was given"));
    const kn_alg *alg = ctx->public->alg;
    der[1] = (uint8_t)alg->oid_length;
    memcpy(der + 2, alg->oid, alg->oid_length);
    return OSSL_PARAM_set_octet_string(p, der, 2 + alg->oid_length);
}

const OSSL_DISPATCH kn_ossl_eddsa[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))kn_ossl_signature_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))kn_ossl_signature_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))kn_ossl_signature_dupctx},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))eddsa_digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))eddsa_digest_sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))eddsa_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))eddsa_digest_verify},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))eddsa_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))eddsa_gettable_ctx_params},
    {0, NULL},
};
