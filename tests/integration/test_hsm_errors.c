/* What the HSM library says when it cannot give a key or a certificate: the getter returns NULL, and one line
 * names the cause and the next step. */
#include "support/hsm.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static HSM_CLIENT_HANDLE create(void)
{
    assert_int_equal(hsm_client_x509_init(), 0);
    HSM_CLIENT_HANDLE handle = hsm_client_x509_interface()->hsm_client_x509_create();
    assert_non_null(handle);
    hsm_expect_quiet();
    return handle;
}

static void destroy(HSM_CLIENT_HANDLE handle)
{
    hsm_client_x509_interface()->hsm_client_x509_destroy(handle);
    hsm_client_x509_deinit();
    assert_int_equal(ERR_peek_error(), 0); /* the SDK's error queue is not ours to fill */
    hsm_expect_quiet();
}

/* All of a getter's failure but the texts. */
#define EXPECT_FAILURE(handle, getter, ...)                                                                  \
    do {                                                                                                     \
        assert_null(hsm_client_x509_interface()->getter(handle));                                            \
        hsm_expect_failure(#getter, __VA_ARGS__, NULL);                                                      \
    } while (0)

static const char *issue_for(const kn_alg *alg, const char *common_name, long not_before, long not_after)
{
    static char path[96];
    EVP_PKEY *public = prov_software_public(alg);
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "issued.crt"));
    prov_issue(public, common_name, not_before, not_after, path);
    EVP_PKEY_free(public);
    return path;
}

static void nothing_is_configured(void **state)
{
    (void)state;
    hsm_listen();
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "no key is configured");
    EXPECT_FAILURE(handle, hsm_client_get_cert, "neither a key nor a certificate is configured");
    EXPECT_FAILURE(handle, hsm_client_get_common_name, "neither a key nor a certificate is configured");
    destroy(handle);
}

static void the_handle_is_null(void **state)
{
    (void)state;
    hsm_listen();
    EXPECT_FAILURE(NULL, hsm_client_get_key, "NULL");
    EXPECT_FAILURE(NULL, hsm_client_get_cert, "NULL");
    EXPECT_FAILURE(NULL, hsm_client_get_common_name, "NULL");
    assert_int_not_equal(keynym_hsm_configure(NULL, NULL), 0);
    hsm_expect_failure("keynym_hsm_configure", "NULL", NULL);
}

static void the_key_is_missing(void **state)
{
    (void)state;
    hsm_configure(test_token_uri(prov_token, "no-such-key"), prov_file(&kn_algs[0], "crt"));
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "no key matches", "no-such-key");
    destroy(handle);
    hsm_configure(test_token_uri(prov_token, "no-such-key"), NULL);
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_cert, "no certificate matches", "no-such-key");
    destroy(handle);
    hsm_configure("/no/such/alias.pem", NULL);
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "/no/such/alias.pem");
    destroy(handle);
    hsm_configure("pkcs11:token=keynym;obj=prime256v1", NULL);
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "attribute that is not known", "obj");
    destroy(handle);
    hsm_configure("pkcs11:token=no-such-token;object=a", prov_file(&kn_algs[0], "crt"));
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "no token matches", "no-such-token");
    destroy(handle);
}

static void the_module_is_missing(void **state)
{
    const keynym_hsm_config config = {.size = sizeof config, .key = "pkcs11:object=a", .module_path = "/no/such/module.so"};
    (void)state;
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "the PKCS#11 module cannot be loaded", "/no/such/module.so");
    destroy(handle);
}

