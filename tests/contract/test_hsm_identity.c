/* Who a device is: by the application, the environment and the file; several identities in one process; symmetric keys, in
 * files and in the token; and that nothing of a token is held when nobody uses it. */
#include "support/hsm.h"
#include "support/p11_shim.h"
#include "support/sdk.h"

#include "keynym_hsm_sas.h"
#include "kn_hmac.h"
#include "prov_identity.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY_TEXT "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" /* 0123... */
#define KEY_RAW  "01234567890123456789012345678901"

static const unsigned char text[] = "scope%2fregistrations%2fdevice\n1700000000";

static char *name_of_next_handle(void)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *name = handle ? x509->hsm_client_get_common_name(handle) : NULL;
    x509->hsm_client_x509_destroy(handle);
    return name;
}

static void expect_name(const char *name)
{
    char *got = name_of_next_handle();
    assert_non_null(got);
    assert_string_equal(got, name);
    free(got);
}

static void configure_named(const char *identity, const kn_alg *alg)
{
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    char key[96], certificate[96];
    (void)snprintf(key, sizeof key, "%s", prov_file(alg, "alias.pem"));
    (void)snprintf(certificate, sizeof certificate, "%s", prov_file(alg, "crt"));
    config.key = key;
    config.certificate = certificate;
    assert_int_equal(keynym_hsm_configure(identity, &config), 0);
    memset(key, 'x', sizeof key - 1); /* it keeps copies */
}

/* ---- several identities ---- */

static void each_thread_chooses(void **state)
{
    (void)state;
    hsm_listen();
    configure_named(NULL, &kn_algs[0]);
    configure_named("pump", &kn_algs[1]);
    configure_named("valve.2_b-c", &kn_algs[2]);
    assert_true(sdk_security_init());
    expect_name(kn_algs[0].group);
    assert_int_equal(keynym_hsm_use("pump"), 0);
    expect_name(kn_algs[1].group);
    HSM_CLIENT_HANDLE pump = hsm_client_x509_interface()->hsm_client_x509_create();
    assert_int_equal(keynym_hsm_use("valve.2_b-c"), 0);
    expect_name(kn_algs[2].group);
    char *name = hsm_client_x509_interface()->hsm_client_get_common_name(pump); /* a handle keeps its identity */
    assert_string_equal(name, kn_algs[1].group);
    free(name);
    hsm_client_x509_interface()->hsm_client_x509_destroy(pump);
    assert_int_equal(keynym_hsm_use(NULL), 0);
    expect_name(kn_algs[0].group);
    sdk_security_deinit();
    hsm_expect_quiet();
}

typedef struct worker {
    const char *identity;
    const kn_alg *alg;
    int good;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    if (keynym_hsm_use(w->identity))
        return NULL;
    for (int i = 0; i < 5; i++) {
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *name = x509->hsm_client_get_common_name(handle), *key = x509->hsm_client_get_key(handle);
        EVP_PKEY *pkey = key ? hsm_decode(key) : NULL;
        w->good += name && !strcmp(name, w->alg->group) && pkey && hsm_signs(pkey, w->alg);
        EVP_PKEY_free(pkey);
        free(key);
        free(name);
        x509->hsm_client_x509_destroy(handle);
    }
    OPENSSL_thread_stop();
    return NULL;
}

static void identities_work_at_once(void **state)
{
    worker workers[] = {{NULL, &kn_algs[0], 0}, {"one", &kn_algs[1], 0}, {"two", &kn_algs[2], 0}};
    pthread_t thread[3];
    (void)state;
    hsm_listen();
    for (int i = 0; i < 3; i++)
        configure_named(workers[i].identity, workers[i].alg);
    assert_true(sdk_security_init());
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(workers[i].good, 5);
    }
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void an_identity_that_nobody_named_is_refused(void **state)
{
    static const char *const bad[] = {"", "a/b", "two words",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    hsm_listen();
    configure_named(NULL, &kn_algs[0]);
    assert_int_not_equal(keynym_hsm_use("nobody"), 0);
    hsm_expect_failure("keynym_hsm_use", "no identity 'nobody'", "[keynym_hsm.nobody]", NULL);
    expect_name(kn_algs[0].group); /* the one before is still used */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(keynym_hsm_use(bad[i]), 0);
        hsm_expect_failure("keynym_hsm_use", "1 to 64", NULL);
        assert_int_not_equal(keynym_hsm_configure(bad[i], &config), 0);
        hsm_expect_failure("keynym_hsm_configure", "1 to 64", NULL);
    }
    config.size = sizeof config + 1;
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "KEYNYM_HSM_CONFIG_INIT", NULL);
    config.size = 0;
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "KEYNYM_HSM_CONFIG_INIT", NULL);
}

