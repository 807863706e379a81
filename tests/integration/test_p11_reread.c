/* A process that started at a bad moment: SoftHSM 2.6.1 cuts token.object to nothing before it writes it
 * anew, at every login, and reads it in C_Initialize only. */
#include "kn_key.h"

#include "support/kn_check.h"
#include "support/p11_shim.h"

#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define URI          "pkcs11:token=reread;object=device"
#define HANG_SECONDS 60

static test_token *token;
static shim *s;
static char path[512];   /* of token.object */
static char bytes[4096]; /* what is in it */
static size_t length;

static void write_back(size_t count)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, count, file) != count || fclose(file))
        abort();
}

static int make_token(void **state)
{
    glob_t found;
    kn_key *key = NULL;
    (void)state;
    token = test_token_new("reread");
    s = shim_new(token);
    kn_ctx *ctx = test_token_context(token);
    kn_err err = kn_key_generate(ctx, URI, kn_alg_by_name("EC:P-256"), &key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    if (kn_failed(err) || glob(test_token_path(token, "tokens/*/token.object"), 0, NULL, &found))
        return -1;
    (void)snprintf(path, sizeof path, "%s", found.gl_pathv[0]);
    globfree(&found);
    FILE *file = fopen(path, "rb");
    length = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    return !length || fclose(file) ? -1 : 0;
}

static int remove_token(void **state)
{
    (void)state;
    shim_free(&s);
    test_token_free(&token);
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    shim_calm(s);
    write_back(length);
    (void)alarm(HANG_SECONDS);
    return 0;
}

static kn_err open_key(kn_ctx *ctx, const char *uri, kn_key **ret_key)
{
    kn_alias *alias = NULL;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

static kn_err sign_once(kn_key *key)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t signature_length = 0;
    return kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &signature_length);
}

static unsigned starts(void)
{
    return atomic_load(&s->calls[SHIM_C_Initialize]);
}

/* The file is whole again when the module was initialised @arg times. */
static void *restorer(void *arg)
{
    while (starts() < *(unsigned *)arg)
        (void)sched_yield();
    write_back(length);
    return NULL;
}

static void test_first_use(void **state)
{
    pthread_t thread;
    unsigned wanted = 2;
    kn_key *key = NULL;
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    write_back(0);
    assert_int_equal(pthread_create(&thread, NULL, restorer, &wanted), 0);
    assert_ok(open_key(ctx, URI, &key));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_first_use_after_fork(void **state)
{
    pthread_t thread;
    kn_key *key = NULL;
    int status = 1;
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer does not follow a lock into the child\n");
    skip();
#endif
    kn_ctx *ctx = shim_context(token->pin_file);
    assert_ok(open_key(ctx, URI, &key));
    assert_ok(sign_once(key));
    unsigned wanted = starts() + 2;
    write_back(0);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(HANG_SECONDS);
        kn_err err = sign_once(key);
        if (kn_failed(err))
            (void)fprintf(stderr, "child: %s\n", kn_err_detail());
        _exit(kn_failed(err) ? 1 : 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, restorer, &wanted), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* A token that never comes costs a few attempts, and no more of them at once. */
static void test_never(void **state)
{
    kn_key *key = NULL;
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    write_back(0);
    assert_error(KN_E_NO_TOKEN, open_key(ctx, URI, &key));
    assert_int_equal(starts(), 5);
    kn_ctx_unref(&ctx);
}

/* A module that is in use stays as it is. */
static void test_module_in_use(void **state)
{
    kn_key *key = NULL, *other = NULL;
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    assert_ok(open_key(ctx, URI, &key));
    unsigned before = starts();
    assert_error(KN_E_NO_TOKEN, open_key(ctx, "pkcs11:token=nowhere;object=device", &other));
    assert_int_equal(starts(), before);
    assert_int_equal(atomic_load(&s->calls[SHIM_C_Finalize]), 0);
    assert_ok(sign_once(key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_use, fresh),
        cmocka_unit_test_setup(test_first_use_after_fork, fresh),
        cmocka_unit_test_setup(test_never, fresh),
        cmocka_unit_test_setup(test_module_in_use, fresh),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
