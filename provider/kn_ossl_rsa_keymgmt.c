/* Key management of RSA keys, and of those that are for PSS only. */
#include "kn_ossl_keymgmt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/params.h>

KN_OSSL_KIND_FUNCTIONS(rsa, &kn_ossl_rsa)
KN_OSSL_KIND_FUNCTIONS(pss, &kn_ossl_rsa_pss)

static const OSSL_PARAM *rsa_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0), /* a restricted RSA-PSS key */
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
    const kn_public *public = kn_ossl_key_public(key);
    if (!public)
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_N)) &&
        !kn_ossl_keymgmt_set_number(p, public->modulus, public->alg->coord_bytes))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_E)) &&
        !kn_ossl_keymgmt_set_number(p, public->exponent, public->exponent_length))
        return 0;
    return kn_ossl_keymgmt_get_common(public, params);
}

static const OSSL_PARAM exported[] = {
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
    OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, NULL, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MASKGENFUNC, NULL, 0),
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, NULL, 0),
    OSSL_PARAM_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, NULL),
    OSSL_PARAM_END,
};

static const OSSL_PARAM *rsa_export_types(int selection)
{
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : exported;
}

static const OSSL_PARAM *rsa_import_types(int selection)
{
    (void)selection; /* also for everything: what is private is refused when it is there */
    return exported;
}

static bool push_restrictions(OSSL_PARAM_BLD *build, const kn_public *public)
{
    if (!public->pss_digest)
        return true;
    return OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_RSA_DIGEST, public->pss_digest->name, 0) &&
           OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_RSA_MASKGENFUNC, "MGF1", 0) &&
           OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, public->pss_mgf1->name, 0) &&
           OSSL_PARAM_BLD_push_int(build, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, (int)public->pss_salt_min);
}

static int rsa_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_public *public = kn_ossl_keymgmt_exportable(key, selection);
    OSSL_PARAM *params = NULL;
    if (!public || !public->exponent_length || !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        return 0;
    BIGNUM *n = BN_bin2bn(public->modulus, (int)public->alg->coord_bytes, NULL);
    BIGNUM *e = BN_bin2bn(public->exponent, (int)public->exponent_length, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) && push_restrictions(build, public))
        params = OSSL_PARAM_BLD_to_param(build);
    int ok = params && callback(params, callback_arg);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(e);
    BN_free(n);
    return ok;
}

static kn_err from_numbers(const BIGNUM *n, const BIGNUM *e, kn_public *ret_public)
{
    uint8_t modulus[KN_RSA_MAX], exponent[KN_RSA_EXPONENT_MAX];
    if (BN_num_bytes(n) > KN_RSA_MAX || BN_num_bytes(e) > KN_RSA_EXPONENT_MAX)
        return kn_fail(KN_E_KEY_TYPE, "an RSA key of %d bits", BN_num_bits(n));
    return kn_public_from_rsa(modulus, (size_t)BN_bn2bin(n, modulus), exponent, (size_t)BN_bn2bin(e, exponent), ret_public);
}

/* The restrictions of an RSA-PSS key. */
static kn_err read_restrictions(kn_ossl *prov, const OSSL_PARAM params[], kn_public *public)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_DIGEST, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST};
    const kn_digest *digests[2] = {&kn_digests[KN_SHA1], &kn_digests[KN_SHA1]};
    const OSSL_PARAM *p;
    int salt = 20;
    bool any = false;
    for (size_t i = 0; i < 2; i++) {
        const char *name = NULL;
        if (!(p = OSSL_PARAM_locate_const(params, names[i])) || !OSSL_PARAM_get_utf8_string_ptr(p, &name))
            continue;
        any = true;
        digests[i] = kn_ossl_gen_digest(prov, name);
        if (!digests[i])
            return kn_fail(KN_E_DIGEST, "an RSA-PSS key for '%.40s'", name);
    }
    if ((p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN)))
        any = OSSL_PARAM_get_int(p, &salt) && salt >= 0;
    if (any) {
        public->pss_digest = digests[0];
        public->pss_mgf1 = digests[1];
        public->pss_salt_min = (size_t)salt;
    }
    return kn_success();
}

static int rsa_import(void *arg, int selection, const OSSL_PARAM params[])
{
    kn_ossl_key *key = arg;
    const OSSL_PARAM *pn = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_N);
    const OSSL_PARAM *pe = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_RSA_E);
    BIGNUM *n = NULL, *e = NULL;
    kn_public public;
    kn_err err = kn_fail(KN_E_KEY_TYPE, "an RSA key without its public numbers");
    if (kn_ossl_keymgmt_has_private(key, params))
        return 0;
    if ((selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) && pn && pe && OSSL_PARAM_get_BN(pn, &n) && OSSL_PARAM_get_BN(pe, &e))
        err = from_numbers(n, e, &public);
    if (!kn_failed(err) && key->kind->pss) {
        public.pss = true;
        err = read_restrictions(key->prov, params, &public);
    }
    BN_free(n);
    BN_free(e);
    return kn_ossl_keymgmt_imported(key, err, &public);
}

#define RSA_ROWS                                                                                                      \
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))rsa_get_params},                                                   \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))rsa_gettable},                                            \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))rsa_import},                                                       \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))rsa_import_types},                                           \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))rsa_export},                                                       \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))rsa_export_types}

const OSSL_DISPATCH kn_ossl_rsa_keymgmt[] = {KN_OSSL_KIND_ROWS(rsa), RSA_ROWS, {0, NULL}};
const OSSL_DISPATCH kn_ossl_rsa_pss_keymgmt[] = {KN_OSSL_KIND_ROWS(pss), RSA_ROWS, {0, NULL}};
