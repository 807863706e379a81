/* The calls that OpenSSL 3 deprecates are in this file and nowhere else. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "hsm_rsa.h"

#include "hsm_config.h"
#include "hsm_report.h"
#include "kn_key.h"
#include "kn_log.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if OPENSSL_VERSION_MAJOR >= 4

kn_err hsm_rsa_start(void)
{
    return kn_success(); /* there is nothing to prepare for keys of other types */
}

kn_err hsm_rsa_pem(const kn_alias *alias, char **ret_pem)
{
    (void)alias, (void)ret_pem;
    return kn_fail(KN_E_KEY_TYPE, "RSA keys reach this caller only through OpenSSL 3: use an EC key");
}

#else

#define NAME_SHORT "KEYNYM-RSA"
#define NAME_LONG  "Keynym RSA alias private key"

/* Made once and kept: OpenSSL and keys refer to them until the process ends. */
static struct {
    int nid, key_index;
    bool reading; /* false: another copy of this library reads the keys of all, and they are its keys */
    RSA_METHOD *rsa;
    EVP_PKEY_METHOD *pkey;
    int (*their_init)(EVP_PKEY_CTX *ctx);
    int (*their_sign)(EVP_PKEY_CTX *ctx, unsigned char *signature, size_t *length, const unsigned char *data,
                      size_t data_length);
} methods;

/* ---- one key ---- */

static int fail(const char *call, kn_err err)
{
    hsm_report(call, err); /* the SDK shows nothing of the queue */
    ERR_raise_data(ERR_LIB_RSA, ERR_R_OPERATION_FAIL, "%s", kn_err_detail());
    return 0;
}

static kn_key *key_of(const RSA *rsa)
{
    return rsa && RSA_get_method(rsa) == methods.rsa ? RSA_get_ex_data(rsa, methods.key_index) : NULL;
}

static void release_key(void *parent, void *value, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    kn_key *key = value;
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (key)
        kn_key_unref(&key);
}

static const kn_digest *digest_of(const EVP_MD *md)
{
    for (size_t i = 0; md && i < KN_DIGEST_COUNT; i++)
        if (EVP_MD_is_a(md, kn_digests[i].name))
            return &kn_digests[i];
    return NULL;
}

/* RSA_METHOD: a digest, PKCS #1 v1.5. */
static int rsa_sign(int type, const unsigned char *data, unsigned length, unsigned char *signature,
                    unsigned *ret_length, const RSA *rsa)
{
    kn_sign_how how = {.scheme = KN_RSA_PKCS1, .digest = digest_of(EVP_get_digestbynid(type))};
    size_t made = 0;
    kn_err err;
    if (!how.digest && type != NID_md5_sha1) /* TLS 1.0 signs both digests as they are */
        err = kn_fail(KN_E_DIGEST, "%s", OBJ_nid2sn(type) ? OBJ_nid2sn(type) : "unknown");
    else
        err = kn_key_sign(key_of(rsa), &how, data, length, signature, &made);
    if (kn_failed(err))
        return fail("RSA signature", err);
    *ret_length = (unsigned)made;
    return 1;
}

/* RSA_METHOD: a whole DigestInfo. */
static int rsa_private_encrypt(int length, const unsigned char *data, unsigned char *signature, RSA *rsa, int padding)
{
    kn_sign_how how = {.scheme = KN_RSA_PKCS1};
    size_t made = 0;
    kn_err err;
    if (padding != RSA_PKCS1_PADDING || length < 0)
        err = kn_fail(KN_E_TOKEN_CANNOT, "a signature over a block that is padded already");
    else
        err = kn_key_sign(key_of(rsa), &how, data, (size_t)length, signature, &made);
    if (!kn_failed(err))
        return (int)made;
    (void)fail("RSA signature", err);
    return -1;
}

static int rsa_private_decrypt(int length, const unsigned char *data, unsigned char *out, RSA *rsa, int padding)
{
    (void)length, (void)data, (void)out, (void)rsa, (void)padding;
    (void)fail("RSA decryption", kn_fail(KN_E_KEY_USE, "the key of a device signs only"));
    return -1;
}

/* ---- EVP_PKEY_METHOD: what a PSS signature is to be like is known here, and only here ---- */

static kn_err pss_salt(EVP_PKEY_CTX *ctx, const RSA *rsa, kn_sign_how *how)
{
    int salt = 0;
    size_t most = (size_t)(RSA_bits(rsa) + 6) / 8 - how->digest->bytes - 2; /* RFC 8017 section 9.1.1 */
    if (EVP_PKEY_CTX_get_rsa_pss_saltlen(ctx, &salt) <= 0)
        return kn_fail(KN_E_CRYPTO, "the length of the salt is not known");
    if (salt >= 0)
        how->salt_bytes = (size_t)salt;
    else if (salt == RSA_PSS_SALTLEN_DIGEST || (salt == -4 && how->digest->bytes < most)) /* -4: AUTO_DIGEST_MAX, 3.1 */
        how->salt_bytes = how->digest->bytes;
    else
        how->salt_bytes = most;
    return kn_success();
}

