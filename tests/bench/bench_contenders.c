#define OPENSSL_SUPPRESS_DEPRECATED /* engines */
#include "bench_null.h"
#include "bench_sign.h"

#include <dlfcn.h>
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static CK_BBOOL no = CK_FALSE;

void bench_need(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "bench: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- C_SignInit and C_Sign in a loop: what everything is measured by ---- */

static CK_SESSION_HANDLE raw_session(const bench_contender *c)
{
    CK_SESSION_HANDLE session;
    bench_need(c->fn->C_OpenSession(c->slot, CKF_SERIAL_SESSION, NULL, NULL, &session) == CKR_OK, "C_OpenSession");
    return session;
}

static CK_OBJECT_HANDLE raw_find(const bench_contender *c, CK_SESSION_HANDLE session)
{
    static CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    static char label[] = BENCH_LABEL;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, sizeof label - 1}};
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    CK_ULONG count = 0;
    bench_need(c->fn->C_FindObjectsInit(session, template, 2) == CKR_OK &&
                   c->fn->C_FindObjects(session, &handle, 1, &count) == CKR_OK &&
                   c->fn->C_FindObjectsFinal(session) == CKR_OK && count == 1,
               "the key");
    return handle;
}

static void sign_raw(const bench_contender *c, const bench_thread *thread, const unsigned char digest[32])
{
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[64];
    CK_ULONG length = sizeof signature;
    bench_need(c->fn->C_SignInit(thread->session, &mechanism, c->handle) == CKR_OK &&
                   c->fn->C_Sign(thread->session, (CK_BYTE *)digest, 32, signature, &length) == CKR_OK,
               c->name);
}

static CK_SLOT_ID raw_slot(CK_FUNCTION_LIST *fn)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    size_t length = strlen(prov_token->label);
    bench_need(fn->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK, "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, prov_token->label, length) &&
            info.label[length] == ' ')
            return slots[i];
    }
    bench_need(false, "the token");
    return 0;
}

bench_contender bench_raw(const bench_target *target)
{
    bench_contender c = {.name = target->copy ? "raw loop, session copy of the key" : "raw loop"};
    void *module = dlopen(target->module, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get = NULL;
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    bench_need(module, target->module);
    *(void **)&get = dlsym(module, "C_GetFunctionList");
    bench_need(get && get(&c.fn) == CKR_OK, target->module);
    CK_RV rv = c.fn->C_Initialize(&args);
    bench_need(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED, "C_Initialize");
    c.slot = raw_slot(c.fn);
    CK_SESSION_HANDLE session = raw_session(&c); /* stays open, and with it the login and the copy */
    rv = c.fn->C_Login(session, CKU_USER, (CK_UTF8CHAR *)prov_token->pin, strlen(prov_token->pin));
    bench_need(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN, "C_Login");
    c.handle = raw_find(&c, session);
    if (target->copy) {
        CK_ATTRIBUTE template[] = {{CKA_TOKEN, &no, sizeof no}};
        bench_need(c.fn->C_CopyObject(session, c.handle, template, 1, &c.handle) == CKR_OK, "C_CopyObject");
    }
    return c;
}

/* ---- providers ---- */

static OSSL_LIB_CTX *context(const char *name, const char *section)
{
    char file[64], text[2048];
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    (void)snprintf(file, sizeof file, "bench-%s.cnf", name);
    (void)snprintf(text, sizeof text,
                   "openssl_conf = init\n[init]\nproviders = providers\n"
                   "[providers]\ndefault = default_section\n%s = own_section\n"
                   "[default_section]\nactivate = 1\n[own_section]\nactivate = 1\n%s",
                   name, section);
    test_token_write(prov_token, file, text);
    bench_need(libctx && OSSL_LIB_CTX_load_config(libctx, test_token_path(prov_token, file)), name);
    bench_need(OSSL_PROVIDER_available(libctx, name), name);
    return libctx;
}

bench_contender bench_null(void)
{
    static unsigned char point[] = {4};
    bench_contender c = {.name = "null provider"};
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
                           OSSL_PARAM_construct_end()};
    c.libctx = context("bench_null", "module = " BENCH_NULL "\n");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(c.libctx, "EC", "provider=bench_null");
    bench_need(ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
                   EVP_PKEY_fromdata(ctx, &c.pkey, EVP_PKEY_PUBLIC_KEY, params) == 1,
               "a key of the null provider");
    EVP_PKEY_CTX_free(ctx);
    return c;
}

/* What the null provider's signature is to do in this thread. */
static _Thread_local struct {
    const bench_contender *c;
    const bench_thread *thread;
} under_null;

static void sign_under_null(const unsigned char digest[32])
{
    if (under_null.c)
        sign_raw(under_null.c, under_null.thread, digest);
}

