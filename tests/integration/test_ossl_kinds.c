/* Keys of every kind as OpenSSL shows them, public keys alone, and signing in each way that OpenSSL has. */
#include "prov.h"
#include "module_leaks.h"

#include "kn_alias.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

/* The keys of this program's token: NAME is the label. */
static const struct kind {
    const char *name, *type;
    kn_key_spec spec; /* alg is looked up by algorithm */
    const char *algorithm;
} kinds[] = {
    {"ec", "EC", {.uses = KN_USE_SIGN}, "EC:P-256"},
    {"ec-agree", "EC", {.uses = KN_USE_DERIVE}, "EC:P-384"},
    {"rsa", "RSA", {.uses = KN_USE_SIGN | KN_USE_DECRYPT}, "RSA:2048"},
    {"pss", "RSA-PSS", {.pss = true}, "RSA:2048"},
    {"pss-sha384",
     "RSA-PSS",
     {.pss = true, .pss_digest = &kn_digests[KN_SHA384], .pss_mgf1 = &kn_digests[KN_SHA384], .pss_salt_min = 40},
     "RSA:2048"},
    {"ed25519", "ED25519", {.uses = 0}, "ED25519"},
    {"ed448", "ED448", {.uses = 0}, "ED448"},
    {"x25519", "X25519", {.uses = 0}, "X25519"},
    {"x448", "X448", {.uses = 0}, "X448"},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static EVP_PKEY *software[KINDS]; /* the public parts, of the default provider */

static bool signs(const struct kind *kind)
{
    return kind->spec.uses ? kind->spec.uses & KN_USE_SIGN : *kind->type != 'X';
}

static void is_like_a_software_key(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KINDS; i++) {
        EVP_PKEY *pkey = prov_alias(p, kinds[i].name), *twin = EVP_PKEY_dup(pkey);
        unsigned char *ours = NULL, *theirs = NULL;
        assert_true(EVP_PKEY_is_a(pkey, kinds[i].type));
        assert_int_equal(EVP_PKEY_get_bits(pkey), EVP_PKEY_get_bits(software[i]));
        assert_int_equal(EVP_PKEY_get_security_bits(pkey), EVP_PKEY_get_security_bits(software[i]));
        assert_int_equal(EVP_PKEY_get_size(pkey), EVP_PKEY_get_size(software[i]));
        assert_int_equal(EVP_PKEY_get_id(pkey), EVP_PKEY_get_id(software[i]));
        char digest[32] = "", their_digest[32] = "";
        assert_int_equal(EVP_PKEY_get_default_digest_name(pkey, digest, sizeof digest),
                         EVP_PKEY_get_default_digest_name(software[i], their_digest, sizeof their_digest));
        EVP_MD *md = *digest ? EVP_MD_fetch(p->libctx, digest, NULL) : NULL; /* by another of its names, perhaps */
        if (strcmp(kinds[i].type, "EC")) /* where ours fits the curve, and OpenSSL's is always SHA256 */
            assert_true(md ? EVP_MD_is_a(md, their_digest) : !strcmp(digest, their_digest));
        EVP_MD_free(md);
        int length = i2d_PUBKEY(pkey, &ours);
        assert_int_equal(length, i2d_PUBKEY(software[i], &theirs));
        assert_memory_equal(ours, theirs, (size_t)length);
        for (size_t k = 0; k < KINDS; k++) {
            assert_int_equal(EVP_PKEY_eq(pkey, software[k]) == 1, i == k);
            assert_int_equal(EVP_PKEY_eq(software[k], pkey) == 1, i == k);
            ERR_clear_error(); /* what OpenSSL says of keys of two types */
        }
        assert_int_equal(EVP_PKEY_eq(pkey, twin), 1);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
        assert_int_equal(EVP_PKEY_public_check(ctx), 1);
        EVP_PKEY_CTX_free(ctx);
        OPENSSL_free(ours);
        OPENSSL_free(theirs);
        EVP_PKEY_free(twin);
        EVP_PKEY_free(pkey);
    }
}

