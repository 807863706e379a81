/* Key management of EC keys. */
#include "kn_ossl_keymgmt.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

KN_OSSL_KIND_FUNCTIONS(ec, &kn_ossl_ec)

static const OSSL_PARAM *ec_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_X, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_EC_PUB_Y, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int get_public(const kn_public *public, OSSL_PARAM params[])
{
    static const char *const encoded[] = {OSSL_PKEY_PARAM_PUB_KEY, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY};
    size_t half = public->alg->coord_bytes;
    OSSL_PARAM *p;
    for (size_t i = 0; i < 2; i++)
        if ((p = OSSL_PARAM_locate(params, encoded[i])) &&
            !OSSL_PARAM_set_octet_string(p, public->point, public->point_length))
            return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_EC_PUB_X)) &&
        !kn_ossl_keymgmt_set_number(p, public->point + 1, half))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_EC_PUB_Y)) &&
        !kn_ossl_keymgmt_set_number(p, public->point + 1 + half, half))
        return 0;
    return 1;
}

static int ec_get_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_key *key = arg;
    OSSL_PARAM *p;
    const kn_public *public = kn_ossl_key_public(key);
    if (!public)
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME)) &&
        !OSSL_PARAM_set_utf8_string(p, public->alg->group))
        return 0;
    return kn_ossl_keymgmt_get_common(public, params) &&
           (!kn_ossl_key_has_public(key) || get_public(public, params));
}

static const OSSL_PARAM exported[] = {
    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
    OSSL_PARAM_END,
};

static const OSSL_PARAM *ec_export_types(int selection)
{
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : exported;
}

static const OSSL_PARAM *ec_import_types(int selection)
{
    (void)selection; /* also for everything: what is private is refused when it is there */
    return exported;
}

static const kn_alg *curve_of(const OSSL_PARAM params[])
{
    char group[64] = "", *text = group;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
    if (!p || !OSSL_PARAM_get_utf8_string(p, &text, sizeof group))
        return NULL;
    const kn_alg *alg = kn_alg_by_group(group);
    return alg && alg->type == KN_KEY_EC ? alg : NULL;
}

static int ec_import(void *arg, int selection, const OSSL_PARAM params[])
{
    kn_ossl_key *key = arg;
    kn_err err = kn_success();
    size_t length;
    if (kn_ossl_keymgmt_has_private(key, params))
        return 0;
    kn_public public = {.alg = curve_of(params)};
    if (!public.alg)
        return kn_ossl_keymgmt_imported(key, kn_fail(KN_E_KEY_TYPE, "a public key on a curve that is not supported"), NULL);
    const uint8_t *point = kn_ossl_keymgmt_octets(params, OSSL_PKEY_PARAM_PUB_KEY, &length);
    if (point && (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        err = kn_public_from_ec_point(public.alg, point, length, &public);
    return kn_ossl_keymgmt_imported(key, err, &public);
}

static const OSSL_PARAM *ec_settable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

/* The public key for parameters that were copied. */
static int ec_set_params(void *arg, const OSSL_PARAM params[])
{
    kn_ossl_key *key = arg;
    size_t length;
    const uint8_t *point = kn_ossl_keymgmt_octets(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, &length);
    if (!point)
        return 1;
    if (key->key || !key->public)
        return kn_ossl_raise(key->prov, kn_fail(KN_E_ARGUMENT, "a public key for an object that has one or no curve"));
    kn_err err = kn_public_from_ec_point(key->public->alg, point, length, key->public);
    return kn_failed(err) ? kn_ossl_raise(key->prov, err) : 1;
}

/* The curve goes out by name, never by explicit parameters. */
static int ec_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_public *public = kn_ossl_keymgmt_exportable(key, selection);
    if (!public)
        return 0;
    char *group = (char *)(uintptr_t)public->alg->group;
    OSSL_PARAM params[3];
    int n = 0;
    params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, strlen(group));
    if ((selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) && public->point_length)
        params[n++] = OSSL_PARAM_construct_octet_string(
            OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public->point, public->point_length);
    params[n] = OSSL_PARAM_construct_end();
    return callback(params, callback_arg);
}

const OSSL_DISPATCH kn_ossl_ec_keymgmt[] = {
    KN_OSSL_KIND_ROWS(ec),
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))ec_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))ec_gettable},
    {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))ec_set_params},
    {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))ec_settable},
    {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))ec_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))ec_import_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))ec_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))ec_export_types},
    {0, NULL},
};
