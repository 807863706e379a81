/* token_copy = yes: signatures with a session copy of the key. */
#include "kn_key.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define URI     "pkcs11:token=copy;object=device"
#define THREADS 4

static test_token *token;
static shim *s;
static EVP_PKEY *public;

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("copy");
    s = shim_new(token);
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = NULL;
    if (kn_failed(kn_key_generate(ctx, URI, kn_alg_by_name("EC:P-256"), &key)))
        return -1;
    public = test_key_public(kn_key_public(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return 0;
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
    memset(s, 0, sizeof *s);
    return 0;
}

static unsigned calls(shim_call call)
{
    return atomic_load(&s->calls[call]);
}

static kn_ctx *context(bool token_copy, unsigned sessions_max)
{
    kn_ctx *ctx = NULL;
    kn_config config = {.module_path = shim_module, .pin_source = token->pin_file, .token_copy = token_copy,
                        .sessions_max = sessions_max, .session_wait_ms = 2000};
    assert_ok(kn_ctx_new(&config, &ctx));
    return ctx;
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
static bool signs(kn_key *key)
{
    uint8_t digest[32] = {7}, signature[KN_ECDSA_DER_MAX];
    size_t length = 0;
    if (kn_failed(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length)))
        return false;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(public, NULL);
    bool good = EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, signature, length, digest, sizeof digest) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static void is_off_by_default(void **state)
{
    (void)state;
    kn_ctx *ctx = context(false, 0);
    kn_key *key = opened(ctx);
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 0);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void one_copy_serves_many_signatures(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    assert_int_equal(calls(SHIM_C_CopyObject), 0); /* only when it signs */
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 1);
    shim_reset_calls(s);
    for (int i = 0; i < 50; i++)
        assert_true(signs(key));
    assert_int_equal(shim_total(s), 100);
    kn_custody custody;
    assert_ok(kn_key_inspect(key, &custody)); /* of the key, not of the copy, which is not local */
    assert_true(kn_custody_holds(&custody));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* The shim reads CKA_EXTRACTABLE as true: the copy is destroyed, and the key itself signs. */
static void a_weaker_copy_is_refused(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    atomic_store(&s->says_extractable, true);
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 1);
    assert_int_equal(calls(SHIM_C_DestroyObject), 1);
    shim_reset_calls(s);
    assert_true(signs(key));
    assert_int_equal(shim_total(s), 2); /* and it is not tried again */
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void a_token_that_does_not_copy(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    shim_fail(s, SHIM_C_CopyObject, CKR_FUNCTION_NOT_SUPPORTED, 1);
    assert_true(signs(key));
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 1);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* Its session is closed behind our back, or by us because of an error: another copy is made. */
static void another_copy_after_its_session_went(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    assert_true(signs(key));
    raw_close_all_sessions(token);
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 2);
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    shim_fail(s, SHIM_C_Sign, CKR_FUNCTION_FAILED, 1);
    assert_true(kn_failed(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length)));
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 3);
    /* gone without its session: the token says so */
    shim_fail(s, SHIM_C_SignInit, CKR_OBJECT_HANDLE_INVALID, 1);
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 4);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void one_session_is_enough(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 1);
    kn_key *key = opened(ctx), *other = opened(ctx);
    for (int i = 0; i < 3; i++) {
        assert_true(signs(key));
        assert_true(signs(other));
    }
    assert_int_equal(calls(SHIM_C_CopyObject), 2);
    kn_key_unref(&key);
    kn_key_unref(&other);
    kn_ctx_unref(&ctx);
}

/* Programs that load a key for each connection leave nothing on the token. */
static void the_copy_of_a_freed_key_is_destroyed(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    for (int i = 0; i < 20; i++) {
        kn_key *key = opened(ctx);
        assert_true(signs(key));
        kn_key_unref(&key);
    }
    assert_int_equal(calls(SHIM_C_CopyObject), 20);
    assert_int_equal(calls(SHIM_C_DestroyObject), 19); /* the last one waits */
    kn_ctx_unref(&ctx);
}

static void *work(void *key)
{
    for (int i = 0; i < 50; i++)
        if (!signs(key))
            return (void *)"failed";
    return NULL;
}

static void threads_share_the_copy(void **state)
{
    (void)state;
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, key), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(calls(SHIM_C_CopyObject), 1);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void a_child_makes_its_own(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer does not follow a lock into the child\n");
    skip();
#endif
    kn_ctx *ctx = context(true, 0);
    kn_key *key = opened(ctx);
    assert_true(signs(key));
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(signs(key) && signs(key) ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(signs(key));
    assert_int_equal(calls(SHIM_C_CopyObject), 2);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_off_by_default, fresh),
        cmocka_unit_test_setup(one_copy_serves_many_signatures, fresh),
        cmocka_unit_test_setup(a_weaker_copy_is_refused, fresh),
        cmocka_unit_test_setup(a_token_that_does_not_copy, fresh),
        cmocka_unit_test_setup(another_copy_after_its_session_went, fresh),
        cmocka_unit_test_setup(one_session_is_enough, fresh),
        cmocka_unit_test_setup(the_copy_of_a_freed_key_is_destroyed, fresh),
        cmocka_unit_test_setup(threads_share_the_copy, fresh),
        cmocka_unit_test_setup(a_child_makes_its_own, fresh),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
