/* Registrations that fail, over real TLS: each error has its code, and a message that names the cause. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"

#include "kn_prov.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ASSIGNING "{\"operationId\":\"5.1.2\",\"status\":\"assigning\"}"
#define ASSIGNED                                                                                             \
    "{\"operationId\":\"5.1.2\",\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h."         \
    "example\","                                                                                             \
    "\"deviceId\":\"d\"}}"

static fake_pki *pki;

static void reset_hsm(void)
{
    (void)unsetenv("SSL_CERT_FILE");
    (void)unsetenv("CURL_CA_BUNDLE");
    fake_hsm = (fake_hsm_settings){
        .common_name = FAKE_DEVICE_NAME, .certificate = pki->device_cert, .key = pki->device_key};
}

static int set_up(void **state)
{
    (void)state;
    pki = fake_pki_new();
    reset_hsm();
    return 0;
}

static int set_up_test(void **state)
{
    (void)state;
    reset_hsm();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_pki_free(pki);
    return 0;
}

static kn_prov_request request_for(const char *endpoint)
{
    return (kn_prov_request){.endpoint = endpoint,
                             .id_scope = "0ne00012345",
                             .ca_file = pki->ca_file,
                             .step_timeout_ms = 10000,
                             .timeout_ms = 20000};
}

/* Registers, expects @code and a message with @words in it. */
static void expect_failure(const kn_prov_request *request, kn_prov_code code, const char *words)
{
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_code got = kn_prov_register(request, &result);

    assert_non_null(result.message);
    print_message("  %s: %s\n", kn_prov_error_of(got)->name, result.message);
    assert_string_equal(kn_prov_error_of(got)->name, kn_prov_error_of(code)->name);
    assert_int_equal(result.code, code);
    assert_null(result.assigned_hub);
    if (!strstr(result.message, words))
        fail_msg("the message lacks \"%s\"", words);
    assert_non_null(strstr(result.message, kn_prov_error_of(code)->sentence));
    kn_prov_result_clear(&result);
    assert_int_equal(fake_hsm_handles, 0);
}

static void expect_script_failure(const fake_script *script, kn_prov_code code, const char *words)
{
    fake_dps *dps = fake_dps_start(pki, script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));

    expect_failure(&request, code, words);
    fake_dps_stop(dps);
}

static void expect_reply_failure(const fake_reply *reply, kn_prov_code code, const char *words)
{
    fake_script script = {.replies = reply, .replies_count = 1};

    expect_script_failure(&script, code, words);
}

/* A port that was free a moment ago. */
static void test_closed_port(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char endpoint[32];
    kn_prov_request request = request_for(endpoint);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(endpoint, sizeof endpoint, "localhost:%u", ntohs(address.sin_port));
    expect_failure(&request, KN_PROV_E_UNREACHABLE, "Connection refused"); /* bound, but not listening */
    assert_int_equal(close(fd), 0);
}

static void test_unknown_host(void **state)
{
    kn_prov_request request = request_for("no-such-host.invalid");

    (void)state;
    expect_failure(&request, KN_PROV_E_RESOLVE, "no-such-host.invalid");
}

static void test_server_certificates(void **state)
{
    fake_script other = {.certificate = FAKE_CERT_FROM_OTHER_CA};
    fake_script expired = {.certificate = FAKE_CERT_EXPIRED};
    fake_script wrong_name = {.certificate = FAKE_CERT_WRONG_NAME};

    (void)state;
    expect_script_failure(&other, KN_PROV_E_SERVER_UNTRUSTED, "unable to get local issuer certificate");
    expect_script_failure(&expired, KN_PROV_E_SERVER_UNTRUSTED, "certificate has expired");
    expect_script_failure(&wrong_name, KN_PROV_E_SERVER_NAME, "localhost");
}

/* The environment must not make the client trust anyone; and the system store does not know our CA. */
static void test_environment_adds_no_trust(void **state)
{
    static const fake_script script = {.certificate = FAKE_CERT_GOOD};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));

    (void)state;
    request.ca_file = NULL;
    assert_int_equal(setenv("SSL_CERT_FILE", pki->ca_file, 1), 0);
    assert_int_equal(setenv("CURL_CA_BUNDLE", pki->ca_file, 1), 0);
    expect_failure(&request, KN_PROV_E_SERVER_UNTRUSTED, "system store");
    assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
    assert_int_equal(unsetenv("CURL_CA_BUNDLE"), 0);
    fake_dps_stop(dps);
}

