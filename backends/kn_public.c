#include "kn_public.h"

#include "kn_crypto.h"
#include "kn_pss.h"

#include <openssl/asn1t.h>
#include <openssl/x509.h>
#include <string.h>

/* A template of our own, because libcrypto's X509_PUBKEY fetches decoders of every provider, and this code
 * runs inside one. */
typedef struct {
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *key;
} KN_SPKI;

DECLARE_ASN1_FUNCTIONS(KN_SPKI)
ASN1_SEQUENCE(KN_SPKI) = {
    ASN1_SIMPLE(KN_SPKI, algorithm, X509_ALGOR),
    ASN1_SIMPLE(KN_SPKI, key, ASN1_BIT_STRING),
} ASN1_SEQUENCE_END(KN_SPKI)
IMPLEMENT_ASN1_FUNCTIONS(KN_SPKI)

typedef struct {
    ASN1_INTEGER *modulus, *exponent;
} KN_RSA_KEY; /* RSAPublicKey, RFC 8017 appendix A.1.1 */

DECLARE_ASN1_FUNCTIONS(KN_RSA_KEY)
ASN1_SEQUENCE(KN_RSA_KEY) = {
    ASN1_SIMPLE(KN_RSA_KEY, modulus, ASN1_INTEGER),
    ASN1_SIMPLE(KN_RSA_KEY, exponent, ASN1_INTEGER),
} ASN1_SEQUENCE_END(KN_RSA_KEY)
IMPLEMENT_ASN1_FUNCTIONS(KN_RSA_KEY)

/* How many bytes a public key on a curve has, bare. */
static size_t point_bytes(const kn_alg *alg)
{
    return alg->type == KN_KEY_EC ? 1 + 2 * alg->coord_bytes : alg->coord_bytes;
}

static kn_err set_point(const kn_alg *alg, const uint8_t *point, size_t length, kn_public *ret_public)
{
    if (length != point_bytes(alg) || (alg->type == KN_KEY_EC && point[0] != 0x04))
        return kn_fail(KN_E_KEY_TYPE, "the %s public key is not an uncompressed point of %zu bytes", alg->name,
                       point_bytes(alg));
    *ret_public = (kn_public){.alg = alg, .point_length = length};
    memcpy(ret_public->point, point, length);
    return kn_success();
}

kn_err kn_public_from_ec_point(const kn_alg *alg, const uint8_t *point, size_t length, kn_public *ret_public)
{
    size_t bare = point_bytes(alg);
    /* DER length of the OCTET STRING: one byte below 128, else 0x81 and one byte (P-521: 133) */
    size_t header = bare < 128 ? 2 : 3;
    if (length == header + bare && point[0] == 0x04 && (header == 2 || point[1] == 0x81) &&
        point[header - 1] == bare) {
        point += header;
        length = bare;
    }
    return set_point(alg, point, length, ret_public);
}

static void skip_zeros(const uint8_t **number, size_t *length)
{
    while (*length && **number == 0) {
        (*number)++;
        (*length)--;
    }
}

kn_err kn_public_from_rsa(const uint8_t *modulus, size_t modulus_length, const uint8_t *exponent,
                          size_t exponent_length, kn_public *ret_public)
{
    skip_zeros(&modulus, &modulus_length);
    skip_zeros(&exponent, &exponent_length);
    size_t bits = modulus_length * 8;
    for (int top = modulus_length ? modulus[0] : 0x80; !(top & 0x80); top <<= 1)
        bits--;
    const kn_alg *alg = kn_alg_by_rsa_bits(bits);
    if (!alg)
        return kn_fail(KN_E_KEY_TYPE, "an RSA key of %zu bits; 2048, 3072 and 4096 are supported", bits);
    if (exponent_length == 0 || exponent_length > KN_RSA_EXPONENT_MAX)
        return kn_fail(KN_E_KEY_TYPE, "an RSA key with a public exponent of %zu bytes", exponent_length);
    *ret_public = (kn_public){.alg = alg, .exponent_length = exponent_length};
    memcpy(ret_public->modulus, modulus, modulus_length);
    memcpy(ret_public->exponent, exponent, exponent_length);
    return kn_success();
}

