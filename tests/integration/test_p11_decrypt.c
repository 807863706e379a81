/* RSA decryption and key agreement in the token, and keys that may do either. */
#include "kn_key.h"

#include "kn_crypto.h"
#include "module_leaks.h"
#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>

static test_token *token;
static kn_ctx *ctx;
static kn_key *rsa; /* of 2048 bits, to decrypt */

static const kn_decrypt_how pkcs1 = {.padding = KN_PAD_PKCS1};
static kn_decrypt_how oaep(kn_digest_id digest)
{
    return (kn_decrypt_how){.padding = KN_PAD_OAEP, .digest = &kn_digests[digest], .mgf1 = &kn_digests[digest]};
}

static kn_key *made(const char *label, const char *alg, unsigned uses)
{
    kn_key *key = NULL;
    const kn_key_spec spec = {.alg = kn_alg_by_name(alg), .uses = uses};
    assert_ok(kn_key_make(ctx, test_token_uri(token, label), &spec, &key));
    return key;
}

static int set_up(void **state)
{
    (void)state;
    keep_modules();
    token = test_token_new("decrypt");
    ctx = test_token_context(token);
    rsa = made("rsa", "RSA:2048", KN_USE_DECRYPT);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_key_unref(&rsa);
    kn_ctx_unref(&ctx);
    test_token_free(&token);
    return 0;
}

static size_t encrypt(const kn_decrypt_how *how, const void *plain, size_t length, uint8_t *data)
{
    size_t written = 0;
    assert_true(kn_crypto_encrypt(kn_key_public(rsa), how, plain, length, data, &written));
    return written;
}

static void test_decrypts(void **state)
{
    static const size_t lengths[] = {0, 1, 48, 256 - 42}; /* the longest for OAEP with SHA-1 */
    const kn_decrypt_how hows[] = {pkcs1, oaep(KN_SHA1)};
    uint8_t plain[256], data[KN_RSA_MAX], back[KN_RSA_MAX];
    (void)state;
    assert_int_equal(RAND_bytes(plain, sizeof plain), 1);
    for (size_t h = 0; h < COUNT_OF(hows); h++)
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
            size_t length = 4711, size = encrypt(&hows[h], plain, lengths[i], data);
            assert_ok(kn_key_decrypt(rsa, &hows[h], data, size, back, &length));
            assert_int_equal(length, lengths[i]);
            assert_memory_equal(back, plain, length);
        }
}

/* Wrong padding: no error, and the same answer each time. */
static void test_a_wrong_padding_does_not_show(void **state)
{
    uint8_t data[KN_RSA_MAX], once[KN_RSA_MAX], twice[KN_RSA_MAX];
    size_t length = 0, again = 0;
    shim *s = shim_new(token);
    kn_ctx *counted = shim_context(token->pin_file);
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)state;
    assert_ok(kn_alias_new("pkcs11:token=decrypt;object=rsa", kn_key_public(rsa), &alias));
    assert_ok(kn_key_open(counted, alias, &key));
    for (int bad = 0; bad < 2; bad++) {
        (void)encrypt(&pkcs1, "x", 1, data);
        data[100] ^= (uint8_t)bad;
        assert_ok(kn_key_decrypt(key, &pkcs1, data, 256, once, &length));
        shim_reset_calls(s);
        assert_ok(kn_key_decrypt(key, &pkcs1, data, 256, twice, &again));
        assert_int_equal(length, again);
        assert_memory_equal(once, twice, length);
        assert_int_equal(shim_total(s), 2); /* no other path: the session is kept, nothing is repeated */
    }
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&counted);
    shim_free(&s);
}

static void test_a_wrong_oaep_is_one_error(void **state)
{
    const kn_decrypt_how how = oaep(KN_SHA1);
    uint8_t data[KN_RSA_MAX], back[KN_RSA_MAX];
    size_t length = 4711;
    (void)state;
    (void)encrypt(&how, "x", 1, data);
    data[255] ^= 1;
    assert_error(KN_E_DECRYPT, kn_key_decrypt(rsa, &how, data, 256, back, &length));
    (void)encrypt(&pkcs1, "x", 1, data); /* the other padding */
    assert_error(KN_E_DECRYPT, kn_key_decrypt(rsa, &how, data, 256, back, &length));
    assert_int_equal(length, 4711);
    (void)encrypt(&how, "x", 1, data);
    assert_ok(kn_key_decrypt(rsa, &how, data, 256, back, &length)); /* and the next is not hurt */
}

