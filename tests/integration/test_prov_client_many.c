/* A thousand registrations in one process, over every transport: no descriptor, thread or memory is left. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "test_dps_harness.h"

#include "kn_prov.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS       50
#define REGISTRATIONS 1000
#define WARM_UP       200
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEFT_MAX_KIB (1024L * 1024) /* they keep what is freed for a while; LeakSanitizer looks at this program as well */
#else
#define LEFT_MAX_KIB 4096L /* 5 KiB for each: one leaked TLS connection would be ten times as much */
#endif

static fake_pki *pki;
static server dps = {.dir = "/tmp/kn-many-XXXXXX"};

typedef struct device {
    const char *transport;
    fake_hsm_settings identity;
    char *certificate, *key, name[32], endpoint[32];
    unsigned count, done;
    char problem[300];
    pthread_t thread;
} device;

static device devices[THREADS];

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
    for (size_t i = 0; i < THREADS; i++) {
        static const char *const transports[] = {"mqtt", "mqtt-ws", "amqp", "amqp-ws", "https"};
        device *d = &devices[i];
        int port = i % 5 == 0 ? dps.port : i % 5 == 2 ? dps.amqp_port : dps.https_port;

        d->transport = transports[i % 5];
        (void)snprintf(d->name, sizeof d->name, "device-%zu", i);
        (void)snprintf(d->endpoint, sizeof d->endpoint, "localhost:%d", port);
        fake_pki_device(pki, d->name, &d->certificate, &d->key);
        d->identity = (fake_hsm_settings){.common_name = d->name, .certificate = d->certificate, .key = d->key};
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    test_dir_remove(dps.dir);
    for (size_t i = 0; i < THREADS; i++) {
        free(devices[i].certificate);
        free(devices[i].key);
    }
    fake_pki_free(pki);
    return 0;
}

static void *register_often(void *arg)
{
    device *d = arg;

    fake_hsm_mine = &d->identity;
    for (unsigned i = 0; i < d->count; i++) {
        const kn_prov_request request = {
            .endpoint = d->endpoint, .id_scope = dps.scope, .transport = d->transport, .ca_file = dps.ca};
        kn_prov_result result = KN_PROV_RESULT_INIT;

        if (kn_prov_register(&request, &result) == KN_PROV_OK)
            d->done++;
        else
            (void)snprintf(d->problem, sizeof d->problem, "%s", result.message ? result.message : "?");
        kn_prov_result_clear(&result);
    }
    return NULL;
}

static void register_all(unsigned count)
{
    for (size_t i = 0; i < THREADS; i++) {
        devices[i].count = count / THREADS;
        devices[i].done = 0;
        assert_int_equal(pthread_create(&devices[i].thread, NULL, register_often, &devices[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(devices[i].thread, NULL), 0);
        if (devices[i].done != devices[i].count)
            print_message("%s, %s: %s\n", devices[i].name, devices[i].transport, devices[i].problem);
        assert_int_equal(devices[i].done, devices[i].count);
    }
}

static size_t entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count;
}

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    long kib = 0;

    assert_non_null(file);
    (void)malloc_trim(0);
    while (fgets(line, sizeof line, file))
        (void)sscanf(line, "VmRSS: %ld", &kib);
    (void)fclose(file);
    assert_true(kib > 0);
    return kib;
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    register_all(WARM_UP);
    size_t descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    long before = resident_kib();
    register_all(REGISTRATIONS - WARM_UP);
    assert_int_equal(entries("/proc/self/fd"), descriptors);
    assert_int_equal(entries("/proc/self/task"), threads);
    print_message("%d registrations more: %ld KiB more\n", REGISTRATIONS - WARM_UP, resident_kib() - before);
    assert_true(resident_kib() - before < LEFT_MAX_KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
