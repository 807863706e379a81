/* Key management of keys whose public part is bare bytes: Ed25519, Ed448, X25519, X448 (RFC 8410). */
#include "kn_ossl_keymgmt.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

KN_OSSL_KIND_FUNCTIONS(ed25519, &kn_ossl_ed25519)
KN_OSSL_KIND_FUNCTIONS(ed448, &kn_ossl_ed448)
KN_OSSL_KIND_FUNCTIONS(x25519, &kn_ossl_x25519)
KN_OSSL_KIND_FUNCTIONS(x448, &kn_ossl_x448)

/* X25519 and X448 have also the encoded form: TLS asks for it. */
static const OSSL_PARAM *okp_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int okp_get_params(void *key, OSSL_PARAM params[])
{
    static const char *const encoded[] = {OSSL_PKEY_PARAM_PUB_KEY, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY};
    const kn_public *public = kn_ossl_key_public(key);
    OSSL_PARAM *p;
    if (!public)
        return 0;
    for (size_t i = 0; i < 2; i++)
        if (public->point_length && (p = OSSL_PARAM_locate(params, encoded[i])) &&
            !OSSL_PARAM_set_octet_string(p, public->point, public->point_length))
            return 0;
    return kn_ossl_keymgmt_get_common(public, params);
}

static const OSSL_PARAM exported[] = {
    OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
    OSSL_PARAM_END,
};

static const OSSL_PARAM *okp_export_types(int selection)
{
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : exported;
}

static const OSSL_PARAM *okp_import_types(int selection)
{
    (void)selection; /* also for everything: what is private is refused when it is there */
    return exported;
}

static int okp_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    const kn_public *public = kn_ossl_keymgmt_exportable(key, selection);
    if (!public || !public->point_length || !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        return 0;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public->point,
                                          public->point_length),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, callback_arg);
}

static int okp_import(void *arg, int selection, const OSSL_PARAM params[])
{
    kn_ossl_key *key = arg;
    kn_public public = {.alg = kn_alg_by_group(key->kind->name)};
    size_t length;
    if (kn_ossl_keymgmt_has_private(key, params))
        return 0;
    const uint8_t *point = kn_ossl_keymgmt_octets(params, OSSL_PKEY_PARAM_PUB_KEY, &length);
    kn_err err = kn_fail(KN_E_KEY_TYPE, "a %s key without its public part", key->kind->name);
    if (point && (selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        err = kn_public_from_ec_point(public.alg, point, length, &public);
    return kn_ossl_keymgmt_imported(key, err, &public);
}

#define OKP_ROWS                                                                                                      \
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))okp_get_params},                                                   \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))okp_gettable},                                            \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))okp_import},                                                       \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))okp_import_types},                                           \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))okp_export},                                                       \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))okp_export_types}

const OSSL_DISPATCH kn_ossl_ed25519_keymgmt[] = {KN_OSSL_KIND_ROWS(ed25519), OKP_ROWS, {0, NULL}};
const OSSL_DISPATCH kn_ossl_ed448_keymgmt[] = {KN_OSSL_KIND_ROWS(ed448), OKP_ROWS, {0, NULL}};
const OSSL_DISPATCH kn_ossl_x25519_keymgmt[] = {KN_OSSL_KIND_ROWS(x25519), OKP_ROWS, {0, NULL}};
const OSSL_DISPATCH kn_ossl_x448_keymgmt[] = {KN_OSSL_KIND_ROWS(x448), OKP_ROWS, {0, NULL}};
