/* The tables: each row is complete, found by its name, and known to the public functions. */
#include "prov_identity.h"
#include "prov_transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_transports(void **state)
{
    (void)state;
    assert_true(prov_transports_count > 0);
    for (size_t i = 0; i < prov_transports_count; i++) {
        const prov_transport *row = prov_transports[i], *found = NULL;
        prov_error error;

        assert_non_null(row->name);
        assert_int_not_equal(row->attestations, 0);
        assert_int_not_equal(row->default_port, 0);
        assert_true(row->open && row->exchange && row->pause && row->close);
        assert_int_equal(prov_transport_find(row->name, &found, &error), KN_PROV_OK);
        assert_ptr_equal(found, row);
        assert_string_equal(kn_prov_transport_name(i), row->name);
    }
    assert_null(kn_prov_transport_name(prov_transports_count));
}

static void test_attestations(void **state)
{
    (void)state;
    for (size_t i = 0; i < prov_attestations_count; i++) {
        const prov_attestation *row = prov_attestations[i], *found = NULL;
        unsigned carriers = 0;
        prov_error error;

        assert_true(row->open && row->close);
        assert_int_equal(prov_attestation_find(row->name, &found, &error), KN_PROV_OK);
        assert_ptr_equal(found, row);
        for (size_t j = 0; j < prov_transports_count; j++)
            carriers += (prov_transports[j]->attestations & row->kind) != 0;
        assert_int_not_equal(carriers, 0);
    }
}

static void test_unknown_names(void **state)
{
    const prov_transport *transport = NULL;
    const prov_attestation *attestation = NULL;
    prov_error error;

    (void)state;
    assert_int_equal(prov_transport_find("MQTT", &transport, &error), KN_PROV_E_ARGUMENT);
    assert_null(transport);
    for (size_t i = 0; i < prov_transports_count; i++)
        assert_non_null(strstr(error.detail, prov_transports[i]->name));
    assert_int_equal(prov_attestation_find("", &attestation, &error), KN_PROV_E_ARGUMENT);
    assert_null(attestation);
}

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_prov_errors_count; i++) {
        const kn_prov_error_row *row = kn_prov_error_of((kn_prov_code)i);

        assert_int_equal(row->code, i);
        assert_true(row->name && row->sentence && row->remedy);
        assert_int_equal(strncmp(row->name, "KN_PROV_", 8), 0);
        assert_true(strlen(row->sentence) > 5 && strlen(row->remedy) > 5);
    }
    assert_int_equal(kn_prov_error_of((kn_prov_code)1000)->code, KN_PROV_E_ARGUMENT);
    assert_int_equal(KN_PROV_E_SERVICE + 1, kn_prov_errors_count);
}

static void test_statuses(void **state)
{
    (void)state;
    for (int status = KN_PROV_STATUS_CONNECTED; status <= KN_PROV_STATUS_ERROR; status++)
        assert_int_equal(strncmp(kn_prov_status_name((kn_prov_status)status), "PROV_DEVICE_REG_STATUS_", 23),
                         0);
}

static void test_printable(void **state)
{
    char text[] = "a\x1b[31m\xc2\x9b\xc3\xa9\x7f\n";

    (void)state;
    prov_text_make_printable(text);
    assert_string_equal(text, "a?[31m??\xc3\xa9??");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transports),    cmocka_unit_test(test_attestations),
        cmocka_unit_test(test_unknown_names), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_statuses),      cmocka_unit_test(test_printable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
