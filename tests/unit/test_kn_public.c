#include "kn_public.h"

#include "kn_crypto.h"
#include "support/kn_check.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

/* A new key's SubjectPublicKeyInfo as OpenSSL writes it. */
static size_t spki_of(EVP_PKEY *key, uint8_t *out, size_t size)
{
    uint8_t *end = out;
    assert_in_range(i2d_PUBKEY(key, NULL), 1, size);
    return (size_t)i2d_PUBKEY(key, &end);
}

static size_t point_of(EVP_PKEY *key, uint8_t *out, size_t size)
{
    size_t length = 0;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, out, size, &length), 1);
    return length;
}

static void test_round_trip_against_openssl(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *key = EVP_EC_gen(kn_algs[i].group);
        uint8_t spki[512], again[KN_SPKI_MAX], point[KN_EC_POINT_MAX];
        size_t length = spki_of(key, spki, sizeof spki), again_length = 0;
        kn_public public;
        assert_ok(kn_public_from_spki(spki, length, &public));
        assert_ptr_equal(public.alg, &kn_algs[i]);
        assert_int_equal(public.point_length, point_of(key, point, sizeof point));
        assert_memory_equal(public.point, point, public.point_length);
        assert_ok(kn_public_to_spki(&public, again, &again_length));
        assert_int_equal(again_length, length);
        assert_memory_equal(again, spki, length);
        EVP_PKEY_free(key);
    }
}

static void test_points(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        const kn_alg *alg = &kn_algs[i];
        EVP_PKEY *key = EVP_EC_gen(alg->group);
        uint8_t point[KN_EC_POINT_MAX], wrapped[KN_EC_POINT_MAX + 3] = {0x04};
        size_t length = point_of(key, point, sizeof point);
        size_t header = length < 128 ? 2 : 3;
        kn_public bare, from_octets;
        wrapped[1] = 0x81;
        wrapped[header - 1] = (uint8_t)length;
        memcpy(wrapped + header, point, length);
        assert_ok(kn_public_from_ec_point(alg, point, length, &bare));
        assert_ok(kn_public_from_ec_point(alg, wrapped, header + length, &from_octets));
        assert_true(kn_public_equal(&bare, &from_octets));
        assert_memory_equal(bare.point, point, length);

        kn_public untouched = {.point_length = 4711};
        for (size_t wrong = 0; wrong < length; wrong++)
            assert_error(KN_E_KEY_TYPE, kn_public_from_ec_point(alg, point, wrong, &untouched));
        for (size_t wrong = 0; wrong < header + length; wrong++)
            if (wrong != length)
                assert_error(KN_E_KEY_TYPE, kn_public_from_ec_point(alg, wrapped, wrong, &untouched));
        point[0] = 0x02; /* compressed, of either length */
        assert_error(KN_E_KEY_TYPE, kn_public_from_ec_point(alg, point, 1 + alg->coord_bytes, &untouched));
        assert_error(KN_E_KEY_TYPE, kn_public_from_ec_point(alg, point, length, &untouched));
        assert_detail(alg->name);
        assert_int_equal(untouched.point_length, 4711);
        EVP_PKEY_free(key);
    }
}

static void refused(EVP_PKEY *key, const char *why)
{
    uint8_t spki[KN_SPKI_READ_MAX];
    kn_public public;
    assert_non_null(key);
    size_t length = spki_of(key, spki, sizeof spki);
    assert_error(KN_E_KEY_TYPE, kn_public_from_spki(spki, length, &public));
    assert_detail(why);
    EVP_PKEY_free(key);
}

static EVP_PKEY *with_parameter(const char *name, const char *value)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, name, value), 1);
    return key;
}

static void test_other_keys_are_refused_by_name(void **state)
{
    (void)state;
    refused(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024), "1024 bits");
    refused(EVP_PKEY_Q_keygen(NULL, NULL, "SM2"), "curve");
    refused(EVP_EC_gen("secp256k1"), "curve");
    refused(EVP_EC_gen("P-224"), "curve");
    refused(with_parameter(OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_EXPLICIT), "named curve");
    refused(with_parameter(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"), "uncompressed");
    refused(with_parameter(OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "hybrid"), "uncompressed");
}

static void test_not_der(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t spki[512] = {0};
    kn_public public = {.point_length = 4711};
    (void)state;
    size_t length = spki_of(key, spki, sizeof spki);
    for (size_t cut = 0; cut < length; cut++)
        assert_error(KN_E_ALIAS_MALFORMED, kn_public_from_spki(spki, cut, &public));
    assert_error(KN_E_ALIAS_MALFORMED, kn_public_from_spki(spki, length + 1, &public)); /* a byte follows */
    spki[length - 66] = 1; /* unused bits: OpenSSL would clear the last one of the point and go on */
    assert_error(KN_E_ALIAS_MALFORMED, kn_public_from_spki(spki, length, &public));
    assert_error(KN_E_KEY_TYPE, kn_public_from_spki(spki, KN_SPKI_READ_MAX + 1, &public));
    assert_int_equal(public.point_length, 4711);
    EVP_PKEY_free(key);
}

static void test_every_mutation_is_refused_or_kept(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t spki[512], again[KN_SPKI_MAX];
    (void)state;
    size_t length = spki_of(key, spki, sizeof spki), again_length, accepted = 0;
    for (size_t i = 0; i < length; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            kn_public public;
            spki[i] ^= (uint8_t)(1u << bit);
            if (!kn_failed(kn_public_from_spki(spki, length, &public))) {
                assert_ok(kn_public_to_spki(&public, again, &again_length));
                assert_int_equal(again_length, length);
                assert_memory_equal(again, spki, length);
                accepted++;
            }
            spki[i] ^= (uint8_t)(1u << bit);
        }
    assert_int_equal(accepted, 64 * 8); /* the coordinates, and nothing else */
    EVP_PKEY_free(key);
}

static void test_equal(void **state)
{
    uint8_t spki[512];
    kn_public a, b;
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256"), *wide = EVP_EC_gen("P-384");
    assert_ok(kn_public_from_spki(spki, spki_of(key, spki, sizeof spki), &a));
    b = a;
    assert_true(kn_public_equal(&a, &b));
    b.point[64] ^= 1;
    assert_false(kn_public_equal(&a, &b));
    assert_ok(kn_public_from_spki(spki, spki_of(other, spki, sizeof spki), &b));
    assert_false(kn_public_equal(&a, &b));
    assert_ok(kn_public_from_spki(spki, spki_of(wide, spki, sizeof spki), &b));
    assert_false(kn_public_equal(&a, &b));
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(wide);
}

static size_t certificate_of(EVP_PKEY *key, uint8_t *out, size_t size)
{
    X509 *certificate = X509_new();
    uint8_t *end = out;
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 60));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_in_range(i2d_X509(certificate, NULL), 1, size);
    int length = i2d_X509(certificate, &end);
    X509_free(certificate);
    return (size_t)length;
}

