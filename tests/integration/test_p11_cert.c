/* Certificates beside a key. */
#include "kn_cert.h"
#include "kn_key.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>

static test_token *token;
static kn_ctx *ctx;
static EVP_PKEY *root_key, *middle_key;
static X509 *root, *middle;

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("cert");
    ctx = test_token_context(token);
    root_key = test_key_new("P-384");
    middle_key = test_key_new("P-256");
    root = test_cert_new("bench root", root_key, NULL, root_key, true);
    middle = test_cert_new("bench intermediate", middle_key, root, root_key, true);
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(middle);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(middle_key);
    kn_ctx_unref(&ctx);
    test_token_free(&token);
    return 0;
}

/* A key on the token, and a certificate for it. */
static X509 *device(const char *label, X509 *issuer, EVP_PKEY *issuer_key)
{
    kn_key *key = NULL;
    assert_ok(kn_key_generate(ctx, test_token_uri(token, label), kn_alg_by_name("EC:P-256"), &key));
    EVP_PKEY *public = test_key_public(kn_key_public(key));
    X509 *certificate = test_cert_new(label, public, issuer, issuer_key, false);
    EVP_PKEY_free(public);
    kn_key_unref(&key);
    return certificate;
}

static kn_err write_chain(const char *label, X509 *a, X509 *b, X509 *c)
{
    kn_certs certs = {.count = 0};
    X509 *list[] = {a, b, c};
    for (size_t i = 0; i < COUNT_OF(list) && list[i]; i++)
        test_certs_add(&certs, list[i]);
    kn_err err = kn_cert_write_chain(ctx, test_token_uri(token, label), &certs);
    kn_certs_free(&certs);
    return err;
}

static void read_chain(const char *label, kn_certs *certs)
{
    certs->count = 0;
    assert_ok(kn_cert_read_chain(ctx, test_token_uri(token, label), certs));
}

static unsigned certificates(void)
{
    raw r = raw_open(token);
    unsigned n = raw_count(&r, CKO_CERTIFICATE, NULL);
    raw_close(&r);
    return n;
}

static void test_chain_comes_back_in_order(void **state)
{
    kn_certs certs;
    (void)state;
    X509 *leaf = device("device", middle, middle_key);
    unsigned before = certificates();
    assert_ok(write_chain("device", leaf, middle, root));
    assert_int_equal(certificates(), before + 3);
    read_chain("device", &certs);
    assert_int_equal(certs.count, 3);
    assert_true(test_cert_is(&certs, 0, leaf));
    assert_true(test_cert_is(&certs, 1, middle));
    assert_true(test_cert_is(&certs, 2, root));
    kn_certs_free(&certs);

    assert_ok(write_chain("device", leaf, middle, root)); /* again is no error, and adds nothing */
    assert_int_equal(certificates(), before + 3);
    X509 *second = device("second", middle, middle_key);
    assert_ok(write_chain("second", second, middle, root)); /* the issuers are there */
    assert_int_equal(certificates(), before + 4);
    read_chain("second", &certs);
    assert_int_equal(certs.count, 3);
    assert_true(test_cert_is(&certs, 0, second));
    kn_certs_free(&certs);
    X509_free(leaf);
    X509_free(second);
}

static void test_only_what_the_token_has(void **state)
{
    kn_certs certs;
    (void)state;
    EVP_PKEY *far_key = test_key_new("P-256");
    X509 *far = test_cert_new("far away", far_key, NULL, far_key, true);
    X509 *leaf = device("short", far, far_key);
    assert_ok(write_chain("short", leaf, NULL, NULL));
    read_chain("short", &certs);
    assert_int_equal(certs.count, 1);
    assert_true(test_cert_is(&certs, 0, leaf));
    kn_certs_free(&certs);
    X509_free(leaf);
    X509_free(far);
    EVP_PKEY_free(far_key);
}

