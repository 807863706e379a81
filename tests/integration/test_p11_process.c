/* One process and its threads, children, sessions and neighbours. */
#include "kn_cert.h"
#include "kn_key.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define URI          "pkcs11:token=process;object=device"
#define HANG_SECONDS 60 /* a test that takes longer hangs */

static test_token *token;
static shim *s;
static EVP_PKEY *public;

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("process");
    s = shim_new(token);
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = NULL;
    if (kn_failed(kn_key_generate(ctx, URI, kn_alg_by_name("EC:P-256"), &key)))
        return -1;
    public = test_key_public(kn_key_public(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    EVP_PKEY *ca = test_key_new("P-256");
    X509 *root = test_cert_new("root", ca, NULL, ca, true), *leaf = test_cert_new("device", public, root, ca, false);
    kn_certs certs = {.count = 0};
    test_certs_add(&certs, leaf);
    ctx = test_token_context(token);
    kn_err err = kn_cert_write_chain(ctx, URI, &certs); /* key, public key and certificate, all named "device" */
    kn_ctx_unref(&ctx);
    kn_certs_free(&certs);
    X509_free(root);
    X509_free(leaf);
    EVP_PKEY_free(ca);
    return kn_failed(err) ? -1 : 0;
}

static int remove_token(void **state)
{
    (void)state;
    EVP_PKEY_free(public);
    shim_free(&s);
    test_token_free(&token);
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    shim_calm(s);
    (void)alarm(HANG_SECONDS);
    return 0;
}

static int calm(void **state)
{
    (void)state;
    (void)alarm(0);
    return 0;
}

/* In a child, kn_proc.c makes a new lock of the one that the parent's thread holds; ThreadSanitizer takes it for held. */
static void skip_with_thread_sanitizer(void)
{
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer does not follow a lock into the child\n");
    skip();
#endif
}

static unsigned calls(shim_call call)
{
    return atomic_load(&s->calls[call]);
}

static kn_key *opened(kn_ctx *ctx)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    assert_ok(kn_alias_new(URI, NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    kn_alias_free(&alias);
    return key;
}

/* Also for threads and children: no assertion inside. */
static kn_err sign_once(kn_key *key)
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
    bool good = EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, signature, length, digest, sizeof digest) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good ? kn_success() : kn_fail(KN_E_CRYPTO, "a signature does not verify");
}

typedef struct worker {
    pthread_t thread;
    kn_key *key;
    unsigned rounds;
    const atomic_bool *stop; /* NULL: only @rounds count */
    atomic_uint done;
    kn_code code;
    char detail[256];
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    for (unsigned i = 0; i < w->rounds && !(w->stop && atomic_load(w->stop)); i++) {
        /* until stopped, without a pause between two calls: a fork must find its turn all the same */
        kn_err err = w->stop ? kn_key_sign(w->key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length) : sign_once(w->key);
        if (kn_failed(err)) {
            w->code = err.code;
            (void)snprintf(w->detail, sizeof w->detail, "%s", kn_err_detail());
            return NULL;
        }
        atomic_fetch_add(&w->done, 1);
    }
    return NULL;
}

static void start(worker *w, size_t count, kn_key *key, unsigned rounds, const atomic_bool *stop)
{
    memset(w, 0, count * sizeof *w);
    for (size_t i = 0; i < count; i++) {
        w[i].key = key;
        w[i].rounds = rounds;
        w[i].stop = stop;
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
}

static void finish(worker *w, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        if (w[i].code != KN_OK)
            fail_msg("thread %zu: %s: %s", i, kn_code_name(w[i].code), w[i].detail);
        if (!w[i].stop)
            assert_int_equal(atomic_load(&w[i].done), w[i].rounds);
    }
}

/* A child that signs a few times and tells with its exit code. It never comes back to the test. */
static pid_t child_signs(kn_key *key)
{
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(HANG_SECONDS); /* the parent's is not inherited */
        for (int i = 0; i < 5; i++)
            if (kn_failed(sign_once(key))) {
                (void)fprintf(stderr, "child: %s\n", kn_err_detail());
                _exit(1);
            }
        _exit(0);
    }
    return child;
}

