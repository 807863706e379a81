/* What a registration costs beside the TLS handshake that it cannot do without: time and CPU of the client's thread, over every
 * transport, against keynym-dps. The key is in software on both sides, so that the token does not hide the rest.
 *
 *   bench_registration [ROUNDS]
 *
 * The second that the service wants between the request and its status is taken off the time. */
#include "bench_stats.h"

#include "integration/test_dps_harness.h"
#include "kn_prov.h"
#include "support/fake_dps_hsm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/pem.h>

#define PAUSE_MS 1000.0

static server dps = {.dir = "/tmp/kn-bench-XXXXXX"};
static test_cert ca, device;
static char *certificate_pem, *key_pem;
static unsigned rounds = 9;

static double now_ms(clockid_t clock)
{
    struct timespec at;
    (void)clock_gettime(clock, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static char *text_of(BIO *bio)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)size);
    BIO_free(bio);
    return text;
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};
    char path[96];
    BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    (void)state;
    assert_non_null(mkdtemp(dps.dir));
    ca = test_cert_make(&(test_cert_spec){.cn = "CA", .ca = 1});
    device = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &ca, .eku = "clientAuth"});
    (void)snprintf(path, sizeof path, "%s/group.pem", dps.dir);
    test_cert_write(ca.cert, path);
    assert_int_equal(
        run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "g", "--certificate", path, "--hub", "hub1.test", NULL), 0);
    server_start(&dps, args);
    assert_int_equal(PEM_write_bio_X509(cert, device.cert), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key, device.key, NULL, NULL, 0, NULL, NULL), 1);
    certificate_pem = text_of(cert);
    key_pem = text_of(key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(certificate_pem);
    free(key_pem);
    test_cert_free(&device);
    test_cert_free(&ca);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    test_dir_remove(dps.dir);
    return 0;
}

static void handshake(const server *at, double *ret_ms, double *ret_cpu_ms)
{
    client c;
    double cpu = now_ms(CLOCK_THREAD_CPUTIME_ID), from = now_ms(CLOCK_MONOTONIC);
    client_open(&c, at, 0, &device, NULL);
    client_close(&c);
    *ret_cpu_ms = now_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    *ret_ms = now_ms(CLOCK_MONOTONIC) - from;
}

static void registration(const kn_prov_request *request, double *ret_ms, double *ret_cpu_ms)
{
    kn_prov_result result = KN_PROV_RESULT_INIT;
    double cpu = now_ms(CLOCK_THREAD_CPUTIME_ID), from = now_ms(CLOCK_MONOTONIC);
    assert_int_equal(kn_prov_register(request, &result), KN_PROV_OK);
    *ret_cpu_ms = now_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    *ret_ms = now_ms(CLOCK_MONOTONIC) - from - PAUSE_MS;
    kn_prov_result_clear(&result);
}

static void over(const char *transport, int port)
{
    static bench_values time_ratio, cpu_ratio, cpu_ms;
    char endpoint[32], what[120];
    server at = dps;
    const kn_prov_request request = {.endpoint = endpoint, .id_scope = dps.scope, .transport = transport, .ca_file = dps.ca};
    at.port = port;
    time_ratio.count = cpu_ratio.count = cpu_ms.count = 0;
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port);
    for (unsigned r = 0; r <= rounds; r++) {
        double bare_ms, bare_cpu, ms, cpu;
        handshake(&at, &bare_ms, &bare_cpu);
        registration(&request, &ms, &cpu);
        if (r == 0)
            continue; /* warm-up */
        bench_add(&time_ratio, ms / bare_ms);
        bench_add(&cpu_ratio, cpu / bare_cpu);
        bench_add(&cpu_ms, cpu);
    }
    (void)snprintf(what, sizeof what, "registration over %s: CPU ms of the client", transport);
    bench_row(what, &cpu_ms, 2, "-");
    (void)snprintf(what, sizeof what, "registration over %s: CPU as a ratio to its bare TLS handshake", transport);
    bench_row(what, &cpu_ratio, 2, "-");
    (void)snprintf(what, sizeof what, "registration over %s: time as a ratio to its bare TLS handshake", transport);
    bench_row(what, &time_ratio, 2, "-");
}

static void test_registrations(void **state)
{
    fake_hsm_settings identity = {.common_name = "dev1", .certificate = certificate_pem, .key = key_pem};
    (void)state;
    fake_hsm_mine = &identity;
    over("mqtt", dps.port);
    over("mqtt-ws", dps.https_port);
    over("amqp", dps.amqp_port);
    over("amqp-ws", dps.https_port);
    over("https", dps.https_port);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registrations),
    };
    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: bench_registration [ROUNDS]: 1 to %d\n", BENCH_ROUNDS_MAX);
        return 2;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