static void test_ca_file(void **state)
{
    static const fake_script script = {.certificate = FAKE_CERT_GOOD};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));
    char *no_pem = fake_pki_file(pki, "no.pem", "no certificate\n");

    (void)state;
    request.ca_file = "/nonexistent/ca.pem";
    expect_failure(&request, KN_PROV_E_CA_FILE, "/nonexistent/ca.pem");
    request.ca_file = no_pem;
    expect_failure(&request, KN_PROV_E_CA_FILE, no_pem);
    free(no_pem);
    fake_dps_stop(dps);
}

static void test_old_tls(void **state)
{
    fake_script script = {.tls_version = TLS1_1_VERSION};

    (void)state;
    expect_script_failure(&script, KN_PROV_E_TLS_VERSION, "protocol version");
}

static void test_device_refused(void **state)
{
    fake_script tls12 = {.tls_version = TLS1_2_VERSION, .refuse_device = true};
    fake_script tls13 = {.tls_version = TLS1_3_VERSION, .refuse_device = true};

    (void)state;
    expect_script_failure(&tls12, KN_PROV_E_CERTIFICATE_REFUSED, "certificate revoked");
    expect_script_failure(&tls13, KN_PROV_E_CERTIFICATE_REFUSED, "certificate revoked");
}

static void test_identity(void **state)
{
    kn_prov_request request = request_for("localhost:1");

    (void)state;
    fake_hsm.init_fails = true;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_x509_init");
    reset_hsm();
    fake_hsm.create_fails = true;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_x509_create");
    reset_hsm();
    fake_hsm.lacks_a_function = true;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_x509_interface");
    reset_hsm();
    fake_hsm.common_name = NULL;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_get_common_name");
    reset_hsm();
    fake_hsm.certificate = NULL;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_get_cert");
    reset_hsm();
    fake_hsm.key = NULL;
    expect_failure(&request, KN_PROV_E_IDENTITY, "hsm_client_get_key");
    reset_hsm();
    fake_hsm.common_name = "device 7";
    expect_failure(&request, KN_PROV_E_ARGUMENT, "device 7");
    reset_hsm();
}

static void test_credentials(void **state)
{
    static const fake_script script = {.certificate = FAKE_CERT_GOOD};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));
    char damaged[16384];

    (void)state;
    fake_hsm.key = pki->other_key;
    expect_failure(&request, KN_PROV_E_KEY_MISMATCH, "certificate does not match the key");
    fake_hsm.key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    expect_failure(&request, KN_PROV_E_KEY, "OpenSSL cannot load the key");
    fake_hsm.key = pki->device_key;
    fake_hsm.certificate = "no certificate";
    expect_failure(&request, KN_PROV_E_CERTIFICATE, "no certificate in the PEM text");
    (void)snprintf(damaged, sizeof damaged,
                   "%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", pki->device_cert);
    fake_hsm.certificate = damaged;
    expect_failure(&request, KN_PROV_E_CERTIFICATE, "of the chain cannot be read");
    reset_hsm();
    fake_dps_stop(dps);
}

/* Encrypted with the passphrase "x": must fail at once and not ask the terminal. */
static void test_no_prompt(void **state)
{
    static const fake_script script = {.certificate = FAKE_CERT_GOOD};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));
    BIO *in = BIO_new_mem_buf(pki->device_key, -1), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    char text[4096];
    int size;

    (void)state;
    assert_true(
        PEM_write_bio_PrivateKey(out, key, EVP_aes_128_cbc(), (const unsigned char *)"x", 1, NULL, NULL));
    size = BIO_read(out, text, (int)sizeof text - 1);
    assert_true(size > 0);
    text[size] = '\0';
    fake_hsm.key = text;
    expect_failure(&request, KN_PROV_E_KEY, "OpenSSL cannot load the key");
    reset_hsm();
    EVP_PKEY_free(key);
    BIO_free(in);
    BIO_free(out);
    fake_dps_stop(dps);
}

