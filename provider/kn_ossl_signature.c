#include "kn_ossl_signature.h"

#include "kn_crypto.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

void *kn_ossl_signature_newctx(void *provctx, const char *properties)
{
    kn_ossl_signature *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    ctx->prov = provctx;
    ctx->salt = RSA_PSS_SALTLEN_AUTO;
    if (properties && !(ctx->properties = strdup(properties))) {
        free(ctx);
        return NULL;
    }
    return ctx;
}

void kn_ossl_signature_freectx(void *arg)
{
    kn_ossl_signature *ctx = arg;
    if (!ctx)
        return;
    kn_key_unref(&ctx->key);
    free(ctx->own);
    EVP_MD_free(ctx->md);
    EVP_MD_CTX_free(ctx->hash);
    free(ctx->properties);
    free(ctx);
}

/* Adds a reference to @key; without one keeps a copy of @public. */
static bool keep_key(kn_ossl_signature *ctx, kn_key *key, const kn_public *public)
{
    kn_public *copy = key ? NULL : malloc(sizeof *copy);
    if (!key && !copy)
        return false;
    if (copy)
        *copy = *public;
    kn_key *old = ctx->key;
    ctx->key = key ? kn_key_ref(key) : NULL;
    kn_key_unref(&old);
    free(ctx->own);
    ctx->own = copy;
    ctx->public = key ? kn_key_public(ctx->key) : copy;
    return true;
}

void *kn_ossl_signature_dupctx(void *arg)
{
    const kn_ossl_signature *from = arg;
    kn_ossl_signature *to = kn_ossl_signature_newctx(from->prov, from->properties);
    if (!to)
        return NULL;
    to->verifying = from->verifying;
    to->pss = from->pss;
    to->mgf1 = from->mgf1;
    to->salt = from->salt;
    if (from->public && !keep_key(to, from->key, from->public)) {
        kn_ossl_signature_freectx(to);
        return NULL;
    }
    if (from->md && EVP_MD_up_ref(from->md))
        to->md = from->md;
    to->digest = from->digest;
    to->state = from->state;
    if (from->state == KN_OSSL_DATA) {
        to->hash = EVP_MD_CTX_new();
        if (!to->hash || !EVP_MD_CTX_copy_ex(to->hash, from->hash)) {
            kn_ossl_signature_freectx(to);
            return NULL;
        }
    }
    return to;
}

int kn_ossl_signature_begin(kn_ossl_signature *ctx, const kn_ossl_key *key, bool verifying)
{
    ctx->state = KN_OSSL_IDLE;
    ctx->verifying = verifying;
    if (!key && !ctx->public) /* else: the key of the previous operation */
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "no key was given"));
    if (key && !kn_ossl_key_has_public(key))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, "the key object is empty"));
    if (key && !keep_key(ctx, key->key, kn_ossl_key_public(key)))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_NO_MEMORY, "a signature"));
    if (!verifying && !ctx->key)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "only the public part of the key is here"));
    return 1;
}

static int fetch_digest(kn_ossl_signature *ctx, const char *name, const char *properties)
{
    const kn_digest *row;
    EVP_MD *md = kn_ossl_digest(ctx->prov, name, properties ? properties : ctx->properties, &row);
    if (!md)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s' is not offered by any provider", name));
    int size = EVP_MD_get_size(md);
    if (size < 20 || size > KN_DIGEST_MAX || (EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF)) {
        EVP_MD_free(md);
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s' for a signature", name));
    }
    EVP_MD_free(ctx->md);
    ctx->md = md;
    ctx->digest = row;
    return 1;
}

int kn_ossl_signature_set_digest(kn_ossl_signature *ctx, const OSSL_PARAM params[])
{
    char name[KN_OSSL_NAME_MAX] = "", properties[256] = "", *text = name;
    const OSSL_PARAM *digest = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    const OSSL_PARAM *query = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PROPERTIES);
    if (!digest)
        return 1;
    if (!OSSL_PARAM_get_utf8_string(digest, &text, sizeof name))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "a digest name that is too long"));
    if (ctx->state != KN_OSSL_IDLE) /* data may have been hashed: the same once more, as software keys allow, or an error */
        return EVP_MD_is_a(ctx->md, name) ||
               kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "'%.40s', but %s was chosen before", name,
                                                EVP_MD_get0_name(ctx->md)));
    text = properties;
    if (query && !OSSL_PARAM_get_utf8_string(query, &text, sizeof properties))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "a property query that is too long"));
    return fetch_digest(ctx, name, query ? properties : NULL);
}

int kn_ossl_signature_get_digest(const kn_ossl_signature *ctx, OSSL_PARAM params[])
{
    OSSL_PARAM *p;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST)) &&
        !OSSL_PARAM_set_utf8_string(p, ctx->md ? EVP_MD_get0_name(ctx->md) : ""))
        return 0;
    if ((p = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST_SIZE)) &&
        !OSSL_PARAM_set_size_t(p, ctx->md ? (size_t)EVP_MD_get_size(ctx->md) : 0))
        return 0;
    return 1;
}

