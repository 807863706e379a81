/* The device API over AMQP and AMQP over WebSocket, against the real server. The client is proton's engine.
 */
#include "test_dps_amqp_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>

static server dps; /* its port is the AMQP one */
static test_cert root, dev1;

static int start(void **state)
{
    (void)state;
    char path[96];
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &root, .eku = "clientAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    dps.port = dps.amqp_port;
    assert_true(dps.port > 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_cert_free(&dev1);
    test_dir_remove(dps.dir);
    return code;
}

static void provision(const amqp_dialect *d, bool ws)
{
    amqp_peer p;
    char operation[128];
    amqp_begin(&p, &dps, d, &dev1, ws, "dev1");
    assert_true(pn_link_remote_max_message_size(p.sender) >=
                1024); /* else the C SDK's hub client is silent */
    amqp_ask(&p, d, NULL, NULL, "{\"registrationId\":\"dev1\"}");
    if (p.rejected)
        fail_msg("%s: %s", d->name, p.description);
    cJSON *json = amqp_answer(&p, d);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "assigning");
    snprintf(operation, sizeof(operation), "%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(json, "operationId")));
    cJSON_Delete(json);
    assert_int_equal(amqp_retry_after(&p), 3);
    amqp_ask(&p, d, operation, NULL, "{\"registrationId\":\"dev1\"}");
    json = amqp_answer(&p, d);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "assigned");
    cJSON_Delete(json);
    assert_int_equal(amqp_retry_after(&p), 0);
    assert_true(p.accepted);
    amqp_finish(&p);
}

static void test_dialects(void **state)
{
    (void)state;
    provision(&amqp_npm, false);
    provision(&amqp_c_sdk, false);
}

static void test_websocket(void **state)
{
    (void)state;
    char out[OUTPUT_MAX];
    provision(&amqp_npm, true);
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev1", "--json", NULL), 0);
    assert_non_null(strstr(out, "\"transport\":\"amqp-ws\""));
    provision(&amqp_c_sdk, true);
}

static void test_sasl(void **state)
{
    (void)state;
    static const char *const mechanisms[] = {"EXTERNAL", "ANONYMOUS"};
    for (size_t i = 0; i < 2; i++) {
        amqp_dialect d = amqp_npm;
        d.sasl = mechanisms[i];
        provision(&d, false);
    }
}

static void expect_sasl_failure(const char *mechanism, const test_cert *leaf, const char *user,
                                const char *password)
{
    amqp_peer p = {.sender = NULL};
    amqp_dialect d = amqp_npm;
    d.sasl = mechanism;
    client_open(&p.tls, &dps, 0, leaf, NULL);
    amqp_open(&p, &d, user, password);
    amqp_talk(&p, false);
    assert_string_equal(p.condition, "amqp:unauthorized-access");
    amqp_finish(&p);
}

static void test_sasl_refused(void **state)
{
    (void)state;
    char user[64];
    snprintf(user, sizeof(user), "%s/registrations/nobody", dps.scope);
    expect_sasl_failure("EXTERNAL", NULL, NULL, NULL);
    expect_sasl_failure("PLAIN", NULL, user, "SharedAccessSignature sr=a&sig=b&se=1&skn=registration");
    expect_sasl_failure("PLAIN", NULL, user, "x");
    expect_sasl_failure("PLAIN", NULL, "nobody", "x");
}

/* The TPM mechanism by hand: header, init with keys that are none, and a response to nothing. The outcome is
 * "auth" (code 1). */
