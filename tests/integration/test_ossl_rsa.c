/* RSA and Ed25519 keys of a token through OpenSSL: signatures of each padding, salt and digest, verified in software. */
#include "prov.h"
#include "module_leaks.h"

#include "kn_key.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>

static test_token *token;
static OSSL_LIB_CTX *libctx;
static OSSL_PROVIDER *keynym, *standard;

static EVP_PKEY *load(const char *label)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    char *pem = NULL;
    kn_ctx *ctx = test_token_context(token);
    assert_int_equal(kn_alias_new(test_token_uri(token, label), NULL, &alias).code, KN_OK);
    assert_int_equal(kn_key_open(ctx, alias, &key).code, KN_OK);
    kn_alias_free(&alias);
    assert_int_equal(kn_alias_complete(ctx, test_token_uri(token, label), kn_key_public(key), &alias).code, KN_OK);
    assert_int_equal(kn_alias_to_pem(alias, &pem).code, KN_OK);
    kn_alias_free(&alias);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);
    BIO_free(bio);
    free(pem);
    assert_non_null(pkey);
    return pkey;
}

/* The public half as a key of the default provider. */
static EVP_PKEY *software(EVP_PKEY *pkey)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(pkey, &der);
    const unsigned char *end = der;
    assert_true(length > 0);
    EVP_PKEY *public = d2i_PUBKEY_ex(NULL, &end, length, libctx, NULL);
    OPENSSL_free(der);
    assert_non_null(public);
    return public;
}

typedef struct how {
    const char *digest, *mgf1;
    int padding, salt;
} how;

static void set(EVP_PKEY_CTX *ctx, const how *h)
{
    if (!h->padding)
        return;
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, h->padding), 1);
    if (h->padding != RSA_PKCS1_PSS_PADDING)
        return;
    assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, h->salt), 1);
    if (h->mgf1)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, h->mgf1, NULL), 1);
}

static int verify(EVP_PKEY *pkey, const how *h, const unsigned char *signature, size_t length, const char *text)
{
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &pctx, h->digest, libctx, NULL, pkey, NULL), 1);
    set(pctx, h);
    int good = EVP_DigestVerify(ctx, signature, length, (const unsigned char *)text, strlen(text));
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

static size_t sign(EVP_PKEY *pkey, const how *h, const char *text, unsigned char *signature, size_t room)
{
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t length = room;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, h->digest, libctx, NULL, pkey, NULL), 1);
    set(pctx, h);
    assert_int_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    assert_int_equal(ERR_peek_error(), 0);
    return length;
}

static void check(EVP_PKEY *pkey, const how *h)
{
    unsigned char signature[KN_SIGNATURE_MAX];
    EVP_PKEY *public = software(pkey);
    size_t length = sign(pkey, h, "a message", signature, sizeof signature);
    assert_int_equal(verify(public, h, signature, length, "a message"), 1);
    assert_int_equal(verify(pkey, h, signature, length, "a message"), 1);
    assert_int_not_equal(verify(pkey, h, signature, length, "another message"), 1);
    signature[length / 2] ^= 1;
    assert_int_not_equal(verify(pkey, h, signature, length, "a message"), 1);
    EVP_PKEY_free(public);
}

static void signs_with_each_padding(void **state)
{
    static const how rows[] = {
        {"SHA1", NULL, RSA_PKCS1_PADDING, 0},       {"SHA224", NULL, RSA_PKCS1_PADDING, 0},
        {"SHA3-256", NULL, RSA_PKCS1_PADDING, 0},   {"SHA512-256", NULL, RSA_PKCS1_PADDING, 0},
        {"SHA256", NULL, RSA_PKCS1_PADDING, 0},     {"SHA384", NULL, RSA_PKCS1_PADDING, 0},
        {"SHA512", NULL, RSA_PKCS1_PADDING, 0},     {"SHA256", NULL, 0, 0},
        {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, 0}, {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, 20},
        {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST},
        {"SHA384", NULL, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST},
        {"SHA512", NULL, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST},
        {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_MAX},
        {"SHA256", "SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_AUTO},
    };
    (void)state;
    for (size_t k = 0; k < kn_alg_count; k++) {
        if (kn_algs[k].type != KN_KEY_RSA)
            continue;
        EVP_PKEY *pkey = load(kn_algs[k].name);
        assert_true(EVP_PKEY_is_a(pkey, "RSA"));
        assert_int_equal(EVP_PKEY_get_bits(pkey), kn_algs[k].key_bits);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            check(pkey, &rows[i]);
        EVP_PKEY_free(pkey);
    }
}

static void a_salt_is_honoured(void **state)
{
    static const how signed_with = {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, 20};
    static const how wrong = {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, 21};
    unsigned char signature[KN_SIGNATURE_MAX];
    EVP_PKEY *pkey = load("RSA:2048"), *public = software(pkey);
    (void)state;
    size_t length = sign(pkey, &signed_with, "x", signature, sizeof signature);
    assert_int_not_equal(verify(public, &wrong, signature, length, "x"), 1);
    assert_int_not_equal(verify(pkey, &wrong, signature, length, "x"), 1);
    EVP_PKEY_free(public);
    EVP_PKEY_free(pkey);
}

/* What is refused: a named error, never an empty queue. */
static void what_is_not_offered_is_refused(void **state)
{
    static const struct {
        const char *digest;
        how h;
    } rows[] = {
        {"BLAKE2s256", {"BLAKE2s256", NULL, RSA_PKCS1_PADDING, 0}},
        {"SHA3-256", {"SHA3-256", NULL, RSA_PKCS1_PSS_PADDING, 32}}, /* SoftHSM has not that mechanism */
        {"SHA256", {"SHA256", NULL, RSA_PKCS1_PSS_PADDING, 300}},
    };
    unsigned char signature[KN_SIGNATURE_MAX];
    EVP_PKEY *pkey = load("RSA:2048");
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EVP_PKEY_CTX *pctx = NULL;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        size_t length = sizeof signature;
        assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, rows[i].digest, libctx, NULL, pkey, NULL), 1);
        set(pctx, &rows[i].h);
        assert_int_not_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"x", 1), 1);
        assert_int_not_equal(ERR_peek_error(), 0);
        assert_string_equal(ERR_lib_error_string(ERR_peek_error()), "keynym");
        ERR_clear_error();
        EVP_MD_CTX_free(ctx);
    }
    EVP_PKEY_free(pkey);
}

