/* The pool of sessions: as many as the token has, no more, none lost, and more again when there are more. */
#include "fault/fault.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define THREADS 64

static void limit(unsigned sessions, bool advertised)
{
    atomic_store(&fault_shim->session_cap, sessions);
    atomic_store(&fault_shim->told_session_count, advertised ? sessions : 0);
}

static void threads_with(unsigned sessions, bool advertised)
{
    static fault_worker w[THREADS];
    enum { ROUNDS = 20 };
    limit(sessions, advertised);
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    shim_reset_calls(fault_shim);
    fault_start(w, THREADS, key, ROUNDS, NULL);
    fault_finish(w, THREADS);
    assert_int_equal(fault_calls(SHIM_C_Sign), THREADS * ROUNDS);
    assert_int_equal(fault_calls(SHIM_C_Login), 0);
    assert_true(fault_sessions() <= sessions);
    unsigned asked = fault_calls(SHIM_C_OpenSession) + 1; /* one was opened with the key */
    assert_true(advertised ? asked <= sessions : asked <= sessions + 100);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    assert_int_equal(fault_sessions(), 0);
    char fault[96];
    (void)snprintf(fault, sizeof fault, "64 threads, %u session%s, %sadvertised", sessions, sessions == 1 ? "" : "s",
                   advertised ? "" : "not ");
    fault_row("peers", fault, "%u of %u succeed", THREADS * ROUNDS, THREADS * ROUNDS);
}

static void test_few_sessions(void **state)
{
    static const unsigned counts[] = {4, 2, 1};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        threads_with(counts[i], true);
        threads_with(counts[i], false);
    }
}

/* A token that has hundreds is used by hundreds: every thread has a session of its own when all sign at once. */
static void test_hundreds_of_sessions(void **state)
{
    enum { MANY = 200 };
    static fault_worker w[MANY];
    atomic_bool stop;
    (void)state;
    atomic_init(&stop, false);
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    atomic_store(&fault_shim->delay_us[SHIM_C_Sign], 20000); /* a token that takes its time */
    fault_start(w, MANY, key, UINT32_MAX, &stop);
    while (fault_sessions() < MANY / 2) /* two cores: not all 200 need to meet; the alarm ends this */
        (void)sched_yield();
    atomic_store(&stop, true);
    fault_finish(w, MANY);
    assert_in_range(fault_calls(SHIM_C_OpenSession), MANY / 2, MANY);
    assert_int_equal(fault_calls(SHIM_C_Login), 1);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    assert_int_equal(fault_sessions(), 0);
    fault_row("sessions", "200 threads, a token without a limit", "more than 100 sessions at once, one C_Login");
}

/* What CKR_SESSION_COUNT taught is forgotten when others give theirs back. */
static void test_the_limit_grows_again(void **state)
{
    static fault_worker w[16];
    atomic_bool stop;
    (void)state;
    atomic_init(&stop, false);
    limit(2, false);
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    atomic_store(&fault_shim->delay_us[SHIM_C_Sign], 2000);
    fault_start(w, COUNT_OF(w), key, UINT32_MAX, &stop);
    while (fault_calls(SHIM_C_OpenSession) < 4) /* it has learned, and tried again */
        (void)sched_yield();
    assert_true(fault_sessions() <= 3); /* the third is being refused */
    limit(12, false);
    while (fault_sessions() < 12)
        (void)sched_yield();
    atomic_store(&stop, true);
    fault_finish(w, COUNT_OF(w));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    assert_int_equal(fault_sessions(), 0);
    fault_row("sessions", "2 sessions, and 12 when other programs gave theirs back", "all 12 are used without a restart");
}

