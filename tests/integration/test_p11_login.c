/* PINs: one C_Login for each wrong one, and none that would spend the last try. */
#include "kn_key.h"
#include "kn_log.h"
#include "kn_token.h"

#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define URI "pkcs11:token=login;object=device"

static test_token *token;
static shim *s;
static char lines[65536];
static pthread_mutex_t lines_lock = PTHREAD_MUTEX_INITIALIZER;

static void note_line(kn_log_level level, const char *line)
{
    (void)level;
    (void)pthread_mutex_lock(&lines_lock);
    if (strlen(lines) + strlen(line) + 2 < sizeof lines) {
        strcat(lines, line);
        strcat(lines, "\n");
    }
    (void)pthread_mutex_unlock(&lines_lock);
}

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("login");
    raw r = raw_open(token);
    (void)raw_generate(&r, &(raw_key){.label = "device", .id = "d", .sensitive = true});
    (void)raw_generate(&r, &(raw_key){.label = "careful", .id = "c", .sensitive = true, .always_authenticate = true});
    raw_close(&r);
    s = shim_new(token);
    kn_log_set_sink(note_line);
    kn_log_set_level(KN_LOG_DEBUG);
    return 0;
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
    *lines = '\0';
    return 0;
}

static unsigned logins(void)
{
    return atomic_load(&s->calls[SHIM_C_Login]);
}

static kn_err open_in(kn_ctx *ctx, const char *uri)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, &key);
    kn_key_unref(&key);
    kn_alias_free(&alias);
    return err;
}

static kn_err open_with(const char *pin_file, const char *uri)
{
    kn_ctx *ctx = shim_context(pin_file);
    kn_err err = open_in(ctx, uri);
    kn_ctx_unref(&ctx);
    return err;
}

/* A PIN of its own for each test: what is wrong is remembered for the life of the process. */
static const char *wrong_pin_file(const char *pin)
{
    test_token_write(token, "bad", pin);
    return test_token_path(token, "bad");
}

static void test_wrong_pin_reaches_the_token_once(void **state)
{
    (void)state;
    const char *file = wrong_pin_file("0000-once");
    kn_ctx *ctx = shim_context(file);
    for (int i = 0; i < 5; i++) {
        assert_error(KN_E_PIN_INCORRECT, open_in(ctx, URI));
        assert_detail("'login'");
        assert_detail_lacks("0000");
    }
    assert_detail("not sent again");
    kn_ctx_unref(&ctx);
    for (int i = 0; i < 5; i++)
        assert_error(KN_E_PIN_INCORRECT, open_with(file, URI));
    assert_error(KN_E_PIN_INCORRECT, open_with(NULL, URI "?pin-value=0000-once"));
    assert_detail_lacks("0000");
    assert_int_equal(logins(), 1);
    assert_text_lacks(lines, "0000");
    assert_ok(open_with(token->pin_file, URI));
    assert_int_equal(logins(), 2);
}

static void *open_wrong(void *arg)
{
    for (int i = 0; i < 10; i++)
        if (open_with(arg, URI).code != KN_E_PIN_INCORRECT)
            return arg;
    return NULL;
}

static void test_from_many_threads_too(void **state)
{
    pthread_t threads[12];
    (void)state;
    char file[96];
    (void)snprintf(file, sizeof file, "%s", wrong_pin_file("0000-threads"));
    kn_ctx *keeps_module = shim_context(NULL); /* so that the module is not started and ended all the time */
    assert_error(KN_E_NO_PIN, open_in(keeps_module, URI));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_wrong, file), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(logins(), 1);
    kn_ctx_unref(&keeps_module);
}

