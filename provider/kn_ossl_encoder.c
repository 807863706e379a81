/* From a key to its alias, where a program writes a private key: there is nothing else that could be written.
 *
 * Only selections with the private part come here. Public keys (SubjectPublicKeyInfo, -pubout, -text_pub) are written by
 * OpenSSL's own encoders, which get them by an export of the public part.
 *
 * A request to encrypt is not an error: a program that always asks (openssl req -newkey without -noenc) would fail
 * after the key was made, and an alias holds no secret. It is written as it is, and a warning says so. */
#include "kn_ossl_encoder.h"

#include "kn_log.h"
#include "kn_ossl_key.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    kn_ossl *prov;
    bool encrypt; /* asked for, and not done */
} encoder;

static void *encoder_newctx(void *provctx)
{
    encoder *ctx = calloc(1, sizeof *ctx);
    if (ctx)
        ctx->prov = provctx;
    return ctx;
}

static void encoder_freectx(void *ctx)
{
    free(ctx);
}

static int encoder_does_selection(void *provctx, int selection)
{
    (void)provctx;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0;
}

static const OSSL_PARAM *encoder_settable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_ENCODER_PARAM_CIPHER, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_ENCODER_PARAM_PROPERTIES, NULL, 0),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int encoder_set_params(void *arg, const OSSL_PARAM params[])
{
    encoder *ctx = arg;
    const OSSL_PARAM *cipher = OSSL_PARAM_locate_const(params, OSSL_ENCODER_PARAM_CIPHER);
    const char *name = NULL;
    if (cipher)
        ctx->encrypt = OSSL_PARAM_get_utf8_string_ptr(cipher, &name) && name && *name;
    return 1;
}

static kn_err new_alias(const encoder *ctx, const kn_ossl_key *key, kn_alias **ret_alias)
{
    if (ctx->encrypt)
        kn_log(KN_LOG_WARN, "an alias holds no secret: it is written without encryption");
    return kn_alias_complete(kn_ossl_backends(ctx->prov), kn_key_uri(key->key), kn_key_public(key->key), ret_alias);
}

/* What every encode function gets: @raw is a key of ours; @abstract would be another provider's. */
static const kn_ossl_key *key_of(const encoder *ctx, const void *raw, const OSSL_PARAM abstract[])
{
    const kn_ossl_key *key = raw;
    if (key && key->key && !abstract)
        return key;
    (void)kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "writing an alias of a key that is not in a token"));
    return NULL;
}

static int encode_pem(void *arg, OSSL_CORE_BIO *out, const void *raw, const OSSL_PARAM abstract[], int selection,
                      OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    encoder *ctx = arg;
    kn_alias *alias = NULL;
    char *pem = NULL;
    (void)selection, (void)passphrase, (void)passphrase_arg;
    const kn_ossl_key *key = key_of(ctx, raw, abstract);
    if (!key)
        return 0;
    kn_err err = new_alias(ctx, key, &alias);
    if (!kn_failed(err))
        err = kn_alias_to_pem(alias, &pem);
    int ok = kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : kn_ossl_write(ctx->prov, out, pem, strlen(pem));
    kn_alias_free(&alias);
    free(pem);
    return ok;
}

static int encode_der(void *arg, OSSL_CORE_BIO *out, const void *raw, const OSSL_PARAM abstract[], int selection,
                      OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    encoder *ctx = arg;
    kn_alias *alias = NULL;
    uint8_t *der = NULL;
    size_t length = 0;
    (void)selection, (void)passphrase, (void)passphrase_arg;
    const kn_ossl_key *key = key_of(ctx, raw, abstract);
    if (!key)
        return 0;
    kn_err err = new_alias(ctx, key, &alias);
    if (!kn_failed(err))
        err = kn_alias_to_der(alias, &der, &length);
    int ok = kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : kn_ossl_write(ctx->prov, out, der, length);
    kn_alias_free(&alias);
    free(der);
    return ok;
}

