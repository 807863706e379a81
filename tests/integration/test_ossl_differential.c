/* A program that uses other keys: the same with keynym, in both load orders, as without it. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EC_KEY and RSA objects: programs still use them */
#include "support/prov.h"

#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

static const unsigned char text[] = "signed by software";

static int setup_without(void **state)
{
    static prov p;
    prov_open(&p, PROV_WITHOUT_KEYNYM);
    *state = &p;
    return 0;
}

/* Three rows: the same assertions must also hold where keynym is not loaded. */
#define DIFFERENTIAL_TEST(test)                                                                              \
    PROV_TEST(test),                                                                                         \
    {                                                                                                        \
#test ", without keynym", test, setup_without, prov_teardown, NULL                                   \
    }

static void expect_signs(const prov *p, EVP_PKEY *pkey, const char *digest)
{
    unsigned char signature[512];
    size_t length = sizeof signature;
    EVP_PKEY_CTX *inner = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &inner, digest, p->libctx, NULL, pkey, NULL), 1);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_CTX_get0_provider(inner)), "default");
    assert_int_equal(EVP_DigestSign(ctx, signature, &length, text, sizeof text), 1);
    assert_int_equal(EVP_MD_CTX_reset(ctx), 1);
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &inner, digest, p->libctx, NULL, pkey, NULL), 1);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_CTX_get0_provider(inner)), "default");
    assert_int_equal(EVP_DigestVerify(ctx, signature, length, text, sizeof text), 1);
    EVP_MD_CTX_free(ctx);
}

static void fetches_go_to_the_default_provider(void **state)
{
    const prov *p = *state;
    static const char *const types[] = {"EC",  "id-ecPublicKey", "1.2.840.10045.2.1",
                                        "RSA", "ED25519",        "X25519"};
    for (int round = 0; round < 2; round++) { /* the second finds what the first has put in order */
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(p->libctx, types[i], NULL);
            assert_non_null(keymgmt);
            assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(keymgmt)), "default");
            EVP_KEYMGMT_free(keymgmt);
        }
        EVP_SIGNATURE *ecdsa = EVP_SIGNATURE_fetch(p->libctx, "ECDSA", NULL);
        assert_string_equal(OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(ecdsa)), "default");
        EVP_SIGNATURE_free(ecdsa);
    }
}

/* The order must hold whichever is fetched first. */
static void a_signature_fetched_first_is_the_default_providers(void **state)
{
    const prov *p = *state;
    EVP_SIGNATURE *ecdsa = EVP_SIGNATURE_fetch(p->libctx, "ECDSA", NULL);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(ecdsa)), "default");
    EVP_SIGNATURE_free(ecdsa);
}

static void ours_first_then_theirs(void **state)
{
    const prov *p = *state;
    if (p->order == PROV_WITHOUT_KEYNYM)
        return;
    EVP_PKEY *ours = prov_read_key(p, prov_file(&kn_algs[0], "alias.pem"));
    assert_string_equal(prov_of(ours), "keynym");
    fetches_go_to_the_default_provider(state);
    EVP_PKEY_free(ours);
}

static void made_keys_are_the_default_providers(void **state)
{
    const prov *p = *state;
    EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256"),
                        EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-521"),
                        EVP_PKEY_Q_keygen(p->libctx, NULL, "RSA", (size_t)2048),
                        EVP_PKEY_Q_keygen(p->libctx, NULL, "ED25519")};
    static const char *const digests[] = {"SHA256", "SHA512", "SHA256", NULL};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(prov_of(keys[i]), "default");
        expect_signs(p, keys[i], digests[i]);
        EVP_PKEY *copy = EVP_PKEY_dup(keys[i]);
        assert_int_equal(EVP_PKEY_eq(copy, keys[i]), 1);
        assert_string_equal(prov_of(copy), "default");
        EVP_PKEY_free(copy);
        EVP_PKEY_free(keys[i]);
    }
}

