/* Proxies that die, or say no more, at each step of either protocol, and proxies that are slow: every transport
 * against the real keynym-dps. Each failure has a name, and nothing is left open. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "test_dps_harness.h"

#include "kn_prov.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define STALL_LIMIT_MS 1000U

static fake_pki *pki;
static server dps = {.dir = "/tmp/kn-proxies-XXXXXX"};
static test_proxy *proxy;
static atomic_bool cancel;
static const struct timespec *cancel_after; /* NULL: nobody cancels */
static bool cuts; /* when a registration has its first answer */

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};

    (void)state;
    pki = fake_pki_new();
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

typedef struct job {
    const char *transport;
    bool socks;
    uint32_t step_timeout_ms;
    fake_hsm_settings identity;
    char *certificate, *key, name[40], message[600];
    kn_prov_code code;
    pthread_t thread;
} job;

#define JOBS_MAX 12

static job jobs[JOBS_MAX];
static size_t job_count;

static void cut_when_assigning(kn_prov_status status, void *context)
{
    (void)context;
    if (status == KN_PROV_STATUS_ASSIGNING)
        test_proxy_cut(proxy);
}

static void *run_job(void *arg)
{
    job *j = arg;
    char endpoint[32], url[64];
    int port = strcmp(j->transport, "mqtt") == 0   ? dps.port
               : strcmp(j->transport, "amqp") == 0 ? dps.amqp_port
                                                   : dps.https_port;
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_request request = {
        .endpoint = endpoint,
        .id_scope = dps.scope,
        .transport = j->transport,
        .ca_file = dps.ca,
        .proxy = url,
        .step_timeout_ms = j->step_timeout_ms,
        .cancel = &cancel,
        .on_status = cuts ? cut_when_assigning : NULL,
    };

    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port);
    (void)snprintf(url, sizeof url, "%s://127.0.0.1:%d", j->socks ? "socks5h" : "http",
                   test_proxy_port(proxy));
    fake_hsm_mine = &j->identity;
    j->code = kn_prov_register(&request, &result);
    (void)snprintf(j->message, sizeof j->message, "%s", result.message ? result.message : "");
    kn_prov_result_clear(&result);
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned entries(const char *path)
{
    DIR *directory = opendir(path);
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    (void)closedir(directory);
    return count;
}

static void run_one(job *j)
{
    (void)snprintf(j->name, sizeof j->name, "%s-%s", j->transport, j->socks ? "socks" : "http");
    fake_pki_device(pki, j->name, &j->certificate, &j->key);
    j->identity = (fake_hsm_settings){.common_name = j->name, .certificate = j->certificate, .key = j->key};
    assert_int_equal(pthread_create(&j->thread, NULL, run_job, j), 0);
}

/* Every transport by HTTP CONNECT and by SOCKS5 (@socks_only: by that alone), all at once. */
static void run_jobs(const test_proxy_script *script, bool socks_only, uint32_t step_timeout_ms)
{
    job_count = 0;
    proxy = test_proxy_start_wrong(script);
    cuts = script->step == TEST_PROXY_WHEN_TOLD;
    for (size_t i = 0; kn_prov_transport_name(i); i++)
        for (int socks = socks_only; socks < 2; socks++) {
            assert_true(job_count < JOBS_MAX);
            jobs[job_count] = (job){.transport = kn_prov_transport_name(i),
                                    .socks = socks == 1,
                                    .step_timeout_ms = step_timeout_ms};
            run_one(&jobs[job_count++]);
        }
    if (cancel_after) {
        (void)nanosleep(cancel_after, NULL);
        atomic_store(&cancel, true);
    }
    for (size_t i = 0; i < job_count; i++) {
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
        free(jobs[i].certificate);
        free(jobs[i].key);
    }
    test_proxy_stop(proxy);
    assert_int_equal(fake_hsm_handles, 0);
}

static const char *const step_names[TEST_PROXY_STEPS] = {
    "never",        "at accept",    "in the greeting", "after the greeting", "in the answer",
    "after the answer", "in TLS",   "after the first answer",
};

static void expect(test_proxy_step step, bool good, const job *j)
{
    if (!good)
        fail_msg("%s, %s, %s: %s: %s", step_names[step], j->transport, j->socks ? "SOCKS5" : "HTTP",
                 kn_prov_error_of(j->code)->name, j->message);
}

