/* Keys of a token as OpenSSL's key management shows them. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP_PKEY_get1_EC_KEY: programs still call it */
#include "support/prov.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

static void tells_its_properties(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        const kn_alg *alg = &kn_algs[i];
        EVP_PKEY *pkey = prov_key(*state, alg), *software = prov_software_public(alg);
        char group[32] = "", digest[32] = "", their_digest[32] = "";
        assert_string_equal(prov_of(pkey), "keynym");
        assert_int_equal(EVP_PKEY_get_id(pkey), EVP_PKEY_EC);
        assert_int_equal(EVP_PKEY_get_base_id(pkey), EVP_PKEY_EC);
        assert_true(EVP_PKEY_is_a(pkey, "EC"));
        assert_false(EVP_PKEY_is_a(pkey, "RSA"));
        assert_true(EVP_PKEY_can_sign(pkey));
        assert_int_equal(EVP_PKEY_get_bits(pkey), alg->key_bits);
        assert_int_equal(EVP_PKEY_get_bits(pkey), EVP_PKEY_get_bits(software));
        assert_int_equal(EVP_PKEY_get_security_bits(pkey), EVP_PKEY_get_security_bits(software));
        assert_int_equal(EVP_PKEY_get_size(pkey), EVP_PKEY_get_size(software));
        assert_int_equal(EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL), 1);
        assert_string_equal(group, alg->group);
        assert_true(EVP_PKEY_get_default_digest_name(pkey, digest, sizeof digest) > 0);
        assert_string_equal(digest, alg->default_digest);
        assert_true(EVP_PKEY_get_default_digest_name(software, their_digest, sizeof their_digest) > 0);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(software);
    }
}

static void shows_its_public_point(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]), *software = prov_software_public(&kn_algs[i]);
        unsigned char *ours = NULL, *theirs = NULL, point[256];
        size_t length = EVP_PKEY_get1_encoded_public_key(pkey, &ours), point_length = 0;
        assert_int_equal(length, 1 + 2 * kn_algs[i].coord_bytes);
        assert_int_equal(length, EVP_PKEY_get1_encoded_public_key(software, &theirs));
        assert_memory_equal(ours, theirs, length);
        assert_true(EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point,
                                                    &point_length));
        assert_int_equal(point_length, length);
        assert_memory_equal(point, theirs, length);
        static const char *const coordinates[] = {OSSL_PKEY_PARAM_EC_PUB_X, OSSL_PKEY_PARAM_EC_PUB_Y};
        for (size_t c = 0; c < 2; c++) {
            BIGNUM *a = NULL, *b = NULL;
            assert_true(EVP_PKEY_get_bn_param(pkey, coordinates[c], &a));
            assert_true(EVP_PKEY_get_bn_param(software, coordinates[c], &b));
            assert_int_equal(BN_cmp(a, b), 0);
            BN_free(a);
            BN_free(b);
        }
        OPENSSL_free(ours);
        OPENSSL_free(theirs);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(software);
    }
}

static void equals_its_public_key_elsewhere(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]), *again = prov_key(*state, &kn_algs[i]);
        EVP_PKEY *software = prov_software_public(&kn_algs[i]);
        X509 *cert = prov_certificate(*state, prov_file(&kn_algs[i], "crt"));
        assert_int_equal(EVP_PKEY_eq(pkey, again), 1);
        assert_int_equal(EVP_PKEY_eq(pkey, software), 1);
        assert_int_equal(EVP_PKEY_eq(software, pkey), 1);
        assert_int_equal(EVP_PKEY_eq(pkey, X509_get0_pubkey(cert)), 1);
        assert_int_equal(EVP_PKEY_parameters_eq(pkey, software), 1);
        assert_int_equal(X509_check_private_key(cert, pkey), 1);
        assert_int_equal(ERR_peek_error(), 0);
        X509_free(cert);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(again);
        EVP_PKEY_free(software);
    }
}

static void differs_from_other_keys(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]), *other_curve = prov_key(p, &kn_algs[1]);
    EVP_PKEY *same_curve = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", kn_algs[0].group);
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(p->libctx, NULL, "RSA", (size_t)2048);
    X509 *cert = prov_certificate(p, prov_file(&kn_algs[1], "crt"));
    assert_int_not_equal(EVP_PKEY_eq(pkey, other_curve), 1);
    assert_int_not_equal(EVP_PKEY_parameters_eq(pkey, other_curve), 1);
    assert_int_not_equal(EVP_PKEY_eq(pkey, same_curve), 1);
    assert_int_equal(EVP_PKEY_parameters_eq(pkey, same_curve), 1);
    assert_int_not_equal(EVP_PKEY_eq(pkey, rsa), 1);
    assert_int_not_equal(X509_check_private_key(cert, pkey), 1);
    ERR_clear_error();
    X509_free(cert);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(other_curve);
    EVP_PKEY_free(same_curve);
    EVP_PKEY_free(rsa);
}