/* @data is "x", encrypted as @how says: so it decrypts, or the token cannot do that and is named for it. */
static void can_or_names(const kn_decrypt_how *how, const uint8_t *data, size_t size, const char *what)
{
    uint8_t back[KN_RSA_MAX];
    size_t length;
    kn_err err = kn_key_decrypt(rsa, how, data, size, back, &length);
    if (!kn_failed(err)) {
        assert_int_equal(length, 1);
        assert_int_equal(back[0], 'x');
        return;
    }
    assert_int_equal(err.code, KN_E_TOKEN_CANNOT);
    assert_detail("token");
    assert_detail(what);
}

static void test_what_cannot_be_is_named(void **state)
{
    kn_decrypt_how sha256 = oaep(KN_SHA256), label = oaep(KN_SHA1), none = {.padding = KN_PAD_OAEP};
    const kn_decrypt_how no_name = oaep(KN_SHA512_256), sha1 = oaep(KN_SHA1);
    uint8_t data[KN_RSA_MAX] = {0}, back[KN_RSA_MAX];
    size_t length;
    (void)state;
    label.label = (const uint8_t *)"label";
    label.label_length = 5;
    size_t size = encrypt(&sha256, "x", 1, data);
    can_or_names(&sha256, data, size, "CKM_RSA_PKCS_OAEP with SHA256, MGF1 of SHA256"); /* SoftHSM 2.6 cannot */
    /* SoftHSM 2.6 ignores the label: it would decrypt what was encrypted without, or with another. */
    size = encrypt(&label, "x", 1, data);
    can_or_names(&label, data, size, "ignores the label");
    size = encrypt(&sha1, "x", 1, data);
    assert_true(kn_failed(kn_key_decrypt(rsa, &label, data, size, back, &length)));
    assert_ok(kn_key_decrypt(rsa, &sha1, data, size, back, &length));
    assert_error(KN_E_TOKEN_CANNOT, kn_key_decrypt(rsa, &no_name, data, 256, back, &length));
    assert_error(KN_E_DIGEST, kn_key_decrypt(rsa, &none, data, 256, back, &length));
    assert_error(KN_E_DATA_SIZE, kn_key_decrypt(rsa, &pkcs1, data, 255, back, &length));
    assert_error(KN_E_DATA_SIZE, kn_key_decrypt(rsa, &pkcs1, data, 257, back, &length));
    label.label_length = KN_OAEP_LABEL_MAX + 1;
    assert_error(KN_E_DATA_SIZE, kn_key_decrypt(rsa, &label, data, 256, back, &length));
}

/* A key does what it was made for, and nothing else. */
static void test_uses(void **state)
{
    uint8_t data[KN_RSA_MAX] = {0}, back[KN_RSA_MAX], digest[32] = {0};
    const kn_sign_how sign = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA256]};
    const kn_key_spec impossible[] = {
        {.alg = kn_alg_by_name("RSA:2048"), .uses = KN_USE_DERIVE},
        {.alg = kn_alg_by_name("EC:P-256"), .uses = KN_USE_SIGN | KN_USE_DECRYPT},
        {.alg = kn_alg_by_name("X25519"), .uses = KN_USE_SIGN},
        {.alg = kn_alg_by_name("RSA:2048"), .uses = KN_USE_SIGN | KN_USE_DECRYPT, .pss = true},
    };
    size_t length;
    (void)state;
    kn_key *signs = made("signs", "RSA:2048", 0), *both = made("both", "RSA:2048", KN_USE_SIGN | KN_USE_DECRYPT);
    kn_key *ec = made("ec-signs", "EC:P-256", 0);
    assert_error(KN_E_KEY_USE, kn_key_decrypt(signs, &pkcs1, data, 256, back, &length));
    assert_error(KN_E_KEY_USE, kn_key_sign(rsa, &sign, digest, sizeof digest, back, &length));
    assert_ok(kn_key_sign(both, &sign, digest, sizeof digest, back, &length));
    assert_ok(kn_key_decrypt(both, &pkcs1, data, 256, back, &length));
    assert_error(KN_E_KEY_USE, kn_key_decrypt(ec, &pkcs1, data, 256, back, &length));
    assert_error(KN_E_KEY_USE, kn_key_derive(ec, kn_key_public(ec), back, &length));
    assert_error(KN_E_KEY_USE, kn_key_derive(both, kn_key_public(ec), back, &length));
    for (size_t i = 0; i < COUNT_OF(impossible); i++) {
        kn_key *key = NULL;
        assert_error(KN_E_KEY_USE, kn_key_make(ctx, test_token_uri(token, "never"), &impossible[i], &key));
        assert_null(key);
    }
    kn_key_unref(&signs);
    kn_key_unref(&both);
    kn_key_unref(&ec);
}