static bool is_greeting(test_proxy_step step)
{
    return step == TEST_PROXY_IN_GREETING || step == TEST_PROXY_AFTER_GREETING;
}

/* Before the tunnel stands the proxy is to blame; behind it nobody can tell, and the connection has failed. */
static void test_dying(void **state)
{
    unsigned files = entries("/proc/self/fd"), threads = entries("/proc/self/task");

    (void)state;
    for (int step = TEST_PROXY_AT_ACCEPT; step < TEST_PROXY_WHEN_TOLD; step++) {
        run_jobs(&(test_proxy_script){.step = (test_proxy_step)step},
                 is_greeting((test_proxy_step)step), 0);
        for (size_t i = 0; i < job_count; i++)
            expect((test_proxy_step)step,
                   jobs[i].code == (step < TEST_PROXY_AFTER_ANSWER ? KN_PROV_E_PROXY : KN_PROV_E_TLS),
                   &jobs[i]);
        print_message("  %s, e.g.: %s\n", step_names[step], jobs[0].message);
    }
    assert_int_equal(entries("/proc/self/fd"), files);
    assert_int_equal(entries("/proc/self/task"), threads);
}

/* The connection dies between the registration and the first question for its state. */
static void test_dying_later(void **state)
{
    (void)state;
    run_jobs(&(test_proxy_script){.step = TEST_PROXY_WHEN_TOLD}, false, KN_PROV_DEFAULT_STEP_TIMEOUT_MS);
    for (size_t i = 0; i < job_count; i++)
        expect(TEST_PROXY_WHEN_TOLD,
               jobs[i].code == KN_PROV_E_CLOSED || jobs[i].code == KN_PROV_E_PROXY ||
                   jobs[i].code == KN_PROV_E_TLS,
               &jobs[i]);
    print_message("  e.g.: %s\n", jobs[0].message);
}

static void test_stalling(void **state)
{
    unsigned files = entries("/proc/self/fd"), threads = entries("/proc/self/task");

    (void)state;
    for (int step = TEST_PROXY_AT_ACCEPT; step < TEST_PROXY_WHEN_TOLD; step++) {
        run_jobs(&(test_proxy_script){.step = (test_proxy_step)step, .stall = true},
                 is_greeting((test_proxy_step)step), STALL_LIMIT_MS);
        for (size_t i = 0; i < job_count; i++)
            expect((test_proxy_step)step,
                   jobs[i].code == KN_PROV_E_TIMEOUT && strstr(jobs[i].message, "1.000 s"), &jobs[i]);
    }
    print_message("  e.g.: %s\n", jobs[0].message);
    assert_int_equal(entries("/proc/self/fd"), files);
    assert_int_equal(entries("/proc/self/task"), threads);
}

/* While libcurl connects, by way of a proxy that says nothing: noticed long before any limit. */
static void test_cancel(void **state)
{
    static const struct timespec moment = {.tv_nsec = 300000000};

    (void)state;
    cancel_after = &moment;
    for (int step = TEST_PROXY_AT_ACCEPT; step < TEST_PROXY_WHEN_TOLD; step++) {
        int64_t start = now_ms();

        atomic_store(&cancel, false);
        run_jobs(&(test_proxy_script){.step = (test_proxy_step)step, .stall = true},
                 is_greeting((test_proxy_step)step), 60000);
        assert_in_range(now_ms() - start, 0, 20000);
        for (size_t i = 0; i < job_count; i++)
            expect((test_proxy_step)step, jobs[i].code == KN_PROV_E_CANCELLED, &jobs[i]);
    }
    cancel_after = NULL;
    atomic_store(&cancel, false);
}

static void test_slow(void **state)
{
    (void)state;
    run_jobs(&(test_proxy_script){.slow = true}, false, 0);
    for (size_t i = 0; i < job_count; i++)
        expect(TEST_PROXY_NEVER, jobs[i].code == KN_PROV_OK, &jobs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow), /* the first: what the process opens once is open then */
        cmocka_unit_test(test_dying),
        cmocka_unit_test(test_dying_later),
        cmocka_unit_test(test_stalling),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
