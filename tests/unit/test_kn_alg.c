#include "kn_alg.h"

#include "support/kn_check.h"

#include <openssl/rsa.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

static void test_rows_agree_with_libcrypto(void **state)
{
    (void)state;
    assert_true(TEST_EC_COUNT >= 3);
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        const kn_alg *alg = &kn_algs[i];
        uint8_t oid[64], *end = oid;
        const ASN1_OBJECT *object = OBJ_nid2obj(OBJ_txt2nid(alg->group));
        assert_non_null(object);
        assert_in_range(i2d_ASN1_OBJECT(object, NULL), 1, sizeof oid);
        int length = i2d_ASN1_OBJECT(object, &end);
        assert_int_equal(length, alg->oid_length);
        assert_memory_equal(oid, alg->oid, alg->oid_length);

        EVP_PKEY *key = EVP_EC_gen(alg->group);
        assert_non_null(key);
        assert_int_equal(EVP_PKEY_get_bits(key), alg->key_bits);
        assert_int_equal(EVP_PKEY_get_security_bits(key), alg->security_bits);
        assert_int_equal(EVP_PKEY_get_size(key), alg->signature_max);
        EVP_PKEY_free(key);

        EVP_MD *md = EVP_MD_fetch(NULL, alg->default_digest, NULL);
        assert_non_null(md);
        EVP_MD_free(md);
    }
}

/* The same for the other types. */
static void test_other_rows_agree_with_libcrypto(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        const kn_alg *alg = &kn_algs[i];
        assert_int_equal(alg->type == KN_KEY_EC, i < TEST_EC_COUNT);
        if (alg->type == KN_KEY_EC)
            continue;
        EVP_PKEY *key = alg->type == KN_KEY_RSA ? EVP_RSA_gen(alg->key_bits) : EVP_PKEY_Q_keygen(NULL, NULL, alg->group);
        assert_non_null(key);
        if (alg->type == KN_KEY_RSA) {
            assert_int_equal(EVP_PKEY_get_bits(key), alg->key_bits);
            assert_ptr_equal(kn_alg_by_rsa_bits(alg->key_bits), alg);
        }
        assert_int_equal(EVP_PKEY_get_security_bits(key), alg->security_bits);
        assert_int_equal(EVP_PKEY_get_size(key), alg->uses & KN_USE_SIGN ? alg->signature_max : alg->coord_bytes);
        EVP_PKEY_free(key);
    }
    assert_null(kn_alg_by_rsa_bits(1024));
    assert_null(kn_alg_by_rsa_bits(2047));
}

static void test_rows_fit_the_caps(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        assert_int_equal(kn_algs[i].coord_bytes, (kn_algs[i].key_bits + 7) / 8);
        bool ec = kn_algs[i].type == KN_KEY_EC;
        assert_true(kn_algs[i].coord_bytes <= (ec ? KN_EC_COORD_MAX : KN_RSA_MAX));
        assert_true(kn_algs[i].signature_max <= (ec ? KN_ECDSA_DER_MAX : KN_SIGNATURE_MAX));
        assert_true(kn_algs[i].oid_length <= KN_ALG_OID_MAX);
    }
}

static void test_look_ups(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        const kn_alg *alg = &kn_algs[i];
        assert_ptr_equal(kn_alg_by_name(alg->name), alg);
        if (alg->group)
            assert_ptr_equal(kn_alg_by_group(alg->group), alg);
        if (!alg->oid_length)
            continue;
        assert_ptr_equal(kn_alg_by_oid(alg->oid, alg->oid_length), alg);
        assert_null(kn_alg_by_oid(alg->oid, alg->oid_length - 1));
    }
    assert_ptr_equal(kn_alg_by_name("ec:p-256"), kn_alg_by_name("EC:P-256"));
    assert_null(kn_alg_by_name("EC:P-25"));
    assert_null(kn_alg_by_name("EC:P-2566"));
    assert_null(kn_alg_by_name(""));
    assert_null(kn_alg_by_oid((const uint8_t *)"", 0));
}

/* PKCS#11 v3.0 section 2.3.10. */
static void test_curves_by_name(void **state)
{
    static const struct {
        const char *der, *name;
    } rows[] = {{"\x13\x0c" "edwards25519", "ED25519"}, {"\x13\x0a" "edwards448", "ED448"},
                {"\x13\x0a" "curve25519", "X25519"},    {"\x13\x08" "curve448", "X448"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_ptr_equal(kn_alg_by_oid((const uint8_t *)rows[i].der, strlen(rows[i].der)), kn_alg_by_name(rows[i].name));
    assert_null(kn_alg_by_oid((const uint8_t *)"\x13\x04" "P521", 6));
    assert_null(kn_alg_by_oid((const uint8_t *)"\x13\x0d" "edwards25519", 14));
    assert_ptr_equal(kn_alg_by_group("P-384"), kn_alg_by_name("EC:P-384"));
    assert_null(kn_alg_by_group("2048"));
    assert_null(kn_alg_by_group("secp256k1"));
}

static void test_uses(void **state)
{
    unsigned uses = 0;
    (void)state;
    assert_true(kn_uses_parse("sign", &uses) && uses == KN_USE_SIGN);
    assert_true(kn_uses_parse("derive,sign", &uses) && uses == (KN_USE_SIGN | KN_USE_DERIVE));
    assert_true(kn_uses_parse("sign,decrypt,derive", &uses) && uses == (KN_USE_SIGN | KN_USE_DECRYPT | KN_USE_DERIVE));
    assert_false(kn_uses_parse("", &uses));
    assert_false(kn_uses_parse("sign,", &uses));
    assert_false(kn_uses_parse(",sign", &uses));
    assert_false(kn_uses_parse("sign derive", &uses));
    assert_false(kn_uses_parse("signs", &uses));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_agree_with_libcrypto),
        cmocka_unit_test(test_other_rows_agree_with_libcrypto),
        cmocka_unit_test(test_rows_fit_the_caps),
        cmocka_unit_test(test_look_ups),
        cmocka_unit_test(test_curves_by_name),
        cmocka_unit_test(test_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
