/* An open key in a running program, without a restart: what the world does to the token, its sessions and its module. */
#include "fault/fault.h"

#include "support/certs.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

static kn_ctx *ctx;
static kn_key *key;
static unsigned logins;

/* Each test has an open key that has signed. */
static int calm(void **state)
{
    (void)fault_calm(state);
    ctx = shim_context(fault_token->pin_file);
    key = fault_open(ctx);
    assert_ok(fault_sign(key));
    logins = fault_calls(SHIM_C_Login);
    return 0;
}

static int end(void **state)
{
    shim_calm(fault_shim);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return fault_end(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, calm, end)

static void works_after_one_login_at_most(void)
{
    fault_works(key);
    assert_true(fault_calls(SHIM_C_Login) <= logins + 1);
    logins = fault_calls(SHIM_C_Login);
    kn_key *second = fault_open(ctx); /* and so does a new load */
    fault_works(second);
    kn_key_unref(&second);
    assert_int_equal(fault_calls(SHIM_C_Login), logins);
}

static void row(const char *fault)
{
    fault_row("peers", fault, "the same key works again, at most one extra C_Login");
}

static void test_sessions_closed(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        shim_close_sessions(fault_shim);
        works_after_one_login_at_most();
    }
    row("all sessions closed");
}

static void test_token_out_and_in(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        shim_take_out(fault_shim);
        assert_error(KN_E_TOKEN_GONE, fault_sign(key));
        assert_detail("'fault'");
        assert_error(KN_E_TOKEN_GONE, fault_sign(key));
        shim_put_in(fault_shim, 0);
        works_after_one_login_at_most();
    }
    row("token out and in");
}

/* Nobody looked while it was out. */
static void test_token_out_and_in_unseen(void **state)
{
    (void)state;
    shim_take_out(fault_shim);
    shim_put_in(fault_shim, 0);
    works_after_one_login_at_most();
}

static void test_token_in_another_slot(void **state)
{
    static const unsigned long shifts[] = {7, 3, 0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shifts); i++) {
        shim_take_out(fault_shim);
        if (i != 1)
            assert_error(KN_E_TOKEN_GONE, fault_sign(key));
        shim_put_in(fault_shim, shifts[i]);
        works_after_one_login_at_most();
    }
    row("token out, and in another slot");
}

static void test_somebody_logs_out(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        raw r = raw_open(fault_token);
        raw_logout(&r);
        raw_close(&r);
        works_after_one_login_at_most();
    }
    row("somebody calls C_Logout");
}

static void test_inserted_after_the_start(void **state)
{
    kn_key *late = NULL;
    kn_alias *alias = NULL;
    (void)state;
    assert_ok(kn_alias_new(FAULT_URI, kn_key_public(key), &alias));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_take_out(fault_shim);
    ctx = shim_context(fault_token->pin_file);
    assert_error(KN_E_NO_TOKEN, fault_open_uri(ctx, FAULT_URI, &late));
    assert_ok(kn_key_open(ctx, alias, &late)); /* knows its public key, so that the token may come later */
    assert_error(KN_E_NO_TOKEN, fault_sign(late));
    shim_put_in(fault_shim, 0);
    fault_works(late);
    key = fault_open(ctx);
    fault_works(key);
    kn_key_unref(&late);
    kn_alias_free(&alias);
    fault_row("peers", "token inserted after start", "seen by the next operation");
}

/* In the middle of an operation, at each of its two calls. */
static void test_events_inside_an_operation(void **state)
{
    static const shim_event events[] = {SHIM_CLOSES_SESSIONS, SHIM_LOGS_OUT, SHIM_TAKES_OUT};
    static const shim_call at[] = {SHIM_C_SignInit, SHIM_C_Sign};
    (void)state;
    for (size_t e = 0; e < COUNT_OF(events); e++)
        for (size_t c = 0; c < COUNT_OF(at); c++) {
            unsigned signs = fault_done(SHIM_C_Sign);
            shim_happens(fault_shim, at[c], 1, events[e]);
            kn_err err = fault_sign(key);
            assert_true(fault_done(SHIM_C_Sign) <= signs + 1);
            if (events[e] == SHIM_TAKES_OUT)
                assert_int_equal(err.code, KN_E_TOKEN_GONE);
            else if (!(events[e] == SHIM_LOGS_OUT && at[c] == SHIM_C_Sign))
                assert_ok(err); /* SoftHSM ends an operation at a logout as it likes */
            shim_put_in(fault_shim, 0);
            works_after_one_login_at_most();
        }
}

