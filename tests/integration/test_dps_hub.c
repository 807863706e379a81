/* The hub behind the assignment, against the real server: MQTT and HTTPS, with bytes written by hand. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <signal.h>

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
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    client c;
    char operation[128];
    client_open(&c, &dps, 0, &dev1, NULL);
    client_hello(&c, &dps, "dev1");
    client_provision(&c, "dev1", operation);
    client_close(&c);
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

static packet hub_connect(const char *hub, const char *device)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x80, 0, 180};
    packet p = {.n = sizeof(head)};
    char user[256];
    memcpy(p.bytes, head, sizeof(head));
    packet_text(&p, device);
    snprintf(user, sizeof(user), "%s/%s/?api-version=2021-04-12&DeviceClientType=test%%2F1", hub, device);
    packet_text(&p, user);
    packet_finish(&p, 0x10);
    return p;
}

static void open_hub(client *c, const test_cert *leaf, const char *hub, const char *device, char connack)
{
    const char expected[] = {0x20, 2, 0, connack};
    client_open(c, &dps, 0, leaf, NULL);
    packet p = hub_connect(hub, device);
    client_send(c, p.bytes, p.n);
    client_expect(c, expected, 4);
}

static void subscribe(client *c, const char *filter, uint8_t qos, char granted)
{
    const char expected[] = {(char)0x90, 3, 0, 9, granted};
    packet p = {.bytes = {0, 9}, .n = 2};
    packet_text(&p, filter);
    p.bytes[p.n++] = qos;
    packet_finish(&p, 0x82);
    client_send(c, p.bytes, p.n);
    client_expect(c, expected, 5);
}

typedef struct publication {
    char topic[512];
    char body[4096];
    uint8_t packet_id[2];
    int qos;
} publication;

static void read_publication(client *c, publication *ret)
{
    uint8_t first, digit, bytes[8192];
    size_t length = 0;
    unsigned shift = 0;
    client_read(c, &first, 1);
    assert_int_equal(first & 0xf0, 0x30);
    do {
        client_read(c, &digit, 1);
        length |= (size_t)(digit & 0x7f) << shift;
        shift += 7;
    } while ((digit & 0x80) != 0);
    assert_true(length >= 2 && length < sizeof(bytes));
    client_read(c, bytes, length);
    size_t topic = (size_t)bytes[0] << 8 | bytes[1];
    size_t at = 2 + topic;
    assert_true(topic < sizeof(ret->topic) && at <= length);
    memcpy(ret->topic, bytes + 2, topic);
    ret->topic[topic] = '\0';
    ret->qos = first >> 1 & 3;
    if (ret->qos > 0) {
        memcpy(ret->packet_id, bytes + at, 2);
        at += 2;
    }
    assert_true(length - at < sizeof(ret->body));
    memcpy(ret->body, bytes + at, length - at);
    ret->body[length - at] = '\0';
}

static void expect_event(const char *device, const char *const *parts)
{
    char out[OUTPUT_MAX];
    assert_int_equal(run_program(out, "events", "--dir", dps.dir, "--device", device, "--json", NULL), 0);
    for (; *parts != NULL; parts++) {
        if (strstr(out, *parts) == NULL)
            fail_msg("%s is not in %s", *parts, out);
    }
}

static void test_telemetry(void **state)
{
    (void)state;
    client c;
    open_hub(&c, &dev1, "hub.example.test", "dev1", 0);
    packet p = publish_packet(0x32, 5, "devices/dev1/messages/events/%24.ct=text%2Fplain&k=v", "hello");
    client_send(&c, p.bytes, p.n);
    client_expect(&c, "\x40\2\0\5", 4); /* acknowledged when it is kept */
    expect_event("dev1", (const char *const[]){
                             "\"body\":\"hello\"", "\"properties\":{\"$.ct\":\"text/plain\",\"k\":\"v\"}",
                             "\"transport\":\"mqtt\"", "\"hub\":\"hub.example.test\"", NULL});
    p = publish_packet(0x30, 0, "devices/dev1/messages/events/", "\xff");
    client_send(&c, p.bytes, p.n);
    client_send(&c, "\xc0\0", 2);
    client_expect(&c, "\xd0\0", 2);
    expect_event("dev1", (const char *const[]){"\"bodyBase64\":\"/w==\"", NULL});
    p = publish_packet(0x30, 0, "devices/dev2/messages/events/", "in another's name");
    client_send(&c, p.bytes, p.n);
    client_expect_end(&c);
    client_close(&c);
}

static void test_refused(void **state)
{
    (void)state;
    client c;
    open_hub(&c, &dev2, "hub.example.test", "dev1", 5); /* another certificate */
    client_expect_end(&c);
    client_close(&c);
    open_hub(&c, NULL, "hub.example.test", "dev1", 5);
    client_close(&c);
    open_hub(&c, &dev1, "other.example.test", "dev1", 5);
    client_close(&c);
    open_hub(&c, &dev2, "hub.example.test", "dev2", 5); /* never registered */
    client_close(&c);
}

