/* RSA encryption: in software with the public part, decryption in the token. Spec: provider-asym_cipher(7). */
#include "kn_crypto.h"
#include "kn_ossl_gen.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/prov_ssl.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct cipher {
    kn_ossl *prov;
    kn_key *key; /* NULL: there is only the public part */
    kn_public public;
    int padding; /* RSA_..._PADDING */
    const kn_digest *digest, *mgf1; /* NULL: SHA1; as the digest */
    uint8_t label[KN_OAEP_LABEL_MAX];
    size_t label_length;
    unsigned tls_version, tls_version_too;
} cipher;

static void *cipher_newctx(void *provctx)
{
    cipher *ctx = calloc(1, sizeof *ctx);
    if (ctx)
        ctx->prov = provctx;
    return ctx;
}

static void cipher_freectx(void *arg)
{
    cipher *ctx = arg;
    if (ctx)
        kn_key_unref(&ctx->key);
    free(ctx);
}

static void *cipher_dupctx(void *arg)
{
    const cipher *from = arg;
    cipher *to = malloc(sizeof *to);
    if (!to)
        return NULL;
    *to = *from;
    if (from->key)
        to->key = kn_key_ref(from->key);
    return to;
}

/* ---- parameters ---- */

static const struct {
    int number;
    const char *name;
} paddings[] = {
    {RSA_PKCS1_PADDING, OSSL_PKEY_RSA_PAD_MODE_PKCSV15},
    {RSA_PKCS1_OAEP_PADDING, OSSL_PKEY_RSA_PAD_MODE_OAEP},
    {RSA_PKCS1_OAEP_PADDING, "oeap"}, /* OpenSSL's own older spelling */
    {RSA_PKCS1_WITH_TLS_PADDING, ""}, /* libssl gives the number */
};

/* libssl and EVP give the padding as a number, others as a name. */
static int set_padding(cipher *ctx, const OSSL_PARAM *p)
{
    int number = 0;
    bool by_name = p->data_type == OSSL_PARAM_UTF8_STRING && p->data;
    if (!by_name && !OSSL_PARAM_get_int(p, &number))
        return 0;
    for (size_t i = 0; i < sizeof paddings / sizeof *paddings; i++)
        if (by_name ? !strcasecmp(p->data, paddings[i].name) : number == paddings[i].number) {
            ctx->padding = paddings[i].number;
            return 1;
        }
    return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "this RSA padding; pkcs1 and oaep are offered"));
}

static int set_digest(cipher *ctx, const OSSL_PARAM *p, const kn_digest **ret_digest)
{
    const char *name = NULL;
    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
        return 0;
    const kn_digest *digest = kn_ossl_gen_digest(ctx->prov, name);
    if (!digest)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "OAEP with '%.40s'", name));
    *ret_digest = digest;
    return 1;
}

static int set_label(cipher *ctx, const OSSL_PARAM *p)
{
    const void *label = NULL;
    size_t length = 0;
    if (!OSSL_PARAM_get_octet_string_ptr(p, &label, &length))
        return 0;
    if (length > sizeof ctx->label)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "an OAEP label of %zu bytes, at most %d", length,
                                                KN_OAEP_LABEL_MAX));
    if (length)
        memcpy(ctx->label, label, length);
    ctx->label_length = length;
    return 1;
}

static int cipher_set_ctx_params(void *arg, const OSSL_PARAM params[])
{
    cipher *ctx = arg;
    const OSSL_PARAM *p;
    if (!params)
        return 1;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) && !set_padding(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) && !set_digest(ctx, p, &ctx->digest))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) && !set_digest(ctx, p, &ctx->mgf1))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL)) && !set_label(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION)) &&
        !OSSL_PARAM_get_uint(p, &ctx->tls_version))
        return 0;
    p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION);
    return !p || OSSL_PARAM_get_uint(p, &ctx->tls_version_too);
}

static const OSSL_PARAM *cipher_settable(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST_PROPS, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, NULL, 0),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
        OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

static const OSSL_PARAM *cipher_gettable(void *arg, void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, NULL, 0),
        OSSL_PARAM_DEFN(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, OSSL_PARAM_OCTET_PTR, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)arg, (void)provctx;
    return params;
}

/* As OpenSSL's own: SHA1 unless something else is set. */
static const kn_digest *digest_of(const cipher *ctx)
{
    return ctx->digest ? ctx->digest : &kn_digests[KN_SHA1];
}

static const kn_digest *mgf1_of(const cipher *ctx)
{
    return ctx->mgf1 ? ctx->mgf1 : digest_of(ctx);
}

static int get_padding(const cipher *ctx, OSSL_PARAM *p)
{
    if (p->data_type == OSSL_PARAM_INTEGER)
        return OSSL_PARAM_set_int(p, ctx->padding);
    for (size_t i = 0; i < sizeof paddings / sizeof *paddings; i++)
        if (ctx->padding == paddings[i].number)
            return OSSL_PARAM_set_utf8_string(p, paddings[i].name);
    return 0;
}

