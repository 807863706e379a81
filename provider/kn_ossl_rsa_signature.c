/* RSA signatures: PKCS#1 v1.5 and PSS. */
#include "kn_ossl_signature.h"

#include "kn_pss.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- how ---- */

/* The salt that a signature gets; -1 with an error raised. */
static long salt_for_signing(const kn_ossl_signature *ctx, const kn_digest *digest)
{
    long most = (long)ctx->public->alg->coord_bytes - (long)digest->bytes - 2; /* RFC 8017 section 9.1.1 */
    long bytes = ctx->salt;
    if (ctx->salt == RSA_PSS_SALTLEN_DIGEST)
        bytes = (long)digest->bytes;
    else if (ctx->salt == RSA_PSS_SALTLEN_AUTO || ctx->salt == RSA_PSS_SALTLEN_MAX)
        bytes = most;
#ifdef RSA_PSS_SALTLEN_AUTO_DIGEST_MAX
    else if (ctx->salt == RSA_PSS_SALTLEN_AUTO_DIGEST_MAX)
        bytes = most < (long)digest->bytes ? most : (long)digest->bytes;
#endif
    if (bytes < 0 || bytes > most) {
        (void)kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a PSS salt of %d bytes; at most %ld fit", ctx->salt, most));
        return -1;
    }
    return bytes;
}

static int rsa_how(const kn_ossl_signature *ctx, kn_sign_how *ret_how)
{
    const kn_digest *digest = ctx->digest;
    bool md5_sha1 = ctx->md && !digest && EVP_MD_is_a(ctx->md, "MD5-SHA1"); /* TLS 1.1 and older: no DigestInfo */
    if (ctx->md && !digest && !(md5_sha1 && !ctx->pss))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "RSA with %s", EVP_MD_get0_name(ctx->md)));
    *ret_how = (kn_sign_how){.scheme = KN_RSA_PKCS1, .digest = digest};
    if (!ctx->pss)
        return 1;
    if (!digest)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "PSS needs a digest"));
    *ret_how = (kn_sign_how){.scheme = KN_RSA_PSS, .digest = digest, .mgf1 = ctx->mgf1 ? ctx->mgf1 : digest};
    if (ctx->public->pss_digest && (digest != ctx->public->pss_digest || ret_how->mgf1 != ctx->public->pss_mgf1))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "this RSA-PSS key is for %s with MGF1 of %s",
                                                ctx->public->pss_digest->name, ctx->public->pss_mgf1->name));
    if (ctx->verifying) {
        bool any = ctx->salt == RSA_PSS_SALTLEN_AUTO || ctx->salt == RSA_PSS_SALTLEN_MAX || ctx->salt < -3;
        ret_how->salt_bytes = any ? KN_SALT_ANY : ctx->salt == RSA_PSS_SALTLEN_DIGEST ? digest->bytes : (size_t)ctx->salt;
        return 1;
    }
    long salt = salt_for_signing(ctx, digest);
    ret_how->salt_bytes = (size_t)salt;
    return salt >= 0;
}

/* ---- parameters ---- */

static const OSSL_PARAM *rsa_settable_ctx_params(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_PROPERTIES, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

/* libssl and EVP give the padding as a number, others as a name. */
static int set_padding(kn_ossl_signature *ctx, const OSSL_PARAM *p)
{
    int number = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING && p->data) {
        if (!strcasecmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PKCSV15))
            number = RSA_PKCS1_PADDING;
        else if (!strcasecmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS))
            number = RSA_PKCS1_PSS_PADDING;
    } else if (!OSSL_PARAM_get_int(p, &number)) {
        return 0;
    }
    if (number != RSA_PKCS1_PADDING && number != RSA_PKCS1_PSS_PADDING)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "this RSA padding; pkcs1 and pss are offered"));
    if (number != RSA_PKCS1_PSS_PADDING && ctx->public && ctx->public->pss)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "an RSA-PSS key signs with PSS only"));
    ctx->pss = number == RSA_PKCS1_PSS_PADDING;
    return 1;
}

