#include "prov_register.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ASSIGNING "{\"operationId\":\"5.1\",\"status\":\"assigning\"}"
#define ASSIGNED                                                                                             \
    "{\"operationId\":\"5.1\",\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\","         \
    "\"deviceId\":\"d\"}}"
#define FAILED(code) "{\"status\":\"failed\",\"registrationState\":{\"errorCode\":" code "}}"

static kn_prov_code feed_jitter(prov_register *machine, int status, uint32_t retry_after_s, const char *body,
                                uint32_t jitter, prov_action *ret_action)
{
    char copy[512];
    prov_reply reply = {.status = status, .retry_after_s = retry_after_s};
    prov_error error = {.detail = ""};
    kn_prov_code code;

    if (body) {
        (void)snprintf(copy, sizeof copy, "%s", body);
        reply.body = copy;
        reply.body_size = strlen(copy);
    }
    code = prov_register_next(machine, &reply, jitter, ret_action, &error);
    if (code) {
        assert_true(strlen(error.detail) > 0);
        assert_int_equal(machine->state, PROV_STATE_ENDED);
    }
    return code;
}

static kn_prov_code feed(prov_register *machine, int status, uint32_t retry_after_s, const char *body,
                         prov_action *ret_action)
{
    return feed_jitter(machine, status, retry_after_s, body, 0, ret_action);
}

static void test_usual_course(void **state)
{
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;

    (void)state;
    assert_int_equal(feed(&machine, 202, 3, ASSIGNING, &action), KN_PROV_OK);
    assert_int_equal(action.kind, PROV_ACTION_POLL);
    assert_int_equal(action.pause_ms, 3000);
    assert_string_equal(machine.operation_id, "5.1");
    assert_int_equal(feed(&machine, 202, 0, ASSIGNING, &action), KN_PROV_OK);
    assert_int_equal(action.pause_ms, PROV_RETRY_DEFAULT_S * 1000);
    assert_int_equal(feed(&machine, 200, 0, ASSIGNED, &action), KN_PROV_OK);
    assert_int_equal(action.kind, PROV_ACTION_DONE);
    assert_int_equal(action.pause_ms, 0);
    assert_string_equal(machine.response.assigned_hub, "h");
    assert_int_equal(machine.state, PROV_STATE_ENDED);
    prov_register_clear(&machine);
}

static void test_retry_after(void **state)
{
    static const struct {
        uint32_t given_s, pause_ms;
    } rows[] = {{0, 2000}, {1, 1000}, {300, 300000}, {301, 2000}, {999999999, 2000}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_register machine = PROV_REGISTER_INIT;
        prov_action action;

        assert_int_equal(feed(&machine, 202, rows[i].given_s, ASSIGNING, &action), KN_PROV_OK);
        assert_int_equal(action.pause_ms, rows[i].pause_ms);
        prov_register_clear(&machine);
    }
}