static void test_what_is_refused(void **state)
{
    kn_certs certs = {.count = 0};
    (void)state;
    X509 *mine = device("mine", middle, middle_key), *yours = device("yours", middle, middle_key);
    unsigned before = certificates();
    assert_error(KN_E_MISMATCH, write_chain("mine", yours, NULL, NULL));
    assert_error(KN_E_MISMATCH, write_chain("mine", middle, mine, NULL)); /* the wrong way round */
    assert_error(KN_E_NO_KEY, write_chain("nobody", mine, NULL, NULL));
    assert_error(KN_E_NO_CERTIFICATE, write_chain("mine", NULL, NULL, NULL));
    assert_error(KN_E_NO_CERTIFICATE, kn_cert_read_chain(ctx, test_token_uri(token, "mine"), &certs));
    assert_int_equal(certs.count, 0);
    assert_int_equal(certificates(), before);

    assert_ok(write_chain("mine", mine, NULL, NULL));
    EVP_PKEY *public = X509_get_pubkey(mine);
    X509 *renewed = test_cert_new("mine, renewed", public, middle, middle_key, false);
    assert_error(KN_E_EXISTS, write_chain("mine", renewed, NULL, NULL));
    assert_int_equal(certificates(), before + 1);
    EVP_PKEY_free(public);
    X509_free(renewed);
    X509_free(mine);
    X509_free(yours);
}

static void test_sizes(void **state)
{
    static uint8_t much[KN_CERT_MAX + 1];
    kn_certs certs = {.count = 0};
    (void)state;
    for (size_t i = 0; i < KN_CHAIN_MAX; i++)
        test_certs_add(&certs, root);
    assert_error(KN_E_DATA_SIZE, kn_certs_add(&certs, much, 1)); /* the eleventh */
    assert_int_equal(certs.count, KN_CHAIN_MAX);
    kn_certs_free(&certs);
    assert_int_equal(certs.count, 0);
    assert_error(KN_E_DATA_SIZE, kn_certs_add(&certs, much, 0));
    assert_error(KN_E_DATA_SIZE, kn_certs_add(&certs, much, sizeof much));
    assert_detail("16385");
    assert_ok(kn_certs_add(&certs, much, KN_CERT_MAX));
    assert_true(kn_failed(kn_cert_write_chain(ctx, test_token_uri(token, "device"), &certs))); /* not a certificate */
    kn_certs_free(&certs);
}

/* Three issuers of one name: what counts is whose key signed. Whatever the order in which the token lists them. */
static void test_issuers_of_one_name(void **state)
{
    EVP_PKEY *keys[3];
    X509 *issuers[3];
    char label[16];
    kn_certs certs;
    (void)state;
    raw r = raw_open(token);
    for (int i = 0; i < 3; i++) {
        keys[i] = test_key_new("P-256");
        issuers[i] = test_cert_new("one of three", keys[i], NULL, keys[i], true);
        raw_certificate(&r, "one of three", NULL, issuers[i]);
    }
    raw_close(&r);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(label, sizeof label, "child-%d", i);
        X509 *leaf = device(label, issuers[i], keys[i]);
        assert_ok(write_chain(label, leaf, NULL, NULL));
        read_chain(label, &certs);
        assert_int_equal(certs.count, 2);
        assert_true(test_cert_is(&certs, 0, leaf));
        assert_true(test_cert_is(&certs, 1, issuers[i]));
        kn_certs_free(&certs);
        X509_free(leaf);
    }
    for (int i = 0; i < 3; i++) {
        X509_free(issuers[i]);
        EVP_PKEY_free(keys[i]);
    }
}