static kn_err from_rsa_key(const uint8_t *der, size_t length, kn_public *ret_public)
{
    const uint8_t *end = der;
    KN_RSA_KEY *key = d2i_KN_RSA_KEY(NULL, &end, (long)length);
    kn_err err;
    if (!key || end != der + length || ASN1_STRING_type(key->modulus) != V_ASN1_INTEGER ||
        ASN1_STRING_type(key->exponent) != V_ASN1_INTEGER)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "the RSAPublicKey is not valid DER");
    else
        err = kn_public_from_rsa(ASN1_STRING_get0_data(key->modulus), (size_t)ASN1_STRING_length(key->modulus),
                                 ASN1_STRING_get0_data(key->exponent), (size_t)ASN1_STRING_length(key->exponent),
                                 ret_public);
    KN_RSA_KEY_free(key);
    return err;
}

static kn_err from_pss_key(int type, const void *parameters, const uint8_t *key, size_t key_length,
                           kn_public *ret_public)
{
    kn_public public;
    kn_err err = from_rsa_key(key, key_length, &public);
    if (kn_failed(err))
        return err;
    public.pss = true;
    if (type != V_ASN1_UNDEF)
        err = kn_pss_get(type, parameters, &public.pss_digest, &public.pss_mgf1, &public.pss_salt_min);
    if (!kn_failed(err))
        *ret_public = public;
    return err;
}

static kn_err from_ec_parts(int type, const void *parameters, const uint8_t *key, size_t key_length,
                            kn_public *ret_public)
{
    if (type != V_ASN1_OBJECT)
        return kn_fail(KN_E_KEY_TYPE, "an EC key without a named curve");
    uint8_t curve[KN_ALG_OID_MAX], *end = curve;
    int length = i2d_ASN1_OBJECT(parameters, NULL);
    const kn_alg *alg = NULL;
    if (length > 0 && (size_t)length <= sizeof curve) {
        length = i2d_ASN1_OBJECT(parameters, &end);
        alg = kn_alg_by_oid(curve, (size_t)length);
    }
    if (!alg || alg->type != KN_KEY_EC)
        return kn_fail(KN_E_KEY_TYPE, "an EC key on a curve that is not supported");
    return set_point(alg, key, key_length, ret_public);
}

/* The curves of RFC 8410, whose identifier is that of the algorithm. */
static const kn_alg *bare_alg(const ASN1_OBJECT *oid)
{
    uint8_t der[KN_ALG_OID_MAX], *end = der;
    int length = i2d_ASN1_OBJECT(oid, NULL);
    if (length <= 0 || (size_t)length > sizeof der)
        return NULL;
    const kn_alg *alg = kn_alg_by_oid(der, (size_t)i2d_ASN1_OBJECT(oid, &end));
    return alg && alg->type != KN_KEY_EC ? alg : NULL;
}

static kn_err from_parts(const X509_ALGOR *algorithm, const uint8_t *key, size_t key_length, kn_public *ret_public)
{
    const ASN1_OBJECT *oid;
    int type;
    const void *parameters;
    X509_ALGOR_get0(&oid, &type, &parameters, algorithm);
    int nid = OBJ_obj2nid(oid);
    if (nid == NID_X9_62_id_ecPublicKey)
        return from_ec_parts(type, parameters, key, key_length, ret_public);
    if (nid == NID_rsaEncryption)
        return from_rsa_key(key, key_length, ret_public);
    if (nid == NID_rsassaPss)
        return from_pss_key(type, parameters, key, key_length, ret_public);
    const kn_alg *bare = bare_alg(oid);
    if (bare)
        return set_point(bare, key, key_length, ret_public);
    return kn_fail(KN_E_KEY_TYPE, "algorithm %s", nid == NID_undef ? "unknown" : OBJ_nid2sn(nid));
}

kn_err kn_public_from_spki(const uint8_t *der, size_t length, kn_public *ret_public)
{
    if (length > KN_SPKI_READ_MAX)
        return kn_fail(KN_E_KEY_TYPE, "a public key of %zu bytes", length);
    const uint8_t *end = der;
    uint8_t again[KN_SPKI_MAX];
    size_t again_length;
    kn_public public;
    KN_SPKI *spki = d2i_KN_SPKI(NULL, &end, (long)length);
    if (!spki || end != der + length) {
        KN_SPKI_free(spki);
        return kn_fail(KN_E_ALIAS_MALFORMED, "the SubjectPublicKeyInfo is not valid DER");
    }
    kn_err err = from_parts(spki->algorithm, ASN1_STRING_get0_data(spki->key),
                            (size_t)ASN1_STRING_length(spki->key), &public);
    KN_SPKI_free(spki);
    if (kn_failed(err))
        return err;
    /* d2i accepts BER, unused bits and absent parameters; what does not come out again as the same bytes was not DER */
    err = kn_public_to_spki(&public, again, &again_length);
    if (kn_failed(err))
        return err;
    if (again_length != length || memcmp(again, der, length))
        return kn_fail(KN_E_ALIAS_MALFORMED, "the SubjectPublicKeyInfo is not valid DER");
    *ret_public = public;
    return kn_success();
}

