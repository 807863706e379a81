/* HMAC keys in a token: imported and made there, never out again, the same as in software, and found again after a loss. */
#include "kn_hmac.h"

#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4

static test_token *token;
static const uint8_t text[] = "0ne00000001%2fregistrations%2fdevice-1\n1700000000";

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("hmac");
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    test_token_free(&token);
    return 0;
}

static const char *uri_of(const char *label)
{
    static char uri[2][96];
    static int turn;
    turn = !turn;
    (void)snprintf(uri[turn], sizeof uri[turn], "pkcs11:token=hmac;object=%s", label);
    return uri[turn];
}

static kn_secret *key_of(size_t bytes)
{
    uint8_t bytes_of_key[KN_HMAC_KEY_MAX + 1];
    kn_secret *key = NULL;
    for (size_t i = 0; i < sizeof bytes_of_key; i++)
        bytes_of_key[i] = (uint8_t)(bytes + 3 * i);
    assert_ok(kn_secret_new(bytes_of_key, bytes, &key));
    return key;
}

static void import(kn_ctx *ctx, const char *label, size_t bytes)
{
    kn_hmac *hmac = NULL;
    kn_secret *key = key_of(bytes);
    assert_ok(kn_hmac_import(ctx, uri_of(label), key, &hmac));
    kn_hmac_free(&hmac);
    kn_secret_free(&key);
}

static bool signs_as_software(kn_hmac *hmac, size_t bytes)
{
    uint8_t mac[KN_HMAC_BYTES], expected[KN_HMAC_BYTES];
    kn_secret *key = key_of(bytes);
    bool good = !kn_failed(kn_hmac_sign(hmac, text, sizeof text - 1, mac)) &&
                !kn_failed(kn_hmac_software(key, text, sizeof text - 1, expected)) &&
                !memcmp(mac, expected, sizeof mac);
    kn_secret_free(&key);
    return good;
}

static void test_import_and_sign(void **state)
{
    static const size_t sizes[] = {32, 48, 64}; /* SoftHSM takes none below 32 for this mechanism */
    kn_ctx *ctx = test_token_context(token);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char label[16];
        kn_hmac *hmac = NULL;
        (void)snprintf(label, sizeof label, "size-%zu", sizes[i]);
        import(ctx, label, sizes[i]);
        assert_ok(kn_hmac_open(ctx, uri_of(label), &hmac));
        assert_true(signs_as_software(hmac, sizes[i]));
        assert_true(signs_as_software(hmac, sizes[i]));
        assert_false(signs_as_software(hmac, sizes[i] - 1));
        kn_custody facts;
        assert_ok(kn_hmac_inspect(hmac, &facts));
        assert_int_equal(facts.sensitive, KN_FACT_YES);
        assert_int_equal(facts.extractable, KN_FACT_NO);
        assert_int_equal(facts.local, KN_FACT_NO);
        assert_false(kn_custody_holds(&facts)); /* it was outside, and is said to have been */
        assert_string_equal(facts.label, label);
        kn_hmac_free(&hmac);
    }
    kn_ctx_unref(&ctx);
}

static void test_generated_keys_prove_their_origin(void **state)
{
    kn_ctx *ctx = test_token_context(token);
    kn_hmac *hmac = NULL, *again = NULL;
    uint8_t one[KN_HMAC_BYTES], two[KN_HMAC_BYTES];
    (void)state;
    assert_ok(kn_hmac_generate(ctx, "pkcs11:token=hmac;object=made;id=%01%02;type=secret-key", 64, &hmac));
    kn_custody facts;
    assert_ok(kn_hmac_inspect(hmac, &facts));
    assert_true(kn_custody_holds(&facts));
    assert_string_equal(facts.mechanism, "GENERIC_SECRET_KEY_GEN");
    assert_string_equal(facts.id, "0102");
    assert_ok(kn_hmac_open(ctx, "pkcs11:token=hmac;id=%01%02", &again));
    assert_ok(kn_hmac_sign(hmac, text, sizeof text, one));
    assert_ok(kn_hmac_sign(again, text, sizeof text, two));
    assert_memory_equal(one, two, sizeof one);
    kn_hmac_free(&again);
    kn_hmac_free(&hmac);
    assert_null(hmac);
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
}