static void test_two_certificates_of_the_label(void **state)
{
    kn_certs certs = {.count = 0};
    (void)state;
    EVP_PKEY *pkey = test_key_new("P-256");
    X509 *a = test_cert_new("pair", pkey, NULL, pkey, false), *b = test_cert_new("pair", pkey, NULL, pkey, false);
    raw r = raw_open(token);
    raw_certificate(&r, "pair", "p1", a);
    raw_certificate(&r, "pair", "p2", b);
    raw_close(&r);
    assert_error(KN_E_AMBIGUOUS, kn_cert_read_chain(ctx, "pkcs11:token=cert;object=pair", &certs));
    assert_ok(kn_cert_read_chain(ctx, "pkcs11:token=cert;object=pair;id=p2", &certs));
    assert_int_equal(certs.count, 1);
    assert_true(test_cert_is(&certs, 0, b));
    kn_certs_free(&certs);
    X509_free(a);
    X509_free(b);
    EVP_PKEY_free(pkey);
}

/* Another tool stored the certificate without an id: under the key's own it is stored all the same. */
static void test_certificate_is_there_under_another_name(void **state)
{
    kn_certs certs;
    (void)state;
    X509 *leaf = device("named", middle, middle_key);
    raw r = raw_open(token);
    raw_certificate(&r, "unnamed", NULL, leaf);
    raw_close(&r);
    assert_ok(write_chain("named", leaf, NULL, NULL));
    read_chain("named", &certs);
    assert_true(test_cert_is(&certs, 0, leaf));
    kn_certs_free(&certs);
    X509_free(leaf);
}

/* Without the public object, a signature shows whose certificate it is. */
static void test_key_without_public_object(void **state)
{
    kn_certs certs;
    (void)state;
    X509 *right = device("private-only", middle, middle_key), *wrong = device("stranger", middle, middle_key);
    raw r = raw_open(token);
    raw_delete(&r, CKO_PUBLIC_KEY, "private-only");
    raw_close(&r);
    assert_error(KN_E_MISMATCH, write_chain("private-only", wrong, NULL, NULL));
    assert_ok(write_chain("private-only", right, NULL, NULL));
    read_chain("private-only", &certs);
    assert_true(test_cert_is(&certs, 0, right));
    kn_certs_free(&certs);
    X509_free(right);
    X509_free(wrong);
}

static void test_failing_calls(void **state)
{
    static const shim_call calls[] = {SHIM_C_FindObjectsInit, SHIM_C_FindObjects, SHIM_C_GetAttributeValue,
                                      SHIM_C_CreateObject};
    kn_certs certs = {.count = 0};
    (void)state;
    X509 *leaf = device("failing", middle, middle_key);
    shim *s = shim_new(token);
    kn_ctx *shimmed = shim_context(token->pin_file);
    test_certs_add(&certs, leaf);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        shim_fail(s, calls[i], CKR_DEVICE_MEMORY, 1);
        assert_error(KN_E_TOKEN_FULL, kn_cert_write_chain(shimmed, "pkcs11:token=cert;object=failing", &certs));
        assert_detail("CKR_DEVICE_MEMORY");
        assert_int_equal(atomic_load(&s->rules[calls[i]].times), 0);
    }
    assert_ok(kn_cert_write_chain(shimmed, "pkcs11:token=cert;object=failing", &certs));
    kn_certs_free(&certs);
    for (size_t i = 0; i < COUNT_OF(calls) - 1; i++) {
        shim_fail(s, calls[i], CKR_DEVICE_MEMORY, 1);
        assert_error(KN_E_TOKEN_FULL, kn_cert_read_chain(shimmed, "pkcs11:token=cert;object=failing", &certs));
        assert_int_equal(certs.count, 0);
    }
    kn_ctx_unref(&shimmed);
    shim_free(&s);
    X509_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_comes_back_in_order),
        cmocka_unit_test(test_only_what_the_token_has),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_issuers_of_one_name),
        cmocka_unit_test(test_two_certificates_of_the_label),
        cmocka_unit_test(test_certificate_is_there_under_another_name),
        cmocka_unit_test(test_key_without_public_object),
        cmocka_unit_test(test_failing_calls),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
