#include "prov_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As the service sends them. */
static const char assigning[] =
    "{\"operationId\":\"5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60\",\"status\":\"assigning\"}";
static const char assigned[] =
    "{\"operationId\":\"5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60\",\"status\":\"assigned\","
    "\"registrationState\":{\"x509\":{\"certificateInfo\":{\"subjectName\":\"CN=device-7\","
    "\"sha1Thumbprint\":"
    "\"00\",\"sha256Thumbprint\":\"00\",\"issuerName\":\"CN=ca\",\"notBeforeUtc\":\"2026-01-01T00:00:00Z\","
    "\"notAfterUtc\":\"2027-01-01T00:00:00Z\",\"serialNumber\":\"01\",\"version\":3},\"enrollmentGroupId\":"
    "\"g\",\"signingCertificateInfo\":{}},\"registrationId\":\"device-7\",\"createdDateTimeUtc\":"
    "\"2026-01-01T00:00:00Z\",\"assignedHub\":\"hub1.azure-devices.net\",\"deviceId\":\"device-7\","
    "\"status\":\"assigned\",\"substatus\":\"initialAssignment\",\"lastUpdatedDateTimeUtc\":"
    "\"2026-01-01T00:00:00Z\",\"etag\":\"e\",\"payload\":{\"a\":[1,2]}}}";
static const char failed[] =
    "{\"operationId\":\"5.1\",\"status\":\"failed\",\"registrationState\":{\"registrationId\":\"d\","
    "\"status\":"
    "\"failed\",\"errorCode\":400208,\"errorMessage\":\"no hub\",\"lastUpdatedDateTimeUtc\":\"2026\"}}";
static const char error_body[] =
    "{\"errorCode\":401002,\"trackingId\":\"track-1\",\"message\":\"Unauthorized\","
    "\"timestampUtc\":\"2026-01-01T00:00:00Z\"}";

static kn_prov_code parse_with(kn_prov_code (*parser)(const char *, size_t, prov_response *, prov_error *),
                               const char *text, size_t size, prov_response *ret_response, prov_error *error)
{
    char *copy = malloc(size ? size : 1); /* exactly that many bytes */
    kn_prov_code code;

    assert_non_null(copy);
    memcpy(copy, text, size);
    error->detail[0] = '\0';
    code = parser(copy, size, ret_response, error);
    free(copy);
    return code;
}

static kn_prov_code parse(const char *text, prov_response *ret_response)
{
    prov_error error;

    return parse_with(prov_response_parse, text, strlen(text), ret_response, &error);
}

static void test_recorded(void **state)
{
    prov_response r;

    (void)state;
    assert_int_equal(parse(assigning, &r), KN_PROV_OK);
    assert_int_equal(r.status, PROV_RESPONSE_ASSIGNING);
    assert_string_equal(r.operation_id, "5.0123456789abcdef.8f7f1b5e-5d4f-4e3c-9b0a-1d2c3b4a5f60");
    prov_response_clear(&r);
    assert_int_equal(parse(assigned, &r), KN_PROV_OK);
    assert_int_equal(r.status, PROV_RESPONSE_ASSIGNED);
    assert_string_equal(r.assigned_hub, "hub1.azure-devices.net");
    assert_string_equal(r.device_id, "device-7");
    assert_string_equal(r.substatus, "initialAssignment");
    assert_string_equal(r.payload, "{\"a\":[1,2]}");
    prov_response_clear(&r);
    assert_int_equal(parse(failed, &r), KN_PROV_OK);
    assert_int_equal(r.status, PROV_RESPONSE_FAILED);
    assert_int_equal(r.error_code, 400208);
    assert_string_equal(r.error_message, "no hub");
    prov_response_clear(&r);
    assert_null(r.error_message);
    assert_int_equal(parse("{\"status\":\"disabled\",\"registrationState\":null}", &r), KN_PROV_OK);
    assert_int_equal(r.status, PROV_RESPONSE_DISABLED);
    prov_response_clear(&r);
    assert_int_equal(
        parse(" {\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"localhost:8443\","
              "\"deviceId\":\"d\",\"payload\":null}}\r\n",
              &r),
        KN_PROV_OK);
    assert_string_equal(r.assigned_hub, "localhost:8443");
    assert_null(r.payload);
    prov_response_clear(&r);
}

