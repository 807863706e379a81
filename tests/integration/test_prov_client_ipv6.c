/* IPv6: registration and the hub over ::1, every transport, straight and through proxies on ::1. A machine
 * without ::1 is told by ctest's skip code. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "test_dps_harness.h"

#include "kn_hub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define USER     "gateway"
#define PASSWORD "p@ss:w0rd"
#define SKIPPED  77 /* SKIP_RETURN_CODE */

static fake_pki *pki;
static server dps = {.dir = "/tmp/kn-ipv6-XXXXXX", .bind = "::1"};
static test_proxy *proxy;
static char http_proxy[64], socks_proxy[64];

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};

    (void)state;
    pki = fake_pki_new();
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "g", "--certificate",
                                 pki->ca_file, "--hub", "localhost", NULL),
                     0);
    server_start(&dps, args);
    proxy = test_proxy_start_ipv6(USER, PASSWORD);
    (void)snprintf(http_proxy, sizeof http_proxy, "http://[::1]:%d", test_proxy_port(proxy));
    (void)snprintf(socks_proxy, sizeof socks_proxy, "socks5h://[::1]:%d", test_proxy_port(proxy));
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    test_proxy_stop(proxy);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    fake_pki_free(pki);
    return 0;
}

/* One device in a thread of its own: it registers, then sends a message to its hub. */
typedef struct job {
    const char *transport, *proxy;
    fake_hsm_settings identity;
    char *certificate, *key, name[40], endpoint[32], message[600];
    kn_prov_code registered, sent;
    pthread_t thread;
} job;

/* A hub has a name, never an address, and keynym-dps knows it by that: localhost, where it listens on ::1 only. */
static void send_to_hub(job *j)
{
    kn_hub *hub = NULL;
    char host[32];
    kn_hub_request request = {
        .hub = host,
        .device_id = j->name,
        .transport = j->transport,
        .ca_file = dps.ca,
        .proxy = j->proxy,
        .proxy_user = j->proxy ? USER : NULL,
        .proxy_password = j->proxy ? PASSWORD : NULL,
    };

    (void)snprintf(host, sizeof host, "localhost%s", strrchr(j->endpoint, ':'));
    j->sent = kn_hub_open(&request, &hub);
    if (j->sent == KN_PROV_OK)
        j->sent = kn_hub_send(hub, &(kn_hub_message){.body = "over IPv6", .body_size = 9});
    (void)snprintf(j->message, sizeof j->message, "%s", kn_hub_problem(hub));
    kn_hub_close(&hub);
}

static void *run_job(void *arg)
{
    job *j = arg;
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_request request = {
        .endpoint = j->endpoint,
        .id_scope = dps.scope,
        .transport = j->transport,
        .ca_file = dps.ca,
        .proxy = j->proxy,
        .proxy_user = j->proxy ? USER : NULL,
        .proxy_password = j->proxy ? PASSWORD : NULL,
    };

    fake_hsm_mine = &j->identity;
    j->sent = KN_PROV_E_ARGUMENT;
    j->registered = kn_prov_register(&request, &result);
    (void)snprintf(j->message, sizeof j->message, "%s", result.message ? result.message : "");
    kn_prov_result_clear(&result);
    if (j->registered == KN_PROV_OK)
        send_to_hub(j);
    return NULL;
}

static size_t run_jobs(const char *host, kn_prov_code expected)
{
    static job jobs[20];
    const char *const ways[] = {NULL, http_proxy, socks_proxy};
    size_t count = 0;

    for (size_t i = 0; kn_prov_transport_name(i); i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            job *j = &jobs[count++];
            const char *name = kn_prov_transport_name(i);
            int port = strcmp(name, "mqtt") == 0   ? dps.port
                       : strcmp(name, "amqp") == 0 ? dps.amqp_port
                                                   : dps.https_port;

            assert_true(count <= sizeof jobs / sizeof *jobs);
            *j = (job){.transport = name, .proxy = ways[w]};
            (void)snprintf(j->name, sizeof j->name, "%s-%zu", name, w);
            (void)snprintf(j->endpoint, sizeof j->endpoint, "%s:%d", host, port);
            fake_pki_device(pki, j->name, &j->certificate, &j->key);
            j->identity =
                (fake_hsm_settings){.common_name = j->name, .certificate = j->certificate, .key = j->key};
            assert_int_equal(pthread_create(&j->thread, NULL, run_job, j), 0);
        }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        job *j = &jobs[i];

        if (j->registered != expected || (expected == KN_PROV_OK && j->sent != KN_PROV_OK))
            fail_msg("%s, proxy %s: %s", j->transport, j->proxy ? j->proxy : "none", j->message);
        free(j->certificate);
        free(j->key);
    }
    assert_int_equal(fake_hsm_handles, 0);
    return count;
}

static void test_all(void **state)
{
    size_t count;

    (void)state;
    count = run_jobs("[::1]", KN_PROV_OK);
    /* the device and the hub, two of three ways; HTTPS may take a connection for each of its requests */
    assert_in_range(test_proxy_tunnels(proxy), 2 * count * 2 / 3, 2 * count * 2 / 3 + 4);
}

/* An address is a name like any other: one that is not in the certificate is refused. Linux knows no second
 * loopback address, but the same one as an IPv4-mapped address is another name. */
static void test_other_address(void **state)
{
    static server mapped = {.dir = "/tmp/kn-ipv6-XXXXXX"};
    server before = dps;
    char command[96];

    (void)state;
    assert_non_null(mkdtemp(mapped.dir));
    server_start(&mapped, (const char *const[]){"--free-ports", NULL});
    (void)snprintf(command, sizeof command, "rm -rf %s", mapped.dir);
    dps = mapped;
    http_proxy[0] = socks_proxy[0] = '\0'; /* the proxy is on ::1, the server is not */
    (void)run_jobs("[::ffff:127.0.0.1]", KN_PROV_E_SERVER_NAME);
    dps = before;
    assert_int_equal(server_stop(&mapped, SIGTERM), 0);
    assert_int_equal(system(command), 0);
}

static bool machine_has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;

    if (!good)
        print_message("SKIPPED: this machine has no ::1 (%s): nothing about IPv6 was tested\n",
                      strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return good;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_other_address),
    };

    if (!machine_has_ipv6())
        return SKIPPED;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
