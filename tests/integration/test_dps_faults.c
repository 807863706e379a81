/* Faults on demand, against the real server: every kind over MQTT, and each effect over every transport. */
#include "test_dps_amqp_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static server dps;
static test_cert root, dev1, dev2;

static int start(void **state)
{
    (void)state;
    char path[96];
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &root, .eku = "clientAuth"});
    dev2 = test_cert_make(&(test_cert_spec){.cn = "dev2", .issuer = &root, .eku = "clientAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(
        run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate", path, NULL),
        0);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_cert_free(&dev1);
    test_cert_free(&dev2);
    test_dir_remove(dps.dir);
    return code;
}

static int clear(void **state)
{
    (void)state;
    return run_program(NULL, "fault", "clear", "--dir", dps.dir, NULL);
}

/* At most three options with their values. */
static void fault(const char *kind, const char *a, const char *av, const char *b, const char *bv,
                  const char *c, const char *cv)
{
    assert_int_equal(
        run_program(NULL, "fault", "add", "--dir", dps.dir, "--kind", kind, a, av, b, bv, c, cv, NULL), 0);
}

static void hello(client *c, const test_cert *leaf, const char *id)
{
    client_open(c, &dps, 0, leaf, NULL);
    client_hello(c, &dps, id);
}

static bool known(const char *id)
{
    return run_program(NULL, "registrations", "--dir", dps.dir, "--id", id, NULL) == 0;
}

static void test_throttle(void **state)
{
    (void)state;
    client c;
    message m;
    fault("throttle", "--id", "DEV1", "--retry-after", "7", "--count", "2");
    hello(&c, &dev1, "dev1");
    for (int i = 0; i < 2; i++) {
        client_register(&c, "1", "", &m);
        assert_int_equal(m.status, 429);
        assert_non_null(strstr(m.topic, "retry-after=7"));
        assert_non_null(strstr(m.body, "\"errorCode\":429001"));
    }
    client_register(&c, "2", "", &m); /* the third time it works */
    assert_int_equal(m.status, 202);
    client_close(&c);
    clear(NULL);
    fault("throttle", "--id", "dev1", "--percent", "100", "--step", "register");
    hello(&c, &dev2, "dev2"); /* and for others always */
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    client_close(&c);
}

static void test_error(void **state)
{
    (void)state;
    client c;
    message m;
    char operation[128];
    hello(&c, &dev1, "dev1");
    client_register(&c, "1", "", &m);
    operation_of(&m, operation);
    fault("error", "--step", "status", "--status", "503", "--message", "busy now");
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 503);
    assert_non_null(strstr(m.body, "\"errorCode\":503001"));
    assert_non_null(strstr(m.body, "busy now"));
    clear(NULL);
    client_poll(&c, "3", operation, &m);
    assert_int_equal(m.status, 200);
    client_close(&c);
}

static void send_register(client *c)
{
    packet p = publish_packet(0x32, 5, "$dps/registrations/PUT/iotdps-register/?$rid=1", "");
    client_send(c, p.bytes, p.n);
}

static void test_drop(void **state)
{
    (void)state;
    client c;
    char out[OUTPUT_MAX];
    fault("drop", "--step", "register", "--id", "lost1", "--count", "1");
    test_cert lost1 = test_cert_make(&(test_cert_spec){.cn = "lost1", .issuer = &root, .eku = "clientAuth"});
    hello(&c, &lost1, "lost1");
    send_register(&c);
    client_expect_end(&c);
    client_close(&c);
    assert_false(known("lost1")); /* nothing was done */
    clear(NULL);
    assert_int_equal(run_program(NULL, "fault", "add", "--dir", dps.dir, "--kind", "drop", "--step",
                                 "register", "--after", NULL),
                     0);
    hello(&c, &lost1, "lost1");
    send_register(&c);
    client_expect_end(&c);
    client_close(&c);
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "lost1", NULL),
                     0); /* it was done */
    assert_non_null(strstr(out, "assigned"));
    test_cert_free(&lost1);
}