/* As another program of the machine would try to read it, with the PIN. */
static void test_the_value_does_not_come_out(void **state)
{
    kn_ctx *ctx = test_token_context(token);
    (void)state;
    import(ctx, "kept", 32);
    kn_ctx_unref(&ctx);
    raw r = raw_open(token);
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, (char[]){"kept"}, 4}};
    CK_OBJECT_HANDLE object;
    CK_ULONG count = 0;
    CK_BYTE value[64];
    CK_ATTRIBUTE wanted = {CKA_VALUE, value, sizeof value};
    assert_int_equal(r.fn->C_FindObjectsInit(r.session, template, 2), CKR_OK);
    assert_int_equal(r.fn->C_FindObjects(r.session, &object, 1, &count), CKR_OK);
    assert_int_equal(r.fn->C_FindObjectsFinal(r.session), CKR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(r.fn->C_GetAttributeValue(r.session, object, &wanted, 1), CKR_ATTRIBUTE_SENSITIVE);
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE open = {CKA_EXTRACTABLE, &yes, sizeof yes};
    assert_int_not_equal(r.fn->C_SetAttributeValue(r.session, object, &open, 1), CKR_OK);
    raw_close(&r);
}

static void test_names(void **state)
{
    kn_ctx *ctx = test_token_context(token);
    kn_hmac *hmac = NULL;
    kn_key *private = NULL;
    kn_alias *alias = NULL;
    kn_secret *key = key_of(32);
    (void)state;
    import(ctx, "named", 32);
    assert_error(KN_E_EXISTS, kn_hmac_import(ctx, uri_of("named"), key, &hmac));
    assert_error(KN_E_EXISTS, kn_hmac_generate(ctx, uri_of("named"), 32, &hmac));
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, uri_of("nobody"), &hmac));
    assert_detail("nobody");
    assert_error(KN_E_AMBIGUOUS, kn_hmac_open(ctx, "pkcs11:token=hmac", &hmac));
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, "pkcs11:token=hmac;object=named;type=private", &hmac));
    assert_error(KN_E_URI_MALFORMED, kn_hmac_import(ctx, "pkcs11:token=hmac", key, &hmac));
    assert_error(KN_E_URI_MALFORMED, kn_hmac_import(ctx, "pkcs11:token=hmac;object=x;type=cert", key, &hmac));
    assert_error(KN_E_NO_TOKEN, kn_hmac_open(ctx, "pkcs11:token=nowhere;object=named", &hmac));
    assert_error(KN_E_URI_SCHEME, kn_hmac_open(ctx, "nosuch:x", &hmac));
    assert_null(hmac);
    /* a secret key is no private key, and the other way round */
    assert_ok(kn_alias_new(uri_of("named"), NULL, &alias));
    assert_error(KN_E_NO_KEY, kn_key_open(ctx, alias, &private));
    kn_alias_free(&alias);
    assert_ok(kn_key_generate(ctx, uri_of("a-pair"), &kn_algs[0], &private));
    kn_key_unref(&private);
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, uri_of("a-pair"), &hmac));
    kn_secret_free(&key);
    kn_ctx_unref(&ctx);
}

static void test_sizes(void **state)
{
    static const size_t refused[] = {0, 1, KN_HMAC_KEY_MIN - 1, KN_HMAC_KEY_MAX + 1};
    kn_ctx *ctx = test_token_context(token);
    kn_hmac *hmac = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        kn_secret *key = key_of(refused[i]);
        assert_error(KN_E_DATA_SIZE, kn_hmac_import(ctx, uri_of("refused"), key, &hmac));
        assert_error(KN_E_DATA_SIZE, kn_hmac_generate(ctx, uri_of("refused"), refused[i], &hmac));
        kn_secret_free(&key);
    }
    /* a key that the token stores and then cannot use is not left behind */
    kn_secret *key = key_of(16);
    assert_true(kn_failed(kn_hmac_import(ctx, uri_of("unusable"), key, &hmac)));
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, uri_of("unusable"), &hmac));
    kn_secret_free(&key);
    import(ctx, "long-text", 32);
    assert_ok(kn_hmac_open(ctx, uri_of("long-text"), &hmac));
    uint8_t mac[KN_HMAC_BYTES];
    uint8_t *data = calloc(1, KN_HMAC_DATA_MAX + 1);
    assert_ok(kn_hmac_sign(hmac, data, KN_HMAC_DATA_MAX, mac));
    assert_error(KN_E_DATA_SIZE, kn_hmac_sign(hmac, data, KN_HMAC_DATA_MAX + 1, mac));
    free(data);
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
}