static void keys_from_data_are_the_default_providers(void **state)
{
    const prov *p = *state;
    EVP_PKEY *made = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-384"), *back = NULL;
    OSSL_PARAM *params = NULL;
    assert_int_equal(EVP_PKEY_todata(made, EVP_PKEY_KEYPAIR, &params), 1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(p->libctx, "EC", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &back, EVP_PKEY_KEYPAIR, params), 1);
    assert_string_equal(prov_of(back), "default");
    assert_int_equal(EVP_PKEY_eq(made, back), 1);
    expect_signs(p, back, "SHA384");
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(made);
    EVP_PKEY_free(back);
}

static void key_agreement_works(void **state)
{
    const prov *p = *state;
    static const char *const groups[] = {"P-256", "P-384", "P-521"};
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *a = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", groups[i]);
        EVP_PKEY *b = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", groups[i]);
        unsigned char ab[80], ba[80];
        size_t ab_length = sizeof ab, ba_length = sizeof ba;
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, a, NULL);
        assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
        assert_int_equal(EVP_PKEY_derive_set_peer(ctx, b), 1);
        assert_int_equal(EVP_PKEY_derive(ctx, ab, &ab_length), 1);
        EVP_PKEY_CTX_free(ctx);
        ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, b, NULL);
        assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
        assert_int_equal(EVP_PKEY_derive_set_peer(ctx, a), 1);
        assert_int_equal(EVP_PKEY_derive(ctx, ba, &ba_length), 1);
        assert_int_equal(ab_length, ba_length);
        assert_memory_equal(ab, ba, ab_length);
        EVP_PKEY_CTX_free(ctx);
        EVP_PKEY_free(a);
        EVP_PKEY_free(b);
    }
}

/* TLS key shares: each group alone, so that it must be the one. */
static void every_group_of_tls_is_there(void **state)
{
    const prov *p = *state;
    static const char *const groups[] = {"P-256", "P-384", "P-521", "X25519", "X448"};
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
            SSL_CTX *client = prov_ssl_ctx(p->libctx, TLS_client_method(), versions[v]);
            SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), versions[v]);
            prov_use_software(client, &kn_algs[0]);
            prov_use_software(server, &kn_algs[1]);
            /* In TLS 1.2 the curves of the certificates must be allowed, too; the first is the one that is
             * used. */
            char list[64];
            (void)snprintf(list, sizeof list, "%s%s", groups[i],
                           versions[v] == TLS1_2_VERSION ? ":P-256:P-384" : "");
            if (versions[v] == TLS1_2_VERSION && (i == 0 || i == 1))
                (void)snprintf(list, sizeof list, "%s", i == 0 ? "P-256:P-384" : "P-384:P-256");
            assert_int_equal(SSL_CTX_set1_groups_list(client, list), 1);
            assert_int_equal(SSL_CTX_set1_groups_list(server, list), 1);
            assert_true(prov_handshake(client, server));
            SSL_CTX_free(client);
            SSL_CTX_free(server);
        }
}

static void software_certificates_verify(void **state)
{
    const prov *p = *state;
    X509_STORE *trusted = X509_STORE_new();
    assert_int_equal(X509_STORE_load_file_ex(trusted, test_token_path(prov_token, "ca.crt"), p->libctx, NULL),
                     1);
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        X509 *cert = prov_certificate(p, prov_file(&kn_algs[i], "crt"));
        X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(p->libctx, NULL);
        assert_string_equal(prov_of(X509_get0_pubkey(cert)), "default");
        assert_int_equal(X509_STORE_CTX_init(ctx, trusted, cert, NULL), 1);
        assert_int_equal(X509_verify_cert(ctx), 1);
        X509_STORE_CTX_free(ctx);
        X509_free(cert);
    }
    X509_STORE_free(trusted);
}

