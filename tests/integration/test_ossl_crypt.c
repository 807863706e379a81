/* RSA encryption and key agreement with keys of a token: EVP, CMS, and TLS 1.2 with RSA key exchange. */
#include "prov.h"
#include "module_leaks.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/rsa.h>

static const char message[] = "a message";

/* ---- RSA ---- */

typedef struct how {
    int padding;
    const char *digest, *mgf1, *label;
} how;

static void set(EVP_PKEY_CTX *ctx, const how *h)
{
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, h->padding), 1);
    if (h->digest)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, h->digest, NULL), 1);
    if (h->mgf1)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, h->mgf1, NULL), 1);
    if (h->label)
        assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, OPENSSL_strdup(h->label), (int)strlen(h->label)), 1);
}

static int encrypt(const prov *p, EVP_PKEY *pkey, const how *h, const void *plain, size_t plain_length,
                   unsigned char *data, size_t *length)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    set(ctx, h);
    int done = EVP_PKEY_encrypt(ctx, data, length, plain, plain_length);
    EVP_PKEY_CTX_free(ctx);
    return done;
}

static int decrypt(const prov *p, EVP_PKEY *pkey, const how *h, const unsigned char *data, size_t data_length,
                   unsigned char *plain, size_t *length)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    set(ctx, h);
    int done = EVP_PKEY_decrypt(ctx, plain, length, data, data_length);
    EVP_PKEY_CTX_free(ctx);
    return done;
}

static const how decryptable[] = {
    {RSA_PKCS1_PADDING, NULL, NULL, NULL},
    {RSA_PKCS1_OAEP_PADDING, NULL, NULL, NULL},
    {RSA_PKCS1_OAEP_PADDING, "SHA1", "SHA1", NULL},
};

static void decrypts_what_software_encrypted(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_alias(p, "rsa"), *software = EVP_PKEY_dup(pkey);
    unsigned char *der = NULL;
    const unsigned char *at;
    int der_length = i2d_PUBKEY(pkey, &der);
    EVP_PKEY_free(software);
    at = der;
    software = d2i_PUBKEY_ex(NULL, &at, der_length, p->libctx, "provider=default");
    assert_string_equal(prov_of(software), "default");
    EVP_PKEY *const encryptors[] = {software, pkey}; /* and with the same handle */
    for (size_t e = 0; e < 2; e++)
        for (size_t i = 0; i < sizeof decryptable / sizeof *decryptable; i++) {
            unsigned char data[512], plain[512];
            size_t length = sizeof data, plain_length = sizeof plain;
            assert_int_equal(encrypt(p, encryptors[e], &decryptable[i], message, sizeof message, data, &length), 1);
            assert_int_equal(length, 256);
            assert_int_equal(decrypt(p, pkey, &decryptable[i], data, length, plain, &plain_length), 1);
            assert_int_equal(plain_length, sizeof message);
            assert_memory_equal(plain, message, sizeof message);
        }
    OPENSSL_free(der);
    EVP_PKEY_free(software);
    EVP_PKEY_free(pkey);
}

/* With every digest and a label, checked by software: the token has only the public half to do with it. */
static void encrypts_with_every_digest(void **state)
{
    static const char *const digests[] = {"SHA1", "SHA256", "SHA384", "SHA512", "SHA3-256"};
    const prov *p = *state;
    EVP_PKEY *software = EVP_PKEY_Q_keygen(p->libctx, "provider=default", "RSA", (size_t)2048);
    unsigned char *der = NULL;
    const unsigned char *at;
    int der_length = i2d_PUBKEY(software, &der);
    at = der;
    EVP_PKEY *named = d2i_PUBKEY_ex(NULL, &at, der_length, p->libctx, NULL), *ours = NULL;
    OSSL_PARAM *params = NULL;
    assert_int_equal(EVP_PKEY_todata(named, EVP_PKEY_PUBLIC_KEY, &params), 1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(p->libctx, "RSA", "provider=keynym");
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &ours, EVP_PKEY_PUBLIC_KEY, params), 1);
    assert_string_equal(prov_of(ours), "keynym");
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
        const how h = {RSA_PKCS1_OAEP_PADDING, digests[i], digests[sizeof digests / sizeof *digests - 1 - i], "label"};
        unsigned char data[256], plain[256];
        size_t length = sizeof data, plain_length = sizeof plain;
        assert_int_equal(encrypt(p, ours, &h, message, sizeof message, data, &length), 1);
        assert_int_equal(decrypt(p, software, &h, data, length, plain, &plain_length), 1);
        assert_int_equal(plain_length, sizeof message);
        assert_memory_equal(plain, message, sizeof message);
    }
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(ours);
    EVP_PKEY_free(named);
    EVP_PKEY_free(software);
    OPENSSL_free(der);
}

