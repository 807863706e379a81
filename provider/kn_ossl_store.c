/* OSSL_STORE for pkcs11: URIs: a private key, its public key, certificates.
 *
 * What is loaded: what the caller expects (OSSL_STORE_expect), else what type= of the URI says, else the private key
 * and then the certificates when there are any. Where caller and URI disagree, nothing. Of private and public keys exactly
 * one must match; certificates are given one after the other. Certificates and public keys are looked for without a login
 * first, since most tokens show them to everybody. A search (OSSL_STORE_find) that finds nothing is no error. */
#include "kn_cert.h"
#include "kn_ossl_find.h"
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
    bool expects_key; /* by URI or caller, and not only because nothing was said */
    kn_ossl_find find;
    bool searched; /* for certificates */
    kn_cert_list found;
    size_t next; /* of them */
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
    ctx->expects_key = !ctx->want_certificate;
    return ctx;
}

static const OSSL_PARAM *store_settable(void *provctx)
{
    (void)provctx;
    return kn_ossl_find_settable;
}

static void want_nothing(store *ctx)
{
    ctx->want_key = ctx->want_public = ctx->want_certificate = false;
}

static int expect(store *ctx, const OSSL_PARAM *p)
{
    int expected = 0;
    if (!OSSL_PARAM_get_int(p, &expected))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "the expected type is not a number"));
    if (expected == 0)
        return 1;
    ctx->want_public |= ctx->want_key; /* it is known with the private key */
    ctx->want_public &= expected == OSSL_STORE_INFO_PUBKEY;
    ctx->want_key &= expected == OSSL_STORE_INFO_PKEY;
    ctx->want_certificate &= expected == OSSL_STORE_INFO_CERT;
    ctx->key_is_optional = ctx->certificate_is_optional = false;
    ctx->expects_key = ctx->want_key || ctx->want_public;
    return 1;
}

/* A label becomes part of the URI. */
static int look_for_label(store *ctx)
{
    kn_alias *narrower = NULL;
    kn_err err = kn_alias_with_label(ctx->alias, ctx->find.label, &narrower);
    if (err.code == KN_E_NO_KEY) {
        want_nothing(ctx);
        return 1;
    }
    if (kn_failed(err))
        return kn_ossl_raise(ctx->prov, err);
    kn_alias_free(&ctx->alias);
    ctx->alias = narrower;
    return 1;
}

static int store_set_params(void *arg, const OSSL_PARAM params[])
{
    store *ctx = arg;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_EXPECT);
    if (p && !expect(ctx, p))
        return 0;
    if (!kn_ossl_find_set(ctx->prov, &ctx->find, params))
        return 0;
    return OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_ALIAS) ? look_for_label(ctx) : 1;
}

/* A search leaves out what it cannot be about. By fingerprint keys are opened only where nothing else is wanted: the URI may
 * name many. */
static void apply_search(store *ctx)
{
    if (!kn_ossl_find_is_set(&ctx->find))
        return;
    if (!kn_ossl_find_names_keys(&ctx->find) || (ctx->find.fingerprint && !ctx->expects_key))
        ctx->want_key = ctx->want_public = false;
    ctx->key_is_optional = ctx->certificate_is_optional = true;
}

/* *ret_key is NULL when there is none and none must be. */
static kn_err open_key(store *ctx, kn_key **ret_key)
{
    kn_err err = kn_key_open(kn_ossl_backends_ready(ctx->prov), ctx->alias, ret_key);
    if (err.code == KN_E_NO_KEY && kn_ossl_find_is_set(&ctx->find))
        return kn_success();
    if (!kn_failed(err) && !kn_ossl_find_takes_key(ctx->prov, &ctx->find, kn_key_public(*ret_key)))
        kn_key_unref(ret_key);
    return err;
}