static void legacy_keys_sign(void **state)
{
    const prov *p = *state;
    EC_KEY *ec = EC_KEY_new_by_curve_name_ex(p->libctx, NULL, NID_X9_62_prime256v1);
    assert_int_equal(EC_KEY_generate_key(ec), 1);
    EVP_PKEY *pkey = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_set1_EC_KEY(pkey, ec), 1);
    expect_signs(p, pkey, "SHA256");
    EVP_PKEY_free(pkey);
    EC_KEY_free(ec);
    RSA *rsa = RSA_new();
    BIGNUM *e = BN_new();
    assert_int_equal(BN_set_word(e, RSA_F4), 1);
    assert_int_equal(RSA_generate_key_ex(rsa, 2048, e, NULL), 1);
    pkey = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_set1_RSA(pkey, rsa), 1);
    expect_signs(p, pkey, "SHA256");
    BN_free(e);
    EVP_PKEY_free(pkey);
    RSA_free(rsa);
}

static void a_made_key_can_become_a_legacy_one(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256");
    EC_KEY *ec = EVP_PKEY_get1_EC_KEY(pkey);
    assert_non_null(ec);
    assert_non_null(EC_KEY_get0_private_key(ec));
    EC_KEY_free(ec);
    EVP_PKEY_free(pkey);
}

/* ---- the old interfaces: what they give, byte for byte, in all three contexts ---- */

/* One key of each type, as PEM. */
static const struct {
    const char *type, *group;
    size_t bits;
} kinds[] = {
    {"EC", "P-256", 0}, {"EC", "secp256k1", 0}, {"RSA", NULL, 2048}, {"RSA-PSS", NULL, 2048}, {"ED25519", NULL, 0},
    {"ED448", NULL, 0}, {"X25519", NULL, 0},    {"X448", NULL, 0},   {"DH", "ffdhe2048", 0},
};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static char *pem_of_kind(size_t i)
{
    static char *pem[KIND_COUNT];
    if (pem[i])
        return pem[i];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kinds[i].type, NULL);
    EVP_PKEY *pkey = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    if (kinds[i].group)
        assert_int_equal(EVP_PKEY_CTX_set_group_name(ctx, kinds[i].group), 1);
    if (kinds[i].bits)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)kinds[i].bits), 1);
    assert_int_equal(EVP_PKEY_generate(ctx, &pkey), 1);
    BIO *out = BIO_new(BIO_s_mem());
    char *written;
    assert_int_equal(PEM_write_bio_PrivateKey(out, pkey, NULL, NULL, 0, NULL, NULL), 1);
    long length = BIO_get_mem_data(out, &written);
    pem[i] = strndup(written, (size_t)length);
    BIO_free(out);
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    return pem[i];
}

static void note_der(BIO *trace, const char *what, int length, unsigned char *der)
{
    (void)BIO_printf(trace, "%s %d:", what, length);
    for (int i = 0; i < length; i++)
        (void)BIO_printf(trace, "%02x", der[i]);
    (void)BIO_printf(trace, "\n");
    OPENSSL_free(der);
}

