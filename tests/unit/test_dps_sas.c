/* SAS tokens, base64 and derived keys. Expected values were computed with Python's hmac and base64 modules.
 */
#include "dps_sas.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "0123456789abcdef0123456789abcdef"
/* HMAC-SHA256(KEY, "0neABC%2fregistrations%2fdev-1\n2000000000") and the same of the unencoded sr */
#define SIG_ENCODED   "YHrOvbwQ9vZMNI%2FSE%2F3akOXHfrpqtANWc3QtriC%2FFrU%3D"
#define SIG_UNENCODED "HDuxc76IwvPCynpJOLTVJ6B1mWX7gGOS5cFhKLw6XPs%3D"

static dps_sas_verdict parse(const char *text, dps_sas *ret)
{
    return dps_sas_parse(dps_span_of(text), ret);
}

static void test_as_sent(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        ("SharedAccessSignature sr=0neABC%2fregistrations%2fdev-1&sig=" SIG_ENCODED
         "&se=2000000000&skn=registration"),
        ("SharedAccessSignature sig=" SIG_ENCODED
         "&skn=registration&se=2000000000&sr=0neABC%2fregistrations%2fdev-1"),
        ("SharedAccessSignature sr=0neABC/registrations/dev-1&se=2000000000&sig=" SIG_UNENCODED),
    };
    for (size_t i = 0; i < 3; i++) {
        dps_sas sas;
        assert_int_equal(parse(tokens[i], &sas), DPS_SAS_OK);
        assert_string_equal(sas.decoded, "0neABC/registrations/dev-1");
        assert_string_equal(sas.key_name, i < 2 ? "registration" : "");
        assert_int_equal(dps_sas_check(&sas, "0neABC/registrations/DEV-1", 1999999999000), DPS_SAS_OK);
        assert_int_equal(dps_sas_check(&sas, "0neABC/registrations/dev-1", 2000000000000), DPS_SAS_EXPIRED);
        assert_int_equal(dps_sas_check(&sas, "0neABC/registrations/dev-10", 0), DPS_SAS_WRONG_RESOURCE);
        assert_true(dps_sas_signed_by(&sas, KEY, 32));
        assert_false(dps_sas_signed_by(&sas, KEY, 31));
        assert_false(dps_sas_signed_by(&sas, KEY, 0));
        sas.signature[31] ^= 1;
        assert_false(dps_sas_signed_by(&sas, KEY, 32));
    }
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "",
        "SharedAccessSignature ",
        "Bearer sr=a&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a&se=1",
        "SharedAccessSignature sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED,
        "SharedAccessSignature sr=&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a&sr=b&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=1&x=y",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=1&",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=-1",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=1e9",
        "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=1234567890123",
        "SharedAccessSignature sr=a%0&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a%00b&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a%zz&sig=" SIG_ENCODED "&se=1",
        "SharedAccessSignature sr=a&sig=AAAA&se=1",
        "SharedAccessSignature sr=a&sig=notbase64notbase64notbase64notbase64notbase6&se=1",
    };
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        dps_sas sas = {.key_name = "untouched"};
        if (parse(tokens[i], &sas) != DPS_SAS_MALFORMED)
            fail_msg("\"%s\" was taken", tokens[i]);
        assert_string_equal(sas.key_name, "untouched");
    }
    char *big = malloc(DPS_SAS_MAX + 2);
    assert_non_null(big);
    int n = snprintf(big, DPS_SAS_MAX + 2, "%s", "SharedAccessSignature sr=a&sig=" SIG_ENCODED "&se=1&skn=");
    memset(big + n, 'x', (size_t)(DPS_SAS_MAX + 1 - n));
    big[DPS_SAS_MAX + 1] = '\0';
    dps_sas sas;
    assert_int_equal(parse(big, &sas), DPS_SAS_MALFORMED);
    free(big);
}

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int len; /* -1: refused */
    } rows[] = {
        {"", 0},      {"AA==", 1},  {"AAA=", 2},   {"AAAA", 3},  {"AAAAAA==", 4}, {"A", -1},
        {"AA", -1},   {"AAA", -1},  {"AA=", -1},   {"A===", -1}, {"====", -1},    {"AB==", -1},
        {"AAB=", -1}, {"AA=A", -1}, {"AA\nA", -1}, {"AAA-", -1}, {"AA== ", -1},   {"AAAAAAAA", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_blob blob = {0};
        bool ok = dps_base64_decode(dps_span_of(rows[i].text), 5, &blob);
        if (ok != (rows[i].len >= 0) || (ok && blob.len != (size_t)rows[i].len))
            fail_msg("\"%s\"", rows[i].text);
        dps_blob_clear(&blob);
    }
    uint8_t bytes[256];
    for (size_t n = 0; n < sizeof(bytes); n++) {
        bytes[n] = (uint8_t)(n * 7);
        dps_blob back = {0};
        char *text = dps_base64_encode(bytes, n);
        assert_non_null(text);
        assert_true(dps_base64_decode(dps_span_of(text), sizeof(bytes), &back));
        assert_int_equal(back.len, n);
        if (n > 0)
            assert_memory_equal(back.bytes, bytes, n);
        dps_blob_clear(&back);
        free(text);
    }
}

/* The service's documentation derives a device key with openssl: HMAC-SHA256 over the registration id. */
static void test_derived(void **state)
{
    (void)state;
    dps_blob group = {0};
    uint8_t key[DPS_HMAC_SIZE];
    assert_true(dps_base64_decode(dps_span_of("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="), 64, &group));
    assert_int_equal(group.len, 32);
    assert_true(dps_sas_derive(&group, dps_span_of("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"), key));
    char *text = dps_base64_encode(key, sizeof(key));
    assert_string_equal(text, "UDW+GwvkZWmqYs9A0d/WMRQwQwJcmU2oYq11YE9nBsg=");
    free(text);
    dps_blob_clear(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_sent),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