static void test_error_body(void **state)
{
    prov_response r;
    prov_error error;

    (void)state;
    assert_int_equal(parse_with(prov_response_parse_error, error_body, strlen(error_body), &r, &error),
                     KN_PROV_OK);
    assert_int_equal(r.error_code, 401002);
    assert_string_equal(r.tracking_id, "track-1");
    assert_string_equal(r.error_message, "Unauthorized");
    prov_response_clear(&r);
    assert_int_equal(parse_with(prov_response_parse_error, "{}", 2, &r, &error), KN_PROV_OK);
    assert_int_equal(r.error_code, 0);
    prov_response_clear(&r);
    assert_int_equal(parse_with(prov_response_parse_error, "{\"errorCode\":\"1\"}", 17, &r, &error),
                     KN_PROV_E_RESPONSE);
    assert_non_null(strstr(error.detail, "errorCode"));
}

static void test_truncations(void **state)
{
    prov_response r;
    prov_error error;

    (void)state;
    for (size_t size = 0; size < strlen(assigned); size++)
        assert_int_equal(parse_with(prov_response_parse, assigned, size, &r, &error), KN_PROV_E_RESPONSE);
}

/* Each row is refused, and the detail has the word in it. */
static void test_malformed(void **state)
{
    static const struct {
        const char *text, *word;
    } rows[] = {
        {"", "not JSON"},
        {"null", "object"},
        {"[]", "object"},
        {"\"assigned\"", "object"},
        {"{}", "status"},
        {"{\"status\":null}", "status"},
        {"{\"status\":7}", "status"},
        {"{\"status\":\"\"}", "unknown status"},
        {"{\"status\":\"Assigned\"}", "unknown status"},
        {"{\"status\":\"done\"}", "\"done\""},
        {"{\"status\":\"assigning\"}", "operationId"},
        {"{\"status\":\"assigning\",\"operationId\":5}", "operationId"},
        {"{\"status\":\"assigning\",\"operationId\":\"\"}", "operationId"},
        {"{\"status\":\"assigning\",\"operationId\":\"a b\"}", "operationId"},
        {"{\"status\":\"assigning\",\"operationId\":\"a\\nb\"}", "operationId"},
        {"{\"status\":\"assigning\",\"operationId\":\"a\",\"operationId\":\"b\"}", "twice"},
        {"{\"status\":\"assigning\",\"status\":\"assigned\",\"operationId\":\"a\"}", "twice"},
        {"{\"status\":\"assigned\"}", "assignedHub"},
        {"{\"status\":\"assigned\",\"registrationState\":[]}", "registrationState"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"deviceId\":\"d\"}}", "assignedHub"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\"}}", "deviceId"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":1,\"deviceId\":\"d\"}}",
         "assignedHub"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h/x\",\"deviceId\":\"d\"}}",
         "host name"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"\",\"deviceId\":\"d\"}}",
         "host name"},
        {"{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\",\"deviceId\":\"d\\u001b\"}}",
         "deviceId"},
        {"{\"status\":\"failed\",\"registrationState\":{\"errorCode\":1.5}}", "errorCode"},
        {"{\"status\":\"failed\",\"registrationState\":{\"errorCode\":-1}}", "errorCode"},
        {"{\"status\":\"failed\",\"registrationState\":{\"errorCode\":1e99}}", "errorCode"},
        {"{\"status\":\"failed\",\"registrationState\":{\"errorMessage\":{}}}", "errorMessage"},
        {"{\"status\":\"failed\"}x", "syntax"},
        {"{\"status\":\"failed\"}{}", "syntax"},
        {"{\"status\":\"fai\\u0000led\"}", "U+0000"},
        {"{\"status\":\"fai\nled\"}", "control"},
        {"\x01{\"status\":\"failed\"}", "control"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_response r = {.error_code = 77};
        prov_error error;
        kn_prov_code code = parse_with(prov_response_parse, rows[i].text, strlen(rows[i].text), &r, &error);

        if (code != KN_PROV_E_RESPONSE || !strstr(error.detail, rows[i].word))
            fail_msg("%s: code %d, \"%s\"", rows[i].text, code, error.detail);
        assert_int_equal(r.error_code, 77); /* untouched on failure */
    }
}

static void test_nul_byte(void **state)
{
    static const char text[] = "{\"status\":\"disabled\"}\0{}";
    prov_response r;
    prov_error error;

    (void)state;
    assert_int_equal(parse_with(prov_response_parse, text, sizeof text - 1, &r, &error), KN_PROV_E_RESPONSE);
}

/* @depth arrays in one another, in a member that nobody reads. */
static kn_prov_code parse_nested(size_t depth)
{
    char text[600] = "{\"status\":\"disabled\",\"x\":";
    prov_response r = {.error_code = 0};
    kn_prov_code code;

    memset(text + strlen(text), '[', depth);
    memset(text + strlen(text), ']', depth);
    strcat(text, "}");
    code = parse(text, &r);
    prov_response_clear(&r);
    return code;
}

static void test_caps(void **state)
{
    char *huge = malloc(PROV_RESPONSE_MAX + 2);
    prov_response r;
    prov_error error;

    (void)state;
    assert_int_equal(parse_nested(PROV_RESPONSE_DEPTH_MAX - 1), KN_PROV_OK);
    assert_int_equal(parse_nested(PROV_RESPONSE_DEPTH_MAX), KN_PROV_E_RESPONSE);
    assert_int_equal(parse_nested(250), KN_PROV_E_RESPONSE);
    assert_non_null(huge);
    memset(huge, ' ', PROV_RESPONSE_MAX + 1);
    memcpy(huge, "{\"status\":\"disabled\"}", 21);
    assert_int_equal(parse_with(prov_response_parse, huge, PROV_RESPONSE_MAX, &r, &error), KN_PROV_OK);
    prov_response_clear(&r);
    assert_int_equal(parse_with(prov_response_parse, huge, PROV_RESPONSE_MAX + 1, &r, &error),
                     KN_PROV_E_RESPONSE);
    assert_non_null(strstr(error.detail, "allowed"));
    (void)snprintf(huge, PROV_RESPONSE_MAX, "{\"status\":\"assigning\",\"operationId\":\"%0300d\"}", 1);
    assert_int_equal(parse(huge, &r), KN_PROV_E_RESPONSE);
    free(huge);
}

static void test_tpm_key(void **state)
{
    prov_response r;

    (void)state;
    assert_int_equal(parse("{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\",\"deviceId\":\"d\","
                           "\"tpm\":{\"authenticationKey\":\"AAAA\"}}}",
                           &r),
                     KN_PROV_OK);
    assert_string_equal(r.tpm_key, "AAAA");
    prov_response_clear(&r);
    assert_null(r.tpm_key);
    assert_int_equal(parse("{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\",\"deviceId\":\"d\",\"tpm\":1}}",
                           &r),
                     KN_PROV_E_RESPONSE);
    assert_int_equal(parse("{\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"h\",\"deviceId\":\"d\","
                           "\"tpm\":{\"authenticationKey\":1}}}",
                           &r),
                     KN_PROV_E_RESPONSE);
}

/* A challenge is told from a refusal by what it has and by the status that it has not. */
static void test_challenge(void **state)
{
    static const struct {
        const char *text;
        const char *key; /* NULL: a refusal */
        kn_prov_code code;
    } rows[] = {
        {"{\"message\":\"m\",\"authenticationKey\":\"AAAA\",\"unencryptedAuthenticationKey\":null,\"keyName\":\"registration\"}",
         "AAAA", KN_PROV_OK},
        {"{\"authenticationKey\":\"AAAA\"}", NULL, KN_PROV_OK},
        {"{\"keyName\":\"registration\"}", NULL, KN_PROV_OK},
        {"{\"errorCode\":401002}", NULL, KN_PROV_OK},
        {"{\"status\":\"failed\",\"authenticationKey\":\"AAAA\",\"keyName\":\"registration\"}", NULL, KN_PROV_OK},
        {"{\"authenticationKey\":\"AAAA\",\"keyName\":\"other&skn=x\"}", NULL, KN_PROV_E_RESPONSE},
        {"{\"authenticationKey\":7,\"keyName\":\"registration\"}", NULL, KN_PROV_E_RESPONSE},
        {"{\"authenticationKey\":\"A\",\"authenticationKey\":\"B\",\"keyName\":\"registration\"}", NULL, KN_PROV_E_RESPONSE},
        {"[]", NULL, KN_PROV_E_RESPONSE},
        {"<html>", NULL, KN_PROV_E_RESPONSE},
    };
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *key = NULL;

        assert_int_equal(prov_response_parse_challenge(rows[i].text, strlen(rows[i].text), &key, &error), rows[i].code);
        assert_true(rows[i].key ? key && strcmp(key, rows[i].key) == 0 : !key);
        free(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),    cmocka_unit_test(test_error_body),
        cmocka_unit_test(test_truncations), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_nul_byte),    cmocka_unit_test(test_caps),
        cmocka_unit_test(test_tpm_key),     cmocka_unit_test(test_challenge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
