/* OSSL_STORE with pkcs11: URIs: what is loaded, and what is said when it cannot be. */
#include "support/prov.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Loads all of @uri and writes what it got: K a private key, P a public key, C a certificate, - nothing, ! a
 * failure. */
static const char *load_all(const prov *p, const char *uri, int expected)
{
    static char got[16];
    size_t n = 0;
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    if (!store)
        return "open!";
    if (expected)
        assert_int_equal(OSSL_STORE_expect(store, expected), 1);
    for (int i = 0; i < 8 && !OSSL_STORE_eof(store); i++) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        char letter = OSSL_STORE_error(store) ? '!' : '-';
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            letter = 'K';
        else if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PUBKEY)
            letter = 'P';
        else if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT)
            letter = 'C';
        got[n++] = letter;
        OSSL_STORE_INFO_free(info);
    }
    got[n] = '\0';
    assert_true(OSSL_STORE_eof(store));
    assert_int_equal(OSSL_STORE_close(store), 1);
    return got;
}

static const char *with_type(const char *object, const char *type)
{
    static char uri[512];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s%s%s?pin-source=%s&module-path=%s",
                   prov_token->label, object, *type ? ";type=" : "", type, prov_token->pin_file, test_module);
    return uri;
}

static void loads_what_is_expected(void **state)
{
    const char *uri = test_token_uri(prov_token, kn_algs[0].group);
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PKEY), "K");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_CERT), "C");
    assert_string_equal(load_all(*state, uri, 0), "KC");
}

static void loads_what_the_uri_says(void **state)
{
    const char *group = kn_algs[0].group;
    assert_string_equal(load_all(*state, with_type(group, "private"), 0), "K");
    assert_string_equal(load_all(*state, with_type(group, "public"), 0), "P");
    assert_string_equal(load_all(*state, with_type(group, "cert"), 0), "C");
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_PKEY), "K");
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, with_type(group, "public"), OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, with_type(group, "cert"), OSSL_STORE_INFO_CERT), "C");
}

static void loads_nothing_where_uri_and_caller_disagree(void **state)
{
    const char *group = kn_algs[0].group;
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_CERT), "");
    assert_string_equal(load_all(*state, with_type(group, "cert"), OSSL_STORE_INFO_PKEY), "");
    assert_string_equal(load_all(*state, with_type(group, "public"), OSSL_STORE_INFO_PKEY), "");
    assert_string_equal(load_all(*state, with_type(group, ""), OSSL_STORE_INFO_CRL), "");
}

static void another_type_is_no_key(void **state)
{
    static const char *const types[] = {"data", "secret-key"};
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(load_all(*state, with_type(kn_algs[0].group, types[i]), 0), "!");
        prov_expect_error("no key matches", "type=", NULL);
    }
}

static void the_certificate_may_be_missing(void **state)
{
    const char *uri = test_token_uri(prov_token, kn_algs[1].group);
    assert_int_equal(load_all(*state, uri, 0)[0], 'K');
    assert_string_equal(prov_errors(), "");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_CERT), "!");
    prov_expect_error("no certificate matches", kn_algs[1].group, NULL);
}

/* "=" needs no escape in a value (RFC 7512 section 2.3), so a label can look like another attribute. */
static void a_label_may_look_like_a_type(void **state)
{
    EVP_PKEY *public = prov_generate("xtype=cert", &kn_algs[0]);
    const char *uri = test_token_uri(prov_token, "xtype=cert");
    assert_int_equal(load_all(*state, uri, 0)[0], 'K');
    EVP_PKEY *pkey = prov_load(*state, uri);
    assert_int_equal(EVP_PKEY_eq(pkey, public), 1);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(public);
}

