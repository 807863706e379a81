/* Our client with somebody else's hsm_custom_lib in the place of ours, a shared library: registers and talks to the hub over every
 * transport, with a certificate and with a symmetric key, against keynym-dps. */
#include "integration/test_dps_harness.h"

#include "kn_hub.h"
#include "kn_prov.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a program that is linked with such a library declares. */
int hsm_client_x509_init(void);
void hsm_client_x509_deinit(void);
typedef struct X509_INTERFACE {
    void *(*create)(void);
    void (*destroy)(void *handle);
    char *(*get_certificate)(void *handle);
} X509_INTERFACE;
const X509_INTERFACE *hsm_client_x509_interface(void);

static server dps = {.dir = "/tmp/kn-foreign-XXXXXX"};

static void write_file(const char *name, const char *text, char ret_path[120])
{
    (void)snprintf(ret_path, 120, "%s/%s", dps.dir, name);
    FILE *file = fopen(ret_path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};
    char path[120];
    (void)state;
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(hsm_client_x509_init(), 0);
    void *handle = hsm_client_x509_interface()->create();
    char *certificate = hsm_client_x509_interface()->get_certificate(handle);
    assert_non_null(certificate);
    write_file("device.pem", certificate, path);
    free(certificate);
    hsm_client_x509_interface()->destroy(handle);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", "foreign-device", "--certificate", path, "--hub",
                                 "localhost", NULL),
                     0);
    write_file("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", path);
    char command[200];
    (void)snprintf(command, sizeof command, "chmod 600 %s", path);
    assert_int_equal(system(command), 0);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", "foreign-symmetric", "--symmetric-key",
                                 "--primary-key-file", path, "--hub", "localhost", NULL),
                     0);
    server_start(&dps, args);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];
    (void)state;
    hsm_client_x509_deinit();
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    return 0;
}

/* None of ours is in this process. */
static void test_alone(void **state)
{
    char line[1024];
    bool foreign = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    (void)state;
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        assert_null(strstr(line, "keynym_hsm"));
        foreign |= strstr(line, "foreign_hsm.so") != NULL;
    }
    (void)fclose(maps);
    assert_true(foreign);
}

static int port_of(const char *transport)
{
    return strcmp(transport, "mqtt") == 0 ? dps.port : strcmp(transport, "amqp") == 0 ? dps.amqp_port : dps.https_port;
}

static void serve(const char *transport, const char *attestation, const char *id)
{
    char address[32];
    kn_prov_request request = {.endpoint = address, .id_scope = dps.scope, .transport = transport, .attestation = attestation,
                               .ca_file = dps.ca};
    kn_hub_request hub_request = {.hub = address, .device_id = id, .transport = transport, .attestation = attestation, .ca_file = dps.ca};
    const kn_hub_message telemetry = {.body = transport, .body_size = strlen(transport)};
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_hub *hub = NULL;
    (void)snprintf(address, sizeof address, "localhost:%d", port_of(transport));
    if (kn_prov_register(&request, &result))
        fail_msg("%s, %s: %s", transport, attestation, result.message);
    assert_string_equal(result.registration_id, id);
    assert_string_equal(result.assigned_hub, "localhost");
    kn_prov_result_clear(&result);
    kn_prov_code code = kn_hub_open(&hub_request, &hub);
    if (code == KN_PROV_OK)
        code = kn_hub_send(hub, &telemetry);
    if (code)
        fail_msg("%s, %s: the hub: %s", transport, attestation, kn_hub_problem(hub));
    kn_hub_close(&hub);
}

static void test_every_transport(void **state)
{
    static char events[OUTPUT_MAX];
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        serve(kn_prov_transport_name(i), "x509", "foreign-device");
        serve(kn_prov_transport_name(i), "symmetric-key", "foreign-symmetric");
    }
    assert_int_equal(run_program(events, "events", "--dir", dps.dir, NULL), 0);
    for (size_t i = 0; kn_prov_transport_name(i); i++)
        assert_non_null(strstr(events, kn_prov_transport_name(i)));
}

/* A library without a TPM says so, and the client passes it on. */
static void test_no_tpm(void **state)
{
    char address[32];
    kn_prov_request request = {.endpoint = address, .id_scope = dps.scope, .transport = "https", .attestation = "tpm", .ca_file = dps.ca};
    kn_prov_result result = KN_PROV_RESULT_INIT;
    (void)state;
    (void)snprintf(address, sizeof address, "localhost:%d", dps.https_port);
    assert_int_equal(kn_prov_register(&request, &result), KN_PROV_E_IDENTITY);
    assert_non_null(strstr(result.message, "hsm_client_tpm_interface"));
    kn_prov_result_clear(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_every_transport),
        cmocka_unit_test(test_no_tpm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
