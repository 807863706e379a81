/* The contract of the Azure IoT C SDK with a custom HSM library, in the SDK's own order of calls. */
#include "support/hsm.h"
#include "support/sdk.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void configure(const kn_alg *alg)
{
    hsm_configure(prov_file(alg, "alias.pem"), prov_file(alg, "crt"));
}

/* ---- symbols ---- */

static void exports_exactly_what_is_documented(void **state)
{
    static const char *const expected[] = {
        "hsm_client_key_interface",  "hsm_client_tpm_deinit",  "hsm_client_tpm_init",
        "hsm_client_tpm_interface",  "hsm_client_x509_deinit", "hsm_client_x509_init",
        "hsm_client_x509_interface", "keynym_hsm_configure",   "keynym_hsm_last_error",
        "keynym_hsm_load_config",    "keynym_hsm_set_log",     "keynym_hsm_setting",
        "keynym_hsm_sign_sas",       "keynym_hsm_use",         "keynym_hsm_version"};
    char line[256], type;
    size_t n = 0;
    (void)state;
    FILE *nm = popen("LC_ALL=C nm -D --defined-only -P '" KEYNYM_HSM_LIBRARY "' | LC_ALL=C sort", "r");
    assert_non_null(nm);
    while (fgets(line, sizeof line, nm)) {
        char name[200];
        assert_int_equal(sscanf(line, "%199s %c", name, &type), 2);
        name[strcspn(name, "@")] = '\0';
        assert_true(n < sizeof expected / sizeof *expected);
        assert_string_equal(name, expected[n++]);
    }
    assert_int_equal(pclose(nm), 0);
    assert_int_equal(n, sizeof expected / sizeof *expected);
}

static void tables_are_complete_and_constant(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    (void)state;
    assert_non_null(x509->hsm_client_x509_create);
    assert_non_null(x509->hsm_client_x509_destroy);
    assert_non_null(x509->hsm_client_get_cert);
    assert_non_null(x509->hsm_client_get_key);
    assert_non_null(x509->hsm_client_get_common_name);
    assert_non_null(tpm->hsm_client_tpm_create);
    assert_non_null(tpm->hsm_client_tpm_destroy);
    assert_non_null(tpm->hsm_client_activate_identity_key);
    assert_non_null(tpm->hsm_client_get_ek);
    assert_non_null(tpm->hsm_client_get_srk);
    assert_non_null(tpm->hsm_client_sign_with_identity);
    assert_non_null(key->hsm_client_key_create);
    assert_non_null(key->hsm_client_key_destroy);
    assert_non_null(key->hsm_client_get_symm_key);
    assert_non_null(key->hsm_client_get_registration_name);
    assert_non_null(key->hsm_client_set_symm_key_info);
    assert_ptr_equal(x509, hsm_client_x509_interface());
    assert_ptr_equal(tpm, hsm_client_tpm_interface());
    assert_ptr_equal(key, hsm_client_key_interface());
    assert_string_equal(keynym_hsm_version(), KN_VERSION);
}

/* ---- the SDK's order of calls ---- */

static void sdk_session(const kn_alg *alg)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE dps = x509->hsm_client_x509_create();
    assert_non_null(dps);
    char *name = x509->hsm_client_get_common_name(dps), *cert = x509->hsm_client_get_cert(dps);
    char *key = x509->hsm_client_get_key(dps);
    assert_string_equal(name, alg->group);
    assert_true(hsm_sdk_connects(key, cert, TLS1_2_VERSION));
    assert_true(hsm_sdk_connects(key, cert, TLS1_3_VERSION));
    free(name);
    free(cert);
    free(key);
    x509->hsm_client_x509_destroy(dps);
    HSM_CLIENT_HANDLE hub = x509->hsm_client_x509_create();
    assert_non_null(hub);
    for (int i = 0; i < 3; i++) {
        cert = x509->hsm_client_get_cert(hub);
        key = x509->hsm_client_get_key(hub);
        assert_true(hsm_sdk_connects(key, cert, versions[i % 2]));
        free(cert);
        free(key);
    }
    x509->hsm_client_x509_destroy(hub);
}

static void serves_the_sdks_order_of_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        configure(&kn_algs[i]);
        assert_true(sdk_security_init());
        sdk_session(&kn_algs[i]);
        sdk_security_deinit();
        if (i == 1)
            sdk_security_deinit(); /* as the SDK does with a symmetric key */
    }
    configure(&kn_algs[0]);
    assert_int_equal(hsm_client_x509_init(), 0); /* the second time, the SDK calls it once */
    assert_int_equal(hsm_client_tpm_init(), 0);
    sdk_session(&kn_algs[0]);
    sdk_security_deinit();
    hsm_expect_quiet();
    assert_int_equal(ERR_peek_error(), 0);
}

