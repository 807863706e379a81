/* Servers that the client must not talk to: each wrong in one way, over every transport, straight and through
 * both kinds of proxy, for the service and for the hub. Refused N of N, by name, before any application byte. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "../support/tls_refuser.h"

#include "kn_hub.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static fake_pki *pki;
static test_proxy *proxy;
static char http_proxy[64], socks_proxy[64];

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

/* ---- one attempt, in a thread of its own ---- */

typedef struct attempt {
    const char *transport, *proxy, *endpoint;
    bool hub; /* the hub, not the service */
    kn_prov_code code;
    char message[1200];
    pthread_t thread;
} attempt;

#define ATTEMPTS_MAX 40

static attempt attempts[ATTEMPTS_MAX];
static size_t attempt_count;
static uint32_t timeout_ms = 60000;
static int64_t slowest_ms; /* what a row of attempts took at most: a machine under valgrind is slower */

static void try_hub(attempt *a)
{
    kn_hub *hub = NULL;
    kn_hub_request request = {
        .hub = a->endpoint,
        .device_id = FAKE_DEVICE_NAME,
        .transport = a->transport,
        .ca_file = pki->ca_file,
        .proxy = a->proxy,
        .timeout_ms = timeout_ms,
    };

    a->code = kn_hub_open(&request, &hub);
    if (a->code == KN_PROV_OK) /* over HTTPS the connection comes with the first request */
        a->code = kn_hub_send(hub, &(kn_hub_message){.body = "x", .body_size = 1});
    (void)snprintf(a->message, sizeof a->message, "%s", kn_hub_problem(hub));
    kn_hub_close(&hub);
}

static void *run_attempt(void *arg)
{
    attempt *a = arg;
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_request request = {
        .endpoint = a->endpoint,
        .id_scope = "0ne00012345",
        .transport = a->transport,
        .ca_file = pki->ca_file,
        .proxy = a->proxy,
        .timeout_ms = timeout_ms,
    };

    if (a->hub) {
        try_hub(a);
        return NULL;
    }
    a->code = kn_prov_register(&request, &result);
    (void)snprintf(a->message, sizeof a->message, "%s", result.message ? result.message : "");
    kn_prov_result_clear(&result);
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Every transport x way there x peer, all at once. */
static void run_attempts(const char *endpoint)
{
    const char *const ways[] = {NULL, http_proxy, socks_proxy};
    int64_t from;

    proxy = test_proxy_start(NULL, NULL);
    (void)snprintf(http_proxy, sizeof http_proxy, "http://127.0.0.1:%d", test_proxy_port(proxy));
    (void)snprintf(socks_proxy, sizeof socks_proxy, "socks5h://127.0.0.1:%d", test_proxy_port(proxy));
    attempt_count = 0;
    for (size_t i = 0; kn_prov_transport_name(i); i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
            for (int hub = 0; hub < 2; hub++) {
                assert_true(attempt_count < ATTEMPTS_MAX);
                attempts[attempt_count++] = (attempt){.transport = kn_prov_transport_name(i),
                                                      .proxy = ways[w],
                                                      .endpoint = endpoint,
                                                      .hub = hub == 1};
            }
    from = now_ms();
    for (size_t i = 0; i < attempt_count; i++)
        assert_int_equal(pthread_create(&attempts[i].thread, NULL, run_attempt, &attempts[i]), 0);
    for (size_t i = 0; i < attempt_count; i++)
        assert_int_equal(pthread_join(attempts[i].thread, NULL), 0);
    if (now_ms() - from > slowest_ms)
        slowest_ms = now_ms() - from;
    assert_in_range(test_proxy_tunnels(proxy), attempt_count * 2 / 3, 2 * attempt_count);
    test_proxy_stop(proxy);
}

/* ---- the servers ---- */

typedef struct row {
    const char *what;
    tls_refuser_script script;
    kn_prov_code code;
    const char *words; /* of the detail */
} row;

static const row rows[] = {
    {"expired", {.certificate = FAKE_CERT_EXPIRED}, KN_PROV_E_SERVER_UNTRUSTED, "certificate has expired"},
    {"not yet valid",
     {.certificate = FAKE_CERT_NOT_YET_VALID},
     KN_PROV_E_SERVER_UNTRUSTED,
     "certificate is not yet valid"},
    {"wrong host", {.certificate = FAKE_CERT_WRONG_NAME}, KN_PROV_E_SERVER_NAME, "localhost"},
    {"unknown CA",
     {.certificate = FAKE_CERT_FROM_OTHER_CA},
     KN_PROV_E_SERVER_UNTRUSTED,
     "unable to get local issuer certificate"},
    {"self-signed", {.certificate = FAKE_CERT_SELF_SIGNED}, KN_PROV_E_SERVER_UNTRUSTED, "certificate"},
    {"TLS 1.2, expired",
     {.certificate = FAKE_CERT_EXPIRED, .tls_version = TLS1_2_VERSION},
     KN_PROV_E_SERVER_UNTRUSTED,
     "certificate has expired"},
    {"TLS 1.2, wrong host",
     {.certificate = FAKE_CERT_WRONG_NAME, .tls_version = TLS1_2_VERSION},
     KN_PROV_E_SERVER_NAME,
     "localhost"},
};

static void check_row(const char *what, tls_refuser_seen seen, kn_prov_code code, const char *words)
{
    for (size_t i = 0; i < attempt_count; i++) {
        const attempt *a = &attempts[i];
        const kn_prov_error_row *error = kn_prov_error_of(code);

        if (a->code != code || !strstr(a->message, words) || !strstr(a->message, error->sentence))
            fail_msg("%s, %s to the %s, proxy %s: %s: %s", what, a->transport, a->hub ? "hub" : "service",
                     a->proxy ? a->proxy : "none", kn_prov_error_of(a->code)->name, a->message);
    }
    print_message("  %s: %zu of %zu refused, e.g. %s\n", what, attempt_count, attempt_count,
                  attempts[0].message);
    assert_true(seen.connections >= attempt_count);
    assert_int_equal(seen.application_size, 0);
    assert_int_equal(fake_hsm_handles, 0);
}

static tls_refuser_seen against(const tls_refuser_script *script)
{
    tls_refuser *server = tls_refuser_start(pki, script);
    char endpoint[32];

    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", tls_refuser_port(server));
    run_attempts(endpoint);
    return tls_refuser_stop(server);
}

static void test_wrong_certificates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(rows[i].what, against(&rows[i].script), rows[i].code, rows[i].words);
}

/* The client's certificate is of a CA that the server does not know. In TLS 1.3 the client learns it only when
 * it has finished its handshake. */
static void test_refused_device(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        tls_refuser_script script = {.tls_version = versions[i], .device_ca_file = pki->other_ca_file};
        tls_refuser_seen seen = against(&script);

        check_row(i ? "the device refused, TLS 1.3" : "the device refused, TLS 1.2", seen,
                  KN_PROV_E_CERTIFICATE_REFUSED, "TLS alert");
        assert_int_equal(seen.handshakes, 0);
    }
}

