/* The device API over MQTT, against the real server. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static const char QUERY[] = "api-version=2021-06-01&ClientVersion=1.15.0";

static server dps;
static test_cert root, intermediate, dev1;

static int start(void **state)
{
    (void)state;
    char path[96];
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    intermediate = test_cert_make(&(test_cert_spec){.cn = "Intermediate", .issuer = &root, .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &intermediate, .eku = "clientAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_cert_free(&intermediate);
    test_cert_free(&dev1);
    test_dir_remove(dps.dir);
    return code;
}

static void provision(int version, const char *expected_version)
{
    client c;
    char operation[128], out[OUTPUT_MAX];
    client_open(&c, &dps, version, &dev1, &intermediate);
    assert_int_equal(SSL_version(c.ssl), version);
    client_hello(&c, &dps, "dev1");
    client_provision(&c, "dev1", operation);
    client_send(&c, "\xe0\0", 2);
    client_expect_end(&c);
    client_close(&c);
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "DEV1", "--json", NULL), 0);
    cJSON *list = cJSON_Parse(out);
    const cJSON *row = cJSON_GetArrayItem(list, 0);
    const cJSON *x509 = cJSON_GetObjectItem(row, "x509");
    const cJSON *tls = cJSON_GetObjectItem(row, "tls");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(row, "status")), "assigned");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(x509, "chainVerified")));
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(x509, "enrollmentGroupId")), "fleet");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(tls, "version")), expected_version);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(tls, "signatureAlgorithm")), "ECDSA-SHA256");
    cJSON_Delete(list);
}

static void test_tls12(void **state)
{
    (void)state;
    provision(TLS1_2_VERSION, "TLSv1.2");
}

static void test_tls13(void **state)
{
    (void)state;
    provision(TLS1_3_VERSION, "TLSv1.3");
}

static void test_tls11_is_refused(void **state)
{
    (void)state;
    client c;
    assert_false(client_try(&c, &dps, TLS1_1_VERSION, &dev1, &intermediate));
}

static void expect_401(int version, const test_cert *leaf, const test_cert *issuer, const char *id,
                       const char *text)
{
    client c;
    message m;
    client_open(&c, &dps, version, leaf, issuer);
    client_hello(&c, &dps, id); /* the failure comes after the connection, as an answer */
    client_register(&c, "x", "", &m);
    assert_string_equal(m.topic, "$dps/registrations/res/401/?$rid=x");
    assert_non_null(strstr(m.body, "\"errorCode\":401002"));
    if (strstr(m.body, text) == NULL)
        fail_msg("\"%s\" is not in %s", text, m.body);
    client_close(&c);
}

static void test_refused(void **state)
{
    (void)state;
    test_cert self = test_cert_make(&(test_cert_spec){.cn = "dev9", .eku = "clientAuth"});
    test_cert other_ca = test_cert_make(&(test_cert_spec){.cn = "Intermediate", .ca = 1});
    test_cert other =
        test_cert_make(&(test_cert_spec){.cn = "dev9", .issuer = &other_ca, .eku = "clientAuth"});
    test_cert old = test_cert_make(
        &(test_cert_spec){.cn = "dev9", .issuer = &root, .eku = "clientAuth", .from_s = -20, .to_s = -10});
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        expect_401(versions[i], NULL, NULL, "dev9", "no certificate");
        expect_401(versions[i], &self, NULL, "dev9", "CA certificate not found");
        expect_401(versions[i], &other, &other_ca, "dev9", "CA certificate not found");
        expect_401(versions[i], &dev1, NULL, "dev1", "CA certificate not found"); /* intermediate not sent */
        expect_401(versions[i], &dev1, &intermediate, "dev9", "is not the registration id");
        expect_401(versions[i], &old, NULL, "dev9", "has expired");
    }
    char out[OUTPUT_MAX];
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev9", NULL), 0);
    assert_non_null(strstr(out, "unassigned"));
    assert_non_null(strstr(out, "401002 The device certificate has expired"));
    test_cert_free(&self);
    test_cert_free(&other_ca);
    test_cert_free(&other);
    test_cert_free(&old);
}

static void test_wrong_scope(void **state)
{
    (void)state;
    client c;
    message m;
    server wrong = dps;
    memcpy(wrong.scope, "0ne00000000", 12);
    client_open(&c, &dps, 0, &dev1, &intermediate);
    client_hello(&c, &wrong, "dev1");
    client_register(&c, "1", "{\"registrationId\":\"dev1\"}", &m);
    assert_int_equal(m.status, 401);
    client_close(&c);
}

static void test_bad_requests(void **state)
{
    (void)state;
    client c;
    message m;
    client_open(&c, &dps, 0, &dev1, &intermediate);
    client_hello(&c, &dps, "dev1");
    client_register(&c, "1", "{", &m);
    assert_int_equal(m.status, 400);
    client_register(&c, "2", "{\"registrationId\":\"dev2\"}", &m);
    assert_int_equal(m.status, 400);
    client_poll(&c, "3", "5.0.none", &m);
    assert_string_equal(m.topic, "$dps/registrations/res/404/?$rid=3");
    packet p = publish_packet(0x32, 8, "$dps/registrations/PUT/iotdps-register/?x=1", "");
    client_send(&c, p.bytes, p.n);
    client_expect(&c, "\x40\2\0\10", 4);
    client_message(&c, &m);
    assert_string_equal(m.topic, "$dps/registrations/res/400/?$rid=");
    client_close(&c);
}

