/* A hub that refuses the device: it registers again, over every transport and with every attestation, against the real keynym-dps. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "test_dps_harness.h"

#include "kn_hub.h"

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
static server dps = {.dir = "/tmp/kn-again-XXXXXX"}, foreign = {.dir = "/tmp/kn-again-XXXXXX"}; /* foreign: its hub knows nobody */
static char both_ca[120], key_file[120];
static soft_tpm tpm;

static const char *const attestations[] = {"x509", "symmetric-key", "tpm"};
#define KINDS (sizeof attestations / sizeof *attestations)

typedef struct device {
    char name[48];
    const char *transport, *attestation;
    fake_hsm_settings identity;
    char *certificate, *key;
    /* what came of it */
    unsigned registered;
    char hub[64], id[64];
    char failure[1200]; /* of the test; "" for none */
    pthread_t thread;
    void (*try)(struct device *d);
} device;

static int port_of(const server *s, const char *transport)
{
    return strcmp(transport, "mqtt") == 0 ? s->port : strcmp(transport, "amqp") == 0 ? s->amqp_port : s->https_port;
}

static void create(const char *id, const char *hub, const char *option, const char *value)
{
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", id, "--hub", hub, option, value, NULL), 0);
}

static void delete(const char *id)
{
    assert_int_equal(run_program(NULL, "enrollment", "delete", "--dir", dps.dir, "--id", id, NULL), 0);
}

/* @hub: where the enrollment sends it. There is one TPM. */
static void make_device(device *d, const char *transport, const char *attestation, const char *hub)
{
    static unsigned count;
    char path[120];
    *d = (device){.transport = transport, .attestation = attestation};
    (void)snprintf(d->name, sizeof d->name, "%s-%s-%u", attestation, transport, count++);
    if (strcmp(attestation, "x509") == 0) {
        fake_pki_device(pki, d->name, &d->certificate, &d->key);
        d->identity = (fake_hsm_settings){.common_name = d->name, .certificate = d->certificate, .key = d->key};
        char *file = fake_pki_file(pki, d->name, d->certificate);
        create(d->name, hub, "--certificate", file);
        free(file);
    } else if (strcmp(attestation, "tpm") == 0) {
        d->identity = (fake_hsm_settings){.tpm = &tpm};
        (void)snprintf(path, sizeof path, "%s/ek", pki->directory);
        create(d->name, hub, "--endorsement-key-file", path);
    } else {
        d->identity = (fake_hsm_settings){.registration_name = d->name, .symmetric_key = KEY};
        assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", d->name, "--hub", hub, "--symmetric-key",
                                     "--primary-key-file", key_file, NULL),
                         0);
    }
}

static void release(device *d)
{
    delete(d->name);
    free(d->certificate);
    free(d->key);
}

static void *run_one(void *arg)
{
    device *d = arg;
    fake_hsm_mine = &d->identity;
    d->try(d);
    return NULL;
}

/* All transports and @kinds of the attestations at once, but for the TPM's, of which there is one. @hub NULL: of the foreign server. */
static void run_each(size_t kinds, const char *hub, void (*try)(device *d))
{
    static device devices[KINDS * 5];
    char at_foreign[40];
    size_t count = 0;
    for (size_t k = 0; k < kinds; k++)
        for (size_t i = 0; kn_prov_transport_name(i); i++) {
            device *d = &devices[count++];
            bool is_tpm = strcmp(attestations[k], "tpm") == 0;
            (void)snprintf(at_foreign, sizeof at_foreign, "localhost:%d", port_of(&foreign, kn_prov_transport_name(i)));
            make_device(d, kn_prov_transport_name(i), attestations[k], hub ? hub : at_foreign);
            d->try = try;
            if (is_tpm) {
                (void)run_one(d);
                fake_hsm_mine = NULL;
                delete(d->name);
            } else {
                assert_int_equal(pthread_create(&d->thread, NULL, run_one, d), 0);
            }
        }
    for (size_t i = 0; i < count; i++) {
        bool is_tpm = strcmp(devices[i].attestation, "tpm") == 0;
        if (!is_tpm)
            assert_int_equal(pthread_join(devices[i].thread, NULL), 0);
        if (!is_tpm)
            release(&devices[i]);
    }
    for (size_t i = 0; i < count; i++)
        if (*devices[i].failure)
            fail_msg("%s", devices[i].failure);
    assert_int_equal(atomic_load(&fake_hsm_handles), 0);
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};
    unsigned char text[700];
    char command[400];
    (void)state;
    pki = fake_pki_new();
    char *path = fake_pki_file(pki, "key", KEY);
    assert_int_equal(chmod(path, 0600), 0);
    (void)snprintf(key_file, sizeof key_file, "%s", path);
    free(path);
    assert_true(soft_tpm_make(&tpm));
    (void)EVP_EncodeBlock(text, tpm.ek.public_area, (int)tpm.ek.len);
    free(fake_pki_file(pki, "ek", (const char *)text));
    assert_non_null(mkdtemp(dps.dir));
    assert_non_null(mkdtemp(foreign.dir));
    server_start(&dps, args);
    server_start(&foreign, args);
    (void)snprintf(both_ca, sizeof both_ca, "%s/both.pem", pki->directory);
    (void)snprintf(command, sizeof command, "cat %s %s >%s", dps.ca, foreign.ca, both_ca);
    assert_int_equal(system(command), 0);
    return 0;
}

