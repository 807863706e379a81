#include "hsm_engine.h"

#include "support/kn_check.h"

#include <stdlib.h>

static void test_what_the_engine_understands(void **state)
{
    static const struct {
        const char *uri, *expected;
    } rows[] = {
        {"pkcs11:token=t;object=o", "pkcs11:token=t;object=o"},
        {"pkcs11:slot-id=1;token=t;library-version=2;object=o;id=%01", "pkcs11:token=t;object=o;id=%01"},
        {"pkcs11:object=o?module-path=/m.so&pin-source=/p", "pkcs11:object=o?pin-source=/p"},
        {"pkcs11:object=o?pin-source=%2Fp&module-name=m", "pkcs11:object=o?pin-source=%2Fp"},
        {"pkcs11:object=o?pin-source=file:/p", "pkcs11:object=o?pin-source=file:/p"},
        {"pkcs11:object=o?module-path=/m.so", "pkcs11:object=o"},
        {"pkcs11:", "pkcs11:"},
        {"pkcs11:slot-id=1", "pkcs11:"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *got = NULL;
        assert_ok(hsm_engine_uri(rows[i].uri, &got));
        assert_string_equal(got, rows[i].expected);
        free(got);
    }
}

static void test_what_it_cannot_use(void **state)
{
    char *got = NULL;
    (void)state;
    assert_error(KN_E_CONFIG, hsm_engine_uri("tpm2:handle=1", &got));
    assert_error(KN_E_CONFIG, hsm_engine_uri("pkcs11:object=o?pin-source=credential:pin", &got));
    assert_detail("credential:pin");
    assert_error(KN_E_CONFIG, hsm_engine_uri("pkcs11:object=o?pin-source=ask:", &got));
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_engine_understands),
        cmocka_unit_test(test_what_it_cannot_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
