/* Key generation through OpenSSL: in the token, when asked for, and by nobody who did not ask. */
#include "prov.h"
#include "module_leaks.h"

#include "kn_custody.h"
#include "support/p11_raw.h"

#include <openssl/core_names.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

#define ONLY_US "provider=keynym"

typedef struct option {
    const char *name, *value;
} option;

/* As openssl genpkey does it. NULL: it failed. */
static EVP_PKEY *generate(const prov *p, const char *type, const char *query, const option *options)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(p->libctx, type, query);
    assert_non_null(ctx);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    bool set = true;
    for (; set && options->name; options++)
        set = EVP_PKEY_CTX_ctrl_str(ctx, options->name, options->value) > 0;
    if (set)
        (void)EVP_PKEY_keygen(ctx, &pkey);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static void expect_custody(EVP_PKEY *pkey, const char *uri, unsigned uses)
{
    kn_ctx *ctx = test_token_context(prov_token);
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    kn_custody facts;
    assert_int_equal(kn_alias_new(uri, NULL, &alias).code, KN_OK);
    assert_int_equal(kn_key_open(ctx, alias, &key).code, KN_OK);
    assert_int_equal(kn_key_inspect(key, &facts).code, KN_OK);
    assert_true(kn_custody_holds(&facts));
    assert_int_equal(kn_custody_uses(&facts, kn_key_public(key)->alg), uses);
    unsigned char *der = NULL, spki[KN_SPKI_MAX];
    size_t length;
    assert_int_equal(kn_public_to_spki(kn_key_public(key), spki, &length).code, KN_OK);
    assert_int_equal(i2d_PUBKEY(pkey, &der), length);
    assert_memory_equal(der, spki, length);
    OPENSSL_free(der);
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
}

/* What a program writes is an alias, and what it reads back is the key. */
static void expect_alias(const prov *p, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    long length = BIO_get_mem_data(bio, &text);
    char *pem = strndup(text, (size_t)length);
    assert_non_null(strstr(pem, "BEGIN KEYNYM ALIAS PRIVATE KEY"));
    EVP_PKEY *back = prov_read_key_text(p, pem);
    assert_non_null(back);
    assert_int_equal(EVP_PKEY_eq(pkey, back), 1);
    EVP_PKEY_free(back);
    free(pem);
    BIO_free(bio);
}

static void makes_every_kind(void **state)
{
    static const struct {
        const char *type;
        option option;
        unsigned uses;
    } rows[] = {
        {"EC", {"ec_paramgen_curve", "P-256"}, KN_USE_SIGN},
        {"EC", {"group", "P-384"}, KN_USE_SIGN},
        {"EC", {"group", "secp521r1"}, KN_USE_SIGN},
        {"RSA", {"rsa_keygen_bits", "2048"}, KN_USE_SIGN},
        {"RSA-PSS", {"rsa_keygen_bits", "2048"}, KN_USE_SIGN},
        {"ED25519", {NULL, NULL}, KN_USE_SIGN},
        {"ED448", {NULL, NULL}, KN_USE_SIGN},
        {"X25519", {NULL, NULL}, KN_USE_DERIVE},
        {"X448", {NULL, NULL}, KN_USE_DERIVE},
    };
    const prov *p = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char label[40], uri[512];
        (void)snprintf(label, sizeof label, "kind-%zu-%d", i, p->order);
        (void)snprintf(uri, sizeof uri, "%s", test_token_uri(prov_token, label));
        const option options[] = {{"uri", uri}, rows[i].option, {NULL, NULL}};
        EVP_PKEY *pkey = generate(p, rows[i].type, ONLY_US, options);
        if (!pkey)
            fail_msg("%s: %s", rows[i].type, prov_errors());
        assert_true(EVP_PKEY_is_a(pkey, rows[i].type));
        assert_string_equal(prov_of(pkey), "keynym");
        expect_custody(pkey, uri, rows[i].uses);
        expect_alias(p, pkey);
        EVP_PKEY_free(pkey);
    }
}

