/* SASL TPM, message by message: what the service must not say, and what does not fit. */
#include "prov_amqp_sasl_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned char key[500];
static unsigned char opened[PROV_TPM_BLOB_MAX];
static size_t opened_size;
static kn_prov_code outcome;

static kn_prov_code activate(const prov_identity *identity, const unsigned char *blob, size_t size, prov_error *error)
{
    (void)identity;
    memcpy(opened, blob, size);
    opened_size = size;
    return outcome ? prov_fail(error, outcome, "not for this TPM") : KN_PROV_OK;
}

static kn_prov_code sign(const prov_identity *identity, const unsigned char *data, size_t size,
                         unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    (void)identity, (void)data, (void)size, (void)error;
    memset(ret_mac, 7, PROV_MAC_BYTES);
    return KN_PROV_OK;
}

static prov_identity identity;
static prov_session session = {.id_scope = "0ne00", .sas_lifetime_s = 60, .identity = &identity};
static prov_sasl_tpm tpm;
static prov_error error;

static int set_up(void **state)
{
    (void)state;
    identity = (prov_identity){.registration_id = (char *)(uintptr_t)"dev",
                               .endorsement_key = key,
                               .endorsement_key_bytes = 316,
                               .storage_root_key = key,
                               .storage_root_key_bytes = 284,
                               .activate = activate,
                               .sign = sign};
    tpm = (prov_sasl_tpm){.session = &session};
    outcome = KN_PROV_OK;
    opened_size = 0;
    memset(key, 5, sizeof key);
    return 0;
}

/* From a copy of exactly that many bytes. */
static kn_prov_code say(const void *bytes, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1);
    kn_prov_code code;

    assert_non_null(copy);
    if (size)
        memcpy(copy, bytes, size);
    code = prov_sasl_tpm_next(&tpm, copy, size, &error);
    free(copy);
    return code;
}

static void to_segments(void)
{
    assert_int_equal(prov_sasl_tpm_start(&tpm, &error), KN_PROV_OK);
    assert_int_equal(tpm.answer_size, 1 + 6 + 4 + 316);
    assert_memory_equal(tpm.answer, "\0000ne00\0dev\0\5", 12);
    assert_int_equal(say("\0", 1), KN_PROV_OK);
    assert_int_equal(tpm.answer_size, 1 + 284);
    assert_memory_equal(tpm.answer, "\0\5", 2);
}

static void test_whole(void **state)
{
    (void)state;
    to_segments();
    for (unsigned i = 0; i < 6; i++) {
        unsigned char segment[3] = {(unsigned char)(0x80 | (i & 3) | (i == 5 ? 0x40 : 0)), (unsigned char)i, 9};

        assert_int_equal(say(segment, sizeof segment), KN_PROV_OK);
        if (i < 5)
            assert_true(tpm.answer_size == 1 && tpm.answer[0] == 0);
    }
    assert_int_equal(opened_size, 12);
    assert_memory_equal(opened, "\0\x9\1\x9\2\x9\3\x9\4\x9\5\x9", 12);
    assert_memory_equal(tpm.answer, "\0SharedAccessSignature sr=0ne00%2Fregistrations%2Fdev&sig=", 58);
    assert_int_equal(say("\x80x", 2), KN_PROV_E_PROTOCOL); /* nothing is due any more */
}

static void test_out_of_turn(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } wrong_ask[] = {{"", 0}, {"\1", 1}, {"\0\0", 2}, {"\x80x", 2}},
      wrong_segment[] = {{"", 0}, {"\0", 1}, {"\x80", 1}, {"\xc0", 1}, {"\0x", 2}, {"\x81x", 2}, {"\xc1x", 2}, {"\x84x", 2},
                         {"\xa0x", 2}, {"\x40x", 2}};

    (void)state;
    assert_int_equal(say("\0", 1), KN_PROV_E_PROTOCOL);
    for (size_t i = 0; i < sizeof wrong_ask / sizeof wrong_ask[0]; i++) {
        tpm = (prov_sasl_tpm){.session = &session};
        assert_int_equal(prov_sasl_tpm_start(&tpm, &error), KN_PROV_OK);
        assert_int_equal(say(wrong_ask[i].bytes, wrong_ask[i].size), KN_PROV_E_PROTOCOL);
    }
    for (size_t i = 0; i < sizeof wrong_segment / sizeof wrong_segment[0]; i++) {
        tpm = (prov_sasl_tpm){.session = &session};
        to_segments();
        assert_int_equal(say(wrong_segment[i].bytes, wrong_segment[i].size), KN_PROV_E_PROTOCOL);
        assert_int_equal(opened_size, 0);
    }
}

/* Exactly PROV_TPM_BLOB_MAX bytes are taken, and none more. */
static void test_too_large(void **state)
{
    unsigned char segment[1 + 512] = {0};

    (void)state;
    to_segments();
    for (unsigned i = 0; i < PROV_TPM_BLOB_MAX / 512; i++) {
        segment[0] = (unsigned char)(0x80 | (i & 3));
        assert_int_equal(say(segment, sizeof segment), KN_PROV_OK);
    }
    segment[0] = 0xc0;
    assert_int_equal(say(segment, 2), KN_PROV_E_PROTOCOL);
    assert_non_null(strstr(error.detail, "4096"));
    assert_int_equal(opened_size, 0);
}

static void test_failures_of_this_side(void **state)
{
    (void)state;
    to_segments();
    outcome = KN_PROV_E_IDENTITY;
    assert_int_equal(say("\xc0x", 2), KN_PROV_E_IDENTITY);
    assert_non_null(strstr(error.detail, "not for this TPM"));
    tpm = (prov_sasl_tpm){.session = &session};
    identity.endorsement_key_bytes = PROV_SASL_TPM_MESSAGE_MAX - 11;
    assert_int_equal(prov_sasl_tpm_start(&tpm, &error), KN_PROV_OK);
    identity.endorsement_key_bytes++;
    assert_int_equal(prov_sasl_tpm_start(&tpm, &error), KN_PROV_E_IDENTITY);
    assert_non_null(strstr(error.detail, "use https"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_whole, set_up),
        cmocka_unit_test_setup(test_out_of_turn, set_up),
        cmocka_unit_test_setup(test_too_large, set_up),
        cmocka_unit_test_setup(test_failures_of_this_side, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
