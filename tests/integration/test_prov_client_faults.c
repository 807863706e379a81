/* Every fault that keynym-dps makes on demand, over every transport: what the client makes of it. Each in a
 * thread of its own, with a device of its own; those of a connection one after the other. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "test_dps_harness.h"

#include "kn_prov.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define KEY "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

static char key_file[120];
static const char *proxy_url; /* NULL: straight */
static fake_pki *pki;
static server dps = {.dir = "/tmp/kn-faults-XXXXXX"};

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};

    (void)state;
    pki = fake_pki_new();
    char *path = fake_pki_file(pki, "key", KEY);
    assert_int_equal(chmod(path, 0600), 0);
    (void)snprintf(key_file, sizeof key_file, "%s", path);
    free(path);
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "g", "--certificate",
                                 pki->ca_file, "--hub", "hub1.test", NULL),
                     0);
    server_start(&dps, args);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    fake_pki_free(pki);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    return run_program(NULL, "fault", "clear", "--dir", dps.dir, NULL);
}

typedef struct job {
    const char *transport, *what;
    fake_hsm_settings identity;
    char *certificate, *key, name[40];
    uint32_t timeout_ms;
    kn_prov_code expected, code;
    kn_prov_result result;
    pthread_t thread;
} job;

#define JOBS_MAX 80

static job jobs[JOBS_MAX];
static size_t job_count;

static job *new_job(const char *transport, const char *what, kn_prov_code expected)
{
    static unsigned count;
    job *j = &jobs[job_count++];

    assert_true(job_count <= JOBS_MAX);
    *j = (job){.transport = transport, .what = what, .expected = expected, .result = KN_PROV_RESULT_INIT};
    (void)snprintf(j->name, sizeof j->name, "%s-%u", transport, count++);
    return j;
}

static job *add_job(const char *transport, const char *what, kn_prov_code expected)
{
    job *j = new_job(transport, what, expected);

    fake_pki_device(pki, j->name, &j->certificate, &j->key);
    j->identity = (fake_hsm_settings){.common_name = j->name, .certificate = j->certificate, .key = j->key};
    return j;
}

static job *add_symmetric(const char *transport, const char *what, kn_prov_code expected)
{
    job *j = new_job(transport, what, expected);

    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", j->name, "--symmetric-key", "--primary-key-file",
                                 key_file, "--hub", "hub.test", NULL),
                     0);
    j->identity = (fake_hsm_settings){.registration_name = j->name, .symmetric_key = KEY};
    return j;
}

static void *run_job(void *arg)
{
    job *j = arg;
    char endpoint[32];
    int port = strcmp(j->transport, "mqtt") == 0   ? dps.port
               : strcmp(j->transport, "amqp") == 0 ? dps.amqp_port
                                                   : dps.https_port;
    kn_prov_request request = {
        .endpoint = endpoint,
        .id_scope = dps.scope,
        .transport = j->transport,
        .ca_file = dps.ca,
        .attestation = j->identity.symmetric_key ? "symmetric-key" : "x509",
        .timeout_ms = j->timeout_ms,
        .proxy = proxy_url ? proxy_url : "",
        .proxy_user = proxy_url ? "gateway" : NULL,
        .proxy_password = proxy_url ? "p@ss:w0rd" : NULL,
    };

    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port);
    fake_hsm_mine = &j->identity;
    j->code = kn_prov_register(&request, &j->result);
    return NULL;
}

static void run_jobs(void)
{
    for (size_t i = 0; i < job_count; i++)
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]), 0);
    for (size_t i = 0; i < job_count; i++)
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
    for (size_t i = 0; i < job_count; i++) {
        job *j = &jobs[i];

        if (j->code != j->expected)
            print_message("%s, %s: %s\n", j->transport, j->what, j->code ? j->result.message : "done");
        assert_int_equal(j->code, j->expected);
        assert_true(j->code == KN_PROV_OK || strlen(j->result.message) > 0);
        kn_prov_result_clear(&j->result);
        free(j->certificate);
        free(j->key);
    }
    job_count = 0;
}

/* At most four words more. */
static void fault(const char *id, const char *kind, const char *step, const char *a, const char *b,
                  const char *c, const char *d)
{
    assert_int_equal(run_program(NULL, "fault", "add", "--dir", dps.dir, "--kind", kind, "--step", step,
                                 id ? "--id" : a, id ? id : b, id ? a : c, id ? b : d, id ? c : NULL, d,
                                 NULL),
                     0);
}

