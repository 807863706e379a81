/* Several modules and tokens in one process at once; modules behind p11-kit-proxy; tables of version 3. */
#include "kn_key.h"
#include "kn_token.h"

#include "support/kn_check.h"
#include "support/module_leaks.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS  25

static test_token *token; /* with two tokens in it: "first" and "second" */
static const char *other; /* another library with another store, that has a token "third" */

static void copy(const char *from_path, const char *to_path)
{
    char bytes[65536];
    size_t length;
    FILE *from = fopen(from_path, "r"), *to = fopen(to_path, "w");
    assert_true(from && to);
    while ((length = fread(bytes, 1, sizeof bytes, from)) > 0)
        assert_int_equal(fwrite(bytes, 1, length, to), length);
    (void)fclose(from);
    assert_int_equal(fclose(to), 0);
}

static kn_ctx *context(const char *modules, const char *pin_source)
{
    kn_ctx *ctx = NULL;
    const kn_config config = {.module_path = modules, .pin_source = pin_source};
    assert_ok(kn_ctx_new(&config, &ctx));
    return ctx;
}

static void generate(kn_ctx *ctx, const char *uri)
{
    kn_key *key = NULL;
    assert_ok(kn_key_generate(ctx, uri, kn_alg_by_name("EC:P-256"), &key));
    kn_key_unref(&key);
}

/* SoftHSM's library is loaded a second time, under another name, and so has a configuration of its own: it reads the
 * environment in C_Initialize. */
static int make_tokens(void **state)
{
    char text[256], uri[400], pin_source[300];
    (void)state;
    token = test_token_new("first");
    test_token_add(token, "second");
    kn_ctx *ctx = test_token_context(token);
    generate(ctx, "pkcs11:token=first;object=one");
    generate(ctx, "pkcs11:token=second;object=two");
    kn_ctx_unref(&ctx);

    static char other_path[300];
    (void)snprintf(other_path, sizeof other_path, "%s/other.so", token->dir);
    other = other_path;
    copy(test_module, other);
    (void)snprintf(text, sizeof text, "mkdir %s/tokens2", token->dir);
    assert_int_equal(system(text), 0);
    (void)snprintf(text, sizeof text, "directories.tokendir = %s/tokens2\nobjectstore.backend = file\nlog.level = ERROR\n",
                   token->dir);
    test_token_write(token, "other.conf", text);
    test_token_write(token, "other-pin", "another-pin-7");
    char *mine = strdup(getenv("SOFTHSM2_CONF"));
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "other.conf"), 1);
    (void)snprintf(pin_source, sizeof pin_source, "%s/other-pin", token->dir);
    ctx = context(other, pin_source);
    kn_secret *pin = NULL;
    assert_ok(kn_secret_new("another-pin-7", 13, &pin));
    assert_ok(kn_token_init(ctx, "pkcs11:token=third", pin, pin));
    kn_secret_free(&pin);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=third;object=three?module-path=%s", other);
    generate(ctx, uri);
    (void)setenv("SOFTHSM2_CONF", mine, 1);
    kn_ctx_unref(&ctx);
    free(mine);
    return 0;
}

static int remove_tokens(void **state)
{
    (void)state;
    test_token_free(&token);
    return 0;
}

static kn_err open_in(kn_ctx *ctx, const char *uri, kn_key **ret_key)
{
    kn_alias *alias = NULL;
    assert_ok(kn_alias_new(uri, NULL, &alias));
    kn_err err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

static kn_err sign(kn_key *key)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    return kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
}

static const char *third_uri(void)
{
    static char uri[700];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=third;object=three?module-path=%s&pin-source=%s/other-pin", other,
                   token->dir);
    return uri;
}

/* Opens a key of each of the three tokens; the third with a module and a PIN of its own. */
static void open_three(kn_ctx *ctx, kn_key *ret_keys[3])
{
    assert_ok(open_in(ctx, "pkcs11:token=first;object=one", &ret_keys[0]));
    assert_ok(open_in(ctx, "pkcs11:token=second;object=two", &ret_keys[1]));
    char *mine = strdup(getenv("SOFTHSM2_CONF"));
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "other.conf"), 1);
    assert_ok(open_in(ctx, third_uri(), &ret_keys[2]));
    (void)setenv("SOFTHSM2_CONF", mine, 1);
    free(mine);
}

static void *sign_in_turn(void *arg)
{
    kn_key **keys = arg;
    for (int i = 0; i < ROUNDS * 3; i++)
        if (kn_failed(sign(keys[i % 3])))
            return arg;
    return NULL;
}

static void test_three_tokens_of_two_modules_at_once(void **state)
{
    kn_key *keys[3] = {NULL, NULL, NULL};
    pthread_t threads[THREADS];
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    open_three(ctx, keys);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_in_turn, keys), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    kn_custody facts;
    static const char *const labels[] = {"first", "second", "third"};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(kn_key_inspect(keys[i], &facts));
        assert_string_equal(facts.token, labels[i]);
        kn_key_unref(&keys[i]);
    }
    kn_ctx_unref(&ctx);
}