static void a_duplicate_works_alone(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]), *copy = EVP_PKEY_dup(pkey);
    unsigned char signature[256];
    size_t length = sizeof signature;
    assert_non_null(copy);
    assert_int_equal(EVP_PKEY_eq(pkey, copy), 1);
    EVP_PKEY_free(pkey);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA256", p->libctx, NULL, copy, NULL), 1);
    assert_int_equal(EVP_DigestSign(md, signature, &length, (const unsigned char *)"text", 4), 1);
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(copy);
}

/* A key that lets its public half pass for the whole is then used without its private half, by another
 * provider. */
static void never_gives_the_private_key(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]);
        OSSL_PARAM *params = NULL;
        BIGNUM *scalar = NULL;
        assert_false(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &scalar));
        assert_null(scalar);
        ERR_clear_error();
        assert_int_not_equal(EVP_PKEY_todata(pkey, EVP_PKEY_KEYPAIR, &params), 1);
        assert_null(params);
        assert_non_null(strstr(prov_errors(), "keynym|a private key does not leave its token: use it there"));
        assert_null(EVP_PKEY_get1_EC_KEY(pkey));
        assert_non_null(strstr(prov_errors(), "keynym|a private key does not leave its token: use it there"));
        assert_null(EVP_PKEY2PKCS8(pkey)); /* what our encoder writes is no PKCS#8 (test_ossl_encoder) */
        assert_string_not_equal(prov_errors(), "");
        EVP_PKEY_free(pkey);
    }
}

static void exports_its_public_key(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]);
        OSSL_PARAM *params = NULL;
        const char *group = NULL;
        assert_int_equal(EVP_PKEY_todata(pkey, EVP_PKEY_PUBLIC_KEY, &params), 1);
        const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
        assert_non_null(p);
        assert_true(OSSL_PARAM_get_utf8_string_ptr(p, &group));
        assert_string_equal(group, kn_algs[i].group);
        assert_non_null(OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PUB_KEY));
        assert_null(OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PRIV_KEY));
        assert_null(OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_EC_P)); /* explicit curve parameters */
        OSSL_PARAM_free(params);
        EVP_PKEY_free(pkey);
    }
}

static void its_spki_is_that_of_a_software_key(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]), *software = prov_software_public(&kn_algs[i]);
        unsigned char *ours = NULL, *theirs = NULL;
        int length = i2d_PUBKEY(pkey, &ours);
        assert_true(length > 0);
        assert_int_equal(length, i2d_PUBKEY(software, &theirs));
        assert_memory_equal(ours, theirs, (size_t)length);
        assert_non_null(
            memmem(ours, (size_t)length, kn_algs[i].oid, kn_algs[i].oid_length)); /* a named curve */
        BIO *out = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PUBKEY(out, pkey), 1);
        EVP_PKEY *back = PEM_read_bio_PUBKEY(out, NULL, NULL, NULL);
        assert_int_equal(EVP_PKEY_eq(back, software), 1);
        BIO_free(out);
        OPENSSL_free(ours);
        OPENSSL_free(theirs);
        EVP_PKEY_free(back);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(software);
    }
}

/* Printing is for people: the public key, and nothing that looks like a private one. */
static void prints_its_public_key(void **state)
{
    EVP_PKEY *pkey = prov_key(*state, &kn_algs[0]);
    BIO *out = BIO_new(BIO_s_mem());
    char *text;
    assert_int_equal(EVP_PKEY_print_public(out, pkey, 0, NULL), 1);
    long length = BIO_get_mem_data(out, &text);
    assert_non_null(memmem(text, (size_t)length, "prime256v1", 10));
    BIO_free(out);
    EVP_PKEY_free(pkey);
}

static void outlives_the_applications_handle_of_the_provider(void **state)
{
    (void)state;
    prov p;
    prov_open(&p, PROV_DEFAULT_FIRST);
    EVP_PKEY *pkey = prov_key(&p, &kn_algs[0]);
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA256", p.libctx, NULL, pkey, NULL), 1);
    assert_int_equal(OSSL_PROVIDER_unload(p.keynym), 1);
    p.keynym = NULL;
    assert_int_equal(EVP_DigestSign(md, signature, &length, (const unsigned char *)"text", 4), 1);
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(pkey);
    prov_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(tells_its_properties),
        PROV_TEST(shows_its_public_point),
        PROV_TEST(equals_its_public_key_elsewhere),
        PROV_TEST(differs_from_other_keys),
        PROV_TEST(a_duplicate_works_alone),
        PROV_TEST(never_gives_the_private_key),
        PROV_TEST(exports_its_public_key),
        PROV_TEST(its_spki_is_that_of_a_software_key),
        PROV_TEST(prints_its_public_key),
        cmocka_unit_test(outlives_the_applications_handle_of_the_provider),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