static void the_certificate_is_missing(void **state)
{
    (void)state;
    /* Key 1 has no certificate on the token. */
    hsm_configure(prov_file(&kn_algs[1], "alias.pem"), NULL);
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_cert, "no certificate matches", kn_algs[1].group);
    EXPECT_FAILURE(handle, hsm_client_get_common_name, "no certificate matches", kn_algs[1].group);
    EXPECT_FAILURE(handle, hsm_client_get_key, "no certificate matches", kn_algs[1].group);
    destroy(handle);
    hsm_configure(prov_file(&kn_algs[1], "alias.pem"), "/no/such/certificate.pem");
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_cert, "/no/such/certificate.pem", "No such file");
    EXPECT_FAILURE(handle, hsm_client_get_key, "/no/such/certificate.pem", "No such file");
    destroy(handle);
}

static void the_certificate_is_damaged(void **state)
{
    char *leaf = prov_read(prov_file(&kn_algs[0], "crt")),
         *ca = prov_read(test_token_path(prov_token, "ca.crt"));
    char *key = prov_read(test_token_path(prov_token, "ca.key")), text[8192], path[96], *damaged = strdup(ca);
    (void)state;
    damaged[100] = '!';
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "damaged.pem"));
    const struct {
        const char *first, *second, *named;
    } rows[] = {
        {key, "", "no PEM certificate"},
        {damaged, "", "damaged"},
        {leaf, damaged, "damaged"}, /* OpenSSL's loop over a chain takes this for its end */
        {leaf, "-----BEGIN CERTIFICATE-----\nTm90IERFUg==\n-----END CERTIFICATE-----\n", "certificate 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)snprintf(text, sizeof text, "%s%s", rows[i].first, rows[i].second);
        test_token_write(prov_token, "damaged.pem", text);
        hsm_configure(prov_file(&kn_algs[0], "alias.pem"), path);
        HSM_CLIENT_HANDLE handle = create();
        EXPECT_FAILURE(handle, hsm_client_get_cert, path, rows[i].named);
        EXPECT_FAILURE(handle, hsm_client_get_key, path, rows[i].named);
        destroy(handle);
    }
    free(leaf);
    free(ca);
    free(key);
    free(damaged);
}

/* OpenSSL alone would drop the key and connect without a certificate. */
static void key_and_certificate_do_not_match(void **state)
{
    (void)state;
    hsm_configure(prov_file(&kn_algs[0], "alias.pem"), prov_file(&kn_algs[1], "crt"));
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "the certificate does not match the key");
    destroy(handle);
    EVP_PKEY *same_curve = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    char path[96];
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "same-curve.crt"));
    prov_issue(same_curve, "same-curve", -60, 3600, path);
    EVP_PKEY_free(same_curve);
    hsm_configure(prov_file(&kn_algs[0], "alias.pem"), path);
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "the certificate does not match the key");
    destroy(handle);
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    prov_issue(rsa, "rsa", -60, 3600, path);
    EVP_PKEY_free(rsa);
    handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "key");
    destroy(handle);
}

static void the_name_cannot_be_a_registration_id(void **state)
{
    static char long_name[64 + 1];
    static const char *const refused[] = {NULL, "two words", "ends.", "ends_", "ends:", "sl/ash", "ümlaut"};
    static const char *const allowed[] = {"a", "A-b.c_d:e-", "device-1", "0"};
    (void)state;
    memset(long_name, 'a',
           sizeof long_name - 1); /* ub-common-name of RFC 5280; OpenSSL makes no longer one */
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        hsm_configure(prov_file(&kn_algs[0], "alias.pem"), issue_for(&kn_algs[0], refused[i], -60, 3600));
        HSM_CLIENT_HANDLE handle = create();
        EXPECT_FAILURE(handle, hsm_client_get_common_name, "common name");
        destroy(handle);
    }
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed + 1; i++) {
        const char *name = i < sizeof allowed / sizeof *allowed ? allowed[i] : long_name;
        hsm_configure(prov_file(&kn_algs[0], "alias.pem"), issue_for(&kn_algs[0], name, -60, 3600));
        HSM_CLIENT_HANDLE handle = create();
        char *got = hsm_client_x509_interface()->hsm_client_get_common_name(handle);
        assert_string_equal(got, name);
        free(got);
        destroy(handle);
    }
}

