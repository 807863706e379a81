/* Registrations that succeed, over real TLS, and what the service saw of them. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"

#include "kn_prov.h"

#include <dirent.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ASSIGNED_BODY                                                                                        \
    "{\"operationId\":\"5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60\",\"status\":\"assigned\","  \
    "\"registrationState\":{\"x509\":{\"certificateInfo\":{\"subjectName\":\"CN=device-7\",\"version\":3},"  \
    "\"enrollmentGroupId\":\"line-1\"},\"registrationId\":\"device-7\","                                     \
    "\"createdDateTimeUtc\":\"2026-01-02T03:04:05.678Z\",\"assignedHub\":\"hub1.azure-devices.net\","        \
    "\"deviceId\":\"device-7\",\"status\":\"assigned\",\"substatus\":\"initialAssignment\","                 \
    "\"etag\":\"abc\",\"payload\":{\"site\":\"B\",\"n\":1}}}"
#define ASSIGNING_BODY                                                                                       \
    "{\"operationId\":\"5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60\",\"status\":\"assigning\"}"
#define OPERATION "5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60"

static fake_pki *pki;

static const fake_reply at_once[] = {{.status = 200, .body = ASSIGNED_BODY}};
static const fake_reply in_two_steps[] = {
    {.status = 202, .body = ASSIGNING_BODY, .retry_after = "1"},
    {.status = 200, .body = ASSIGNED_BODY},
};

static int set_up(void **state)
{
    (void)state;
    pki = fake_pki_new();
    fake_hsm = (fake_hsm_settings){
        .common_name = FAKE_DEVICE_NAME, .certificate = pki->device_cert, .key = pki->device_key};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_pki_free(pki);
    return 0;
}

typedef struct status_log {
    char text[512];
} status_log;

static void log_status(kn_prov_status status, void *context)
{
    status_log *log = context;
    size_t used = strlen(log->text);

    (void)snprintf(log->text + used, sizeof log->text - used, "%s ",
                   kn_prov_status_name(status) + strlen("PROV_DEVICE_REG_STATUS_"));
}

static void check_assigned(const kn_prov_result *result)
{
    if (result->message)
        print_message("%s\n", result->message);
    assert_int_equal(result->code, KN_PROV_OK);
    assert_null(result->message);
    assert_string_equal(result->assigned_hub, "hub1.azure-devices.net");
    assert_string_equal(result->device_id, "device-7");
    assert_string_equal(result->status, "assigned");
    assert_string_equal(result->substatus, "initialAssignment");
    assert_string_equal(result->payload, "{\"site\":\"B\",\"n\":1}");
    assert_string_equal(result->registration_id, FAKE_DEVICE_NAME);
    assert_int_equal(result->service_status, 200);
}

static void register_with(const fake_script *script, kn_prov_request request, fake_seen *ret_seen)
{
    fake_dps *dps = fake_dps_start(pki, script);
    kn_prov_result result = KN_PROV_RESULT_INIT;
    kn_prov_code code;

    request.endpoint = fake_dps_endpoint(dps);
    request.id_scope = "0ne00012345";
    request.ca_file = pki->ca_file;
    request.step_timeout_ms = 10000;
    code = kn_prov_register(&request, &result);
    check_assigned(&result);
    assert_int_equal(code, KN_PROV_OK);
    kn_prov_result_clear(&result);
    fake_dps_wait(dps, 1);
    if (ret_seen)
        *ret_seen = *fake_dps_seen(dps);
    fake_dps_stop(dps);
    assert_int_equal(fake_hsm_handles, 0);
}

static void test_tls_versions(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const char *const names[] = {"TLSv1.2", "TLSv1.3"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fake_script script = {.tls_version = versions[i], .replies = at_once, .replies_count = 1};
        fake_seen seen;

        register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, &seen);
        assert_string_equal(seen.tls_version, names[i]);
        assert_string_equal(seen.server_name, "localhost");
        assert_string_equal(seen.device_subject, "/CN=" FAKE_DEVICE_NAME);
        assert_false(seen.alpn);
    }
}

static void test_wire(void **state)
{
    fake_script script = {.replies = in_two_steps, .replies_count = 2};
    status_log log = {.text = ""};
    kn_prov_request request = {
        .payload = "{\"big\": 12345678901234567890}", .on_status = log_status, .context = &log};
    fake_seen seen;

    (void)state;
    register_with(&script, request, &seen);
    assert_string_equal(log.text, "CONNECTED REGISTERING ASSIGNING ASSIGNED ");
    assert_string_equal(seen.client_id, FAKE_DEVICE_NAME);
    assert_string_equal(seen.user_name, "0ne00012345/registrations/" FAKE_DEVICE_NAME
                                        "/api-version=2021-06-01&ClientVersion=keynym%2F" KN_VERSION);
    assert_int_equal(seen.connect_flags, 0x82);
    assert_string_equal(seen.filter, "$dps/registrations/res/#");
    assert_int_equal(seen.filter_qos, 1);
    assert_int_equal(seen.requests, 2);
    assert_string_equal(seen.topics[0], "$dps/registrations/PUT/iotdps-register/?$rid=2");
    assert_string_equal(seen.bodies[0],
                        "{\"registrationId\":\"device-7\",\"payload\":{\"big\": 12345678901234567890}}");
    assert_string_equal(seen.topics[1],
                        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=3&operationId=" OPERATION);
    assert_int_equal(seen.qos[0], 1);
    assert_int_equal(seen.qos[1], 1);
    assert_int_equal(seen.pubacks, 2);
    assert_true(seen.disconnect);
    assert_in_range(seen.times_ms[1] - seen.times_ms[0], 1000, 3000); /* retry-after=1 */
}

