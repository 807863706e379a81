/* Alias PEM files where programs read private keys, and every other PEM file beside them. */
#include "support/p11_shim.h"
#include "support/prov.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char begin[] = "-----BEGIN " KN_ALIAS_PEM_LABEL "-----\n";
static const char end[] = "-----END " KN_ALIAS_PEM_LABEL "-----\n";

static void expect_signs(const prov *p, EVP_PKEY *pkey, const kn_alg *alg)
{
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_PKEY *software = prov_software_public(alg);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4), 1);
    assert_int_equal(EVP_MD_CTX_reset(ctx), 1);
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, software, NULL), 1);
    assert_int_equal(EVP_DigestVerify(ctx, signature, length, (const unsigned char *)"text", 4), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(software);
}

static void expect_ours(const prov *p, EVP_PKEY *pkey, const kn_alg *alg)
{
    assert_non_null(pkey);
    assert_string_equal(prov_of(pkey), "keynym");
    expect_signs(p, pkey, alg);
    EVP_PKEY_free(pkey);
}

/* @texts in one string, for free(). */
static char *join(const char *first, const char *second, const char *third)
{
    char *all = calloc(1, strlen(first) + strlen(second) + strlen(third) + 1);
    assert_non_null(all);
    strcat(strcat(strcpy(all, first), second), third);
    return all;
}

static void reads_every_kind_of_alias(void **state)
{
    static const char *const endings[] = {"alias.pem", "bare.pem"};
    for (size_t i = 0; i < TEST_EC_COUNT; i++)
        for (size_t e = 0; e < 2; e++)
            expect_ours(*state, prov_read_key(*state, prov_file(&kn_algs[i], endings[e])), &kn_algs[i]);
}

static void reads_from_a_file_and_from_a_pipe(void **state)
{
    const prov *p = *state;
    const char *path = prov_file(&kn_algs[0], "alias.pem");
    BIO *file = BIO_new_file(path, "r");
    expect_ours(p, PEM_read_bio_PrivateKey_ex(file, NULL, NULL, NULL, p->libctx, NULL), &kn_algs[0]);
    BIO_free(file);
    int ends[2];
    char *pem = prov_read(path);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], pem, strlen(pem)), strlen(pem));
    (void)close(ends[1]);
    BIO *cannot_seek = BIO_new_fd(ends[0], BIO_CLOSE);
    expect_ours(p, PEM_read_bio_PrivateKey_ex(cannot_seek, NULL, NULL, NULL, p->libctx, NULL), &kn_algs[0]);
    BIO_free(cannot_seek);
    free(pem);
}

static void ssl_and_store_take_the_file(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        const char *path = prov_file(&kn_algs[i], "alias.pem");
        SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_2_VERSION);
        assert_int_equal(SSL_CTX_use_certificate_file(ctx, prov_file(&kn_algs[i], "crt"), SSL_FILETYPE_PEM),
                         1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
        SSL_CTX_free(ctx);
        expect_ours(p, prov_load(p, path), &kn_algs[i]);
    }
}

static void text_may_stand_around_the_block(void **state)
{
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    char *text = join("Bag Attributes\n    friendlyName: device\nKey Attributes: <No Attributes>\n\n", pem,
                      "and more text\n");
    expect_ours(*state, prov_read_key_text(*state, text), &kn_algs[0]);
    free(text);
    free(pem);
}

static void line_ends_may_be_those_of_windows(void **state)
{
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem")), *text = calloc(2, strlen(pem) + 1),
         *to = text;
    for (const char *from = pem; *from; from++) {
        if (*from == '\n')
            *to++ = '\r';
        *to++ = *from;
    }
    expect_ours(*state, prov_read_key_text(*state, text), &kn_algs[0]);
    free(text);
    free(pem);
}