#define NOTE_DER(trace, function, object)                                                                              \
    do {                                                                                                               \
        unsigned char *der_ = NULL;                                                                                    \
        int length_ = (object) ? function((object), &der_) : -2;                                                       \
        note_der(trace, #function, length_, der_);                                                                     \
    } while (0)

static void old_interfaces_of(const prov *p, size_t i, BIO *trace)
{
    EVP_PKEY *pkey = prov_read_key_text(p, pem_of_kind(i));
    (void)BIO_printf(trace, "== %s: %s id %d bits %d\n", kinds[i].type, prov_of(pkey), EVP_PKEY_get_id(pkey),
                     EVP_PKEY_get_bits(pkey));
    NOTE_DER(trace, i2d_PrivateKey, pkey);
    NOTE_DER(trace, i2d_PublicKey, pkey);
    NOTE_DER(trace, i2d_PUBKEY, pkey);
    RSA *rsa = EVP_PKEY_get1_RSA(pkey);
    EC_KEY *ec = EVP_PKEY_get1_EC_KEY(pkey);
    DH *dh = EVP_PKEY_get1_DH(pkey);
    DSA *dsa = EVP_PKEY_get1_DSA(pkey);
    NOTE_DER(trace, i2d_RSAPrivateKey, rsa);
    NOTE_DER(trace, i2d_RSA_PUBKEY, rsa);
    NOTE_DER(trace, i2d_ECPrivateKey, ec);
    NOTE_DER(trace, i2d_EC_PUBKEY, ec);
    NOTE_DER(trace, i2d_DHparams, dh);
    NOTE_DER(trace, i2d_DSAPrivateKey, dsa);
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(pkey);
    NOTE_DER(trace, i2d_PKCS8_PRIV_KEY_INFO, p8);
    EVP_PKEY *back = p8 ? EVP_PKCS82PKEY_ex(p8, p->libctx, NULL) : NULL;
    (void)BIO_printf(trace, "back %s %d\n", back ? prov_of(back) : "-", back ? EVP_PKEY_eq(back, pkey) : -3);
    BIO *pem = BIO_new(BIO_s_mem());
    char *written = NULL;
    (void)PEM_write_bio_PrivateKey_traditional(pem, pkey, NULL, NULL, 0, NULL, NULL);
    (void)EVP_PKEY_print_private(pem, pkey, 0, NULL);
    (void)EVP_PKEY_print_public(pem, pkey, 0, NULL);
    (void)EVP_PKEY_print_params(pem, pkey, 0, NULL);
    long length = BIO_get_mem_data(pem, &written);
    (void)BIO_write(trace, written, (int)length);
    BIO_free(pem);
    EVP_PKEY_free(back);
    PKCS8_PRIV_KEY_INFO_free(p8);
    RSA_free(rsa);
    EC_KEY_free(ec);
    DH_free(dh);
    DSA_free(dsa);
    EVP_PKEY_free(pkey);
}

static void old_interfaces(const prov *p, BIO *trace)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        old_interfaces_of(p, i, trace);
        (void)BIO_printf(trace, "errors:\n%s\n", prov_errors());
    }
}

/* ---- failures: what is on the error queue ---- */