static EVP_PKEY *imported(const prov *p, const char *type, int selection, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(p->libctx, type, "provider=keynym");
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    (void)EVP_PKEY_fromdata(ctx, &pkey, selection, params);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static void a_private_key_is_neither_exported_nor_imported(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < KINDS; i++) {
        EVP_PKEY *pkey = prov_alias(p, kinds[i].name), *whole;
        OSSL_PARAM *params = NULL;
        assert_int_not_equal(EVP_PKEY_todata(pkey, EVP_PKEY_KEYPAIR, &params), 1);
        assert_null(params);
        assert_non_null(strstr(prov_errors(), "keynym|a private key does not leave its token: use it there"));
        whole = !strcmp(kinds[i].type, "EC") ? EVP_PKEY_Q_keygen(p->libctx, "provider=default", "EC", "P-256")
                                             : EVP_PKEY_Q_keygen(p->libctx, "provider=default", kinds[i].type, (size_t)2048);
        if (!strcmp(kinds[i].type, "RSA-PSS")) { /* which EVP_PKEY_Q_keygen has not */
            EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(p->libctx, "RSA-PSS", "provider=default");
            EVP_PKEY_free(whole);
            whole = NULL;
            assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
            assert_int_equal(EVP_PKEY_keygen(ctx, &whole), 1);
            EVP_PKEY_CTX_free(ctx);
            ERR_clear_error();
        }
        assert_int_equal(EVP_PKEY_todata(whole, EVP_PKEY_KEYPAIR, &params), 1);
        assert_null(imported(p, kinds[i].type, EVP_PKEY_KEYPAIR, params));
        prov_expect_error("the key does not allow this use", "not brought into a token", NULL);
        OSSL_PARAM_free(params);
        EVP_PKEY_free(whole);
        EVP_PKEY_free(pkey);
    }
}

typedef struct padding {
    const char *name; /* of the key */
    const char *digest;
    int rsa; /* 0: as the key has it */
} padding;

static const padding paddings[] = {
    {"ec", "SHA256", 0},
    {"rsa", "SHA256", RSA_PKCS1_PADDING},
    {"rsa", "SHA3-384", RSA_PKCS1_PADDING},
    {"rsa", "SHA512", RSA_PKCS1_PSS_PADDING},
    {"pss", "SHA256", 0},
    {"pss-sha384", "SHA384", 0},
};
#define PADDINGS (sizeof paddings / sizeof *paddings)

static EVP_PKEY *software_of(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (!strcmp(kinds[i].name, name))
            return software[i];
    return NULL;
}

static void set(EVP_PKEY_CTX *ctx, const padding *how)
{
    if (how->rsa)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, how->rsa), 1);
    if (how->rsa == RSA_PKCS1_PSS_PADDING)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
}

static int verifies(const prov *p, const padding *how, EVP_PKEY *pkey, const char *text, const unsigned char *signature,
                    size_t length)
{
    EVP_PKEY_CTX *pctx;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &pctx, how->digest, p->libctx, NULL, pkey, NULL), 1);
    set(pctx, how);
    int good = EVP_DigestVerify(ctx, signature, length, (const unsigned char *)text, strlen(text));
    EVP_MD_CTX_free(ctx);
    return good;
}

/* In software and with the same handle; and not for another text. */
static void expect_good(const prov *p, const padding *how, EVP_PKEY *pkey, const char *text,
                        const unsigned char *signature, size_t length)
{
    assert_int_equal(verifies(p, how, software_of(how->name), text, signature, length), 1);
    assert_int_equal(verifies(p, how, pkey, text, signature, length), 1);
    assert_int_equal(ERR_peek_error(), 0);
    assert_int_not_equal(verifies(p, how, pkey, "something else", signature, length), 1);
    prov_expect_error("the signature is wrong", NULL);
}

/* Begun once, copied on the way: both ends are good, each for its own text. */
static void a_stream_and_its_copy(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < PADDINGS; i++) {
        unsigned char one[KN_SIGNATURE_MAX], two[KN_SIGNATURE_MAX];
        size_t one_length = sizeof one, two_length = sizeof two;
        EVP_PKEY *pkey = prov_alias(p, paddings[i].name);
        EVP_PKEY_CTX *pctx;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, paddings[i].digest, p->libctx, NULL, pkey, NULL), 1);
        set(pctx, &paddings[i]);
        assert_int_equal(EVP_DigestSignUpdate(ctx, "a ", 2), 1);
        assert_int_equal(EVP_MD_CTX_copy_ex(copy, ctx), 1);
        assert_int_equal(EVP_DigestSignUpdate(ctx, "stream", 6), 1);
        assert_int_equal(EVP_DigestSignUpdate(copy, "copy", 4), 1);
        assert_int_equal(EVP_DigestSignFinal(ctx, one, &one_length), 1);
        assert_int_equal(EVP_DigestSignFinal(copy, two, &two_length), 1);
        expect_good(p, &paddings[i], pkey, "a stream", one, one_length);
        expect_good(p, &paddings[i], pkey, "a copy", two, two_length);
        EVP_MD_CTX_free(ctx);
        EVP_MD_CTX_free(copy);
        EVP_PKEY_free(pkey);
    }
}

