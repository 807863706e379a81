/* Where a program writes a private key of ours, an alias comes out; public keys are written as OpenSSL writes them. */
#include "support/prov.h"

#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS (TEST_EC_COUNT + 2)

static struct {
    const char *label;
    EVP_PKEY *public; /* in software */
} keys[KEYS];

static int group_setup(void **state)
{
    if (prov_group_setup(state))
        return -1;
    for (size_t i = 0; i < TEST_EC_COUNT; i++)
        keys[i].label = kn_algs[i].group, keys[i].public = prov_software_public(&kn_algs[i]);
    keys[TEST_EC_COUNT].label = "rsa";
    keys[TEST_EC_COUNT].public = prov_generate("rsa", kn_alg_by_name("RSA:2048"));
    keys[TEST_EC_COUNT + 1].label = "ed25519";
    keys[TEST_EC_COUNT + 1].public = prov_generate("ed25519", kn_alg_by_name("ED25519"));
    return 0;
}

static int group_teardown(void **state)
{
    for (size_t i = 0; i < KEYS; i++)
        EVP_PKEY_free(keys[i].public);
    return prov_group_teardown(state);
}

static const char *text_of(BIO *bio)
{
    char *text = NULL;
    assert_int_equal(BIO_write(bio, "", 1), 1);
    (void)BIO_get_mem_data(bio, &text);
    return text;
}

/* Is @alias one of key @i, with the URI that it was loaded by and its public key inside? */
static void expect_alias(kn_alias *alias, size_t i)
{
    kn_public public;
    uint8_t *der = NULL;
    int length = i2d_PUBKEY(keys[i].public, &der);
    assert_false(kn_failed(kn_public_from_spki(der, (size_t)length, &public)));
    assert_string_equal(kn_alias_uri(alias), test_token_uri(prov_token, keys[i].label));
    assert_non_null(kn_alias_public(alias));
    assert_true(kn_public_equal(kn_alias_public(alias), &public));
    OPENSSL_free(der);
    kn_alias_free(&alias);
}

static void expect_same_key(const prov *p, EVP_PKEY *pkey, size_t i)
{
    assert_non_null(pkey);
    assert_string_equal(prov_of(pkey), "keynym");
    assert_int_equal(EVP_PKEY_eq(pkey, keys[i].public), 1);
    EVP_PKEY_free(pkey);
    (void)p;
}

static void a_private_key_is_written_as_an_alias(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY *pkey = prov_load(p, test_token_uri(prov_token, keys[i].label));
        BIO *out = BIO_new(BIO_s_mem());
        kn_alias *alias = NULL;
        assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 1);
        const char *pem = text_of(out);
        assert_ptr_equal(strstr(pem, "-----BEGIN " KN_ALIAS_PEM_LABEL "-----\n"), pem);
        assert_false(kn_failed(kn_alias_from_pem(pem, strlen(pem), &alias)));
        expect_alias(alias, i);
        expect_same_key(p, prov_read_key_text(p, pem), i);
        BIO_free(out);
        EVP_PKEY_free(pkey);
    }
}

static void an_alias_in_der_is_read_again(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY *pkey = prov_load(p, test_token_uri(prov_token, keys[i].label));
        kn_alias *alias = NULL;
        unsigned char *der = NULL, *pkcs8 = NULL;
        int length = i2d_PrivateKey(pkey, &der);
        assert_true(length > 0);
        assert_false(kn_failed(kn_alias_from_der(der, (size_t)length, &alias)));
        expect_alias(alias, i);
        const unsigned char *at = der;
        expect_same_key(p, d2i_AutoPrivateKey_ex(NULL, &at, length, p->libctx, NULL), i);
        BIO *out = BIO_new(BIO_s_mem());
        assert_int_equal(i2d_PKCS8PrivateKey_bio(out, pkey, NULL, NULL, 0, NULL, NULL), 1);
        assert_int_equal(BIO_get_mem_data(out, &pkcs8), length);
        assert_memory_equal(pkcs8, der, (size_t)length);
        BIO_free(out);
        OPENSSL_free(der);
        EVP_PKEY_free(pkey);
    }
}

/* An alias that is written again is the same alias. */
static void an_alias_is_written_as_it_was_read(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    EVP_PKEY *pkey = prov_read_key_text(p, pem);
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 1);
    assert_string_equal(text_of(out), pem);
    BIO_free(out);
    EVP_PKEY_free(pkey);
    free(pem);
}