static void failures(const prov *p, BIO *trace)
{
    static const char *const texts[] = {
        "no PEM at all\n", "", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nMC4C",
        "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        BIO *in = BIO_new_mem_buf(texts[i], -1);
        assert_null(PEM_read_bio_PrivateKey_ex(in, NULL, NULL, NULL, p->libctx, NULL));
        (void)BIO_printf(trace, "private %zu\n%s\n", i, prov_errors());
        BIO_free(in);
        in = BIO_new_mem_buf(texts[i], -1);
        assert_null(PEM_read_bio_PUBKEY_ex(in, NULL, NULL, NULL, p->libctx, NULL));
        (void)BIO_printf(trace, "public %zu\n%s\n", i, prov_errors());
        BIO_free(in);
        const unsigned char *der = (const unsigned char *)texts[i];
        assert_null(d2i_AutoPrivateKey_ex(NULL, &der, (long)strlen(texts[i]), p->libctx, NULL));
        (void)BIO_printf(trace, "der %zu\n%s\n", i, prov_errors());
    }
    EVP_PKEY *ec = prov_read_key_text(p, pem_of_kind(0)), *rsa = prov_read_key_text(p, pem_of_kind(2)),
             *x25519 = prov_read_key_text(p, pem_of_kind(6));
    unsigned char out[512];
    size_t length = sizeof out;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    (void)BIO_printf(trace, "sign %d\n", EVP_DigestSignInit_ex(md, NULL, "SHA256", p->libctx, NULL, x25519, NULL));
    (void)BIO_printf(trace, "%s\n", prov_errors());
    (void)BIO_printf(trace, "digest %d\n", EVP_DigestSignInit_ex(md, NULL, "NOSUCH", p->libctx, NULL, ec, NULL));
    (void)BIO_printf(trace, "%s\n", prov_errors());
    EVP_MD_CTX_free(md);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, rsa, NULL);
    (void)BIO_printf(trace, "derive %d\n%s\n", EVP_PKEY_derive_init(ctx), prov_errors());
    (void)BIO_printf(trace, "verify %d\n", EVP_PKEY_verify_init(ctx));
    (void)BIO_printf(trace, "wrong %d\n", EVP_PKEY_verify(ctx, text, sizeof text, text, sizeof text));
    (void)BIO_printf(trace, "%s\n", prov_errors());
    (void)BIO_printf(trace, "decrypt %d %d\n", EVP_PKEY_decrypt_init(ctx), EVP_PKEY_decrypt(ctx, out, &length, text, sizeof text) > 0);
    (void)BIO_printf(trace, "%s\n", prov_errors());
    EVP_PKEY_CTX_free(ctx);
    (void)BIO_printf(trace, "eq %d %d\n%s\n", EVP_PKEY_eq(ec, rsa), EVP_PKEY_eq(ec, x25519), prov_errors());
    static const char *const names[] = {"NOSUCH", "EC2", "RSA3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        EVP_PKEY_CTX *none = EVP_PKEY_CTX_new_from_name(p->libctx, names[i], NULL);
        (void)BIO_printf(trace, "%s %d\n%s\n", names[i], none != NULL, prov_errors());
        EVP_PKEY_CTX_free(none);
    }
    EVP_PKEY_free(ec);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(x25519);
}

/* What @work writes is the same in a context without keynym and in two with it. */
static void expect_same_trace(void (*work)(const prov *p, BIO *trace))
{
    static const prov_order orders[] = {PROV_WITHOUT_KEYNYM, PROV_DEFAULT_FIRST, PROV_KEYNYM_FIRST};
    char *expected = NULL;
    for (size_t i = 0; i < 3; i++) {
        prov p;
        char *written = NULL;
        prov_open(&p, orders[i]);
        BIO *trace = BIO_new(BIO_s_mem());
        work(&p, trace);
        (void)BIO_write(trace, "", 1);
        (void)BIO_get_mem_data(trace, &written);
        if (i == 0)
            expected = strdup(written);
        assert_string_equal(written, expected);
        assert_true(strlen(written) > 1000);
        BIO_free(trace);
        prov_close(&p);
    }
    free(expected);
}

static void old_interfaces_give_the_same(void **state)
{
    (void)state;
    expect_same_trace(old_interfaces);
}

static void failures_say_the_same(void **state)
{
    (void)state;
    expect_same_trace(failures);
}

static void digests_ciphers_and_random_are_the_default_providers(void **state)
{
    const prov *p = *state;
    static const unsigned char sha256_of_abc[] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
        0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    unsigned char digest[EVP_MAX_MD_SIZE], random[2][32] = {{0}};
    size_t length;
    assert_int_equal(EVP_Q_digest(p->libctx, "SHA256", NULL, "abc", 3, digest, &length), 1);
    assert_memory_equal(digest, sha256_of_abc, sizeof sha256_of_abc);
    assert_ptr_equal(EVP_get_digestbyname("SHA256"), EVP_sha256());
    EVP_MD *md = EVP_MD_fetch(p->libctx, "SHA256", NULL);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_MD_get0_provider(md)), "default");
    EVP_MD_free(md);
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(p->libctx, "AES-256-GCM", NULL);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(cipher)), "default");
    EVP_CIPHER_free(cipher);
    EVP_RAND *rand = EVP_RAND_fetch(p->libctx, "CTR-DRBG", NULL);
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_RAND_get0_provider(rand)), "default");
    EVP_RAND_free(rand);
    for (int i = 0; i < 2; i++)
        assert_int_equal(RAND_bytes_ex(p->libctx, random[i], sizeof random[i], 0), 1);
    assert_memory_not_equal(random[0], random[1], sizeof random[0]);
}

