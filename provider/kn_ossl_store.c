/* OSSL_STORE for pkcs11: URIs: a private key, its public key, its certificate.
 *
 * What is loaded: what the caller expects (OSSL_STORE_expect), else what type= of the URI says, else the private key
 * and then the certificate when there is one. Where caller and URI disagree, nothing. */
#include "kn_cert.h"
#include "kn_ossl_key.h"
#include "kn_ossl_pin.h"

#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <openssl/store.h>
#include <stdlib.h>
#include <string.h>

typedef struct store {
    kn_ossl *prov;
    kn_alias *alias;
    bool want_key, want_public, want_certificate;
    bool key_is_optional, certificate_is_optional;
} store;

/* Is type= of the URI, which was checked, @type? NULL: is there none? */
static bool has_type(const char *uri, const char *type)
{
    static const char name[] = "type=";
    const char *at = strchr(uri, ':') + 1, *end = at + strcspn(at, "?");
    for (; at < end; at += strcspn(at, ";?") + 1) {
        const char *value = at + sizeof name - 1;
        if (!strncmp(at, name, sizeof name - 1))
            return type && strcspn(value, ";?") == strlen(type) && !strncmp(value, type, strlen(type));
    }
    return !type;
}

static void *store_open(void *provctx, const char *uri)
{
    kn_ossl *prov = provctx;
    kn_alias *alias = NULL;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (kn_failed(err)) {
        (void)kn_ossl_raise(prov, err);
        return NULL;
    }
    store *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        kn_alias_free(&alias);
        return NULL;
    }
    ctx->prov = prov;
    ctx->alias = alias;
    ctx->want_public = has_type(uri, "public");
    ctx->want_certificate = has_type(uri, "cert") || has_type(uri, NULL);
    ctx->want_key = !has_type(uri, "cert") && !ctx->want_public; /* also other types: the look-up names the error */
    ctx->key_is_optional = ctx->certificate_is_optional = ctx->want_key && ctx->want_certificate;
    return ctx;
}

static const OSSL_PARAM *store_settable(void *provctx)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL),
        OSSL_PARAM_END,
    };
    (void)provctx;
    return params;
}

static int store_set_params(void *arg, const OSSL_PARAM params[])
{
    store *ctx = arg;
    int expected = 0;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);
    if (!p)
        return 1;
    if (!OSSL_PARAM_get_int(p, &expected))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "the expected type is not a number"));
    if (expected == 0)
        return 1;
    ctx->want_public |= ctx->want_key; /* it is known with the private key */
    ctx->want_public &= expected == OSSL_STORE_INFO_PUBKEY;
    ctx->want_key &= expected == OSSL_STORE_INFO_PKEY;
    ctx->want_certificate &= expected == OSSL_STORE_INFO_CERT;
    ctx->key_is_optional = ctx->certificate_is_optional = false;
    return 1;
}

static int load_key(store *ctx, OSSL_CALLBACK *callback, void *callback_arg)
{
    kn_key *key = NULL;
    ctx->want_key = false;
    kn_err err = kn_key_open(kn_ossl_backends(ctx->prov), ctx->alias, &key);
    if (err.code == KN_E_NO_KEY && ctx->key_is_optional) {
        ctx->certificate_is_optional = false; /* then there must be that */
        return -1;
    }
    if (kn_failed(err)) {
        ctx->want_certificate = false;
        return kn_ossl_raise(ctx->prov, err);
    }
    kn_ossl_key *object = kn_ossl_key_new(ctx->prov, key);
    return object ? kn_ossl_key_deliver(object, callback, callback_arg) : 0;
}

static int deliver(int object_type, const char *type, const char *structure, void *der, size_t length,
                   OSSL_CALLBACK *callback, void *callback_arg)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, (char *)(uintptr_t)type, strlen(type)),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, length),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, (char *)(uintptr_t)structure,
                                         strlen(structure)),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, callback_arg);
}