/* The public part as OpenSSL itself shows it, by a key of the application's own providers. */
static kn_err print_public(kn_ossl *prov, const kn_public *public, BIO *out)
{
    uint8_t spki[KN_SPKI_MAX];
    const uint8_t *der = spki;
    size_t length;
    kn_err err = kn_public_to_spki(public, spki, &length);
    if (kn_failed(err))
        return err;
    EVP_PKEY *pkey = d2i_PUBKEY_ex(NULL, &der, (long)length, kn_ossl_child(prov), NULL);
    if (!pkey || EVP_PKEY_print_public(out, pkey, 0, NULL) <= 0)
        err = kn_fail(KN_E_CRYPTO, "no other provider can show a public key of type %s", public->alg->name);
    EVP_PKEY_free(pkey);
    return err;
}

static int encode_text(void *arg, OSSL_CORE_BIO *out, const void *raw, const OSSL_PARAM abstract[], int selection,
                       OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    encoder *ctx = arg;
    char uri[KN_ALIAS_URI_MAX + 1], *text = NULL;
    (void)selection, (void)passphrase, (void)passphrase_arg;
    const kn_ossl_key *key = key_of(ctx, raw, abstract);
    BIO *memory = key ? BIO_new(BIO_s_mem()) : NULL;
    if (!memory)
        return 0;
    kn_uri_redact(kn_key_uri(key->key), uri, sizeof uri);
    int ok = BIO_printf(memory, "Private-Key: (stays in its token)\nURI:\n    %s\n", uri) > 0;
    kn_err err = ok ? print_public(ctx->prov, kn_key_public(key->key), memory) : kn_fail(KN_E_NO_MEMORY, "a text");
    long length = BIO_get_mem_data(memory, &text);
    ok = kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : kn_ossl_write(ctx->prov, out, text, (size_t)length);
    BIO_free(memory);
    return ok;
}

static const OSSL_DISPATCH pem[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))encoder_does_selection},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_params},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_pem},
    {0, NULL},
};

static const OSSL_DISPATCH der[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))encoder_does_selection},
    {OSSL_FUNC_ENCODER_SETTABLE_CTX_PARAMS, (void (*)(void))encoder_settable},
    {OSSL_FUNC_ENCODER_SET_CTX_PARAMS, (void (*)(void))encoder_set_params},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_der},
    {0, NULL},
};

static const OSSL_DISPATCH text[] = {
    {OSSL_FUNC_ENCODER_NEWCTX, (void (*)(void))encoder_newctx},
    {OSSL_FUNC_ENCODER_FREECTX, (void (*)(void))encoder_freectx},
    {OSSL_FUNC_ENCODER_DOES_SELECTION, (void (*)(void))encoder_does_selection},
    {OSSL_FUNC_ENCODER_ENCODE, (void (*)(void))encode_text},
    {0, NULL},
};

/* A row for each structure by which OpenSSL's functions ask for a private key of the type: PrivateKeyInfo by nearly all,
 * type-specific by i2d_PrivateKey() and openssl ec, EncryptedPrivateKeyInfo by the OSSL_ENCODER interface. */
#define ROW(type, output, table)                                                                                       \
    {type, KN_OSSL_PROPERTIES ",output=" output, table, "Keynym aliases"}
#define ROWS(type)                                                                                                     \
    ROW(type, "pem,structure=PrivateKeyInfo", pem), ROW(type, "der,structure=PrivateKeyInfo", der),                   \
        ROW(type, "pem,structure=EncryptedPrivateKeyInfo", pem),                                                       \
        ROW(type, "der,structure=EncryptedPrivateKeyInfo", der), ROW(type, "pem,structure=type-specific", pem),        \
        ROW(type, "der,structure=type-specific", der), ROW(type, "text", text)

const OSSL_ALGORITHM kn_ossl_encoders[] = {
    ROWS("EC"),
    ROWS("RSA"),
    ROWS("RSA-PSS"),
    ROWS("ED25519"),
    ROWS("ED448"),
    ROWS("X25519"),
    ROWS("X448"),
    {NULL, NULL, NULL, NULL},
};