/* Also in a program that had none at all. */
static void test_all_sessions_are_others(void **state)
{
    kn_key *key = NULL;
    kn_ctx *ctx = NULL;
    (void)state;
    const kn_config config = {.module_path = shim_module, .pin_source = fault_token->pin_file, .session_wait_ms = 60};
    assert_ok(kn_ctx_new(&config, &ctx));
    shim_fail(fault_shim, SHIM_C_OpenSession, CKR_SESSION_COUNT, 1000000);
    assert_error(KN_E_SESSION_LIMIT, fault_open_uri(ctx, FAULT_URI, &key));
    assert_detail("'fault'");
    assert_detail("waited 60 ms");
    assert_in_range(fault_calls(SHIM_C_OpenSession), 1, 10); /* no loop */
    shim_fail(fault_shim, SHIM_C_OpenSession, CKR_SESSION_COUNT, 1); /* and this time one is given back in time */
    assert_ok(fault_open_uri(ctx, FAULT_URI, &key));
    fault_works(key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    fault_row("sessions", "other programs hold every session", "`KN_E_SESSION_LIMIT` when none is free in time");
}

/* A context of the caller that waits holds no session, however many there are. */
static void test_open_keys_hold_no_session(void **state)
{
    kn_key *keys[16] = {NULL};
    (void)state;
    limit(6, true);
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        keys[i] = fault_open(ctx);
        assert_ok(fault_sign(keys[i]));
    }
    assert_int_equal(fault_sessions(), 1);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        assert_ok(fault_sign(keys[i]));
        kn_key_unref(&keys[i]);
    }
    kn_ctx_unref(&ctx);
}

static void several_sessions(kn_key *key, unsigned at_least)
{
    static fault_worker w[16];
    atomic_bool stop;
    atomic_init(&stop, false);
    atomic_store(&fault_shim->delay_us[SHIM_C_Sign], 2000);
    fault_start(w, COUNT_OF(w), key, UINT32_MAX, &stop);
    while (fault_sessions() < at_least)
        (void)sched_yield();
    atomic_store(&stop, true);
    fault_finish(w, COUNT_OF(w));
    atomic_store(&fault_shim->delay_us[SHIM_C_Sign], 0);
}

/* A token that says that it, or a session, is gone, and is not: what was open in it is closed, or its limit is reached
 * some day. */
static void test_no_session_is_left_in_a_token_that_lives(void **state)
{
    static const CK_RV values[] = {CKR_DEVICE_REMOVED,         CKR_TOKEN_NOT_PRESENT, CKR_SESSION_CLOSED,
                                   CKR_SESSION_HANDLE_INVALID, CKR_DEVICE_ERROR,      CKR_OPERATION_ACTIVE};
    (void)state;
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(values); i++) {
            several_sessions(key, 4);
            shim_fail(fault_shim, SHIM_C_SignInit, values[i], 1);
            assert_ok(fault_sign(key));
            if (fault_sessions() > 1)
                fail_msg("0x%lx: %u sessions are open", values[i], fault_sessions());
        }
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    fault_row("sessions", "a token that reports its loss and lives", "every session that was open in it is closed");
}

/* The same while other threads hold sessions: those are closed when they come back. */
static void test_no_session_is_left_by_threads(void **state)
{
    static fault_worker w[8];
    atomic_bool stop;
    (void)state;
    atomic_init(&stop, false);
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    fault_start(w, COUNT_OF(w), key, UINT32_MAX, &stop);
    for (int i = 0; i < 200; i++) {
        shim_fail(fault_shim, SHIM_C_SignInit, i % 2 ? CKR_DEVICE_REMOVED : CKR_SESSION_HANDLE_INVALID, 1);
        assert_ok(fault_sign(key));
        if (fault_sessions() > COUNT_OF(w) + 1)
            fail_msg("%u sessions are open", fault_sessions());
    }
    atomic_store(&stop, true);
    fault_join(w, COUNT_OF(w));
    for (size_t i = 0; i < COUNT_OF(w); i++)
        if (atomic_load(&w[i].failed)) /* two of the errors above may hit one operation: then, and only then, it fails */
            assert_text(w[i].detail, "C_SignInit");
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    assert_int_equal(fault_sessions(), 0);
}

/* The planted positive of every count above: a session that somebody leaves is counted. */
static void test_a_lost_session_is_seen(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    shim_fail(fault_shim, SHIM_C_CloseSession, CKR_FUNCTION_FAILED, 1); /* it stays open */
    shim_fail(fault_shim, SHIM_C_SignInit, CKR_DEVICE_ERROR, 1);
    assert_ok(fault_sign(key));
    assert_int_equal(fault_sessions(), 2);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_few_sessions),
        FAULT_TEST(test_hundreds_of_sessions),
        FAULT_TEST(test_the_limit_grows_again),
        FAULT_TEST(test_all_sessions_are_others),
        FAULT_TEST(test_open_keys_hold_no_session),
        FAULT_TEST(test_no_session_is_left_in_a_token_that_lives),
        FAULT_TEST(test_no_session_is_left_by_threads),
        FAULT_TEST(test_a_lost_session_is_seen),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
