/* Decryption and key agreement with keys of a TPM, on swtpm. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_crypto.h"
#include "kn_key.h"
#include "tpm2/tpm2_conn.h"

#include <stdio.h>
#include <string.h>

static kn_ctx *ctx;
static kn_key *rsa;
static const kn_decrypt_how pkcs1 = {.padding = KN_PAD_PKCS1}, tls = {.padding = KN_PAD_TLS, .tls_version = 0x0303};

static kn_err make(const char *handle, const char *alg, unsigned uses, kn_key **ret_key)
{
    char uri[400];
    (void)snprintf(uri, sizeof uri, "tpm2:handle=%s;tcti=%s", handle, swtpm_tcti);
    return kn_key_make(ctx, uri, &(kn_key_spec){.alg = kn_alg_by_name(alg), .uses = uses}, ret_key);
}

static kn_decrypt_how oaep(kn_digest_id digest, const char *label, size_t length)
{
    return (kn_decrypt_how){.padding = KN_PAD_OAEP,
                            .digest = &kn_digests[digest],
                            .mgf1 = &kn_digests[digest],
                            .label = (const uint8_t *)label,
                            .label_length = length};
}

static int set_up(void **state)
{
    (void)state;
    swtpm_set_up();
    assert_ok(kn_ctx_new(NULL, &ctx));
    assert_ok(make("0x81000300", "RSA:2048", KN_USE_SIGN | KN_USE_DECRYPT, &rsa));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_key_unref(&rsa);
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
    return 0;
}

static void round_trip(const kn_decrypt_how *how, const uint8_t *plain, size_t length)
{
    uint8_t data[KN_RSA_MAX], back[KN_RSA_MAX];
    size_t data_length = 0, back_length = 0;
    assert_true(kn_crypto_encrypt(kn_key_public(rsa), how, plain, length, data, &data_length));
    swtpm_arm(0, 0, 0);
    assert_ok(kn_key_decrypt(rsa, how, data, data_length, back, &back_length));
    assert_int_equal(back_length, length);
    assert_memory_equal(back, plain, length);
}

static void test_round_trips(void **state)
{
    static const kn_digest_id ids[] = {KN_SHA1, KN_SHA256, KN_SHA384, KN_SHA512};
    uint8_t plain[48] = {3, 3, 7};
    (void)state;
    round_trip(&pkcs1, plain, 48);
    assert_int_equal(*swtpm_count, 1); /* one command each */
    round_trip(&tls, plain, 48);
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        const kn_decrypt_how bare = oaep(ids[i], NULL, 0), label = oaep(ids[i], "purpose", 8);
        round_trip(&bare, plain, 48);
        round_trip(&label, plain, 48);
    }
    swtpm_check_clean();
}

/* What is not padded as it should be is no error with PKCS#1, and one error with OAEP. */
static void test_wrong_padding(void **state)
{
    uint8_t data[256] = {0}, first[KN_RSA_MAX], second[KN_RSA_MAX];
    size_t length = 0, again = 0;
    (void)state;
    data[255] = 2;
    assert_ok(kn_key_decrypt(rsa, &pkcs1, data, sizeof data, first, &length));
    assert_ok(kn_key_decrypt(rsa, &pkcs1, data, sizeof data, second, &again));
    assert_int_equal(length, again);
    assert_memory_equal(first, second, length);
    assert_ok(kn_key_decrypt(rsa, &tls, data, sizeof data, first, &length));
    assert_int_equal(length, KN_PREMASTER_BYTES);
    kn_decrypt_how how = oaep(KN_SHA256, NULL, 0);
    assert_error(KN_E_DECRYPT, kn_key_decrypt(rsa, &how, data, sizeof data, first, &length));
    memset(data, 0xff, sizeof data); /* above the modulus */
    assert_ok(kn_key_decrypt(rsa, &pkcs1, data, sizeof data, first, &length));
    assert_error(KN_E_DECRYPT, kn_key_decrypt(rsa, &how, data, sizeof data, first, &length));
    assert_error(KN_E_DATA_SIZE, kn_key_decrypt(rsa, &how, data, 255, first, &length));
    swtpm_check_clean();
}

static void test_what_a_tpm_cannot(void **state)
{
    uint8_t data[256] = {1}, plain[KN_RSA_MAX];
    size_t length = 0;
    kn_decrypt_how mixed = oaep(KN_SHA256, NULL, 0);
    const kn_decrypt_how no_end = oaep(KN_SHA256, "purpose", 7), sha224 = oaep(KN_SHA224, NULL, 0);
    (void)state;
    mixed.mgf1 = &kn_digests[KN_SHA1];
    assert_error(KN_E_TOKEN_CANNOT, kn_key_decrypt(rsa, &mixed, data, sizeof data, plain, &length));
    assert_error(KN_E_TOKEN_CANNOT, kn_key_decrypt(rsa, &no_end, data, sizeof data, plain, &length));
    assert_error(KN_E_TOKEN_CANNOT, kn_key_decrypt(rsa, &sha224, data, sizeof data, plain, &length));
}

