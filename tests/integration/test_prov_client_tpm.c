/* TPM attestation against the real keynym-dps, over each transport that carries it: the challenge, the key for the hub, and
 * the hub with tokens of that key. The TPM is one in software, behind the SDK's interface. */
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "test_dps_harness.h"

#include "kn_hub.h"
#include "kn_prov.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const carriers[] = {"https", "amqp", "amqp-ws"};

static server dps = {.dir = "/tmp/kn-tpm-XXXXXX"};
static soft_tpm tpm, other;

static void enroll(const char *id)
{
    char path[96];
    unsigned char text[700];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/ek", dps.dir);
    (void)EVP_EncodeBlock(text, tpm.ek.public_area, (int)tpm.ek.len);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs((char *)text, file) >= 0 && fclose(file) == 0);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", id, "--endorsement-key-file", path,
                                 "--hub", "localhost", NULL),
                     0);
}

/* By coreutils. */
static void expected_id(char ret_id[80])
{
    char path[96], command[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/ek.bin", dps.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(tpm.ek.public_area, 1, tpm.ek.len, file), tpm.ek.len);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(command, sizeof command,
                   "sha256sum %s | head -c 64 | tr a-f A-F | basenc --base16 -d | base32 -w0 | tr -d = | tr A-Z a-z", path);
    file = popen(command, "r");
    assert_non_null(file);
    assert_non_null(fgets(ret_id, 80, file));
    assert_int_equal(pclose(file), 0);
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};

    (void)state;
    assert_non_null(mkdtemp(dps.dir));
    assert_true(soft_tpm_make(&tpm) && soft_tpm_make(&other));
    enroll("tpm-1");
    server_start(&dps, args);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    soft_tpm_clear(&tpm);
    soft_tpm_clear(&other);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static int each(void **state)
{
    (void)state;
    fake_hsm = (fake_hsm_settings){.tpm = &tpm};
    tpm.activations = other.activations = 0;
    assert_int_equal(atomic_load(&fake_hsm_handles), 0);
    return 0;
}

static int port_of_transport(const char *name)
{
    return strncmp(name, "mqtt", 5) == 0 ? dps.port : strcmp(name, "amqp") == 0 ? dps.amqp_port : dps.https_port;
}

static const char *proxy_url; /* NULL: straight */

static kn_prov_code try_register(const char *transport, const char *id, kn_prov_result *result)
{
    char endpoint[32];
    kn_prov_request request = {
        .endpoint = endpoint,
        .id_scope = dps.scope,
        .transport = transport,
        .attestation = "tpm",
        .ca_file = dps.ca,
        .registration_id = id,
        .payload = "{\"a\":1}",
        .proxy = proxy_url,
        .proxy_user = proxy_url ? "gateway" : NULL,
        .proxy_password = proxy_url ? "p@ss:w0rd" : NULL,
    };

    (void)snprintf(endpoint, sizeof endpoint, "localhost:%d", port_of_transport(transport));
    *result = (kn_prov_result)KN_PROV_RESULT_INIT;
    return kn_prov_register(&request, result);
}

static void check_registration(const char *transport, const char *id, const char *expected)
{
    kn_prov_result result;
    unsigned before = tpm.activations;
    kn_prov_code code = try_register(transport, id, &result);

    if (code)
        fail_msg("%s: %s", transport, result.message);
    assert_string_equal(result.assigned_hub, "localhost");
    assert_string_equal(result.registration_id, expected);
    assert_int_equal(tpm.activations, before + 2); /* the challenge, and the hub's key */
    assert_int_equal(atomic_load(&fake_hsm_handles), 0);
    kn_prov_result_clear(&result);
}

static void refuse(const char *transport, const char *id, kn_prov_code expected, const char *words)
{
    kn_prov_result result;
    kn_prov_code code = try_register(transport, id, &result);

    if (code != expected || !strstr(result.message, words))
        fail_msg("%s: %d, %s; \"%s\" is expected", transport, (int)code, result.message ? result.message : "registered", words);
    assert_int_equal(atomic_load(&fake_hsm_handles), 0);
    kn_prov_result_clear(&result);
}

static kn_prov_code send_one(const char *transport, const char *body, uint32_t lifetime_s, unsigned times)
{
    char name[32];
    kn_hub_request request = {
        .hub = name,
        .device_id = "tpm-1",
        .transport = transport,
        .attestation = "tpm",
        .ca_file = dps.ca,
        .sas_lifetime_s = lifetime_s,
    };
    kn_hub_message telemetry = {.body = body, .body_size = strlen(body)};
    kn_hub *hub = NULL;
    kn_prov_code code;

    (void)snprintf(name, sizeof name, "localhost:%d", port_of_transport(transport));
    code = kn_hub_open(&request, &hub);
    while (code == KN_PROV_OK && times--)
        code = kn_hub_send(hub, &telemetry);
    kn_hub_close(&hub);
    assert_int_equal(atomic_load(&fake_hsm_handles), 0);
    return code;
}