static int set_salt(kn_ossl_signature *ctx, const OSSL_PARAM *p)
{
    static const struct {
        const char *name;
        int value;
    } names[] = {
        {OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST},
        {OSSL_PKEY_RSA_PSS_SALT_LEN_MAX, RSA_PSS_SALTLEN_MAX},
        {OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO, RSA_PSS_SALTLEN_AUTO},
#ifdef OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO_DIGEST_MAX
        {OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO_DIGEST_MAX, RSA_PSS_SALTLEN_AUTO_DIGEST_MAX},
#endif
    };
    if (!ctx->pss)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "a salt length without PSS padding"));
    int number = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING && p->data) {
        char *end;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(p->data, names[i].name)) {
                ctx->salt = names[i].value;
                return 1;
            }
        long parsed = strtol(p->data, &end, 10);
        number = *end || end == p->data || parsed < -4 || parsed > KN_RSA_MAX ? -100 : (int)parsed;
    } else if (!OSSL_PARAM_get_int(p, &number)) {
        return 0;
    }
    if (number < -4 || number > KN_RSA_MAX)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a salt length that is not possible"));
    ctx->salt = number;
    return 1;
}

static int set_mgf1(kn_ossl_signature *ctx, const OSSL_PARAM *p)
{
    char name[KN_OSSL_NAME_MAX] = "", *text = name;
    if (!OSSL_PARAM_get_utf8_string(p, &text, sizeof name))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "a digest name that is too long"));
    EVP_MD_free(kn_ossl_digest(ctx->prov, name, ctx->properties, &ctx->mgf1));
    return ctx->mgf1 ? 1 : kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "MGF1 with '%.40s'", name));
}

static int rsa_set_ctx_params(void *arg, const OSSL_PARAM params[])
{
    kn_ossl_signature *ctx = arg;
    const OSSL_PARAM *p;
    if (!params)
        return 1;
    if (!kn_ossl_signature_set_digest(ctx, params))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) && !set_padding(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) && !set_salt(ctx, p))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
    return !p || set_mgf1(ctx, p);
}

static const OSSL_PARAM *rsa_gettable_ctx_params(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

/* AlgorithmIdentifiers of PKCS#1 v1.5 signatures: the last byte of the identifier, after 1.2.840.113549.1.1 (RFC 8017
 * appendix C) or 2.16.840.1.101.3.4.3 (SHA-3). */
static const uint8_t pkcs1_last[KN_DIGEST_COUNT] = {
    [KN_SHA1] = 5,        [KN_SHA224] = 14,     [KN_SHA256] = 11,   [KN_SHA384] = 12,   [KN_SHA512] = 13,
    [KN_SHA512_224] = 15, [KN_SHA512_256] = 16, [KN_SHA3_224] = 13, [KN_SHA3_256] = 14, [KN_SHA3_384] = 15,
    [KN_SHA3_512] = 16,
};

static int get_pkcs1_id(const kn_digest *digest, OSSL_PARAM *p)
{
    uint8_t pkcs[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0, 0x05, 0x00};
    uint8_t nist[] = {0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0, 0x05, 0x00};
    bool sha3 = digest->id >= KN_SHA3_224;
    pkcs[12] = nist[12] = pkcs1_last[digest->id];
    return OSSL_PARAM_set_octet_string(p, sha3 ? nist : pkcs, sizeof pkcs);
}

static int get_pss_id(const kn_sign_how *how, OSSL_PARAM *p)
{
    unsigned char *der = NULL;
    X509_ALGOR *algorithm = X509_ALGOR_new();
    int length = algorithm && kn_pss_set(algorithm, how->digest, how->mgf1, how->salt_bytes)
                     ? i2d_X509_ALGOR(algorithm, &der)
                     : 0;
    int ok = length > 0 && OSSL_PARAM_set_octet_string(p, der, (size_t)length);
    OPENSSL_free(der);
    X509_ALGOR_free(algorithm);
    return ok;
}

static int get_algorithm_id(const kn_ossl_signature *ctx, OSSL_PARAM *p)
{
    kn_sign_how how;
    if (!rsa_how(ctx, &how))
        return 0;
    if (!how.digest)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "X.509 has no name for RSA without a digest"));
    return how.scheme == KN_RSA_PSS ? get_pss_id(&how, p) : get_pkcs1_id(how.digest, p);
}

static int get_padding(const kn_ossl_signature *ctx, OSSL_PARAM *p)
{
    if (p->data_type == OSSL_PARAM_INTEGER)
        return OSSL_PARAM_set_int(p, ctx->pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING);
    return OSSL_PARAM_set_utf8_string(p, ctx->pss ? OSSL_PKEY_RSA_PAD_MODE_PSS : OSSL_PKEY_RSA_PAD_MODE_PKCSV15);
}