static void uses_are_as_asked(void **state)
{
    static const struct {
        const char *type, *usage;
        unsigned uses;
    } rows[] = {
        {"RSA", "sign,decrypt", KN_USE_SIGN | KN_USE_DECRYPT},
        {"RSA", "decrypt", KN_USE_DECRYPT},
        {"EC", "derive", KN_USE_DERIVE},
        {"EC", "sign,derive", KN_USE_SIGN | KN_USE_DERIVE},
    };
    const prov *p = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char label[40], uri[512];
        (void)snprintf(label, sizeof label, "uses-%zu-%d", i, p->order);
        (void)snprintf(uri, sizeof uri, "%s", test_token_uri(prov_token, label));
        const option options[] = {
            {"uri", uri}, {"usage", rows[i].usage}, {!strcmp(rows[i].type, "EC") ? "group" : NULL, "P-256"}, {NULL, NULL}};
        EVP_PKEY *pkey = generate(p, rows[i].type, ONLY_US, options);
        assert_non_null(pkey);
        expect_custody(pkey, uri, rows[i].uses);
        EVP_PKEY_free(pkey);
    }
}

/* RSA-PSS: the restrictions are in the key, in what is written of it, and hold. */
static void restrictions_of_pss(void **state)
{
    const prov *p = *state;
    char label[40];
    (void)snprintf(label, sizeof label, "pss-%d", p->order);
    const option options[] = {{"uri", test_token_uri(prov_token, label)},
                              {"rsa_pss_keygen_md", "sha384"},
                              {"rsa_pss_keygen_mgf1_md", "SHA384"},
                              {"rsa_pss_keygen_saltlen", "33"},
                              {NULL, NULL}};
    EVP_PKEY *pkey = generate(p, "RSA-PSS", ONLY_US, options);
    if (!pkey)
        fail_msg("%s", prov_errors());
    unsigned char *der = NULL;
    const unsigned char *at;
    kn_public public;
    int length = i2d_PUBKEY(pkey, &der);
    at = der;
    assert_int_equal(kn_public_from_spki(der, (size_t)length, &public).code, KN_OK);
    assert_true(public.pss);
    assert_string_equal(public.pss_digest->name, "SHA384");
    assert_string_equal(public.pss_mgf1->name, "SHA384");
    assert_int_equal(public.pss_salt_min, 33);
    EVP_PKEY *software = d2i_PUBKEY_ex(NULL, &at, length, p->libctx, "provider=default");
    unsigned char signature[512];
    size_t signature_length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, signature, &signature_length, (const unsigned char *)"x", 1), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY *const verifiers[] = {software, pkey};
    for (size_t i = 0; i < 2; i++) {
        ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, NULL, p->libctx, NULL, verifiers[i], NULL), 1);
        assert_int_equal(EVP_DigestVerify(ctx, signature, signature_length, (const unsigned char *)"x", 1), 1);
        EVP_MD_CTX_free(ctx);
    }
    ctx = EVP_MD_CTX_new();
    (void)(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL) == 1 &&
           EVP_DigestSign(ctx, signature, &signature_length, (const unsigned char *)"x", 1) == 1);
    prov_expect_error("this digest is not supported here", "SHA384", NULL);
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    EVP_PKEY_free(software);
    EVP_PKEY_free(pkey);
}

/* A name in parts, with what a URI reserves. The PIN source and the module are the configuration's elsewhere: here the
 * failure tells that the parts arrived as they are. */
static void a_name_in_parts(void **state)
{
    const option options[] = {{"token", "no such; token"}, {"object", "a/b?c"}, {"id", "0aFF"}, {NULL, NULL}};
    assert_null(generate(*state, "ED25519", ONLY_US, options));
    prov_expect_error("no token matches", "token=no%20such%3B%20token", "object=a%2Fb%3Fc", "id=%0A%FF", NULL);
}