static void agree(const kn_alg *alg)
{
    const bool ec = alg->type == KN_KEY_EC;
    uint8_t secret[KN_EC_COORD_MAX], theirs[KN_EC_COORD_MAX], spki[KN_SPKI_MAX], *end;
    size_t length = 0, their_length = sizeof theirs;
    kn_public peer;
    char label[40];
    (void)snprintf(label, sizeof label, "derives-%s", alg->name);
    kn_key *key = made(label, alg->name, KN_USE_DERIVE);
    EVP_PKEY *mine = test_key_public(kn_key_public(key));
    EVP_PKEY *software = ec ? EVP_EC_gen(alg->group) : EVP_PKEY_Q_keygen(NULL, NULL, alg->group);
    end = spki;
    assert_ok(kn_public_from_spki(spki, (size_t)i2d_PUBKEY(software, &end), &peer));
    assert_ok(kn_key_derive(key, &peer, secret, &length));
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new(software, NULL);
    assert_int_equal(EVP_PKEY_derive_init(pctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(pctx, mine), 1);
    assert_int_equal(EVP_PKEY_derive(pctx, theirs, &their_length), 1);
    assert_int_equal(length, their_length);
    assert_memory_equal(secret, theirs, length);
    peer.point[peer.point_length - 1] ^= 1; /* EC: not on the curve; else another key */
    if (ec)
        assert_error(KN_E_PEER, kn_key_derive(key, &peer, secret, &length));
    EVP_PKEY_CTX_free(pctx);
    EVP_PKEY_free(software);
    EVP_PKEY_free(mine);
    kn_key_unref(&key);
}

static void test_derives(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++)
        if (kn_algs[i].uses & KN_USE_DERIVE)
            agree(&kn_algs[i]);
}

static void test_peers_that_are_refused(void **state)
{
    uint8_t secret[KN_EC_COORD_MAX];
    size_t length = 4711;
    (void)state;
    kn_key *p256 = made("p256", "EC:P-256", KN_USE_DERIVE), *p384 = made("p384", "EC:P-384", KN_USE_DERIVE);
    kn_key *x25519 = made("x25519", "X25519", 0);
    assert_error(KN_E_PEER, kn_key_derive(p256, kn_key_public(p384), secret, &length));
    assert_detail("EC:P-256");
    assert_detail("EC:P-384");
    assert_error(KN_E_PEER, kn_key_derive(p256, kn_key_public(rsa), secret, &length));
    kn_public zero = *kn_key_public(x25519);
    memset(zero.point, 0, sizeof zero.point); /* a point of small order */
    assert_true(kn_failed(kn_key_derive(x25519, &zero, secret, &length)));
    assert_int_equal(length, 4711);
    kn_key_unref(&p256);
    kn_key_unref(&p384);
    kn_key_unref(&x25519);
}