/* The C SDK publishes with QoS 0 and asks with the registration's body; others subscribe with QoS 0 or 2. */
static void test_qos(void **state)
{
    (void)state;
    client c;
    message m;
    char operation[128], topic[256];
    client_open(&c, &dps, 0, &dev1, &intermediate);
    packet p = connect_packet(dps.scope, "dev1", QUERY, 0);
    client_send(&c, p.bytes, p.n);
    client_expect(&c, "\x20\2\0\0", 4);
    static const uint8_t qos2[] = "\x82\x22\0\5\0\x18$dps/registrations/res/#\2\0\2a/\1";
    client_send(&c, qos2, sizeof(qos2) - 1);
    client_expect(&c, "\x90\4\0\5\1\x80", 6);
    static const uint8_t qos0[] = "\x82\x1d\0\6\0\x18$dps/registrations/res/#\0";
    client_send(&c, qos0, sizeof(qos0) - 1);
    client_expect(&c, "\x90\3\0\6\0", 5);
    p = publish_packet(0x30, 0, "$dps/registrations/PUT/iotdps-register/?$rid=1",
                       "{\"registrationId\":\"dev1\"}");
    client_send(&c, p.bytes, p.n);
    client_message(&c, &m);
    assert_int_equal(m.status, 202);
    operation_of(&m, operation);
    snprintf(topic, sizeof(topic), "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=%s",
             operation);
    p = publish_packet(0x30, 0, topic, "{\"registrationId\":\"dev1\"}");
    client_send(&c, p.bytes, p.n);
    client_message(&c, &m);
    assert_int_equal(m.status, 200);
    client_send(&c, "\xc0\0", 2);
    client_expect(&c, "\xd0\0", 2);
    static const uint8_t unsubscribe[] = "\xa2\x1c\0\7\0\x18$dps/registrations/res/#";
    client_send(&c, unsubscribe, sizeof(unsubscribe) - 1);
    client_expect(&c, "\xb0\2\0\7", 4);
    client_send(&c, p.bytes, p.n); /* no subscription, no answer: the next thing is the PINGRESP */
    client_send(&c, "\xc0\0", 2);
    client_expect(&c, "\xd0\0", 2);
    client_close(&c);
}

/* A whole conversation in one write, and another one byte by byte. */
static void test_framing(void **state)
{
    (void)state;
    client c;
    message m;
    static const uint8_t subscribe[] = "\x82\x1d\0\1\0\x18$dps/registrations/res/#\1";
    packet first = connect_packet(dps.scope, "dev1", QUERY, 60);
    packet second = publish_packet(0x32, 2, "$dps/registrations/PUT/iotdps-register/?$rid=1", "");
    uint8_t all[1024];
    size_t n = 0;
    memcpy(all, first.bytes, first.n);
    n += first.n;
    memcpy(all + n, subscribe, sizeof(subscribe) - 1);
    n += sizeof(subscribe) - 1;
    memcpy(all + n, second.bytes, second.n);
    n += second.n;
    for (int by_byte = 0; by_byte < 2; by_byte++) {
        client_open(&c, &dps, 0, &dev1, &intermediate);
        for (size_t i = 0; i < n; i += by_byte ? 1 : n)
            client_send(&c, all + i, by_byte ? 1 : n);
        client_expect(&c, "\x20\2\0\0\x90\3\0\1\1\x40\2\0\2", 13);
        client_message(&c, &m);
        assert_int_equal(m.status, 202);
        client_close(&c);
    }
}

static void expect_connack(packet p, uint8_t code)
{
    client c;
    const uint8_t connack[] = {0x20, 2, 0, code};
    client_open(&c, &dps, 0, &dev1, &intermediate);
    client_send(&c, p.bytes, p.n);
    client_expect(&c, connack, 4);
    client_expect_end(&c);
    client_close(&c);
}

static void test_connack_codes(void **state)
{
    (void)state;
    packet p = connect_packet(dps.scope, "dev1", QUERY, 60);
    assert_int_equal(p.bytes[8], 4);
    p.bytes[8] = 5;
    expect_connack(p, 1);
    p.bytes[8] = 4;
    p.bytes[14] = 'x'; /* the client id */
    expect_connack(p, 2);
    expect_connack(connect_packet("", "dev1", QUERY, 60), 4);
    p = (packet){.bytes = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 9}, .n = 10};
    packet_text(&p, "dev1");
    packet_finish(&p, 0x10);
    expect_connack(p, 4); /* no user name */
    char user[128];
    p = (packet){.bytes = {0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 9}, .n = 10};
    packet_text(&p, "dev1");
    snprintf(user, sizeof(user), "%s/registrations/dev1/%s", dps.scope, QUERY);
    packet_text(&p, user);
    packet_text(&p, "SharedAccessSignature sr=x");
    packet_finish(&p, 0x10);
    expect_connack(p, 5);
}

