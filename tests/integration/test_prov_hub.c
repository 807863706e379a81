/* The hub behind the assignment, over every transport and with every attestation, against the real
 * keynym-dps: telemetry, twin, messages to the device, desired properties, a lost connection, a token that
 * grows old. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "test_dps_harness.h"

#include "kn_hub.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

static fake_pki *pki;
static server dps = {.dir = "/tmp/kn-hub-XXXXXX"};

/* A device that is registered. */
typedef struct device {
    char name[40];
    const char *transport, *attestation;
    fake_hsm_settings identity;
    char *certificate, *key;
    kn_prov_code code;
    char problem[300];
    pthread_t thread;
} device;

#define DEVICES_MAX 20

static device devices[DEVICES_MAX];
static size_t device_count;

static int port_of_transport(const char *name)
{
    return strcmp(name, "mqtt") == 0 ? dps.port : strcmp(name, "amqp") == 0 ? dps.amqp_port : dps.https_port;
}

static void *register_device(void *arg)
{
    device *d = arg;
    char endpoint[32];
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_request request = {
        .endpoint = endpoint,
        .id_scope = dps.scope,
        .transport = d->transport,
        .attestation = d->attestation,
        .ca_file = dps.ca,
    };

    fake_hsm_mine = &d->identity;
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port_of_transport(d->transport));
    d->code = kn_prov_register(&request, &result);
    (void)snprintf(d->problem, sizeof d->problem, "%s", result.message ? result.message : "");
    kn_prov_result_clear(&result);
    return NULL;
}

static void add_device(const char *transport, const char *attestation)
{
    device *d = &devices[device_count++];

    assert_true(device_count <= DEVICES_MAX);
    *d = (device){.transport = transport, .attestation = attestation};
    (void)snprintf(d->name, sizeof d->name, "%s-%s", attestation, transport);
    if (strcmp(attestation, "x509") == 0) {
        fake_pki_device(pki, d->name, &d->certificate, &d->key);
        d->identity =
            (fake_hsm_settings){.common_name = d->name, .certificate = d->certificate, .key = d->key};
    } else {
        char file[120];

        (void)snprintf(file, sizeof file, "%s/key", pki->directory);
        assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", d->name,
                                     "--symmetric-key", "--primary-key-file", file, "--hub", "localhost",
                                     NULL),
                         0);
        d->identity = (fake_hsm_settings){.registration_name = d->name, .symmetric_key = KEY};
    }
}

static void start(server *s, const char *mqtt, const char *https, const char *amqp)
{
    const char *const args[] = {
        "--mqtt-port", mqtt, "--https-port", https, "--amqp-port", amqp, "--retry-after", "1", NULL};

    server_start(s, args);
}

static int set_up(void **state)
{
    char *path;

    (void)state;
    pki = fake_pki_new();
    path = fake_pki_file(pki, "key", KEY);
    assert_int_equal(chmod(path, 0600), 0);
    free(path);
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "g", "--certificate",
                                 pki->ca_file, "--hub", "localhost", NULL),
                     0);
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        add_device(kn_prov_transport_name(i), "x509");
        add_device(kn_prov_transport_name(i), "symmetric-key");
    }
    start(&dps, "0", "0", "0");
    for (size_t i = 0; i < device_count; i++)
        assert_int_equal(pthread_create(&devices[i].thread, NULL, register_device, &devices[i]), 0);
    for (size_t i = 0; i < device_count; i++) {
        assert_int_equal(pthread_join(devices[i].thread, NULL), 0);
        if (devices[i].code)
            print_message("%s: %s\n", devices[i].name, devices[i].problem);
        assert_int_equal(devices[i].code, KN_PROV_OK);
    }
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        free(devices[i].certificate);
        free(devices[i].key);
    }
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    fake_pki_free(pki);
    return 0;
}

static kn_hub *connect_hub(const device *d, kn_hub_request *request, kn_prov_code expected)
{
    static char address[32]; /* borrowed while the hub is open; one at a time */
    kn_hub *hub = NULL;
    kn_prov_code code;

    fake_hsm_mine = &d->identity;
    (void)snprintf(address, sizeof address, "localhost:%d", port_of_transport(d->transport));
    request->hub = request->hub ? request->hub : address;
    request->device_id = d->name;
    request->transport = d->transport;
    request->attestation = d->attestation;
    request->ca_file = request->ca_file ? request->ca_file : dps.ca;
    code = kn_hub_open(request, &hub);
    assert_non_null(hub);
    if (code != expected)
        print_message("%s: %s\n", d->name, kn_hub_problem(hub));
    assert_int_equal(code, expected);
    return hub;
}