static void a_certificate_may_stand_in_the_same_file(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem")),
         *crt = prov_read(prov_file(&kn_algs[0], "crt"));
    char *ca = prov_read(test_token_path(prov_token, "ca.crt"));
    char *orders[] = {join(crt, pem, ""), join(pem, crt, ""), join(crt, ca, pem), join(crt, pem, ca)};
    for (size_t i = 0; i < 4; i++) {
        const char *path = test_token_path(prov_token, "both.pem");
        test_token_write(prov_token, "both.pem", orders[i]);
        expect_ours(p, prov_read_key_text(p, orders[i]), &kn_algs[0]);
        assert_string_equal(prov_errors(), "");
        SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, path), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
        SSL_CTX_free(ctx);
        expect_ours(p, prov_load(p, path), &kn_algs[0]);
        free(orders[i]);
    }
    free(pem);
    free(crt);
    free(ca);
}

static void reads_one_alias_after_another(void **state)
{
    const prov *p = *state;
    char *first = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    char *second = prov_read(prov_file(&kn_algs[1], "alias.pem"));
    char *both = join(first, "\n", second);
    BIO *bio = BIO_new_mem_buf(both, -1);
    expect_ours(p, PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL), &kn_algs[0]);
    expect_ours(p, PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL), &kn_algs[1]);
    assert_null(PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL));
    assert_null(strstr(prov_errors(), "keynym|")); /* the end of the file is OpenSSL's to report */
    BIO_free(bio);
    free(first);
    free(second);
    free(both);
}

static int password(char *buffer, int size, int writing, void *arg)
{
    (void)writing, (void)arg;
    return snprintf(buffer, (size_t)size, "password");
}

static void other_keys_load_as_ever(void **state)
{
    const prov *p = *state;
    EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256"),
                        EVP_PKEY_Q_keygen(p->libctx, NULL, "RSA", (size_t)2048),
                        EVP_PKEY_Q_keygen(p->libctx, NULL, "ED25519")};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(p->libctx, "AES-128-CBC", NULL);
    for (size_t i = 0; i < 3; i++)
        for (int form = 0; form < 4; form++) {
            BIO *bio = BIO_new(BIO_s_mem());
            EVP_PKEY *back;
            assert_string_equal(prov_of(keys[i]), "default");
            if (form == 0)
                assert_int_equal(
                    PEM_write_bio_PrivateKey_ex(bio, keys[i], NULL, NULL, 0, NULL, NULL, p->libctx, NULL), 1);
            else if (form == 1)
                assert_int_equal(PEM_write_bio_PrivateKey_ex(bio, keys[i], cipher,
                                                             (const unsigned char *)"password", 8, NULL, NULL,
                                                             p->libctx, NULL),
                                 1);
            else if (form == 2 && i < 2)
                assert_int_equal(
                    PEM_write_bio_PrivateKey_traditional(bio, keys[i], NULL, NULL, 0, NULL, NULL), 1);
            else
                assert_int_equal(PEM_write_bio_PUBKEY_ex(bio, keys[i], p->libctx, NULL), 1);
            bool public = form == 3 || (form == 2 && i == 2);
            back = public ? PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, p->libctx, NULL)
                          : PEM_read_bio_PrivateKey_ex(bio, NULL, password, NULL, p->libctx, NULL);
            assert_non_null(back);
            assert_string_equal(prov_of(back), "default");
            assert_int_equal(EVP_PKEY_eq(back, keys[i]), 1);
            EVP_PKEY_free(back);
            BIO_free(bio);
        }
    EVP_CIPHER_free(cipher);
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(keys[i]);
}

static void a_software_key_and_an_alias_in_one_file(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    char *software = prov_read(test_token_path(prov_token, "ca.key"));
    char *both = join(software, pem, "");
    BIO *bio = BIO_new_mem_buf(both, -1);
    EVP_PKEY *first = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL);
    assert_string_equal(prov_of(first), "default");
    EVP_PKEY_free(first);
    expect_ours(p, PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, p->libctx, NULL), &kn_algs[0]);
    BIO_free(bio);
    free(both);
    free(pem);
    free(software);
}