static void the_pin_is_wrong(void **state)
{
    (void)state;
    const keynym_hsm_config config = {.size = sizeof config,
                                           .key = "pkcs11:token=keynym;object=prime256v1",
                                           .certificate = prov_file(&kn_algs[0], "crt"),
                                           .pin_source = prov_token->wrong_pin_file,
                                           .module_path = test_module};
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    HSM_CLIENT_HANDLE handle = create();
    for (int i = 0; i < 5; i++) { /* more often than a token forgives */
        assert_null(hsm_client_x509_interface()->hsm_client_get_key(handle));
        assert_null(strstr(keynym_hsm_last_error(), "not the PIN"));
        hsm_expect_failure("hsm_client_get_key", "the PIN is wrong", NULL);
    }
    destroy(handle);
    hsm_configure("pkcs11:token=keynym;object=prime256v1", prov_file(&kn_algs[0], "crt"));
    handle = create();
    char *key = hsm_client_x509_interface()->hsm_client_get_key(handle);
    assert_non_null(key); /* the token is not locked */
    free(key);
    destroy(handle);
}

static void there_is_no_pin(void **state)
{
    (void)state;
    const keynym_hsm_config config = {.size = sizeof config,
                                           .key = "pkcs11:token=keynym;object=prime256v1",
                                           .certificate = prov_file(&kn_algs[0], "crt"),
                                           .module_path = test_module};
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "the token wants a PIN and none is configured", "pin-source");
    destroy(handle);
}

/* A PIN in the URI would come out again in the alias. */
static void a_pin_in_the_uri_is_refused_and_not_shown(void **state)
{
    char uri[256];
    (void)state;
    (void)snprintf(uri, sizeof uri, "pkcs11:token=keynym;object=prime256v1?pin-value=%s&module-path=%s",
                   prov_token->pin, test_module);
    const keynym_hsm_config config = {.size = sizeof config, .key = uri, .certificate = prov_file(&kn_algs[0], "crt")};
    hsm_listen();
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "would hold a PIN", "key has pin-value", NULL);
}

static void the_certificate_has_expired(void **state)
{
    static const struct {
        long not_before, not_after;
        const char *text;
    } rows[] = {{-7200, -3600, "has expired"}, {3600, 7200, "not valid yet"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *path = issue_for(&kn_algs[0], "device", rows[i].not_before, rows[i].not_after);
        hsm_configure(prov_file(&kn_algs[0], "alias.pem"), path);
        HSM_CLIENT_HANDLE handle = create();
        char *cert = hsm_client_x509_interface()->hsm_client_get_cert(handle);
        assert_non_null(cert);
        hsm_expect_warning(rows[i].text);
        char *key = hsm_client_x509_interface()->hsm_client_get_key(handle);
        assert_non_null(key);
        free(cert);
        free(key);
        destroy(handle);
    }
}

/* An issuer that has expired is as bad as a leaf, and nothing says so later. */
static void an_issuer_has_expired(void **state)
{
    char path[96], text[8192];
    EVP_PKEY *issuer = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    (void)state;
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "issuer.crt"));
    prov_issue(issuer, "an issuer", -7200, -3600, path);
    EVP_PKEY_free(issuer);
    char *leaf = prov_read(prov_file(&kn_algs[0], "crt")), *expired = prov_read(path);
    (void)snprintf(text, sizeof text, "%s%s", leaf, expired);
    test_token_write(prov_token, "chain.pem", text);
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "chain.pem"));
    hsm_configure(prov_file(&kn_algs[0], "alias.pem"), path);
    HSM_CLIENT_HANDLE handle = create();
    char *chain = hsm_client_x509_interface()->hsm_client_get_cert(handle);
    assert_non_null(chain);
    hsm_expect_warning("(an issuer) has expired");
    free(chain);
    free(leaf);
    free(expired);
    destroy(handle);
}