/* Without a look-up of OpenSSL's where the names are the same. */
static bool same_digest(const kn_ossl_signature *ctx, const char *name)
{
    return ctx->md && (!strcmp(EVP_MD_get0_name(ctx->md), name) || EVP_MD_is_a(ctx->md, name));
}

static const char *default_digest(const kn_public *public)
{
    return public->pss_digest ? public->pss_digest->name : public->alg->default_digest;
}

int kn_ossl_signature_start(kn_ossl_signature *ctx, const char *name)
{
    if (name && *name) {
        if (!same_digest(ctx, name) && !fetch_digest(ctx, name, NULL))
            return 0;
    } else if (!ctx->md && !fetch_digest(ctx, default_digest(ctx->public), NULL)) {
        return 0;
    }
    ctx->state = KN_OSSL_EMPTY;
    return 1;
}

int kn_ossl_signature_update(void *arg, const unsigned char *data, size_t length)
{
    kn_ossl_signature *ctx = arg;
    if (ctx->state == KN_OSSL_IDLE || ctx->state == KN_OSSL_ENDED)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_ARGUMENT, ctx->state == KN_OSSL_IDLE
                                                                   ? "no operation was begun"
                                                                   : "the operation has ended: begin another"));
    if (ctx->state == KN_OSSL_EMPTY) {
        if (!ctx->hash)
            ctx->hash = EVP_MD_CTX_new();
        if (!ctx->hash || !EVP_DigestInit_ex2(ctx->hash, ctx->md, NULL))
            return kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "the digest does not start"));
        ctx->state = KN_OSSL_DATA;
    }
    return EVP_DigestUpdate(ctx->hash, data, length);
}

/* The digest of what was hashed, and of @data after it. */
static int end_hash(kn_ossl_signature *ctx, const unsigned char *data, size_t data_length,
                    unsigned char ret_digest[EVP_MAX_MD_SIZE], unsigned int *ret_length)
{
    if (!kn_ossl_signature_update(ctx, data, data_length))
        return 0;
    ctx->state = KN_OSSL_ENDED;
    if (!EVP_DigestFinal_ex(ctx->hash, ret_digest, ret_length))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_CRYPTO, "the digest does not end"));
    return 1;
}

/* Checks a digest that the caller made. */
static int check_size(const kn_ossl_signature *ctx, size_t length)
{
    if (ctx->md && length != (size_t)EVP_MD_get_size(ctx->md))
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "%zu bytes are not a %s digest of %d", length,
                                                EVP_MD_get0_name(ctx->md), EVP_MD_get_size(ctx->md)));
    return 1;
}

int kn_ossl_signature_sign(kn_ossl_signature *ctx, kn_ossl_how *how, unsigned char *signature, size_t *length,
                           size_t size, const unsigned char *data, size_t data_length)
{
    kn_sign_how chosen;
    size_t room = ctx->public->alg->signature_max;
    if (!signature) {
        *length = room;
        return 1;
    }
    if (!check_size(ctx, data_length) || !how(ctx, &chosen))
        return 0;
    if (size < room)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "a signature may have %zu bytes, room is for %zu",
                                                room, size));
    kn_err err = kn_key_sign(ctx->key, &chosen, data, data_length, signature, length);
    return kn_failed(err) ? kn_ossl_raise(ctx->prov, err) : 1;
}

int kn_ossl_signature_verify(kn_ossl_signature *ctx, kn_ossl_how *how, const unsigned char *signature, size_t length,
                             const unsigned char *data, size_t data_length)
{
    kn_sign_how chosen;
    if (!check_size(ctx, data_length) || !how(ctx, &chosen))
        return 0;
    return kn_crypto_verify(ctx->public, &chosen, data, data_length, signature, length) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_SIGNATURE, "verification with a %s key", ctx->public->alg->name));
}

int kn_ossl_signature_sign_all(kn_ossl_signature *ctx, kn_ossl_how *how, unsigned char *signature, size_t *length,
                               size_t size, const unsigned char *data, size_t data_length)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_length = 0;
    if (signature && !end_hash(ctx, data, data_length, digest, &digest_length))
        return 0;
    return kn_ossl_signature_sign(ctx, how, signature, length, size, digest, digest_length);
}

int kn_ossl_signature_verify_all(kn_ossl_signature *ctx, kn_ossl_how *how, const unsigned char *signature,
                                 size_t length, const unsigned char *data, size_t data_length)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_length = 0;
    return end_hash(ctx, data, data_length, digest, &digest_length) &&
           kn_ossl_signature_verify(ctx, how, signature, length, digest, digest_length);
}
