/* ECDSA with keys of a token: every row of kn_algs, every way to ask for a signature. */
#include "support/prov.h"

#include <openssl/cms.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS    4
#define SIGNATURES 25 /* of each thread */

static const unsigned char text[] = "what is to be signed, long enough to be given in parts";
#define TEXT_LENGTH (sizeof text - 1)

typedef struct signature {
    unsigned char bytes[256];
    size_t length;
} signature;

static signature digest_sign(const prov *p, EVP_PKEY *pkey, const char *digest)
{
    signature s = {.length = sizeof s.bytes};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, digest, p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, s.bytes, &s.length, text, TEXT_LENGTH), 1);
    EVP_MD_CTX_free(ctx);
    return s;
}

/* @libctx NULL: the default one, in which keynym is never loaded. */
static int digest_verify(OSSL_LIB_CTX *libctx, EVP_PKEY *pkey, const char *digest, const signature *s)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, digest, libctx, NULL, pkey, NULL), 1);
    int good = EVP_DigestVerify(ctx, s->bytes, s->length, text, TEXT_LENGTH);
    EVP_MD_CTX_free(ctx);
    return good;
}

static void expect_good(const prov *p, const kn_alg *alg, EVP_PKEY *pkey, const char *digest,
                        const signature *s)
{
    EVP_PKEY *software = prov_software_public(alg);
    assert_int_equal(digest_verify(p->libctx, pkey, digest, s), 1);
    assert_int_equal(digest_verify(NULL, software, digest, s), 1);
    EVP_PKEY_free(software);
}

static void signs_in_one_call_with_every_digest(void **state)
{
    static const char *const digests[] = {"SHA1",     "SHA224",   "SHA256",   "SHA384",    "SHA512",
                                          "SHA3-256", "SHA3-512", "SHA2-256", "SHA512-256"};
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]);
        for (size_t d = 0; d < sizeof digests / sizeof *digests; d++) {
            signature s = digest_sign(*state, pkey, digests[d]);
            assert_true(s.length <= kn_algs[i].signature_max);
            expect_good(*state, &kn_algs[i], pkey, digests[d], &s);
        }
        EVP_PKEY_free(pkey);
    }
}

static void signs_a_stream(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(p, &kn_algs[i]);
        signature s = {.length = 0};
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA384", p->libctx, NULL, pkey, NULL), 1);
        for (size_t at = 0; at < TEXT_LENGTH; at++)
            assert_int_equal(EVP_DigestSignUpdate(ctx, text + at, 1), 1);
        assert_int_equal(EVP_DigestSignFinal(ctx, NULL, &s.length), 1);
        assert_int_equal(s.length, kn_algs[i].signature_max);
        assert_int_equal(EVP_DigestSignFinal(ctx, s.bytes, &s.length), 1);
        expect_good(p, &kn_algs[i], pkey, "SHA384", &s);
        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(pkey);
    }
}

static void verifies_a_stream(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    signature s = digest_sign(p, pkey, "SHA256");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestVerifyUpdate(ctx, text, 5), 1);
    assert_int_equal(EVP_DigestVerifyUpdate(ctx, text + 5, TEXT_LENGTH - 5), 1);
    assert_int_equal(EVP_DigestVerifyFinal(ctx, s.bytes, s.length), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void a_signature_ends_no_stream(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    signature begun = {.length = sizeof begun.bytes}, whole = {.length = sizeof whole.bytes};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestSignUpdate(ctx, text, 5), 1);
    assert_int_equal(EVP_DigestSignFinal(ctx, begun.bytes, &begun.length), 1);
    assert_int_equal(EVP_DigestSignUpdate(ctx, text + 5, TEXT_LENGTH - 5), 1);
    assert_int_equal(EVP_DigestSignFinal(ctx, whole.bytes, &whole.length), 1);
    expect_good(p, &kn_algs[0], pkey, "SHA256", &whole);
    assert_int_equal(digest_verify(p->libctx, pkey, "SHA256", &begun), 0);
    prov_errors();
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void signs_a_digest(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(p, &kn_algs[i]);
        unsigned char digest[EVP_MAX_MD_SIZE];
        size_t digest_length;
        signature s = {.length = 0};
        assert_int_equal(EVP_Q_digest(p->libctx, "SHA256", NULL, text, TEXT_LENGTH, digest, &digest_length),
                         1);
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_equal(EVP_PKEY_sign(ctx, NULL, &s.length, digest, digest_length), 1);
        assert_int_equal(s.length, kn_algs[i].signature_max);
        assert_int_equal(EVP_PKEY_sign(ctx, s.bytes, &s.length, digest, digest_length), 1);
        expect_good(p, &kn_algs[i], pkey, "SHA256", &s);
        assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
        assert_int_equal(EVP_PKEY_verify(ctx, s.bytes, s.length, digest, digest_length), 1);
        digest[0] ^= 1;
        assert_int_equal(EVP_PKEY_verify(ctx, s.bytes, s.length, digest, digest_length), 0);
        prov_errors();
        EVP_PKEY_CTX_free(ctx);
        EVP_PKEY_free(pkey);
    }
}

