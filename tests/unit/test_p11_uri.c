#include "pkcs11/p11_uri.h"

#include "support/kn_check.h"

#include <stdio.h>

static p11_uri *parsed(const char *text)
{
    p11_uri *uri = NULL;
    assert_ok(p11_uri_new(text, &uri));
    assert_non_null(uri);
    return uri;
}

static void refused(kn_code code, const char *text, const char *detail)
{
    p11_uri *uri = (p11_uri *)8;
    kn_check_code(p11_uri_new(text, &uri), code, text, __FILE__, __LINE__);
    assert_ptr_equal(uri, (p11_uri *)8);
    assert_detail(detail);
    assert_true(kn_failed(p11_uri_check(text)));
}

static void test_each_attribute_is_accepted(void **state)
{
    static const char *const uris[] = {
        "pkcs11:",
        "pkcs11:token=bench",
        "pkcs11:manufacturer=SoftHSM%20project",
        "pkcs11:serial=0a1b",
        "pkcs11:model=SoftHSM%20v2",
        "pkcs11:library-manufacturer=SoftHSM",
        "pkcs11:library-version=2.6",
        "pkcs11:library-description=Implementation",
        "pkcs11:slot-manufacturer=SoftHSM",
        "pkcs11:slot-description=Slot",
        "pkcs11:slot-id=4711",
        "pkcs11:id=%01%00%ff",
        "pkcs11:object=device",
        "pkcs11:type=private",
        "pkcs11:type=public",
        "pkcs11:type=cert",
        "pkcs11:?pin-source=/etc/pin",
        "pkcs11:?pin-source=file:/etc/pin",
        "pkcs11:?pin-value=1234",
        "pkcs11:?module-name=softhsm2",
        "pkcs11:?module-path=/usr/lib/softhsm/libsofthsm2.so",
        "PKCS11:token=bench",
        "pkcs11:token=a;object=b;id=%01;type=private?pin-source=/p&module-path=/m",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uris); i++) {
        p11_uri *uri = parsed(uris[i]);
        p11_uri_free(&uri);
        assert_null(uri);
        assert_ok(p11_uri_check(uris[i]));
    }
}

static void test_values(void **state)
{
    (void)state;
    p11_uri *uri = parsed("pkcs11:token=a%20b;object=my%3Bkey;id=%01%00%ff;type=private;slot-id=7"
                          "?pin-source=file:/p%26q&module-path=/m.so&module-name=n");
    assert_int_equal(uri->label.ulValueLen, 6);
    assert_memory_equal(uri->label.pValue, "my;key", 6);
    assert_int_equal(uri->id.ulValueLen, 3);
    assert_memory_equal(uri->id.pValue, "\x01\x00\xff", 3);
    assert_true(uri->has_class);
    assert_int_equal(uri->class, CKO_PRIVATE_KEY);
    assert_string_equal(uri->pin_source, "file:/p&q");
    assert_string_equal(uri->module_path, "/m.so");
    assert_string_equal(uri->module_name, "n");
    assert_null(uri->pin);
    assert_false(uri->has_slot_info);
    assert_false(uri->has_library_info);
    assert_int_equal(p11_kit_uri_get_slot_id(uri->kit), 7);
    p11_uri_free(&uri);

    uri = parsed("pkcs11:slot-description=x;library-manufacturer=y");
    assert_true(uri->has_slot_info);
    assert_true(uri->has_library_info);
    assert_null(uri->label.pValue);
    assert_null(uri->id.pValue);
    assert_false(uri->has_class);
    p11_uri_free(&uri);
}

static void test_each_misspelling_is_named(void **state)
{
    static const char *const path[] = {
        "obj",          "Object",  "objectt", "label",   "tokn",    "token-label",   "serial-number", "ids", "ID",
        "manufacturer-id", "models", "slotid", "slot",    "types",   "class",         "library",       "x-vendor",
        "pin-source",   "pin-value", "module-path", "module-name", "object%20",
    };
    static const char *const query[] = {
        "pin",   "pinvalue", "pin_value", "pin-sources", "pinfile", "PIN-VALUE", "module", "module_path", "modulepath",
        "token", "object",   "id",        "type",        "slot-id", "serial",    "x-vendor",
    };
    char uri[128], named[64];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(path); i++) {
        (void)snprintf(uri, sizeof uri, "pkcs11:%s=1234", path[i]);
        (void)snprintf(named, sizeof named, "'%s' in the path", path[i]);
        refused(KN_E_URI_ATTRIBUTE, uri, named);
        assert_detail_lacks("1234");
        (void)snprintf(uri, sizeof uri, "pkcs11:model=x;%s=1234", path[i]);
        refused(KN_E_URI_ATTRIBUTE, uri, named);
    }
    for (size_t i = 0; i < COUNT_OF(query); i++) {
        (void)snprintf(uri, sizeof uri, "pkcs11:?%s=1234", query[i]);
        (void)snprintf(named, sizeof named, "'%s' in the query", query[i]);
        refused(KN_E_URI_ATTRIBUTE, uri, named);
        assert_detail_lacks("1234");
    }
}