/* A PIN that somebody would have to type: the SDK has nobody to ask, and OpenSSL would ask at the terminal. */
static void nobody_is_asked_for_a_pin(void **state)
{
    (void)state;
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    config.key = "pkcs11:token=keynym;object=prime256v1";
    config.certificate = prov_file(&kn_algs[0], "crt");
    config.pin_source = "ask:";
    config.module_path = test_module;
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    HSM_CLIENT_HANDLE handle = create();
    EXPECT_FAILURE(handle, hsm_client_get_key, "PIN");
    destroy(handle);
}

static void the_configuration_file_is_wrong(void **state)
{
    static const struct {
        const char *text, *named;
    } rows[] = {
        {"[keynym_hsm]\nkey = a\npin_surce = b\n", "pin_surce"},
        {"[keynym_hsm\nkey = a\n", "line 1"},
    };
    (void)state;
    hsm_listen();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_token_write(prov_token, "bad.cnf", rows[i].text);
        assert_int_not_equal(keynym_hsm_load_config(test_token_path(prov_token, "bad.cnf")), 0);
        hsm_expect_failure("keynym_hsm_load_config", "the configuration is not valid", rows[i].named,
                           "bad.cnf", NULL);
    }
    assert_int_not_equal(keynym_hsm_load_config("/no/such/keynym.cnf"), 0);
    hsm_expect_failure("keynym_hsm_load_config", "/no/such/keynym.cnf", "No such file", NULL);
    assert_int_equal(setenv("KEYNYM_CONF", "/no/such/keynym.cnf", 1), 0);
    assert_int_not_equal(hsm_client_x509_init(), 0);
    hsm_expect_failure("hsm_client_x509_init", "/no/such/keynym.cnf", NULL);
    assert_int_equal(ERR_peek_error(), 0);
}

static void *fail_in_a_thread(void *arg)
{
    HSM_CLIENT_HANDLE handle = hsm_client_x509_interface()->hsm_client_x509_create();
    const char **ret_text = arg;
    assert_string_equal(keynym_hsm_last_error(), "");
    assert_null(hsm_client_x509_interface()->hsm_client_get_key(handle));
    *ret_text = strdup(keynym_hsm_last_error());
    hsm_client_x509_interface()->hsm_client_x509_destroy(handle);
    return NULL;
}

static void the_last_error_is_the_threads_own(void **state)
{
    pthread_t thread;
    char *text = NULL;
    (void)state;
    hsm_configure(test_token_uri(prov_token, "no-such-key"), prov_file(&kn_algs[0], "crt"));
    assert_string_equal(keynym_hsm_last_error(), "");
    assert_int_equal(hsm_client_x509_init(), 0);
    assert_int_equal(pthread_create(&thread, NULL, fail_in_a_thread, &text), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(strstr(text, "no-such-key"));
    assert_string_equal(keynym_hsm_last_error(), "");
    free(text);
    hsm_client_x509_deinit();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_configured),
        cmocka_unit_test(the_handle_is_null),
        cmocka_unit_test(the_key_is_missing),
        cmocka_unit_test(the_module_is_missing),
        cmocka_unit_test(the_certificate_is_missing),
        cmocka_unit_test(the_certificate_is_damaged),
        cmocka_unit_test(key_and_certificate_do_not_match),
        cmocka_unit_test(the_name_cannot_be_a_registration_id),
        cmocka_unit_test(the_pin_is_wrong),
        cmocka_unit_test(there_is_no_pin),
        cmocka_unit_test(a_pin_in_the_uri_is_refused_and_not_shown),
        cmocka_unit_test(the_certificate_has_expired),
        cmocka_unit_test(an_issuer_has_expired),
        cmocka_unit_test(nobody_is_asked_for_a_pin),
        cmocka_unit_test(the_configuration_file_is_wrong),
        cmocka_unit_test(the_last_error_is_the_threads_own),
    };
    return hsm_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