static void test_drops(void **state)
{
    static const fake_reply replies[] = {{.status = 202, .body = ASSIGNING, .retry_after = "5"}};
    fake_script script = {.replies = replies, .replies_count = 1};

    (void)state;
    script.drop_at = FAKE_AT_ACCEPT;
    expect_script_failure(&script, KN_PROV_E_TLS, "localhost");
    for (int phase = FAKE_AFTER_TLS; phase < FAKE_PHASES; phase++) {
        const char *words = phase < FAKE_AFTER_CONNACK  ? "CONNACK"
                            : phase < FAKE_AFTER_SUBACK ? "SUBACK"
                            : phase < FAKE_AFTER_REPLY  ? "answer to the registration request"
                                                        : "pause";

        script.drop_at = (fake_phase)phase;
        expect_script_failure(&script, KN_PROV_E_CLOSED, words);
    }
    /* With close_notify, because the script has no second reply. */
    script.drop_at = FAKE_NEVER;
    script.replies_count = 0;
    expect_script_failure(&script, KN_PROV_E_CLOSED, "answer to the registration request");
}

static void test_mqtt_refusals(void **state)
{
    fake_script connack = {.connack = 5};
    fake_script suback = {.suback = 0x80};

    (void)state;
    expect_script_failure(&connack, KN_PROV_E_UNAUTHORIZED, "not authorized");
    expect_script_failure(&suback, KN_PROV_E_CONNECT_REFUSED, "SUBACK");
}

