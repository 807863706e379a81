#include "fault/fault.h"

#include "support/certs.h"

#include <dlfcn.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

test_token *fault_token;
shim *fault_shim;
static EVP_PKEY *public;

int fault_setup(void **state)
{
    kn_key *key = NULL;
    (void)state;
    fault_token = test_token_new("fault");
    kn_ctx *ctx = test_token_context(fault_token);
    kn_err err = kn_key_generate(ctx, FAULT_URI, kn_alg_by_name("EC:P-256"), &key);
    if (!kn_failed(err))
        public = test_key_public(kn_key_public(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    fault_shim = shim_new(fault_token);
    return kn_failed(err) ? -1 : 0;
}

int fault_teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(public);
    shim_free(&fault_shim);
    test_token_free(&fault_token);
    return 0;
}

int fault_calm(void **state)
{
    (void)state;
    shim_calm(fault_shim);
    (void)alarm(FAULT_SECONDS);
    return 0;
}

int fault_end(void **state)
{
    (void)state;
    (void)alarm(0);
    return 0;
}

unsigned fault_calls(shim_call call)
{
    return atomic_load(&fault_shim->calls[call]);
}

unsigned fault_done(shim_call call)
{
    return atomic_load(&fault_shim->done[call]);
}

unsigned fault_sessions(void)
{
    return atomic_load(&fault_shim->sessions);
}

kn_err fault_open_uri(kn_ctx *ctx, const char *uri, kn_key **ret_key)
{
    kn_alias *alias = NULL;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

kn_key *fault_open(kn_ctx *ctx)
{
    kn_key *key = NULL;
    assert_ok(fault_open_uri(ctx, FAULT_URI, &key));
    return key;
}

kn_err fault_sign(kn_key *key)
{
    static atomic_uint counter;
    uint8_t digest[32] = {0}, signature[KN_ECDSA_DER_MAX];
    size_t length = 0;
    unsigned n = atomic_fetch_add(&counter, 1);
    memcpy(digest, &n, sizeof n);
    kn_err err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    if (kn_failed(err))
        return err;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(public, NULL);
    bool good = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
                EVP_PKEY_verify(ctx, signature, length, digest, sizeof digest) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good ? kn_success() : kn_fail(KN_E_CRYPTO, "a signature does not verify");
}

void fault_works(kn_key *key)
{
    unsigned before = fault_done(SHIM_C_Sign);
    for (int i = 0; i < 3; i++)
        assert_ok(fault_sign(key));
    assert_int_equal(fault_done(SHIM_C_Sign), before + 3);
}

unsigned long fault_finalize_real(void)
{
    void *library = dlopen(test_module, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    CK_C_GetFunctionList get;
    CK_FUNCTION_LIST *fn = NULL;
    assert_non_null(library);
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    assert_int_equal(get(&fn), CKR_OK);
    CK_RV rv = fn->C_Finalize(NULL);
    (void)dlclose(library);
    if (fault_shim) /* not in a program that a test starts */
        atomic_store(&fault_shim->sessions, 0);
    return rv;
}

static void *work(void *arg)
{
    fault_worker *w = arg;
    for (unsigned i = 0; i < w->rounds && !(w->stop && atomic_load(w->stop)); i++) {
        kn_err err = fault_sign(w->key);
        if (!kn_failed(err)) {
            atomic_fetch_add(&w->done, 1);
        } else if (atomic_fetch_add(&w->failed, 1) == 0) {
            w->code = err.code;
            (void)snprintf(w->detail, sizeof w->detail, "%s", kn_err_detail());
        }
    }
    return NULL;
}

void fault_start(fault_worker *workers, size_t count, kn_key *key, unsigned rounds, atomic_bool *stop)
{
    memset(workers, 0, count * sizeof *workers);
    for (size_t i = 0; i < count; i++) {
        workers[i].key = key;
        workers[i].rounds = rounds;
        workers[i].stop = stop;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
}

void fault_join(fault_worker *workers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
}

void fault_finish(fault_worker *workers, size_t count)
{
    fault_join(workers, count);
    for (size_t i = 0; i < count; i++) {
        if (atomic_load(&workers[i].failed))
            fail_msg("thread %zu: %u failed: %s: %s", i, atomic_load(&workers[i].failed),
                     kn_code_name(workers[i].code), workers[i].detail);
        if (!workers[i].stop)
            assert_int_equal(atomic_load(&workers[i].done), workers[i].rounds);
    }
}

pid_t fault_child(kn_key *key, unsigned times)
{
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(FAULT_SECONDS); /* the parent's is not inherited */
        for (unsigned i = 0; i < times; i++)
            if (kn_failed(fault_sign(key))) {
                (void)fprintf(stderr, "child: %s\n", kn_err_detail());
                _exit(1);
            }
        _exit(0);
    }
    return child;
}

void fault_ends_well(pid_t child)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

void fault_row(const char *section, const char *fault, const char *format, ...)
{
    const char *dir = getenv("KN_RELIABILITY");
    char path[512], outcome[512];
    va_list args;
    if (!dir)
        return;
    va_start(args, format);
    (void)vsnprintf(outcome, sizeof outcome, format, args);
    va_end(args);
    (void)snprintf(path, sizeof path, "%s/%s", dir, section);
    FILE *file = fopen(path, "a");
    if (!file || fprintf(file, "| %s | %s |\n", fault, outcome) < 0 || fclose(file))
        fail_msg("%s cannot be written", path);
}