/* The rows of docs/errors.md that can be mended, once, from each of the two calls. */
static void test_each_error_once(void **state)
{
    static const struct {
        CK_RV rv;
        bool from_init, from_sign; /* recovered in the same operation */
    } rows[] = {
        {CKR_DEVICE_ERROR, true, false},       {CKR_DEVICE_REMOVED, true, false},
        {CKR_USER_NOT_LOGGED_IN, true, true},  {CKR_SESSION_HANDLE_INVALID, true, true},
        {CKR_KEY_HANDLE_INVALID, true, true},  {CKR_OBJECT_HANDLE_INVALID, true, true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (int sign = 0; sign < 2; sign++) {
            unsigned before = fault_calls(SHIM_C_Sign);
            bool recovers = sign ? rows[i].from_sign : rows[i].from_init;
            shim_fail(fault_shim, sign ? SHIM_C_Sign : SHIM_C_SignInit, rows[i].rv, 1);
            kn_err err = fault_sign(key);
            if (kn_failed(err) == recovers)
                fail_msg("0x%lx: %s", rows[i].rv, recovers ? kn_err_detail() : "repeated");
            if (!recovers)
                assert_detail("C_Sign on token 'fault'");
            assert_int_equal(fault_calls(SHIM_C_Sign), before + (sign && recovers ? 2 : 1));
            works_after_one_login_at_most();
        }
        char fault[80];
        (void)snprintf(fault, sizeof fault, "0x%lx from C_SignInit / C_Sign", rows[i].rv);
        fault_row("peers", fault, "recovered / %s", rows[i].from_sign ? "recovered" : "a named error, the next one works");
    }
}

/* The module does not end an operation that failed, as the standard asks it to (section 5.13). */
static void test_operation_left_active(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        shim_fail(fault_shim, SHIM_C_Sign, CKR_GENERAL_ERROR, 1); /* the real module does not see it */
        assert_error(KN_E_TOKEN_FAILED, fault_sign(key));
        assert_int_equal(fault_sessions(), 0); /* nobody gets that session */
        works_after_one_login_at_most();
    }
    fault_row("peers", "module leaves the operation active after an error", "session dropped, the next operation works");
}

/* By a library that thinks it is the only user: also when two contexts share the module, and for a new load. */
static void test_finalised_behind_our_back(void **state)
{
    (void)state;
    kn_ctx *other = shim_context(fault_token->pin_file);
    kn_key *second = fault_open(other), *third;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fault_finalize_real(), CKR_OK);
        logins = fault_calls(SHIM_C_Login);
        fault_works(i % 2 ? second : key);
        fault_works(i % 2 ? key : second);
        assert_true(fault_calls(SHIM_C_Login) <= logins + 2); /* one for each context */
        assert_int_equal(fault_finalize_real(), CKR_OK);
        third = fault_open(ctx);
        fault_works(third);
        fault_works(second);
        kn_key_unref(&third);
    }
    kn_key_unref(&second);
    kn_ctx_unref(&other);
    fault_works(key); /* the end of one context is not that of the other */
    fault_row("sessions", "C_Finalize by somebody else, two contexts in the process", "both contexts' keys work again");
}