static bool has_twin(const device *d)
{
    return strcmp(d->transport, "https") != 0;
}

static void test_telemetry(void **state)
{
    static char events[OUTPUT_MAX];

    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        const device *d = &devices[i];
        kn_hub_request request = {.hub = NULL};
        kn_hub *hub = connect_hub(d, &request, KN_PROV_OK);
        char body[80];
        kn_hub_message telemetry = {.body = body,
                                    .content_type = "application/json",
                                    .properties = has_twin(d) ? "room=hall%201&floor=2" : NULL};

        for (int n = 0; n < 3; n++) {
            telemetry.body_size =
                (size_t)snprintf(body, sizeof body, "{\"from\":\"%s\",\"n\":%d}", d->name, n);
            assert_int_equal(kn_hub_send(hub, &telemetry), KN_PROV_OK);
        }
        kn_hub_close(&hub);
        assert_null(hub);
        assert_int_equal(run_program(events, "events", "--dir", dps.dir, "--device", d->name, "--json", NULL),
                         0);
        for (int n = 0; n < 3; n++) {
            (void)snprintf(body, sizeof body, "{\\\"from\\\":\\\"%.30s\\\",\\\"n\\\":%d}", d->name, n);
            assert_non_null(strstr(events, body));
        }
        if (has_twin(d))
            assert_non_null(strstr(events, "hall 1"));
    }
}

static void test_twin(void **state)
{
    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        const device *d = &devices[i];
        kn_hub_request request = {.hub = NULL};
        kn_hub *hub;
        char *json = NULL;

        assert_int_equal(run_program(NULL, "twin", "update", "--dir", dps.dir, "--device", d->name,
                                     "--desired", "{\"interval\":17}", NULL),
                         0);
        hub = connect_hub(d, &request, KN_PROV_OK);
        if (has_twin(d)) {
            assert_int_equal(kn_hub_twin(hub, &json), KN_PROV_OK);
            assert_non_null(strstr(json, "\"interval\":17"));
            assert_non_null(strstr(json, "\"reported\""));
            free(json);
        } else {
            assert_int_equal(kn_hub_twin(hub, &json), KN_PROV_E_ARGUMENT);
            assert_non_null(strstr(kn_hub_problem(hub), "no twin"));
        }
        kn_hub_close(&hub);
    }
}

typedef struct heard {
    const device *d;
    atomic_uint messages, patches, connected, disconnected; /* another thread reads them */
    unsigned wanted;
    char body[100], properties[200], patch[200];
} heard;

static bool hear(const kn_hub_event *event, void *context)
{
    heard *h = context;

    switch (event->kind) {
    case KN_HUB_MESSAGE:
        h->messages++;
        (void)snprintf(h->body, sizeof h->body, "%s", event->body);
        (void)snprintf(h->properties, sizeof h->properties, "%s", event->properties);
        break;
    case KN_HUB_DESIRED:
        h->patches++;
        (void)snprintf(h->patch, sizeof h->patch, "%s", event->body);
        break;
    case KN_HUB_CONNECTED:
        h->connected++;
        break;
    case KN_HUB_REGISTERED:
        break;
    case KN_HUB_DISCONNECTED:
        h->disconnected++;
        break;
    }
    return h->messages + h->patches < h->wanted;
}