static void test_sasl_tpm_refused(void **state)
{
    (void)state;
    static const char *const inits[] = {
        "\0scope\0id\0not a key",
        "no zero in front",
    };
    static const size_t sizes[] = {19, 16};
    for (size_t i = 0; i < 2; i++) {
        client c;
        uint8_t frame[128] = {0,    0,    0, 0, 2,    1, 0,   0,   0x00, 0x53,
                              0x41, 0xc0, 0, 2, 0xa3, 3, 'T', 'P', 'M',  0xa0};
        uint8_t got[256];
        size_t n = 20;
        client_open(&c, &dps, 0, NULL, NULL);
        client_send(&c, "AMQP\3\1\0\0", 8);
        client_expect(&c, "AMQP\3\1\0\0", 8);
        client_read(&c, got, 4); /* the mechanisms */
        size_t rest = ((size_t)got[2] << 8 | got[3]) - 4;
        assert_true(rest < sizeof(got));
        client_read(&c, got, rest);
        got[rest] = 0;
        assert_non_null(memmem(got, rest, "TPM", 3));
        frame[n++] = (uint8_t)sizes[i];
        memcpy(frame + n, inits[i], sizes[i]);
        n += sizes[i];
        frame[12] = (uint8_t)(n - 13);
        frame[3] = (uint8_t)n;
        client_send(&c, frame, n);
        if (i == 0) { /* asked for the storage root key: one zero byte */
            static const uint8_t srk[] = {0,    0,    0, 19, 2,    1, 0, 0,   0,  0x53,
                                          0x43, 0xc0, 6, 1,  0xa0, 3, 0, 'x', 'y'};
            client_read(&c, got, 4);
            rest = ((size_t)got[2] << 8 | got[3]) - 4;
            client_read(&c, got, rest);
            assert_memory_equal(got + 4, "\0\x53\x42", 3);
            assert_memory_equal(got + rest - 3, "\xa0\1\0", 3);
            client_send(&c, srk, sizeof(srk));
        }
        client_read(&c, got, 4);
        rest = ((size_t)got[2] << 8 | got[3]) - 4;
        client_read(&c, got, rest);
        assert_memory_equal(got + 4, "\0\x53\x44", 3);   /* sasl-outcome */
        assert_non_null(memmem(got, rest, "\x50\1", 2)); /* ubyte 1 */
        client_close(&c);
    }
}

static void expect_rejected(amqp_peer *p, const char *condition, int code, const char *text)
{
    assert_true(p->rejected);
    assert_string_equal(p->condition, condition);
    cJSON *json = cJSON_Parse(p->description);
    assert_int_equal((int)cJSON_GetNumberValue(cJSON_GetObjectItem(json, "errorCode")), code);
    assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "trackingId")));
    if (strstr(p->description, text) == NULL)
        fail_msg("\"%s\" is not in %s", text, p->description);
    cJSON_Delete(json);
}

static void test_rejected(void **state)
{
    (void)state;
    amqp_peer p;
    amqp_begin(&p, &dps, &amqp_npm, &dev1, false, "dev1");
    amqp_ask(&p, &amqp_npm, "5.0.none", NULL, "");
    expect_rejected(&p, "amqp:not-found", 404202, "Operation not found");
    amqp_ask(&p, &amqp_npm, NULL, NULL, "{");
    expect_rejected(&p, "com.microsoft:argument-error", 400000, "JSON");
    amqp_ask(&p, &amqp_npm, NULL, "iotdps-dance", "{}");
    expect_rejected(&p, "com.microsoft:argument-error", 400004, "iotdps-operation-type");
    amqp_ask(&p, &amqp_npm, NULL, NULL, "{\"registrationId\":\"dev1\"}"); /* the link is as good as before */
    assert_true(p.answered);
    amqp_finish(&p);
    amqp_begin(&p, &dps, &amqp_npm, &dev1, false, "dev2");
    amqp_ask(&p, &amqp_npm, NULL, NULL, "{\"registrationId\":\"dev2\"}");
    expect_rejected(&p, "amqp:unauthorized-access", 401002, "common name");
    amqp_finish(&p);
    amqp_dialect old = amqp_npm;
    old.version = "1999-01-01";
    amqp_begin(&p, &dps, &old, &dev1, false, "dev1");
    amqp_ask(&p, &old, NULL, NULL, "{}");
    expect_rejected(&p, "com.microsoft:argument-error", 400001, "api-version");
    amqp_finish(&p);
}

static void test_unknown_address(void **state)
{
    (void)state;
    amqp_peer p = {.sender = NULL};
    client_open(&p.tls, &dps, 0, &dev1, NULL);
    amqp_open(&p, &amqp_npm, NULL, NULL);
    amqp_attach(&p, &amqp_npm, "nowhere");
    assert_string_equal(p.condition, "amqp:not-found");
    amqp_finish(&p);
}