static void the_parts_belong_together(void **state)
{
    const prov *p = *state;
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(test_token_uri(prov_token, kn_algs[0].group), p->libctx, NULL,
                                               NULL, NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *key = OSSL_STORE_load(store), *cert = OSSL_STORE_load(store);
    assert_int_equal(X509_check_private_key(OSSL_STORE_INFO_get0_CERT(cert), OSSL_STORE_INFO_get0_PKEY(key)),
                     1);
    assert_int_equal(EVP_PKEY_eq(OSSL_STORE_INFO_get0_PKEY(key), software), 1);
    assert_null(OSSL_STORE_load(store));
    assert_true(OSSL_STORE_eof(store));
    OSSL_STORE_INFO_free(key);
    OSSL_STORE_INFO_free(cert);
    (void)OSSL_STORE_close(store);
    EVP_PKEY_free(software);
}

static void a_public_key_is_one_of_the_default_provider(void **state)
{
    const prov *p = *state;
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(with_type(kn_algs[0].group, "public"), p->libctx, NULL, NULL,
                                               NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    assert_string_equal(prov_of(OSSL_STORE_INFO_get0_PUBKEY(info)), "default");
    assert_int_equal(EVP_PKEY_eq(OSSL_STORE_INFO_get0_PUBKEY(info), software), 1);
    OSSL_STORE_INFO_free(info);
    (void)OSSL_STORE_close(store);
    EVP_PKEY_free(software);
}

static void names_what_is_wrong_with_a_uri(void **state)
{
    static const struct {
        const char *uri, *sentence, *named;
    } rows[] = {
        {"pkcs11:obj=a-key", "an attribute that is not known", "obj"},
        {"pkcs11:token=keynym;object=a;Object=b", "an attribute that is not known", "Object"},
        {"pkcs11:token=keynym;object=a?pin-file=/x", "an attribute that is not known", "pin-file"},
        {"pkcs11:token=keynym;object=a;object=b", "malformed", "object"},
        {"pkcs11:token=keynym;object", "malformed", "object"},
        {"pkcs11:token=keynym;object=a;type=privat", "malformed", "type="},
        {"pkcs11:token=keynym;id=%zz", "malformed", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(load_all(*state, rows[i].uri, OSSL_STORE_INFO_PKEY), "open!");
        prov_expect_error(rows[i].sentence, rows[i].named, NULL);
    }
}

static void names_what_is_missing(void **state)
{
    char uri[512];
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-key"), OSSL_STORE_INFO_PKEY),
                        "!");
    prov_expect_error("no key matches", "no-such-key", "keynym key list", NULL);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-key"), OSSL_STORE_INFO_PUBKEY),
                        "!");
    prov_expect_error("no key matches", "no-such-key", NULL);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-thing"), 0), "!");
    prov_expect_error("no key matches", "no-such-thing", "neither a private key nor a certificate", NULL);
    assert_string_equal(load_all(*state, with_type("no-such-cert", "cert"), 0), "!");
    prov_expect_error("no certificate matches", "no-such-cert", NULL);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=no-such-token;object=a?module-path=%s", test_module);
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("no token matches", "no-such-token", NULL);
    assert_string_equal(
        load_all(*state, "pkcs11:object=a?module-path=/no/such/module.so", OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("the PKCS#11 module cannot be loaded", "/no/such/module.so", NULL);
}

static void names_two_matches(void **state)
{
    char any[512];
    (void)snprintf(any, sizeof any, "pkcs11:token=%s?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    assert_string_equal(load_all(*state, any, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("more than one object matches", kn_algs[0].group, kn_algs[1].group, NULL);
}

static void names_what_is_wrong_with_the_pin(void **state)
{
    prov p; /* of its own: a login lasts as long as the provider */
    char uri[512];
    (void)state;
    prov_open(&p, PROV_DEFAULT_FIRST);
    static const char *const files[] = {"no-such-pin", "wrong-pin"};
    static const char *const sentences[] = {"the PIN source cannot be used", "the PIN is wrong"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s",
                       prov_token->label, kn_algs[0].group, test_token_path(prov_token, files[i]),
                       test_module);
        assert_string_equal(load_all(&p, uri, OSSL_STORE_INFO_PKEY), "!");
        prov_expect_error(sentences[i], NULL);
    }
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?module-path=%s", prov_token->label,
                   kn_algs[0].group, test_module);
    assert_string_equal(load_all(&p, uri, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("the token wants a PIN and none is configured", "pin-source", NULL);
    assert_string_equal(load_all(&p, test_token_uri(prov_token, kn_algs[0].group), OSSL_STORE_INFO_PKEY),
                        "K");
    prov_close(&p);
}

/* Programs write PEM to standard output; a line of ours in front of it spoils it. */
static void writes_nothing_to_standard_output(void **state)
{
    const char *path = test_token_path(prov_token, "stdout");
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    (void)load_all(*state, test_token_uri(prov_token, kn_algs[0].group), 0);
    (void)load_all(*state, test_token_uri(prov_token, "no-such-key"), 0);
    (void)load_all(*state, "pkcs11:obj=a", 0);
    (void)fflush(stdout);
    off_t written = lseek(file, 0, SEEK_END);
    (void)dup2(saved, STDOUT_FILENO);
    (void)close(saved);
    (void)close(file);
    assert_int_equal(written, 0);
    assert_string_not_equal(prov_errors(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(loads_what_is_expected),
        PROV_TEST(loads_what_the_uri_says),
        PROV_TEST(loads_nothing_where_uri_and_caller_disagree),
        PROV_TEST(another_type_is_no_key),
        PROV_TEST(the_certificate_may_be_missing),
        cmocka_unit_test_setup_teardown(a_label_may_look_like_a_type, prov_setup_default_first,
                                        prov_teardown),
        PROV_TEST(the_parts_belong_together),
        PROV_TEST(a_public_key_is_one_of_the_default_provider),
        PROV_TEST(names_what_is_wrong_with_a_uri),
        PROV_TEST(names_what_is_missing),
        PROV_TEST(names_two_matches),
        cmocka_unit_test(names_what_is_wrong_with_the_pin),
        PROV_TEST(writes_nothing_to_standard_output),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
