#include "kn_alg.h"

#include "support/kn_check.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

static void test_rows_agree_with_libcrypto(void **state)
{
    (void)state;
    assert_true(kn_alg_count >= 3);
    for (size_t i = 0; i < kn_alg_count; i++) {
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

static void test_rows_fit_the_caps(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        assert_int_equal(kn_algs[i].coord_bytes, (kn_algs[i].key_bits + 7) / 8);
        assert_true(kn_algs[i].coord_bytes <= KN_EC_COORD_MAX);
        assert_true(kn_algs[i].signature_max <= KN_ECDSA_DER_MAX);
        assert_true(kn_algs[i].oid_length <= KN_ALG_OID_MAX);
    }
}

static void test_look_ups(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        const kn_alg *alg = &kn_algs[i];
        assert_ptr_equal(kn_alg_by_name(alg->name), alg);
        assert_ptr_equal(kn_alg_by_oid(alg->oid, alg->oid_length), alg);
        assert_null(kn_alg_by_oid(alg->oid, alg->oid_length - 1));
    }
    assert_ptr_equal(kn_alg_by_name("ec:p-256"), kn_alg_by_name("EC:P-256"));
    assert_null(kn_alg_by_name("EC:P-25"));
    assert_null(kn_alg_by_name("EC:P-2566"));
    assert_null(kn_alg_by_name(""));
    assert_null(kn_alg_by_oid((const uint8_t *)"", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_agree_with_libcrypto),
        cmocka_unit_test(test_rows_fit_the_caps),
        cmocka_unit_test(test_look_ups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