static void refuses_a_digest_of_a_wrong_size(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    signature s = {.length = sizeof s.bytes};
    static const size_t impossible[] = {0, 1, 19, 65};
    unsigned char digest[65] = {0};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++) {
        s.length = sizeof s.bytes;
        assert_true(EVP_PKEY_sign(ctx, s.bytes, &s.length, digest, impossible[i]) <= 0);
        prov_expect_error("the input has a size that the algorithm cannot take", "20 to 64 bytes", NULL);
    }
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()), 1);
    s.length = sizeof s.bytes;
    assert_true(EVP_PKEY_sign(ctx, s.bytes, &s.length, digest, 48) <= 0);
    prov_expect_error("48 bytes", "32", NULL);
    s.length = sizeof s.bytes;
    assert_int_equal(EVP_PKEY_sign(ctx, s.bytes, &s.length, digest, 32), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void refuses_a_buffer_that_is_too_small(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    unsigned char guarded[71 + 1];
    size_t length = 71;
    guarded[71] = 0xa5;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_not_equal(EVP_DigestSign(ctx, guarded, &length, text, TEXT_LENGTH), 1);
    prov_expect_error("72 bytes", "71", NULL);
    assert_int_equal(guarded[71], 0xa5);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void a_copied_context_goes_its_own_way(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(p, &kn_algs[i]);
        signature first = {.length = sizeof first.bytes}, second = {.length = sizeof second.bytes};
        EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
        assert_int_equal(EVP_DigestSignUpdate(ctx, text, 7), 1);
        assert_int_equal(EVP_MD_CTX_copy_ex(copy, ctx), 1);
        assert_int_equal(EVP_DigestSignUpdate(ctx, "something else", 14), 1);
        assert_int_equal(EVP_DigestSignUpdate(copy, text + 7, TEXT_LENGTH - 7), 1);
        assert_int_equal(EVP_DigestSignFinal(ctx, first.bytes, &first.length), 1);
        EVP_MD_CTX_free(ctx);
        assert_int_equal(EVP_DigestSignFinal(copy, second.bytes, &second.length), 1);
        EVP_MD_CTX_free(copy);
        expect_good(p, &kn_algs[i], pkey, "SHA256", &second);
        assert_int_equal(digest_verify(p->libctx, pkey, "SHA256", &first), 0);
        prov_errors();
        EVP_PKEY_free(pkey);
    }
}

static void refuses_wrong_signatures(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    signature good = digest_sign(p, pkey, "SHA256");
    for (size_t i = 0; i < good.length; i++) {
        signature bad = good;
        bad.bytes[i] ^= 0x10;
        assert_true(digest_verify(p->libctx, pkey, "SHA256", &bad) <= 0);
    }
    static const size_t lengths[] = {0, 1, 8};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        signature cut = good;
        cut.length = lengths[i];
        assert_true(digest_verify(p->libctx, pkey, "SHA256", &cut) <= 0);
    }
    signature longer = good;
    longer.bytes[longer.length++] = 0;
    assert_true(digest_verify(p->libctx, pkey, "SHA256", &longer) <= 0);
    prov_errors();
    assert_int_equal(digest_verify(p->libctx, pkey, "SHA384", &good), 0);
    prov_expect_error("the signature is wrong", "EC:P-256", NULL);
    assert_int_equal(digest_verify(p->libctx, pkey, "SHA256", &good), 1);
    EVP_PKEY_free(pkey);
}