static void test_drop_connections(void **state)
{
    (void)state;
    client c;
    fault("drop", "--step", "connect", "--count", "1", "--percent", "100");
    assert_false(client_try(&c, &dps, 0, &dev1, NULL));
    clear(NULL);
    fault("drop", "--step", "handshake", "--count", "1", "--percent", "100");
    client_open(&c, &dps, 0, &dev1, NULL);
    client_send(&c, "\x10", 1);
    client_expect_end(&c);
    client_close(&c);
    hello(&c, &dev1, "dev1"); /* once is once */
    client_close(&c);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_delay(void **state)
{
    (void)state;
    client c;
    message m;
    fault("delay", "--step", "register", "--delay", "700", "--count", "1");
    hello(&c, &dev1, "dev1");
    double before = now_s();
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    assert_true(now_s() - before >= 0.7);
    client_register(&c, "2", "", &m); /* and the connection goes on */
    assert_int_equal(m.status, 202);
    client_close(&c);
}

static void test_malformed(void **state)
{
    (void)state;
    client c;
    message m;
    fault("malformed", "--step", "register", "--id", "dev1", "--percent", "100");
    hello(&c, &dev1, "dev1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    assert_true(strlen(m.body) > 10);
    cJSON *json = cJSON_Parse(m.body);
    assert_null(json);
    client_close(&c);
}

static void test_assignment(void **state)
{
    (void)state;
    client c;
    message m;
    char operation[128], out[OUTPUT_MAX];
    fault("fail", "--step", "register", "--error-code", "400209", "--message", "the hub says no");
    hello(&c, &dev1, "dev1");
    client_register(&c, "1", "", &m);
    operation_of(&m, operation);
    clear(NULL);
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 200);
    cJSON *json = cJSON_Parse(m.body);
    const cJSON *registration = cJSON_GetObjectItem(json, "registrationState");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "failed");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(registration, "status")), "failed");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(registration, "errorMessage")),
                        "the hub says no");
    assert_true((int)cJSON_GetNumberValue(cJSON_GetObjectItem(registration, "errorCode")) == 400209);
    assert_non_null(cJSON_GetObjectItem(registration, "lastUpdatedDateTimeUtc"));
    assert_null(cJSON_GetObjectItem(registration, "assignedHub"));
    cJSON_Delete(json);
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev1", NULL), 0);
    assert_non_null(strstr(out, "failed: 400209"));

    fault("stuck", "--id", "dev1", "--percent", "100", "--step", "status");
    client_register(&c, "3", "", &m);
    operation_of(&m, operation);
    for (int i = 0; i < 3; i++) {
        client_poll(&c, "4", operation, &m);
        assert_int_equal(m.status, 202);
        assert_non_null(strstr(m.body, "assigning"));
    }
    clear(NULL);
    client_poll(&c, "5", operation, &m);
    assert_int_equal(m.status, 200);
    assert_non_null(strstr(m.body, "\"status\":\"assigned\""));
    client_close(&c);
}

static void test_certificate(void **state)
{
    (void)state;
    client c;
    static const char *const kinds[] = {"wrong-name", "expired", "untrusted"};
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 3; i++) {
        fault("wrong-certificate", "--certificate", kinds[i], "--count", "2", "--percent", "100");
        for (size_t v = 0; v < 2; v++)
            assert_false(client_try(&c, &dps, versions[v], &dev1, NULL));
        assert_true(client_try(&c, &dps, 0, &dev1, NULL));
        client_close(&c);
        clear(NULL);
    }
}