static void test_initialise_fails_once(void **state)
{
    kn_key *late = NULL;
    (void)state;
    assert_int_equal(fault_finalize_real(), CKR_OK);
    shim_fail(fault_shim, SHIM_C_Initialize, CKR_GENERAL_ERROR, 1);
    assert_error(KN_E_MODULE_INIT, fault_sign(key));
    assert_detail("C_Initialize: CKR_GENERAL_ERROR");
    works_after_one_login_at_most();
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    ctx = shim_context(fault_token->pin_file);
    shim_fail(fault_shim, SHIM_C_Initialize, CKR_FUNCTION_FAILED, 1);
    assert_error(KN_E_MODULE_INIT, fault_open_uri(ctx, FAULT_URI, &late));
    assert_detail("C_Initialize: CKR_FUNCTION_FAILED");
    key = fault_open(ctx);
    fault_works(key);
    fault_row("peers", "C_Initialize fails once", "named error; the next operation works");
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* It is not called in a loop. */
static void test_initialise_fails_for_long(void **state)
{
    (void)state;
    assert_int_equal(fault_finalize_real(), CKR_OK);
    shim_fail(fault_shim, SHIM_C_Initialize, CKR_GENERAL_ERROR, 1000000);
    unsigned operations = 0;
    for (int64_t until = now_ms() + 50; now_ms() < until; operations++)
        assert_error(KN_E_MODULE_INIT, fault_sign(key));
    assert_true(operations > 10);
    assert_in_range(fault_calls(SHIM_C_Initialize), 2, 10); /* 1 was for the context */
    shim_fail(fault_shim, SHIM_C_Initialize, CKR_OK, 0);
    while (kn_failed(fault_sign(key))) /* until it may be tried again */
        ;
    works_after_one_login_at_most();
    fault_row("sessions", "C_Initialize fails for long", "tried again after 0.1 to 5 s, not by every operation");
}

/* tpm2-pkcs11 whose TPM was reset: an error for ever, until C_Finalize and C_Initialize. */
static void test_module_that_must_start_anew(void **state)
{
    static const CK_RV values[] = {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        unsigned starts = fault_calls(SHIM_C_Initialize), failed = 0;
        atomic_store(&fault_shim->broken, values[i]);
        while (kn_failed(fault_sign(key)))
            assert_true(++failed < 10);
        assert_int_equal(failed, 2);
        assert_int_equal(fault_calls(SHIM_C_Initialize), starts + 1);
        fault_works(key);
    }
    fault_row("sessions", "module that fails until C_Finalize and C_Initialize", "two operations fail with a named error, the third works");
}

/* While somebody else in the process uses the module through p11-kit, it is not finalised under their hands. */
static void test_the_module_of_others_is_not_finalised(void **state)
{
    (void)state;
    kn_ctx *other = shim_context(fault_token->pin_file);
    kn_key *second = fault_open(other);
    unsigned finalized = fault_done(SHIM_C_Finalize);
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_GENERAL_ERROR, 6);
    for (int i = 0; i < 6; i++)
        assert_error(KN_E_TOKEN_FAILED, fault_sign(key));
    assert_int_equal(fault_done(SHIM_C_Finalize), finalized);
    unsigned opened = fault_calls(SHIM_C_OpenSession);
    fault_works(second); /* in the session that it had */
    assert_int_equal(fault_calls(SHIM_C_OpenSession), opened);
    fault_works(key);
    kn_key_unref(&second);
    kn_ctx_unref(&other);
}

/* A token that stays broken does not have its module started again and again: after 0.1 s, and then after twice as
 * long each time, up to 5 s. */
static void test_renewal_is_throttled(void **state)
{
    (void)state;
    unsigned starts = fault_calls(SHIM_C_Initialize), allowed = 1;
    int64_t from = now_ms(), spent;
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_GENERAL_ERROR, 100);
    for (int i = 0; i < 100; i++)
        assert_error(KN_E_TOKEN_FAILED, fault_sign(key));
    spent = now_ms() - from;
    for (int64_t pause = 100; spent >= pause; pause = pause > 2500 ? 5000 : 2 * pause) {
        spent -= pause;
        allowed++;
    }
    assert_in_range(fault_calls(SHIM_C_Initialize), starts + 1, starts + allowed);
    fault_works(key);
}

static void test_open_session_fails_at_load(void **state)
{
    static const CK_RV values[] = {CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_TOKEN_NOT_PRESENT};
    kn_key *late = NULL;
    (void)state;
    kn_key_unref(&key);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        kn_ctx_unref(&ctx);
        ctx = shim_context(fault_token->pin_file);
        shim_fail(fault_shim, SHIM_C_OpenSession, values[i], 1000000);
        shim_reset_calls(fault_shim);
        kn_err err = fault_open_uri(ctx, FAULT_URI, &late);
        assert_true(kn_failed(err));
        assert_detail("C_OpenSession on token 'fault'");
        assert_in_range(fault_calls(SHIM_C_OpenSession), 1, 3);
        assert_null(late);
        shim_fail(fault_shim, SHIM_C_OpenSession, CKR_OK, 0);
        assert_ok(fault_open_uri(ctx, FAULT_URI, &late));
        fault_works(late);
        kn_key_unref(&late);
    }
    fault_row("peers", "C_OpenSession fails at load", "named error, at most 3 calls; the next load works");
}