static void takes_the_digest_that_fits_the_curve(void **state)
{
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(*state, &kn_algs[i]);
        signature s = digest_sign(*state, pkey, NULL);
        expect_good(*state, &kn_algs[i], pkey, kn_algs[i].default_digest, &s);
        EVP_PKEY_free(pkey);
    }
}

static void names_a_digest_that_it_cannot_use(void **state)
{
    const prov *p = *state;
    static const char *const digests[] = {"NO-SUCH-DIGEST", "SHAKE256", "MD5"};
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)(uintptr_t)digests[i], 0),
            OSSL_PARAM_construct_end(),
        };
        assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
        assert_int_not_equal(EVP_PKEY_CTX_set_params(ctx, params), 1);
        prov_expect_error("this digest is not supported here", digests[i], NULL);
        EVP_PKEY_CTX_free(ctx);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_not_equal(EVP_DigestSignInit_ex(ctx, NULL, "MD5", p->libctx, NULL, pkey, NULL), 1);
    prov_expect_error("this digest is not supported here", "MD5", NULL);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void the_digest_is_fixed_once_hashing_began(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    EVP_PKEY_CTX *inner = NULL;
    const EVP_MD *md = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &inner, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_PKEY_CTX_get_signature_md(inner, &md), 1);
    assert_int_equal(EVP_MD_get_type(md), NID_sha256);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(inner, EVP_sha256()), 1); /* as software keys allow */
    assert_int_not_equal(EVP_PKEY_CTX_set_signature_md(inner, EVP_sha384()), 1);
    prov_expect_error("this digest is not supported here", "SHA384", "SHA2-256", NULL);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void a_context_can_be_used_again(void **state)
{
    const prov *p = *state;
    EVP_PKEY *first = prov_key(p, &kn_algs[0]), *second = prov_key(p, &kn_algs[1]);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    for (int i = 0; i < 3; i++) {
        EVP_PKEY *pkey = i == 1 ? second : first;
        const char *digest = i == 2 ? "SHA512" : "SHA256";
        signature s = {.length = sizeof s.bytes};
        assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, digest, p->libctx, NULL, pkey, NULL), 1);
        assert_int_equal(EVP_DigestSign(ctx, s.bytes, &s.length, text, TEXT_LENGTH), 1);
        expect_good(p, i == 1 ? &kn_algs[1] : &kn_algs[0], pkey, digest, &s);
        assert_int_equal(EVP_MD_CTX_reset(ctx), 1);
    }
    /* Without a reset, and with the key and digest of before. */
    signature s = {.length = sizeof s.bytes};
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, first, NULL), 1);
    assert_int_equal(EVP_DigestSignUpdate(ctx, "dropped", 7), 1);
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, NULL, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, s.bytes, &s.length, text, TEXT_LENGTH), 1);
    expect_good(p, &kn_algs[0], first, "SHA256", &s);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
}

/* Text in two parts, the second with the call that ends the operation; after that there is nothing to go on with. */
static void one_call_ends_what_a_stream_began(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    signature s = {.length = sizeof s.bytes}, again = {.length = sizeof again.bytes};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestSignUpdate(ctx, text, 5), 1);
    assert_int_equal(EVP_DigestSign(ctx, NULL, &s.length, text + 5, TEXT_LENGTH - 5), 1); /* asks for the size */
    assert_int_equal(EVP_DigestSign(ctx, s.bytes, &s.length, text + 5, TEXT_LENGTH - 5), 1);
    expect_good(p, &kn_algs[0], pkey, "SHA256", &s);
    assert_int_not_equal(EVP_DigestSign(ctx, again.bytes, &again.length, text, TEXT_LENGTH), 1);
    (void)prov_errors(); /* OpenSSL 3.4 and later refuse by themselves */
    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
    assert_int_equal(EVP_DigestVerifyUpdate(ctx, text, 5), 1);
    assert_int_equal(EVP_DigestVerify(ctx, s.bytes, s.length, text + 5, TEXT_LENGTH - 5), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static int choose_sha256(const prov *p, EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    char name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, name, 0),
                           OSSL_PARAM_construct_end()};
    assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
    int good = EVP_PKEY_CTX_set_params(ctx, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* Digests are kept after the first fetch, but not against what the application wants now. */
static void follows_the_applications_properties(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(choose_sha256(p, pkey), 1);
        assert_int_equal(choose_sha256(p, pkey), 1);
        assert_int_equal(EVP_set_default_properties(p->libctx, "provider=keynym"), 1); /* which has no digests */
        assert_int_equal(choose_sha256(p, pkey), 0);
        prov_expect_error("this digest is not supported here", "SHA256", NULL);
        assert_int_equal(EVP_set_default_properties(p->libctx, ""), 1);
    }
    EVP_PKEY_free(pkey);
}

