#include "bench_tpm.h"

#include "support/swtpm.h"

#include "kn_alias.h"
#include "kn_ctx.h"
#include "kn_secret.h"
#include "kn_token.h"
#include "tpm2/tpm2_tss_key.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#define PKCS11_LABEL "bench"
#define PARENT       "0x81000300" /* of the keys in files */

static kn_ctx *ctx; /* for keys that are not in tpm2-pkcs11, which keeps a slot and a session until it is finalized */
static char pin_path[128];
static const uint8_t text[64] = {1}, digest[32] = {2};
static const kn_sign_how pkcs1 = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA256]};

void bench_tpm_need(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "bench_tpm: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void need_ok(kn_err err, const char *what)
{
    if (kn_failed(err))
        (void)fprintf(stderr, "bench_tpm: %s: %s\n", kn_code_name(err.code), kn_err_detail());
    bench_tpm_need(!kn_failed(err), what);
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", swtpm_dir, name);
    return path;
}

static const char *uri_of(const bench_tpm_key *key)
{
    static char uri[700];
    if (key->handle)
        (void)snprintf(uri, sizeof uri, "tpm2:handle=%s;tcti=%s", key->handle, swtpm_tcti);
    else
        (void)snprintf(uri, sizeof uri, "tpm2:file=%s;tcti=%s", path_of(key->file), swtpm_tcti);
    return uri;
}

static bool is_rsa(const bench_tpm_key *key)
{
    return kn_alg_by_name(key->alg)->type == KN_KEY_RSA;
}

/* ---- Esys_Sign in a loop: what everything is measured by ---- */

static void sign_raw(bench_tpm_contender *c)
{
    static const TPMT_TK_HASHCHECK no_ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
    TPMT_SIG_SCHEME scheme = {.scheme = c->rsa ? TPM2_ALG_RSASSA : TPM2_ALG_ECDSA, .details.any.hashAlg = TPM2_ALG_SHA256};
    TPM2B_DIGEST signed_digest = {.size = sizeof digest};
    TPMT_SIGNATURE *made = NULL;
    memcpy(signed_digest.buffer, digest, sizeof digest);
    bench_tpm_need(!c->saved || Esys_ContextLoad(c->esys, c->saved, &c->object) == TSS2_RC_SUCCESS, "Esys_ContextLoad");
    bench_tpm_need(Esys_Sign(c->esys, c->object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &signed_digest, &scheme, &no_ticket,
                             &made) == TSS2_RC_SUCCESS,
                   "Esys_Sign");
    bench_tpm_need(!c->saved || Esys_FlushContext(c->esys, c->object) == TSS2_RC_SUCCESS, "Esys_FlushContext");
    Esys_Free(made);
}

static void raw_load(bench_tpm_contender *c, const char *path)
{
    tpm2_tss_key key;
    ESYS_TR parent = ESYS_TR_NONE;
    need_ok(tpm2_tss_key_read(path, &key), path);
    bench_tpm_need(Esys_TR_FromTPMPublic(c->esys, key.parent, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &parent) == TSS2_RC_SUCCESS &&
                       Esys_Load(c->esys, parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &key.private, &key.public,
                                 &c->object) == TSS2_RC_SUCCESS,
                   "Esys_Load");
}

bench_tpm_contender bench_tpm_raw(const bench_tpm_key *key)
{
    bench_tpm_contender c = {.name = "raw Esys_Sign loop", .sign = sign_raw, .rsa = is_rsa(key)};
    TSS2_TCTI_CONTEXT *tcti = NULL;
    bench_tpm_need(Tss2_TctiLdr_Initialize(swtpm_tcti, &tcti) == TSS2_RC_SUCCESS &&
                       Esys_Initialize(&c.esys, tcti, NULL) == TSS2_RC_SUCCESS,
                   "Esys_Initialize");
    c.transient = !key->handle;
    if (c.transient)
        raw_load(&c, path_of(key->file));
    else
        bench_tpm_need(Esys_TR_FromTPMPublic(c.esys, (TPM2_HANDLE)strtoul(key->handle, NULL, 16), ESYS_TR_NONE, ESYS_TR_NONE,
                                             ESYS_TR_NONE, &c.object) == TSS2_RC_SUCCESS,
                       "Esys_TR_FromTPMPublic");
    return c;
}

bench_tpm_contender bench_tpm_raw_context(const bench_tpm_key *key)
{
    bench_tpm_contender c = bench_tpm_raw(key);
    c.name = BENCH_TPM_EACH_LOADED;
    bench_tpm_need(Esys_ContextSave(c.esys, c.object, &c.saved) == TSS2_RC_SUCCESS, "Esys_ContextSave");
    bench_tpm_need(Esys_FlushContext(c.esys, c.object) == TSS2_RC_SUCCESS, "Esys_FlushContext");
    c.transient = false;
    return c;
}

/* ---- the backends' face ---- */

static kn_err sign_once(bench_tpm_contender *c)
{
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t length = 0;
    return kn_key_sign(c->key, c->rsa ? &pkcs1 : &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
}

static void sign_face(bench_tpm_contender *c)
{
    need_ok(sign_once(c), c->name);
}

bool bench_tpm_signs(bench_tpm_contender *c)
{
    return !kn_failed(sign_once(c));
}

static kn_key *open_key(kn_ctx *in, const char *uri)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    need_ok(kn_alias_new(uri, NULL, &alias), uri);
    need_ok(kn_key_open(in, alias, &key), uri);
    kn_alias_free(&alias);
    return key;
}

bench_tpm_contender bench_tpm_face(const bench_tpm_key *key)
{
    return (bench_tpm_contender){.name = "keynym, kn_key_sign", .sign = sign_face, .rsa = is_rsa(key), .key = open_key(ctx, uri_of(key))};
}

/* ---- providers ---- */

static void load(bench_tpm_contender *c, const char *name, const char *uri)
{
    c->libctx = OSSL_LIB_CTX_new();
    bench_tpm_need(c->libctx, name);
    if (!strcmp(name, "keynym"))
        bench_tpm_need(OSSL_PROVIDER_set_default_search_path(c->libctx, KEYNYM_MODULE_DIR) == 1, name);
    c->providers[0] = OSSL_PROVIDER_load(c->libctx, "default");
    c->providers[1] = OSSL_PROVIDER_load(c->libctx, name);
    bench_tpm_need(c->providers[0] && c->providers[1], name);
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, c->libctx, c->properties, NULL, NULL, NULL, NULL, NULL);
    while (store && !c->pkey && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            c->pkey = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    (void)OSSL_STORE_close(store);
    bench_tpm_need(c->pkey, uri);
    ERR_clear_error(); /* of decoders that took the file for something else */
}

static void sign_digest(bench_tpm_contender *c)
{
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t length = sizeof signature;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bench_tpm_need(EVP_DigestSignInit_ex(md, NULL, "SHA256", c->libctx, c->properties, c->pkey, NULL) == 1 &&
                       EVP_DigestSign(md, signature, &length, text, sizeof text) == 1,
                   c->name);
    EVP_MD_CTX_free(md);
}

static void sign_hashed(bench_tpm_contender *c)
{
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t length = sizeof signature;
    EVP_PKEY_CTX *pkey = EVP_PKEY_CTX_new_from_pkey(c->libctx, c->pkey, c->properties);
    bench_tpm_need(pkey && EVP_PKEY_sign_init(pkey) == 1 &&
                       (!c->rsa || EVP_PKEY_CTX_set_rsa_padding(pkey, RSA_PKCS1_PADDING) == 1) &&
                       EVP_PKEY_CTX_set_signature_md(pkey, EVP_sha256()) == 1 &&
                       EVP_PKEY_sign(pkey, signature, &length, digest, sizeof digest) == 1,
                   c->name);
    EVP_PKEY_CTX_free(pkey);
}

bench_tpm_contender bench_tpm_provider(const bench_tpm_key *key)
{
    bench_tpm_contender c = {.name = "keynym, EVP_DigestSign", .sign = sign_digest, .rsa = is_rsa(key)};
    load(&c, "keynym", uri_of(key));
    return c;
}

bench_tpm_contender bench_tpm_openssl(const bench_tpm_key *key)
{
    bench_tpm_contender c = {.name = "tpm2-openssl, EVP_PKEY_sign", .sign = sign_hashed, .rsa = is_rsa(key),
                             .properties = "?provider=tpm2,tpm2.digest!=yes"};
    char uri[64];
    if (access(TPM2_OPENSSL, R_OK)) {
        c.missing = TPM2_OPENSSL " is not installed (package tpm2-openssl)";
        return c;
    }
    (void)snprintf(uri, sizeof uri, "handle:%s", key->handle ? key->handle : "");
    load(&c, "tpm2", key->handle ? uri : path_of(key->file));
    return c;
}

bench_tpm_contender bench_tpm_openssl_digest(const bench_tpm_contender *hashed)
{
    bench_tpm_contender c = *hashed;
    c.name = "tpm2-openssl, EVP_DigestSign";
    c.sign = sign_digest;
    c.borrowed = true;
    return c;
}

/* ---- tpm2-pkcs11 ---- */

static const char *pkcs11_uri(const char *object)
{
    static char uri[512];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=" PKCS11_LABEL "%s%s?pin-source=%s&module-path=%s", object ? ";object=" : "",
                   object ? object : "", pin_path, TPM2_PKCS11);
    return uri;
}