static int rsa_get_ctx_params(void *arg, OSSL_PARAM params[])
{
    const kn_ossl_signature *ctx = arg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID)) && !get_algorithm_id(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) && !get_padding(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) && p->data_type == OSSL_PARAM_INTEGER &&
        !OSSL_PARAM_set_int(p, ctx->salt))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, ctx->mgf1 ? ctx->mgf1->name : ctx->md ? EVP_MD_get0_name(ctx->md) : ""))
        return 0;
    return kn_ossl_signature_get_digest(ctx, params);
}

/* ---- the operations ---- */

static int begin(kn_ossl_signature *ctx, void *key, bool verifying, const OSSL_PARAM params[])
{
    if (!kn_ossl_signature_begin(ctx, key, verifying))
        return 0;
    ctx->pss = ctx->public->pss;
    ctx->mgf1 = ctx->public->pss_mgf1;
    ctx->salt = RSA_PSS_SALTLEN_AUTO;
    if (ctx->public->pss_digest)
        ctx->salt = (int)ctx->public->pss_salt_min;
    return rsa_set_ctx_params(ctx, params);
}

static int rsa_sign_init(void *ctx, void *key, const OSSL_PARAM params[])
{
    return begin(ctx, key, false, params);
}

static int rsa_verify_init(void *ctx, void *key, const OSSL_PARAM params[])
{
    return begin(ctx, key, true, params);
}

static int rsa_digest_sign_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    return rsa_sign_init(ctx, key, params) && kn_ossl_signature_start(ctx, name);
}

static int rsa_digest_verify_init(void *ctx, const char *name, void *key, const OSSL_PARAM params[])
{
    return rsa_verify_init(ctx, key, params) && kn_ossl_signature_start(ctx, name);
}

static int rsa_sign(void *ctx, unsigned char *signature, size_t *length, size_t size, const unsigned char *data,
                    size_t data_length)
{
    return kn_ossl_signature_sign(ctx, rsa_how, signature, length, size, data, data_length);
}

static int rsa_verify(void *ctx, const unsigned char *signature, size_t length, const unsigned char *data,
                      size_t data_length)
{
    return kn_ossl_signature_verify(ctx, rsa_how, signature, length, data, data_length);
}

static int rsa_digest_sign_final(void *ctx, unsigned char *signature, size_t *length, size_t size)
{
    return kn_ossl_signature_sign_all(ctx, rsa_how, signature, length, size, NULL, 0);
}

static int rsa_digest_verify_final(void *ctx, const unsigned char *signature, size_t length)
{
    return kn_ossl_signature_verify_all(ctx, rsa_how, signature, length, NULL, 0);
}

static int rsa_digest_sign(void *ctx, unsigned char *signature, size_t *length, size_t size, const unsigned char *data,
                           size_t data_length)
{
    return kn_ossl_signature_sign_all(ctx, rsa_how, signature, length, size, data, data_length);
}

static int rsa_digest_verify(void *ctx, const unsigned char *signature, size_t length, const unsigned char *data,
                             size_t data_length)
{
    return kn_ossl_signature_verify_all(ctx, rsa_how, signature, length, data, data_length);
}

const OSSL_DISPATCH kn_ossl_rsa_signature[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))kn_ossl_signature_newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))kn_ossl_signature_freectx},
    {OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))kn_ossl_signature_dupctx},
    {OSSL_FUNC_SIGNATURE_SIGN_INIT, (void (*)(void))rsa_sign_init},
    {OSSL_FUNC_SIGNATURE_SIGN, (void (*)(void))rsa_sign},
    {OSSL_FUNC_SIGNATURE_VERIFY_INIT, (void (*)(void))rsa_verify_init},
    {OSSL_FUNC_SIGNATURE_VERIFY, (void (*)(void))rsa_verify},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))rsa_digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))kn_ossl_signature_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))rsa_digest_sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))rsa_digest_sign},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, (void (*)(void))rsa_digest_verify_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, (void (*)(void))kn_ossl_signature_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, (void (*)(void))rsa_digest_verify_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, (void (*)(void))rsa_digest_verify},
    {OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, (void (*)(void))rsa_get_ctx_params},
    {OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, (void (*)(void))rsa_gettable_ctx_params},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))rsa_set_ctx_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))rsa_settable_ctx_params},
    {0, NULL},
};