/* The bytes of the AlgorithmIdentifier are part of what is signed: they must be a software key's. */
static void a_certificate_request_verifies(void **state)
{
    const prov *p = *state;
    static const char *const digests[] = {"SHA1",     "SHA224",   "SHA256",   "SHA384",  "SHA512",
                                          "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512"};
    static const int algorithms[] = {NID_ecdsa_with_SHA1,     NID_ecdsa_with_SHA224,   NID_ecdsa_with_SHA256,
                                     NID_ecdsa_with_SHA384,   NID_ecdsa_with_SHA512,   NID_ecdsa_with_SHA3_224,
                                     NID_ecdsa_with_SHA3_256, NID_ecdsa_with_SHA3_384, NID_ecdsa_with_SHA3_512};
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(p, &kn_algs[i]), *software = prov_software_public(&kn_algs[i]);
        for (size_t d = 0; d < sizeof digests / sizeof *digests; d++) {
            X509_REQ *request = X509_REQ_new_ex(p->libctx, NULL);
            EVP_MD *md = EVP_MD_fetch(p->libctx, digests[d], NULL);
            unsigned char *der = NULL;
            assert_int_equal(X509_REQ_set_version(request, X509_REQ_VERSION_1), 1);
            assert_int_equal(X509_REQ_set_pubkey(request, pkey), 1);
            assert_true(X509_REQ_sign(request, pkey, md) > 0);
            assert_int_equal(X509_REQ_get_signature_nid(request), algorithms[d]);
            int length = i2d_X509_REQ(request, &der);
            assert_true(length > 0);
            const unsigned char *at = der;
            X509_REQ *elsewhere = d2i_X509_REQ(NULL, &at, length);
            if (OBJ_find_sigid_algs(algorithms[d], NULL, NULL)) /* OpenSSL 3.0 writes ECDSA with SHA-3, and cannot read it */
                assert_int_equal(X509_REQ_verify(elsewhere, software), 1);
            assert_int_equal(EVP_PKEY_eq(X509_REQ_get0_pubkey(elsewhere), software), 1);
            const X509_ALGOR *algorithm;
            int parameter;
            X509_REQ_get0_signature(elsewhere, NULL, &algorithm);
            X509_ALGOR_get0(NULL, &parameter, NULL, algorithm);
            assert_int_equal(parameter, V_ASN1_UNDEF); /* RFC 5758 section 3.2: absent, not NULL */
            X509_REQ_free(elsewhere);
            X509_REQ_free(request);
            EVP_MD_free(md);
            OPENSSL_free(der);
        }
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(software);
    }
}

static void a_certificate_of_its_own_verifies(void **state)
{
    const prov *p = *state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        EVP_PKEY *pkey = prov_key(p, &kn_algs[i]), *software = prov_software_public(&kn_algs[i]);
        X509 *cert = X509_new_ex(p->libctx, NULL);
        EVP_MD *md = EVP_MD_fetch(p->libctx, kn_algs[i].default_digest, NULL);
        assert_true(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1));
        assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
        assert_int_equal(X509_set_pubkey(cert, pkey), 1);
        assert_true(X509_sign(cert, pkey, md) > 0);
        assert_int_equal(X509_verify(cert, software), 1);
        assert_int_equal(X509_verify(cert, pkey), 1);
        EVP_MD_free(md);
        X509_free(cert);
        EVP_PKEY_free(pkey);
        EVP_PKEY_free(software);
    }
}