static void test_default_pause(void **state)
{
    static const fake_reply replies[] = {
        {.status = 202, .body = ASSIGNING_BODY, .retry_after = "301"}, /* out of range */
        {.status = 200, .body = ASSIGNED_BODY},
    };
    fake_script script = {.replies = replies, .replies_count = 2};
    fake_seen seen;

    (void)state;
    register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, &seen);
    assert_in_range(seen.times_ms[1] - seen.times_ms[0], 2000, 4000);
}

static void test_throttled_then_assigned(void **state)
{
    static const fake_reply replies[] = {
        {.status = 429, .body = "{\"errorCode\":429001,\"message\":\"slow down\"}", .retry_after = "1"},
        {.status = 202, .body = ASSIGNING_BODY, .retry_after = "1"},
        {.status = 503, .body = "<html>gateway</html>", .retry_after = "1"},
        {.status = 200, .body = ASSIGNED_BODY},
    };
    fake_script script = {.replies = replies, .replies_count = 4};
    fake_seen seen;

    (void)state;
    register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, &seen);
    assert_int_equal(seen.requests, 4);
    assert_non_null(strstr(seen.topics[1], "/PUT/iotdps-register/"));
    assert_non_null(strstr(seen.topics[3], "/GET/iotdps-get-operationstatus/"));
    assert_in_range(seen.times_ms[1] - seen.times_ms[0], 1000, 3000);
}

static void test_byte_by_byte(void **state)
{
    fake_script script = {.replies = at_once, .replies_count = 1, .chunk = 1};

    (void)state;
    register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, NULL);
}

static void test_no_puback(void **state)
{
    static const fake_reply reply = {.status = 200, .body = ASSIGNED_BODY, .no_puback = true};
    fake_script script = {.replies = &reply, .replies_count = 1};

    (void)state;
    register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, NULL);
}

static void test_environment_is_ignored(void **state)
{
    fake_script script = {.replies = at_once, .replies_count = 1};

    (void)state;
    assert_int_equal(setenv("SSL_CERT_FILE", pki->other_ca_file, 1), 0);
    assert_int_equal(setenv("CURL_CA_BUNDLE", pki->other_ca_file, 1), 0);
    register_with(&script, (kn_prov_request)KN_PROV_REQUEST_INIT, NULL);
    assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
    assert_int_equal(unsetenv("CURL_CA_BUNDLE"), 0);
}

static unsigned entries_of(const char *path)
{
    DIR *directory = opendir(path);
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    assert_int_equal(closedir(directory), 0);
    return count;
}

/* One registration first, for what libraries set up once. */
static void test_nothing_is_left(void **state)
{
    fake_script script = {.replies = at_once, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    unsigned fds = 0, threads = 0;

    (void)state;
    for (unsigned i = 0; i <= 50; i++) {
        kn_prov_request request = {
            .endpoint = fake_dps_endpoint(dps), .id_scope = "0ne00012345", .ca_file = pki->ca_file};
        kn_prov_result result = KN_PROV_RESULT_INIT;

        assert_int_equal(kn_prov_register(&request, &result), KN_PROV_OK);
        kn_prov_result_clear(&result);
        fake_dps_wait(dps, i + 1);
        if (i == 0) {
            fds = entries_of("/proc/self/fd");
            threads = entries_of("/proc/self/task");
        }
    }
    assert_int_equal(entries_of("/proc/self/fd"), fds);
    assert_int_equal(entries_of("/proc/self/task"), threads);
    assert_int_equal(fake_hsm_handles, 0);
    fake_dps_stop(dps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_versions),           cmocka_unit_test(test_wire),
        cmocka_unit_test(test_default_pause),          cmocka_unit_test(test_throttled_then_assigned),
        cmocka_unit_test(test_byte_by_byte),           cmocka_unit_test(test_no_puback),
        cmocka_unit_test(test_environment_is_ignored), cmocka_unit_test(test_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
