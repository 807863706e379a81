#include "kn_ossl_keymgmt.h"

#include "kn_crypto.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

/* An empty object. OpenSSL asks for one to import a public key, which it does to compare a software key with one of ours
 * and for the peer of a key agreement. */
void *kn_ossl_keymgmt_new(void *provctx, const kn_ossl_kind *kind)
{
    return kn_ossl_key_without(provctx, kind, NULL);
}

void *kn_ossl_keymgmt_load(const void *reference, size_t size, const kn_ossl_kind *kind)
{
    kn_ossl_key *key;
    if (size != sizeof key)
        return NULL;
    memcpy(&key, reference, sizeof key);
    if (!key || key->kind != kind)
        return NULL;
    memset((void *)(uintptr_t)reference, 0, sizeof key); /* taken */
    return key;
}

/* OpenSSL copies the parameters alone to put a peer's public key beside them (CMS). */
void *kn_ossl_keymgmt_dup(const void *from, int selection)
{
    const kn_ossl_key *key = from;
    const kn_public *public = kn_ossl_key_public(key);
    if (key->key && (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return kn_ossl_key_new(key->prov, kn_key_ref(key->key));
    if (public && !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
        return kn_ossl_key_without(key->prov, key->kind, &(kn_public){.alg = public->alg, .pss = public->pss});
    return kn_ossl_key_without(key->prov, key->kind, public);
}

int kn_ossl_keymgmt_has(const void *arg, int selection)
{
    const kn_ossl_key *key = arg;
    if (!key || !kn_ossl_key_public(key))
        return 0;
    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) && !key->key)
        return 0;
    return !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) || kn_ossl_key_has_public(key);
}

int kn_ossl_keymgmt_match(const void *a, const void *b, int selection)
{
    const kn_public *pa = kn_ossl_key_public(a), *pb = kn_ossl_key_public(b);
    if (!pa || !pb)
        return 0;
    return selection & OSSL_KEYMGMT_SELECT_KEYPAIR ? kn_public_equal(pa, pb) : pa->alg == pb->alg;
}

/* The private part is for the token to know: it is compared with the public one when the key is found, or by the first
 * signature. */
int kn_ossl_keymgmt_validate(const void *arg, int selection, int check_type)
{
    const kn_ossl_key *key = arg;
    (void)check_type;
    if (!kn_ossl_keymgmt_has(key, selection))
        return 0;
    return !(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) || kn_crypto_public_valid(kn_ossl_key_public(key)) ||
           kn_ossl_raise(key->prov, kn_fail(KN_E_PEER, "not a valid %s public key", kn_ossl_key_public(key)->alg->name));
}

static int get_digests(const kn_public *public, OSSL_PARAM params[])
{
    const char *name = public->pss_digest ? public->pss_digest->name : public->alg->default_digest;
    OSSL_PARAM *p;
    if (*name && (p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_DEFAULT_DIGEST)) && !public->pss_digest &&
        !OSSL_PARAM_set_utf8_string(p, name))
        return 0;
    /* "" says: no digest may be given, the message is signed as a whole */
    bool mandatory = public->pss_digest || (!*name && (public->alg->uses & KN_USE_SIGN));
    return !mandatory || !(p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MANDATORY_DIGEST)) ||
           OSSL_PARAM_set_utf8_string(p, name);
}

int kn_ossl_keymgmt_get_common(const kn_public *public, OSSL_PARAM params[])
{
    const kn_alg *alg = public->alg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_BITS)) && !OSSL_PARAM_set_int(p, (int)alg->key_bits))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_SECURITY_BITS)) &&
        !OSSL_PARAM_set_int(p, (int)alg->security_bits))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE)) &&
        !OSSL_PARAM_set_int(p, (int)(alg->signature_max ? alg->signature_max : alg->coord_bytes)))
        return 0;
    return get_digests(public, params);
}

int kn_ossl_keymgmt_set_number(OSSL_PARAM *p, const uint8_t *bytes, size_t length)
{
    BIGNUM *n = BN_bin2bn(bytes, (int)length, NULL);
    int ok = n && OSSL_PARAM_set_BN(p, n);
    BN_free(n);
    return ok;
}

const kn_public *kn_ossl_keymgmt_exportable(const kn_ossl_key *key, int selection)
{
    /* Also of a public key alone: its operations stay here, and say what is missing. */
    if (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return kn_ossl_key_public(key);
    (void)kn_ossl_raise_code(key->prov, KN_E_NO_EXPORT);
    return NULL;
}

int kn_ossl_keymgmt_imported(kn_ossl_key *key, kn_err err, const kn_public *public)
{
    if (!kn_failed(err) && (key->key || key->public))
        err = kn_fail(KN_E_ARGUMENT, "an import into an object that holds a key");
    if (!kn_failed(err) && !(key->public = malloc(sizeof *key->public)))
        err = kn_fail(KN_E_NO_MEMORY, "a public key");
    if (kn_failed(err))
        return kn_ossl_raise(key->prov, err);
    *key->public = *public;
    return 1;
}

bool kn_ossl_keymgmt_has_private(const kn_ossl_key *key, const OSSL_PARAM params[])
{
    static const char *const names[] = {OSSL_PKEY_PARAM_PRIV_KEY, OSSL_PKEY_PARAM_RSA_D};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (OSSL_PARAM_locate_const(params, names[i])) {
            (void)kn_ossl_raise(key->prov, kn_fail(KN_E_KEY_USE, "a private key in software is not brought into a token; "
                                                                 "make one there"));
            return true;
        }
    return false;
}

const uint8_t *kn_ossl_keymgmt_octets(const OSSL_PARAM params[], const char *name, size_t *ret_length)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
    const void *bytes = NULL;
    return p && OSSL_PARAM_get_octet_string_ptr(p, &bytes, ret_length) ? bytes : NULL;
}

const char *kn_ossl_keymgmt_operation(const kn_ossl_kind *kind, int operation)
{
    switch (operation) {
    case OSSL_OP_SIGNATURE:
        return kind->signature;
    case OSSL_OP_KEYEXCH:
        return kind->exchange;
    case OSSL_OP_ASYM_CIPHER:
        return kind->cipher;
    default: /* of OpenSSL's many operations keys have these */
        return NULL;
    }
}