static void test_from_a_child_too(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer does not follow kn_proc.c's lock into the child\n");
    skip();
#endif
    const char *file = wrong_pin_file("0000-child");
    assert_error(KN_E_PIN_INCORRECT, open_with(file, URI));
    pid_t child = fork();
    if (child == 0)
        _exit(open_with(file, URI).code == KN_E_PIN_INCORRECT ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(logins(), 1);
}

static void test_corrected_file_works_at_once(void **state)
{
    (void)state;
    char file[96];
    (void)snprintf(file, sizeof file, "%s", wrong_pin_file("0000-corrected"));
    kn_ctx *ctx = shim_context(file);
    assert_error(KN_E_PIN_INCORRECT, open_in(ctx, URI));
    (void)wrong_pin_file(token->pin);
    assert_ok(open_in(ctx, URI));
    kn_ctx_unref(&ctx);
    assert_int_equal(logins(), 2);
    assert_text_lacks(lines, token->pin);
}

static void test_no_pin_configured(void **state)
{
    (void)state;
    assert_error(KN_E_NO_PIN, open_with(NULL, URI));
    assert_detail("'login'");
    assert_int_equal(logins(), 0);
}

static void test_pin_sources(void **state)
{
    char uri[256];
    (void)state;
    (void)snprintf(uri, sizeof uri, URI "?pin-source=file:%s", token->pin_file);
    assert_ok(open_with(NULL, uri));
    assert_ok(open_with(token->wrong_pin_file, uri)); /* the URI's own comes first */
    (void)snprintf(uri, sizeof uri, URI "?pin-source=%s/no-such-file", token->dir);
    assert_error(KN_E_PIN_SOURCE, open_with(token->pin_file, uri));
    assert_detail("no-such-file");
    assert_int_equal(logins(), 2);
}

static void test_pin_value_works_with_a_warning(void **state)
{
    char uri[128];
    (void)state;
    (void)snprintf(uri, sizeof uri, URI "?pin-value=%s", token->pin);
    assert_ok(open_with(NULL, uri));
    assert_text(lines, "pin-value");
    assert_text_lacks(lines, token->pin);
    assert_int_equal(logins(), 1);
}

static void no_login_with(CK_FLAGS flags, kn_code code)
{
    shim_calm(s);
    atomic_store(&s->token_flags, flags);
    assert_error(code, open_with(token->pin_file, URI));
    assert_detail("'login'");
    assert_error(code, open_with(wrong_pin_file("0000-flags"), URI));
    assert_int_equal(logins(), 0);
}

static void test_no_login_that_could_lock_the_token(void **state)
{
    (void)state;
    no_login_with(CKF_USER_PIN_FINAL_TRY, KN_E_PIN_LAST_TRY);
    no_login_with(CKF_USER_PIN_LOCKED, KN_E_PIN_LOCKED);
    no_login_with(CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED, KN_E_PIN_LOCKED);
    shim_calm(s);
    atomic_store(&s->token_flags, CKF_USER_PIN_COUNT_LOW); /* tries are left */
    assert_ok(open_with(token->pin_file, URI));
}

/* The flags are those of the moment of the login, not those of when the token was found. */
static void test_flags_are_read_again(void **state)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    assert_ok(kn_alias_new(URI, NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    assert_ok(open_in(ctx, URI)); /* finds the token, needs no login */
    assert_int_equal(logins(), 1);
    raw r = raw_open(token);
    raw_logout(&r);
    raw_close(&r);
    atomic_store(&s->token_flags, CKF_USER_PIN_FINAL_TRY);
    assert_error(KN_E_PIN_LAST_TRY, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    assert_int_equal(logins(), 1);
    atomic_store(&s->token_flags, 0);
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    assert_int_equal(logins(), 2);
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
}

static void test_token_without_user_pin(void **state)
{
    (void)state;
    raw r = raw_open(token); /* for its functions: a token whose user PIN was never set */
    CK_SLOT_ID slots[16], blank = 0;
    CK_ULONG count = 16;
    CK_UTF8CHAR label[32], so_pin[] = "so-pin-1";
    assert_int_equal(r.fn->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (r.fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && !(info.flags & CKF_TOKEN_INITIALIZED))
            blank = slots[i];
    }
    memset(label, ' ', sizeof label);
    memcpy(label, "unset", 5);
    assert_int_equal(r.fn->C_InitToken(blank, so_pin, 8, label), CKR_OK);
    raw_close(&r);
    assert_error(KN_E_PIN_STATE, open_with(token->pin_file, "pkcs11:token=unset;object=device"));
    assert_int_equal(logins(), 0);
}

/* C_Login is never repeated when the token may have counted it. */
static void test_failing_login_is_not_repeated(void **state)
{
    static const struct {
        CK_RV rv;
        kn_code code;
    } rows[] = {
        {CKR_PIN_LOCKED, KN_E_PIN_LOCKED},       {CKR_PIN_EXPIRED, KN_E_PIN_STATE},
        {CKR_GENERAL_ERROR, KN_E_TOKEN_FAILED},  {CKR_DEVICE_ERROR, KN_E_TOKEN_FAILED},
        {CKR_FUNCTION_FAILED, KN_E_TOKEN_FAILED}, {CKR_USER_PIN_NOT_INITIALIZED, KN_E_PIN_STATE},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        shim_calm(s);
        shim_fail(s, SHIM_C_Login, rows[i].rv, 1000);
        assert_error(rows[i].code, open_with(token->pin_file, URI));
        assert_detail("C_Login");
        assert_int_equal(logins(), 1);
    }
    shim_calm(s);
    assert_ok(open_with(token->pin_file, URI));
}

/* ---- a PIN that somebody types ---- */

static kn_err sign_in(kn_ctx *ctx, const char *uri)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, &key);
    if (!kn_failed(err))
        err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    kn_key_unref(&key);
    kn_alias_free(&alias);
    return err;
}

static bool wants_pin(kn_ctx *ctx, const char *uri, bool unprompted)
{
    bool wants = false;
    char label[33] = "";
    assert_ok(kn_token_wants_pin(ctx, uri, unprompted, &wants, label));
    assert_string_equal(label, wants ? "login" : "");
    return wants;
}

static kn_err log_in(kn_ctx *ctx, const char *pin)
{
    kn_secret *secret = NULL;
    assert_ok(kn_secret_new(pin, strlen(pin), &secret));
    kn_err err = kn_token_login(ctx, URI, secret);
    kn_secret_free(&secret);
    return err;
}

static void log_out(void)
{
    raw r = raw_open(token);
    raw_logout(&r);
    raw_close(&r);
}

static void test_who_may_be_asked(void **state)
{
    char uri[256];
    (void)state;
    kn_ctx *ctx = shim_context(NULL);
    (void)snprintf(uri, sizeof uri, URI "?pin-source=%s", token->pin_file);
    assert_false(wants_pin(ctx, uri, true));
    assert_false(wants_pin(ctx, URI "?pin-value=1", true));
    assert_false(wants_pin(ctx, URI, false));
    assert_int_equal(shim_total(s), 0); /* no token was looked at */
    assert_true(wants_pin(ctx, URI, true));
    assert_true(wants_pin(ctx, URI "?pin-source=ask:", false));
    assert_int_equal(logins(), 0);
    atomic_store(&s->token_flags, CKF_PROTECTED_AUTHENTICATION_PATH);
    assert_false(wants_pin(ctx, URI, true));
    atomic_store(&s->token_flags, 0);
    atomic_store(&s->token_flags_off, CKF_LOGIN_REQUIRED);
    assert_false(wants_pin(ctx, URI, true));
    atomic_store(&s->token_flags_off, 0);
    kn_ctx_unref(&ctx);
    ctx = shim_context("ask:");
    assert_true(wants_pin(ctx, URI, false));
    assert_false(wants_pin(ctx, uri, true));
    assert_error(KN_E_NO_PIN, open_in(ctx, URI)); /* with nobody to ask */
    kn_ctx_unref(&ctx);
}

static void test_nobody_types_a_pin_in_vain(void **state)
{
    bool wants = true;
    char label[33];
    (void)state;
    kn_ctx *ctx = shim_context(NULL);
    atomic_store(&s->token_flags, CKF_USER_PIN_FINAL_TRY);
    assert_error(KN_E_PIN_LAST_TRY, kn_token_wants_pin(ctx, URI, true, &wants, label));
    atomic_store(&s->token_flags, CKF_USER_PIN_LOCKED);
    assert_error(KN_E_PIN_LOCKED, kn_token_wants_pin(ctx, URI, true, &wants, label));
    assert_true(wants);
    kn_ctx_unref(&ctx);
}

static void test_typed_pin_is_used_again(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(NULL);
    assert_error(KN_E_NO_PIN, sign_in(ctx, URI));
    assert_ok(log_in(ctx, token->pin));
    assert_int_equal(logins(), 1);
    assert_ok(sign_in(ctx, URI));
    log_out();
    assert_false(wants_pin(ctx, URI, true)); /* nobody is asked twice */
    assert_ok(sign_in(ctx, URI));
    assert_int_equal(logins(), 2);
    assert_text_lacks(lines, token->pin);
    char uri[256]; /* a wrong PIN from elsewhere does not take it away */
    (void)snprintf(uri, sizeof uri, URI "?pin-source=%s", wrong_pin_file("0000-elsewhere"));
    log_out();
    assert_error(KN_E_PIN_INCORRECT, sign_in(ctx, uri));
    assert_ok(sign_in(ctx, URI));
    kn_ctx_unref(&ctx);
    ctx = shim_context(NULL); /* another context knows nothing of it */
    assert_error(KN_E_NO_PIN, sign_in(ctx, URI));
    kn_ctx_unref(&ctx);
}

static void test_wrong_typed_pin_is_not_kept(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(NULL);
    for (int i = 0; i < 3; i++) {
        assert_error(KN_E_PIN_INCORRECT, log_in(ctx, "0000-typed"));
        assert_detail_lacks("0000");
        assert_true(wants_pin(ctx, URI, true)); /* asked again, and not stuck with it */
    }
    assert_int_equal(logins(), 1); /* the same wrong answer is not sent twice */
    shim_fail(s, SHIM_C_Login, CKR_DEVICE_ERROR, 1);
    assert_error(KN_E_TOKEN_FAILED, log_in(ctx, token->pin));
    assert_false(wants_pin(ctx, URI, true)); /* the token did not say that it is wrong: it is kept, nobody is asked again */
    assert_ok(sign_in(ctx, URI));
    assert_int_equal(logins(), 3);
    kn_ctx_unref(&ctx);
}

/* ---- a token with a keypad ---- */

static void test_keypad(void **state)
{
    (void)state;
    atomic_store(&s->token_flags, CKF_PROTECTED_AUTHENTICATION_PATH);
    kn_ctx *ctx = shim_context(NULL);
    assert_error(KN_E_CANCELLED, sign_in(ctx, URI)); /* nobody typed */
    assert_detail("C_Login");
    (void)snprintf(s->keypad_pin, sizeof s->keypad_pin, "%s", token->pin);
    assert_ok(sign_in(ctx, URI));
    assert_ok(sign_in(ctx, "pkcs11:token=login;object=careful")); /* and once more, inside the operation */
    assert_int_equal(logins(), 3);
    kn_ctx_unref(&ctx);
    /* a source that is named is used instead: an unattended program needs no hands */
    memset(s->keypad_pin, 0, sizeof s->keypad_pin);
    assert_ok(open_with(token->pin_file, URI));
    assert_int_equal(logins(), 4);
}

static void test_keypad_does_not_spend_the_last_try(void **state)
{
    (void)state;
    atomic_store(&s->token_flags, CKF_PROTECTED_AUTHENTICATION_PATH | CKF_USER_PIN_FINAL_TRY);
    assert_error(KN_E_PIN_LAST_TRY, open_with(NULL, URI));
    assert_int_equal(logins(), 0);
}

/* ---- keys that want the PIN for each use ---- */

static void always_authenticate_with(kn_ctx *ctx, const char *uri)
{
    shim_reset_calls(s);
    assert_ok(sign_in(ctx, uri));
    assert_ok(sign_in(ctx, uri));
    assert_int_equal(logins(), 3); /* the session's, and one inside each operation */
    assert_int_equal(atomic_load(&s->done[SHIM_C_Sign]), 2);
    kn_ctx_unref(&ctx);
}

static void test_always_authenticate_with_each_source(void **state)
{
    char uri[256];
    int ends[2];
    (void)state;
    const char *name = "pkcs11:token=login;object=careful";
    always_authenticate_with(shim_context(token->pin_file), name);
    (void)snprintf(uri, sizeof uri, "%s?pin-source=file:%s", name, token->pin_file);
    always_authenticate_with(shim_context(NULL), uri);
    (void)snprintf(uri, sizeof uri, "%s?pin-value=%s", name, token->pin);
    always_authenticate_with(shim_context(NULL), uri);

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", token->dir, 1), 0);
    (void)snprintf(uri, sizeof uri, "%s?pin-source=credential:pin", name);
    always_authenticate_with(shim_context(NULL), uri);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], token->pin, strlen(token->pin)), strlen(token->pin));
    assert_int_equal(close(ends[1]), 0);
    (void)snprintf(uri, sizeof uri, "%s?pin-source=fd:%d", name, ends[0]);
    always_authenticate_with(shim_context(NULL), uri);
    (void)close(ends[0]);

    atomic_store(&s->token_flags, CKF_PROTECTED_AUTHENTICATION_PATH);
    (void)snprintf(s->keypad_pin, sizeof s->keypad_pin, "%s", token->pin);
    always_authenticate_with(shim_context(NULL), name);
    shim_calm(s);

    kn_ctx *ctx = shim_context(NULL);
    assert_ok(log_in(ctx, token->pin));
    assert_ok(sign_in(ctx, name));
    assert_ok(sign_in(ctx, name));
    assert_int_equal(logins(), 3);
    kn_ctx_unref(&ctx);
    /* the test sees what it looks for: without the PIN, the token does not sign */
    ctx = shim_context(token->pin_file);
    assert_ok(open_in(ctx, name));
    raw r = raw_open(token);
    raw_expect_login_to_sign(&r, "careful");
    raw_close(&r);
    kn_ctx_unref(&ctx);
}