static void test_twin(void **state)
{
    (void)state;
    client c;
    publication p;
    char out[OUTPUT_MAX];
    open_hub(&c, &dev1, "hub.example.test", "dev1", 0);
    subscribe(&c, "$iothub/twin/res/#", 0, 0);
    subscribe(&c, "$iothub/twin/PATCH/properties/desired/#", 0, 0);
    subscribe(&c, "$iothub/methods/POST/#", 0, 0);
    subscribe(&c, "devices/dev2/messages/devicebound/#", 0, (char)0x80);
    packet ask = publish_packet(0x30, 0, "$iothub/twin/GET/?$rid=r1", "");
    client_send(&c, ask.bytes, ask.n);
    read_publication(&c, &p);
    assert_string_equal(p.topic, "$iothub/twin/res/200/?$rid=r1");
    assert_string_equal(p.body, "{\"desired\":{\"$version\":1},\"reported\":{\"$version\":1}}");
    ask = publish_packet(0x30, 0, "$iothub/twin/PATCH/properties/reported/?$rid=r2", "{\"on\":true}");
    client_send(&c, ask.bytes, ask.n);
    read_publication(&c, &p);
    assert_string_equal(p.topic, "$iothub/twin/res/204/?$rid=r2&$version=2");
    ask = publish_packet(0x30, 0, "$iothub/twin/PATCH/properties/reported/?$rid=r3", "[]");
    client_send(&c, ask.bytes, ask.n);
    read_publication(&c, &p);
    assert_string_equal(p.topic, "$iothub/twin/res/400/?$rid=r3");
    assert_int_equal(run_program(out, "twin", "update", "--dir", dps.dir, "--device", "dev1", "--desired",
                                 "{\"n\":7}", "--tags", "{\"t\":1}", NULL),
                     0);
    read_publication(&c, &p); /* pushed */
    assert_string_equal(p.topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_string_equal(p.body, "{\"n\":7}");
    assert_int_equal(run_program(out, "twin", "show", "--dir", dps.dir, "--device", "DEV1", NULL), 0);
    assert_string_equal(
        out, "{\"deviceId\":\"dev1\",\"hub\":\"hub.example.test\",\"tags\":{\"t\":1},\"properties\":"
             "{\"desired\":{\"n\":7,\"$version\":2},\"reported\":{\"on\":true,\"$version\":2}}}\n");
    client_close(&c);
}

/* A message that was not acknowledged comes again; one that was does not. */
static void test_messages_mqtt(void **state)
{
    (void)state;
    client c;
    publication p;
    static const char prefix[] = "devices/dev1/messages/devicebound/%24.mid=";
    assert_int_equal(run_program(NULL, "send", "--dir", dps.dir, "--device", "dev1", "--body", "first",
                                 "--property", "a=b c", NULL),
                     0);
    for (int i = 0; i < 2; i++) {
        open_hub(&c, &dev1, "hub.example.test", "dev1", 0);
        subscribe(&c, "devices/dev1/messages/devicebound/#", 2, 1);
        read_publication(&c, &p);
        assert_string_equal(p.body, "first");
        assert_memory_equal(p.topic, prefix, sizeof(prefix) - 1);
        assert_non_null(strstr(p.topic, "&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&a=b%20c"));
        if (i == 1) {
            const uint8_t puback[] = {0x40, 2, p.packet_id[0], p.packet_id[1]};
            client_send(&c, puback, sizeof(puback));
            client_send(&c, "\xc0\0", 2);
            client_expect(&c, "\xd0\0", 2);
        }
        client_close(&c);
    }
    open_hub(&c, &dev1, "hub.example.test", "dev1", 0);
    subscribe(&c, "devices/dev1/messages/devicebound/#", 1, 1);
    client_send(&c, "\xc0\0", 2);
    client_expect(&c, "\xd0\0", 2); /* and nothing before it */
    assert_int_equal(
        run_program(NULL, "send", "--dir", dps.dir, "--device", "dev1", "--body", "second", NULL), 0);
    read_publication(&c, &p); /* while it listens */
    assert_string_equal(p.body, "second");
    const uint8_t puback[] = {0x40, 2, p.packet_id[0], p.packet_id[1]};
    client_send(&c, puback, sizeof(puback));
    client_send(&c, "\xc0\0", 2);
    client_expect(&c, "\xd0\0", 2);
    client_close(&c);
}

/* One request; returns its status. @ret gets head and body. */
static int https(const test_cert *leaf, const char *request, char *ret, size_t cap)
{
    client c;
    server at = dps;
    at.port = dps.https_port;
    client_open(&c, &at, 0, leaf, NULL);
    client_send(&c, request, strlen(request));
    client_read_all(&c, ret, cap);
    client_close(&c);
    assert_memory_equal(ret, "HTTP/1.1 ", 9);
    return atoi(ret + 9);
}

#define HOST "Host: hub.example.test\r\nConnection: close\r\n"

static void test_https(void **state)
{
    (void)state;
    char answer[8192], request[512], token[64];
    assert_int_equal(https(&dev1,
                           "POST /devices/dev1/messages/events?api-version=2020-03-13 HTTP/1.1\r\n" HOST
                           "iothub-app-k: v\r\niothub-contenttype: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "6\r\nchunks\r\n0\r\n\r\n",
                           answer, sizeof(answer)),
                     204);
    expect_event("dev1", (const char *const[]){"\"body\":\"chunks\"", "\"transport\":\"https\"",
                                               "\"properties\":{\"$.ct\":\"a/b\",\"k\":\"v\"}", NULL});
    static const char get[] =
        "GET /devices/dev1/messages/devicebound?api-version=2020-03-13 HTTP/1.1\r\n" HOST "\r\n";
    assert_int_equal(https(&dev1, get, answer, sizeof(answer)), 204);
    assert_int_equal(run_program(NULL, "send", "--dir", dps.dir, "--device", "dev1", "--body", "third",
                                 "--property", "a=b", NULL),
                     0);
    assert_int_equal(https(&dev1, get, answer, sizeof(answer)), 200);
    assert_non_null(strstr(answer, "\r\niothub-app-a: b\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\nthird"));
    const char *etag = strstr(answer, "\r\nETag: \"");
    assert_non_null(etag);
    snprintf(token, sizeof(token), "%.36s", etag + 9);
    snprintf(request, sizeof(request),
             "POST /devices/dev1/messages/deviceBound/%s/abandon?api-version=1 HTTP/1.1\r\n" HOST "\r\n",
             token);
    assert_int_equal(https(&dev1, request, answer, sizeof(answer)), 204);
    snprintf(request, sizeof(request),
             "DELETE /devices/dev1/messages/deviceBound/%s?api-version=1 HTTP/1.1\r\n" HOST "\r\n", token);
    assert_int_equal(https(&dev2, request, answer, sizeof(answer)), 401);
    assert_int_equal(https(&dev1, request, answer, sizeof(answer)), 204);
    assert_int_equal(https(&dev1, request, answer, sizeof(answer)), 412);
    assert_int_equal(https(&dev1, get, answer, sizeof(answer)), 204);
    assert_int_equal(https(NULL, get, answer, sizeof(answer)), 401);
    assert_int_equal(
        https(&dev1,
              "POST /devices/dev1/messages/events HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n",
              answer, sizeof(answer)),
        401);
}

static void test_commands(void **state)
{
    (void)state;
    char out[OUTPUT_MAX];
    assert_int_equal(run_program(out, "send", "--dir", dps.dir, "--device", "nobody", NULL), 3);
    assert_int_equal(run_program(out, "send", "--dir", dps.dir, "--device", "dev1", "--property", "x", NULL),
                     2);
    assert_int_equal(
        run_program(out, "send", "--dir", dps.dir, "--device", "dev1", "--property", "$x=1", NULL), 2);
    assert_int_equal(
        run_program(out, "send", "--dir", dps.dir, "--device", "dev1", "--body", "a", "--file", "b", NULL),
        2);
    assert_int_equal(
        run_program(out, "send", "--dir", dps.dir, "--device", "dev1", "--file", "/nonexistent", NULL), 1);
    assert_int_equal(run_program(out, "twin", "show", "--dir", dps.dir, "--device", "nobody", NULL), 3);
    assert_int_equal(run_program(out, "twin", "update", "--dir", dps.dir, "--device", "dev1", NULL), 2);
    assert_int_equal(
        run_program(out, "twin", "update", "--dir", dps.dir, "--device", "dev1", "--desired", "[]", NULL), 2);
    assert_int_equal(run_program(out, "events", "--dir", dps.dir, "--after", "x", NULL), 2);
    assert_int_equal(run_program(out, "events", "--dir", dps.dir, "--device", "nobody", "--json", NULL), 0);
    assert_string_equal(out, "[]\n");
    assert_int_equal(run_program(out, "events", "--dir", "/nonexistent", NULL), 3);
}

/* What was acknowledged survives kill -9. */
static void test_kill(void **state)
{
    (void)state;
    client c;
    char out[OUTPUT_MAX];
    open_hub(&c, &dev1, "hub.example.test", "dev1", 0);
    packet p = publish_packet(0x32, 6, "devices/dev1/messages/events/", "before the end");
    client_send(&c, p.bytes, p.n);
    client_expect(&c, "\x40\2\0\6", 4);
    assert_int_equal(server_stop(&dps, SIGKILL), -SIGKILL);
    client_close(&c);
    server_start(&dps, (const char *const[]){"--free-ports", NULL});
    assert_int_equal(run_program(out, "events", "--dir", dps.dir, "--device", "dev1", NULL), 0);
    assert_non_null(strstr(out, "before the end"));
    open_hub(&c, &dev1, "hub.example.test", "dev1", 0); /* the registration is there too */
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_telemetry),     cmocka_unit_test(test_refused), cmocka_unit_test(test_twin),
        cmocka_unit_test(test_messages_mqtt), cmocka_unit_test(test_https),   cmocka_unit_test(test_commands),
        cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
