/* The activation blob: what is taken, every truncation, and every size and every byte of the fixed fields changed. */
#include "tpm2/tpm2_blob.h"

#include "support/kn_check.h"

#include <stdlib.h>
#include <string.h>

#define URI_LENGTH 40

typedef struct blob {
    uint8_t bytes[1200];
    size_t n;
} blob;

static void put(blob *b, const void *bytes, size_t n)
{
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static void put_size(blob *b, size_t n)
{
    const uint8_t size[] = {(uint8_t)(n >> 8), (uint8_t)n};
    put(b, size, 2);
}

static void put_filler(blob *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        b->bytes[b->n++] = (uint8_t)(0x40 + i);
}

static blob make(size_t inner, size_t policy, size_t duplicate)
{
    blob b = {.n = 0};
    put_size(&b, 36 + inner);
    put_size(&b, 32);
    put_filler(&b, 34 + inner);
    put_size(&b, 256);
    put_filler(&b, 256);
    put_size(&b, duplicate);
    put_size(&b, 32);
    put_filler(&b, duplicate - 2);
    put_size(&b, 256);
    put_filler(&b, 256);
    put_size(&b, 48 + policy);
    put(&b, "\0\x08\0\x0b\0\4\4\x40", 8);
    put_size(&b, policy);
    put_filler(&b, policy);
    put(&b, "\0\5\0\x0b\0\x20", 6);
    put_filler(&b, 32);
    return b;
}

/* From a copy of exactly that many bytes, so that a read behind them is found. */
static kn_code parse(const blob *b, size_t n, tpm2_blob *ret_blob)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, b->bytes, n);
    kn_err err = tpm2_blob_parse(copy, n, ret_blob);
    free(copy);
    return err.code;
}

static void test_taken(void **state)
{
    tpm2_blob parsed;
    (void)state;
    blob b = make(16, 0, 142);
    assert_int_equal(b.n, 764);
    assert_int_equal(parse(&b, b.n, &parsed), KN_OK); /* without the text, which clients do not use */
    put_size(&b, URI_LENGTH);
    put_filler(&b, URI_LENGTH);
    assert_ok(tpm2_blob_parse(b.bytes, b.n, &parsed));
    assert_int_equal(parsed.inner_key_length, 16);
    assert_true(parsed.credential.at == b.bytes + 2 && parsed.credential.length == 52);
    assert_true(parsed.secret.at == b.bytes + 56 && parsed.secret.length == 256);
    assert_true(parsed.duplicate.at == b.bytes + 314 && parsed.duplicate.length == 142);
    assert_true(parsed.seed.at == b.bytes + 458 && parsed.seed.length == 256);
    assert_int_equal(parsed.policy.length, 0);
    assert_true(parsed.unique.at == b.bytes + 732 && parsed.unique.length == 32);
    b = make(32, 32, 174); /* AES-256, and as the reference service makes it */
    assert_int_equal(parse(&b, b.n, &parsed), KN_OK);
    assert_int_equal(parsed.inner_key_length, 32);
    assert_int_equal(parsed.policy.length, 32);
}

static void test_truncations(void **state)
{
    tpm2_blob parsed;
    blob b = make(16, 0, 142);
    (void)state;
    size_t whole = b.n;
    put_size(&b, URI_LENGTH);
    put_filler(&b, URI_LENGTH);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(parse(&b, n, &parsed), n == whole ? KN_OK : KN_E_TPM_BLOB);
    b.bytes[b.n] = 0;
    assert_int_equal(parse(&b, b.n + 1, &parsed), KN_E_TPM_BLOB); /* and a byte more */
}

/* Each field that has a size, and what of it is fixed: no other value is taken. */
static void test_mutations(void **state)
{
    static const size_t fixed[] = {0,   1,   2,   3,   54,  55,  312, 313, 314, 315, 456, 457, 714, 715, 716, 717, 718,
                                   719, 720, 721, 722, 723, 724, 725, 726, 727, 728, 729, 730, 731, 764, 765};
    tpm2_blob parsed;
    (void)state;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        for (unsigned value = 0; value < 256; value++) {
            blob b = make(16, 0, 142);
            put_size(&b, URI_LENGTH);
            put_filler(&b, URI_LENGTH);
            if (b.bytes[fixed[i]] == value)
                continue;
            b.bytes[fixed[i]] = (uint8_t)value;
            assert_int_equal(parse(&b, b.n, &parsed), KN_E_TPM_BLOB);
        }
}

static void test_sizes(void **state)
{
    static const struct {
        size_t inner, policy, duplicate;
        kn_code code;
    } rows[] = {{16, 0, 111, KN_OK},           {16, 0, 110, KN_E_TPM_BLOB}, {16, 0, 206, KN_OK},
                {16, 0, 207, KN_E_TPM_BLOB},   {24, 0, 142, KN_E_TPM_BLOB}, {15, 0, 142, KN_E_TPM_BLOB},
                {33, 0, 142, KN_E_TPM_BLOB},   {16, 31, 142, KN_E_TPM_BLOB}, {16, 33, 142, KN_E_TPM_BLOB}};
    tpm2_blob parsed;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        blob b = make(rows[i].inner, rows[i].policy, rows[i].duplicate);
        assert_int_equal(parse(&b, b.n, &parsed), rows[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