static void sizes_are_told(void **state)
{
    const prov *p = *state;
    unsigned char data[256] = {0}, plain[256];
    size_t length = 0;
    EVP_PKEY *pkey = prov_alias(p, "rsa");
    assert_int_equal(encrypt(p, pkey, &decryptable[0], message, 1, NULL, &length), 1);
    assert_int_equal(length, 256);
    length = 0;
    assert_int_equal(decrypt(p, pkey, &decryptable[0], data, 256, NULL, &length), 1);
    assert_int_equal(length, 256);
    length = 255;
    assert_int_not_equal(decrypt(p, pkey, &decryptable[0], data, 256, plain, &length), 1);
    prov_expect_error("the input has a size", "256", "255", NULL);
    EVP_PKEY_free(pkey);
}

static void what_cannot_be_is_named(void **state)
{
    const prov *p = *state;
    unsigned char data[256] = {0}, plain[256], much[256] = {0};
    size_t length = sizeof data;
    const how sha1 = {RSA_PKCS1_OAEP_PADDING, NULL, NULL, NULL}, sha256 = {RSA_PKCS1_OAEP_PADDING, "SHA256", NULL, NULL};
    EVP_PKEY *pkey = prov_alias(p, "rsa"), *signs = prov_alias(p, "signs");
    assert_int_not_equal(encrypt(p, pkey, &sha1, much, 256 - 41, data, &length), 1);
    prov_expect_error("the input has a size", "OAEP with RSA:2048 takes at most 214 bytes, not 215", NULL);
    assert_int_not_equal(encrypt(p, pkey, &decryptable[0], much, 246, data, &length), 1);
    prov_expect_error("the input has a size", "at most 245 bytes", NULL);
    length = sizeof plain;
    assert_int_not_equal(decrypt(p, pkey, &sha1, data, 256, plain, &length), 1);
    prov_expect_error("the ciphertext does not decrypt", "OAEP with SHA1", NULL);
    assert_int_not_equal(decrypt(p, pkey, &sha1, data, 255, plain, &length), 1);
    prov_expect_error("the input has a size", "256", "255", NULL);
    size_t data_length = sizeof data;
    assert_int_equal(encrypt(p, pkey, &sha256, message, sizeof message, data, &data_length), 1);
    if (decrypt(p, pkey, &sha256, data, 256, plain, &length) != 1) /* SoftHSM 2.6 cannot */
        prov_expect_error("the token cannot do this", "token 'keynym'", "CKM_RSA_PKCS_OAEP with SHA256", NULL);
    else
        assert_memory_equal(plain, message, sizeof message);
    assert_int_not_equal(decrypt(p, signs, &decryptable[0], data, 256, plain, &length), 1);
    prov_expect_error("the key does not allow this use", "token 'keynym'", NULL);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_int_not_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    prov_expect_error("the key does not allow this use", "RSA padding", NULL);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(signs);
}

/* A ciphertext that is none: an answer, and always the same. */
static void a_wrong_padding_does_not_show(void **state)
{
    const prov *p = *state;
    unsigned char data[256], once[256], twice[256];
    size_t length = sizeof once, again = sizeof twice;
    memset(data, 0x42, sizeof data);
    EVP_PKEY *pkey = prov_alias(p, "rsa");
    assert_int_equal(decrypt(p, pkey, &decryptable[0], data, 256, once, &length), 1);
    assert_int_equal(decrypt(p, pkey, &decryptable[0], data, 256, twice, &again), 1);
    assert_int_equal(length, again);
    assert_memory_equal(once, twice, length);
    EVP_PKEY_free(pkey);
}

/* ---- key agreement ---- */

static EVP_PKEY *peer_of(const prov *p, const kn_alg *alg)
{
    EVP_PKEY *pkey = alg->type == KN_KEY_EC ? EVP_PKEY_Q_keygen(p->libctx, "provider=default", "EC", alg->group)
                                            : EVP_PKEY_Q_keygen(p->libctx, "provider=default", alg->group);
    assert_non_null(pkey);
    return pkey;
}