static void count_names(const char *name, void *arg)
{
    (void)name;
    ++*(int *)arg;
}

static void count_keynym(EVP_MD *md, void *arg)
{
    if (!strcmp(OSSL_PROVIDER_get0_name(EVP_MD_get0_provider(md)), "keynym"))
        (void)EVP_MD_names_do_all(md, count_names, arg);
}

static void keynym_offers_no_digest(void **state)
{
    const prov *p = *state;
    int count = 0;
    EVP_MD_do_all_provided(p->libctx, count_keynym, &count);
    assert_int_equal(count, 0);
}

/* The default provider once more by a property query, as FIPS-minded programs ask. */
static void property_queries_choose(void **state)
{
    const prov *p = *state;
    EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(p->libctx, "EC", "provider=default");
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(keymgmt)), "default");
    EVP_KEYMGMT_free(keymgmt);
    keymgmt = EVP_KEYMGMT_fetch(p->libctx, "EC", "provider=keynym");
    assert_int_equal(keymgmt != NULL, p->order != PROV_WITHOUT_KEYNYM);
    EVP_KEYMGMT_free(keymgmt);
    prov_errors();
}

/* OpenSSL 3.0 keeps what it found for one provider, and finds it again when a program asks for any. */
static void use_of_our_keys_leaves_key_management_to_others(void **state)
{
    static const char *const names[] = {"EC", "RSA", "RSA-PSS", "ED25519", "ED448", "X25519", "X448"};
    for (int order = 0; order < 2; order++) {
        prov p;
        unsigned char signature[256];
        size_t length = sizeof signature;
        (void)state;
        prov_open(&p, order ? PROV_KEYNYM_FIRST : PROV_DEFAULT_FIRST);
        EVP_PKEY *pkey = prov_read_key(&p, prov_file(&kn_algs[0], "alias.pem"));
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p.libctx, NULL, pkey, NULL), 1);
        assert_int_equal(EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4), 1);
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new_from_pkey(p.libctx, pkey, NULL);
        (void)EVP_PKEY_derive_init(derive);
        ERR_clear_error();
        EVP_PKEY_CTX_free(derive);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            EVP_KEYMGMT *keymgmt = EVP_KEYMGMT_fetch(p.libctx, names[i], NULL);
            assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(keymgmt)), "default");
            EVP_KEYMGMT_free(keymgmt);
        }
        EVP_PKEY_free(pkey);
        prov_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_of_our_keys_leaves_key_management_to_others),
        DIFFERENTIAL_TEST(fetches_go_to_the_default_provider),
        DIFFERENTIAL_TEST(a_signature_fetched_first_is_the_default_providers),
        DIFFERENTIAL_TEST(ours_first_then_theirs),
        DIFFERENTIAL_TEST(made_keys_are_the_default_providers),
        DIFFERENTIAL_TEST(keys_from_data_are_the_default_providers),
        DIFFERENTIAL_TEST(key_agreement_works),
        DIFFERENTIAL_TEST(every_group_of_tls_is_there),
        DIFFERENTIAL_TEST(software_certificates_verify),
        DIFFERENTIAL_TEST(legacy_keys_sign),
        DIFFERENTIAL_TEST(a_made_key_can_become_a_legacy_one),
        cmocka_unit_test(old_interfaces_give_the_same),
        cmocka_unit_test(failures_say_the_same),
        DIFFERENTIAL_TEST(digests_ciphers_and_random_are_the_default_providers),
        DIFFERENTIAL_TEST(keynym_offers_no_digest),
        DIFFERENTIAL_TEST(property_queries_choose),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
