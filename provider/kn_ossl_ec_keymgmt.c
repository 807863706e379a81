/* Key management of EC keys. */
#include "kn_ossl_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdint.h>
#include <string.h>

/* An empty object, and no import: a key comes from a decoder or a store. OpenSSL asks for one when it compares a
 * software key with one of ours; without it, each comparison leaves "malloc failure" on the error queue. */
static void *ec_new(void *provctx)
{
    return kn_ossl_key_new(provctx, NULL);
}

/* A decoder or a store hands over a kn_ossl_key by reference. */
static void *ec_load(const void *reference, size_t size)
{
    kn_ossl_key *key;
    if (size != sizeof key)
        return NULL;
    memcpy(&key, reference, sizeof key);
    if (!key || kn_key_public(key->key)->alg->type != KN_KEY_EC)
        return NULL;
    memset((void *)(uintptr_t)reference, 0, sizeof key); /* taken */
    return key;
}

static void *ec_dup(const void *from, int selection)
{
    const kn_ossl_key *key = from;
    (void)selection;
    return kn_ossl_key_new(key->prov, key->key ? kn_key_ref(key->key) : NULL);
}

static int ec_has(const void *arg, int selection)
{
    const kn_ossl_key *key = arg;
    (void)selection; /* parameters, public and private part are all there, or the object is empty */
    return key && key->key;
}

static int ec_match(const void *a, const void *b, int selection)
{
    const kn_ossl_key *ka = a, *kb = b;
    if (!ka->key || !kb->key)
        return 0;
    if (selection & OSSL_KEYMGMT_SELECT_KEYPAIR)
        return kn_public_equal(kn_key_public(ka->key), kn_key_public(kb->key));
    return kn_key_public(ka->key)->alg == kn_key_public(kb->key)->alg;
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

static int set_coordinate(OSSL_PARAM *p, const uint8_t *bytes, size_t length)
{
    BIGNUM *n = BN_bin2bn(bytes, (int)length, NULL);
    int ok = n && OSSL_PARAM_set_BN(p, n);
    BN_free(n);
    return ok;
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
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_EC_PUB_X)) && !set_coordinate(p, public->point + 1, half))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_EC_PUB_Y)) &&
        !set_coordinate(p, public->point + 1 + half, half))
        return 0;
    return 1;
}

static int ec_get_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_key *key = arg;
    if (!key->key)
        return 0;
    const kn_public *public = kn_key_public(key->key);
    const kn_alg *alg = public->alg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS)) && !OSSL_PARAM_set_int(p, (int)alg->key_bits))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS)) &&
        !OSSL_PARAM_set_int(p, (int)alg->security_bits))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE)) &&
        !OSSL_PARAM_set_int(p, (int)alg->signature_max))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME)) && !OSSL_PARAM_set_utf8_string(p, alg->group))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_DEFAULT_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, alg->default_digest))
        return 0;
    return get_public(public, params);
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

/* Refuses when the private part is asked for, also as part of "everything": OpenSSL would go on with the public half
 * in another provider, and fail late with "missing private key". The curve goes out by name, never by explicit
 * parameters. */
static int ec_export(void *arg, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_ossl_key *key = arg;
    if (!key->key || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return 0;
    const kn_public *public = kn_key_public(key->key);
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
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

const OSSL_DISPATCH kn_ossl_ec_keymgmt[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))ec_new},
    {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))ec_load},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))kn_ossl_key_free},
    {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))ec_dup},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))ec_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))ec_match},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))ec_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))ec_gettable},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))ec_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))ec_export_types},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))ec_query_operation_name},
    {0, NULL},
};
