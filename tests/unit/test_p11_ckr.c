#include "pkcs11/p11_ckr.h"

#include "support/kn_check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static void test_no_value_or_name_twice(void **state)
{
    size_t count;
    const p11_ckr *rows = p11_ckr_table(&count);
    (void)state;
    for (size_t i = 0; i < count; i++)
        for (size_t other = 0; other < i; other++) {
            if (rows[i].rv == rows[other].rv)
                fail_msg("%s and %s have one value", rows[i].name, rows[other].name);
            assert_string_not_equal(rows[i].name, rows[other].name);
        }
}

/* Five of p11-kit 0.24's numbers are not those of the standard (PKCS#11 v2.40, pkcs11t.h). */
static CK_RV standard_value(const char *name, CK_RV in_header)
{
    static const struct {
        const char *name;
        CK_RV value;
    } corrected[] = {
        {"CKR_EXCEEDED_MAX_ITERATIONS", 0x1b5}, {"CKR_FIPS_SELF_TEST_FAILED", 0x1b6},
        {"CKR_LIBRARY_LOAD_FAILED", 0x1b7},     {"CKR_PIN_TOO_WEAK", 0x1b8},
        {"CKR_PUBLIC_KEY_INVALID", 0x1b9},
    };
    for (size_t i = 0; i < COUNT_OF(corrected); i++)
        if (!strcmp(name, corrected[i].name))
            return corrected[i].value;
    return in_header;
}

static void test_every_constant_of_the_header_has_a_row(void **state)
{
    FILE *file = fopen(PKCS11_HEADER, "r");
    char line[512];
    unsigned seen = 0;
    (void)state;
    if (!file)
        fail_msg("%s cannot be read", PKCS11_HEADER);
    while (fgets(line, sizeof line, file)) {
        char name[80], text[80];
        if (sscanf(line, "#define %79s %79s", name, text) != 2 || strncmp(name, "CKR_", 4) ||
            !strcmp(name, "CKR_VENDOR_DEFINED"))
            continue;
        const char *number = text + strspn(text, "(");
        if (!isdigit((unsigned char)*number))
            fail_msg("%s: not a number: %s", name, text);
        const p11_ckr *row = p11_ckr_row(standard_value(name, strtoul(number, NULL, 0)));
        if (strcmp(row->name, name))
            fail_msg("%s (%s) has the row %s", name, text, row->name);
        seen++;
    }
    (void)fclose(file);
    assert_true(seen > 80); /* the header was understood */
}

/* The values of PKCS#11 v3.0 to v3.2 (pkcs11t.h of the standard), which a header may lack. */
static void test_every_value_of_the_standard_has_a_row(void **state)
{
    static const CK_RV standard[] = {
        0x000, 0x001, 0x002, 0x003, 0x005, 0x006, 0x007, 0x008, 0x009, 0x00a, 0x010, 0x011, 0x012, 0x013, 0x01b, 0x020, 0x021,
        0x030, 0x031, 0x032, 0x040, 0x041, 0x042, 0x050, 0x051, 0x054, 0x060, 0x062, 0x063, 0x064, 0x065, 0x066, 0x067, 0x068,
        0x069, 0x06a, 0x070, 0x071, 0x082, 0x090, 0x091, 0x0a0, 0x0a1, 0x0a2, 0x0a3, 0x0a4, 0x0b0, 0x0b1, 0x0b3, 0x0b4, 0x0b5,
        0x0b6, 0x0b7, 0x0b8, 0x0c0, 0x0c1, 0x0d0, 0x0d1, 0x0e0, 0x0e1, 0x0e2, 0x0f0, 0x0f1, 0x0f2, 0x100, 0x101, 0x102, 0x103,
        0x104, 0x105, 0x110, 0x112, 0x113, 0x114, 0x115, 0x120, 0x121, 0x130, 0x140, 0x150, 0x160, 0x170, 0x180, 0x190, 0x191,
        0x1a0, 0x1a1, 0x1b0, 0x1b1, 0x1b5, 0x1b6, 0x1b7, 0x1b8, 0x1b9, 0x200, 0x201, 0x202, 0x203, 0x204,
        0x205, 0x206, 0x207, 0x208, 0x209,
    };
    size_t count;
    (void)p11_ckr_table(&count);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(standard); i++)
        if (!strcmp(p11_ckr_row(standard[i])->name, "CKR_?"))
            fail_msg("0x%lx has no row", standard[i]);
    assert_int_equal(count, COUNT_OF(standard)); /* and nothing else has */
}

static void test_unknown_values(void **state)
{
    static const CK_RV values[] = {0x9999, CKR_VENDOR_DEFINED | 5, (CK_RV)-1};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        const p11_ckr *row = p11_ckr_row(values[i]);
        assert_string_equal(row->name, "CKR_?");
        assert_int_equal(row->code, KN_E_TOKEN_FAILED);
        assert_int_equal(row->retry, P11_NEVER);
        assert_false(row->not_begun);
    }
}

/* An authentication is never repeated, and neither is what the token may have done. */
static void test_what_is_never_repeated(void **state)
{
    static const CK_RV never[] = {CKR_PIN_INCORRECT, CKR_PIN_LOCKED,     CKR_PIN_INVALID,  CKR_PIN_LEN_RANGE,
                                  CKR_PIN_EXPIRED,   CKR_GENERAL_ERROR,  CKR_HOST_MEMORY,  CKR_FUNCTION_FAILED,
                                  CKR_OK,            CKR_DEVICE_MEMORY,  CKR_CANCEL,       CKR_FUNCTION_CANCELED};
    static const CK_RV maybe_done[] = {CKR_GENERAL_ERROR, CKR_DEVICE_ERROR,  CKR_DEVICE_REMOVED, CKR_HOST_MEMORY,
                                       CKR_DEVICE_MEMORY, CKR_SESSION_CLOSED, CKR_FUNCTION_FAILED};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(never); i++)
        assert_int_equal(p11_ckr_row(never[i])->retry, P11_NEVER);
    for (size_t i = 0; i < COUNT_OF(maybe_done); i++)
        assert_false(p11_ckr_row(maybe_done[i])->not_begun);
}

static void test_failures_name_call_token_and_value(void **state)
{
    (void)state;
    assert_error(KN_E_PIN_LOCKED, p11_fail("C_Login", "bench", CKR_PIN_LOCKED));
    assert_string_equal(kn_err_detail(), "C_Login on token 'bench': CKR_PIN_LOCKED (0xa4)");
    assert_error(KN_E_TOKEN_FAILED, p11_fail("C_GetInfo", NULL, 0x80000001));
    assert_string_equal(kn_err_detail(), "C_GetInfo: CKR_? (0x80000001)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_value_or_name_twice),
        cmocka_unit_test(test_every_constant_of_the_header_has_a_row),
        cmocka_unit_test(test_every_value_of_the_standard_has_a_row),
        cmocka_unit_test(test_unknown_values),
        cmocka_unit_test(test_what_is_never_repeated),
        cmocka_unit_test(test_failures_name_call_token_and_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