static void a_public_key_is_written_as_of_a_software_key(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY *pkey = prov_load(p, test_token_uri(prov_token, keys[i].label));
        unsigned char *ours = NULL, *theirs = NULL;
        int length = i2d_PUBKEY(pkey, &ours);
        assert_int_equal(length, i2d_PUBKEY(keys[i].public, &theirs));
        assert_memory_equal(ours, theirs, (size_t)length);
        BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PUBKEY_ex(a, pkey, p->libctx, NULL), 1);
        assert_int_equal(PEM_write_bio_PUBKEY(b, keys[i].public), 1);
        assert_int_equal(EVP_PKEY_print_public(a, pkey, 0, NULL), 1);
        assert_int_equal(EVP_PKEY_print_public(b, keys[i].public, 0, NULL), 1);
        assert_string_equal(text_of(a), text_of(b));
        if (i < TEST_EC_COUNT) /* a named curve, not its parameters */
            assert_non_null(strstr(text_of(a), "NIST CURVE: P-"));
        BIO_free(a);
        BIO_free(b);
        OPENSSL_free(ours);
        OPENSSL_free(theirs);
        EVP_PKEY_free(pkey);
    }
}

static void a_private_key_is_shown_by_its_uri_and_public_part(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KEYS; i++) {
        EVP_PKEY *pkey = prov_load(p, test_token_uri(prov_token, keys[i].label));
        BIO *ours = BIO_new(BIO_s_mem()), *theirs = BIO_new(BIO_s_mem());
        assert_int_equal(EVP_PKEY_print_private(ours, pkey, 0, NULL), 1);
        assert_int_equal(EVP_PKEY_print_public(theirs, keys[i].public, 0, NULL), 1);
        const char *text = text_of(ours);
        assert_non_null(strstr(text, "stays in its token"));
        assert_non_null(strstr(text, test_token_uri(prov_token, keys[i].label)));
        assert_non_null(strstr(text, text_of(theirs)));
        BIO_free(ours);
        BIO_free(theirs);
        EVP_PKEY_free(pkey);
    }
}

static int never_asked(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing;
    *(int *)arg = 1;
    return -1;
}

/* There is nothing to encrypt, so nobody is asked for a passphrase either. */
static void encryption_is_not_needed(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    EVP_PKEY *pkey = prov_read_key_text(p, pem);
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(p->libctx, "AES-256-CBC", NULL);
    BIO *out = BIO_new(BIO_s_mem());
    int asked = 0;
    assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, cipher, NULL, 0, never_asked, &asked, p->libctx, NULL), 1);
    assert_string_equal(text_of(out), pem);
    assert_int_equal(asked, 0);
    (void)BIO_reset(out);
    OSSL_ENCODER_CTX *ctx =
        OSSL_ENCODER_CTX_new_for_pkey(pkey, EVP_PKEY_KEYPAIR, "PEM", "EncryptedPrivateKeyInfo", NULL);
    assert_int_equal(OSSL_ENCODER_to_bio(ctx, out), 1);
    assert_string_equal(text_of(out), pem);
    OSSL_ENCODER_CTX_free(ctx);
    BIO_free(out);
    EVP_CIPHER_free(cipher);
    EVP_PKEY_free(pkey);
    free(pem);
}

static void a_pin_is_never_written(void **state)
{
    const prov *p = *state;
    char uri[512];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-value=%s&module-path=%s", prov_token->label,
                   kn_algs[0].group, prov_token->pin, test_module);
    EVP_PKEY *pkey = prov_load(p, uri);
    BIO *out = BIO_new(BIO_s_mem());
    assert_non_null(pkey);
    assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 0);
    prov_expect_error("the alias would hold a PIN", "pin-source", NULL);
    assert_true(i2d_PrivateKey(pkey, NULL) <= 0);
    prov_expect_error("the alias would hold a PIN", "pin-source", NULL);
    assert_int_equal(BIO_pending(out), 0);
    assert_int_equal(EVP_PKEY_print_private(out, pkey, 0, NULL), 1); /* shows the URI, without the PIN */
    assert_null(strstr(text_of(out), prov_token->pin));
    BIO_free(out);
    EVP_PKEY_free(pkey);
}

static void an_output_that_is_full_is_an_error(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_read_key(p, prov_file(&kn_algs[0], "alias.pem"));
    BIO *out = BIO_new_mem_buf("read only", -1);
    assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 0);
    prov_expect_error("a file cannot be read or written", NULL);
    BIO_free(out);
    EVP_PKEY_free(pkey);
}

static void other_keys_are_written_as_ever(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256");
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey_ex(out, pkey, NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 1);
    const char *text = text_of(out);
    assert_ptr_equal(strstr(text, "-----BEGIN PRIVATE KEY-----"), text);
    BIO_free(out);
    EVP_PKEY_free(pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(a_private_key_is_written_as_an_alias),
        PROV_TEST(an_alias_in_der_is_read_again),
        PROV_TEST(an_alias_is_written_as_it_was_read),
        PROV_TEST(a_public_key_is_written_as_of_a_software_key),
        PROV_TEST(a_private_key_is_shown_by_its_uri_and_public_part),
        PROV_TEST(encryption_is_not_needed),
        PROV_TEST(a_pin_is_never_written),
        PROV_TEST(an_output_that_is_full_is_an_error),
        PROV_TEST(other_keys_are_written_as_ever),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