/* The public half, as it comes from a file or a message. */
static EVP_PKEY *public_of(const prov *p, EVP_PKEY *pkey)
{
    unsigned char *der = NULL;
    const unsigned char *at;
    int length = i2d_PUBKEY(pkey, &der);
    at = der;
    EVP_PKEY *public = d2i_PUBKEY_ex(NULL, &at, length, p->libctx, NULL);
    OPENSSL_free(der);
    assert_non_null(public);
    return public;
}

static size_t derive(const prov *p, EVP_PKEY *mine, EVP_PKEY *peer, const char *kdf_digest, unsigned char *secret, size_t room)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, mine, NULL);
    EVP_PKEY *public = public_of(p, peer);
    size_t length = 0;
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, public), 1);
    if (kdf_digest) {
        EVP_MD *md = EVP_MD_fetch(p->libctx, kdf_digest, NULL);
        assert_int_equal(EVP_PKEY_CTX_set_ecdh_kdf_type(ctx, EVP_PKEY_ECDH_KDF_X9_63), 1);
        assert_int_equal(EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, md), 1);
        assert_int_equal(EVP_PKEY_CTX_set_ecdh_kdf_outlen(ctx, 77), 1);
        assert_int_equal(EVP_PKEY_CTX_set0_ecdh_kdf_ukm(ctx, (unsigned char *)OPENSSL_strdup("ukm"), 3), 1);
        assert_int_equal(EVP_PKEY_CTX_set_ecdh_cofactor_mode(ctx, 1), 1);
        EVP_MD_free(md);
    }
    assert_int_equal(EVP_PKEY_derive(ctx, NULL, &length), 1);
    assert_in_range(length, 1, room);
    assert_int_equal(EVP_PKEY_derive(ctx, secret, &length), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(public);
    return length;
}

static void both_sides_agree(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        const kn_alg *alg = &kn_algs[i];
        if (!(alg->uses & KN_USE_DERIVE))
            continue;
        unsigned char ours[128], theirs[128];
        EVP_PKEY *pkey = prov_alias(p, alg->name), *peer = peer_of(p, alg);
        assert_string_equal(prov_of(pkey), "keynym");
        size_t length = derive(p, pkey, peer, NULL, ours, sizeof ours);
        assert_int_equal(length, alg->coord_bytes);
        assert_int_equal(derive(p, peer, pkey, NULL, theirs, sizeof theirs), length);
        assert_memory_equal(ours, theirs, length);
        if (alg->type == KN_KEY_EC) {
            length = derive(p, pkey, peer, "SHA256", ours, sizeof ours);
            assert_int_equal(length, 77);
            assert_int_equal(derive(p, peer, pkey, "SHA256", theirs, sizeof theirs), length);
            assert_memory_equal(ours, theirs, length);
        }
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(peer);
    }
}

static void peers_that_cannot_be_are_named(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_alias(p, "EC:P-256"), *p384 = peer_of(p, kn_alg_by_name("EC:P-384"));
    EVP_PKEY *k256 = EVP_PKEY_Q_keygen(p->libctx, "provider=default", "EC", "secp256k1");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    unsigned char secret[66];
    size_t length = sizeof secret;
    EVP_PKEY *public = public_of(p, p384);
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_not_equal(EVP_PKEY_derive(ctx, secret, &length), 1);
    prov_expect_error("the other side's public key cannot be used", "none was given", NULL);
    assert_int_not_equal(EVP_PKEY_derive_set_peer(ctx, public), 1);
    prov_expect_error("the other side's public key cannot be used", "EC:P-256", "EC:P-384", NULL);
    EVP_PKEY_free(public);
    public = public_of(p, k256);
    assert_int_not_equal(EVP_PKEY_derive_set_peer(ctx, public), 1);
    prov_expect_error("the type of this key is not supported", "curve", NULL);
    EVP_PKEY_free(public);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(k256);
}

/* ---- CMS ---- */