/* A token that shows only the private key: the first agreement is checked against the alias, by one with the base point. */
static void test_a_key_that_tells_nothing(void **state)
{
    static const char *const algorithms[] = {"EC:P-256", "EC:P-384", "EC:P-521", "X25519", "X448"};
    uint8_t secret[KN_EC_COORD_MAX], again[KN_EC_COORD_MAX];
    size_t length = 4711;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
        char label[32];
        kn_alias *alias = NULL;
        kn_key *key = NULL;
        (void)snprintf(label, sizeof label, "mute-%zu", i);
        kn_key *pair = made(label, algorithms[i], KN_USE_DERIVE), *other = made("other", algorithms[i], KN_USE_DERIVE);
        assert_ok(kn_key_derive(pair, kn_key_public(other), secret, &length));
        raw r = raw_open(token);
        raw_delete(&r, CKO_PUBLIC_KEY, label);
        assert_ok(kn_alias_new(test_token_uri(token, label), kn_key_public(pair), &alias));
        assert_ok(kn_key_open(ctx, alias, &key));
        kn_alias_free(&alias);
        for (int twice = 0; twice < 2; twice++) {
            assert_ok(kn_key_derive(key, kn_key_public(other), again, &length));
            assert_memory_equal(again, secret, length);
        }
        kn_key_unref(&key);
        assert_ok(kn_alias_new(test_token_uri(token, label), kn_key_public(other), &alias)); /* another one's */
        assert_ok(kn_key_open(ctx, alias, &key));
        kn_alias_free(&alias);
        length = 4711;
        assert_error(KN_E_KEY_CHANGED, kn_key_derive(key, kn_key_public(other), again, &length));
        assert_int_equal(length, 4711);
        raw_delete(&r, CKO_PRIVATE_KEY, "other");
        raw_delete(&r, CKO_PUBLIC_KEY, "other");
        raw_close(&r);
        kn_key_unref(&key);
        kn_key_unref(&pair);
        kn_key_unref(&other);
    }
}

/* The secret was a session object: nothing of it stays, and the pool's session is used again. */
static void test_the_secret_is_destroyed(void **state)
{
    uint8_t secret[KN_EC_COORD_MAX];
    size_t length;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *counted = shim_context(token->pin_file);
    const kn_key_spec spec = {.alg = kn_alg_by_name("EC:P-256"), .uses = KN_USE_DERIVE};
    kn_key *key = NULL;
    assert_ok(kn_key_make(counted, "pkcs11:token=decrypt;object=counted", &spec, &key));
    raw r = raw_open(token);
    assert_ok(kn_key_derive(key, kn_key_public(key), secret, &length));
    shim_reset_calls(s);
    assert_ok(kn_key_derive(key, kn_key_public(key), secret, &length));
    assert_int_equal(shim_total(s), 3); /* C_DeriveKey, C_GetAttributeValue, C_DestroyObject */
    assert_int_equal(raw_count(&r, CKO_SECRET_KEY, NULL), 0);
    shim_fail(s, SHIM_C_GetAttributeValue, CKR_FUNCTION_FAILED, 1);
    assert_true(kn_failed(kn_key_derive(key, kn_key_public(key), secret, &length)));
    assert_int_equal(raw_count(&r, CKO_SECRET_KEY, NULL), 0);
    raw_close(&r);
    kn_key_unref(&key);
    kn_ctx_unref(&counted);
    shim_free(&s);
}

/* A token that lacks the mechanism says so itself, once; the error names both. */
static void test_a_mechanism_that_is_missing(void **state)
{
    uint8_t data[KN_RSA_MAX] = {0}, back[KN_RSA_MAX];
    const kn_sign_how pss = {KN_RSA_PSS, &kn_digests[KN_SHA256], &kn_digests[KN_SHA256], 32};
    size_t length;
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *counted = shim_context(token->pin_file);
    assert_ok(kn_alias_new("pkcs11:token=decrypt;object=rsa", kn_key_public(rsa), &alias));
    assert_ok(kn_key_open(counted, alias, &key));
    shim_fail(s, SHIM_C_GetMechanismInfo, CKR_MECHANISM_INVALID, 1);
    for (int i = 0; i < 2; i++) { /* the second time from memory */
        assert_error(KN_E_TOKEN_CANNOT, kn_key_decrypt(key, &pkcs1, data, 256, back, &length));
        assert_detail("token 'decrypt' does not offer CKM_RSA_PKCS to decrypt");
    }
    shim_fail(s, SHIM_C_SignInit, CKR_MECHANISM_INVALID, 1);
    assert_error(KN_E_TOKEN_CANNOT, kn_key_sign(key, &pss, data, 32, back, &length));
    assert_detail("token 'decrypt'");
    assert_detail("CKM_RSA_PKCS_PSS with SHA256, MGF1 of SHA256, a salt of 32 bytes");
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&counted);
    shim_free(&s);
}