static void test_mqtt_violations(void **state)
{
    static const uint8_t oversized[] = {0x32, 0xff, 0xff, 0xff, 0x7f};
    static const uint8_t endless[] = {0x32, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t connect[] = {0x10, 0};
    static const uint8_t puback[] = {0x40, 2, 0x77, 0x77};
    static const uint8_t http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    fake_script script = {.connack_raw = http, .connack_raw_size = sizeof http - 1};
    fake_reply reply = {.raw = oversized, .raw_size = sizeof oversized};

    (void)state;
    expect_script_failure(&script, KN_PROV_E_PROTOCOL, "MQTT");
    expect_reply_failure(&reply, KN_PROV_E_PROTOCOL, "are allowed");
    reply = (fake_reply){.raw = endless, .raw_size = sizeof endless};
    expect_reply_failure(&reply, KN_PROV_E_PROTOCOL, "more than 4 bytes");
    reply = (fake_reply){.raw = connect, .raw_size = sizeof connect};
    expect_reply_failure(&reply, KN_PROV_E_PROTOCOL, "type 1");
    reply = (fake_reply){.raw = puback, .raw_size = sizeof puback};
    expect_reply_failure(&reply, KN_PROV_E_PROTOCOL, "which was not sent");
    reply = (fake_reply){.status = 200, .body = ASSIGNED, .qos2 = 1};
    expect_reply_failure(&reply, KN_PROV_E_PROTOCOL, "QoS 2");
}

static void test_topics(void **state)
{
    fake_reply wrong_rid = {.status = 200, .body = ASSIGNED, .rid_offset = 1};
    fake_reply topic = {.status = 200, .body = ASSIGNED};

    (void)state;
    expect_reply_failure(&wrong_rid, KN_PROV_E_PROTOCOL, "$rid=3");
    topic.topic = "devices/d/messages";
    expect_reply_failure(&topic, KN_PROV_E_PROTOCOL, "devices/d/messages");
    topic.topic = "$dps/registrations/res/2x0/?$rid=2";
    expect_reply_failure(&topic, KN_PROV_E_PROTOCOL, "no status");
    topic.topic = "$dps/registrations/res/200/?retry-after=3";
    expect_reply_failure(&topic, KN_PROV_E_PROTOCOL, "$rid");
}

static void test_bodies(void **state)
{
    fake_reply reply = {.status = 200, .body = "{\"status\":"};

    (void)state;
    expect_reply_failure(&reply, KN_PROV_E_RESPONSE, "syntax error");
    reply.body = NULL;
    expect_reply_failure(&reply, KN_PROV_E_RESPONSE, "not JSON");
    reply.body = "{\"status\":\"assigned\"}";
    expect_reply_failure(&reply, KN_PROV_E_RESPONSE, "assignedHub");
    reply.body = "{\"status\":\"assigning\"}";
    expect_reply_failure(&reply, KN_PROV_E_RESPONSE, "operationId");
    reply.body = "{\"status\":\"unassigned\"}";
    expect_reply_failure(&reply, KN_PROV_E_RESPONSE, "TPM");
}

/* Registers against one reply and gives the whole result. */
static kn_prov_result result_of(const fake_reply *reply)
{
    fake_script script = {.replies = reply, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    kn_prov_request request = request_for(fake_dps_endpoint(dps));
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_code code = kn_prov_register(&request, &result);

    assert_int_equal(code, result.code);
    assert_non_null(result.message);
    print_message("  %s\n", result.message);
    fake_dps_stop(dps);
    return result;
}

static void check_service_error(int status, long error_code, kn_prov_code code)
{
    char body[300], number[24];
    fake_reply reply = {.status = status, .body = body};
    kn_prov_result result;

    (void)snprintf(number, sizeof number, "%ld", error_code);
    (void)snprintf(
        body, sizeof body,
        "{\"errorCode\":%ld,\"trackingId\":\"6f4e0c2a-track\",\"message\":\"words\\u001b[31m of it\","
        "\"timestampUtc\":\"2026-01-02T03:04:05Z\"}",
        error_code);
    result = result_of(&reply);
    assert_int_equal(result.code, code);
    assert_int_equal(result.service_status, status);
    assert_int_equal(result.error_code, error_code);
    assert_string_equal(result.tracking_id, "6f4e0c2a-track");
    assert_string_equal(result.service_message, "words?[31m of it"); /* no escape sequence to a terminal */
    assert_non_null(strstr(result.message, number));
    assert_non_null(strstr(result.message, "6f4e0c2a-track"));
    assert_non_null(strstr(result.message, "words?[31m of it"));
    kn_prov_result_clear(&result);
}

static void test_service_errors(void **state)
{
    (void)state;
    check_service_error(401, 401002, KN_PROV_E_UNAUTHORIZED);
    check_service_error(404, 404201, KN_PROV_E_NOT_ENROLLED);
    check_service_error(400, 400004, KN_PROV_E_REFUSED);
    check_service_error(409, 409000, KN_PROV_E_REFUSED);
}

static void test_failed_registrations(void **state)
{
    fake_reply reply = {.status = 200};
    kn_prov_result result;

    (void)state;
    reply.body = "{\"operationId\":\"5.1\",\"status\":\"failed\",\"registrationState\":{\"errorCode\":400208,"
                 "\"errorMessage\":\"no hub\",\"lastUpdatedDateTimeUtc\":\"2026-01-02T03:04:05Z\"}}";
    result = result_of(&reply);
    assert_int_equal(result.code, KN_PROV_E_NO_HUB);
    assert_int_equal(result.error_code, 400208);
    assert_string_equal(result.service_message, "no hub");
    kn_prov_result_clear(&result);
    reply.body = "{\"operationId\":\"5.1\",\"status\":\"disabled\",\"registrationState\":{}}";
    result = result_of(&reply);
    assert_int_equal(result.code, KN_PROV_E_DISABLED);
    assert_string_equal(result.status, "disabled");
    kn_prov_result_clear(&result);
}

#define TEST(function) cmocka_unit_test_setup(function, set_up_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_closed_port),
        TEST(test_unknown_host),
        TEST(test_server_certificates),
        TEST(test_environment_adds_no_trust),
        TEST(test_ca_file),
        TEST(test_old_tls),
        TEST(test_device_refused),
        TEST(test_identity),
        TEST(test_credentials),
        TEST(test_no_prompt),
        TEST(test_drops),
        TEST(test_mqtt_refusals),
        TEST(test_mqtt_violations),
        TEST(test_topics),
        TEST(test_bodies),
        TEST(test_service_errors),
        TEST(test_failed_registrations),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