/* A program that was compiled when the structure was shorter. */
static void an_older_header_still_works(void **state)
{
    keynym_hsm_config config = {.size = offsetof(keynym_hsm_config, key_form), .key_form = "not looked at"};
    char key[96], certificate[96];
    (void)state;
    hsm_listen();
    (void)snprintf(key, sizeof key, "%s", prov_file(&kn_algs[0], "alias.pem"));
    (void)snprintf(certificate, sizeof certificate, "%s", prov_file(&kn_algs[0], "crt"));
    config.key = key;
    config.certificate = certificate;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    expect_name(kn_algs[0].group);
}

/* ---- file and environment ---- */

static void write_sections(void)
{
    char out[2048];
    (void)snprintf(out, sizeof out,
                   "[keynym_hsm]\nkey = %s\ncertificate = %s\npin_source = %s\nmodule_path = %s\n"
                   "[keynym_hsm.second]\nkey = pkcs11:token=keynym;object=%s\ncertificate = %s\n",
                   prov_file(&kn_algs[0], "alias.pem"), prov_file(&kn_algs[0], "crt"), prov_token->pin_file, test_module,
                   kn_algs[1].group, prov_file(&kn_algs[1], "crt"));
    test_token_write(prov_token, "many.cnf", out);
    assert_int_equal(setenv("KEYNYM_CONF", test_token_path(prov_token, "many.cnf"), 1), 0);
}

static void sections_are_identities(void **state)
{
    static const char *const unsaid[] = {"tpm", "no-such-setting"};
    worker w = {"second", &kn_algs[1], 0}; /* PIN source and module come from the section without a name */
    (void)state;
    hsm_listen();
    write_sections();
    assert_true(sdk_security_init());
    expect_name(kn_algs[0].group);
    (void)work(&w);
    assert_int_equal(w.good, 5);
    char *pin_source = keynym_hsm_setting("pin_source"), *certificate = keynym_hsm_setting("certificate");
    assert_string_equal(pin_source, prov_token->pin_file);
    assert_string_equal(certificate, prov_file(&kn_algs[1], "crt"));
    free(pin_source);
    free(certificate);
    for (size_t i = 0; i < 2; i++)
        assert_null(keynym_hsm_setting(unsaid[i]));
    assert_int_equal(keynym_hsm_use(NULL), 0);
    expect_name(kn_algs[0].group);
    assert_int_equal(setenv("KEYNYM_HSM_IDENTITY", "second", 1), 0);
    expect_name(kn_algs[1].group);
    assert_int_equal(setenv("KEYNYM_HSM_IDENTITY", "third", 1), 0);
    assert_null(name_of_next_handle());
    hsm_expect_failure("hsm_client_x509_create", "no identity 'third'", NULL);
    sdk_security_deinit();
}

static void the_environment_comes_before_the_file(void **state)
{
    (void)state;
    hsm_listen();
    write_sections();
    assert_int_equal(setenv("KEYNYM_HSM_CERTIFICATE", prov_file(&kn_algs[2], "crt"), 1), 0);
    expect_name(kn_algs[2].group);
    configure_named(NULL, &kn_algs[1]); /* and the application before both */
    expect_name(kn_algs[1].group);
    assert_int_equal(keynym_hsm_use("second"), 0); /* it is of the identity without a name */
    expect_name(kn_algs[1].group);
    hsm_expect_quiet();
}

