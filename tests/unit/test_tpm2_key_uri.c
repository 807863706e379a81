/* The URI of a key in a TPM. */
#include "support/kn_check.h"

#include "kn_alias.h"
#include "tpm2/tpm2_key_uri.h"

#include <stdlib.h>
#include <string.h>

static void test_good(void **state)
{
    tpm2_key_uri uri;
    (void)state;
    assert_ok(tpm2_key_uri_parse("tpm2:handle=0x8100aBcd;tcti=swtpm:path=/a%3bb;pin-source=/etc/pin", &uri));
    assert_int_equal(uri.handle, 0x8100abcd);
    assert_string_equal(uri.tcti, "swtpm:path=/a;b");
    assert_string_equal(uri.pin_source, "/etc/pin");
    tpm2_key_uri_clear(&uri);
    assert_ok(tpm2_key_uri_parse("TPM2:", &uri));
    assert_int_equal(uri.handle, 0);
    assert_null(uri.tcti);
    assert_ok(tpm2_key_uri_parse("tpm2:file=/etc/a%25b.pem;parent=0x81000001;da=yes;owner-auth=fd:3", &uri));
    assert_int_equal(uri.handle, 0);
    assert_string_equal(uri.file, "/etc/a%b.pem");
    assert_int_equal(uri.parent, 0x81000001);
    assert_true(uri.protected);
    tpm2_key_uri_clear(&uri);
}

static void test_text(void **state)
{
    static const char *const same[] = {
        "tpm2:",
        "tpm2:handle=0x8100abcd;tcti=swtpm:path=/a%3bb;pin-source=/etc/pin",
        "tpm2:file=/etc/a%25b.pem;owner-auth=fd:3;parent=0x81000001;da=yes",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        tpm2_key_uri uri;
        char *text = NULL;
        assert_ok(tpm2_key_uri_parse(same[i], &uri));
        assert_ok(tpm2_key_uri_to_text(&uri, &text));
        assert_string_equal(text, same[i]);
        tpm2_key_uri_clear(&uri);
        free(text);
    }
}

static void test_bad(void **state)
{
    static const struct {
        const char *uri;
        int code;
    } rows[] = {
        {"pkcs11:handle=0x81000000", KN_E_URI_SCHEME},
        {"tpm2:handle=0x80000000", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x82000000", KN_E_URI_MALFORMED},
        {"tpm2:handle=81000000", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x8100000", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x810000000", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x8100000g", KN_E_URI_MALFORMED},
        {"tpm2:handle=", KN_E_URI_MALFORMED},
        {"tpm2:handle", KN_E_URI_ATTRIBUTE},
        {"tpm2:hande=0x81000000", KN_E_URI_ATTRIBUTE},
        {"tpm2:handle=0x81000000;handle=0x81000000", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x81000000;pin-source=secret", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x81000000;pin-source=ask:", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x81000000;tcti=a%00b", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x81000000;tcti=a%4", KN_E_URI_MALFORMED},
        {"tpm2:handle=0x81000000;file=a", KN_E_URI_MALFORMED},
        {"tpm2:file=a;da=maybe", KN_E_URI_MALFORMED},
        {"tpm2:file=a;parent=0x40000001", KN_E_URI_MALFORMED},
        {"tpm2:key=AAAA", KN_E_TPM_FILE},
        {"tpm2:key=MIHw", KN_E_TPM_FILE},
    };
    tpm2_key_uri uri;
    kn_alias *alias = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(tpm2_key_uri_parse(rows[i].uri, &uri).code, rows[i].code);
        assert_null(strstr(kn_err_detail(), "secret")); /* it may be one */
        if (i > 0)
            assert_int_equal(kn_alias_new(rows[i].uri, NULL, &alias).code, rows[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