/* ---- old versions ---- */

/* Whether this machine's OpenSSL can speak that version at all: a client that takes anything. */
static bool speaks(int port, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    BIO *bio;
    SSL *ssl;
    char where[32];
    bool good;

    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0"), 1);
    (void)snprintf(where, sizeof where, "127.0.0.1:%d", port);
    bio = BIO_new_connect(where);
    ssl = SSL_new(ctx);
    assert_true(bio && ssl && BIO_do_connect(bio) == 1);
    SSL_set_bio(ssl, bio, bio);
    good = SSL_connect(ssl) == 1;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

static void test_old_versions(void **state)
{
    static const struct {
        const char *what;
        int version;
    } old[] = {{"TLS 1.1", TLS1_1_VERSION}, {"TLS 1.0", TLS1_VERSION}};

    (void)state;
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        tls_refuser_script script = {.tls_version = old[i].version};
        tls_refuser *control = tls_refuser_start(pki, &script);
        bool possible = speaks(tls_refuser_port(control), old[i].version);

        (void)tls_refuser_stop(control);
        if (!possible) {
            print_message("  SKIPPED: OpenSSL %s cannot speak %s; the server by hand is tried all the same\n",
                          OpenSSL_version(OPENSSL_VERSION_STRING), old[i].what);
            continue;
        }
        check_row(old[i].what, against(&script), KN_PROV_E_TLS_VERSION, "protocol version");
    }
}

/* The server insists on TLS 1.1 though nobody offered it: it is the client that says no. */
static void test_insistent_tls_1_1(void **state)
{
    tls_refuser_seen seen = against(&(tls_refuser_script){.raw_tls_1_1 = true});

    (void)state;
    check_row("TLS 1.1 by hand", seen, KN_PROV_E_TLS_VERSION, "unsupported protocol");
    assert_int_equal(seen.version_alerts, seen.connections);
}

/* With nothing wrong the same server sees bytes of every attempt: the zeros above mean something. It closes
 * each connection then; who tries again (HTTPS to the hub, three ways) does so with pauses until the time is up. */
static void test_control(void **state)
{
    tls_refuser_seen seen;

    (void)state;
    timeout_ms = slowest_ms < 1000 ? 4000 : (uint32_t)slowest_ms * 4;
    seen = against(&(tls_refuser_script){.certificate = FAKE_CERT_GOOD});
    print_message("  %u connections of %zu attempts\n", seen.connections, attempt_count);
    assert_in_range(seen.connections, attempt_count, attempt_count + (slowest_ms < 1000 ? 4U : 8U) * 3);
    assert_true(seen.handshakes >= attempt_count);
    assert_true(seen.application_size > attempt_count);
    for (size_t i = 0; i < attempt_count; i++)
        assert_int_equal(attempts[i].code, KN_PROV_E_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_certificates), cmocka_unit_test(test_refused_device),
        cmocka_unit_test(test_old_versions),       cmocka_unit_test(test_insistent_tls_1_1),
        cmocka_unit_test(test_control),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
