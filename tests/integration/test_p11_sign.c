/* Signing with keys of a real token. */
#include "kn_key.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

static test_token *token;

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("sign");
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    test_token_free(&token);
    return 0;
}

static kn_key *generated(kn_ctx *ctx, const char *label, const char *alg)
{
    kn_key *key = NULL;
    assert_ok(kn_key_generate(ctx, test_token_uri(token, label), kn_alg_by_name(alg), &key));
    return key;
}

static kn_key *opened(kn_ctx *ctx, const char *uri, const kn_public *public)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    assert_ok(kn_alias_new(uri, public, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    kn_alias_free(&alias);
    return key;
}

static bool verifies(const kn_public *public, const uint8_t *digest, size_t digest_length, const uint8_t *signature,
                     size_t length)
{
    EVP_PKEY *pkey = test_key_public(public);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    bool good = EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, signature, length, digest, digest_length) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return good;
}

static void sign_and_verify(kn_key *key)
{
    for (size_t digest_length = 20; digest_length <= 64; digest_length++) {
        uint8_t digest[64], signature[KN_ECDSA_DER_MAX + 8];
        size_t length = 0, max = kn_key_public(key)->alg->signature_max;
        assert_int_equal(RAND_bytes(digest, sizeof digest), 1);
        memset(signature, 0xa5, sizeof signature);
        assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, digest_length, signature, &length));
        assert_in_range(length, 8, max);
        for (size_t i = max; i < sizeof signature; i++)
            assert_int_equal(signature[i], 0xa5);
        assert_true(verifies(kn_key_public(key), digest, digest_length, signature, length));
        digest[0] ^= 1;
        assert_false(verifies(kn_key_public(key), digest, digest_length, signature, length));
    }
}

static void test_every_algorithm(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        kn_ctx *ctx = test_token_context(token);
        kn_key *key = generated(ctx, kn_algs[i].name, kn_algs[i].name);
        kn_public made = *kn_key_public(key);
        assert_ptr_equal(made.alg, &kn_algs[i]);
        sign_and_verify(key);
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);

        ctx = test_token_context(token); /* and once more, as another program would find it */
        key = opened(ctx, test_token_uri(token, kn_algs[i].name), NULL);
        assert_true(kn_public_equal(kn_key_public(key), &made));
        sign_and_verify(key);
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);
    }
}

