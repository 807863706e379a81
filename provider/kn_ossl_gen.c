#include "kn_ossl_gen.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GEN_TEXT_MAX 1024 /* bytes of a URI or one of its parts, with the final NUL */

typedef struct gen {
    kn_ossl *prov;
    const kn_ossl_kind *kind;
    int selection;
    kn_key_spec spec;
    bool has_salt;
    char uri[GEN_TEXT_MAX], token[GEN_TEXT_MAX], object[GEN_TEXT_MAX], id[GEN_TEXT_MAX];
} gen;

const kn_digest *kn_ossl_gen_digest(kn_ossl *prov, const char *name)
{
    const kn_digest *row = NULL;
    for (size_t i = 0; i < KN_DIGEST_COUNT; i++)
        if (!strcasecmp(name, kn_digests[i].name))
            return &kn_digests[i];
    EVP_MD_free(kn_ossl_digest(prov, name, NULL, &row)); /* under another name */
    return row;
}

void *kn_ossl_gen_init(void *provctx, int selection, const OSSL_PARAM params[], const kn_ossl_kind *kind)
{
    gen *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    ctx->prov = provctx;
    ctx->kind = kind;
    ctx->selection = selection;
    ctx->spec.pss = kind->pss;
    if (kind->type == KN_KEY_RSA)
        ctx->spec.alg = kn_alg_by_rsa_bits(2048);
    else if (kind->type != KN_KEY_EC)
        ctx->spec.alg = kn_alg_by_group(kind->name);
    if (!kn_ossl_gen_set_params(ctx, params)) {
        free(ctx);
        return NULL;
    }
    return ctx;
}

void kn_ossl_gen_cleanup(void *arg)
{
    if (arg)
        explicit_bzero(arg, sizeof(gen)); /* the URI may have pin-value */
    free(arg);
}

/* ---- parameters ---- */

static int take_text(const gen *ctx, const OSSL_PARAM *p, char text[GEN_TEXT_MAX])
{
    return OSSL_PARAM_get_utf8_string(p, &text, GEN_TEXT_MAX) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_URI_MALFORMED, "%s has more than %d bytes", p->key, GEN_TEXT_MAX - 1));
}

static int set_uri(gen *ctx, const OSSL_PARAM *p)
{
    return take_text(ctx, p, ctx->uri);
}

static int set_token(gen *ctx, const OSSL_PARAM *p)
{
    return take_text(ctx, p, ctx->token);
}

static int set_object(gen *ctx, const OSSL_PARAM *p)
{
    return take_text(ctx, p, ctx->object);
}

static int set_id(gen *ctx, const OSSL_PARAM *p)
{
    if (!take_text(ctx, p, ctx->id))
        return 0;
    return (strlen(ctx->id) % 2 == 0 && strspn(ctx->id, "0123456789abcdefABCDEF") == strlen(ctx->id)) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_URI_MALFORMED, "id '%.40s' is not hexadecimal", ctx->id));
}

static int set_usage(gen *ctx, const OSSL_PARAM *p)
{
    char list[GEN_TEXT_MAX] = "";
    if (!take_text(ctx, p, list))
        return 0;
    return kn_uses_parse(list, &ctx->spec.uses) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_USE, "usage '%.40s' is not a list of sign, decrypt and derive", list));
}

static int set_group(gen *ctx, const OSSL_PARAM *p)
{
    char name[GEN_TEXT_MAX] = "";
    if (!take_text(ctx, p, name))
        return 0;
    const kn_alg *alg = kn_alg_by_group(name);
    if (!alg || alg->type != ctx->kind->type)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_TYPE, "group '%.40s'", name));
    ctx->spec.alg = alg;
    return 1;
}

static int set_encoding(gen *ctx, const OSSL_PARAM *p)
{
    char name[GEN_TEXT_MAX] = "";
    return take_text(ctx, p, name) &&
           (!strcmp(name, OSSL_PKEY_EC_ENCODING_GROUP) ||
            kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_TYPE, "an EC key with '%.40s' parameters", name)));
}

static int set_bits(gen *ctx, const OSSL_PARAM *p)
{
    size_t bits = 0;
    const kn_alg *alg = OSSL_PARAM_get_size_t(p, &bits) ? kn_alg_by_rsa_bits(bits) : NULL;
    if (!alg)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_TYPE, "an RSA key of %zu bits", bits));
    ctx->spec.alg = alg;
    return 1;
}

static int set_primes(gen *ctx, const OSSL_PARAM *p)
{
    size_t primes = 0;
    return (OSSL_PARAM_get_size_t(p, &primes) && primes == 2) ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_TYPE, "an RSA key of %zu primes", primes));
}

