#include "kn_ossl_keymgmt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

/* An empty object, and no import: a key comes from a decoder or a store. OpenSSL asks for one when it compares a
 * software key with one of ours; without it, each comparison leaves "malloc failure" on the error queue. */
void *kn_ossl_keymgmt_new(void *provctx)
{
    return kn_ossl_key_new(provctx, NULL);
}

void *kn_ossl_keymgmt_load(const void *reference, size_t size, kn_key_type type)
{
    kn_ossl_key *key;
    if (size != sizeof key)
        return NULL;
    memcpy(&key, reference, sizeof key);
    if (!key || kn_key_public(key->key)->alg->type != type)
        return NULL;
    memset((void *)(uintptr_t)reference, 0, sizeof key); /* taken */
    return key;
}

void *kn_ossl_keymgmt_dup(const void *from, int selection)
{
    const kn_ossl_key *key = from;
    (void)selection;
    return kn_ossl_key_new(key->prov, key->key ? kn_key_ref(key->key) : NULL);
}

int kn_ossl_keymgmt_has(const void *arg, int selection)
{
    const kn_ossl_key *key = arg;
    (void)selection; /* parameters, public and private part are all there, or the object is empty */
    return key && key->key;
}

int kn_ossl_keymgmt_match(const void *a, const void *b, int selection)
{
    const kn_ossl_key *ka = a, *kb = b;
    if (!ka->key || !kb->key)
        return 0;
    if (selection & OSSL_KEYMGMT_SELECT_KEYPAIR)
        return kn_public_equal(kn_key_public(ka->key), kn_key_public(kb->key));
    return kn_key_public(ka->key)->alg == kn_key_public(kb->key)->alg;
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
        !OSSL_PARAM_set_int(p, (int)alg->signature_max))
        return 0;
    if (*alg->default_digest && (p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_DEFAULT_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, alg->default_digest))
        return 0;
    return 1;
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
    if (key->key && !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return kn_key_public(key->key);
    if (key->key)
        (void)kn_ossl_raise(key->prov, kn_fail(KN_E_KEY_USE, "a private key does not leave its token"));
    return NULL;
}