static void check_backoff(int status, kn_prov_code end)
{
    static const uint32_t pauses_ms[] = {2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;

    for (unsigned i = 0; i < PROV_TRANSIENT_MAX; i++) {
        assert_int_equal(feed(&machine, status, 0, "{\"errorCode\":429001}", &action), KN_PROV_OK);
        assert_int_equal(action.kind, PROV_ACTION_REGISTER);
        assert_int_equal(action.pause_ms, pauses_ms[i]);
    }
    assert_int_equal(feed(&machine, status, 0, NULL, &action), end);
    prov_register_clear(&machine);
}

static void test_backoff(void **state)
{
    (void)state;
    check_backoff(429, KN_PROV_E_THROTTLED);
    check_backoff(500, KN_PROV_E_SERVICE);
    check_backoff(503, KN_PROV_E_SERVICE);
    check_backoff(599, KN_PROV_E_SERVICE);
}

/* Never shorter than what the service asked for, never longer by more than a half. */
static void test_backoff_honours_retry_after(void **state)
{
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;

    (void)state;
    assert_int_equal(feed(&machine, 429, 120, NULL, &action), KN_PROV_OK);
    assert_int_equal(action.pause_ms, 120000);
    assert_int_equal(feed_jitter(&machine, 429, 120, NULL, PROV_JITTER_RANGE - 1, &action), KN_PROV_OK);
    assert_in_range(action.pause_ms, 170000, 180000);
    assert_int_equal(feed_jitter(&machine, 429, 300, NULL, UINT32_MAX, &action), KN_PROV_OK);
    assert_in_range(action.pause_ms, 300000, 450000);
    prov_register_clear(&machine);
}

static void test_transient_while_assigning(void **state)
{
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;

    (void)state;
    assert_int_equal(feed(&machine, 429, 0, NULL, &action), KN_PROV_OK);
    assert_int_equal(feed(&machine, 202, 1, ASSIGNING, &action), KN_PROV_OK);
    assert_int_equal(machine.transient, 0);
    assert_int_equal(feed(&machine, 503, 0, "<html>", &action), KN_PROV_OK);
    assert_int_equal(action.kind, PROV_ACTION_POLL);
    assert_string_equal(machine.operation_id, "5.1");
    assert_int_equal(feed(&machine, 200, 0, ASSIGNED, &action), KN_PROV_OK);
    prov_register_clear(&machine);
}

static void test_outcomes(void **state)
{
    static const struct {
        int status;
        const char *body;
        kn_prov_code code;
    } rows[] = {
        {200, FAILED("400208"), KN_PROV_E_NO_HUB},
        {200, FAILED("400209"), KN_PROV_E_UNAUTHORIZED},
        {200, FAILED("400999"), KN_PROV_E_FAILED},
        {200, "{\"status\":\"failed\"}", KN_PROV_E_FAILED},
        {200, "{\"status\":\"disabled\"}", KN_PROV_E_DISABLED},
        {200, "{\"status\":\"blacklisted\"}", KN_PROV_E_DISABLED},
        {200, "{\"status\":\"unassigned\"}", KN_PROV_E_RESPONSE},
        {200, "{\"status\":\"surprise\"}", KN_PROV_E_RESPONSE},
        {200, "{}", KN_PROV_E_RESPONSE},
        {200, "", KN_PROV_E_RESPONSE},
        {204, NULL, KN_PROV_E_RESPONSE},
        {100, "{}", KN_PROV_E_PROTOCOL},
        {302, "{}", KN_PROV_E_PROTOCOL},
        {400, "{\"errorCode\":400004}", KN_PROV_E_REFUSED},
        {401, "{\"errorCode\":401002}", KN_PROV_E_UNAUTHORIZED},
        {401, "not JSON", KN_PROV_E_UNAUTHORIZED},
        {403, NULL, KN_PROV_E_UNAUTHORIZED},
        {404, "{\"errorCode\":404201}", KN_PROV_E_NOT_ENROLLED},
        {409, "{}", KN_PROV_E_REFUSED},
        {412, "[]", KN_PROV_E_REFUSED},
        {428, "{}", KN_PROV_E_REFUSED},
        {430, "{}", KN_PROV_E_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_register machine = PROV_REGISTER_INIT;
        prov_action action;

        if (feed(&machine, rows[i].status, 0, rows[i].body, &action) != rows[i].code)
            fail_msg("row %zu", i);
        prov_register_clear(&machine);
    }
}

static void test_other_operation(void **state)
{
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;

    (void)state;
    assert_int_equal(feed(&machine, 202, 1, ASSIGNING, &action), KN_PROV_OK);
    assert_int_equal(feed(&machine, 202, 1, "{\"operationId\":\"6\",\"status\":\"assigning\"}", &action),
                     KN_PROV_E_RESPONSE);
    prov_register_clear(&machine);
}

static void test_words_of_the_service(void **state)
{
    char body[] = "{\"errorCode\":404201,\"trackingId\":\"t-1\",\"message\":\"nobody knows it\"}";
    prov_reply reply = {.status = 404, .body = body, .body_size = sizeof body - 1};
    prov_register machine = PROV_REGISTER_INIT;
    prov_action action;
    prov_error error;

    (void)state;
    assert_int_equal(prov_register_next(&machine, &reply, 0, &action, &error), KN_PROV_E_NOT_ENROLLED);
    assert_string_equal(error.detail, "status 404, error code 404201, tracking id t-1: nobody knows it");
    prov_register_clear(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual_course),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_backoff_honours_retry_after),
        cmocka_unit_test(test_transient_while_assigning),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_other_operation),
        cmocka_unit_test(test_words_of_the_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