static int set_exponent(gen *ctx, const OSSL_PARAM *p)
{
    BIGNUM *e = NULL;
    bool f4 = OSSL_PARAM_get_BN(p, &e) && BN_is_word(e, 65537);
    BN_free(e);
    return f4 || kn_ossl_raise(ctx->prov, kn_fail(KN_E_KEY_TYPE, "an RSA key with another public exponent than 65537"));
}

static int set_pss_digest(gen *ctx, const OSSL_PARAM *p)
{
    char name[GEN_TEXT_MAX] = "";
    if (!take_text(ctx, p, name))
        return 0;
    ctx->spec.pss_digest = kn_ossl_gen_digest(ctx->prov, name);
    return ctx->spec.pss_digest ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "an RSA-PSS key for '%.40s'", name));
}

static int set_pss_mgf1(gen *ctx, const OSSL_PARAM *p)
{
    char name[GEN_TEXT_MAX] = "";
    if (!take_text(ctx, p, name))
        return 0;
    ctx->spec.pss_mgf1 = kn_ossl_gen_digest(ctx->prov, name);
    return ctx->spec.pss_mgf1 ||
           kn_ossl_raise(ctx->prov, kn_fail(KN_E_DIGEST, "an RSA-PSS key with MGF1 of '%.40s'", name));
}

static int set_pss_salt(gen *ctx, const OSSL_PARAM *p)
{
    int salt = -1;
    if (!OSSL_PARAM_get_int(p, &salt) || salt < 0 || salt > KN_RSA_MAX)
        return kn_ossl_raise(ctx->prov, kn_fail(KN_E_DATA_SIZE, "an RSA-PSS key for salts of at least %d bytes", salt));
    ctx->spec.pss_salt_min = (size_t)salt;
    ctx->has_salt = true;
    return 1;
}

/* A row for each parameter, and the kinds of keys that have it. */
enum { ALL, EC_ONLY, RSA_ONLY, PSS_ONLY };
static const struct {
    const char *name;
    int whose;
    int (*set)(gen *ctx, const OSSL_PARAM *p);
} setters[] = {
    {"uri", ALL, set_uri},
    {"token", ALL, set_token},
    {"object", ALL, set_object},
    {"id", ALL, set_id},
    {"usage", ALL, set_usage},
    {OSSL_PKEY_PARAM_GROUP_NAME, EC_ONLY, set_group},
    {OSSL_PKEY_PARAM_EC_ENCODING, EC_ONLY, set_encoding},
    {OSSL_PKEY_PARAM_RSA_BITS, RSA_ONLY, set_bits},
    {OSSL_PKEY_PARAM_RSA_PRIMES, RSA_ONLY, set_primes},
    {OSSL_PKEY_PARAM_RSA_E, RSA_ONLY, set_exponent},
    {OSSL_PKEY_PARAM_RSA_DIGEST, PSS_ONLY, set_pss_digest},
    {OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, PSS_ONLY, set_pss_mgf1},
    {OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, PSS_ONLY, set_pss_salt},
};

#define ALL_PARAMS                                                                                                    \
    OSSL_PARAM_utf8_string("uri", NULL, 0), OSSL_PARAM_utf8_string("token", NULL, 0),                                 \
        OSSL_PARAM_utf8_string("object", NULL, 0), OSSL_PARAM_utf8_string("id", NULL, 0),                             \
        OSSL_PARAM_utf8_string("usage", NULL, 0)
#define RSA_PARAMS                                                                                                    \
    OSSL_PARAM_size_t(OSSL_PKEY_PARAM_RSA_BITS, NULL), OSSL_PARAM_size_t(OSSL_PKEY_PARAM_RSA_PRIMES, NULL),           \
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0)

const OSSL_PARAM *kn_ossl_gen_settable(void *arg, void *provctx)
{
    static const OSSL_PARAM all[] = {ALL_PARAMS, OSSL_PARAM_END};
    static const OSSL_PARAM ec[] = {ALL_PARAMS, OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                    OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, NULL, 0), OSSL_PARAM_END};
    static const OSSL_PARAM rsa[] = {ALL_PARAMS, RSA_PARAMS, OSSL_PARAM_END};
    static const OSSL_PARAM pss[] = {ALL_PARAMS,
                                     RSA_PARAMS,
                                     OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_DIGEST, NULL, 0),
                                     OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_RSA_MGF1_DIGEST, NULL, 0),
                                     OSSL_PARAM_int(OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, NULL),
                                     OSSL_PARAM_END};
    const gen *ctx = arg;
    (void)provctx;
    if (ctx->kind->type == KN_KEY_EC)
        return ec;
    if (ctx->kind->type != KN_KEY_RSA)
        return all;
    return ctx->kind->pss ? pss : rsa;
}