static void ends_well(pid_t child)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_calls(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    assert_in_range(shim_total(s), 1, 12);
    assert_int_equal(calls(SHIM_C_Login), 1);
    assert_int_equal(calls(SHIM_C_FindObjectsInit), 1);
    assert_ok(sign_once(key));
    shim_reset_calls(s);
    for (int i = 0; i < 100; i++)
        assert_ok(sign_once(key));
    assert_int_equal(shim_total(s), 200);
    assert_int_equal(calls(SHIM_C_SignInit), 100);
    assert_int_equal(calls(SHIM_C_Sign), 100);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count;
}

static void test_nothing_is_left_open(void **state)
{
    unsigned before = 0;
    (void)state;
    for (int i = 0; i < 20; i++) {
        kn_ctx *ctx = shim_context(token->pin_file);
        kn_key *key = opened(ctx);
        assert_ok(sign_once(key));
        assert_true(atomic_load(&s->sessions) > 0);
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);
        assert_int_equal(atomic_load(&s->sessions), 0);
        if (i == 0)
            before = descriptors();
    }
    assert_int_equal(descriptors(), before);
    assert_int_equal(calls(SHIM_C_OpenSession), calls(SHIM_C_CloseSession));
    assert_int_equal(calls(SHIM_C_Finalize), calls(SHIM_C_Initialize));
}

static void test_eight_threads_one_key(void **state)
{
    worker w[8];
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    start(w, COUNT_OF(w), key, 50, NULL);
    finish(w, COUNT_OF(w));
    assert_int_equal(calls(SHIM_C_Sign), 400);
    assert_int_equal(calls(SHIM_C_Login), 1);
    assert_in_range(calls(SHIM_C_OpenSession), 1, 8);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void sixteen_threads(void)
{
    worker w[16];
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    start(w, COUNT_OF(w), key, 20, NULL);
    finish(w, COUNT_OF(w));
    assert_int_equal(calls(SHIM_C_Sign), 320);
    assert_int_equal(calls(SHIM_C_Login), 1);
    assert_true(atomic_load(&s->sessions) <= 2);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    assert_int_equal(atomic_load(&s->sessions), 0);
}

static void test_two_sessions_advertised(void **state)
{
    (void)state;
    atomic_store(&s->told_session_count, 2);
    atomic_store(&s->session_cap, 2);
    sixteen_threads();
    assert_in_range(calls(SHIM_C_OpenSession), 1, 2); /* it knew, and never asked for a third */
}

static void test_two_sessions_not_advertised(void **state)
{
    (void)state;
    atomic_store(&s->session_cap, 2);
    sixteen_threads();
    assert_in_range(calls(SHIM_C_OpenSession), 1, 32); /* it learned, and did not ask again and again */
}

static void test_one_session(void **state)
{
    (void)state;
    atomic_store(&s->session_cap, 1);
    sixteen_threads();
}

/* A token that stays full is an error in time, and no endless loop. */
static void test_no_session_at_all(void **state)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)state;
    shim_fail(s, SHIM_C_OpenSession, CKR_SESSION_COUNT, 1000000);
    const kn_config config = {.module_path = shim_module, .pin_source = token->pin_file, .session_wait_ms = 50};
    kn_ctx *ctx = NULL;
    assert_ok(kn_ctx_new(&config, &ctx));
    assert_ok(kn_alias_new(URI, NULL, &alias));
    assert_error(KN_E_SESSION_LIMIT, kn_key_open(ctx, alias, &key));
    assert_detail("'process'");
    assert_in_range(calls(SHIM_C_OpenSession), 1, 10);
    shim_fail(s, SHIM_C_OpenSession, CKR_OK, 0);
    assert_ok(kn_key_open(ctx, alias, &key));
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
}

