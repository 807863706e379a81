/* The SDK's Engine option: the text of hsm_client_get_key() goes to libp11's engine `pkcs11`, with the SDK's calls: the engine is
 * looked up by its id, made the default for everything, and never configured. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "support/hsm.h"
#include "support/sdk.h"
#include "support/tls_server.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *alg, *label;
} kinds[] = {{"EC:P-256", "an-ec-key"}, {"RSA:2048", "an-rsa-key"}};

static const char *label_file(const char *label, const char *ending)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", label, ending);
    return test_token_path(prov_token, name);
}

static SSL_CTX *engine_ssl_ctx(ENGINE *engine, const char *key, const char *chain, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    BIO *bio = BIO_new_mem_buf(chain, -1);
    X509 *leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    EVP_PKEY *pkey = ENGINE_load_private_key(engine, key, NULL, NULL);
    if (!pkey)
        ERR_print_errors_fp(stderr);
    assert_non_null(pkey);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_load_verify_file(ctx, test_token_path(prov_token, "ca.crt")), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    assert_int_equal(SSL_CTX_use_certificate(ctx, leaf), 1);
    EVP_PKEY_free(pkey);
    X509_free(leaf);
    BIO_free(bio);
    return ctx;
}

static void the_engine_takes_the_uri(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        EVP_PKEY *public = prov_generate(kinds[i].label, kn_alg_by_name(kinds[i].alg));
        prov_issue(public, kinds[i].label, -3600, 86400, label_file(kinds[i].label, "crt"));
        EVP_PKEY_free(public);
    }
    int port = tls_server_start();
    assert_int_equal(setenv("PKCS11_MODULE_PATH", test_module, 1), 0);
    ENGINE *engine = ENGINE_by_id("pkcs11");
    if (!engine) {
        tls_server_stop();
        print_message("skipped: OpenSSL has no engine pkcs11 (Debian: libengine-pkcs11-openssl)\n");
        skip();
    }
    assert_int_equal(ENGINE_set_default(engine, ENGINE_METHOD_ALL), 1);
    assert_int_equal(ENGINE_init(engine), 1); /* libp11 0.4.13 has no default methods, which would have done that */
    for (size_t i = 0; i < 2; i++) {
        keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
        config.key = label_file(kinds[i].label, "alias.pem");
        config.certificate = label_file(kinds[i].label, "crt");
        config.module_path = test_module;
        config.key_form = "uri";
        hsm_listen();
        assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
        assert_true(sdk_security_init());
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *key = x509->hsm_client_get_key(handle), *chain = x509->hsm_client_get_cert(handle);
        assert_non_null(key);
        assert_int_equal(strncmp(key, "pkcs11:", 7), 0);
        static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
        for (size_t v = 0; v < 2; v++) {
            SSL_CTX *ctx = engine_ssl_ctx(engine, key, chain, versions[v]);
            assert_true(tls_server_serves(ctx, port));
            SSL_CTX_free(ctx);
        }
        free(key);
        free(chain);
        x509->hsm_client_x509_destroy(handle);
        sdk_security_deinit();
    }
    tls_server_stop();
    hsm_expect_quiet();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_engine_takes_the_uri),
    };
    return hsm_main(argc, argv, tests, 1);
}