bench_contender bench_null_over_raw(const bench_target *target)
{
    bench_contender raw = bench_raw(target), c = bench_null();
    void *module = dlopen(BENCH_NULL, RTLD_NOW | RTLD_NOLOAD);
    bench_null_token_fn **token = module ? dlsym(module, BENCH_NULL_TOKEN) : NULL;
    bench_need(token, BENCH_NULL_TOKEN);
    *token = sign_under_null;
    c.name = "null provider over the same two calls";
    c.fn = raw.fn;
    c.slot = raw.slot;
    c.handle = raw.handle;
    return c;
}

static EVP_PKEY *load(OSSL_LIB_CTX *libctx, const char *uri)
{
    const prov p = {.libctx = libctx};
    EVP_PKEY *pkey = prov_load(&p, uri);
    bench_need(pkey, uri);
    return pkey;
}

bench_contender bench_keynym(const bench_target *target)
{
    bench_contender c = {.name = target->copy ? "keynym, token_copy = yes" : "keynym"};
    char section[1024], uri[512];
    (void)snprintf(section, sizeof section, "module = %s/keynym.so\nmodule_path = %s\npin_source = %s\n%s",
                   KEYNYM_MODULE_DIR, target->module, prov_token->pin_file, target->copy ? "token_copy = yes\n" : "");
    c.libctx = context("keynym", section);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s", prov_token->label, BENCH_LABEL);
    c.pkey = load(c.libctx, uri);
    return c;
}

bench_contender bench_pkcs11_provider(const bench_target *target)
{
    bench_contender c = {.name = "pkcs11-provider"};
    char section[1024], uri[512];
    if (access(PKCS11_PROVIDER, R_OK)) {
        c.missing = PKCS11_PROVIDER " is not installed (Debian has pkcs11-provider from release 13 on)";
        return c;
    }
    (void)snprintf(section, sizeof section,
                   "module = %s\npkcs11-module-path = %s\npkcs11-module-token-pin = file:%s\n", PKCS11_PROVIDER,
                   target->module, prov_token->pin_file);
    c.libctx = context("pkcs11", section);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s;type=private", prov_token->label, BENCH_LABEL);
    c.pkey = load(c.libctx, uri);
    return c;
}

/* ---- libp11's engine ---- */

bench_contender bench_engine(const bench_target *target)
{
    bench_contender c = {.name = "libp11's engine", .legacy = EVP_sha256()};
    char uri[512];
    if (access(PKCS11_ENGINE, R_OK)) {
        c.missing = PKCS11_ENGINE " is not installed (package libengine-pkcs11-openssl)";
        return c;
    }
    ENGINE_load_builtin_engines();
    ENGINE *engine = ENGINE_by_id("dynamic");
    bench_need(engine && ENGINE_ctrl_cmd_string(engine, "SO_PATH", PKCS11_ENGINE, 0) == 1 &&
                   ENGINE_ctrl_cmd_string(engine, "ID", "pkcs11", 0) == 1 &&
                   ENGINE_ctrl_cmd_string(engine, "LOAD", NULL, 0) == 1 &&
                   ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", target->module, 0) == 1 &&
                   ENGINE_ctrl_cmd_string(engine, "PIN", prov_token->pin, 0) == 1 && ENGINE_init(engine) == 1,
               "libp11's engine");
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s;type=private", prov_token->label, BENCH_LABEL);
    c.pkey = ENGINE_load_private_key(engine, uri, NULL, NULL);
    bench_need(c.pkey, "libp11's engine: the key");
    return c;
}

/* ---- signing ---- */

bench_thread bench_thread_start(const bench_contender *c)
{
    return (bench_thread){.session = c->fn ? raw_session(c) : 0};
}

void bench_thread_end(const bench_contender *c, bench_thread *thread)
{
    if (c->fn)
        (void)c->fn->C_CloseSession(thread->session);
}

void bench_sign_once(const bench_contender *c, const bench_thread *thread)
{
    static const unsigned char text[64] = {1};
    unsigned char signature[256];
    size_t length = sizeof signature;
    if (!c->pkey) {
        sign_raw(c, thread, text);
        return;
    }
    under_null.c = c->fn ? c : NULL;
    under_null.thread = thread;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int begun = c->legacy ? EVP_DigestSignInit(ctx, NULL, c->legacy, NULL, c->pkey)
                          : EVP_DigestSignInit_ex(ctx, NULL, "SHA256", c->libctx, NULL, c->pkey, NULL);
    bench_need(begun == 1 && EVP_DigestSign(ctx, signature, &length, text, sizeof text) == 1, c->name);
    EVP_MD_CTX_free(ctx);
}