/* As bytes, so that it becomes a key of the application's own software provider. */
static int load_public(store *ctx, OSSL_CALLBACK *callback, void *callback_arg)
{
    kn_key *key = NULL;
    uint8_t spki[KN_SPKI_MAX];
    size_t length = 0;
    ctx->want_public = false;
    kn_err err = kn_key_open(kn_ossl_backends(ctx->prov), ctx->alias, &key);
    if (!kn_failed(err))
        err = kn_public_to_spki(kn_key_public(key), spki, &length);
    const char *type = kn_failed(err) ? NULL : kn_ossl_key_type(kn_key_public(key));
    kn_key_unref(&key);
    if (kn_failed(err))
        return kn_ossl_raise(ctx->prov, err);
    return deliver(OSSL_OBJECT_PKEY, type, "SubjectPublicKeyInfo", spki, length, callback, callback_arg);
}

static int load_certificate(store *ctx, OSSL_CALLBACK *callback, void *callback_arg)
{
    kn_certs certs;
    ctx->want_certificate = false;
    kn_err err = kn_cert_read_chain(kn_ossl_backends(ctx->prov), kn_alias_uri(ctx->alias), &certs);
    if (err.code == KN_E_NO_CERTIFICATE && ctx->certificate_is_optional)
        return 1;
    if (err.code == KN_E_NO_CERTIFICATE && ctx->key_is_optional)
        err = kn_fail(KN_E_NO_KEY, "neither a private key nor a certificate: %s", kn_err_detail());
    if (kn_failed(err))
        return kn_ossl_raise(ctx->prov, err);
    int ok = deliver(OSSL_OBJECT_CERT, "CERTIFICATE", "Certificate", certs.cert[0].der, certs.cert[0].length, callback,
                     callback_arg);
    kn_certs_free(&certs);
    return ok;
}

static int store_load(void *arg, OSSL_CALLBACK *callback, void *callback_arg, OSSL_PASSPHRASE_CALLBACK *passphrase,
                      void *passphrase_arg)
{
    store *ctx = arg;
    kn_err err = kn_ossl_ask_pin(ctx->prov, ctx->alias, true, passphrase, passphrase_arg);
    if (kn_failed(err)) {
        ctx->want_key = ctx->want_public = ctx->want_certificate = false;
        return kn_ossl_raise(ctx->prov, err);
    }
    if (ctx->want_public)
        return load_public(ctx, callback, callback_arg);
    if (ctx->want_key) {
        int loaded = load_key(ctx, callback, callback_arg);
        if (loaded >= 0)
            return loaded;
    }
    return ctx->want_certificate ? load_certificate(ctx, callback, callback_arg) : 1;
}

static int store_eof(void *arg)
{
    const store *ctx = arg;
    return !ctx->want_key && !ctx->want_public && !ctx->want_certificate;
}

static int store_close(void *arg)
{
    store *ctx = arg;
    kn_alias_free(&ctx->alias);
    free(ctx);
    return 1;
}

/* As with the decoder: asked for when another provider's key management is tried first. */
static int store_export_object(void *ctx, const void *reference, size_t size, OSSL_CALLBACK *callback, void *arg)
{
    (void)ctx, (void)reference, (void)size, (void)callback, (void)arg;
    return 0;
}

const OSSL_DISPATCH kn_ossl_store[] = {
    {OSSL_FUNC_STORE_OPEN, (void (*)(void))store_open},
    {OSSL_FUNC_STORE_SETTABLE_CTX_PARAMS, (void (*)(void))store_settable},
    {OSSL_FUNC_STORE_SET_CTX_PARAMS, (void (*)(void))store_set_params},
    {OSSL_FUNC_STORE_LOAD, (void (*)(void))store_load},
    {OSSL_FUNC_STORE_EOF, (void (*)(void))store_eof},
    {OSSL_FUNC_STORE_CLOSE, (void (*)(void))store_close},
    {OSSL_FUNC_STORE_EXPORT_OBJECT, (void (*)(void))store_export_object},
    {0, NULL},
};
