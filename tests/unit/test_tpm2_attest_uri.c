#include "tpm2/tpm2_attest_uri.h"

#include "support/kn_check.h"

#include <string.h>

static void test_good(void **state)
{
    tpm2_attest_config c;
    (void)state;
    assert_ok(tpm2_attest_config_parse(NULL, &c));
    assert_true(!c.tcti && !c.owner_auth && !c.endorsement_auth && !c.ek_unique_empty);
    assert_true(c.ek_handle == 0x81010001 && c.srk_handle == 0x81000001);
    tpm2_attest_config_clear(&c);
    assert_ok(tpm2_attest_config_parse("tpm2:", &c));
    tpm2_attest_config_clear(&c);
    assert_ok(tpm2_attest_config_parse("TPM2:tcti=swtpm:path=/a%3bb%25,x=1;owner-auth=/o;endorsement-auth=credential:e;"
                                       "ek-handle=0x81010002;srk-handle=0x8100000F;ek-unique=empty",
                                       &c));
    assert_string_equal(c.tcti, "swtpm:path=/a;b%,x=1");
    assert_string_equal(c.owner_auth, "/o");
    assert_string_equal(c.endorsement_auth, "credential:e");
    assert_true(c.ek_handle == 0x81010002 && c.srk_handle == 0x8100000f && c.ek_unique_empty);
    tpm2_attest_config_clear(&c);
    tpm2_attest_config_clear(&c);
}

static void test_bad(void **state)
{
    static const struct {
        const char *uri;
        kn_code code;
    } rows[] = {
        {"pkcs11:token=a", KN_E_URI_SCHEME},
        {"tpm2:handle=0x81000001", KN_E_URI_ATTRIBUTE},
        {"tpm2:tcti", KN_E_URI_ATTRIBUTE},
        {"tpm2:;tcti=a", KN_E_URI_ATTRIBUTE},
        {"tpm2:tct=a", KN_E_URI_ATTRIBUTE},
        {"tpm2:tcti=", KN_E_URI_MALFORMED},
        {"tpm2:tcti=a;tcti=b", KN_E_URI_MALFORMED},
        {"tpm2:tcti=%", KN_E_URI_MALFORMED},
        {"tpm2:tcti=%4", KN_E_URI_MALFORMED},
        {"tpm2:tcti=%00", KN_E_URI_MALFORMED},
        {"tpm2:tcti=%zz", KN_E_URI_MALFORMED},
        {"tpm2:owner-auth=secret", KN_E_URI_MALFORMED},
        {"tpm2:owner-auth=ask:", KN_E_URI_MALFORMED},
        {"tpm2:ek-unique=zero", KN_E_URI_MALFORMED},
        {"tpm2:ek-handle=81010001", KN_E_URI_MALFORMED},
        {"tpm2:ek-handle=0x80ffffff", KN_E_URI_MALFORMED},
        {"tpm2:ek-handle=0x82000000", KN_E_URI_MALFORMED},
        {"tpm2:ek-handle=0x8100000g", KN_E_URI_MALFORMED},
        {"tpm2:ek-handle=0x081000001", KN_E_URI_MALFORMED},
        {"tpm2:srk-handle=0x81010001", KN_E_URI_MALFORMED},
    };
    tpm2_attest_config c = {.ek_handle = 7};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_error(rows[i].code, tpm2_attest_config_parse(rows[i].uri, &c));
        assert_int_equal(c.ek_handle, 7);
        assert_null(strstr(kn_err_detail(), "secret")); /* it might be one */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