static void tell_device(const device *d, const char *body)
{
    assert_int_equal(run_program(NULL, "send", "--dir", dps.dir, "--device", d->name, "--body", body,
                                 "--property", "a=b c", NULL),
                     0);
}

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        const device *d = &devices[i];
        kn_hub_request request = {.hub = NULL};
        kn_hub *hub;
        heard h = {.d = d, .wanted = 1};

        tell_device(d, "wake up");
        hub = connect_hub(d, &request, KN_PROV_OK);
        assert_int_equal(kn_hub_listen(hub, 20000, hear, &h), KN_PROV_OK);
        assert_int_equal(h.messages, 1);
        assert_string_equal(h.body, "wake up");
        if (has_twin(d))
            assert_non_null(strstr(h.properties, "a=b%20c"));
        kn_hub_close(&hub);
        /* it was taken: nothing is there any more */
        h = (heard){.d = d, .wanted = 1};
        hub = connect_hub(d, &request, KN_PROV_OK);
        assert_int_equal(kn_hub_listen(hub, 300, hear, &h), KN_PROV_OK);
        assert_int_equal(h.messages, 0);
        kn_hub_close(&hub);
    }
}

/* In a thread of its own, since somebody must listen. */
typedef struct listener {
    const device *d;
    heard h;
    uint32_t sas_lifetime_s;
    unsigned duration_ms;
    kn_prov_code code;
    atomic_bool ready, cancel, ended;
    pthread_t thread;
} listener;

static void note_ready(const char *line, void *context)
{
    if (strstr(line, "connected with the hub"))
        atomic_store(&((listener *)context)->ready, true);
}

static void *listen_to(void *arg)
{
    listener *l = arg;
    kn_hub_request request = {
        .on_trace = note_ready, .context = l, .cancel = &l->cancel, .sas_lifetime_s = l->sas_lifetime_s};
    kn_hub *hub = connect_hub(l->d, &request, KN_PROV_OK);

    l->code = kn_hub_listen(hub, l->duration_ms, hear, &l->h);
    if (l->code)
        print_message("%s: %s\n", l->d->name, kn_hub_problem(hub));
    kn_hub_close(&hub);
    atomic_store(&l->ended, true);
    return NULL;
}

static void start_listener(listener *l, const device *d)
{
    l->d = d;
    l->h.d = d;
    assert_int_equal(pthread_create(&l->thread, NULL, listen_to, l), 0);
    for (int i = 0; i < 300 && !atomic_load(&l->ready); i++)
        (void)usleep(100000);
    assert_true(atomic_load(&l->ready));
}

static void test_desired(void **state)
{
    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        listener l = {.h = {.wanted = 1}, .duration_ms = 30000};

        if (!has_twin(&devices[i]))
            continue;
        start_listener(&l, &devices[i]);
        for (int n = 0; n < 100 && !atomic_load(&l.ended); n++) {
            char patch[40];

            (void)snprintf(patch, sizeof patch, "{\"speed\":%d}", n);
            assert_int_equal(run_program(NULL, "twin", "update", "--dir", dps.dir, "--device",
                                         devices[i].name, "--desired", patch, NULL),
                             0);
            (void)usleep(100000);
        }
        assert_int_equal(pthread_join(l.thread, NULL), 0);
        assert_int_equal(l.h.patches, 1);
        assert_non_null(strstr(l.h.patch, "\"speed\""));
    }
}

/* Waits, for half a minute at most, until @count is reached by what another thread counts. */
static bool reaches(atomic_uint *counter, unsigned count)
{
    for (int i = 0; i < 300 && atomic_load(counter) < count; i++)
        (void)usleep(100000);
    return atomic_load(counter) >= count;
}

/* The hub goes away and comes back: every listener notices, connects again, and hears the next message. */
static void test_lost_connection(void **state)
{
    static listener listeners[DEVICES_MAX];
    char mqtt[8], https[8], amqp[8];
    server again;

    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        listeners[i] = (listener){.h = {.wanted = 1}, .duration_ms = 60000};
        start_listener(&listeners[i], &devices[i]);
    }
    (void)snprintf(mqtt, sizeof mqtt, "%d", dps.port);
    (void)snprintf(https, sizeof https, "%d", dps.https_port);
    (void)snprintf(amqp, sizeof amqp, "%d", dps.amqp_port);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    for (size_t i = 0; i < device_count; i++)
        assert_true(reaches(&listeners[i].h.disconnected, 1));
    again = dps; /* the listeners read what dps says of where it is, which stays as it was */
    start(&again, mqtt, https, amqp);
    dps.pid = again.pid;
    dps.out = again.out;
    for (size_t i = 0; i < device_count; i++)
        tell_device(&devices[i], "after all");
    for (size_t i = 0; i < device_count; i++) {
        assert_int_equal(pthread_join(listeners[i].thread, NULL), 0);
        assert_int_equal(listeners[i].code, KN_PROV_OK);
        assert_int_equal(listeners[i].h.messages, 1);
        assert_true(listeners[i].h.connected >= 1);
        assert_string_equal(listeners[i].h.body, "after all");
    }
}

