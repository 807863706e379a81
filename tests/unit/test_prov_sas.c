/* SAS tokens: the text to the letter, and the symmetric keys that an HSM library hands out. */
#include "prov_sas.h"

#include "../support/fake_dps_hsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Base64 of "0123456789abcdef0123456789abcdef" */
#define KEY "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

static kn_prov_code open_identity(const char *name, const char *key, prov_identity *ret_identity)
{
    prov_error error;

    fake_hsm = (fake_hsm_settings){.registration_name = name, .symmetric_key = key};
    return prov_attestation_symmetric.open(NULL, ret_identity, &error);
}

/* Computed with Python's hmac module. */
static void test_token(void **state)
{
    prov_identity identity = {.hsm = NULL};
    prov_error error;
    char *token = NULL;

    (void)state;
    assert_int_equal(open_identity("dev:1", KEY, &identity), KN_PROV_OK);
    assert_string_equal(identity.registration_id, "dev:1");
    assert_null(identity.certificate_pem);
    assert_int_equal(prov_sas_make_until(&identity, "0ne00000001/registrations/dev:1", "registration",
                                         1700000000, &token, &error),
                     KN_PROV_OK);
    assert_string_equal(token,
                        "SharedAccessSignature sr=0ne00000001%2Fregistrations%2Fdev%3A1"
                        "&sig=HqSBveixYA34bJ6NLeW6721UKDSwolcVXcbcFrZhC28%3D&se=1700000000&skn=registration");
    prov_sas_free(&token);
    assert_null(token);
    assert_int_equal(prov_sas_make_until(&identity, "hub/devices/d", NULL, 1, &token, &error), KN_PROV_OK);
    assert_null(strstr(token, "skn="));
    prov_sas_free(&token);
    prov_attestation_symmetric.close(&identity);
    assert_int_equal(fake_hsm_handles, 0);
}

static void test_expiry(void **state)
{
    prov_identity identity = {.hsm = NULL};
    prov_error error;
    char *token = NULL;
    time_t before = time(NULL);
    long long expiry;

    (void)state;
    assert_int_equal(open_identity("d", KEY, &identity), KN_PROV_OK);
    assert_int_equal(prov_sas_make(&identity, "r", NULL, 3600, &token, &error), KN_PROV_OK);
    assert_int_equal(sscanf(strstr(token, "&se="), "&se=%lld", &expiry), 1);
    assert_in_range(expiry, (unsigned long long)before + 3600, (unsigned long long)time(NULL) + 3600);
    prov_sas_free(&token);
    prov_attestation_symmetric.close(&identity);
}

static void test_long_resource(void **state)
{
    prov_identity identity = {.hsm = NULL};
    prov_error error;
    char *token = NULL, resource[2000];

    (void)state;
    memset(resource, 'a', sizeof resource - 1);
    resource[sizeof resource - 1] = '\0';
    assert_int_equal(open_identity("d", KEY, &identity), KN_PROV_OK);
    assert_int_equal(prov_sas_make(&identity, resource, NULL, 1, &token, &error), KN_PROV_E_ARGUMENT);
    assert_null(token);
    prov_attestation_symmetric.close(&identity);
}

static void test_bad_keys(void **state)
{
    static char long_key[4 * 300 + 1];
    const char *const keys[] = {NULL, "", "====", "abc", "ab!=", "MDEyMzQ1Njc4OWFiY2RlZg", long_key};

    (void)state;
    memset(long_key, 'A', sizeof long_key - 1);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        prov_identity identity = {.hsm = NULL};

        assert_int_equal(open_identity("d", keys[i], &identity), KN_PROV_E_IDENTITY);
        assert_null(identity.hsm);
        assert_int_equal(fake_hsm_handles, 0);
    }
}

static void test_bad_libraries(void **state)
{
    static const fake_hsm_settings rows[] = {
        {.registration_name = "d"}, /* no interface */
        {.registration_name = "d", .symmetric_key = KEY, .create_fails = true},
        {.registration_name = "d", .symmetric_key = KEY, .lacks_a_function = true},
        {.registration_name = "d", .symmetric_key = KEY, .no_own_key = true},
        {.symmetric_key = KEY},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prov_identity identity = {.hsm = NULL};
        prov_error error = {.detail = ""};

        fake_hsm = rows[i];
        assert_int_equal(prov_attestation_symmetric.open(NULL, &identity, &error), KN_PROV_E_IDENTITY);
        assert_true(strlen(error.detail) > 0);
        assert_int_equal(fake_hsm_handles, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),         cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_long_resource), cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_bad_libraries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