kn_err kn_public_from_certificate(const uint8_t *der, size_t length, kn_public *ret_public)
{
    X509 *certificate = kn_crypto_certificate(der, length);
    if (!certificate)
        return kn_fail(KN_E_MISMATCH, "the certificate is not valid DER");
    X509_PUBKEY *key = X509_get_X509_PUBKEY(certificate);
    X509_ALGOR *algorithm = NULL;
    const uint8_t *bits = NULL;
    int bits_length = 0;
    X509_PUBKEY_get0_param(NULL, &bits, &bits_length, &algorithm, key);
    kn_err err = from_parts(algorithm, bits, (size_t)bits_length, ret_public);
    X509_free(certificate);
    return err;
}

/* The algorithm identifier of @public. */
static bool set_algorithm(X509_ALGOR *algorithm, const kn_public *public)
{
    const uint8_t *oid = public->alg->oid;
    ASN1_OBJECT *curve;
    switch (public->alg->type) {
    case KN_KEY_EC:
        curve = d2i_ASN1_OBJECT(NULL, &oid, (long)public->alg->oid_length);
        if (!curve)
            return false;
        if (X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT, curve))
            return true;
        ASN1_OBJECT_free(curve);
        return false;
    case KN_KEY_RSA:
        if (public->pss && public->pss_digest)
            return kn_pss_set(algorithm, public->pss_digest, public->pss_mgf1, public->pss_salt_min);
        if (public->pss)
            return X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsassaPss), V_ASN1_UNDEF, NULL);
        return X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsaEncryption), V_ASN1_NULL, NULL);
    case KN_KEY_ED25519:
    case KN_KEY_ED448:
    case KN_KEY_X25519:
    case KN_KEY_X448: /* RFC 8410: the curve's identifier, no parameters */
        curve = d2i_ASN1_OBJECT(NULL, &oid, (long)public->alg->oid_length);
        if (!curve)
            return false;
        if (X509_ALGOR_set0(algorithm, curve, V_ASN1_UNDEF, NULL))
            return true;
        ASN1_OBJECT_free(curve);
        return false;
    }
    return false;
}

static bool set_rsa_key(ASN1_BIT_STRING *bits, const kn_public *public)
{
    uint8_t *der = NULL;
    KN_RSA_KEY *key = KN_RSA_KEY_new();
    bool ok = key && ASN1_STRING_set(key->modulus, public->modulus, (int)public->alg->coord_bytes) &&
              ASN1_STRING_set(key->exponent, public->exponent, (int)public->exponent_length);
    int length = ok ? i2d_KN_RSA_KEY(key, &der) : -1;
    ok = length > 0 && ASN1_STRING_set(bits, der, length);
    OPENSSL_free(der);
    KN_RSA_KEY_free(key);
    return ok;
}

kn_err kn_public_to_spki(const kn_public *public, uint8_t ret_der[KN_SPKI_MAX], size_t *ret_length)
{
    kn_err err = kn_fail(KN_E_NO_MEMORY, "the SubjectPublicKeyInfo");
    KN_SPKI *spki = KN_SPKI_new();
    if (!spki || !set_algorithm(spki->algorithm, public))
        goto out;
    if (public->alg->type == KN_KEY_RSA ? !set_rsa_key(spki->key, public)
                                        : !ASN1_STRING_set(spki->key, public->point, (int)public->point_length))
        goto out;
    spki->key->flags = (spki->key->flags & ~0x07L) | ASN1_STRING_FLAG_BITS_LEFT; /* no unused bits */
    int length = i2d_KN_SPKI(spki, NULL);
    if (length <= 0 || length > KN_SPKI_MAX)
        goto out;
    uint8_t *end = ret_der;
    *ret_length = (size_t)i2d_KN_SPKI(spki, &end);
    err = kn_success();
out:
    KN_SPKI_free(spki);
    return err;
}

bool kn_public_equal(const kn_public *a, const kn_public *b)
{
    return a->alg == b->alg && a->point_length == b->point_length && a->exponent_length == b->exponent_length &&
           !memcmp(a->point, b->point, a->point_length) && !memcmp(a->exponent, b->exponent, a->exponent_length) &&
           (a->alg->type != KN_KEY_RSA || !memcmp(a->modulus, b->modulus, a->alg->coord_bytes));
}