static void test_a_key_that_could_be_read_is_destroyed(void **state)
{
    kn_hmac *hmac = NULL;
    kn_secret *key = key_of(32);
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    atomic_store(&s->says_extractable, true);
    assert_error(KN_E_CUSTODY, kn_hmac_import(ctx, uri_of("loose"), key, &hmac));
    assert_error(KN_E_CUSTODY, kn_hmac_generate(ctx, uri_of("loose"), 32, &hmac));
    atomic_store(&s->says_extractable, false);
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, uri_of("loose"), &hmac));
    /* a token that computes something else */
    atomic_store(&s->long_signature, true);
    assert_error(KN_E_MODULE_BROKEN, kn_hmac_import(ctx, uri_of("false"), key, &hmac));
    atomic_store(&s->long_signature, false);
    assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, uri_of("false"), &hmac));
    /* one that refuses the attribute, but acts on it */
    shim_fail(s, SHIM_C_CreateObject, CKR_ATTRIBUTE_VALUE_INVALID, 2);
    assert_ok(kn_hmac_import(ctx, uri_of("second-try"), key, &hmac));
    assert_true(signs_as_software(hmac, 32));
    kn_hmac_free(&hmac);
    shim_fail(s, SHIM_C_CreateObject, CKR_DEVICE_MEMORY, 1);
    assert_error(KN_E_TOKEN_FULL, kn_hmac_import(ctx, uri_of("no-room"), key, &hmac));
    kn_ctx_unref(&ctx);
    ctx = shim_context(token->pin_file);
    shim_fail(s, SHIM_C_GetMechanismInfo, CKR_MECHANISM_INVALID, 1);
    assert_error(KN_E_TOKEN_CANNOT, kn_hmac_import(ctx, uri_of("no-mechanism"), key, &hmac));
    assert_detail("SHA256_HMAC");
    kn_secret_free(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void test_found_again_after_a_loss(void **state)
{
    kn_hmac *hmac = NULL;
    uint8_t mac[KN_HMAC_BYTES];
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    import(ctx, "lost", 32);
    assert_ok(kn_hmac_open(ctx, uri_of("lost"), &hmac));
    assert_true(signs_as_software(hmac, 32));
    shim_reset_calls(s);
    assert_true(signs_as_software(hmac, 32));
    assert_int_equal(shim_total(s), 2); /* C_SignInit, C_Sign */
    shim_close_sessions(s);
    assert_true(signs_as_software(hmac, 32));
    shim_happens(s, SHIM_C_SignInit, 1, SHIM_LOGS_OUT);
    assert_true(signs_as_software(hmac, 32));
    shim_take_out(s);
    assert_true(kn_failed(kn_hmac_sign(hmac, text, sizeof text, mac)));
    shim_put_in(s, 0);
    assert_true(signs_as_software(hmac, 32));
    shim_fail(s, SHIM_C_SignInit, CKR_MECHANISM_INVALID, 1);
    assert_error(KN_E_TOKEN_CANNOT, kn_hmac_sign(hmac, text, sizeof text, mac));
    assert_true(signs_as_software(hmac, 32));
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void *sign_often(void *arg)
{
    for (int i = 0; i < 50; i++)
        if (!signs_as_software(arg, 32))
            return arg;
    return NULL;
}

static void test_threads_and_fork(void **state)
{
    kn_ctx *ctx = test_token_context(token);
    kn_hmac *hmac = NULL;
    pthread_t thread[THREADS];
    (void)state;
    import(ctx, "shared", 32);
    assert_ok(kn_hmac_open(ctx, uri_of("shared"), &hmac));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, sign_often, hmac), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(signs_as_software(hmac, 32) ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(signs_as_software(hmac, 32));
    kn_hmac_free(&hmac);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_and_sign),
        cmocka_unit_test(test_generated_keys_prove_their_origin),
        cmocka_unit_test(test_the_value_does_not_come_out),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_a_key_that_could_be_read_is_destroyed),
        cmocka_unit_test(test_found_again_after_a_loss),
        cmocka_unit_test(test_threads_and_fork),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