static void secrets_are_refused_wherever_they_stand(void **state)
{
    char line[256];
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    hsm_listen();
    config.symmetric_key = KEY_TEXT;
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_null(strstr(keynym_hsm_last_error(), "MDEy"));
    hsm_expect_failure("keynym_hsm_configure", "symmetric_key", "never the key", NULL);
    config.symmetric_key = "relative/path";
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "symmetric_key", "absolute path", NULL);
    config.symmetric_key = NULL;
    config.key_form = "engine";
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "key_form is alias or uri", NULL);
    (void)snprintf(line, sizeof line, "[keynym_hsm]\nsymmetric_key = %s\n", KEY_TEXT);
    test_token_write(prov_token, "secret.cnf", line);
    assert_int_not_equal(keynym_hsm_load_config(test_token_path(prov_token, "secret.cnf")), 0);
    assert_null(strstr(keynym_hsm_last_error(), "MDEy"));
    hsm_expect_failure("keynym_hsm_load_config", "secret.cnf", "never the key", NULL);
    (void)snprintf(line, sizeof line, "pkcs11:token=keynym;object=x?pin-value=%s", prov_token->pin);
    assert_int_equal(setenv("KEYNYM_HSM_KEY", line, 1), 0);
    assert_int_not_equal(hsm_client_x509_init(), 0);
    hsm_expect_failure("hsm_client_x509_init", "KEYNYM_HSM_KEY", "pin-value", NULL);
    assert_int_equal(setenv("KEYNYM_HSM_KEY", "", 1), 0); /* as if it were not there */
    assert_int_equal(hsm_client_x509_init(), 0);
    hsm_client_x509_deinit();
}

static void the_registration_id_must_be_the_common_name(void **state)
{
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    char certificate[96];
    (void)state;
    hsm_listen();
    (void)snprintf(certificate, sizeof certificate, "%s", prov_file(&kn_algs[0], "crt"));
    config.certificate = certificate;
    config.registration_id = kn_algs[0].group;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    expect_name(kn_algs[0].group);
    config.registration_id = "another";
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_null(name_of_next_handle());
    hsm_expect_failure("hsm_client_get_common_name", "another", kn_algs[0].group, NULL);
}

/* ---- symmetric keys ---- */

static const char *write_key(const char *name, const char *content, mode_t mode)
{
    test_token_write(prov_token, name, content);
    assert_int_equal(chmod(test_token_path(prov_token, name), mode), 0);
    return test_token_path(prov_token, name);
}

static void configure_symmetric(const char *where, const char *id)
{
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    config.symmetric_key = where;
    config.registration_id = id;
    config.pin_source = prov_token->pin_file;
    config.module_path = test_module;
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
}