static void deinit_without_init_is_harmless(void **state)
{
    (void)state;
    sdk_security_deinit();
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    sdk_session(&kn_algs[0]);
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void every_string_is_fresh(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_GET_CERTIFICATE getters[] = {x509->hsm_client_get_cert, x509->hsm_client_get_key,
                                            x509->hsm_client_get_common_name};
    (void)state;
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    for (size_t i = 0; i < 3; i++) {
        char *one = getters[i](handle), *two = getters[i](handle);
        assert_ptr_not_equal(one, two);
        assert_string_equal(one, two);
        memset(one, 'x', strlen(one));
        free(one);
        char *three = getters[i](handle);
        assert_string_equal(two, three);
        free(two);
        free(three);
    }
    x509->hsm_client_x509_destroy(handle);
    x509->hsm_client_x509_destroy(NULL);
    sdk_security_deinit();
}

static void the_key_is_an_alias_without_secrets(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    hsm_configure("pkcs11:token=keynym;object=prime256v1", NULL); /* completed from the settings */
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *pem = x509->hsm_client_get_key(handle);
    kn_alias *alias = NULL;
    assert_non_null(pem);
    assert_int_equal(strncmp(pem, "-----BEGIN " KN_ALIAS_PEM_LABEL "-----\n", 20), 0);
    assert_false(kn_failed(kn_alias_from_pem(pem, strlen(pem), &alias)));
    assert_non_null(kn_alias_public(alias));
    assert_non_null(strstr(kn_alias_uri(alias), prov_token->pin_file));
    assert_non_null(strstr(kn_alias_uri(alias), test_module));
    assert_null(strstr(kn_alias_uri(alias), prov_token->pin));
    kn_alias_free(&alias);
    free(pem);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void the_certificate_may_be_on_the_token(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    static const char *const certificates[] = {NULL, "pkcs11:token=keynym;object=prime256v1;type=cert"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        hsm_configure(test_token_uri(prov_token, kn_algs[0].group), certificates[i]);
        assert_true(sdk_security_init());
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *name = x509->hsm_client_get_common_name(handle), *cert = x509->hsm_client_get_cert(handle);
        char *key = x509->hsm_client_get_key(handle);
        assert_string_equal(name, kn_algs[0].group);
        assert_true(hsm_sdk_connects(key, cert, TLS1_3_VERSION));
        free(name);
        free(cert);
        free(key);
        x509->hsm_client_x509_destroy(handle);
        sdk_security_deinit();
    }
    hsm_expect_quiet();
}

static void a_chain_comes_whole_and_leaf_first(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    char *leaf = prov_read(prov_file(&kn_algs[0], "crt")),
         *ca = prov_read(test_token_path(prov_token, "ca.crt"));
    char text[8192], path[96];
    (void)state;
    (void)snprintf(text, sizeof text, "a comment\n%s\n%s", leaf, ca);
    test_token_write(prov_token, "chain.pem", text);
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "chain.pem"));
    hsm_configure(prov_file(&kn_algs[0], "alias.pem"), path);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *chain = x509->hsm_client_get_cert(handle), *key = x509->hsm_client_get_key(handle);
    (void)snprintf(text, sizeof text, "%s%s", leaf, ca);
    assert_string_equal(chain, text);
    assert_true(hsm_sdk_connects(key, chain, TLS1_3_VERSION));
    free(chain);
    free(key);
    free(leaf);
    free(ca);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
}

/* ---- the life of the provider ---- */

static char *key_of(HSM_CLIENT_HANDLE handle)
{
    char *pem = hsm_client_x509_interface()->hsm_client_get_key(handle);
    assert_non_null(pem);
    return pem;
}

static void expect_decodes(const char *pem)
{
    EVP_PKEY *pkey = hsm_decode(pem);
    if (!pkey)
        ERR_print_errors_fp(stderr);
    assert_non_null(pkey);
    assert_true(hsm_signs(pkey, &kn_algs[0]));
    EVP_PKEY_free(pkey);
}