static kn_err pss_how(EVP_PKEY_CTX *ctx, const RSA *rsa, kn_sign_how *ret_how)
{
    const EVP_MD *digest = NULL, *mgf1 = NULL;
    kn_sign_how how = {.scheme = KN_RSA_PSS};
    if (EVP_PKEY_CTX_get_signature_md(ctx, &digest) <= 0 || EVP_PKEY_CTX_get_rsa_mgf1_md(ctx, &mgf1) <= 0)
        return kn_fail(KN_E_CRYPTO, "the digests of the signature are not known");
    how.digest = digest_of(digest);
    how.mgf1 = digest_of(mgf1 ? mgf1 : digest);
    if (!how.digest || !how.mgf1)
        return kn_fail(KN_E_DIGEST, "%s", digest ? EVP_MD_get0_name(digest) : "none");
    kn_err err = pss_salt(ctx, rsa, &how);
    if (!kn_failed(err))
        *ret_how = how;
    return err;
}

static int pkey_sign(EVP_PKEY_CTX *ctx, unsigned char *signature, size_t *length, const unsigned char *data,
                     size_t data_length)
{
    EVP_PKEY *pkey = EVP_PKEY_CTX_get0_pkey(ctx);
    const RSA *rsa = pkey ? EVP_PKEY_get0_RSA(pkey) : NULL;
    kn_key *key = key_of(rsa);
    kn_sign_how how;
    int padding = 0;
    if (!key || !signature || EVP_PKEY_CTX_get_rsa_padding(ctx, &padding) <= 0 || padding != RSA_PKCS1_PSS_PADDING)
        return methods.their_sign(ctx, signature, length, data, data_length);
    kn_err err = *length < (size_t)RSA_size(rsa) ? kn_fail(KN_E_DATA_SIZE, "room for the signature")
                                                 : pss_how(ctx, rsa, &how);
    if (!kn_failed(err))
        err = kn_key_sign(key, &how, data, data_length, signature, length);
    return kn_failed(err) ? fail("RSA-PSS signature", err) : 1;
}