/* -1: none, but then there must be a certificate. */
static int load_key(store *ctx, OSSL_CALLBACK *callback, void *callback_arg)
{
    kn_key *key = NULL;
    ctx->want_key = false;
    kn_err err = open_key(ctx, &key);
    if (err.code == KN_E_NO_KEY && ctx->key_is_optional) {
        ctx->certificate_is_optional = false;
        return -1;
    }
    if (kn_failed(err)) {
        ctx->want_certificate = false;
        return kn_ossl_raise(ctx->prov, err);
    }
    if (!key)
        return -1;
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

/* The public key of the private one, for tokens that keep no object of it. *ret_found is false when none is found and none
 * must be. */
static kn_err public_of_private(store *ctx, kn_public *ret_public, bool *ret_found, OSSL_PASSPHRASE_CALLBACK *passphrase,
                                void *passphrase_arg)
{
    kn_key *key = NULL;
    kn_err err = kn_ossl_ask_pin(ctx->prov, ctx->alias, true, passphrase, passphrase_arg);
    if (!kn_failed(err))
        err = open_key(ctx, &key);
    *ret_found = key != NULL;
    if (key)
        *ret_public = *kn_key_public(key);
    kn_key_unref(&key);
    return err;
}

/* As bytes, so that it becomes a key of the application's own software provider. */
static int load_public(store *ctx, OSSL_CALLBACK *callback, void *callback_arg, OSSL_PASSPHRASE_CALLBACK *passphrase,
                       void *passphrase_arg)
{
    kn_public public;
    uint8_t spki[KN_SPKI_MAX];
    size_t length = 0;
    ctx->want_public = false;
    kn_err err = kn_public_find(kn_ossl_backends_ready(ctx->prov), kn_alias_uri(ctx->alias), &public);
    bool found = !kn_failed(err);
    if (found)
        found = kn_ossl_find_takes_key(ctx->prov, &ctx->find, &public);
    else if (err.code == KN_E_NO_KEY)
        err = public_of_private(ctx, &public, &found, passphrase, passphrase_arg);
    if (!kn_failed(err) && !found)
        return 1;
    if (!kn_failed(err))
        err = kn_public_to_spki(&public, spki, &length);
    if (kn_failed(err))
        return kn_ossl_raise(ctx->prov, err);
    return deliver(OSSL_OBJECT_PKEY, kn_ossl_key_type(&public), "SubjectPublicKeyInfo", spki, length, callback,
                   callback_arg);
}

/* Leaves in ctx->found what the search takes. */
static kn_err search(store *ctx, const kn_cert_query *query)
{
    kn_cert_list all = {.count = 0};
    size_t kept = 0;
    kn_err err = kn_cert_search(kn_ossl_backends_ready(ctx->prov), kn_alias_uri(ctx->alias), query, &all);
    if (kn_failed(err))
        return err;
    for (size_t i = 0; i < all.count; i++) {
        struct kn_cert_der one = all.cert[i];
        if (!kn_ossl_find_is_set(&ctx->find) || kn_ossl_find_takes_cert(ctx->prov, &ctx->find, one.der, one.length))
            all.cert[kept++] = one;
        else
            free(one.der);
    }
    all.count = kept;
    kn_cert_list_free(&ctx->found);
    ctx->found = all;
    return err;
}

/* By the name as it is written, which the token looks up, and only then through all certificates: the same name can be
 * written in several ways. */
static kn_err search_names(store *ctx, bool login)
{
    const kn_ossl_find *f = &ctx->find;
    const kn_cert_query exact = {.subject = f->subject,
                                 .subject_length = f->subject_length,
                                 .issuer = f->issuer,
                                 .issuer_length = f->issuer_length,
                                 .login = login};
    const kn_cert_query any = {.login = login};
    kn_err err = search(ctx, &exact);
    if (!kn_failed(err) && ctx->found.count == 0 && (f->subject || f->issuer))
        err = search(ctx, &any);
    return err;
}

static kn_err search_certificates(store *ctx, OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    kn_err err = search_names(ctx, false);
    if (!kn_failed(err) && ctx->found.count == 0)
        err = kn_ossl_ask_pin(ctx->prov, ctx->alias, true, passphrase, passphrase_arg);
    if (!kn_failed(err) && ctx->found.count == 0)
        err = search_names(ctx, true);
    if (kn_failed(err) || ctx->found.count || ctx->certificate_is_optional)
        return err;
    char shown[256];
    kn_uri_redact(kn_alias_uri(ctx->alias), shown, sizeof shown);
    return ctx->key_is_optional ? kn_fail(KN_E_NO_KEY, "neither a private key nor a certificate: %s", shown)
                                : kn_fail(KN_E_NO_CERTIFICATE, "%s", shown);
}

static int load_certificate(store *ctx, OSSL_CALLBACK *callback, void *callback_arg,
                            OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    if (!ctx->searched) {
        ctx->searched = true;
        kn_err err = search_certificates(ctx, passphrase, passphrase_arg);
        if (kn_failed(err)) {
            want_nothing(ctx);
            return kn_ossl_raise(ctx->prov, err);
        }
    }
    if (ctx->next == ctx->found.count) {
        want_nothing(ctx);
        return 1;
    }
    const struct kn_cert_der *cert = &ctx->found.cert[ctx->next++];
    if (ctx->next == ctx->found.count)
        want_nothing(ctx);
    return deliver(OSSL_OBJECT_CERT, "CERTIFICATE", "Certificate", cert->der, cert->length, callback, callback_arg);
}

static int store_load(void *arg, OSSL_CALLBACK *callback, void *callback_arg, OSSL_PASSPHRASE_CALLBACK *passphrase,
                      void *passphrase_arg)
{
    store *ctx = arg;
    apply_search(ctx);
    if (ctx->want_key) {
        kn_err err = kn_ossl_ask_pin(ctx->prov, ctx->alias, true, passphrase, passphrase_arg);
        if (kn_failed(err)) {
            want_nothing(ctx);
            return kn_ossl_raise(ctx->prov, err);
        }
    }
    if (ctx->want_public)
        return load_public(ctx, callback, callback_arg, passphrase, passphrase_arg);
    if (ctx->want_key) {
        int loaded = load_key(ctx, callback, callback_arg);
        if (loaded >= 0)
            return loaded;
    }
    return ctx->want_certificate ? load_certificate(ctx, callback, callback_arg, passphrase, passphrase_arg) : 1;
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
    kn_ossl_find_clear(&ctx->find);
    kn_cert_list_free(&ctx->found);
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
