/* The device API over WebSocket, against the real server. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>

static server dps; /* its port is the HTTPS one */
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
    server_start(&dps, (const char *const[]){"--https-port", "0", NULL});
    dps.port = dps.https_port;
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

/* npm says "mqtt", the C SDK "MQTT": the answer has the same spelling (client_upgrade looks). */
static void test_mqtt(void **state)
{
    (void)state;
    static const char *const names[] = {"mqtt", "MQTT"};
    char operation[128], out[OUTPUT_MAX];
    for (size_t i = 0; i < 2; i++) {
        client c;
        client_open(&c, &dps, 0, &dev1, NULL);
        client_upgrade(&c, names[i]);
        client_hello(&c, &dps, "dev1");
        client_provision(&c, "dev1", operation);
        client_send(&c, "\xe0\0", 2); /* MQTT's DISCONNECT ends the WebSocket too */
        c.ws = false;
        client_expect(&c, "\x88\x02\x03\xe8", 4);
        client_expect_end(&c);
        client_close(&c);
    }
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev1", "--json", NULL), 0);
    assert_non_null(strstr(out, "\"transport\":\"mqtt-ws\""));
}

static void test_ping_and_close(void **state)
{
    (void)state;
    client c;
    client_open(&c, &dps, 0, &dev1, NULL);
    client_upgrade(&c, "mqtt");
    c.ws = false;
    client_send(&c, "\x89\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9", 16);
    client_expect(&c, "\x8a\x02hi\x88\x02\x03\xe8", 8);
    client_expect_end(&c);
    client_close(&c);
}

static void test_broken_frames(void **state)
{
    (void)state;
    static const struct {
        const char *frame;
        size_t n;
        const char *answer;
    } rows[] = {
        {"\x81\x80\0\0\0\0", 6, "\x88\x02\x03\xeb"},
        {"\x82\x01x", 3, "\x88\x02\x03\xea"},
        {"\x82\xff\0\0\0\1\0\0\0\0\0\0\0\0", 14, "\x88\x02\x03\xf1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        client c;
        client_open(&c, &dps, 0, &dev1, NULL);
        client_upgrade(&c, "mqtt");
        c.ws = false;
        client_send(&c, rows[i].frame, rows[i].n);
        client_expect(&c, rows[i].answer, 4);
        client_expect_end(&c);
        client_close(&c);
    }
}

static void expect_status(const char *request, const char *status)
{
    client c;
    char head[64] = "";
    client_open(&c, &dps, 0, &dev1, NULL);
    client_send(&c, request, strlen(request));
    client_read(&c, (uint8_t *)head, 12);
    if (strcmp(head + 9, status) != 0)
        fail_msg("%s is not %s: %s", head, status, request);
    client_close(&c);
}

#define UPGRADE "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static void test_refused_upgrades(void **state)
{
    (void)state;
    expect_status("GET /$iothub/websocket HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    expect_status("GET /$iothub/websocket HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n",
                  "400");
    expect_status("GET /$iothub/websocket HTTP/1.1\r\n" UPGRADE KEY
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
                  "400");
    expect_status(
        "GET /$iothub/websocket HTTP/1.1\r\n" UPGRADE
        "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        "400");
    expect_status("GET /$iothub/websocket HTTP/1.1\r\n" UPGRADE KEY
                  "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                  "426");
    expect_status("GET /other HTTP/1.1\r\n" UPGRADE KEY
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                  "404");
    expect_status("GET /%24iothub/websocket HTTP/1.1\r\n" UPGRADE KEY
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x, mqtt\r\n\r\n",
                  "101");
}

/* An upgrade does not prolong the time to connect: without CONNECT the connection ends. */
static void test_silence_after_the_upgrade(void **state)
{
    (void)state;
    server quick = {.pid = 0};
    client c;
    test_dir_make(quick.dir);
    server_start(&quick, (const char *const[]){"--https-port", "0", "--connect-timeout", "1", NULL});
    quick.port = quick.https_port;
    client_open(&c, &quick, 0, NULL, NULL);
    client_upgrade(&c, "mqtt");
    client_expect_end(&c);
    client_close(&c);
    assert_int_equal(server_stop(&quick, SIGTERM), 0);
    test_dir_remove(quick.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mqtt),
        cmocka_unit_test(test_ping_and_close),
        cmocka_unit_test(test_broken_frames),
        cmocka_unit_test(test_refused_upgrades),
        cmocka_unit_test(test_silence_after_the_upgrade),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