static void the_key_decodes_for_as_long_as_a_handle_lives(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE first = x509->hsm_client_x509_create(), second = x509->hsm_client_x509_create();
    char *pem = key_of(first);
    x509->hsm_client_x509_destroy(first);
    expect_decodes(pem); /* another handle lives */
    sdk_security_deinit();
    expect_decodes(pem); /* deinit came first */
    char *again = key_of(second);
    expect_decodes(again);
    EVP_PKEY *held = hsm_decode(pem);
    x509->hsm_client_x509_destroy(second);
    assert_false(OSSL_PROVIDER_available(NULL, "keynym"));
    assert_null(hsm_decode(pem)); /* all gone; this would not fail if the provider were loaded for ever */
    ERR_clear_error();
    assert_true(hsm_signs(held, &kn_algs[0])); /* an open connection goes on */
    EVP_PKEY_free(held);
    assert_true(sdk_security_init());
    expect_decodes(pem);
    sdk_security_deinit();
    free(pem);
    free(again);
    hsm_expect_quiet();
}

static void init_alone_makes_the_key_decode(void **state)
{
    (void)state;
    hsm_listen();
    char *pem = prov_read(prov_file(&kn_algs[0], "alias.pem"));
    assert_null(hsm_decode(pem));
    ERR_clear_error();
    assert_int_equal(hsm_client_x509_init(), 0); /* nothing is configured: the alias is complete in itself */
    expect_decodes(pem);
    sdk_security_deinit();
    free(pem);
    hsm_expect_quiet();
}

static void the_default_provider_goes_on(void **state)
{
    unsigned char digest[EVP_MAX_MD_SIZE], random[16];
    size_t length;
    (void)state;
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    for (int i = 0; i < 2; i++) {
        char *pem = prov_read(test_token_path(prov_token, "ca.key"));
        EVP_PKEY *file_key = hsm_decode(pem), *made = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        assert_non_null(file_key);
        assert_string_equal(prov_of(file_key), "default");
        assert_string_equal(prov_of(made), "default");
        assert_int_equal(EVP_Q_digest(NULL, "SHA256", NULL, "abc", 3, digest, &length), 1);
        assert_int_equal(RAND_bytes(random, sizeof random), 1);
        EVP_PKEY_free(file_key);
        EVP_PKEY_free(made);
        free(pem);
        sdk_security_deinit(); /* and afterwards */
    }
}

static void an_application_may_have_loaded_keynym(void **state)
{
    (void)state;
    assert_int_equal(OSSL_PROVIDER_set_default_search_path(NULL, KEYNYM_MODULE_DIR), 1);
    OSSL_PROVIDER *theirs = OSSL_PROVIDER_load(NULL, "keynym"), *def = OSSL_PROVIDER_load(NULL, "default");
    assert_non_null(theirs);
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    sdk_session(&kn_algs[0]);
    sdk_security_deinit();
    assert_true(OSSL_PROVIDER_available(NULL, "keynym")); /* theirs stays */
    assert_int_equal(OSSL_PROVIDER_unload(theirs), 1);
    assert_true(sdk_security_init());
    sdk_session(&kn_algs[0]);
    sdk_security_deinit();
    assert_int_equal(OSSL_PROVIDER_unload(def), 1);
    hsm_expect_quiet();
}

/* ---- configuration ---- */

static void expect_name(const char *name)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    assert_non_null(handle);
    char *got = x509->hsm_client_get_common_name(handle);
    assert_string_equal(got, name);
    free(got);
    x509->hsm_client_x509_destroy(handle);
}

static void write_config(const char *file, const kn_alg *alg)
{
    char text[1024];
    (void)snprintf(
        text, sizeof text,
        "key = not-this-one\n[other]\nx = y\n[keynym_hsm]\nkey = %s\ncertificate = %s\npin_source = %s\n"
        "module_path = %s\n",
        prov_file(alg, "alias.pem"), prov_file(alg, "crt"), prov_token->pin_file, test_module);
    test_token_write(prov_token, file, text);
}