/* More than the max-message-size of the link ends the connection; garbage ends it too. */
static void test_hostile(void **state)
{
    (void)state;
    amqp_peer p;
    char *body = malloc(80000);
    assert_non_null(body);
    memset(body, ' ', 79999);
    body[79999] = '\0';
    amqp_begin(&p, &dps, &amqp_npm, &dev1, false, "dev1");
    amqp_ask(&p, &amqp_npm, NULL, NULL, body);
    assert_false(p.answered || p.accepted);
    amqp_finish(&p);
    free(body);
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "AMQP\0\1\0\0\xff\xff\xff\xff\2\0\0\0",
                                          "AMQP\0\1\0\0\0\0\0\1\2\0\0\0",
                                          "AMQP\3\1\0\0\0\0\0\x0c\2\1\0\0zzzz",
                                          /* a SASL init without a mechanism */
                                          "AMQP\3\1\0\0\0\0\0\x10\2\1\0\0\0\x53\x41\xc0\3\2\x40\x40"};
    static const size_t sizes[] = {18, 16, 16, 20, 24};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        client c;
        char rest[4096];
        client_open(&c, &dps, 0, &dev1, NULL);
        client_send(&c, garbage[i], sizes[i]);
        assert_true(client_read_all(&c, rest, sizeof(rest)) < sizeof(rest) - 1); /* an end, not a time-out */
        client_close(&c);
    }
    provision(&amqp_npm, false);
}

static void test_silence(void **state)
{
    (void)state;
    server quick = {.pid = 0};
    client mute, half;
    test_dir_make(quick.dir);
    server_start(&quick, (const char *const[]){"--free-ports", "--connect-timeout", "1", NULL});
    quick.port = quick.amqp_port;
    client_open(&mute, &quick, 0, NULL, NULL);
    client_open(&half, &quick, 0, NULL, NULL);
    client_send(&half, "AMQP\0\1\0\0", 8);
    client_expect(&half, "AMQP\0\1\0\0", 8);
    client_expect_end(&mute);
    client_expect_end(&half);
    client_close(&mute);
    client_close(&half);
    assert_int_equal(server_stop(&quick, SIGTERM), 0);
    test_dir_remove(quick.dir);
}

/* A device that wants to hear something every second (OPEN's idle-time-out): empty frames come, and the
 * connection is as good as before. It says as much itself. */
static void test_heartbeats(void **state)
{
    (void)state;
    amqp_peer p = {.sender = NULL};
    amqp_dialect d = amqp_npm;
    char path[256];
    server at = dps;
    at.port = dps.amqp_port;
    client_open(&p.tls, &at, 0, &dev1, NULL);
    amqp_open(&p, &d, NULL, NULL);
    pn_transport_set_idle_timeout(p.driver.transport, 1000);
    snprintf(path, sizeof(path), "%s/registrations/dev1", dps.scope);
    amqp_attach(&p, &d, path);
    uint64_t frames = pn_transport_get_frames_input(p.driver.transport);
    for (int quarter = 0; quarter < 10; quarter++) {
        struct pollfd fd = {.fd = p.tls.fd, .events = POLLIN};
        if (SSL_pending(p.tls.ssl) == 0 && poll(&fd, 1, 250) == 0)
            continue;
        pn_rwbytes_t room = pn_connection_driver_read_buffer(&p.driver);
        size_t n = client_read_some(&p.tls, (uint8_t *)room.start, room.size);
        assert_true(n > 0);
        pn_connection_driver_read_done(&p.driver, n);
        while (pn_connection_driver_next_event(&p.driver) != NULL)
            ;
    }
    assert_true(pn_transport_get_frames_input(p.driver.transport) >= frames + 2);
    amqp_ask(&p, &d, NULL, NULL, "{}");
    assert_true(p.answered);
    amqp_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_sasl),
        cmocka_unit_test(test_sasl_refused),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_unknown_address),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_sasl_tpm_refused),
        cmocka_unit_test(test_heartbeats),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