static void a_digest_that_is_ready(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < PADDINGS; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE], signature[KN_SIGNATURE_MAX];
        unsigned digest_length;
        size_t length = sizeof signature;
        EVP_PKEY *pkey = prov_alias(p, paddings[i].name);
        EVP_MD *md = EVP_MD_fetch(p->libctx, paddings[i].digest, NULL);
        assert_int_equal(EVP_Digest("ready", 5, digest, &digest_length, md, NULL), 1);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, md), 1);
        set(ctx, &paddings[i]);
        assert_int_equal(EVP_PKEY_sign(ctx, signature, &length, digest, digest_length), 1);
        expect_good(p, &paddings[i], pkey, "ready", signature, length);
        length = sizeof signature;
        assert_int_not_equal(EVP_PKEY_sign(ctx, signature, &length, digest, digest_length - 1), 1);
        prov_expect_error("the input has a size", "digest of", NULL);
        EVP_PKEY_CTX_free(ctx);
        EVP_MD_free(md);
        EVP_PKEY_free(pkey);
    }
}

static void eddsa_signs_a_message_as_a_whole(void **state)
{
    static const char *const names[] = {"ed25519", "ed448"};
    const prov *p = *state;
    for (size_t i = 0; i < 2; i++) {
        const padding none = {names[i], NULL, 0};
        unsigned char signature[KN_SIGNATURE_MAX];
        size_t length = sizeof signature;
        EVP_PKEY *pkey = prov_alias(p, names[i]);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, p->libctx, NULL, pkey, NULL), 1);
        assert_int_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"whole", 5), 1);
        expect_good(p, &none, pkey, "whole", signature, length);
        assert_int_not_equal(EVP_DigestSignUpdate(ctx, "part", 4), 1);
        assert_string_not_equal(prov_errors(), "");
        EVP_MD_CTX_free(ctx);
        unsigned char *much = calloc(1, KN_MESSAGE_MAX + 1);
        ctx = EVP_MD_CTX_new();
        length = sizeof signature;
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, p->libctx, NULL, pkey, NULL), 1);
        assert_int_not_equal(EVP_DigestSign(ctx, signature, &length, much, KN_MESSAGE_MAX + 1), 1);
        prov_expect_error("the input has a size", "1048577", NULL);
        EVP_MD_CTX_free(ctx);
        free(much);
        EVP_PKEY_free(pkey);
    }
}

static void a_pss_key_does_nothing_else(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_alias(p, "pss-sha384");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
    assert_int_not_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), 1);
    prov_expect_error("the key does not allow this use", "PSS only", NULL);
    unsigned char digest[48] = {0}, signature[256];
    size_t length = sizeof signature;
    EVP_MD *md = EVP_MD_fetch(p->libctx, "SHA384", NULL);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, md), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 39), 1);
    assert_int_not_equal(EVP_PKEY_sign(ctx, signature, &length, digest, sizeof digest), 1);
    prov_expect_error("the input has a size", "salts of at least 40 bytes, not 39", NULL);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 40), 1);
    assert_int_equal(EVP_PKEY_sign(ctx, signature, &length, digest, sizeof digest), 1);
    EVP_PKEY_CTX_free(ctx);
    ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_not_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_string_not_equal(prov_errors(), "");
    EVP_PKEY_CTX_free(ctx);
    EVP_MD_free(md);
    EVP_PKEY_free(pkey);
}