static void expect_signature(HSM_CLIENT_HANDLE handle)
{
    unsigned char signature[KEYNYM_HSM_SAS_BYTES], expected[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    assert_non_null(HMAC(EVP_sha256(), KEY_RAW, 32, text, sizeof text, expected, &length));
    assert_int_equal(keynym_hsm_sign_sas(handle, text, sizeof text, signature), 0);
    assert_int_equal(length, sizeof signature);
    assert_memory_equal(signature, expected, sizeof signature);
}

static void a_key_in_a_file(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    (void)state;
    configure_symmetric(write_key("sas.b64", KEY_TEXT "\n", 0600), "device-1");
    HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
    assert_int_equal(key->hsm_client_set_symm_key_info(handle, NULL, NULL), 0); /* the application said nothing */
    char *name = key->hsm_client_get_registration_name(handle), *one = key->hsm_client_get_symm_key(handle);
    char *two = key->hsm_client_get_symm_key(handle);
    assert_string_equal(name, "device-1");
    assert_string_equal(one, KEY_TEXT);
    assert_ptr_not_equal(one, two);
    expect_signature(handle);
    free(name);
    free(one);
    free(two);
    key->hsm_client_key_destroy(handle);
    hsm_expect_quiet();
}

static void every_length_of_key_comes_out_as_it_went_in(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    (void)state;
    for (int length = KN_HMAC_KEY_MIN; length <= KN_HMAC_KEY_MAX; length++) {
        unsigned char raw[KN_HMAC_KEY_MAX];
        char encoded[KN_HMAC_TEXT_MAX + 1];
        for (int i = 0; i < length; i++)
            raw[i] = (unsigned char)(255 - 7 * i);
        (void)EVP_EncodeBlock((unsigned char *)encoded, raw, length);
        configure_symmetric(write_key("sas.b64", encoded, 0600), "device-1");
        HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
        char *got = key->hsm_client_get_symm_key(handle);
        assert_string_equal(got, encoded);
        free(got);
        key->hsm_client_key_destroy(handle);
    }
}

static void a_key_in_the_token(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    kn_ctx *ctx = test_token_context(prov_token);
    kn_hmac *hmac = NULL;
    kn_secret *secret = NULL;
    (void)state;
    assert_false(kn_failed(kn_secret_new(KEY_RAW, 32, &secret)));
    assert_false(kn_failed(kn_hmac_import(ctx, "pkcs11:token=keynym;object=sas", secret, &hmac)));
    kn_hmac_free(&hmac);
    kn_secret_free(&secret);
    kn_ctx_unref(&ctx);
    configure_symmetric("pkcs11:token=keynym;object=sas;type=secret-key", "device-1");
    HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
    assert_int_equal(key->hsm_client_set_symm_key_info(handle, NULL, NULL), 0);
    expect_signature(handle);
    expect_signature(handle);
    assert_null(key->hsm_client_get_symm_key(handle)); /* the SDK's way would take it out */
    hsm_expect_failure("hsm_client_get_symm_key", "stays in its token", "keynym_hsm_sign_sas", NULL);
    /* a key of the application comes before the configuration */
    assert_int_equal(key->hsm_client_set_symm_key_info(handle, "device-2", "b3RoZXIga2V5IG9mIDE2"), 0);
    char *got = key->hsm_client_get_symm_key(handle), *name = key->hsm_client_get_registration_name(handle);
    assert_string_equal(got, "b3RoZXIga2V5IG9mIDE2");
    assert_string_equal(name, "device-2");
    free(got);
    free(name);
    key->hsm_client_key_destroy(handle);
    configure_symmetric("pkcs11:token=keynym;object=nobody", "device-1");
    handle = key->hsm_client_key_create();
    unsigned char signature[KEYNYM_HSM_SAS_BYTES];
    assert_int_not_equal(keynym_hsm_sign_sas(handle, text, sizeof text, signature), 0);
    hsm_expect_failure("keynym_hsm_sign_sas", "no key matches", "nobody", NULL);
    key->hsm_client_key_destroy(handle);
}

/* What keynym provision does with it: the key is never asked for, and the token is. */
static void our_client_signs_in_the_token(void **state)
{
    unsigned char mac[PROV_MAC_BYTES], expected[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    kn_hmac *hmac = NULL;
    kn_secret *secret = NULL;
    prov_identity identity;
    prov_error error = {.detail = ""};
    (void)state;
    shim *s = shim_new(prov_token);
    kn_ctx *ctx = test_token_context(prov_token);
    assert_false(kn_failed(kn_secret_new(KEY_RAW, 32, &secret)));
    assert_false(kn_failed(kn_hmac_import(ctx, "pkcs11:token=keynym;object=sas", secret, &hmac)));
    kn_hmac_free(&hmac);
    kn_secret_free(&secret);
    kn_ctx_unref(&ctx);
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    config.symmetric_key = "pkcs11:token=keynym;object=sas";
    config.registration_id = "device-1";
    config.pin_source = prov_token->pin_file;
    config.module_path = shim_module;
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_int_equal(prov_attestation_symmetric.open(NULL, &identity, &error), KN_PROV_OK);
    assert_string_equal(identity.registration_id, "device-1");
    assert_int_equal(identity.key_bytes, 0);
    assert_int_equal(identity.sign(&identity, text, sizeof text, mac, &error), KN_PROV_OK);
    assert_int_equal(atomic_load(&s->last_mechanism), CKM_SHA256_HMAC);
    assert_non_null(HMAC(EVP_sha256(), KEY_RAW, 32, text, sizeof text, expected, &length));
    assert_memory_equal(mac, expected, sizeof mac);
    prov_attestation_symmetric.close(&identity);
    shim_free(&s);
    hsm_expect_quiet();
}

static void symmetric_keys_that_cannot_be_used(void **state)
{
    const HSM_CLIENT_KEY_INTERFACE *key = hsm_client_key_interface();
    unsigned char signature[KEYNYM_HSM_SAS_BYTES];
    (void)state;
    const struct {
        const char *content;
        mode_t mode;
        const char *named;
    } rows[] = {
        {KEY_TEXT, 0644, "mode 0644"},
        {KEY_TEXT, 0640, "mode 0640"},
        {"not base64!", 0600, "not base64"},
        {"c2hvcnQ=", 0600, "16 to 64 bytes"},
        {"", 0600, "not base64"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        configure_symmetric(write_key("bad.b64", rows[i].content, rows[i].mode), "device-1");
        HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
        assert_null(key->hsm_client_get_symm_key(handle));
        hsm_expect_failure("hsm_client_get_symm_key", "bad.b64", rows[i].named, NULL);
        assert_int_not_equal(keynym_hsm_sign_sas(handle, text, sizeof text, signature), 0);
        hsm_expect_failure("keynym_hsm_sign_sas", "bad.b64", rows[i].named, NULL);
        key->hsm_client_key_destroy(handle);
    }
    configure_symmetric("/no/such/key.b64", "ends.");
    HSM_CLIENT_HANDLE handle = key->hsm_client_key_create();
    assert_null(key->hsm_client_get_symm_key(handle));
    hsm_expect_failure("hsm_client_get_symm_key", "/no/such/key.b64", "No such file", NULL);
    assert_null(key->hsm_client_get_registration_name(handle));
    hsm_expect_failure("hsm_client_get_registration_name", "ends.", "registration id", NULL);
    assert_int_not_equal(key->hsm_client_set_symm_key_info(handle, "only-a-name", NULL), 0);
    hsm_expect_failure("hsm_client_set_symm_key_info", "prov_dev_set_symmetric_key_info", NULL);
    assert_int_not_equal(keynym_hsm_sign_sas(NULL, text, sizeof text, signature), 0);
    hsm_expect_failure("keynym_hsm_sign_sas", "NULL", NULL);
    assert_int_not_equal(keynym_hsm_sign_sas(handle, NULL, 0, signature), 0);
    hsm_expect_failure("keynym_hsm_sign_sas", "NULL", NULL);
    key->hsm_client_key_destroy(handle);
    assert_int_equal(ERR_peek_error(), 0);
}

/* ---- what is held ---- */

static void nothing_of_the_token_is_held_after_deinit(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    shim *s = shim_new(prov_token);
    hsm_listen();
    config.key = "pkcs11:token=keynym;object=prime256v1";
    config.pin_source = prov_token->pin_file;
    config.module_path = shim_module;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    for (int round = 0; round < 3; round++) {
        assert_true(sdk_security_init());
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *key = x509->hsm_client_get_key(handle);
        EVP_PKEY *pkey = hsm_decode(key);
        assert_true(hsm_signs(pkey, &kn_algs[0]));
        assert_true(atomic_load(&s->sessions) > 0);
        sdk_security_deinit();
        assert_true(atomic_load(&s->sessions) > 0); /* a handle lives */
        assert_true(hsm_signs(pkey, &kn_algs[0]));
        x509->hsm_client_x509_destroy(handle);
        assert_int_equal(atomic_load(&s->sessions), 0);
        assert_true(hsm_signs(pkey, &kn_algs[0])); /* a key that is open takes a new one */
        EVP_PKEY_free(pkey);
        free(key);
        sdk_security_deinit();
        assert_int_equal(atomic_load(&s->sessions), 0);
    }
    shim_free(&s);
    hsm_expect_quiet();
}

static void a_child_leaves_its_parents_sessions_alone(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    int status = 0;
    (void)state;
    shim *s = shim_new(prov_token);
    hsm_listen();
    config.key = "pkcs11:token=keynym;object=prime256v1";
    config.pin_source = prov_token->pin_file;
    config.module_path = shim_module;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    EVP_PKEY *pkey = hsm_decode(key);
    assert_true(hsm_signs(pkey, &kn_algs[0]));
    shim_reset_calls(s);
    pid_t pid = fork();
    if (pid == 0) {
        EVP_PKEY_free(pkey);
        free(key);
        x509->hsm_client_x509_destroy(handle);
        sdk_security_deinit();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(shim_total(s), 0);
    assert_true(hsm_signs(pkey, &kn_algs[0]));
    assert_int_equal(shim_total(s), 2); /* the same session */
    EVP_PKEY_free(pkey);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    shim_free(&s);
    hsm_expect_quiet();
}

/* OpenSSL keeps the provider; what the application says afterwards must reach it all the same. */
static void settings_may_change_between_two_lives(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    char two_modules[256], certificate[96];
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    shim *s = shim_new(prov_token);
    hsm_listen();
    config.module_path = TEST_EMPTY_MODULE;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_true(sdk_security_init());
    sdk_security_deinit();
    /* a list of modules does not go into the alias: the provider must know it from the settings */
    (void)snprintf(certificate, sizeof certificate, "%s", prov_file(&kn_algs[1], "crt"));
    (void)snprintf(two_modules, sizeof two_modules, "%s:%s", shim_module, TEST_EMPTY_MODULE);
    config.key = "pkcs11:token=keynym;object=secp384r1";
    config.certificate = certificate;
    config.pin_source = prov_token->pin_file;
    config.module_path = two_modules;
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    EVP_PKEY *pkey = hsm_decode(key);
    assert_true(hsm_signs(pkey, &kn_algs[1]));
    EVP_PKEY_free(pkey);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    shim_free(&s);
    hsm_expect_quiet();
}

static void settings_of_the_token_reach_the_sdks_keys(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    shim *s = shim_new(prov_token);
    hsm_listen();
    config.key = "pkcs11:token=keynym;object=prime256v1";
    config.pin_source = prov_token->pin_file;
    config.module_path = shim_module;
    config.sessions_max = "1";
    for (int copy = 0; copy < 2; copy++) {
        config.token_copy = copy ? "yes" : "no";
        assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
        assert_true(sdk_security_init());
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *key = x509->hsm_client_get_key(handle);
        EVP_PKEY *pkey = hsm_decode(key);
        shim_reset_calls(s);
        assert_true(hsm_signs(pkey, &kn_algs[0]));
        assert_int_equal(atomic_load(&s->calls[SHIM_C_CopyObject]), copy);
        assert_true(atomic_load(&s->sessions) == 1);
        EVP_PKEY_free(pkey);
        free(key);
        x509->hsm_client_x509_destroy(handle);
        sdk_security_deinit();
    }
    shim_free(&s);
    hsm_expect_quiet();
}

static void settings_of_the_token_that_are_wrong(void **state)
{
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    hsm_listen();
    config.token_copy = "maybe";
    assert_int_not_equal(keynym_hsm_configure(NULL, &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "token_copy = maybe", "yes or no", NULL);
    config.token_copy = "yes";
    assert_int_not_equal(keynym_hsm_configure("pump", &config), 0);
    hsm_expect_failure("keynym_hsm_configure", "token_copy", "the one without a name", NULL);
    test_token_write(prov_token, "sessions.cnf", "[keynym_hsm]\nsessions_max = 0\n");
    assert_int_not_equal(keynym_hsm_load_config(test_token_path(prov_token, "sessions.cnf")), 0);
    hsm_expect_failure("keynym_hsm_load_config", "sessions.cnf", "sessions_max = 0", "from 1 to 1024", NULL);
    assert_int_equal(setenv("KEYNYM_HSM_LOGIN", "sometimes", 1), 0);
    assert_int_not_equal(hsm_client_x509_init(), 0);
    hsm_expect_failure("hsm_client_x509_init", "KEYNYM_HSM_LOGIN", "when_needed", NULL);
    assert_int_equal(unsetenv("KEYNYM_HSM_LOGIN"), 0);
}

/* ---- the engine road ---- */

static void the_key_as_a_uri(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    (void)state;
    hsm_listen();
    config.key = "pkcs11:token=keynym;object=prime256v1";
    config.pin_source = prov_token->pin_file;
    config.module_path = test_module;
    config.key_form = "uri";
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    assert_non_null(key);
    assert_int_equal(strncmp(key, "pkcs11:token=keynym;object=prime256v1?", 38), 0);
    assert_non_null(strstr(key, prov_token->pin_file));
    assert_null(strstr(key, "module-path")); /* libp11 would refuse it */
    assert_null(strstr(key, prov_token->pin));
    free(key);
    x509->hsm_client_x509_destroy(handle);
    hsm_client_x509_deinit();
    hsm_expect_quiet();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thread_chooses),
        cmocka_unit_test(identities_work_at_once),
        cmocka_unit_test(an_identity_that_nobody_named_is_refused),
        cmocka_unit_test(an_older_header_still_works),
        cmocka_unit_test(sections_are_identities),
        cmocka_unit_test(the_environment_comes_before_the_file),
        cmocka_unit_test(secrets_are_refused_wherever_they_stand),
        cmocka_unit_test(the_registration_id_must_be_the_common_name),
        cmocka_unit_test(a_key_in_a_file),
        cmocka_unit_test(every_length_of_key_comes_out_as_it_went_in),
        cmocka_unit_test(a_key_in_the_token),
        cmocka_unit_test(our_client_signs_in_the_token),
        cmocka_unit_test(symmetric_keys_that_cannot_be_used),
        cmocka_unit_test(nothing_of_the_token_is_held_after_deinit),
        cmocka_unit_test(a_child_leaves_its_parents_sessions_alone),
        cmocka_unit_test(settings_may_change_between_two_lives),
        cmocka_unit_test(settings_of_the_token_reach_the_sdks_keys),
        cmocka_unit_test(settings_of_the_token_that_are_wrong),
        cmocka_unit_test(the_key_as_a_uri),
    };
    return hsm_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