static kn_err add_pkey_method(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&lock);
    if (!methods.pkey && methods.reading) {
        int id, flags;
        const EVP_PKEY_METHOD *theirs = EVP_PKEY_meth_find(EVP_PKEY_RSA);
        EVP_PKEY_meth_get0_info(&id, &flags, theirs);
        EVP_PKEY_METHOD *ours = EVP_PKEY_meth_new(EVP_PKEY_RSA, flags);
        if (ours) {
            EVP_PKEY_meth_copy(ours, theirs);
            EVP_PKEY_meth_get_sign(theirs, &methods.their_init, &methods.their_sign);
            EVP_PKEY_meth_set_sign(ours, methods.their_init, pkey_sign);
        }
        if (ours && EVP_PKEY_meth_add0(ours)) {
            methods.pkey = ours;
        } else {
            EVP_PKEY_meth_free(ours);
            err = kn_fail(KN_E_CRYPTO, "EVP_PKEY_meth_add0");
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return err;
}

/* ---- reading ---- */

static RSA *rsa_of(kn_key *key)
{
    const kn_public *public = kn_key_public(key);
    BIGNUM *n = BN_bin2bn(public->modulus, (int)public->alg->coord_bytes, NULL);
    BIGNUM *e = BN_bin2bn(public->exponent, (int)public->exponent_length, NULL);
    RSA *rsa = RSA_new();
    /* The method before the key is assigned to an EVP_PKEY: that is what makes it one that libssl leaves alone. */
    if (!rsa || !n || !e || !RSA_set_method(rsa, methods.rsa) || !RSA_set0_key(rsa, n, e, NULL)) {
        BN_free(n);
        BN_free(e);
        RSA_free(rsa);
        return NULL;
    }
    if (!RSA_set_ex_data(rsa, methods.key_index, kn_key_ref(key))) {
        kn_key_unref(&key);
        RSA_free(rsa);
        return NULL;
    }
    return rsa;
}

static kn_err open_key(const PKCS8_PRIV_KEY_INFO *pkcs8, kn_key **ret_key)
{
    const unsigned char *der;
    int length;
    kn_alias *alias = NULL;
    kn_ctx *ctx = NULL;
    if (!PKCS8_pkey_get0(NULL, &der, &length, NULL, pkcs8) || length < 0)
        return kn_fail(KN_E_ALIAS_MALFORMED, "the PKCS#8 is empty");
    kn_err err = kn_alias_from_der(der, (size_t)length, &alias);
    if (!kn_failed(err) && (!kn_alias_public(alias) || kn_alias_public(alias)->alg->type != KN_KEY_RSA))
        err = kn_fail(KN_E_ALIAS_MALFORMED, "it carries no RSA public key");
    if (!kn_failed(err))
        err = hsm_context(&ctx);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

static int decode(EVP_PKEY *pkey, const PKCS8_PRIV_KEY_INFO *pkcs8)
{
    kn_key *key = NULL;
    kn_err err = open_key(pkcs8, &key);
    if (!kn_failed(err))
        err = add_pkey_method(); /* the text may come from another process */
    RSA *rsa = kn_failed(err) ? NULL : rsa_of(key);
    if (!kn_failed(err) && (!rsa || !EVP_PKEY_assign_RSA(pkey, rsa))) {
        RSA_free(rsa);
        err = kn_fail(KN_E_NO_MEMORY, "an RSA key");
    }
    if (key)
        kn_key_unref(&key);
    return kn_failed(err) ? fail("reading an RSA alias", err) : 1;
}

/* ---- start ---- */

static bool make_rsa_method(void)
{
    RSA_METHOD *method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
    if (!method || !RSA_meth_set1_name(method, "Keynym") ||
        !RSA_meth_set_flags(method, RSA_FLAG_EXT_PKEY | RSA_METHOD_FLAG_NO_CHECK) ||
        !RSA_meth_set_sign(method, rsa_sign) || !RSA_meth_set_priv_enc(method, rsa_private_encrypt) ||
        !RSA_meth_set_priv_dec(method, rsa_private_decrypt)) {
        RSA_meth_free(method);
        return false;
    }
    methods.rsa = method;
    return true;
}

static bool add_reader(void)
{
    EVP_PKEY_ASN1_METHOD *reader = EVP_PKEY_asn1_new(methods.nid, 0, NAME_SHORT, NAME_LONG);
    if (!reader)
        return false;
    EVP_PKEY_asn1_set_private(reader, decode, NULL, NULL);
    methods.reading = EVP_PKEY_asn1_add0(reader);
    if (!methods.reading)
        EVP_PKEY_asn1_free(reader);
    return methods.reading || EVP_PKEY_asn1_find(NULL, methods.nid) != NULL; /* another copy was faster */
}

static bool started;

static void start(void)
{
    ERR_set_mark();
    methods.nid = OBJ_txt2nid(HSM_RSA_OID); /* known: another copy of this library brought it */
    if (methods.nid == NID_undef)
        methods.nid = OBJ_create(HSM_RSA_OID, NAME_SHORT, NAME_LONG);
    bool read = methods.nid != NID_undef && EVP_PKEY_asn1_find(NULL, methods.nid) != NULL;
    methods.key_index = RSA_get_ex_new_index(0, NULL, NULL, NULL, release_key);
    started = methods.nid != NID_undef && methods.key_index >= 0 && make_rsa_method() && (read || add_reader());
    ERR_pop_to_mark();
}

kn_err hsm_rsa_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start);
    return started ? kn_success() : kn_fail(KN_E_CRYPTO, "OpenSSL takes no method for RSA keys of tokens");
}

/* ---- writing ---- */

static kn_err to_pem(const PKCS8_PRIV_KEY_INFO *pkcs8, char **ret_pem)
{
    char *bytes = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    if (out && PEM_write_bio_PKCS8_PRIV_KEY_INFO(out, pkcs8)) {
        long length = BIO_get_mem_data(out, &bytes);
        bytes = strndup(bytes, (size_t)length); /* the SDK releases it with free() */
    }
    BIO_free(out);
    if (!bytes)
        return kn_fail(KN_E_NO_MEMORY, "the PEM of an RSA alias");
    *ret_pem = bytes;
    return kn_success();
}

kn_err hsm_rsa_pem(const kn_alias *alias, char **ret_pem)
{
    uint8_t *der = NULL;
    unsigned char *content = NULL;
    size_t length = 0;
    PKCS8_PRIV_KEY_INFO *pkcs8 = NULL;
    kn_err err = hsm_rsa_start();
    if (!kn_failed(err))
        err = add_pkey_method();
    if (!kn_failed(err))
        err = kn_alias_to_der(alias, &der, &length);
    if (kn_failed(err))
        return err;
    err = kn_fail(KN_E_NO_MEMORY, "the PKCS#8 of an RSA alias");
    pkcs8 = PKCS8_PRIV_KEY_INFO_new();
    content = OPENSSL_memdup(der, length);
    if (pkcs8 && content &&
        PKCS8_pkey_set0(pkcs8, OBJ_nid2obj(methods.nid), 0, V_ASN1_NULL, NULL, content, (int)length)) {
        content = NULL; /* it belongs to the PKCS#8 */
        err = to_pem(pkcs8, ret_pem);
    }
    OPENSSL_free(content);
    PKCS8_PRIV_KEY_INFO_free(pkcs8);
    free(der);
    return err;
}

#endif