/* A public key that is with us verifies; what needs the private part is refused by name. */
static void a_public_key_alone(void **state)
{
    static const struct {
        const char *name;
        int (*init)(EVP_PKEY_CTX *ctx);
    } rows[] = {{"ec", EVP_PKEY_sign_init},        {"rsa", EVP_PKEY_sign_init},       {"pss", EVP_PKEY_sign_init},
                {"rsa", EVP_PKEY_decrypt_init},    {"ec-agree", EVP_PKEY_derive_init}, {"x25519", EVP_PKEY_derive_init}};
    const prov *p = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EVP_PKEY *public = software_of(rows[i].name);
        OSSL_PARAM *params = NULL;
        assert_int_equal(EVP_PKEY_todata(public, EVP_PKEY_PUBLIC_KEY, &params), 1);
        EVP_PKEY *ours = imported(p, EVP_PKEY_get0_type_name(public), EVP_PKEY_PUBLIC_KEY, params);
        assert_non_null(ours);
        assert_string_equal(prov_of(ours), "keynym");
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, ours, NULL);
        assert_true(rows[i].init(ctx) <= 0);
        prov_expect_error("the key does not allow this use", "only the public part", NULL);
        EVP_PKEY_CTX_free(ctx);
        OSSL_PARAM_free(params);
        EVP_PKEY_free(ours);
    }
    for (size_t i = 0; i < PADDINGS; i++) {
        unsigned char signature[KN_SIGNATURE_MAX];
        size_t length = sizeof signature;
        EVP_PKEY *pkey = prov_alias(p, paddings[i].name);
        EVP_PKEY_CTX *pctx;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        OSSL_PARAM *params = NULL;
        assert_int_equal(EVP_DigestSignInit_ex(ctx, &pctx, paddings[i].digest, p->libctx, NULL, pkey, NULL), 1);
        set(pctx, &paddings[i]);
        assert_int_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"x", 1), 1);
        assert_int_equal(EVP_PKEY_todata(pkey, EVP_PKEY_PUBLIC_KEY, &params), 1);
        EVP_PKEY *public = imported(p, EVP_PKEY_get0_type_name(pkey), EVP_PKEY_PUBLIC_KEY, params);
        expect_good(p, &paddings[i], public, "x", signature, length);
        OSSL_PARAM_free(params);
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(public);
        EVP_PKEY_free(pkey);
    }
}

/* The alias says EC, the token has an RSA key there, and the other way round. */
static void another_type_than_the_alias_says(void **state)
{
    static const char *const pairs[][2] = {{"ec", "rsa"}, {"rsa", "ec"}, {"ed25519", "ec"}, {"ed448", "ed25519"}};
    const prov *p = *state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        unsigned char *der = NULL, signature[KN_SIGNATURE_MAX];
        int der_length = i2d_PUBKEY(software_of(pairs[i][0]), &der);
        kn_public public;
        kn_alias *alias = NULL;
        char *pem = NULL;
        size_t length = sizeof signature;
        assert_int_equal(kn_public_from_spki(der, (size_t)der_length, &public).code, KN_OK);
        assert_int_equal(kn_alias_new(test_token_uri(prov_token, pairs[i][1]), &public, &alias).code, KN_OK);
        assert_int_equal(kn_alias_to_pem(alias, &pem).code, KN_OK);
        EVP_PKEY *pkey = prov_read_key_text(p, pem);
        assert_non_null(pkey);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, p->libctx, NULL, pkey, NULL), 1);
        assert_int_not_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"x", 1), 1);
        prov_expect_error("another key stands where the alias points to", "token 'keynym'", NULL);
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(pkey);
        free(pem);
        kn_alias_free(&alias);
        OPENSSL_free(der);
    }
}

/* ---- TLS ---- */

/* Only this signature algorithm is accepted, so that it is the one that is used. */
static const struct {
    const char *key, *algorithms;
    bool tls12, tls13;
} tls_rows[] = {
    {"ec", "ecdsa_secp256r1_sha256", true, true},
    {"rsa", "rsa_pkcs1_sha256", true, false},
    {"rsa", "rsa_pkcs1_sha512", true, false},
    {"rsa", "rsa_pss_rsae_sha256", true, true},
    {"rsa", "rsa_pss_rsae_sha384", true, true},
    {"rsa", "rsa_pss_rsae_sha512", true, true},
    {"pss", "rsa_pss_pss_sha256", true, true},
    {"pss", "rsa_pss_pss_sha512", true, true},
    {"pss-sha384", "rsa_pss_pss_sha384", true, true},
    {"ed25519", "ed25519", true, true},
    {"ed448", "ed448", true, true},
};

