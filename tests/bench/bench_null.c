/* The floor: a provider that hashes and answers at once. It has EC keys that are empty and an ECDSA of 72 fixed bytes, under
 * OpenSSL's own names as any must (see docs/architecture.md for why), and does nothing that a provider of keys in hardware
 * could leave out: the digest is fetched once, a context is one allocation, one call signs (EVP_DigestSign() without a copy
 * of the context), and an export of the private key is refused without a word. SHA-256 only.
 *
 * With bench_null_token set, it asks that function for each signature: the floor over a token that takes its time. */
#include "bench_null.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

#define KEY_NAMES       "EC:id-ecPublicKey:1.2.840.10045.2.1"
#define SIGNATURE_NAME  "ECDSA"
#define SIGNATURE_BYTES 72

OSSL_provider_init_fn OSSL_provider_init;

__attribute__((visibility("default"))) extern bench_null_token_fn *bench_null_token;
bench_null_token_fn *bench_null_token;

typedef struct null_provider {
    OSSL_LIB_CTX *child;
    EVP_MD *sha256;
} null_provider;

typedef struct null_signature {
    null_provider *prov;
    EVP_MD_CTX *hash;
} null_signature;

/* ---- keys: there is nothing in them ---- */

static void *key_new(void *provctx)
{
    (void)provctx;
    return calloc(1, 1);
}

static int key_has(const void *key, int selection)
{
    (void)key, (void)selection;
    return 1;
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
    (void)key, (void)selection, (void)params;
    return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM params[] = {OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0), OSSL_PARAM_END};
    (void)selection;
    return params;
}

static int key_export(void *key, int selection, OSSL_CALLBACK *callback, void *callback_arg)
{
    (void)key, (void)selection, (void)callback, (void)callback_arg;
    return 0;
}

static int key_get_params(void *key, OSSL_PARAM params[])
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MAX_SIZE);
    (void)key;
    return !p || OSSL_PARAM_set_int(p, SIGNATURE_BYTES);
}

static const OSSL_PARAM *key_gettable(void *provctx)
{
    static const OSSL_PARAM params[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL), OSSL_PARAM_END};
    (void)provctx;
    return params;
}

static const char *key_query_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? SIGNATURE_NAME : NULL;
}

static const OSSL_DISPATCH keymgmt[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))key_new},
    {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))free},
    {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has},
    {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_import_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_import_types},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))key_query_operation_name},
    {0, NULL},
};

/* ---- signatures ---- */

static void *newctx(void *provctx, const char *properties)
{
    null_signature *ctx = calloc(1, sizeof *ctx);
    (void)properties;
    if (ctx)
        ctx->prov = provctx;
    return ctx;
}

static void freectx(void *arg)
{
    null_signature *ctx = arg;
    EVP_MD_CTX_free(ctx->hash);
    free(ctx);
}

static int digest_sign_init(void *arg, const char *name, void *key, const OSSL_PARAM params[])
{
    null_signature *ctx = arg;
    (void)name, (void)key, (void)params;
    ctx->hash = EVP_MD_CTX_new();
    return ctx->hash && EVP_DigestInit_ex2(ctx->hash, ctx->prov->sha256, NULL);
}

static int digest_sign(void *arg, unsigned char *signature, size_t *length, size_t size, const unsigned char *data,
                       size_t data_length)
{
    null_signature *ctx = arg;
    unsigned char digest[EVP_MAX_MD_SIZE];
    *length = SIGNATURE_BYTES;
    if (!signature)
        return 1;
    if (size < SIGNATURE_BYTES || !EVP_DigestUpdate(ctx->hash, data, data_length) ||
        !EVP_DigestFinal_ex(ctx->hash, digest, NULL))
        return 0;
    if (bench_null_token)
        bench_null_token(digest);
    memset(signature, digest[0], SIGNATURE_BYTES);
    return 1;
}

static const OSSL_DISPATCH signature[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))newctx},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))freectx},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))digest_sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))digest_sign},
    {0, NULL},
};

/* ---- the provider ---- */

static const OSSL_ALGORITHM keymgmts[] = {{KEY_NAMES, "provider=bench_null", keymgmt, NULL}, {NULL, NULL, NULL, NULL}};
static const OSSL_ALGORITHM signatures[] = {{SIGNATURE_NAME, "provider=bench_null", signature, NULL}, {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query_operation(void *provctx, int operation, int *no_cache)
{
    (void)provctx;
    *no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keymgmts : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static void teardown(void *provctx)
{
    null_provider *prov = provctx;
    EVP_MD_free(prov->sha256);
    OSSL_LIB_CTX_free(prov->child);
    free(prov);
}

static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
    {OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown},
    {0, NULL},
};

__attribute__((visibility("default"))) int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                                                              const OSSL_DISPATCH **out, void **provctx)
{
    null_provider *prov = calloc(1, sizeof *prov);
    if (!prov || !(prov->child = OSSL_LIB_CTX_new_child(core, in)) ||
        !(prov->sha256 = EVP_MD_fetch(prov->child, "SHA256", NULL)))
        return 0;
    *out = functions;
    *provctx = prov;
    return 1;
}