static void test_wrong_pin_inside_an_operation(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(token->pin_file);
    assert_ok(open_in(ctx, URI));
    const char *file = wrong_pin_file("0000-inside");
    char uri[256];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=login;object=careful?pin-source=%s", file);
    for (int i = 0; i < 3; i++)
        assert_error(KN_E_PIN_INCORRECT, sign_in(ctx, uri));
    assert_int_equal(logins(), 2); /* one right, one wrong */
    assert_ok(sign_in(ctx, URI));  /* the session of the failed operation is not used again */
    assert_ok(sign_in(ctx, "pkcs11:token=login;object=careful"));
    kn_ctx_unref(&ctx);
}

static void test_token_that_wants_no_login(void **state)
{
    (void)state;
    atomic_store(&s->token_flags_off, CKF_LOGIN_REQUIRED);
    assert_error(KN_E_NO_KEY, open_with(token->wrong_pin_file, "pkcs11:token=login;object=nothing"));
    assert_int_equal(logins(), 0);
}

static void test_count_low_is_told(void **state)
{
    (void)state;
    atomic_store(&s->token_flags, CKF_USER_PIN_COUNT_LOW);
    assert_ok(open_with(token->pin_file, URI));
    assert_text(lines, "a wrong PIN was entered since");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_wrong_pin_reaches_the_token_once, fresh),
        cmocka_unit_test_setup(test_from_many_threads_too, fresh),
        cmocka_unit_test_setup(test_from_a_child_too, fresh),
        cmocka_unit_test_setup(test_corrected_file_works_at_once, fresh),
        cmocka_unit_test_setup(test_no_pin_configured, fresh),
        cmocka_unit_test_setup(test_pin_sources, fresh),
        cmocka_unit_test_setup(test_pin_value_works_with_a_warning, fresh),
        cmocka_unit_test_setup(test_no_login_that_could_lock_the_token, fresh),
        cmocka_unit_test_setup(test_flags_are_read_again, fresh),
        cmocka_unit_test_setup(test_token_without_user_pin, fresh),
        cmocka_unit_test_setup(test_failing_login_is_not_repeated, fresh),
        cmocka_unit_test_setup(test_who_may_be_asked, fresh),
        cmocka_unit_test_setup(test_nobody_types_a_pin_in_vain, fresh),
        cmocka_unit_test_setup(test_typed_pin_is_used_again, fresh),
        cmocka_unit_test_setup(test_wrong_typed_pin_is_not_kept, fresh),
        cmocka_unit_test_setup(test_keypad, fresh),
        cmocka_unit_test_setup(test_keypad_does_not_spend_the_last_try, fresh),
        cmocka_unit_test_setup(test_always_authenticate_with_each_source, fresh),
        cmocka_unit_test_setup(test_wrong_pin_inside_an_operation, fresh),
        cmocka_unit_test_setup(test_token_that_wants_no_login, fresh),
        cmocka_unit_test_setup(test_count_low_is_told, fresh),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