/* The type comes back from the token; the restrictions are in the alias alone. */
static void test_pss_keys(void **state)
{
    uint8_t digest[64] = {0}, signature[KN_SIGNATURE_MAX];
    const kn_digest *sha256 = &kn_digests[KN_SHA256], *sha384 = &kn_digests[KN_SHA384];
    const kn_key_spec spec = {
        .alg = kn_alg_by_name("RSA:2048"), .pss = true, .pss_digest = sha256, .pss_mgf1 = sha256, .pss_salt_min = 32};
    const struct {
        kn_sign_how how;
        kn_code with_restrictions, without;
    } rows[] = {
        {{KN_RSA_PSS, sha256, sha256, 32}, KN_OK, KN_OK},
        {{KN_RSA_PSS, sha256, sha256, 40}, KN_OK, KN_OK},
        {{KN_RSA_PSS, sha256, sha256, 31}, KN_E_DATA_SIZE, KN_OK},
        {{KN_RSA_PSS, sha384, sha384, 48}, KN_E_DIGEST, KN_OK},
        {{KN_RSA_PKCS1, sha256, NULL, 0}, KN_E_KEY_USE, KN_E_KEY_USE},
    };
    kn_key *key = NULL, *found = NULL;
    kn_alias *alias = NULL;
    size_t length;
    (void)state;
    assert_ok(kn_key_make(ctx, test_token_uri(token, "pss"), &spec, &key));
    assert_ok(kn_alias_new(test_token_uri(token, "pss"), NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &found));
    assert_true(kn_key_public(found)->pss);
    assert_null(kn_key_public(found)->pss_digest);
    assert_true(kn_public_equal(kn_key_public(key), kn_key_public(found)));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t size = rows[i].how.digest->bytes;
        assert_error(rows[i].with_restrictions, kn_key_sign(key, &rows[i].how, digest, size, signature, &length));
        assert_error(rows[i].without, kn_key_sign(found, &rows[i].how, digest, size, signature, &length));
    }
    kn_alias_free(&alias);
    kn_key_unref(&key);
    kn_key_unref(&found);
}

/* One RSA key and one EC key, used by all threads at once. */
#define THREADS    8
#define OPERATIONS 10

typedef struct worker {
    kn_key *agrees;
    unsigned good;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    uint8_t data[KN_RSA_MAX], back[KN_RSA_MAX], first[KN_EC_COORD_MAX], secret[KN_EC_COORD_MAX];
    size_t length = 0, size = 0;
    for (unsigned i = 0; i < OPERATIONS; i++) {
        bool decrypted = kn_crypto_encrypt(kn_key_public(rsa), &pkcs1, (const uint8_t *)"text", 4, data, &size) &&
                         !kn_failed(kn_key_decrypt(rsa, &pkcs1, data, size, back, &length)) && length == 4 &&
                         !memcmp(back, "text", 4);
        bool derived = !kn_failed(kn_key_derive(w->agrees, kn_key_public(w->agrees), i ? secret : first, &length));
        w->good += decrypted && derived && (!i || !memcmp(first, secret, length));
    }
    return NULL;
}

static void test_threads_share_keys(void **state)
{
    pthread_t thread[THREADS];
    worker w[THREADS];
    (void)state;
    kn_key *agrees = made("shared", "EC:P-256", KN_USE_DERIVE);
    for (size_t i = 0; i < THREADS; i++) {
        w[i] = (worker){.agrees = agrees};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(w[i].good, OPERATIONS);
    }
    kn_key_unref(&agrees);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decrypts),
        cmocka_unit_test(test_a_wrong_padding_does_not_show),
        cmocka_unit_test(test_a_wrong_oaep_is_one_error),
        cmocka_unit_test(test_what_cannot_be_is_named),
        cmocka_unit_test(test_uses),
        cmocka_unit_test(test_derives),
        cmocka_unit_test(test_peers_that_are_refused),
        cmocka_unit_test(test_a_key_that_tells_nothing),
        cmocka_unit_test(test_the_secret_is_destroyed),
        cmocka_unit_test(test_a_mechanism_that_is_missing),
        cmocka_unit_test(test_pss_keys),
        cmocka_unit_test(test_threads_share_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