static void test_names_in_errors(void **state)
{
    kn_key *none = NULL;
    (void)state;
    assert_error(KN_E_NO_KEY, fault_open_uri(ctx, "pkcs11:token=fault;object=nothing", &none));
    assert_detail("object=nothing");
    assert_detail("'fault'");
    assert_error(KN_E_MODULE_LOAD, fault_open_uri(ctx, FAULT_URI "?module-path=/nowhere/module.so", &none));
    assert_detail("/nowhere/module.so");
    assert_detail("No such file"); /* dlopen's own reason */
    assert_error(KN_E_URI_ATTRIBUTE, fault_open_uri(ctx, "pkcs11:token=fault;obj=device", &none));
    assert_detail("obj");
    assert_null(none);
    fault_row("peers", "no such key; missing module", "named error with the reason of dlopen");
    fault_row("peers", "misspelt URI attribute (`obj=`)", "rejected, the attribute is named");
}

/* ---- what stands under the alias's name ---- */

static kn_key *imported(raw *r, EVP_PKEY *software, const char *uri)
{
    kn_alias *alias = NULL;
    kn_key *opened = NULL;
    kn_public public;
    uint8_t *spki = NULL;
    int spki_length = i2d_PUBKEY(software, &spki);
    (void)raw_import(r, &(raw_key){.label = "swap", .id = "swap", .sensitive = true}, software);
    assert_true(spki_length > 0);
    assert_ok(kn_public_from_spki(spki, (size_t)spki_length, &public));
    OPENSSL_free(spki);
    assert_ok(kn_alias_new(uri, &public, &alias));
    assert_ok(kn_key_open(ctx, alias, &opened));
    kn_alias_free(&alias);
    return opened;
}

static kn_err sign_any(kn_key *any)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length = 99;
    memset(signature, 0x5a, sizeof signature);
    kn_err err = kn_key_sign(any, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    if (kn_failed(err)) { /* outputs untouched */
        assert_int_equal(length, 99);
        for (size_t i = 0; i < sizeof signature; i++)
            assert_int_equal(signature[i], 0x5a);
    }
    return err;
}

/* Deleted: an error. The same key there again: picked up. Another one: an error that says so, and no signature of it. */
static void test_key_deleted_and_replaced(void **state)
{
    (void)state;
    EVP_PKEY *one = test_key_new("P-256"), *two = test_key_new("P-256");
    raw r = raw_open(fault_token);
    kn_key *swap = imported(&r, one, "pkcs11:token=fault;object=swap");
    for (int i = 0; i < 3; i++) {
        assert_ok(sign_any(swap));
        raw_delete(&r, CKO_PRIVATE_KEY, "swap");
        assert_error(KN_E_NO_KEY, sign_any(swap));
        (void)raw_import(&r, &(raw_key){.label = "swap", .id = "swap", .sensitive = true}, two);
        assert_error(KN_E_KEY_CHANGED, sign_any(swap));
        assert_error(KN_E_KEY_CHANGED, sign_any(swap));
        raw_delete(&r, CKO_PRIVATE_KEY, "swap");
        (void)raw_import(&r, &(raw_key){.label = "swap", .id = "swap", .sensitive = true}, one);
    }
    assert_ok(sign_any(swap));
    raw_delete(&r, CKO_PRIVATE_KEY, "swap");
    raw_close(&r);
    kn_key_unref(&swap);
    EVP_PKEY_free(one);
    EVP_PKEY_free(two);
    fault_row("sessions", "key replaced under the same alias", "the same public key: picked up; another: `KN_E_KEY_CHANGED`");
    fault_row("peers", "token with only a private EC key (no public object, no certificate)", "works from an alias that carries the public key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sessions_closed),
        TEST(test_token_out_and_in),
        TEST(test_token_out_and_in_unseen),
        TEST(test_token_in_another_slot),
        TEST(test_somebody_logs_out),
        TEST(test_inserted_after_the_start),
        TEST(test_events_inside_an_operation),
        TEST(test_each_error_once),
        TEST(test_operation_left_active),
        TEST(test_finalised_behind_our_back),
        TEST(test_initialise_fails_once),
        TEST(test_initialise_fails_for_long),
        TEST(test_module_that_must_start_anew),
        TEST(test_the_module_of_others_is_not_finalised),
        TEST(test_renewal_is_throttled),
        TEST(test_open_session_fails_at_load),
        TEST(test_names_in_errors),
        TEST(test_key_deleted_and_replaced),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