bench_tpm_contender bench_tpm_pkcs11(const bench_tpm_key *key)
{
    bench_tpm_contender c = {.name = "tpm2-pkcs11 by keynym, kn_key_sign", .sign = sign_face, .rsa = is_rsa(key)};
    if (access(TPM2_PKCS11, R_OK))
        c.missing = TPM2_PKCS11 " is not installed (package libtpm2-pkcs11-1)";
    if (c.missing)
        return c;
    need_ok(kn_ctx_new(NULL, &c.ctx), "kn_ctx_new");
    c.key = open_key(c.ctx, pkcs11_uri(c.rsa ? "rsa" : "ec"));
    return c;
}

static void make_token(void)
{
    static const char pin[] = "bench-pin";
    const kn_key_spec ec = {.alg = kn_alg_by_name("EC:P-256")};
    const kn_key_spec rsa = {.alg = kn_alg_by_name("RSA:2048"), .uses = KN_USE_SIGN | KN_USE_DECRYPT};
    kn_secret *secret = NULL;
    kn_key *key = NULL;
    kn_ctx *own = NULL;
    need_ok(kn_ctx_new(NULL, &own), "kn_ctx_new");
    bench_tpm_need(mkdir(path_of("store"), 0700) == 0 && setenv("TPM2_PKCS11_STORE", path_of("store"), 1) == 0, "the store");
    (void)snprintf(pin_path, sizeof pin_path, "%s/pin", swtpm_dir);
    FILE *file = fopen(pin_path, "w");
    bench_tpm_need(file && fchmod(fileno(file), 0600) == 0 && fputs(pin, file) >= 0 && fclose(file) == 0, pin_path);
    need_ok(kn_secret_new(pin, sizeof pin - 1, &secret), "the PIN");
    need_ok(kn_token_init(own, pkcs11_uri(NULL), secret, secret), "kn_token_init");
    kn_secret_free(&secret);
    need_ok(kn_key_make(own, pkcs11_uri("ec"), &ec, &key), "tpm2-pkcs11's EC key");
    kn_key_unref(&key);
    need_ok(kn_key_make(own, pkcs11_uri("rsa"), &rsa, &key), "tpm2-pkcs11's RSA key");
    kn_key_unref(&key);
    kn_ctx_unref(&own);
}