static void test_sessions_closed_behind_our_back(void **state)
{
    worker w[4];
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    for (int i = 0; i < 3; i++) {
        start(w, COUNT_OF(w), key, 5, NULL); /* more than one session */
        finish(w, COUNT_OF(w));
        unsigned logins = calls(SHIM_C_Login);
        raw_close_all_sessions(token);
        assert_ok(sign_once(key));
        assert_int_equal(calls(SHIM_C_Login), logins + 1);
        assert_ok(sign_once(key));
        assert_int_equal(calls(SHIM_C_Login), logins + 1);
    }
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_logout_by_somebody_else(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx), *second;
    for (int i = 0; i < 3; i++) {
        raw r = raw_open(token);
        raw_logout(&r);
        raw_close(&r);
        unsigned logins = calls(SHIM_C_Login);
        assert_ok(sign_once(key));
        assert_int_equal(calls(SHIM_C_Login), logins + 1);
    }
    raw r = raw_open(token);
    raw_logout(&r);
    raw_close(&r);
    second = opened(ctx); /* the key is not "missing" */
    assert_ok(sign_once(second));
    kn_key_unref(&second);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* Errors that prove that nothing was signed are mended once; the others are named. Sessions are not lost by it. */
static void test_one_error_of_a_call(void **state)
{
    static const struct {
        CK_RV rv;
        bool recovers_init, recovers_sign;
    } rows[] = {
        {CKR_DEVICE_ERROR, true, false},          {CKR_DEVICE_REMOVED, true, false},
        {CKR_USER_NOT_LOGGED_IN, true, true},     {CKR_SESSION_HANDLE_INVALID, true, true},
        {CKR_SESSION_CLOSED, true, false},        {CKR_KEY_HANDLE_INVALID, true, true},
        {CKR_OBJECT_HANDLE_INVALID, true, true},  {CKR_OPERATION_ACTIVE, true, true},
        {CKR_OPERATION_NOT_INITIALIZED, true, true}, {CKR_TOKEN_NOT_PRESENT, true, true},
        {CKR_CRYPTOKI_NOT_INITIALIZED, true, true}, {CKR_GENERAL_ERROR, false, false},
        {CKR_FUNCTION_FAILED, false, false},      {CKR_HOST_MEMORY, false, false},
    };
    worker w[4];
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        start(w, COUNT_OF(w), key, 5, NULL); /* several sessions are idle */
        finish(w, COUNT_OF(w));
        const char *name = "";
        for (int sign = 0; sign < 2; sign++) {
            shim_fail(s, sign ? SHIM_C_Sign : SHIM_C_SignInit, rows[i].rv, 1);
            unsigned signs = calls(SHIM_C_Sign);
            kn_err err = sign_once(key);
            bool recovers = sign ? rows[i].recovers_sign : rows[i].recovers_init;
            name = sign ? "C_Sign" : "C_SignInit";
            if (kn_failed(err) == recovers)
                fail_msg("0x%lx from %s: %s", rows[i].rv, name, recovers ? kn_err_detail() : "repeated");
            if (kn_failed(err))
                assert_detail(name);
            assert_int_equal(calls(SHIM_C_Sign), signs + (sign ? 1 + (recovers ? 1u : 0u) : (recovers ? 1u : 0u)));
            assert_ok(sign_once(key)); /* nothing is poisoned */
        }
    }
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* Errors in a row must not leave sessions behind, of which a token may have few. */
static void test_errors_lose_no_sessions(void **state)
{
    static const CK_RV values[] = {CKR_DEVICE_ERROR, CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED};
    worker w[4];
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < COUNT_OF(values); i++) {
            start(w, COUNT_OF(w), key, 3, NULL);
            finish(w, COUNT_OF(w));
            shim_fail(s, SHIM_C_SignInit, values[i], 1);
            assert_ok(sign_once(key));
            assert_in_range(atomic_load(&s->sessions), 1, COUNT_OF(w));
        }
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_child_and_parent(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    assert_ok(sign_once(key));
    ends_well(child_signs(key));
    assert_ok(sign_once(key));
    pid_t children[8];
    for (size_t i = 0; i < COUNT_OF(children); i++)
        children[i] = child_signs(key);
    for (size_t i = 0; i < COUNT_OF(children); i++)
        ends_well(children[i]);
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* The key was opened, but nothing was asked of the token before the fork. */
static void test_first_use_in_the_child(void **state)
{
    kn_alias *alias = NULL;
    (void)state;
    skip_with_thread_sanitizer();
    kn_ctx *ctx = shim_context(token->pin_file);
    pid_t child = fork();
    if (child == 0) {
        kn_key *key = NULL;
        bool good = !kn_failed(kn_alias_new(URI, NULL, &alias)) && !kn_failed(kn_key_open(ctx, alias, &key)) &&
                    !kn_failed(sign_once(key));
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);
        _exit(good ? 0 : 1);
    }
    ends_well(child);
    kn_key *key = opened(ctx);
    child = fork(); /* and a grandchild */
    if (child == 0) {
        pid_t grandchild = child_signs(key);
        int status = 1;
        (void)waitpid(grandchild, &status, 0);
        _exit(status == 0 && !kn_failed(sign_once(key)) ? 0 : 1);
    }
    ends_well(child);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* A child initialises the module before it does anything else with it, and leaves the parent's sessions alone. */
static void test_child_initialises_first(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    assert_ok(sign_once(key));
    unsigned closed = calls(SHIM_C_CloseSession), begun = calls(SHIM_C_Initialize);
    shim_fail(s, SHIM_C_OpenSession, CKR_FUNCTION_FAILED, 1);
    pid_t child = fork();
    if (child == 0) {
        bool refused = kn_failed(sign_once(key)); /* C_OpenSession failed: was C_Initialize called by then? */
        bool first = calls(SHIM_C_Initialize) == begun + 1;
        _exit(refused && first ? 0 : 1);
    }
    ends_well(child);
    assert_int_equal(calls(SHIM_C_CloseSession), closed);
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_fork_while_threads_sign(void **state)
{
    worker w[8];
    atomic_bool stop;
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: the sanitizer's own locks do not survive a fork of several threads\n");
    skip();
#endif
    atomic_init(&stop, false);
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    start(w, COUNT_OF(w), key, 1000000, &stop);
    for (int i = 0; i < 10; i++)
        ends_well(child_signs(key));
    atomic_store(&stop, true);
    finish(w, COUNT_OF(w));
    for (size_t i = 0; i < COUNT_OF(w); i++)
        assert_true(atomic_load(&w[i].done) > 0);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* p11-kit starts the program of a `remote:` module with fork, in the middle of a call of ours. */
static void test_module_that_forks(void **state)
{
    (void)state;
    skip_with_thread_sanitizer();
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = opened(ctx);
    atomic_store(&s->forks, true);
    assert_ok(sign_once(key));
    atomic_store(&s->forks, false);
    assert_ok(sign_once(key));
    ends_well(child_signs(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_two_contexts(void **state)
{
    (void)state;
    kn_ctx *one = shim_context(token->pin_file), *two = shim_context(token->pin_file);
    kn_key *first = opened(one), *second = opened(two);
    assert_ok(sign_once(first));
    kn_key_unref(&first);
    kn_ctx_unref(&one); /* its end is not that of the other */
    assert_ok(sign_once(second));
    kn_key_unref(&second);
    kn_ctx_unref(&two);
    assert_int_equal(atomic_load(&s->sessions), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, calm)
    const struct CMUnitTest tests[] = {
        TEST(test_calls),
        TEST(test_nothing_is_left_open),
        TEST(test_eight_threads_one_key),
        TEST(test_two_sessions_advertised),
        TEST(test_two_sessions_not_advertised),
        TEST(test_one_session),
        TEST(test_no_session_at_all),
        TEST(test_sessions_closed_behind_our_back),
        TEST(test_logout_by_somebody_else),
        TEST(test_one_error_of_a_call),
        TEST(test_errors_lose_no_sessions),
        TEST(test_two_contexts),
        TEST(test_child_and_parent),
        TEST(test_first_use_in_the_child),
        TEST(test_child_initialises_first),
        TEST(test_fork_while_threads_sign),
        TEST(test_module_that_forks),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