static int cipher_get_ctx_params(void *arg, OSSL_PARAM params[])
{
    const cipher *ctx = arg;
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) && !get_padding(ctx, p))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, digest_of(ctx)->name))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, mgf1_of(ctx)->name))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL);
    return !p || OSSL_PARAM_set_octet_ptr(p, ctx->label, ctx->label_length);
}

/* ---- the operations ---- */

static int begin(cipher *ctx, const kn_ossl_key *key, const OSSL_PARAM params[])
{
    if (key && !kn_ossl_key_has_public(key))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "the key object is empty"));
    if (key) {
        kn_key *old = ctx->key;
        ctx->key = key->key ? kn_key_ref(key->key) : NULL;
        ctx->public = *kn_ossl_key_public(key);
        kn_key_unref(&old);
    }
    if (!ctx->public.alg)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "no key was given"));
    ctx->padding = RSA_PKCS1_PADDING;
    ctx->digest = ctx->mgf1 = NULL;
    ctx->label_length = 0;
    ctx->tls_version = ctx->tls_version_too = 0;
    return cipher_set_ctx_params(ctx, params);
}

static int encrypt_init(void *ctx, void *key, const OSSL_PARAM params[])
{
    return begin(ctx, key, params);
}

static int decrypt_init(void *arg, void *key, const OSSL_PARAM params[])
{
    cipher *ctx = arg;
    if (!begin(ctx, key, params))
        return 0;
    return ctx->key || kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "only the public part of the key is here"));
}

static kn_decrypt_how how_of(const cipher *ctx)
{
    if (ctx->padding == RSA_PKCS1_OAEP_PADDING)
        return (kn_decrypt_how){.padding = KN_PAD_OAEP,
                                .digest = digest_of(ctx),
                                .mgf1 = mgf1_of(ctx),
                                .label = ctx->label,
                                .label_length = ctx->label_length};
    if (ctx->padding == RSA_PKCS1_WITH_TLS_PADDING)
        return (kn_decrypt_how){
            .padding = KN_PAD_TLS, .tls_version = ctx->tls_version, .tls_version_too = ctx->tls_version_too};
    return (kn_decrypt_how){.padding = KN_PAD_PKCS1};
}

static int cipher_encrypt(void *arg, unsigned char *out, size_t *length, size_t size, const unsigned char *in,
                          size_t in_length)
{
    const cipher *ctx = arg;
    const kn_alg *alg = ctx->public.alg;
    const kn_decrypt_how how = how_of(ctx);
    size_t room = alg->coord_bytes, overhead = how.padding == KN_PAD_OAEP ? 2 * how.digest->bytes + 2 : 11;
    if (!out) {
        *length = room;
        return 1;
    }
    if (how.padding == KN_PAD_TLS)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "TLS padding is for decryption"));
    if (size < room)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a ciphertext has %zu bytes, room is for %zu", room, size));
    if (in_length > room - overhead)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "%s with %s takes at most %zu bytes, not %zu",
                                                how.padding == KN_PAD_OAEP ? "OAEP" : "PKCS#1 v1.5", alg->name,
                                                room - overhead, in_length));
    return kn_crypto_encrypt(&ctx->public, &how, in, in_length, out, length) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "RSA encryption"));
}

/* How much a plaintext has must not decide over an error: there has to be room for the longest. */
static int cipher_decrypt(void *arg, unsigned char *out, size_t *length, size_t size, const unsigned char *in,
                          size_t in_length)
{
    cipher *ctx = arg;
    uint8_t plain[KN_RSA_MAX];
    const kn_decrypt_how how = how_of(ctx);
    size_t room = how.padding == KN_PAD_TLS ? KN_PREMASTER_BYTES : ctx->public.alg->coord_bytes;
    if (!out) {
        *length = room;
        return 1;
    }
    if (how.padding == KN_PAD_TLS && ctx->tls_version == 0)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "TLS padding without the client's version"));
    if (size < room)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a plaintext may have %zu bytes, room is for %zu", room, size));
    kn_err err = kn_key_decrypt(ctx->key, &how, in, in_length, plain, length);
    if (!kn_failed(err))
        memcpy(out, plain, room); /* all, whatever the length is */
    explicit_bzero(plain, sizeof plain);
    return kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : 1;
}

const OSSL_DISPATCH kn_ossl_cipher[] = {
    {OSSL_FUNC_ASYM_CIPHER_NEWCTX, (void (*)(void))cipher_newctx},
    {OSSL_FUNC_ASYM_CIPHER_FREECTX, (void (*)(void))cipher_freectx},
    {OSSL_FUNC_ASYM_CIPHER_DUPCTX, (void (*)(void))cipher_dupctx},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT_INIT, (void (*)(void))encrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_ENCRYPT, (void (*)(void))cipher_encrypt},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, (void (*)(void))decrypt_init},
    {OSSL_FUNC_ASYM_CIPHER_DECRYPT, (void (*)(void))cipher_decrypt},
    {OSSL_FUNC_ASYM_CIPHER_GET_CTX_PARAMS, (void (*)(void))cipher_get_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_GETTABLE_CTX_PARAMS, (void (*)(void))cipher_gettable},
    {OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, (void (*)(void))cipher_set_ctx_params},
    {OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, (void (*)(void))cipher_settable},
    {0, NULL},
};