static void signs_cms(void **state)
{
    const prov *p = *state;
    static const unsigned flags[] = {CMS_BINARY, CMS_BINARY | CMS_NOATTR};
    X509_STORE *trusted = X509_STORE_new();
    assert_int_equal(X509_STORE_load_file(trusted, test_token_path(prov_token, "ca.crt")), 1);
    assert_int_equal(X509_STORE_set_purpose(trusted, X509_PURPOSE_ANY), 1);
    for (size_t i = 0; i < TEST_EC_COUNT; i++)
        for (size_t f = 0; f < 2; f++) {
            EVP_PKEY *pkey = prov_key(p, &kn_algs[i]);
            X509 *cert = prov_certificate(p, prov_file(&kn_algs[i], "crt"));
            BIO *in = BIO_new_mem_buf(text, (int)TEXT_LENGTH), *out = BIO_new(BIO_s_mem());
            CMS_ContentInfo *cms = CMS_sign_ex(cert, pkey, NULL, in, flags[f], p->libctx, NULL);
            assert_non_null(cms);
            unsigned char *der = NULL;
            int length = i2d_CMS_ContentInfo(cms, &der);
            assert_true(length > 0);
            CMS_ContentInfo_free(cms);
            const unsigned char *at = der;
            CMS_ContentInfo *elsewhere = d2i_CMS_ContentInfo(NULL, &at, length);
            assert_int_equal(CMS_verify(elsewhere, NULL, trusted, NULL, out, CMS_BINARY), 1);
            assert_int_equal(BIO_pending(out), TEXT_LENGTH);
            CMS_ContentInfo_free(elsewhere);
            OPENSSL_free(der);
            BIO_free(in);
            BIO_free(out);
            X509_free(cert);
            EVP_PKEY_free(pkey);
        }
    X509_STORE_free(trusted);
}

typedef struct worker {
    const prov *p;
    EVP_PKEY *pkey, *software;
    int good;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < SIGNATURES; i++) {
        signature s = {.length = sizeof s.bytes};
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        if (EVP_DigestSignInit_ex(ctx, NULL, "SHA256", w->p->libctx, NULL, w->pkey, NULL) == 1 &&
            EVP_DigestSign(ctx, s.bytes, &s.length, text, TEXT_LENGTH) == 1 &&
            digest_verify(NULL, w->software, "SHA256", &s) == 1)
            w->good++;
        EVP_MD_CTX_free(ctx);
    }
    return NULL;
}

static void threads_share_a_key(void **state)
{
    EVP_PKEY *pkey = prov_key(*state, &kn_algs[0]), *software = prov_software_public(&kn_algs[0]);
    pthread_t thread[THREADS];
    worker w[THREADS];
    for (int i = 0; i < THREADS; i++) {
        w[i] = (worker){.p = *state, .pkey = pkey, .software = software};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(w[i].good, SIGNATURES);
    }
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(software);
}

/* The key was made to sign, and the token holds to that. */
static void does_not_derive(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]), *peer = prov_software_public(&kn_algs[0]);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(p->libctx, pkey, NULL);
    unsigned char secret[KN_EC_COORD_MAX];
    size_t length = sizeof secret;
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_not_equal(EVP_PKEY_derive(ctx, secret, &length), 1);
    prov_expect_error("the key does not allow this use", "C_DeriveKey on token 'keynym'", NULL);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(pkey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(signs_in_one_call_with_every_digest),
        PROV_TEST(signs_a_stream),
        PROV_TEST(verifies_a_stream),
        PROV_TEST(a_signature_ends_no_stream),
        PROV_TEST(signs_a_digest),
        PROV_TEST(refuses_a_digest_of_a_wrong_size),
        PROV_TEST(refuses_a_buffer_that_is_too_small),
        PROV_TEST(a_copied_context_goes_its_own_way),
        PROV_TEST(refuses_wrong_signatures),
        PROV_TEST(takes_the_digest_that_fits_the_curve),
        PROV_TEST(names_a_digest_that_it_cannot_use),
        PROV_TEST(the_digest_is_fixed_once_hashing_began),
        PROV_TEST(a_context_can_be_used_again),
        PROV_TEST(one_call_ends_what_a_stream_began),
        PROV_TEST(follows_the_applications_properties),
        PROV_TEST(a_certificate_request_verifies),
        PROV_TEST(a_certificate_of_its_own_verifies),
        PROV_TEST(signs_cms),
        PROV_TEST(threads_share_a_key),
        PROV_TEST(does_not_derive),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