/* Whatever carried the registration, the hub takes tokens of its key over every transport, MQTT too. */
static void test_registers(void **state)
{
    static char events[OUTPUT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++)
        check_registration(carriers[i], "tpm-1", "tpm-1");
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        char body[40];

        (void)snprintf(body, sizeof body, "by-%s.", kn_prov_transport_name(i));
        assert_int_equal(send_one(kn_prov_transport_name(i), body, 0, 1), KN_PROV_OK);
        assert_int_equal(run_program(events, "events", "--dir", dps.dir, NULL), 0);
        assert_non_null(strstr(events, body));
    }
    tpm.hmac_key[3] ^= 1; /* the hub does not take another key */
    assert_int_equal(send_one("https", "no", 0, 1), KN_PROV_E_UNAUTHORIZED);
    assert_int_equal(send_one("mqtt", "no", 0, 1), KN_PROV_E_UNAUTHORIZED);
}

/* HTTP CONNECT and SOCKS5, both with a user and a password. */
static void test_proxies(void **state)
{
    test_proxy *proxy = test_proxy_start("gateway", "p@ss:w0rd");
    char url[64];

    (void)state;
    for (int socks = 0; socks < 2; socks++) {
        (void)snprintf(url, sizeof url, "%s://127.0.0.1:%d", socks ? "socks5h" : "http", test_proxy_port(proxy));
        proxy_url = url;
        for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
            unsigned before = test_proxy_tunnels(proxy);

            check_registration(carriers[i], "tpm-1", "tpm-1");
            assert_true(test_proxy_tunnels(proxy) > before);
        }
    }
    proxy_url = NULL;
    test_proxy_stop(proxy);
}

static void test_default_registration_id(void **state)
{
    char id[80];

    (void)state;
    expected_id(id);
    assert_int_equal(strlen(id), 52);
    enroll(id);
    check_registration("https", NULL, id);
    check_registration("amqp", NULL, id);
}

static void test_mqtt_is_refused(void **state)
{
    (void)state;
    refuse("mqtt", "tpm-1", KN_PROV_E_ARGUMENT, "transport \"mqtt\" cannot carry attestation \"tpm\"");
    refuse("mqtt-ws", "tpm-1", KN_PROV_E_ARGUMENT, "transport \"mqtt-ws\" cannot carry attestation \"tpm\"");
    assert_int_equal(tpm.activations, 0);
}

/* Another endorsement key than the enrollment's, and a name that is not enrolled. */
static void test_strangers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
        fake_hsm.tpm = &other;
        refuse(carriers[i], "tpm-1", KN_PROV_E_UNAUTHORIZED, "");
        assert_int_equal(other.activations, 0);
        fake_hsm.tpm = &tpm;
        refuse(carriers[i], "nobody", KN_PROV_E_UNAUTHORIZED, "");
    }
}

static void test_the_library_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
        for (unsigned n = 1; n <= 2; n++) {
            tpm.activations = 0;
            fake_hsm = (fake_hsm_settings){.tpm = &tpm, .activation_fails = n};
            refuse(carriers[i], "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_activate_identity_key failed");
        }
        fake_hsm = (fake_hsm_settings){.tpm = &tpm, .mac_short_by = 1};
        refuse(carriers[i], "tpm-1", KN_PROV_E_IDENTITY, "has 31 bytes, not 32");
    }
    fake_hsm = (fake_hsm_settings){.tpm = &tpm, .no_keys = true};
    refuse("https", "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_get_ek failed");
    fake_hsm = (fake_hsm_settings){.tpm = &tpm, .srk_short_by = 1};
    refuse("https", "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_get_srk returned is not a TPM2B_PUBLIC");
    fake_hsm = (fake_hsm_settings){.tpm = &tpm, .create_fails = true};
    refuse("https", "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_tpm_create returned NULL");
    fake_hsm = (fake_hsm_settings){.tpm = NULL};
    refuse("https", "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_tpm_interface has no or not all functions");
    fake_hsm = (fake_hsm_settings){.tpm = &tpm, .lacks_a_function = true};
    refuse("https", "tpm-1", KN_PROV_E_IDENTITY, "hsm_client_tpm_interface has not all functions");
}

/* A library that can only sign is enough for the hub. */
static void test_the_hub_needs_less(void **state)
{
    (void)state;
    check_registration("https", "tpm-1", "tpm-1");
    fake_hsm.lacks_a_function = true;
    assert_int_equal(send_one("amqp", "less", 0, 1), KN_PROV_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_registers, each),
        cmocka_unit_test_setup(test_proxies, each),
        cmocka_unit_test_setup(test_default_registration_id, each),
        cmocka_unit_test_setup(test_mqtt_is_refused, each),
        cmocka_unit_test_setup(test_strangers, each),
        cmocka_unit_test_setup(test_the_library_fails, each),
        cmocka_unit_test_setup(test_the_hub_needs_less, each),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