static void cms_round_trip(const prov *p, const char *label, unsigned flags)
{
    EVP_PKEY *pkey = prov_alias(p, label), *public = public_of(p, pkey);
    char text[64] = "";
    prov_issue(public, label, -60, 3600, test_token_path(prov_token, "cms.crt"));
    X509 *cert = prov_certificate(p, test_token_path(prov_token, "cms.crt"));
    STACK_OF(X509) *certs = sk_X509_new_null();
    sk_X509_push(certs, cert);
    BIO *in = BIO_new_mem_buf(message, sizeof message), *out = BIO_new(BIO_s_mem());
    EVP_CIPHER *aes = EVP_CIPHER_fetch(p->libctx, "AES-256-CBC", NULL);
    CMS_ContentInfo *cms = CMS_encrypt_ex(NULL, NULL, aes, CMS_BINARY | CMS_PARTIAL | flags, p->libctx, NULL);
    assert_non_null(cms);
    assert_non_null(CMS_add1_recipient_cert(cms, cert, flags));
    assert_int_equal(CMS_final(cms, in, NULL, CMS_BINARY), 1);
    if (!CMS_decrypt(cms, pkey, cert, NULL, out, CMS_BINARY))
        fail_msg("%s: %s", label, prov_errors());
    assert_int_equal(BIO_read(out, text, sizeof text), sizeof message);
    assert_string_equal(text, message);
    CMS_ContentInfo_free(cms);
    EVP_CIPHER_free(aes);
    BIO_free(in);
    BIO_free(out);
    sk_X509_free(certs);
    X509_free(cert);
    EVP_PKEY_free(public);
    EVP_PKEY_free(pkey);
}

static void decrypts_cms(void **state)
{
    static const char *const labels[] = {"rsa", "EC:P-256", "EC:P-384", "EC:P-521"};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        cms_round_trip(*state, labels[i], 0);
}

/* ---- TLS 1.2 with RSA key exchange ---- */

static void use(const prov *p, SSL_CTX *ctx, const char *label)
{
    EVP_PKEY *pkey = prov_alias(p, label), *public = public_of(p, pkey);
    prov_issue(public, label, -60, 3600, test_token_path(prov_token, "tls.crt"));
    X509 *cert = prov_certificate(p, test_token_path(prov_token, "tls.crt"));
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    X509_free(cert);
    EVP_PKEY_free(public);
    EVP_PKEY_free(pkey);
}

static void serves_rsa_key_exchange(void **state)
{
    static const char *const ciphers[] = {"AES128-GCM-SHA256", "AES256-SHA256"};
    const prov *p = *state;
    for (size_t i = 0; i < sizeof ciphers / sizeof *ciphers; i++) {
        SSL_CTX *client = prov_ssl_ctx(NULL, TLS_client_method(), TLS1_2_VERSION);
        SSL_CTX *server = prov_ssl_ctx(p->libctx, TLS_server_method(), TLS1_2_VERSION);
        use(p, server, "both");
        prov_use_software(client, &kn_algs[0]);
        assert_int_equal(SSL_CTX_set_cipher_list(client, ciphers[i]), 1);
        assert_int_equal(SSL_CTX_set_cipher_list(server, ciphers[i]), 1);
        assert_true(prov_handshake(client, server));
        SSL_CTX_free(client);
        SSL_CTX_free(server);
    }
}

static int set_up(void **state)
{
    static const struct {
        const char *label;
        unsigned uses;
    } rsa[] = {{"rsa", KN_USE_DECRYPT}, {"signs", KN_USE_SIGN}, {"both", KN_USE_SIGN | KN_USE_DECRYPT}};
    keep_modules();
    if (prov_group_setup(state))
        return -1;
    for (size_t i = 0; i < sizeof rsa / sizeof *rsa; i++)
        EVP_PKEY_free(prov_make(rsa[i].label, &(kn_key_spec){.alg = kn_alg_by_name("RSA:2048"), .uses = rsa[i].uses}));
    for (size_t i = 0; i < kn_alg_count; i++)
        if (kn_algs[i].uses & KN_USE_DERIVE)
            EVP_PKEY_free(prov_make(kn_algs[i].name, &(kn_key_spec){.alg = &kn_algs[i], .uses = KN_USE_DERIVE}));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(decrypts_what_software_encrypted),
        PROV_TEST(encrypts_with_every_digest),
        PROV_TEST(sizes_are_told),
        PROV_TEST(what_cannot_be_is_named),
        PROV_TEST(a_wrong_padding_does_not_show),
        PROV_TEST(both_sides_agree),
        PROV_TEST(peers_that_cannot_be_are_named),
        PROV_TEST(decrypts_cms),
        PROV_TEST(serves_rsa_key_exchange),
    };
    return cmocka_run_group_tests(tests, set_up, prov_group_teardown);
}