static bool handshake(const prov *p, size_t row, int version, bool server_side, const char *algorithms)
{
    char file[64];
    (void)snprintf(file, sizeof file, "%s.crt", tls_rows[row].key);
    EVP_PKEY *pkey = prov_alias(p, tls_rows[row].key);
    X509 *cert = prov_certificate(p, test_token_path(prov_token, file));
    SSL_CTX *client = prov_ssl_ctx(server_side ? NULL : p->libctx, TLS_client_method(), version);
    SSL_CTX *server = prov_ssl_ctx(server_side ? p->libctx : NULL, TLS_server_method(), version);
    SSL_CTX *ours = server_side ? server : client, *theirs = server_side ? client : server;
    prov_use_software(theirs, &kn_algs[0]);
    assert_int_equal(SSL_CTX_use_certificate(ours, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ours, pkey), 1);
    assert_int_equal(SSL_CTX_check_private_key(ours), 1);
    if (server_side)
        assert_int_equal(SSL_CTX_set1_sigalgs_list(client, algorithms), 1);
    else
        assert_int_equal(SSL_CTX_set1_client_sigalgs_list(server, algorithms), 1);
    bool good = prov_handshake(client, server);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    X509_free(cert);
    EVP_PKEY_free(pkey);
    return good;
}

static void every_kind_in_tls(void **state)
{
    for (size_t i = 0; i < sizeof tls_rows / sizeof *tls_rows; i++)
        for (int side = 0; side < 2; side++) {
            char algorithms[96]; /* and what the CA and the other side sign with */
            (void)snprintf(algorithms, sizeof algorithms, "%s%s", tls_rows[i].algorithms,
                           i ? ":ecdsa_secp256r1_sha256" : "");
            if (tls_rows[i].tls12 && !handshake(*state, i, TLS1_2_VERSION, side, algorithms))
                fail_msg("TLS 1.2, %s, side %d: %s", tls_rows[i].algorithms, side, prov_errors());
            if (tls_rows[i].tls13 && !handshake(*state, i, TLS1_3_VERSION, side, algorithms))
                fail_msg("TLS 1.3, %s, side %d: %s", tls_rows[i].algorithms, side, prov_errors());
        }
}

/* Fails when the list of algorithms is not what decides. */
static void an_algorithm_of_another_key_is_not_used(void **state)
{
    for (size_t i = 1; i < sizeof tls_rows / sizeof *tls_rows; i++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            assert_false(handshake(*state, i, version, true, "ecdsa_secp256r1_sha256"));
            assert_string_not_equal(prov_errors(), "");
        }
    assert_false(handshake(*state, 8, TLS1_3_VERSION, true, "rsa_pss_pss_sha256:ecdsa_secp256r1_sha256")); /* restricted to SHA-384 */
    assert_string_not_equal(prov_errors(), "");
}

static int set_up(void **state)
{
    keep_modules();
    if (prov_group_setup(state))
        return -1;
    for (size_t i = 0; i < KINDS; i++) {
        kn_key_spec spec = kinds[i].spec;
        char file[64];
        spec.alg = kn_alg_by_name(kinds[i].algorithm);
        software[i] = prov_make(kinds[i].name, &spec);
        (void)snprintf(file, sizeof file, "%s.crt", kinds[i].name);
        if (signs(&kinds[i]))
            prov_issue(software[i], kinds[i].name, -60, 3600, test_token_path(prov_token, file));
    }
    return 0;
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < KINDS; i++)
        EVP_PKEY_free(software[i]);
    return prov_group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(is_like_a_software_key),
        PROV_TEST(a_private_key_is_neither_exported_nor_imported),
        PROV_TEST(a_stream_and_its_copy),
        PROV_TEST(a_digest_that_is_ready),
        PROV_TEST(eddsa_signs_a_message_as_a_whole),
        PROV_TEST(a_pss_key_does_nothing_else),
        PROV_TEST(a_public_key_alone),
        PROV_TEST(another_type_than_the_alias_says),
        PROV_TEST(every_kind_in_tls),
        PROV_TEST(an_algorithm_of_another_key_is_not_used),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