static int tear_down(void **state)
{
    char command[200];
    (void)state;
    soft_tpm_clear(&tpm);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    assert_int_equal(server_stop(&foreign, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s %s", dps.dir, foreign.dir);
    assert_int_equal(system(command), 0);
    fake_pki_free(pki);
    return 0;
}

static void note(const kn_prov_result *result, void *context)
{
    device *d = context;
    d->registered++;
    (void)snprintf(d->hub, sizeof d->hub, "%s", result->assigned_hub);
    (void)snprintf(d->id, sizeof d->id, "%s", result->device_id);
}

/* A TPM does not register over MQTT; the hub takes its tokens there. */
static const char *registers_over(const device *d)
{
    return strcmp(d->attestation, "tpm") == 0 && strncmp(d->transport, "mqtt", 4) == 0 ? "https" : d->transport;
}

/* In a device's own thread, where nothing may be asserted. */
static void note_failure(device *d, kn_prov_code code, const char *problem, int line)
{
    if (!*d->failure)
        (void)snprintf(d->failure, sizeof d->failure, "line %d: %s: %d, registered %u times: %s", line, d->name, code, d->registered, problem);
}

/* Sends one message to the hub @hub of @server, which need not be the device's. */
static kn_prov_code send_one(device *d, const server *at, const char *hub_name, const char *scope, char ret_problem[900])
{
    char endpoint[32], address[64];
    const kn_prov_request again = {.endpoint = endpoint, .id_scope = scope, .transport = registers_over(d), .attestation = d->attestation,
                                   .ca_file = both_ca, .registration_id = d->name};
    const kn_hub_request request = {.hub = address, .device_id = d->name, .transport = d->transport, .attestation = d->attestation,
                                    .ca_file = both_ca, .reprovision = scope ? &again : NULL, .on_registered = note, .context = d,
                                    .timeout_ms = 30000};
    const kn_hub_message telemetry = {.body = "moved", .body_size = 5};
    kn_hub *hub = NULL;
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port_of(&dps, registers_over(d)));
    (void)snprintf(address, sizeof address, "%s:%d", hub_name, port_of(at, d->transport));
    d->registered = 0;
    kn_prov_code code = kn_hub_open(&request, &hub);
    bool opened = code == KN_PROV_OK;
    if (opened)
        code = kn_hub_send(hub, &telemetry);
    (void)snprintf(ret_problem, 900, "%s", hub ? kn_hub_problem(hub) : "");
    if (opened && code != KN_PROV_OK && d->registered == 0 && kn_hub_send(hub, &telemetry) != code) /* the hub stays usable */
        note_failure(d, code, kn_hub_problem(hub), __LINE__);
    kn_hub_close(&hub);
    return code;
}

static void expect(device *d, const server *at, const char *hub_name, const char *scope, kn_prov_code code, unsigned registered, int line)
{
    char problem[900];
    kn_prov_code came = send_one(d, at, hub_name, scope, problem);
    if (came != code || d->registered != registered)
        note_failure(d, came, problem, line);
}

/* A TPM has no key for the hub's tokens before its first registration. */
static void prepare(device *d)
{
    char endpoint[32];
    const kn_prov_request request = {.endpoint = endpoint, .id_scope = dps.scope, .transport = "https", .attestation = "tpm",
                                     .ca_file = both_ca, .registration_id = d->name};
    kn_prov_result result = KN_PROV_RESULT_INIT;
    if (strcmp(d->attestation, "tpm") != 0)
        return;
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", dps.https_port);
    kn_prov_code code = kn_prov_register(&request, &result);
    if (code)
        note_failure(d, code, result.message, __LINE__);
    kn_prov_result_clear(&result);
}

/* The hub does not know the device; then it is asked under another name than the assigned one. Without being told how to register the
 * refusal is the answer. */
static void move(device *d)
{
    prepare(d);
    if (strcmp(d->attestation, "tpm") != 0) {
        expect(d, &dps, "localhost", NULL, KN_PROV_E_UNAUTHORIZED, 0, __LINE__);
        expect(d, &dps, "localhost", dps.scope, KN_PROV_OK, 1, __LINE__);
        if (strcmp(d->hub, "localhost") != 0 || strcmp(d->id, d->name) != 0)
            note_failure(d, KN_PROV_OK, "another registration was told", __LINE__);
    }
    expect(d, &dps, "localhost", dps.scope, KN_PROV_OK, 0, __LINE__); /* nothing is wrong any more */
    expect(d, &dps, "127.0.0.1", NULL, KN_PROV_E_UNAUTHORIZED, 0, __LINE__);
    expect(d, &dps, "127.0.0.1", dps.scope, KN_PROV_OK, 1, __LINE__);
}

static void test_moves(void **state)
{
    (void)state;
    run_each(KINDS, "localhost", move);
}

/* It cannot register: both reasons are named. */
static void be_unknown(device *d)
{
    char problem[900];
    prepare(d);
    kn_prov_code code = send_one(d, &foreign, "localhost", "0ne00000000", problem);
    if (code == KN_PROV_OK || d->registered || !strstr(problem, "the hub refuses the device (") ||
        !strstr(problem, "and it could not register again: "))
        note_failure(d, code, problem, __LINE__);
}

static void test_cannot_register(void **state)
{
    (void)state;
    run_each(KINDS, "localhost", be_unknown);
}

/* Each registration leads to a hub that refuses: three of them, with pauses, and no more. */
static void go_in_circles(device *d)
{
    char problem[900];
    kn_prov_code code = send_one(d, &foreign, "localhost", dps.scope, problem);
    if (code != KN_PROV_E_UNAUTHORIZED || d->registered != KN_HUB_REGISTRATIONS_MAX || !strstr(problem, "it was registered again 3 times"))
        note_failure(d, code, problem, __LINE__);
}

static void test_refused_again_and_again(void **state)
{
    (void)state;
    run_each(2, NULL, go_in_circles);
}

/* No refusal by name: nobody there, and a server that cannot be verified. */
static void test_other_failures(void **state)
{
    char problem[900];
    server nobody = {.port = 1, .https_port = 1, .amqp_port = 1};
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        device d;
        make_device(&d, kn_prov_transport_name(i), "x509", "localhost");
        fake_hsm_mine = &d.identity;
        kn_hub_request request = {.hub = "localhost:1", .device_id = d.name, .transport = d.transport, .ca_file = both_ca, .timeout_ms = 1500};
        const kn_prov_request again = {.endpoint = "localhost:1", .id_scope = dps.scope, .ca_file = both_ca};
        char address[40];
        kn_hub *hub = NULL;
        request.reprovision = &again;
        request.on_registered = note;
        request.context = &d;
        for (int untrusted = 0; untrusted < 2; untrusted++) {
            (void)snprintf(address, sizeof address, "localhost:%d", port_of(untrusted ? &dps : &nobody, d.transport));
            request.hub = address;
            request.ca_file = untrusted ? pki->ca_file : both_ca;
            kn_prov_code code = kn_hub_open(&request, &hub);
            if (code == KN_PROV_OK)
                code = kn_hub_send(hub, &(kn_hub_message){.body = "x", .body_size = 1});
            (void)snprintf(problem, sizeof problem, "%s", kn_hub_problem(hub));
            kn_hub_close(&hub);
            kn_prov_code expected = untrusted ? KN_PROV_E_SERVER_UNTRUSTED : KN_PROV_E_UNREACHABLE;
            if (code != expected || d.registered || strstr(problem, "register"))
                fail_msg("%s: %d, %s", d.name, code, problem);
        }
        release(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_cannot_register),
        cmocka_unit_test(test_refused_again_and_again),
        cmocka_unit_test(test_other_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