static bool is_for(const kn_ossl_kind *kind, int whose)
{
    return whose == ALL || (whose == EC_ONLY && kind->type == KN_KEY_EC) ||
           (whose == RSA_ONLY && kind->type == KN_KEY_RSA) || (whose == PSS_ONLY && kind->pss);
}

int kn_ossl_gen_set_params(void *arg, const OSSL_PARAM params[])
{
    gen *ctx = arg;
    for (size_t i = 0; params && i < sizeof setters / sizeof *setters; i++) {
        const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, setters[i].name);
        if (p && is_for(ctx->kind, setters[i].whose) && !setters[i].set(ctx, p))
            return 0;
    }
    return 1;
}

/* ---- making ---- */

/* Adds ";NAME=VALUE" with what RFC 7512 reserves percent-encoded. */
static void add_part(char *uri, size_t size, const char *name, const char *value)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t used = strlen(uri);
    if (!*value)
        return;
    (void)snprintf(uri + used, size - used, "%s%s=", uri[used - 1] == ':' ? "" : ";", name);
    for (; *value; value++) {
        used = strlen(uri);
        (void)snprintf(uri + used, size - used, strchr(plain, *value) ? "%c" : "%%%02x", (unsigned char)*value);
    }
}

static void add_id(char *uri, size_t size, const char *hex)
{
    size_t used = strlen(uri);
    if (!*hex)
        return;
    (void)snprintf(uri + used, size - used, "%sid=", uri[used - 1] == ':' ? "" : ";");
    for (; *hex; hex += 2) {
        used = strlen(uri);
        (void)snprintf(uri + used, size - used, "%%%.2s", hex);
    }
}

/* The URI, or one of the parts that were given. Room for each byte percent-encoded. */
static kn_err uri_of(const gen *ctx, char *ret_uri, size_t size)
{
    if (kn_uri_has_pin(ctx->uri)) /* before the key is made, not when its alias is written */
        return kn_fail(KN_E_ALIAS_SECRET, "the URI of a new key has pin-value");
    bool parts = *ctx->token || *ctx->object || *ctx->id;
    if (*ctx->uri && parts)
        return kn_fail(KN_E_URI_MALFORMED, "a new key has either uri, or token, object and id");
    if (!*ctx->uri && !*ctx->object && !*ctx->id)
        return kn_fail(KN_E_URI_MALFORMED,
                       "a new %s key is made in a token and needs a name there: -pkeyopt uri:'pkcs11:token=...;object=...'",
                       ctx->kind->name);
    (void)snprintf(ret_uri, size, "%s", *ctx->uri ? ctx->uri : "pkcs11:");
    add_part(ret_uri, size, "token", ctx->token);
    add_part(ret_uri, size, "object", ctx->object);
    add_id(ret_uri, size, ctx->id);
    return kn_success();
}

void *kn_ossl_gen_run(void *arg, OSSL_CALLBACK *progress, void *progress_arg)
{
    gen *ctx = arg;
    char uri[3 * 3 * GEN_TEXT_MAX];
    kn_key *key = NULL;
    kn_err err = kn_success();
    (void)progress, (void)progress_arg; /* a token does not tell */
    if (!ctx->spec.alg)
        err = kn_fail(KN_E_KEY_TYPE, "a new EC key needs a curve: -pkeyopt group:P-256");
    else if (!(ctx->selection & OSSL_KEYMGMT_SELECT_KEYPAIR))
        return kn_ossl_key_without(ctx->prov, ctx->kind, &(kn_public){.alg = ctx->spec.alg});
    if (ctx->spec.pss_mgf1 && !ctx->spec.pss_digest)
        err = kn_fail(KN_E_DIGEST, "an RSA-PSS key with MGF1 of %s needs a digest, too", ctx->spec.pss_mgf1->name);
    if (ctx->spec.pss_digest && !ctx->spec.pss_mgf1)
        ctx->spec.pss_mgf1 = ctx->spec.pss_digest;
    if (ctx->has_salt && !ctx->spec.pss_digest)
        err = kn_fail(KN_E_DIGEST, "an RSA-PSS key with a least salt length needs a digest, too");
    if (!ctx->has_salt && ctx->spec.pss_digest)
        ctx->spec.pss_salt_min = 20; /* as OpenSSL's own keys */
    if (!kn_failed(err))
        err = uri_of(ctx, uri, sizeof uri);
    if (!kn_failed(err))
        err = kn_key_make(kn_ossl_backends_ready(ctx->prov), uri, &ctx->spec, &key);
    if (kn_failed(err)) {
        (void)kn_ossl_raise(ctx->prov, err);
        return NULL;
    }
    return kn_ossl_key_new(ctx->prov, key);
}