static void test_syntax(void **state)
{
    (void)state;
    refused(KN_E_URI_MALFORMED, "pkcs11:token=a;token=b", "'token' comes twice");
    refused(KN_E_URI_MALFORMED, "pkcs11:object=a;id=%01;object=a", "'object' comes twice");
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-source=/a&pin-source=/a", "'pin-source' comes twice");
    refused(KN_E_URI_MALFORMED, "pkcs11:token=a;", "ends in ';'");
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-source=/a&", "ends in '&'");
    refused(KN_E_URI_MALFORMED, "pkcs11:token=a;;object=b", "has no '='");
    refused(KN_E_URI_MALFORMED, "pkcs11:token", "'token' has no '='");
    refused(KN_E_URI_MALFORMED, "pkcs11:token=a?pin-source", "'pin-source' has no '='");
    refused(KN_E_URI_MALFORMED, "pkcs11:token=%zz", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:token=%4", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:id=%", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-source=/%4", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:type=unknown", "type=");
    refused(KN_E_URI_MALFORMED, "pkcs11:type=", "type=");
    refused(KN_E_URI_MALFORMED, "pkcs11:slot-id=seven", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:library-version=two", "");
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-source=/a&pin-value=1", "both pin-source and pin-value");
    refused(KN_E_URI_MALFORMED, "pkcs11:?module-path=lib.so", "'lib.so' is not an absolute path");
    refused(KN_E_URI_MALFORMED, "pkcs11:?module-path=", "not an absolute path");
    refused(KN_E_URI_MALFORMED, "https://example.org/", "");
    refused(KN_E_URI_MALFORMED, "", "");
}

/* p11-kit passes over white space: "my key" would open the key "mykey". */
static void test_white_space(void **state)
{
    (void)state;
    refused(KN_E_URI_MALFORMED, "pkcs11:object=my key", "%20");
    refused(KN_E_URI_MALFORMED, "pkcs11:object=mykey\n", "%0a");
    refused(KN_E_URI_MALFORMED, " pkcs11:object=mykey", "%20");
    refused(KN_E_URI_MALFORMED, "pkcs11:object=my\tkey", "%09");
    refused(KN_E_URI_MALFORMED, "pkcs11:object=my\x7fkey", "%7f");
}

/* A NUL would end the text in p11-kit's hands: half a PIN would be tried. */
static void test_nul_in_the_query(void **state)
{
    (void)state;
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-value=12%0034", "NUL");
    refused(KN_E_URI_MALFORMED, "pkcs11:?pin-source=/a%00b", "NUL");
    refused(KN_E_URI_MALFORMED, "pkcs11:?module-path=/a%00b", "NUL");
}

static void test_sizes(void **state)
{
    char text[600];
    (void)state;
    for (int which = 0; which < 2; which++) {
        const char *name = which ? "object" : "id";
        int used = snprintf(text, sizeof text, "pkcs11:%s=", name);
        memset(text + used, 'x', 129);
        text[used + 128] = '\0';
        p11_uri *uri = parsed(text);
        p11_uri_free(&uri);
        text[used + 128] = 'x';
        text[used + 129] = '\0';
        refused(KN_E_URI_MALFORMED, text, "128 bytes");
    }
}

static void test_pin_value_is_kept_apart(void **state)
{
    char shown[200];
    (void)state;
    p11_uri *uri = parsed("pkcs11:token=bench;object=device?pin-value=98%2F76&module-path=/m");
    assert_non_null(uri->pin);
    assert_int_equal(kn_secret_length(uri->pin), 5);
    assert_memory_equal(kn_secret_data(uri->pin), "98/76", 5);
    p11_uri_show(uri, shown, sizeof shown);
    assert_text(shown, "token=bench");
    assert_text(shown, "object=device");
    assert_text_lacks(shown, "98");
    assert_text_lacks(shown, "pin");
    assert_text_lacks(shown, "?");
    p11_uri_free(&uri);
}

static void test_no_pin_in_error_texts(void **state)
{
    static const char *const uris[] = {
        "pkcs11:?pin-value:98761234",  "pkcs11:?pin-value%3D98761234",  "pkcs11:?98761234",
        "pkcs11:?pinvalue=98761234",   "pkcs11:pin-value=98761234",     "pkcs11:?pin-value=98761234&pin-value=98761234",
        "pkcs11:?pin-value=98761234%", "pkcs11:?pin-value=98761234&x=", "pkcs11:token=%zz?pin-value=98761234",
        "pkcs11:?pin-value=98761234&pin-source=/p", "pkcs11:type=x?pin-value=98761234", "pkcs11:?pin-value=98761234 ",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uris); i++) {
        assert_true(kn_failed(p11_uri_check(uris[i])));
        assert_detail_lacks("9876");
    }
}

static void test_show_is_cut_to_fit(void **state)
{
    char shown[32];
    (void)state;
    memset(shown, 'z', sizeof shown);
    p11_uri *uri = parsed("pkcs11:token=a-rather-long-label");
    p11_uri_show(uri, shown, 16);
    assert_int_equal(strlen(shown), 15);
    assert_int_equal(shown[16], 'z');
    p11_uri_free(&uri);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_attribute_is_accepted),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_each_misspelling_is_named),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_nul_in_the_query),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_pin_value_is_kept_apart),
        cmocka_unit_test(test_no_pin_in_error_texts),
        cmocka_unit_test(test_show_is_cut_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
