#include "kn_ecdsa.h"

#include "kn_alg.h"
#include "support/kn_check.h"

#include <openssl/ecdsa.h>
#include <openssl/rand.h>

#define ROUNDS 500

/* What OpenSSL makes of r | s. */
static size_t reference(const uint8_t *raw, size_t half, uint8_t *out)
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    uint8_t *end = out;
    assert_non_null(signature);
    assert_int_equal(ECDSA_SIG_set0(signature, BN_bin2bn(raw, (int)half, NULL),
                                    BN_bin2bn(raw + half, (int)half, NULL)),
                     1);
    int length = i2d_ECDSA_SIG(signature, &end);
    assert_true(length > 0);
    ECDSA_SIG_free(signature);
    return (size_t)length;
}

/* @ret_der of the function is a buffer of exactly the size that it may fill, with a guard behind it. */
static void compare(const uint8_t *raw, size_t half)
{
    uint8_t der[KN_ECDSA_DER_MAX + 8], expected[256];
    size_t length = 0;
    memset(der, 0xa5, sizeof der);
    assert_ok(kn_ecdsa_to_der(raw, 2 * half, der, &length));
    assert_int_equal(length, reference(raw, half, expected));
    assert_memory_equal(der, expected, length);
    for (size_t i = KN_ECDSA_DER_MAX; i < sizeof der; i++)
        assert_int_equal(der[i], 0xa5);
}

static void test_random_values(void **state)
{
    uint8_t raw[2 * KN_EC_COORD_MAX];
    (void)state;
    for (size_t a = 0; a < TEST_EC_COUNT; a++)
        for (int i = 0; i < ROUNDS; i++) {
            size_t half = kn_algs[a].coord_bytes;
            unsigned spare = (unsigned)(8 * half - kn_algs[a].key_bits);
            assert_int_equal(RAND_bytes(raw, (int)sizeof raw), 1);
            raw[0] = (uint8_t)(raw[0] & 0xff >> spare);
            raw[half] = (uint8_t)(raw[half] & 0xff >> spare);
            compare(raw, half);
        }
}

static void test_leading_zeros_and_top_bits(void **state)
{
    (void)state;
    for (size_t a = 0; a < TEST_EC_COUNT; a++) {
        size_t half = kn_algs[a].coord_bytes;
        for (size_t zeros = 0; zeros < half; zeros++) {
            static const uint8_t tops[] = {0x01, 0x7f, 0x80, 0xff};
            for (size_t t = 0; t < COUNT_OF(tops); t++) {
                uint8_t raw[2 * KN_EC_COORD_MAX];
                if (zeros == 0 && half == 66 && tops[t] != 0x01)
                    continue; /* beyond 521 bits: below */
                memset(raw, 0xff, sizeof raw);
                memset(raw, 0, zeros);
                raw[zeros] = tops[t];
                memset(raw + half, 0, zeros);
                raw[half + zeros] = tops[t];
                compare(raw, half);
            }
        }
    }
}

static void test_zero_and_one(void **state)
{
    uint8_t raw[2 * KN_EC_COORD_MAX] = {0};
    (void)state;
    for (size_t a = 0; a < TEST_EC_COUNT; a++) {
        size_t half = kn_algs[a].coord_bytes;
        memset(raw, 0, sizeof raw);
        compare(raw, half);
        raw[half - 1] = 1;
        compare(raw, half);
        raw[2 * half - 1] = 1;
        compare(raw, half);
    }
}

/* A token that answers with numbers that no P-521 signature has must not write past the buffer. */
static void test_numbers_beyond_every_order(void **state)
{
    uint8_t raw[2 * KN_EC_COORD_MAX], der[KN_ECDSA_DER_MAX + 8];
    size_t length = 4711;
    (void)state;
    memset(raw, 0xff, sizeof raw);
    memset(der, 0xa5, sizeof der);
    assert_error(KN_E_MODULE_BROKEN, kn_ecdsa_to_der(raw, sizeof raw, der, &length));
    assert_int_equal(length, 4711);
    for (size_t i = 0; i < sizeof der; i++)
        assert_int_equal(der[i], 0xa5);
}

static void test_lengths_of_no_signature(void **state)
{
    static const size_t lengths[] = {0, 1, 63, 65, 131, 133, 134, 1000};
    uint8_t raw[1000] = {0}, der[KN_ECDSA_DER_MAX];
    size_t length = 4711;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        assert_error(KN_E_MODULE_BROKEN, kn_ecdsa_to_der(raw, lengths[i], der, &length));
    assert_int_equal(length, 4711);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_values),
        cmocka_unit_test(test_leading_zeros_and_top_bits),
        cmocka_unit_test(test_zero_and_one),
        cmocka_unit_test(test_numbers_beyond_every_order),
        cmocka_unit_test(test_lengths_of_no_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