static void reads_the_file_of_the_environment(void **state)
{
    (void)state;
    hsm_listen();
    write_config("env.cnf", &kn_algs[1]);
    assert_int_equal(setenv("KEYNYM_CONF", test_token_path(prov_token, "env.cnf"), 1), 0);
    assert_true(sdk_security_init());
    expect_name(kn_algs[1].group);
    sdk_session(&kn_algs[1]);
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void what_the_application_says_comes_before_the_file(void **state)
{
    (void)state;
    hsm_listen();
    write_config("env.cnf", &kn_algs[1]);
    assert_int_equal(setenv("KEYNYM_CONF", test_token_path(prov_token, "env.cnf"), 1), 0);
    char key[96], certificate[96];
    (void)snprintf(key, sizeof key, "%s", prov_file(&kn_algs[0], "bare.pem"));
    (void)snprintf(certificate, sizeof certificate, "%s", prov_file(&kn_algs[0], "crt"));
    const keynym_hsm_config config = {.size = sizeof config,
                                           .key = key,
                                           .certificate = certificate}; /* the PIN comes from the file */
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_true(sdk_security_init());
    sdk_session(&kn_algs[0]);
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void a_null_member_leaves_what_the_file_says(void **state)
{
    (void)state;
    hsm_listen();
    write_config("env.cnf", &kn_algs[1]);
    assert_int_equal(setenv("KEYNYM_CONF", test_token_path(prov_token, "env.cnf"), 1), 0);
    const keynym_hsm_config config = {.size = sizeof config, .pin_source = prov_token->pin_file};
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_true(sdk_security_init());
    expect_name(kn_algs[1].group);
    sdk_security_deinit();
}

static void a_file_can_be_loaded_at_any_time(void **state)
{
    static const keynym_hsm_config nothing = {.size = sizeof nothing, .key = NULL};
    char first[96], second[96];
    (void)state;
    hsm_listen();
    write_config("first.cnf", &kn_algs[0]);
    write_config("second.cnf", &kn_algs[1]);
    (void)snprintf(first, sizeof first, "%s", test_token_path(prov_token, "first.cnf"));
    (void)snprintf(second, sizeof second, "%s", test_token_path(prov_token, "second.cnf"));
    assert_int_equal(keynym_hsm_load_config(first), 0);
    assert_true(sdk_security_init());
    expect_name(kn_algs[0].group);
    assert_int_equal(keynym_hsm_load_config(second), 0);
    expect_name(kn_algs[1].group); /* handles that are created afterwards */
    configure(&kn_algs[2]);
    expect_name(kn_algs[2].group);
    assert_int_equal(keynym_hsm_load_config(first), 0);
    expect_name(kn_algs[2].group); /* what the application said comes before it */
    assert_int_equal(keynym_hsm_configure(NULL, &nothing), 0);
    expect_name(kn_algs[0].group);
    sdk_security_deinit();
    hsm_expect_quiet();
}

/* ---- threads ---- */

static void *sdk_thread(void *arg)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    int *good = arg;
    for (int i = 0; i < 5; i++) {
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *cert = handle ? x509->hsm_client_get_cert(handle) : NULL;
        char *key = handle ? x509->hsm_client_get_key(handle) : NULL;
        EVP_PKEY *pkey = key ? hsm_decode(key) : NULL;
        if (cert && pkey && hsm_signs(pkey, &kn_algs[0]))
            ++*good;
        EVP_PKEY_free(pkey);
        free(cert);
        free(key);
        x509->hsm_client_x509_destroy(handle);
    }
    return NULL;
}

static void threads_have_handles_of_their_own(void **state)
{
    pthread_t thread[THREADS];
    int good[THREADS] = {0};
    (void)state;
    configure(&kn_algs[0]);
    assert_true(sdk_security_init());
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, sdk_thread, &good[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(good[i], 5);
    }
    sdk_security_deinit();
    hsm_expect_quiet();
}

/* ---- TPM and symmetric key ---- */

static void starts_without_a_tpm_and_says_so_later(void **state)
{
    const HSM_CLIENT_TPM_INTERFACE *tpm = hsm_client_tpm_interface();
    unsigned char *bytes = NULL;
    size_t length = 0;
    (void)state;
    hsm_listen();
    assert_int_equal(hsm_client_tpm_init(), 0);
    hsm_expect_quiet();
    assert_null(tpm->hsm_client_tpm_create());
    hsm_expect_failure("hsm_client_tpm_create", "TPM", NULL);
    assert_int_not_equal(tpm->hsm_client_get_ek(NULL, &bytes, &length), 0);
    hsm_expect_failure("hsm_client_get_ek", NULL);
    assert_int_not_equal(tpm->hsm_client_get_srk(NULL, &bytes, &length), 0);
    hsm_expect_failure("hsm_client_get_srk", NULL);
    assert_int_not_equal(tpm->hsm_client_activate_identity_key(NULL, (const unsigned char *)"x", 1), 0);
    hsm_expect_failure("hsm_client_activate_identity_key", NULL);
    assert_int_not_equal(
        tpm->hsm_client_sign_with_identity(NULL, (const unsigned char *)"x", 1, &bytes, &length), 0);
    hsm_expect_failure("hsm_client_sign_with_identity", NULL);
    assert_null(bytes);
    tpm->hsm_client_tpm_destroy(NULL);
    hsm_client_tpm_deinit();
    hsm_client_tpm_deinit();
}

static void a_symmetric_key_is_set_and_given_back(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    (void)state;
    hsm_listen();
    HSM_CLIENT_HANDLE one = key->hsm_client_key_create(), two = key->hsm_client_key_create();
    char name[] = "device-1", text[] = "a2V5MQ==";
    assert_int_equal(key->hsm_client_set_symm_key_info(one, name, text), 0);
    assert_int_equal(key->hsm_client_set_symm_key_info(two, "device-2", "a2V5Mg=="), 0);
    memset(name, 'x', sizeof name - 1); /* inputs are valid during the call only */
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 2; i++) {
        char *got_name = key->hsm_client_get_registration_name(one),
             *got_key = key->hsm_client_get_symm_key(one);
        assert_string_equal(got_name, "device-1");
        assert_string_equal(got_key, "a2V5MQ==");
        free(got_name);
        free(got_key);
    }
    assert_int_equal(key->hsm_client_set_symm_key_info(one, "device-3", "a2V5Mw=="), 0);
    char *got = key->hsm_client_get_symm_key(one);
    assert_string_equal(got, "a2V5Mw==");
    free(got);
    key->hsm_client_key_destroy(one);
    got = key->hsm_client_get_symm_key(two);
    assert_string_equal(got, "a2V5Mg==");
    free(got);
    key->hsm_client_key_destroy(two);
    key->hsm_client_key_destroy(NULL);
    hsm_expect_quiet();
}