static void expect_closed(bool connected, const void *bytes, size_t n)
{
    client c;
    client_open(&c, &dps, 0, &dev1, &intermediate);
    if (connected)
        client_hello(&c, &dps, "dev1");
    client_send(&c, bytes, n);
    client_expect_end(&c);
    client_close(&c);
}

static void test_violations(void **state)
{
    (void)state;
    packet p = connect_packet(dps.scope, "dev1", QUERY, 60);
    expect_closed(true, p.bytes, p.n); /* a second CONNECT */
    expect_closed(false, "\xc0\0", 2); /* PINGREQ first */
    expect_closed(false, "\xff\xff\xff\xff", 4);
    expect_closed(false, "GET / HTTP/1.1\r\n\r\n", 18);
    expect_closed(false, "\x10\xff\xff\xff\x7f", 5); /* 256 MiB announced */
    expect_closed(true, "\x30\x80\x80\x80\x80\1", 6);
    expect_closed(true, "\x32\5\0\1t\0\0", 7); /* packet identifier 0 */
    expect_closed(true, "\x30\3\0\1t", 5);     /* no topic of the service */
    expect_closed(true, "\xc0\1x", 3);
    p = publish_packet(0x34, 9, "$dps/registrations/PUT/iotdps-register/?$rid=1", "");
    expect_closed(true, p.bytes, p.n); /* QoS 2 */
}

/* Noise before, instead of and after the handshake; then the server is still well. */
static void test_garbage(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 40; round++) {
        uint8_t noise[600];
        for (size_t i = 0; i < sizeof(noise); i++) {
            seed = seed * 1664525u + 1013904223u;
            noise[i] = (uint8_t)(seed >> 24);
        }
        int fd = tcp_connect(dps.port);
        assert_true(send(fd, noise, sizeof(noise), MSG_NOSIGNAL) > 0);
        close(fd);
        client c;
        client_open(&c, &dps, 0, &dev1, &intermediate);
        if (round % 2 == 0)
            client_hello(&c, &dps, "dev1");
        SSL_write(c.ssl, noise, sizeof(noise));
        client_close(&c);
    }
    provision(TLS1_3_VERSION, "TLSv1.3");
}

/* A resumed session would come without the chain: there must be none. */
static void test_no_resumption(void **state)
{
    (void)state;
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        client a, b;
        client_open(&a, &dps, versions[i], &dev1, &intermediate);
        client_hello(&a, &dps, "dev1");
        SSL_SESSION *session = SSL_get1_session(a.ssl);
        assert_false(SSL_SESSION_has_ticket(session));
        client_open(&b, &dps, versions[i], &dev1, &intermediate);
        SSL *again = SSL_new(b.ctx);
        int fd = tcp_connect(dps.port);
        assert_int_equal(SSL_set_session(again, session), 1);
        assert_int_equal(SSL_set_fd(again, fd), 1);
        assert_int_equal(SSL_connect(again), 1);
        assert_false(SSL_session_reused(again));
        SSL_free(again);
        close(fd);
        SSL_SESSION_free(session);
        client_close(&a);
        client_close(&b);
    }
}

/* Clients that offer protocols of HTTP get none of them. */
static void test_alpn(void **state)
{
    (void)state;
    static const unsigned char offer[] = "\x02h2\x08http/1.1";
    client c;
    client_open(&c, &dps, 0, &dev1, &intermediate);
    SSL *ssl = SSL_new(c.ctx);
    int fd = tcp_connect(dps.port);
    assert_int_equal(SSL_set_alpn_protos(ssl, offer, sizeof(offer) - 1), 0);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(ssl, &chosen, &n);
    assert_int_equal(n, 0);
    client two = {.ssl = ssl, .fd = fd};
    client_hello(&two, &dps, "dev1");
    SSL_free(ssl);
    close(fd);
    client_close(&c);
}

static void test_disable_works_at_once(void **state)
{
    (void)state;
    client c;
    message m;
    char operation[128];
    client_open(&c, &dps, 0, &dev1, &intermediate);
    client_hello(&c, &dps, "dev1");
    client_provision(&c, "dev1", operation);
    assert_int_equal(run_program(NULL, "group", "disable", "--dir", dps.dir, "--id", "fleet", NULL), 0);
    client_poll(&c, "1", operation, &m);
    assert_int_equal(m.status, 401);
    assert_non_null(strstr(m.body, "disabled"));
    assert_int_equal(run_program(NULL, "group", "enable", "--dir", dps.dir, "--id", "fleet", NULL), 0);
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 200);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls12),
        cmocka_unit_test(test_tls13),
        cmocka_unit_test(test_tls11_is_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wrong_scope),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_qos),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_connack_codes),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_no_resumption),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_disable_works_at_once),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