static void what_cannot_be_is_named(void **state)
{
    char uri[512];
    (void)snprintf(uri, sizeof uri, "%s", test_token_uri(prov_token, "never"));
    const struct {
        const char *type;
        option options[4];
        const char *sentence, *detail;
    } rows[] = {
        {"EC", {{"group", "P-256"}}, "the key URI is malformed", "a new EC key is made in a token and needs a name there"},
        {"EC", {{"uri", uri}}, "the type of this key is not supported", "needs a curve"},
        {"EC", {{"group", "secp256k1"}}, "the type of this key is not supported", "group 'secp256k1'"},
        {"EC", {{"group", "ED25519"}}, "the type of this key is not supported", "group 'ED25519'"},
        {"EC", {{"group", "P-256"}, {"ec_param_enc", "explicit"}}, "the type of this key is not supported", "explicit"},
        {"RSA", {{"uri", uri}, {"rsa_keygen_bits", "1024"}}, "the type of this key is not supported", "1024 bits"},
        {"RSA", {{"uri", uri}, {"rsa_keygen_pubexp", "3"}}, "the type of this key is not supported", "65537"},
        {"RSA", {{"uri", uri}, {"rsa_keygen_primes", "3"}}, "the type of this key is not supported", "3 primes"},
        {"RSA", {{"uri", uri}, {"usage", "encrypt"}}, "the key does not allow this use", "usage 'encrypt'"},
        {"RSA", {{"uri", uri}, {"usage", "derive"}}, "the key does not allow this use", "RSA:2048"},
        {"RSA", {{"uri", uri}, {"object", "x"}}, "the key URI is malformed", "either uri, or token"},
        {"RSA", {{"uri", "pkcs11:token=keynym;object=x?pin-value=1234"}}, "the alias would hold a PIN", "pin-value"},
        {"RSA", {{"id", "0g"}}, "the key URI is malformed", "not hexadecimal"},
        {"RSA", {{"uri", "pkcs11:obj=x"}}, "the key URI has an attribute that is not known", "obj"},
        {"RSA-PSS", {{"uri", uri}, {"rsa_pss_keygen_md", "md5"}}, "this digest is not supported here", "md5"},
        {"RSA-PSS", {{"uri", uri}, {"rsa_pss_keygen_saltlen", "20"}}, "this digest is not supported here", "needs a digest"},
        {"X25519", {{"uri", uri}, {"usage", "sign"}}, "the key does not allow this use", "X25519"},
        {"ED25519", {{"uri", test_token_uri(prov_token, kn_algs[0].group)}}, "an object of that name exists already", "label"},
    };
    raw r = raw_open(prov_token);
    unsigned before = raw_count(&r, CKO_PRIVATE_KEY, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_null(generate(*state, rows[i].type, ONLY_US, rows[i].options));
        prov_expect_error(rows[i].sentence, rows[i].detail, NULL);
    }
    assert_int_equal(raw_count(&r, CKO_PRIVATE_KEY, NULL), before);
    raw_close(&r);
}

/* An ephemeral key: the default provider's, whatever the order, and nothing on the token. */
static void who_does_not_ask_gets_software(void **state)
{
    static const struct {
        const char *type;
        option option;
    } rows[] = {{"EC", {"group", "P-256"}}, {"X25519", {NULL, NULL}}, {"X448", {NULL, NULL}},     {"ED25519", {NULL, NULL}},
                {"RSA", {NULL, NULL}},      {"ED448", {NULL, NULL}},  {"RSA-PSS", {NULL, NULL}}};
    const prov *p = *state;
    raw r = raw_open(prov_token);
    unsigned before = raw_count(&r, CKO_PRIVATE_KEY, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const option options[] = {rows[i].option, {NULL, NULL}};
        EVP_PKEY *pkey = generate(p, rows[i].type, NULL, options);
        assert_non_null(pkey);
        assert_string_equal(prov_of(pkey), "default");
        EVP_PKEY_free(pkey);
    }
    const option options[] = {{"group", "P-256"}, {"uri", test_token_uri(prov_token, "never")}, {NULL, NULL}};
    assert_null(generate(p, "EC", NULL, options)); /* OpenSSL's own keys have no such option */
    (void)prov_errors();
    assert_int_equal(raw_count(&r, CKO_PRIVATE_KEY, NULL), before);
    raw_close(&r);
}

static int set_up(void **state)
{
    keep_modules();
    return prov_group_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(makes_every_kind),        PROV_TEST(uses_are_as_asked),
        PROV_TEST(restrictions_of_pss),     PROV_TEST(a_name_in_parts),
        PROV_TEST(what_cannot_be_is_named), PROV_TEST(who_does_not_ask_gets_software),
    };
    return cmocka_run_group_tests(tests, set_up, prov_group_teardown);
}