/* What befalls one token is nothing to the others. */
static void test_troubles_stay_with_their_token(void **state)
{
    kn_key *keys[3] = {NULL, NULL, NULL}, *none = NULL;
    char uri[400];
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    open_three(ctx, keys);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=fourth;object=x?module-path=%s", other);
    assert_error(KN_E_NO_TOKEN, open_in(ctx, uri, &none)); /* the token that is there is the other module's */
    assert_detail("third");
    assert_detail_lacks("first");
    test_token first = *token;
    first.label = "first";
    raw_close_all_sessions(&first);
    for (size_t i = 0; i < 3; i++)
        assert_ok(sign(keys[i]));
    for (size_t i = 0; i < 3; i++)
        kn_key_unref(&keys[i]);
    kn_ctx_unref(&ctx);

    /* A PIN that is wrong for one token may be right for another: it is remembered for the one only. */
    ctx = context(test_module, NULL);
    test_token_write(token, "swapped-pin", "another-pin-7");
    (void)snprintf(uri, sizeof uri, "pkcs11:token=first;object=one?pin-source=%s/swapped-pin", token->dir);
    assert_error(KN_E_PIN_INCORRECT, open_in(ctx, uri, &none));
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "other.conf"), 1);
    assert_ok(open_in(ctx, third_uri(), &none));
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "softhsm2.conf"), 1);
    kn_key_unref(&none);
    kn_ctx_unref(&ctx);
}

/* Two contexts, as two library contexts of OpenSSL with different configurations have them. */
static void test_two_contexts_with_different_modules(void **state)
{
    kn_key *one = NULL, *three = NULL;
    (void)state;
    kn_ctx *a = test_token_context(token);
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "other.conf"), 1);
    char pin_source[300];
    (void)snprintf(pin_source, sizeof pin_source, "%s/other-pin", token->dir);
    kn_ctx *b = context(other, pin_source);
    assert_ok(open_in(b, "pkcs11:token=third;object=three", &three));
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "softhsm2.conf"), 1);
    assert_ok(open_in(a, "pkcs11:token=first;object=one", &one));
    assert_ok(sign(one));
    assert_ok(sign(three));
    kn_key_unref(&three);
    kn_ctx_unref(&b); /* its module ends; the other context's goes on */
    assert_ok(sign(one));
    kn_key_unref(&one);
    kn_ctx_unref(&a);
}

static const char *proxy_path(void)
{
    static char path[300];
    static const char *const folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
                                          "/usr/lib/arm-linux-gnueabihf", "/usr/lib64", "/usr/lib"};
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        (void)snprintf(path, sizeof path, "%s/p11-kit-proxy.so", folders[i]);
        if (access(path, R_OK) == 0)
            return path;
    }
    return NULL;
}

/* The proxy shows the slots of all registered modules as its own. */
static void test_behind_p11_kit_proxy(void **state)
{
    kn_key *key = NULL;
    char uri[700];
    (void)state;
    const char *path = proxy_path();
    if (!path) {
        print_message("skipped: p11-kit-proxy.so (package p11-kit-modules) is not installed\n");
        skip();
    }
    kn_ctx *ctx = context(path, token->pin_file);
    assert_ok(open_in(ctx, "pkcs11:token=second;object=two", &key));
    assert_ok(sign(key));
    kn_key_unref(&key);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=first;object=one?module-path=%s", path);
    assert_ok(open_in(ctx, uri, &key));
    assert_ok(sign(key));
    kn_key_unref(&key);
    assert_error(KN_E_NO_TOKEN, open_in(ctx, "pkcs11:token=third;object=three", &key)); /* its module is not registered */
    kn_ctx_unref(&ctx);
    /* beside another module, both count: here they show the same token */
    (void)snprintf(uri, sizeof uri, "%s:%s", path, other);
    ctx = context(uri, token->pin_file);
    assert_error(KN_E_AMBIGUOUS_TOKEN, open_in(ctx, "pkcs11:token=second;object=two", &key));
    kn_ctx_unref(&ctx);
}

/* C_GetFunctionList of a module may return a table that says 3.0 (PKCS#11 v3.0 section 5.2: it begins as that of 2.40). */
static void test_table_of_version_3(void **state)
{
    kn_key *key = NULL;
    (void)state;
    shim *s = shim_new(token);
    (void)setenv("KN_SHIM_VERSION", "3", 1);
    char path[300];
    (void)snprintf(path, sizeof path, "%s/version3.so", token->dir);
    copy(shim_module, path); /* a module that was not loaded before */
    kn_ctx *ctx = context(path, token->pin_file);
    assert_ok(open_in(ctx, "pkcs11:token=first;object=one", &key));
    assert_ok(sign(key));
    assert_true(atomic_load(&s->calls[SHIM_C_Sign]) == 1);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    (void)unsetenv("KN_SHIM_VERSION");
    shim_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_tokens_of_two_modules_at_once),
        cmocka_unit_test(test_troubles_stay_with_their_token),
        cmocka_unit_test(test_two_contexts_with_different_modules),
        cmocka_unit_test(test_behind_p11_kit_proxy),
        cmocka_unit_test(test_table_of_version_3),
    };
    keep_modules();
    return cmocka_run_group_tests(tests, make_tokens, remove_tokens);
}
