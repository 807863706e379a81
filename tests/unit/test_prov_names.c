#include "prov_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_registration_ids(void **state)
{
    static const char *const good[] = {"a", "7", "device-7", "a.b_c:d", "a-", "UPPER", "0"};
    static const char *const bad[] = {
        "", " ", "a b", "a/b", "a.", "a_", "a:", "a#", "a+", "a$", "a\n", "\xc3\xa9t", "a%20b", "a\"b"};
    char longest[PROV_REGISTRATION_ID_MAX + 2];
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(prov_registration_id_check(good[i], &error), KN_PROV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        error.detail[0] = '\0';
        if (prov_registration_id_check(bad[i], &error) != KN_PROV_E_ARGUMENT)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_non_null(strstr(error.detail, "egistration ID"));
    }
    memset(longest, 'a', sizeof longest);
    longest[PROV_REGISTRATION_ID_MAX] = '\0';
    assert_int_equal(prov_registration_id_check(longest, &error), KN_PROV_OK);
    longest[PROV_REGISTRATION_ID_MAX] = 'a';
    longest[PROV_REGISTRATION_ID_MAX + 1] = '\0';
    assert_int_equal(prov_registration_id_check(longest, &error), KN_PROV_E_ARGUMENT);
}

static void test_id_scopes(void **state)
{
    static const char *const bad[] = {NULL,
                                      "",
                                      "a b",
                                      "a/b",
                                      "a#",
                                      "a&b",
                                      "01234567890123456789012345678901234567890123456789012345678901234"};
    prov_error error;

    (void)state;
    assert_int_equal(prov_id_scope_check("0ne00012345", &error), KN_PROV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(prov_id_scope_check(bad[i], &error), KN_PROV_E_ARGUMENT);
}

static void test_good_endpoints(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } rows[] = {
        {"localhost", "localhost", 8883},
        {"global.azure-devices-provisioning.net", "global.azure-devices-provisioning.net", 8883},
        {"a_b:1", "a_b", 1},
        {"192.0.2.1:65535", "192.0.2.1", 65535},
        {"[::1]", "[::1]", 8883},
        {"[2001:db8::1]:443", "[2001:db8::1]", 443},
    };
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_endpoint endpoint;

        assert_int_equal(prov_endpoint_parse(rows[i].text, 8883, &endpoint, &error), KN_PROV_OK);
        assert_string_equal(endpoint.host, rows[i].host);
        assert_int_equal(endpoint.port, rows[i].port);
    }
}

static void test_bad_endpoints(void **state)
{
    static const char *const rows[] = {
        "",          ":1",     "a:",   "a:0",    "a:65536", "a:1x",  "a:-1", "a: 1", "a:123456",
        "https://a", "a/b",    "u@a",  "a?b",    "a#b",     "a b",   "[",    "[]",   "[]:1",
        "[::1",      "[::1]x", "[g/]", "::1:80", "a\r\nb",  "[a b]", "a%41",
    };
    char longest[PROV_HOST_MAX + 8];
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_endpoint endpoint = {.port = 7};

        if (prov_endpoint_parse(rows[i], 8883, &endpoint, &error) != KN_PROV_E_ARGUMENT)
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_int_equal(endpoint.port, 7);
    }
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(prov_endpoint_parse(longest, 1, &(prov_endpoint){.port = 1}, &error),
                     KN_PROV_E_ARGUMENT);
}

static void test_percent_encoding(void **state)
{
    char text[16];

    (void)state;
    assert_true(prov_percent_encode("a-b._~9", text, sizeof text));
    assert_string_equal(text, "a-b._~9");
    assert_true(prov_percent_encode("a/\xff", text, sizeof text));
    assert_string_equal(text, "a%2F%FF");
    assert_true(prov_percent_encode("", text, 1));
    assert_false(prov_percent_encode("", text, 0));
    assert_true(prov_percent_encode("abc", text, 4));
    assert_false(prov_percent_encode("abc", text, 3));
    assert_true(prov_percent_encode("/", text, 4));
    assert_false(prov_percent_encode("/", text, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registration_ids), cmocka_unit_test(test_id_scopes),
        cmocka_unit_test(test_good_endpoints),   cmocka_unit_test(test_bad_endpoints),
        cmocka_unit_test(test_percent_encoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