/* A token that lives for three seconds is renewed before it ends, and nobody notices but by a new connection.
 */
static void test_renewal(void **state)
{
    static listener listeners[DEVICES_MAX];

    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        listeners[i] = (listener){.h = {.wanted = 1000}, .duration_ms = 60000, .sas_lifetime_s = 3};
        start_listener(&listeners[i], &devices[i]);
    }
    for (size_t i = 0; i < device_count; i++) {
        bool symmetric = strcmp(devices[i].attestation, "symmetric-key") == 0;

        if (symmetric)
            assert_true(reaches(&listeners[i].h.connected, 2));
        atomic_store(&listeners[i].cancel, true);
        assert_int_equal(pthread_join(listeners[i].thread, NULL), 0);
        assert_int_equal(listeners[i].code, KN_PROV_OK);
        assert_int_equal(listeners[i].h.disconnected, 0);
        if (!symmetric)
            assert_int_equal(listeners[i].h.connected, 0);
    }
}

/* What a hub or its certificate may be wrong about, N of N. */
static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < device_count; i++) {
        const device *d = &devices[i];
        device other = *d;
        kn_hub_request request = {.ca_file = pki->other_ca_file};
        kn_hub_message telemetry = {.body = "x", .body_size = 1};
        kn_hub *hub;
        kn_prov_code code;

        if (strcmp(d->transport, "https") != 0) { /* that one connects with its first message */
            hub = connect_hub(d, &request, KN_PROV_E_SERVER_UNTRUSTED);
            kn_hub_close(&hub);
        }
        /* a device that was never registered */
        (void)snprintf(other.name, sizeof other.name, "nobody");
        request = (kn_hub_request){.hub = NULL};
        fake_hsm_mine = &other.identity;
        code = strcmp(d->transport, "https") ? KN_PROV_OK : KN_PROV_E_UNAUTHORIZED;
        if (code) {
            hub = connect_hub(&other, &request, KN_PROV_OK);
            assert_int_equal(kn_hub_send(hub, &telemetry), code);
            assert_true(strlen(kn_hub_problem(hub)) > 0);
            kn_hub_close(&hub);
        } else {
            char address[32];

            (void)snprintf(address, sizeof address, "localhost:%d", port_of_transport(d->transport));
            request = (kn_hub_request){.hub = address,
                                       .device_id = other.name,
                                       .transport = d->transport,
                                       .attestation = d->attestation,
                                       .ca_file = dps.ca};
            code = kn_hub_open(&request, &hub);
            if (code != KN_PROV_E_UNAUTHORIZED && code != KN_PROV_E_NOT_ENROLLED)
                print_message("%s: %d %s\n", d->name, code, kn_hub_problem(hub));
            assert_true(code == KN_PROV_E_UNAUTHORIZED || code == KN_PROV_E_NOT_ENROLLED);
            kn_hub_close(&hub);
        }
    }
}

static void test_bad_requests(void **state)
{
    const kn_hub_request rows[] = {
        {.hub = NULL, .device_id = "d"},
        {.hub = "h.test", .device_id = NULL},
        {.hub = "https://h.test/", .device_id = "d"},
        {.hub = "h.test", .device_id = "a/b"},
        {.hub = "h.test", .device_id = ""},
        {.hub = "h.test", .device_id = "d", .transport = "carrier-pigeon"},
        {.hub = "h.test", .device_id = "d", .attestation = "trust-me"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kn_hub *hub = NULL;

        assert_int_equal(kn_hub_open(&rows[i], &hub), KN_PROV_E_ARGUMENT);
        assert_true(strlen(kn_hub_problem(hub)) > 0);
        kn_hub_close(&hub);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_telemetry),       cmocka_unit_test(test_twin),
        cmocka_unit_test(test_messages),        cmocka_unit_test(test_desired),
        cmocka_unit_test(test_lost_connection), cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_bad_requests),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
