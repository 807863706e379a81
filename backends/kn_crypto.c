#include "kn_crypto.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <pthread.h>

static OSSL_LIB_CTX *libctx; /* lives as long as the process */
static pthread_once_t libctx_once = PTHREAD_ONCE_INIT;

static void make_libctx(void)
{
    libctx = OSSL_LIB_CTX_new();
}

static bool have_libctx(void)
{
    (void)pthread_once(&libctx_once, make_libctx);
    return libctx != NULL;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, type, NULL);
    if (ctx && EVP_PKEY_fromdata_init(ctx) > 0)
        (void)EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

/* By its DER: a program may have put an EVP_PKEY_METHOD for RSA into libcrypto (our HSM library does), and then
 * EVP_PKEY_fromdata() does not make RSA keys in any context. */
static EVP_PKEY *rsa_pkey(const kn_public *public)
{
    uint8_t spki[KN_SPKI_MAX];
    size_t length;
    const uint8_t *der = spki;
    if (kn_failed(kn_public_to_spki(public, spki, &length)))
        return NULL;
    return d2i_PUBKEY_ex(NULL, &der, (long)length, libctx, NULL);
}

static EVP_PKEY *to_pkey(const kn_public *public)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)public->alg->group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public->point,
                                          public->point_length),
        OSSL_PARAM_END,
    };
    switch (public->alg->type) {
    case KN_KEY_EC:
        return from_params("EC", params);
    case KN_KEY_RSA:
        return rsa_pkey(public);
    case KN_KEY_ED25519:
    case KN_KEY_ED448:
    case KN_KEY_X25519:
    case KN_KEY_X448:
        return EVP_PKEY_new_raw_public_key_ex(libctx, public->alg->group, NULL, public->point, public->point_length);
    }
    return NULL;
}

static bool verify_eddsa(EVP_PKEY *pkey, const uint8_t *data, size_t length, const uint8_t *signature,
                         size_t signature_length)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestVerifyInit_ex(ctx, NULL, NULL, libctx, NULL, pkey, NULL) > 0 &&
                EVP_DigestVerify(ctx, signature, signature_length, data, length) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

/* RSA_PKCS1 without a digest: what was signed is compared as it is, which EVP does when no digest is set. By functions and
 * digests of libcrypto's own list, which serve a program's EVP_PKEY_METHOD as well (see rsa_pkey()); parameters do not. */
static bool set_rsa(EVP_PKEY_CTX *ctx, const kn_sign_how *how)
{
    bool pss = how->scheme == KN_RSA_PSS;
    int salt = how->salt_bytes == KN_SALT_ANY ? RSA_PSS_SALTLEN_AUTO : (int)how->salt_bytes;
    const EVP_MD *digest = how->digest ? EVP_get_digestbyname(how->digest->name) : NULL;
    const EVP_MD *mgf1 = pss ? EVP_get_digestbyname(how->mgf1->name) : NULL;
    if ((how->digest && !digest) || (pss && !mgf1) ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) <= 0 ||
        (digest && EVP_PKEY_CTX_set_signature_md(ctx, digest) <= 0))
        return false;
    return !pss || (EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, mgf1) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt) > 0);
}

kn_verdict kn_crypto_judge(const kn_public *public, const kn_sign_how *how, const uint8_t *data, size_t length,
                           const uint8_t *signature, size_t signature_length)
{
    if (!have_libctx())
        return KN_VERDICT_NONE;
    ERR_set_mark();
    EVP_PKEY *pkey = to_pkey(public);
    EVP_PKEY_CTX *ctx = NULL;
    kn_verdict verdict = KN_VERDICT_NONE;
    if (pkey && how->scheme == KN_EDDSA) {
        verdict = verify_eddsa(pkey, data, length, signature, signature_length) ? KN_VERDICT_GOOD : KN_VERDICT_BAD;
    } else if (pkey) {
        ctx = EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL);
        if (ctx && EVP_PKEY_verify_init(ctx) > 0 && (how->scheme == KN_ECDSA || set_rsa(ctx, how))) {
            int good = EVP_PKEY_verify(ctx, signature, signature_length, data, length);
            verdict = good == 1 ? KN_VERDICT_GOOD : good == 0 ? KN_VERDICT_BAD : KN_VERDICT_NONE;
        }
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();
    return verdict;
}

bool kn_crypto_verify(const kn_public *public, const kn_sign_how *how, const uint8_t *data, size_t length,
                      const uint8_t *signature, size_t signature_length)
{
    return kn_crypto_judge(public, how, data, length, signature, signature_length) == KN_VERDICT_GOOD;
}

bool kn_crypto_public_valid(const kn_public *public)
{
    if (!have_libctx())
        return false;
    ERR_set_mark();
    EVP_PKEY *pkey = to_pkey(public); /* for EC: refuses a point that is not on the curve */
    EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL) : NULL;
    bool valid = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();
    return valid;
}

