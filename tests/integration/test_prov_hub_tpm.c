/* The hub with a real TPM's identity (swtpm, by way of hsm_api): tokens that the TPM signs are renewed before they end. */
#include "support/kn_check.h"
#include "support/swtpm.h"
#include "test_dps_harness.h"

#include "kn_hub.h"
#include "kn_prov.h"

#include "hsm_client_data.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HMAC       0x155u

typedef struct listener {
    const char *transport;
    pthread_t thread;
    atomic_int connected, disconnected;
    atomic_bool cancel;
    kn_prov_code code;
} listener;

static server dps = {.dir = "/tmp/kn-hub-tpm-XXXXXX"};

static void enroll(void)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    char path[96];
    unsigned char *key = NULL, text[700];
    size_t length = 0;
    HSM_CLIENT_HANDLE handle = tpm->hsm_client_tpm_create();
    assert_non_null(handle);
    assert_int_equal(tpm->hsm_client_get_ek(handle, &key, &length), 0);
    assert_true(length < 400);
    (void)EVP_EncodeBlock(text, key, (int)length);
    free(key);
    tpm->hsm_client_tpm_destroy(handle);
    (void)snprintf(path, sizeof path, "%s/ek", dps.dir);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs((char *)text, file) >= 0 && fclose(file) == 0);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", "device", "--endorsement-key-file", path, "--hub",
                                 "localhost", NULL),
                     0);
}

static int port_of_transport(const char *name)
{
    return strncmp(name, "mqtt", 4) == 0 && !strchr(name, '-') ? dps.port : strcmp(name, "amqp") == 0 ? dps.amqp_port : dps.https_port;
}

static void provision(void)
{
    char endpoint[32];
    const kn_prov_request request = {.endpoint = endpoint, .id_scope = dps.scope, .transport = "https", .attestation = "tpm",
                                     .ca_file = dps.ca, .registration_id = "device"};
    kn_prov_result result = KN_PROV_RESULT_INIT;
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", dps.https_port);
    kn_prov_code code = kn_prov_register(&request, &result);
    if (code)
        fail_msg("%s", result.message);
    kn_prov_result_clear(&result);
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};
    (void)state;
    swtpm_set_up();
    assert_int_equal(setenv("KEYNYM_TCTI", swtpm_tcti, 1), 0);
    assert_int_equal(setenv("KEYNYM_CONF", "/dev/null", 1), 0);
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(hsm_client_tpm_init(), 0);
    enroll();
    server_start(&dps, args);
    provision();
    return 0;
}

static int tear_down(void **state)
{
    char command[96];
    (void)state;
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    hsm_client_tpm_deinit();
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    swtpm_check_clean();
    swtpm_tear_down();
    return 0;
}

static bool hear(const kn_hub_event *event, void *context)
{
    listener *l = context;
    atomic_fetch_add(event->kind == KN_HUB_CONNECTED ? &l->connected : &l->disconnected, event->kind <= KN_HUB_DISCONNECTED);
    return true;
}

static void *listen_to(void *arg)
{
    listener *l = arg;
    char address[32];
    const kn_hub_request request = {.hub = address, .device_id = "device", .transport = l->transport, .attestation = "tpm",
                                    .ca_file = dps.ca, .sas_lifetime_s = 3, .cancel = &l->cancel};
    kn_hub *hub = NULL;
    (void)snprintf(address, sizeof address, "localhost:%d", port_of_transport(l->transport));
    l->code = kn_hub_open(&request, &hub);
    if (l->code == KN_PROV_OK)
        l->code = kn_hub_listen(hub, 60000, hear, l);
    if (l->code)
        print_message("%s: %s\n", l->transport, kn_hub_problem(hub));
    kn_hub_close(&hub);
    return NULL;
}

static unsigned signatures(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < *swtpm_count && i < 256; i++)
        n += swtpm_codes[i] == HMAC;
    return n;
}

/* One after the other: a device has one connection with its hub. A token lives for three seconds. */
static void test_renewal(void **state)
{
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        listener l = {.transport = kn_prov_transport_name(i)};
        swtpm_arm(0, 0, 0);
        assert_int_equal(pthread_create(&l.thread, NULL, listen_to, &l), 0);
        for (int n = 0; n < 400 && atomic_load(&l.connected) < 1; n++)
            (void)usleep(50000);
        assert_true(atomic_load(&l.connected) >= 1); /* anew, since the first one is not told of */
        atomic_store(&l.cancel, true);
        assert_int_equal(pthread_join(l.thread, NULL), 0);
        assert_int_equal(l.code, KN_PROV_OK);
        assert_int_equal(atomic_load(&l.disconnected), 0);
        assert_in_range(signatures(), 2, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_renewal)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