static void a_symmetric_key_that_was_not_set_is_refused(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    static char long_key[600], long_name[200];
    (void)state;
    hsm_listen();
    memset(long_key, 'A', sizeof long_key - 1);
    memset(long_name, 'a', sizeof long_name - 1);
    HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
    assert_int_not_equal(key->hsm_client_set_symm_key_info(handle, NULL, NULL), 0);
    hsm_expect_failure("hsm_client_set_symm_key_info", "prov_dev_set_symmetric_key_info", NULL);
    assert_int_not_equal(key->hsm_client_set_symm_key_info(handle, "name", ""), 0);
    hsm_expect_failure("hsm_client_set_symm_key_info", "1 to 512 characters", NULL);
    assert_int_not_equal(key->hsm_client_set_symm_key_info(handle, "name", long_key), 0);
    hsm_expect_failure("hsm_client_set_symm_key_info", "1 to 512 characters", NULL);
    assert_int_not_equal(key->hsm_client_set_symm_key_info(handle, long_name, "a2V5"), 0);
    hsm_expect_failure("hsm_client_set_symm_key_info", "128", NULL);
    assert_null(key->hsm_client_get_symm_key(handle));
    hsm_expect_failure("hsm_client_get_symm_key", "no symmetric key", NULL);
    assert_null(key->hsm_client_get_registration_name(handle));
    hsm_expect_failure("hsm_client_get_registration_name", "no registration name", NULL);
    key->hsm_client_key_destroy(handle);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_exactly_what_is_documented),
        cmocka_unit_test(tables_are_complete_and_constant),
        cmocka_unit_test(serves_the_sdks_order_of_calls),
        cmocka_unit_test(deinit_without_init_is_harmless),
        cmocka_unit_test(every_string_is_fresh),
        cmocka_unit_test(the_key_is_an_alias_without_secrets),
        cmocka_unit_test(the_certificate_may_be_on_the_token),
        cmocka_unit_test(a_chain_comes_whole_and_leaf_first),
        cmocka_unit_test(the_key_decodes_for_as_long_as_a_handle_lives),
        cmocka_unit_test(init_alone_makes_the_key_decode),
        cmocka_unit_test(the_default_provider_goes_on),
        cmocka_unit_test(an_application_may_have_loaded_keynym),
        cmocka_unit_test(reads_the_file_of_the_environment),
        cmocka_unit_test(what_the_application_says_comes_before_the_file),
        cmocka_unit_test(a_null_member_leaves_what_the_file_says),
        cmocka_unit_test(a_file_can_be_loaded_at_any_time),
        cmocka_unit_test(threads_have_handles_of_their_own),
        cmocka_unit_test(starts_without_a_tpm_and_says_so_later),
        cmocka_unit_test(a_symmetric_key_is_set_and_given_back),
        cmocka_unit_test(a_symmetric_key_that_was_not_set_is_refused),
    };
    return hsm_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