static void test_uses_are_kept(void **state)
{
    static const uint8_t digest[32] = {1};
    const kn_sign_how how = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA256]};
    uint8_t data[256] = {1}, out[KN_RSA_MAX];
    size_t length = 0;
    kn_custody custody;
    kn_key *only = NULL;
    (void)state;
    assert_ok(kn_key_inspect(rsa, &custody));
    assert_true(kn_custody_holds(&custody));
    assert_int_equal(custody.may_decrypt, KN_FACT_YES);
    assert_ok(kn_key_sign(rsa, &how, digest, sizeof digest, out, &length));
    assert_ok(make("0x81000301", "RSA:2048", KN_USE_DECRYPT, &only));
    assert_ok(kn_key_inspect(only, &custody));
    assert_int_equal(custody.may_sign, KN_FACT_NO);
    assert_error(KN_E_KEY_USE, kn_key_sign(only, &how, digest, sizeof digest, out, &length));
    kn_key_unref(&only);
    assert_ok(make("0x81000302", "RSA:2048", KN_USE_SIGN, &only));
    assert_error(KN_E_KEY_USE, kn_key_decrypt(only, &pkcs1, data, sizeof data, out, &length));
    kn_key_unref(&only);
}

static void test_agreement(void **state)
{
    static const char *const algs[] = {"EC:P-256", "EC:P-384"};
    static const char *const handles[] = {"0x81000310", "0x81000311", "0x81000312", "0x81000313"};
    uint8_t one[KN_EC_COORD_MAX], other[KN_EC_COORD_MAX];
    size_t length = 0;
    kn_key *a = NULL, *b = NULL;
    kn_public base;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(algs); i++) {
        assert_ok(make(handles[2 * i], algs[i], KN_USE_DERIVE, &a));
        assert_ok(make(handles[2 * i + 1], algs[i], KN_USE_DERIVE, &b));
        assert_ok(kn_key_derive(a, kn_key_public(b), one, &length));
        swtpm_arm(0, 0, 0);
        assert_ok(kn_key_derive(b, kn_key_public(a), other, &length));
        assert_int_equal(*swtpm_count, 1);
        assert_int_equal(length, kn_key_public(a)->alg->coord_bytes);
        assert_memory_equal(one, other, length);
        assert_true(kn_crypto_base_point(kn_key_public(a)->alg, &base)); /* its own x, which OpenSSL can tell */
        assert_ok(kn_key_derive(a, &base, one, &length));
        assert_memory_equal(one, kn_key_public(a)->point + 1, length);
        assert_error(KN_E_PEER, kn_key_derive(a, kn_key_public(rsa), one, &length));
        kn_key_unref(&a);
        kn_key_unref(&b);
    }
    assert_ok(make("0x81000314", "EC:P-256", KN_USE_SIGN, &a));
    assert_true(kn_crypto_base_point(kn_key_public(a)->alg, &base));
    assert_error(KN_E_KEY_USE, kn_key_derive(a, &base, one, &length));
    kn_key_unref(&a);
    swtpm_check_clean();
}

/* A failing TPM is an error, and never a padding that is wrong. */
static void test_faults(void **state)
{
    static const uint32_t codes[] = {TPM2_RC_OBJECT_MEMORY, TPM2_RC_LOCKOUT, TPM2_RC_NV_UNAVAILABLE};
    uint8_t plain[32] = {5}, data[KN_RSA_MAX], back[KN_RSA_MAX];
    size_t length = 0, ignored = 0;
    (void)state;
    assert_true(kn_crypto_encrypt(kn_key_public(rsa), &pkcs1, plain, sizeof plain, data, &length));
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        swtpm_arm(1, 1000, codes[i]);
        assert_true(kn_failed(kn_key_decrypt(rsa, &pkcs1, data, length, back, &ignored)));
    }
    swtpm_arm(1, 3, TPM2_RC_RETRY);
    assert_ok(kn_key_decrypt(rsa, &pkcs1, data, length, back, &ignored));
    swtpm_arm(1, 1, TSS2_TCTI_RC_IO_ERROR);
    assert_ok(kn_key_decrypt(rsa, &pkcs1, data, length, back, &ignored));
    assert_memory_equal(back, plain, sizeof plain);
    swtpm_check_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_wrong_padding), cmocka_unit_test(test_what_a_tpm_cannot),
        cmocka_unit_test(test_uses_are_kept), cmocka_unit_test(test_agreement),   cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