/* A program that asks for a public key or a certificate must not be given an alias. */
static void reads_another_providers_pem(void **state)
{
    const prov *p = *state;
    char base64[1024], text[1200];
    unsigned char der[512];
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        const char *uri = test_token_uri(prov_token, kn_algs[i].group);
        size_t length = strlen(uri);
        static const unsigned char head[] = "\x30\x82\x00\x00\x1a\x19PKCS#11 Provider URI v1.0\x0c\x82\x00\x00";
        memcpy(der, head, sizeof head - 1);
        der[2] = (unsigned char)((length + 31) >> 8), der[3] = (unsigned char)(length + 31);
        der[33] = (unsigned char)(length >> 8), der[34] = (unsigned char)length;
        memcpy(der + sizeof head - 1, uri, length);
        (void)EVP_EncodeBlock((unsigned char *)base64, der, (int)(sizeof head - 1 + length));
        (void)snprintf(text, sizeof text, "-----BEGIN %s-----\n%s\n-----END %s-----\n", KN_ALIAS_PEM_LABEL_FOREIGN,
                       base64, KN_ALIAS_PEM_LABEL_FOREIGN);
        expect_ours(p, prov_read_key_text(p, text), &kn_algs[i]);
        test_token_write(prov_token, "foreign.pem", text);
        const char *path = test_token_path(prov_token, "foreign.pem");
        expect_ours(p, prov_load(p, path), &kn_algs[i]);
        SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
        assert_int_equal(SSL_CTX_use_certificate_file(ctx, prov_file(&kn_algs[i], "crt"), SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
        SSL_CTX_free(ctx);
    }
    static const char newer[] = "-----BEGIN PKCS#11 PROVIDER URI-----\n"
                                "MDQaGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYyLjAMF3BrY3MxMTp0b2tlbj1hO29iamVjdD1i\n"
                                "-----END PKCS#11 PROVIDER URI-----\n";
    assert_null(prov_read_key_text(p, newer));
    prov_expect_error("malformed", "description", NULL);
}

/* Through d2i and through the file store. */
static void read_der(const prov *p, const unsigned char *der, size_t length)
{
    const unsigned char *at = der;
    assert_null(d2i_AutoPrivateKey_ex(NULL, &at, (long)length, p->libctx, NULL));
}

static void names_what_is_wrong_with_der(void **state)
{
    const prov *p = *state;
    static unsigned char der[KN_ALIAS_DER_MAX + 10];
    static const unsigned char whole[] = "\x30\x14\x02\x01\x01\x0c\x0fpkcs11:object=a";
    memcpy(der, whole, sizeof whole - 1);
    read_der(p, der, 12); /* cut short */
    prov_expect_error("malformed", "not the SEQUENCE", NULL);
    read_der(p, der, sizeof whole); /* a byte after it */
    prov_expect_error("malformed", "1 bytes follow", NULL);
    read_der(p, der, sizeof der); /* too much */
    prov_expect_error("malformed", "4096", NULL);
    der[4] = 2;
    read_der(p, der, sizeof whole - 1);
    prov_expect_error("malformed", "version 2", NULL);
    memcpy(der, "\x30\x82\x00\x14", 4); /* a length that is not the shortest: BER */
    memcpy(der + 4, whole + 2, sizeof whole - 3);
    read_der(p, der, sizeof whole + 1);
    prov_expect_error("malformed", "BER", NULL);
}

static unsigned calls_to_load(const prov *p, shim *s, const char *path, bool by_store)
{
    shim_reset_calls(s);
    EVP_PKEY *pkey = by_store ? prov_load(p, path) : prov_read_key(p, path);
    assert_non_null(pkey);
    EVP_PKEY_free(pkey);
    return shim_total(s);
}

/* The look-up of a key costs 12 calls, however many decoders OpenSSL tries; an alias with its public key costs none. */
static void counts_the_calls_to_load(void **state)
{
    const prov *p = *state;
    char uri[512];
    static const struct {
        const char *name;
        bool with_public;
    } kinds[] = {{"counted.alias.pem", true}, {"counted.bare.pem", false}};
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    unsigned char *der = NULL;
    kn_public public;
    int length = i2d_PUBKEY(software, &der);
    assert_false(kn_failed(kn_public_from_spki(der, (size_t)length, &public)));
    shim *s = shim_new(prov_token);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s", prov_token->label,
                   kn_algs[0].group, prov_token->pin_file, shim_module);
    for (size_t i = 0; i < 2; i++) {
        kn_alias *alias = NULL;
        char *pem = NULL;
        assert_false(kn_failed(kn_alias_new(uri, kinds[i].with_public ? &public : NULL, &alias)));
        assert_false(kn_failed(kn_alias_to_pem(alias, &pem)));
        test_token_write(prov_token, kinds[i].name, pem);
        free(pem);
        kn_alias_free(&alias);
    }
    assert_int_equal(calls_to_load(p, s, test_token_path(prov_token, "counted.alias.pem"), false), 0);
    assert_int_equal(calls_to_load(p, s, test_token_path(prov_token, "counted.alias.pem"), true), 0);
    for (int by_store = 0; by_store < 2; by_store++) { /* each in a provider of its own: the first load of a process */
        prov fresh;
        prov_open(&fresh, p->order);
        unsigned calls = calls_to_load(&fresh, s, test_token_path(prov_token, "counted.bare.pem"), by_store);
        assert_in_range(calls, 1, 12);
        prov_close(&fresh);
    }
    shim_free(&s);
    OPENSSL_free(der);
    EVP_PKEY_free(software);
}