static void test_certificates(void **state)
{
    uint8_t der[2048] = {0}, spki[512];
    (void)state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *key = EVP_EC_gen(kn_algs[i].group);
        kn_public from_certificate, from_spki;
        size_t length = certificate_of(key, der, sizeof der - 1);
        assert_ok(kn_public_from_spki(spki, spki_of(key, spki, sizeof spki), &from_spki));
        assert_ok(kn_public_from_certificate(der, length, &from_certificate));
        assert_true(kn_public_equal(&from_certificate, &from_spki));
        assert_error(KN_E_MISMATCH, kn_public_from_certificate(der, length + 1, &from_certificate));
        assert_error(KN_E_MISMATCH, kn_public_from_certificate(der, length - 1, &from_certificate));
        assert_error(KN_E_MISMATCH, kn_public_from_certificate(der, 0, &from_certificate));
        EVP_PKEY_free(key);
    }
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    kn_public public;
    size_t length = certificate_of(rsa, der, sizeof der);
    assert_error(KN_E_KEY_TYPE, kn_public_from_certificate(der, length, &public));
    assert_detail("1024 bits");
    EVP_PKEY_free(rsa);
}

/* RSA and Ed25519: to the same bytes as libcrypto's, and back; every cut of them is refused. */
static void test_other_types_round_trip(void **state)
{
    (void)state;
    for (size_t i = TEST_EC_COUNT; i < kn_alg_count; i++) {
        EVP_PKEY *key = kn_algs[i].type == KN_KEY_RSA ? EVP_RSA_gen(kn_algs[i].key_bits)
                                                      : EVP_PKEY_Q_keygen(NULL, NULL, kn_algs[i].group);
        uint8_t spki[KN_SPKI_MAX], again[KN_SPKI_MAX];
        size_t again_length, length = spki_of(key, spki, sizeof spki);
        kn_public public, twice;
        assert_ok(kn_public_from_spki(spki, length, &public));
        assert_ptr_equal(public.alg, &kn_algs[i]);
        assert_ok(kn_public_to_spki(&public, again, &again_length));
        assert_int_equal(again_length, length);
        assert_memory_equal(again, spki, length);
        assert_ok(kn_public_from_spki(again, again_length, &twice));
        assert_true(kn_public_equal(&public, &twice));
        for (size_t cut = 0; cut < length; cut++)
            assert_true(kn_failed(kn_public_from_spki(spki, cut, &twice)));
        again[length - 1] ^= 2; /* another exponent, or another point */
        assert_ok(kn_public_from_spki(again, again_length, &twice));
        assert_false(kn_public_equal(&public, &twice));
        EVP_PKEY_free(key);
    }
}

/* RSA keys that are for PSS only: the restrictions are read, and written as libcrypto writes them. */
static void test_pss(void **state)
{
    static const struct {
        const char *digest, *mgf1;
        int salt;
    } rows[] = {{NULL, NULL, 0},          {"SHA256", "SHA256", 32}, {"SHA1", "SHA1", 20},
                {"SHA512", "SHA256", 64}, {"SHA512-256", "SHA224", 20}, {"SHA1", "SHA384", 0}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        EVP_PKEY *key = NULL;
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
        assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
        if (rows[i].digest) {
            assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_keygen_md_name(ctx, rows[i].digest, NULL), 1);
            assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_keygen_mgf1_md_name(ctx, rows[i].mgf1), 1);
            assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_keygen_saltlen(ctx, rows[i].salt), 1);
        }
        assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
        EVP_PKEY_CTX_free(ctx);
        uint8_t spki[KN_SPKI_MAX], again[KN_SPKI_MAX];
        size_t again_length, length = spki_of(key, spki, sizeof spki);
        kn_public public;
        assert_ok(kn_public_from_spki(spki, length, &public));
        assert_true(public.pss);
        if (rows[i].digest) {
            assert_string_equal(public.pss_digest->name, rows[i].digest);
            assert_string_equal(public.pss_mgf1->name, rows[i].mgf1);
            assert_int_equal(public.pss_salt_min, rows[i].salt);
        } else {
            assert_null(public.pss_digest);
        }
        assert_ok(kn_public_to_spki(&public, again, &again_length));
        assert_int_equal(again_length, length);
        assert_memory_equal(again, spki, length);
        EVP_PKEY_free(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_against_openssl),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_other_keys_are_refused_by_name),
        cmocka_unit_test(test_not_der),
        cmocka_unit_test(test_every_mutation_is_refused_or_kept),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_other_types_round_trip),
        cmocka_unit_test(test_pss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
