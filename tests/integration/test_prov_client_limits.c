/* Time limits, cancellation, and the checks that come before any connection. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"

#include "kn_prov.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define ASSIGNING "{\"operationId\":\"5.1.2\",\"status\":\"assigning\"}"

static fake_pki *pki;

static int set_up(void **state)
{
    (void)state;
    pki = fake_pki_new();
    fake_hsm = (fake_hsm_settings){
        .common_name = FAKE_DEVICE_NAME, .certificate = pki->device_cert, .key = pki->device_key};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_pki_free(pki);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void expect_failure(const kn_prov_request *request, kn_prov_code code, const char *words,
                           int64_t min_ms, int64_t max_ms)
{
    kn_prov_result result = KN_PROV_RESULT_INIT;
    int64_t start = now_ms(), took;
    kn_prov_code got = kn_prov_register(request, &result);

    took = now_ms() - start;
    assert_non_null(result.message);
    print_message("  %s after %d ms: %s\n", kn_prov_error_of(got)->name, (int)took, result.message);
    assert_string_equal(kn_prov_error_of(got)->name, kn_prov_error_of(code)->name);
    assert_non_null(strstr(result.message, words));
    assert_in_range(took, min_ms, max_ms);
    kn_prov_result_clear(&result);
    assert_int_equal(fake_hsm_handles, 0);
}

static kn_prov_request request_for(const fake_dps *dps)
{
    return (kn_prov_request){.endpoint = fake_dps_endpoint(dps),
                             .id_scope = "0ne00012345",
                             .ca_file = pki->ca_file,
                             .step_timeout_ms = 400,
                             .timeout_ms = 20000};
}

static void test_step_timeouts(void **state)
{
    (void)state;
    for (int phase = FAKE_AT_ACCEPT; phase < FAKE_AFTER_REPLY; phase++) {
        fake_script script = {.stall_at = (fake_phase)phase};
        fake_dps *dps = fake_dps_start(pki, &script);
        kn_prov_request request = request_for(dps);
        fake_reply none = {.status = 0};

        script.replies = &none;
        script.replies_count = 1;
        expect_failure(&request, KN_PROV_E_TIMEOUT, "0.400 s", 350, 5000);
        fake_dps_stop(dps);
    }
}

static void test_overall_timeout(void **state)
{
    fake_script script = {.stall_at = FAKE_AFTER_SUBACK};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(dps);

    (void)state;
    request.step_timeout_ms = 10000;
    request.timeout_ms = 500;
    expect_failure(&request, KN_PROV_E_TIMEOUT, "overall limit of 0.500 s", 450, 5000);
    fake_dps_stop(dps);
}

/* There is no use in waiting when the limit comes first. */
static void test_pause_beyond_limit(void **state)
{
    static const fake_reply reply = {.status = 202, .body = ASSIGNING, .retry_after = "60"};
    fake_script script = {.replies = &reply, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(dps);

    (void)state;
    request.step_timeout_ms = 10000;
    expect_failure(&request, KN_PROV_E_TIMEOUT, "pause of 60.000 s after status 202", 0, 10000);
    fake_dps_stop(dps);
}

static atomic_bool cancel;

static void cancel_when_assigning(kn_prov_status status, void *context)
{
    (void)context;
    if (status == KN_PROV_STATUS_ASSIGNING)
        atomic_store(&cancel, true);
}

static void test_cancel_in_pause(void **state)
{
    static const fake_reply reply = {.status = 202, .body = ASSIGNING, .retry_after = "15"};
    fake_script script = {.replies = &reply, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(dps);

    (void)state;
    atomic_store(&cancel, false);
    request.step_timeout_ms = 10000;
    request.cancel = &cancel;
    request.on_status = cancel_when_assigning;
    expect_failure(&request, KN_PROV_E_CANCELLED, "caller asked to stop", 0, 10000);
    fake_dps_stop(dps);
}

static void on_alarm(int number)
{
    (void)number;
    atomic_store(&cancel, true);
}

/* From a signal handler, in a blocking wait and in the TLS handshake. */
static void check_cancel_at(fake_phase phase)
{
    fake_script script = {.stall_at = phase};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(dps);
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerspec in_a_moment = {.it_value = {.tv_nsec = 300000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    timer_t timer;

    atomic_store(&cancel, false);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &in_a_moment, NULL), 0);
    request.step_timeout_ms = 10000;
    request.cancel = &cancel;
    expect_failure(&request, KN_PROV_E_CANCELLED, "caller asked to stop", 200, 9000);
    assert_int_equal(timer_delete(timer), 0);
    fake_dps_stop(dps);
}

static void test_cancel_by_signal(void **state)
{
    (void)state;
    check_cancel_at(FAKE_AFTER_CONNECT);
    check_cancel_at(FAKE_AT_ACCEPT);
}

static void test_cancelled_before(void **state)
{
    kn_prov_request request = {.endpoint = "localhost:1", .id_scope = "s", .cancel = &cancel};

    (void)state;
    atomic_store(&cancel, true);
    expect_failure(&request, KN_PROV_E_CANCELLED, "TLS connection", 0, 2000);
}

static void test_arguments(void **state)
{
    static const struct {
        kn_prov_request request;
        const char *words;
    } rows[] = {
        {{.id_scope = NULL}, "ID scope"},
        {{.id_scope = "0ne/1"}, "ID scope"},
        {{.id_scope = "s", .transport = "pigeon"}, "there are: mqtt"},
        {{.id_scope = "s", .attestation = "oath"}, "there are: x509"},
        {{.id_scope = "s", .endpoint = "https://x"}, "port"},
        {{.id_scope = "s", .endpoint = "x/y"}, "HOST[:PORT]"},
        {{.id_scope = "s", .registration_id = "a b"}, "registration ID"},
        {{.id_scope = "s", .payload = "{"}, "payload"},
        {{.id_scope = "s", .payload = "1 2"}, "payload"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_failure(&rows[i].request, KN_PROV_E_ARGUMENT, rows[i].words, 0, 2000);
}

#define THREADS 4

static void *register_in_thread(void *context)
{
    static const fake_reply reply = {.status = 404, .body = "{}"};
    fake_script script = {.replies = &reply, .replies_count = 1};

    (void)context;
    for (int i = 0; i < 5; i++) {
        fake_dps *dps = fake_dps_start(pki, &script);
        kn_prov_request request = request_for(dps);
        kn_prov_result result = KN_PROV_RESULT_INIT;

        request.step_timeout_ms = 10000;
        if (kn_prov_register(&request, &result) != KN_PROV_E_NOT_ENROLLED)
            abort();
        kn_prov_result_clear(&result);
        fake_dps_stop(dps);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, register_in_thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_timeouts),      cmocka_unit_test(test_overall_timeout),
        cmocka_unit_test(test_pause_beyond_limit), cmocka_unit_test(test_cancel_in_pause),
        cmocka_unit_test(test_cancel_by_signal),   cmocka_unit_test(test_cancelled_before),
        cmocka_unit_test(test_arguments),          cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