static void test_clock(void **state)
{
    (void)state;
    client c;
    message m;
    fault("clock-skew", "--skew", "200000000", "--percent", "100", "--step", "request");
    hello(&c, &dev1, "dev1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 401);
    assert_non_null(strstr(m.body, "has expired"));
    char year[16];
    time_t later = time(NULL) + 200000000;
    strftime(year, sizeof(year), "\"%Y-", gmtime(&later));
    assert_non_null(strstr(m.body, year)); /* timestampUtc */
    clear(NULL);
    client_register(&c, "2", "", &m);
    assert_int_equal(m.status, 202);
    client_close(&c);
}

static void test_https(void **state)
{
    (void)state;
    client c;
    char request[256], answer[4096];
    server https = dps;
    https.port = dps.https_port;
    snprintf(request, sizeof(request),
             "PUT /%s/registrations/dev1/register?api-version=2021-06-01 HTTP/1.1\r\nHost: "
             "x\r\nContent-Length: 0\r\n"
             "Connection: close\r\n\r\n",
             dps.scope);
    fault("throttle", "--retry-after", "9", "--count", "1", "--step", "register");
    client_open(&c, &https, 0, &dev1, NULL);
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 429 ", 13);
    assert_non_null(strstr(answer, "\r\nRetry-After: 9\r\n"));
    assert_non_null(strstr(answer, "\r\nx-ms-error-code: 429001\r\n"));
    client_close(&c);
    clear(NULL);
    fault("drop", "--step", "register", "--count", "1", "--id", "dev1");
    fault("delay", "--step", "register", "--delay", "300", "--percent", "100");
    client_open(&c, &https, 0, &dev1, NULL);
    client_send(&c, request, strlen(request));
    client_expect_end(&c);
    client_close(&c);
    double before = now_s();
    client_open(&c, &https, 0, &dev1, NULL);
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 202 ", 13);
    assert_true(now_s() - before >= 0.3);
    client_close(&c);
    clear(NULL);
    /* the service API: a fault comes before the token is looked at */
    fault("error", "--step", "service", "--status", "502", "--retry-after", "3");
    client_open(&c, &https, 0, NULL, NULL);
    snprintf(request, sizeof(request), "GET /enrollments/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 502 ", 13);
    assert_non_null(strstr(answer, "\r\nRetry-After: 3\r\n"));
    client_close(&c);
    clear(NULL);
    fault("throttle", "--step", "service", "--retry-after", "4", "--count", "1");
    client_open(&c, &https, 0, NULL, NULL);
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 429 ", 13);
    assert_non_null(strstr(answer, "\r\nRetry-After: 4\r\n"));
    client_close(&c);
    clear(NULL);
    fault("drop", "--step", "service", "--count", "1", NULL, NULL);
    client_open(&c, &https, 0, NULL, NULL);
    client_send(&c, request, strlen(request));
    client_expect_end(&c);
    client_close(&c);
    clear(NULL);
    fault("delay", "--step", "service", "--delay", "300", "--count", "1");
    client_open(&c, &https, 0, NULL, NULL);
    before = now_s();
    client_send(&c, request, strlen(request));
    client_read_all(&c, answer, sizeof(answer));
    assert_memory_equal(answer, "HTTP/1.1 400 ", 13); /* no api-version: it is looked at as ever */
    assert_true(now_s() - before >= 0.3);
    client_close(&c);
}

/* An answer, a dropped connection and a delay, over AMQP and its WebSocket, and over MQTT's. */
static void test_transports(void **state)
{
    (void)state;
    amqp_peer p;
    client c;
    message m;
    for (int ws = 0; ws < 2; ws++) {
        fault("throttle", "--step", "register", "--retry-after", "9", "--count", "1");
        amqp_begin(&p, &dps, &amqp_npm, &dev1, ws == 1, "dev1");
        amqp_ask(&p, &amqp_npm, NULL, NULL, "{}");
        assert_true(p.rejected);
        assert_string_equal(p.condition, "com.microsoft:device-container-throttled");
        assert_non_null(strstr(p.description, "\"errorCode\":429001"));
        clear(NULL);
        fault("error", "--status", "503", "--count", "1", "--step", "request");
        amqp_ask(&p, &amqp_npm, NULL, NULL, "{}");
        assert_true(p.rejected);
        assert_string_equal(p.condition, "amqp:internal-error");
        clear(NULL);
        fault("delay", "--step", "register", "--delay", "400", "--count", "1");
        double before = now_s();
        amqp_ask(&p, &amqp_npm, NULL, NULL, "{}"); /* the connection is as good as before */
        assert_true(p.answered && now_s() - before >= 0.4);
        amqp_finish(&p);
        clear(NULL);
    }
    server https = dps;
    https.port = dps.https_port;
    client_open(&c, &https, 0, &dev1, NULL);
    client_upgrade(&c, "mqtt");
    client_hello(&c, &dps, "dev1");
    fault("delay", "--step", "register", "--delay", "400", "--count", "1");
    double before = now_s();
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    assert_true(now_s() - before >= 0.4);
    clear(NULL);
    fault("drop", "--step", "register", "--after", NULL, NULL, NULL);
    send_register(&c);
    client_expect_end(&c);
    client_close(&c);
}

static void put_file(const char *text)
{
    char path[96], temporary[104];
    snprintf(path, sizeof(path), "%s/faults.json", dps.dir);
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    FILE *file = fopen(temporary, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(temporary, path), 0);
}

/* A file by hand; a broken one leaves what was before, in the server and for the commands. */
static void test_file(void **state)
{
    (void)state;
    client c;
    message m;
    char out[OUTPUT_MAX];
    put_file("{\"faults\":[{\"kind\":\"error\",\"status\":599}]}");
    hello(&c, &dev1, "dev1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 599);
    put_file("{\"faults\":[{\"kind\":\"errors\"}]}");
    client_register(&c, "2", "", &m);
    assert_int_equal(m.status, 599);
    assert_int_equal(run_program(out, "fault", "list", "--dir", dps.dir, NULL), 1);
    assert_int_equal(run_program(out, "fault", "add", "--dir", dps.dir, "--kind", "drop", NULL), 1);
    assert_int_equal(clear(NULL), 0);
    client_register(&c, "3", "", &m);
    assert_int_equal(m.status, 202);
    client_close(&c);
    assert_int_equal(run_program(out, "fault", "list", "--dir", dps.dir, NULL), 0);
    assert_string_equal(out, "{\"faults\":[]}\n");
    assert_int_equal(run_program(out, "fault", "add", "--dir", dps.dir, "--kind", "nonsense", NULL), 1);
    assert_int_equal(
        run_program(out, "fault", "add", "--dir", dps.dir, "--kind", "drop", "--percent", "x", NULL), 2);
    assert_int_equal(run_program(out, "fault", "list", "--dir", dps.dir, NULL), 0);
    assert_string_equal(out, "{\"faults\":[]}\n"); /* nothing was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_throttle, clear),
        cmocka_unit_test_teardown(test_error, clear),
        cmocka_unit_test_teardown(test_drop, clear),
        cmocka_unit_test_teardown(test_drop_connections, clear),
        cmocka_unit_test_teardown(test_delay, clear),
        cmocka_unit_test_teardown(test_malformed, clear),
        cmocka_unit_test_teardown(test_assignment, clear),
        cmocka_unit_test_teardown(test_certificate, clear),
        cmocka_unit_test_teardown(test_clock, clear),
        cmocka_unit_test_teardown(test_https, clear),
        cmocka_unit_test_teardown(test_transports, clear),
        cmocka_unit_test_teardown(test_file, clear),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
