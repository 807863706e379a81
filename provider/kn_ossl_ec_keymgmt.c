/* Key management of EC keys. */
#include "kn_ossl_keymgmt.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

static void *ec_load(const void *reference, size_t size)
{
    return kn_ossl_keymgmt_load(reference, size, KN_KEY_EC);
}

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
    if (!key->key)
        return 0;
    const kn_public *public = kn_key_public(key->key);
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME)) &&
        !OSSL_PARAM_set_utf8_string(p, public->alg->group))
        return 0;
    return kn_ossl_keymgmt_get_common(public, params) && get_public(public, params);
}

static const OSSL_PARAM *ec_export_types(int selection)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : params;
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
    if (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY)
        params[n++] = OSSL_PARAM_construct_octet_string(
            OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public->point, public->point_length);
    params[n] = OSSL_PARAM_construct_end();
    return callback(params, callback_arg);
}

static const char *ec_query_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? KN_OSSL_ECDSA : NULL;
}

const OSSL_DISPATCH kn_ossl_ec_keymgmt[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))kn_ossl_keymgmt_new},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))ec_load},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))kn_ossl_key_free},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))kn_ossl_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))kn_ossl_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))kn_ossl_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))ec_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))ec_gettable},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))ec_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))ec_export_types},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))ec_query_operation_name},
    {0, NULL},
};