static void an_alias_is_no_public_key_and_no_certificate(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    BIO *bio = BIO_new_mem_buf(pem, -1);
    assert_null(PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, p->libctx, NULL));
    assert_int_equal(BIO_reset(bio), 1);
    assert_null(PEM_read_bio_X509(bio, NULL, NULL, NULL));
    assert_string_not_equal(prov_errors(), "");
    BIO_free(bio);
    free(pem);
}

static void names_what_is_wrong_with_an_alias(void **state)
{
    static char oversize[16384];
    (void)snprintf(oversize, sizeof oversize, "%s", begin);
    while (strlen(oversize) < 10000)
        strcat(oversize, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpBQkNERUZHSElKS0xNTk9QUVJTVFVW\n");
    strcat(oversize, end);
    /* SEQUENCE { INTEGER 1, UTF8String "pkcs11:object=a" } and what can be wrong with it. */
    const struct {
        const char *lines, *last, *sentence, *named;
    } rows[] = {
        {"MBQCAQEMD3BrY3MxMTpvYmplY3Q9YQ==!!\n", end, "malformed", "base64"},
        {"this is not base64\n", end, "malformed", "base64"},
        {"", end, "malformed", NULL},
        {"MBQCAQEMD3BrY3MxMTpvYmplY3Q9YQ==\n", "", "malformed", "END"},
        {"MBQCAQEMD3BrY3MxMTpvYmplY3Q9YQ==\n", "-----END PRIVATE KEY-----\n", "malformed", NULL},
        {"MBQCAQEMD3BrY3Mx\n", end, "malformed", NULL},                 /* cut short */
        {"MBQCAQEMD3BrY3MxMTpvYmplY3Q9YQA=\n", end, "malformed", NULL}, /* a byte after the SEQUENCE */
        {"MBQCAQIMD3BrY3MxMTpvYmplY3Q9YQ==\n", end, "malformed", "version 2"},
        {"MBECAQEMDHBrY3MxMTpvYmo9YQ==\n", end, "attribute that is not known", "obj"},
        {"MB8CAQEMGnBrY3MxMTpvYmplY3Q9YT9waW4tdmFsdWU9\n", end, "would hold a PIN", "pin-value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = join(begin, rows[i].lines, rows[i].last);
        assert_null(prov_read_key_text(*state, text));
        prov_expect_error(rows[i].sentence, rows[i].named, NULL);
        free(text);
    }
    assert_null(prov_read_key_text(*state, oversize));
    prov_expect_error("malformed", "8192 bytes", NULL);
}

static void a_damaged_alias_is_not_fatal_to_the_next_read(void **state)
{
    const prov *p = *state;
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem")), *damaged = strdup(pem);
    damaged[strlen(begin) + 10] = '!';
    assert_null(prov_read_key_text(p, damaged));
    prov_expect_error("malformed", NULL);
    expect_ours(p, prov_read_key_text(p, pem), &kn_algs[0]);
    free(pem);
    free(damaged);
}

/* What a service reads at start-up must not need the token, or it could not start before the token is there.
 */
static void an_alias_with_its_public_key_needs_no_token_to_load(void **state)
{
    const prov *p = *state;
    X509 *cert = prov_certificate(p, prov_file(&kn_algs[0], "crt"));
    unsigned char *der = NULL, signature[256];
    size_t length = sizeof signature;
    kn_public public;
    kn_alias *alias = NULL, *bare = NULL;
    char *pem = NULL, *bare_pem = NULL;
    static const char uri[] = "pkcs11:token=not-there-yet;object=a?module-path=/no/such/module.so";
    int der_length = i2d_PUBKEY(X509_get0_pubkey(cert), &der);
    assert_false(kn_failed(kn_public_from_spki(der, (size_t)der_length, &public)));
    assert_false(kn_failed(kn_alias_new(uri, &public, &alias)));
    assert_false(kn_failed(kn_alias_to_pem(alias, &pem)));
    assert_false(kn_failed(kn_alias_new(uri, NULL, &bare)));
    assert_false(kn_failed(kn_alias_to_pem(bare, &bare_pem)));
    EVP_PKEY *pkey = prov_read_key_text(p, pem);
    assert_non_null(pkey);
    assert_int_equal(X509_check_private_key(cert, pkey), 1);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_not_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4), 1);
    prov_expect_error("the PKCS#11 module cannot be loaded", "/no/such/module.so", NULL);
    assert_null(prov_read_key_text(p, bare_pem)); /* the other way round: this one must ask */
    prov_expect_error("the PKCS#11 module cannot be loaded", "/no/such/module.so", NULL);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    X509_free(cert);
    OPENSSL_free(der);
    kn_alias_free(&alias);
    kn_alias_free(&bare);
    free(pem);
    free(bare_pem);
}