static void requests_are_self_signed(void **state)
{
    static const struct {
        const char *key, *digest;
        int padding;
    } rows[] = {{"RSA:2048", "SHA256", 0},     {"RSA:2048", "SHA3-256", 0}, {"RSA:2048", "SHA3-512", 0},
                {"RSA:2048", "SHA512-256", 0}, {"ED448", NULL, 0},          {"RSA:3072", "SHA384", RSA_PKCS1_PSS_PADDING}, {"ED25519", NULL, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EVP_PKEY *pkey = load(rows[i].key), *public = software(pkey);
        EVP_PKEY_CTX *pctx = NULL;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        X509_REQ *req = X509_REQ_new_ex(libctx, NULL);
        const how h = {rows[i].digest, NULL, rows[i].padding, RSA_PSS_SALTLEN_DIGEST};
        assert_int_equal(X509_REQ_set_version(req, X509_REQ_VERSION_1), 1);
        assert_int_equal(X509_REQ_set_pubkey(req, pkey), 1);
        assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, rows[i].digest, libctx, NULL, pkey, NULL), 1);
        set(pctx, &h);
        assert_true(X509_REQ_sign_ctx(req, ctx) > 0);
        int nid = X509_REQ_get_signature_nid(req);
        assert_int_not_equal(nid, NID_undef);
        if (nid != NID_sha512_256WithRSAEncryption) /* OpenSSL to 3.5 writes that, and cannot read it, not even its own */
            assert_int_equal(X509_REQ_verify_ex(req, public, libctx, NULL), 1);
        else
            assert_string_equal(rows[i].digest, "SHA512-256");
        X509_REQ_free(req);
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(public);
        EVP_PKEY_free(pkey);
    }
}

static void signs_with_eddsa(void **state)
{
    static const how none = {NULL, NULL, 0, 0};
    static const char *const names[] = {"ED25519", "ED448"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *pkey = load(names[i]);
        assert_true(EVP_PKEY_is_a(pkey, names[i]));
        check(pkey, &none);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_not_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, pkey, NULL), 1);
        assert_string_equal(ERR_lib_error_string(ERR_peek_error()), "keynym");
        ERR_clear_error();
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(pkey);
    }
}

static void the_private_part_is_not_exported(void **state)
{
    static const char *const names[] = {"RSA:2048", "ED25519"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *pkey = load(names[i]);
        OSSL_PARAM *params = NULL;
        assert_int_not_equal(EVP_PKEY_todata(pkey, EVP_PKEY_KEYPAIR, &params), 1);
        assert_null(params);
        ERR_clear_error();
        EVP_PKEY_free(pkey);
    }
}

static int set_up(void **state)
{
    (void)state;
    keep_modules();
    token = test_token_new("rsa");
    kn_ctx *ctx = test_token_context(token);
    for (size_t i = 0; i < kn_alg_count; i++) {
        kn_key *key = NULL;
        if (kn_algs[i].type == KN_KEY_EC)
            continue;
        if (kn_failed(kn_key_generate(ctx, test_token_uri(token, kn_algs[i].name), &kn_algs[i], &key)))
            fail_msg("%s: %s", kn_algs[i].name, kn_err_detail());
        kn_key_unref(&key);
    }
    kn_ctx_unref(&ctx);
    libctx = OSSL_LIB_CTX_new();
    assert_int_equal(OSSL_PROVIDER_set_default_search_path(libctx, KEYNYM_MODULE_DIR), 1);
    keynym = OSSL_PROVIDER_load(libctx, "keynym");
    standard = OSSL_PROVIDER_load(libctx, "default");
    return keynym && standard ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    (void)OSSL_PROVIDER_unload(keynym);
    (void)OSSL_PROVIDER_unload(standard);
    OSSL_LIB_CTX_free(libctx);
    test_token_free(&token);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_with_each_padding),        cmocka_unit_test(a_salt_is_honoured),
        cmocka_unit_test(what_is_not_offered_is_refused), cmocka_unit_test(requests_are_self_signed),
        cmocka_unit_test(signs_with_eddsa),             cmocka_unit_test(the_private_part_is_not_exported),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
