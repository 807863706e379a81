#include "dps_mqtt_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_dps_pki.h"

typedef struct fixture {
    char dir[64];
    dps_store *store;
    dps_service *service;
    dps_peer peer;
    dps_mqtt_session *session;
} fixture;

static const uint8_t connect_bytes[] = "\x10\x3b\0\4MQTT\4\x82\0\x14\0\4dev1\0\x29"
                                       "0ne1/registrations/dev1/api-version=2019x";

static int setup(void **state)
{
    char path[80];
    const dps_hubs hubs = {.names = {"hub.test"}, .count = 1};
    const dps_service_config config = {.hubs = &hubs};
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dir);
    snprintf(path, sizeof(path), "%s/dps.db", f->dir);
    assert_true(dps_store_open(path, true, &f->store, NULL));
    assert_true(dps_service_new(f->store, &config, &f->service, NULL));
    f->session = dps_mqtt_session_new(f->service, &f->peer, "mqtt");
    assert_non_null(f->session);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    dps_mqtt_session_free(&f->session);
    dps_service_free(&f->service);
    dps_store_close(&f->store);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static void expect_output(fixture *f, const void *bytes, size_t n)
{
    size_t have = 0;
    const uint8_t *out = dps_mqtt_session_output(f->session, &have);
    assert_int_equal(have, n);
    if (n > 0)
        assert_memory_equal(out, bytes, n);
    dps_mqtt_session_sent(f->session, have);
}

static void test_states(void **state)
{
    fixture *f = *state;
    expect_output(f, "", 0);
    assert_true(dps_mqtt_session_open(f->session) && !dps_mqtt_session_connected(f->session));
    dps_mqtt_session_input(f->session, connect_bytes, 20);
    assert_false(dps_mqtt_session_connected(f->session));
    dps_mqtt_session_input(f->session, connect_bytes + 20, sizeof(connect_bytes) - 21);
    assert_true(dps_mqtt_session_connected(f->session));
    assert_int_equal(dps_mqtt_session_timeout_s(f->session), 30); /* one and a half times 20 */
    expect_output(f, "\x20\2\0\0", 4);
    dps_mqtt_session_input(f->session, (const uint8_t *)"\xe0\0\xc0\0", 4);
    assert_false(dps_mqtt_session_open(f->session)); /* and what came after DISCONNECT is not answered */
    expect_output(f, "", 0);
}

static void test_keepalive_zero(void **state)
{
    fixture *f = *state;
    uint8_t changed[sizeof(connect_bytes)];
    memcpy(changed, connect_bytes, sizeof(changed));
    changed[11] = 0;
    dps_mqtt_session_input(f->session, changed, sizeof(changed) - 1);
    assert_int_equal(dps_mqtt_session_timeout_s(f->session), DPS_MQTT_IDLE_TIMEOUT_S);
}

static void test_partial_sends(void **state)
{
    fixture *f = *state;
    size_t n = 0;
    dps_mqtt_session_input(f->session, connect_bytes, sizeof(connect_bytes) - 1);
    dps_mqtt_session_input(f->session, (const uint8_t *)"\xc0\0", 2);
    dps_mqtt_session_sent(f->session, 3);
    assert_non_null(dps_mqtt_session_output(f->session, &n));
    expect_output(f, "\0\xd0\0", 3);
}

/* A peer that asks and never reads is closed; its memory has a bound. */
static void test_unread_output(void **state)
{
    fixture *f = *state;
    size_t n = 0;
    dps_mqtt_session_input(f->session, connect_bytes, sizeof(connect_bytes) - 1);
    for (int i = 0; i < DPS_MQTT_OUTPUT_MAX && dps_mqtt_session_open(f->session); i++)
        dps_mqtt_session_input(f->session, (const uint8_t *)"\xc0\0", 2);
    assert_false(dps_mqtt_session_open(f->session));
    dps_mqtt_session_output(f->session, &n);
    assert_int_equal(n, DPS_MQTT_OUTPUT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keepalive_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partial_sends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unread_output, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