/* What the service answers, for one device each. */
static void answer_all(job *(*add)(const char *transport, const char *what, kn_prov_code expected))
{
    static const struct {
        const char *what, *kind, *step, *a, *b, *c, *d;
        kn_prov_code expected;
        uint32_t timeout_ms;
    } rows[] = {
        {"throttled once", "throttle", "register", "--retry-after", "1", "--count", "1", KN_PROV_OK, 60000},
        {"throttled for long", "throttle", "register", "--retry-after", "100", NULL, NULL, KN_PROV_E_TIMEOUT,
         5000},
        {"error once", "error", "status", "--status", "503", "--count", "1", KN_PROV_OK, 60000},
        {"slow", "delay", "register", "--delay", "400", NULL, NULL, KN_PROV_OK, 60000},
        {"malformed", "malformed", "register", NULL, NULL, NULL, NULL, KN_PROV_E_RESPONSE, 60000},
        {"no hub", "fail", "register", "--error-code", "400208", NULL, NULL, KN_PROV_E_NO_HUB, 60000},
        {"refused hub", "fail", "register", "--error-code", "400209", NULL, NULL, KN_PROV_E_UNAUTHORIZED,
         60000},
        {"stuck", "stuck", "status", NULL, NULL, NULL, NULL, KN_PROV_E_TIMEOUT, 4000},
        {"dropped at the request", "drop", "register", NULL, NULL, NULL, NULL, KN_PROV_E_CLOSED, 60000},
        {"dropped at the poll", "drop", "status", NULL, NULL, NULL, NULL, KN_PROV_E_CLOSED, 60000},
    };

    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            job *j = add(kn_prov_transport_name(i), rows[r].what, rows[r].expected);

            j->timeout_ms = rows[r].timeout_ms;
            fault(j->name, rows[r].kind, rows[r].step, rows[r].a, rows[r].b, rows[r].c, rows[r].d);
        }
    }
    run_jobs();
    assert_int_equal(clear(NULL), 0);
}

static void test_answers_straight(void **state)
{
    (void)state;
    answer_all(add_job);
    answer_all(add_symmetric);
}

static void test_answers_by_proxies(void **state)
{
    test_proxy *proxy = test_proxy_start("gateway", "p@ss:w0rd");
    char url[64];

    (void)state;
    for (int socks = 0; socks < 2; socks++) {
        unsigned before = test_proxy_tunnels(proxy);

        (void)snprintf(url, sizeof url, "%s://127.0.0.1:%d", socks ? "socks5h" : "http", test_proxy_port(proxy));
        proxy_url = url;
        answer_all(add_job);
        answer_all(add_symmetric);
        proxy_url = NULL;
        assert_true(test_proxy_tunnels(proxy) >= before + 100);
    }
    test_proxy_stop(proxy);
}

/* What the connection does, before anybody knows the device. */
static void test_connections(void **state)
{
    static const struct {
        const char *what, *kind, *step, *a, *b;
        kn_prov_code expected;
    } rows[] = {
        {"dropped at once", "drop", "connect", NULL, NULL, KN_PROV_E_TLS},
        {"expired", "wrong-certificate", "connect", "--certificate", "expired", KN_PROV_E_SERVER_UNTRUSTED},
        {"untrusted", "wrong-certificate", "connect", "--certificate", "untrusted",
         KN_PROV_E_SERVER_UNTRUSTED},
        {"wrong name", "wrong-certificate", "connect", "--certificate", "wrong-name", KN_PROV_E_SERVER_NAME},
        {"another clock", "clock-skew", "request", "--skew", "200000000", KN_PROV_E_UNAUTHORIZED},
    };

    (void)state;
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        fault(NULL, rows[n].kind, rows[n].step, rows[n].a, rows[n].b, NULL, NULL);
        for (size_t i = 0; kn_prov_transport_name(i); i++)
            (void)add_job(kn_prov_transport_name(i), rows[n].what, rows[n].expected);
        run_jobs();
        assert_int_equal(clear(NULL), 0);
    }
}

/* At random: about half of 60 registrations fail, and never all or none. */
static void test_random(void **state)
{
    size_t failed = 0;

    (void)state;
    fault(NULL, "fail", "register", "--percent", "50", NULL, NULL);
    for (size_t i = 0; i < 60; i++)
        (void)add_job(kn_prov_transport_name(i % 5), "at random", KN_PROV_OK);
    for (size_t i = 0; i < job_count; i++)
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]), 0);
    for (size_t i = 0; i < job_count; i++) {
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
        failed += jobs[i].code != KN_PROV_OK;
        kn_prov_result_clear(&jobs[i].result);
        free(jobs[i].certificate);
        free(jobs[i].key);
    }
    job_count = 0;
    assert_in_range(failed, 8, 52); /* once in 10 billion runs it is not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_answers_straight, clear), cmocka_unit_test_teardown(test_answers_by_proxies, clear),
        cmocka_unit_test_teardown(test_connections, clear),
        cmocka_unit_test_teardown(test_random, clear),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