/* ---- all of them ---- */

static void tools(const char *commands)
{
    char command[500];
    (void)snprintf(command, sizeof command, "export TPM2TOOLS_TCTI=swtpm:path=%s/s; cd %s && %s", swtpm_dir, swtpm_dir, commands);
    bench_tpm_need(system(command) == 0, commands);
}

void bench_tpm_set_up(const bench_tpm_key *keys, unsigned count, bool token)
{
    swtpm_set_up();
    bench_tpm_need(setenv("TPM2OPENSSL_TCTI", swtpm_tcti, 1) == 0 && setenv("TPM2_PKCS11_TCTI", swtpm_tcti, 1) == 0 &&
                       setenv("TPM2_PKCS11_LOG_LEVEL", "0", 1) == 0,
                   "the environment");
    need_ok(kn_ctx_new(NULL, &ctx), "kn_ctx_new");
    tools("tpm2_createprimary -Q -C o -G ecc -c p.ctx -a "
          "'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt|noda' && "
          "tpm2_evictcontrol -Q -C o -c p.ctx " PARENT " && tpm2_flushcontext -t");
    for (unsigned i = 0; i < count; i++) {
        kn_key *key = NULL;
        char uri[800];
        (void)snprintf(uri, sizeof uri, "%s%s", uri_of(&keys[i]), keys[i].handle ? "" : ";parent=" PARENT);
        need_ok(kn_key_generate(ctx, uri, kn_alg_by_name(keys[i].alg), &key), uri);
        kn_key_unref(&key);
    }
    if (!token || access(TPM2_PKCS11, R_OK))
        return;
    make_token();
    tools("tpm2_flushcontext -t"); /* C_InitToken leaves its primary key in a slot */
}

void bench_tpm_close(bench_tpm_contender *c)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    kn_key_unref(&c->key);
    kn_ctx_unref(&c->ctx);
    if (!c->borrowed) {
        EVP_PKEY_free(c->pkey);
        for (int i = 1; i >= 0; i--)
            if (c->providers[i])
                (void)OSSL_PROVIDER_unload(c->providers[i]);
        OSSL_LIB_CTX_free(c->libctx);
    }
    if (c->esys) {
        (void)Esys_GetTcti(c->esys, &tcti);
        if (c->transient)
            (void)Esys_FlushContext(c->esys, c->object);
        Esys_Free(c->saved);
        Esys_Finalize(&c->esys);
        Tss2_TctiLdr_Finalize(&tcti);
    }
    *c = (bench_tpm_contender){.name = c->name, .missing = c->missing};
}

void bench_tpm_tear_down(void)
{
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
}
