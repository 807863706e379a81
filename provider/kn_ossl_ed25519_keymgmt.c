/* Key management of Ed25519 keys. */
#include "kn_ossl_keymgmt.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

static void *ed25519_load(const void *reference, size_t size)
{
    return kn_ossl_keymgmt_load(reference, size, KN_KEY_ED25519);
}

static const OSSL_PARAM *ed25519_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int ed25519_get_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_key *key = arg;
    OSSL_PARAM *p;
    if (!key->key)
        return 0;
    const kn_public *public = kn_key_public(key->key);
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_PUB_KEY)) &&
        !OSSL_PARAM_set_octet_string(p, public->point, public->point_length))
        return 0;
    /* "" says: no digest may be given, the message is signed as a whole */
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MANDATORY_DIGEST)) && !OSSL_PARAM_set_utf8_string(p, ""))
        return 0;
    return kn_ossl_keymgmt_get_common(public, params);
}

static const OSSL_PARAM *ed25519_export_types(int selection)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : params;
}

static int ed25519_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_public *public = kn_ossl_keymgmt_exportable(key, selection);
    if (!public || !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        return 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public->point,
                                          public->point_length),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, callback_arg);
}

static const char *ed25519_query_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? KN_OSSL_ED25519 : NULL;
}

const OSSL_DISPATCH kn_ossl_ed25519_keymgmt[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))kn_ossl_keymgmt_new},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))ed25519_load},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))kn_ossl_key_free},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))kn_ossl_keymgmt_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))kn_ossl_keymgmt_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))kn_ossl_keymgmt_match},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))ed25519_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))ed25519_gettable},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))ed25519_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))ed25519_export_types},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))ed25519_query_operation_name},
    {0, NULL},
};
