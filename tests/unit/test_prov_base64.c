#include "prov_base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_good(void **state)
{
    static const char *const texts[] = {"AA==", "AAE=", "AAEC", "/+8=", "AAECAwQFBgcICQoLDA0ODw=="};
    unsigned char bytes[16];
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *again;

        assert_true(prov_base64_decode(texts[i], bytes, sizeof bytes, &size));
        again = prov_base64_encode(bytes, size);
        assert_string_equal(again, texts[i]);
        free(again);
    }
    assert_int_equal(size, 16);
}

static void test_bad(void **state)
{
    static const char *const texts[] = {"",      "=",     "====",   "A",    "AA",       "AAA",  "AAE", " AAE", "AAE ",
                                        "AAE\n", "A===", "AA=A",   "A=AA", "AAE=AAE=", "AA-_", "AAEC\n\n\n\n",
                                        /* 17 bytes, one too many */ "AAECAwQFBgcICQoLDA0ODxA="};
    unsigned char bytes[16];
    size_t size = 99;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(prov_base64_decode(texts[i], bytes, sizeof bytes, &size));
    assert_int_equal(size, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
