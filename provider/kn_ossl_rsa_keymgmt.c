/* Key management of RSA keys. */
#include "kn_ossl_keymgmt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/params.h>

static void *rsa_load(const void *reference, size_t size)
{
    return kn_ossl_keymgmt_load(reference, size, KN_KEY_RSA);
}

static const OSSL_PARAM *rsa_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int rsa_get_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_key *key = arg;
    OSSL_PARAM *p;
    if (!key->key)
        return 0;
    const kn_public *public = kn_key_public(key->key);
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_N)) &&
        !kn_ossl_keymgmt_set_number(p, public->modulus, public->alg->coord_bytes))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_E)) &&
        !kn_ossl_keymgmt_set_number(p, public->exponent, public->exponent_length))
        return 0;
    return kn_ossl_keymgmt_get_common(public, params);
}

static const OSSL_PARAM *rsa_export_types(int selection)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_END,
    };
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : params;
}

static int rsa_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_public *public = kn_ossl_keymgmt_exportable(key, selection);
    OSSL_PARAM *params = NULL;
    if (!public || !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        return 0;
    BIGNUM *n = BN_bin2bn(public->modulus, (int)public->alg->coord_bytes, NULL);
    BIGNUM *e = BN_bin2bn(public->exponent, (int)public->exponent_length, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        params = OSSL_PARAM_BLD_to_param(build);
    int ok = params && callback(params, callback_arg);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(e);
    BN_free(n);
    return ok;
}

static const char *rsa_query_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? KN_OSSL_RSA : NULL;
}

const OSSL_DISPATCH kn_ossl_rsa_keymgmt[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))kn_ossl_keymgmt_new},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))rsa_load},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))kn_ossl_key_free},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))kn_ossl_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))kn_ossl_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))kn_ossl_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))rsa_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))rsa_gettable},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))rsa_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))rsa_export_types},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))rsa_query_operation_name},
    {0, NULL},
};