static void test_digest_sizes_that_are_refused(void **state)
{
    static const size_t sizes[] = {0, 1, 19, 65, 128};
    uint8_t digest[128] = {0}, signature[KN_ECDSA_DER_MAX];
    size_t length = 4711;
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = generated(ctx, "sizes", "EC:P-256");
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_error(KN_E_DATA_SIZE, kn_key_sign(key, &kn_sign_ecdsa, digest, sizes[i], signature, &length));
        assert_int_equal(length, 4711);
    }
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void test_alias_with_public_key_asks_no_token(void **state)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    EVP_PKEY *pkey = test_key_new("P-256");
    uint8_t *spki = NULL;
    kn_public public;
    int spki_length = i2d_PUBKEY(pkey, &spki);
    assert_ok(kn_public_from_spki(spki, (size_t)spki_length, &public));
    OPENSSL_free(spki);

    kn_key *key = opened(ctx, "pkcs11:token=nowhere;object=nothing", &public);
    assert_true(kn_public_equal(kn_key_public(key), &public));
    assert_int_equal(shim_total(s), 0);
    assert_error(KN_E_NO_TOKEN, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    assert_detail("token=nowhere");
    assert_detail("'sign'"); /* what is there */
    assert_true(shim_total(s) > 0);
    kn_key_unref(&key);

    key = opened(ctx, "pkcs11:token=sign;object=nothing", &public);
    assert_error(KN_E_NO_KEY, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    kn_key_unref(&key);
    EVP_PKEY_free(pkey);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void wrong_key(kn_key *key)
{
    uint8_t digest[32] = {7}, signature[KN_ECDSA_DER_MAX], untouched[KN_ECDSA_DER_MAX];
    size_t length = 4711;
    memset(signature, 0xa5, sizeof signature);
    memset(untouched, 0xa5, sizeof untouched);
    for (int i = 0; i < 3; i++) { /* the first is not the only one */
        assert_error(KN_E_KEY_CHANGED, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
        assert_int_equal(length, 4711);
        assert_memory_equal(signature, untouched, sizeof signature);
    }
}

static void test_alias_of_another_key(void **state)
{
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    kn_key *right = generated(ctx, "right", "EC:P-256"), *other = generated(ctx, "other", "EC:P-256"),
           *wide = generated(ctx, "wide", "EC:P-384");
    kn_key *key = opened(ctx, test_token_uri(token, "right"), kn_key_public(other));
    wrong_key(key);
    kn_key_unref(&key);
    key = opened(ctx, test_token_uri(token, "right"), kn_key_public(wide));
    wrong_key(key);
    kn_key_unref(&key);
    key = opened(ctx, test_token_uri(token, "right"), kn_key_public(right));
    sign_and_verify(key);
    kn_key_unref(&key);

    /* only private objects are left: the first signature is the proof */
    raw r = raw_open(token);
    raw_delete(&r, CKO_PUBLIC_KEY, NULL);
    raw_close(&r);
    kn_public right_public = *kn_key_public(right), other_public = *kn_key_public(other),
              wide_public = *kn_key_public(wide);
    kn_key_unref(&right);
    kn_key_unref(&other);
    kn_key_unref(&wide);
    kn_ctx_unref(&ctx);
    ctx = test_token_context(token);
    key = opened(ctx, test_token_uri(token, "right"), &other_public);
    wrong_key(key);
    kn_key_unref(&key);
    key = opened(ctx, test_token_uri(token, "right"), &wide_public);
    wrong_key(key);
    kn_key_unref(&key);
    key = opened(ctx, test_token_uri(token, "right"), &right_public);
    sign_and_verify(key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* A key that was replaced while we held it is found out when it is found again. */
static void test_key_is_replaced(void **state)
{
    static const raw_key replacement = {.label = "replaced", .id = "r2", .sensitive = true};
    uint8_t digest[32] = {3}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = generated(ctx, "replaced", "EC:P-256");
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    raw r = raw_open(token);
    raw_delete(&r, CKO_PRIVATE_KEY, "replaced");
    raw_delete(&r, CKO_PUBLIC_KEY, "replaced");
    assert_error(KN_E_NO_KEY, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    (void)raw_generate(&r, &replacement);
    raw_close(&r);
    wrong_key(key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

/* Numbers that no signature has are refused, and nothing is written behind the buffer. */
static void test_nonsense_from_the_token(void **state)
{
    uint8_t digest[32] = {3}, signature[KN_ECDSA_DER_MAX + 8], untouched[KN_ECDSA_DER_MAX + 8];
    size_t length = 4711;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    kn_key *key = NULL;
    assert_ok(kn_key_generate(ctx, "pkcs11:token=sign;object=nonsense", kn_alg_by_name("EC:P-521"), &key));
    atomic_store(&s->long_signature, true);
    memset(signature, 0xa5, sizeof signature);
    memset(untouched, 0xa5, sizeof untouched);
    assert_error(KN_E_MODULE_BROKEN, kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    assert_int_equal(length, 4711);
    assert_memory_equal(signature, untouched, sizeof signature);
    atomic_store(&s->long_signature, false);
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void test_references(void **state)
{
    uint8_t digest[32] = {3}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = generated(ctx, "references", "EC:P-256"), *second = kn_key_ref(key);
    assert_string_equal(kn_key_uri(key), test_token_uri(token, "references"));
    kn_ctx_unref(&ctx); /* the key keeps it alive */
    assert_null(ctx);
    kn_key_unref(&key);
    assert_null(key);
    assert_ok(kn_key_sign(second, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    kn_key_unref(&second);
    kn_key_unref(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_algorithm),
        cmocka_unit_test(test_digest_sizes_that_are_refused),
        cmocka_unit_test(test_alias_with_public_key_asks_no_token),
        cmocka_unit_test(test_alias_of_another_key),
        cmocka_unit_test(test_key_is_replaced),
        cmocka_unit_test(test_nonsense_from_the_token),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