/* An alias whose public key is not the token's is noticed at the first signature, which is not handed out. */
static void an_alias_of_another_key_does_not_sign(void **state)
{
    const prov *p = *state;
    EVP_PKEY *other = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256");
    unsigned char *der = NULL, signature[256];
    size_t length = sizeof signature;
    kn_public public;
    kn_alias *alias = NULL;
    char *pem = NULL;
    int der_length = i2d_PUBKEY(other, &der);
    assert_false(kn_failed(kn_public_from_spki(der, (size_t)der_length, &public)));
    assert_false(kn_failed(kn_alias_new(test_token_uri(prov_token, kn_algs[0].group), &public, &alias)));
    assert_false(kn_failed(kn_alias_to_pem(alias, &pem)));
    EVP_PKEY *pkey = prov_read_key_text(p, pem);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_not_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4), 1);
    prov_expect_error("another key stands where the alias points to", NULL);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(other);
    OPENSSL_free(der);
    kn_alias_free(&alias);
    free(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(reads_every_kind_of_alias),
        PROV_TEST(reads_from_a_file_and_from_a_pipe),
        PROV_TEST(ssl_and_store_take_the_file),
        PROV_TEST(text_may_stand_around_the_block),
        PROV_TEST(line_ends_may_be_those_of_windows),
        PROV_TEST(a_certificate_may_stand_in_the_same_file),
        PROV_TEST(reads_one_alias_after_another),
        PROV_TEST(other_keys_load_as_ever),
        PROV_TEST(a_software_key_and_an_alias_in_one_file),
        PROV_TEST(reads_another_providers_pem),
        PROV_TEST(names_what_is_wrong_with_der),
        PROV_TEST(counts_the_calls_to_load),
        PROV_TEST(an_alias_is_no_public_key_and_no_certificate),
        PROV_TEST(names_what_is_wrong_with_an_alias),
        PROV_TEST(a_damaged_alias_is_not_fatal_to_the_next_read),
        PROV_TEST(an_alias_with_its_public_key_needs_no_token_to_load),
        PROV_TEST(an_alias_of_another_key_does_not_sign),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