bool kn_crypto_base_point(const kn_alg *alg, kn_public *ret_public)
{
    kn_public base = {.alg = alg, .point_length = alg->coord_bytes};
    if (alg->type != KN_KEY_EC) {
        base.point[0] = alg->type == KN_KEY_X25519 ? 9 : 5; /* RFC 7748 sections 4.1 and 4.2 */
        *ret_public = base;
        return true;
    }
    ERR_set_mark();
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)alg->group, 0),
        OSSL_PARAM_END,
    };
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = have_libctx() ? EVP_PKEY_CTX_new_from_name(libctx, "EC", NULL) : NULL;
    bool good = ctx && EVP_PKEY_fromdata_init(ctx) > 0 &&
                EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEY_PARAMETERS, params) > 0 &&
                EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_EC_GENERATOR, base.point, sizeof base.point,
                                                &base.point_length) > 0 &&
                base.point_length == 1 + 2 * alg->coord_bytes && base.point[0] == 0x04;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();
    if (good)
        *ret_public = base;
    return good;
}

static bool set_encryption(EVP_PKEY_CTX *ctx, const kn_decrypt_how *how)
{
    bool oaep = how->padding == KN_PAD_OAEP;
    OSSL_PARAM params[5] = {{0}};
    int n = 0;
    char pkcs1[] = OSSL_PKEY_RSA_PAD_MODE_PKCSV15, oaep_name[] = OSSL_PKEY_RSA_PAD_MODE_OAEP;
    params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, oaep ? oaep_name : pkcs1, 0);
    if (oaep) {
        params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST,
                                                       (char *)(uintptr_t)how->digest->name, 0);
        params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST,
                                                       (char *)(uintptr_t)how->mgf1->name, 0);
    }
    if (oaep && how->label_length)
        params[n++] = OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL,
                                                        (void *)(uintptr_t)how->label, how->label_length);
    params[n] = OSSL_PARAM_construct_end();
    return EVP_PKEY_CTX_set_params(ctx, params) > 0;
}

bool kn_crypto_encrypt(const kn_public *public, const kn_decrypt_how *how, const uint8_t *plain, size_t length,
                       uint8_t *ret_data, size_t *ret_length)
{
    if (!have_libctx())
        return false;
    ERR_set_mark();
    EVP_PKEY *pkey = to_pkey(public);
    EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL) : NULL;
    size_t written = KN_RSA_MAX;
    bool good = ctx && EVP_PKEY_encrypt_init(ctx) > 0 && set_encryption(ctx, how) &&
                EVP_PKEY_encrypt(ctx, ret_data, &written, plain, length) > 0;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();
    if (good)
        *ret_length = written;
    return good;
}

X509 *kn_crypto_certificate(const uint8_t *der, size_t length)
{
    if (!have_libctx() || length > LONG_MAX)
        return NULL;
    const uint8_t *end = der;
    ERR_set_mark();
    X509 *certificate = X509_new_ex(libctx, NULL); /* its key is decoded with our context, too */
    if (certificate && (!d2i_X509(&certificate, &end, (long)length) || end != der + length)) {
        X509_free(certificate);
        certificate = NULL;
    }
    ERR_pop_to_mark();
    return certificate;
}

bool kn_crypto_issued(X509 *issuer, X509 *certificate)
{
    ERR_set_mark();
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    bool issued =
        X509_check_issued(issuer, certificate) == X509_V_OK && key && X509_verify(certificate, key) == 1;
    ERR_pop_to_mark();
    return issued;
}

/* HMAC-SHA-256. */
bool kn_crypto_hmac(const uint8_t *key, size_t key_length, const uint8_t *data, size_t length, uint8_t ret_mac[32])
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    size_t made = 0;
    if (!have_libctx())
        return false;
    ERR_set_mark();
    EVP_MAC *mac = EVP_MAC_fetch(libctx, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    bool good = ctx && EVP_MAC_init(ctx, key, key_length, params) && EVP_MAC_update(ctx, data, length) &&
                EVP_MAC_final(ctx, ret_mac, &made, 32) && made == 32;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    ERR_pop_to_mark();
    return good;
}

bool kn_crypto_random(uint8_t *ret_bytes, size_t length)
{
    return have_libctx() && RAND_bytes_ex(libctx, ret_bytes, length, 0) == 1;
}

static bool hash(const char *name, const uint8_t *salt, size_t salt_length, const uint8_t *data, size_t length, uint8_t *ret_digest)
{
    if (!have_libctx())
        return false;
    ERR_set_mark();
    EVP_MD *md = EVP_MD_fetch(libctx, name, NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = md && ctx && EVP_DigestInit_ex(ctx, md, NULL) && EVP_DigestUpdate(ctx, salt, salt_length) &&
                EVP_DigestUpdate(ctx, data, length) && EVP_DigestFinal_ex(ctx, ret_digest, NULL);
    EVP_MD_CTX_free(ctx);
    EVP_MD_free(md);
    ERR_pop_to_mark();
    return good;
}

bool kn_crypto_digest(const uint8_t *salt, size_t salt_length, const uint8_t *data, size_t length,
                      uint8_t ret_digest[32])
{
    return hash("SHA256", salt, salt_length, data, length, ret_digest);
}

bool kn_crypto_hash(const kn_digest *digest, const uint8_t *data, size_t length, uint8_t ret_digest[KN_DIGEST_MAX])
{
    return hash(digest->name, NULL, 0, data, length, ret_digest);
}
