/* A caller that behaves like the SDK: provisioning, then the hub with its reconnects, against a TLS server in a process of
 * its own, with each kind of key; several devices at once; and the token lost in between. */
#include "support/hsm.h"
#include "support/p11_shim.h"
#include "support/sdk.h"
#include "support/tls_server.h"

#include "support/module_leaks.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 3

/* One row for each type of key: what the SDK does differs by type, not by size. */
static const struct {
    const char *alg, *label;
} kinds[] = {{"EC:P-256", "an-ec-key"}, {"RSA:2048", "an-rsa-key"}, {"ED25519", "an-ed25519-key"}};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static const char *label_file(const char *label, const char *ending)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", label, ending);
    return test_token_path(prov_token, name);
}

static void make(const char *label, const char *alg)
{
    EVP_PKEY *public = prov_generate(label, kn_alg_by_name(alg));
    prov_issue(public, label, -3600, 86400, label_file(label, "crt"));
    EVP_PKEY_free(public);
}

static void make_all(void)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        make(kinds[i].label, kinds[i].alg);
}

static void configure(const char *label)
{
    hsm_configure(label_file(label, "alias.pem"), label_file(label, "crt"));
}

static bool connects(const char *key, const char *certificate, int version, int port)
{
    SSL_CTX *ctx = hsm_sdk_ssl_ctx(key, certificate, version);
    bool good = ctx && tls_server_serves(ctx, port);
    if (!good)
        ERR_print_errors_fp(stderr);
    SSL_CTX_free(ctx);
    return good;
}

typedef struct device {
    const char *name;
    int port, good;
} device;

/* Prov_Device: one handle, each getter once, one connection. */
static bool provisions(device *d, int version)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    if (!handle)
        return false;
    char *name = x509->hsm_client_get_common_name(handle), *cert = x509->hsm_client_get_cert(handle);
    char *key = x509->hsm_client_get_key(handle);
    bool good = name && !strcmp(name, d->name) && cert && key && connects(key, cert, version, d->port);
    free(name);
    free(cert);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    return good;
}

/* IoTHubDeviceClient: certificate and key are fetched three times; over MQTT the last texts serve all reconnects, over
 * AMQP each connection fetches them anew. */
static bool uses_the_hub(const device *d)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *cert = NULL, *key = NULL;
    bool good = handle != NULL;
    for (int i = 0; good && i < 3; i++) {
        free(cert);
        free(key);
        cert = x509->hsm_client_get_cert(handle);
        key = x509->hsm_client_get_key(handle);
        good = cert && key;
    }
    for (int i = 0; good && i < 3; i++)
        good = connects(key, cert, versions[i % 2], d->port);
    free(cert);
    free(key);
    if (good) {
        cert = x509->hsm_client_get_cert(handle);
        key = x509->hsm_client_get_key(handle);
        good = cert && key && connects(key, cert, TLS1_3_VERSION, d->port);
        free(cert);
        free(key);
    }
    x509->hsm_client_x509_destroy(handle);
    return good;
}

static void from_provisioning_to_the_hub(void **state)
{
    (void)state;
    make_all();
    int port = tls_server_start();
    for (size_t i = 0; i < KIND_COUNT; i++) {
        device d = {.name = kinds[i].label, .port = port};
        configure(d.name);
        assert_true(sdk_security_init());
        for (size_t v = 0; v < 2; v++)
            if (!provisions(&d, versions[v]))
                fail_msg("%s does not provision with version 0x%x", kinds[i].alg, (unsigned)versions[v]);
        if (!uses_the_hub(&d))
            fail_msg("%s and the hub", kinds[i].alg);
        sdk_security_deinit();
    }
    tls_server_stop();
    hsm_expect_quiet();
    assert_int_equal(ERR_peek_error(), 0);
}

/* The server wants a certificate: without one, or with the key of another device, there is no connection. */
static void the_server_refuses_a_stranger(void **state)
{
    (void)state;
    make("an-rsa-key", "RSA:2048");
    int port = tls_server_start();
    EVP_PKEY *stranger = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    FILE *file = fopen(label_file("stranger", "key"), "w");
    assert_true(file && PEM_write_PrivateKey(file, stranger, NULL, NULL, 0, NULL, NULL) && !fclose(file));
    EVP_PKEY_free(stranger);
    char *key = prov_read(label_file("stranger", "key")), *cert = prov_read(label_file("an-rsa-key", "crt"));
    SSL_CTX *ctx = hsm_sdk_ssl_ctx(key, cert, TLS1_3_VERSION);
    assert_false(ctx && tls_server_serves(ctx, port));
    ERR_clear_error();
    SSL_CTX_free(ctx);
    free(key);
    free(cert);
    tls_server_stop();
}

/* ---- RSA: what the token is asked for ---- */

static void configure_shim(const char *label, char *uri, size_t size)
{
    (void)snprintf(uri, size, "pkcs11:token=keynym;object=%s", label);
    const keynym_hsm_config config = {.size = sizeof config,
                                           .key = uri,
                                           .certificate = label_file(label, "crt"),
                                           .pin_source = prov_token->pin_file,
                                           .module_path = shim_module};
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
}

static void rsa_never_asks_for_an_unpadded_signature(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    char uri[128];
    (void)state;
    make("an-rsa-key", "RSA:2048");
    shim *s = shim_new(prov_token);
    configure_shim("an-rsa-key", uri, sizeof uri);
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle), *cert = x509->hsm_client_get_cert(handle);
    for (size_t v = 0; v < 2; v++) {
        shim_reset_calls(s);
        assert_true(hsm_sdk_connects(key, cert, versions[v]));
        assert_int_equal(atomic_load(&s->calls[SHIM_C_SignInit]), 1);
        assert_int_equal(atomic_load(&s->last_mechanism), CKM_RSA_PKCS_PSS);
    }
    /* PKCS #1 v1.5, where a server wants nothing else */
    SSL_CTX *client = hsm_sdk_ssl_ctx(key, cert, TLS1_2_VERSION), *server = prov_ssl_ctx(NULL, TLS_server_method(),
                                                                                         TLS1_2_VERSION);
    prov_use_software(server, &kn_algs[0]);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(client, "RSA+SHA256:ECDSA+SHA256"), 1);
    assert_int_equal(SSL_CTX_set1_client_sigalgs_list(server, "RSA+SHA256"), 1);
    assert_true(prov_handshake(client, server));
    assert_int_equal(atomic_load(&s->last_mechanism), CKM_RSA_PKCS);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    free(key);
    free(cert);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    shim_free(&s);
    hsm_expect_quiet();
}

/* The text carries a URI and a public key, nothing else; and it is not one that OpenSSL could take for a key of its own. */
static void an_rsa_alias_holds_no_secret(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    make("an-rsa-key", "RSA:2048");
    configure("an-rsa-key");
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    assert_non_null(key);
    assert_int_equal(strncmp(key, "-----BEGIN PRIVATE KEY-----\n", 28), 0);
    BIO *bio = BIO_new_mem_buf(key, -1);
    PKCS8_PRIV_KEY_INFO *pkcs8 = PEM_read_bio_PKCS8_PRIV_KEY_INFO(bio, NULL, NULL, NULL);
    const unsigned char *der;
    int length;
    kn_alias *alias = NULL;
    assert_int_equal(PKCS8_pkey_get0(NULL, &der, &length, NULL, pkcs8), 1);
    assert_false(kn_failed(kn_alias_from_der(der, (size_t)length, &alias)));
    assert_null(strstr(kn_alias_uri(alias), prov_token->pin));
    assert_int_equal(kn_alias_public(alias)->alg->type, KN_KEY_RSA);
    kn_alias_free(&alias);
    PKCS8_PRIV_KEY_INFO_free(pkcs8);
    BIO_free(bio);
    prov without = {.libctx = OSSL_LIB_CTX_new()};
    EVP_PKEY *pkey = prov_read_key_text(&without, key); /* the reader is the process's, so this works, too */
    assert_non_null(pkey);
    EVP_PKEY_free(pkey);
    OSSL_LIB_CTX_free(without.libctx);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    hsm_expect_quiet();
}

/* ---- what else the process does with RSA ---- */

static void other_rsa_keys_go_on(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    static const unsigned char text[] = "text";
    (void)state;
    make("an-rsa-key", "RSA:2048");
    configure("an-rsa-key");
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    EVP_PKEY *alias = hsm_decode(key), *own = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    assert_non_null(alias);
    assert_non_null(own);
    unsigned char signature[512];
    for (int pss = 0; pss < 2; pss++) {
        size_t length = sizeof signature;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *how = NULL;
        assert_int_equal(EVP_DigestSignInit(ctx, &how, EVP_sha256(), NULL, own), 1);
        assert_true(!pss || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1);
        assert_int_equal(EVP_DigestSign(ctx, signature, &length, text, sizeof text), 1);
        EVP_MD_CTX_reset(ctx);
        assert_int_equal(EVP_DigestVerifyInit(ctx, &how, EVP_sha256(), NULL, own), 1);
        assert_true(!pss || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1);
        assert_int_equal(EVP_DigestVerify(ctx, signature, length, text, sizeof text), 1);
        signature[9] ^= 1;
        EVP_MD_CTX_reset(ctx);
        assert_int_equal(EVP_DigestVerifyInit(ctx, &how, EVP_sha256(), NULL, own), 1);
        assert_true(!pss || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1);
        assert_int_not_equal(EVP_DigestVerify(ctx, signature, length, text, sizeof text), 1);
        ERR_clear_error();
        EVP_MD_CTX_free(ctx);
    }
    EVP_PKEY_free(own);
    EVP_PKEY_free(alias);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
    hsm_expect_quiet();
}

static void a_damaged_rsa_alias_is_refused(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    make("an-rsa-key", "RSA:2048");
    configure("an-rsa-key");
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle);
    BIO *bio = BIO_new_mem_buf(key, -1);
    PKCS8_PRIV_KEY_INFO *pkcs8 = PEM_read_bio_PKCS8_PRIV_KEY_INFO(bio, NULL, NULL, NULL);
    BIO_free(bio);
    const ASN1_OBJECT *oid;
    assert_int_equal(PKCS8_pkey_get0(&oid, NULL, NULL, NULL, pkcs8), 1);
    static const char *const contents[] = {"", "nothing of DER", "\x30\x03\x02\x01\x01"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(contents[i]);
        PKCS8_PRIV_KEY_INFO *bad = PKCS8_PRIV_KEY_INFO_new();
        assert_int_equal(PKCS8_pkey_set0(bad, OBJ_dup(oid), 0, V_ASN1_NULL, NULL,
                                         OPENSSL_memdup(contents[i], length + 1), (int)length), 1);
        EVP_PKEY *pkey = EVP_PKCS82PKEY(bad);
        assert_null(pkey);
        assert_int_not_equal(ERR_peek_error(), 0);
        ERR_clear_error();
        hsm_expect_failure("reading an RSA alias", "malformed", NULL);
        PKCS8_PRIV_KEY_INFO_free(bad);
    }
    PKCS8_PRIV_KEY_INFO_free(pkcs8);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    sdk_security_deinit();
}

/* ---- life ---- */

static void an_rsa_key_lives_as_an_ec_key_does(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    (void)state;
    make("an-rsa-key", "RSA:2048");
    configure("an-rsa-key");
    assert_true(sdk_security_init());
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *key = x509->hsm_client_get_key(handle), *cert = x509->hsm_client_get_cert(handle);
    sdk_security_deinit();
    assert_true(hsm_sdk_connects(key, cert, TLS1_3_VERSION)); /* deinit came before the last handle */
    SSL_CTX *held = hsm_sdk_ssl_ctx(key, cert, TLS1_3_VERSION);
    x509->hsm_client_x509_destroy(handle);
    SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), TLS1_3_VERSION);
    prov_use_software(server, &kn_algs[0]);
    assert_true(prov_handshake(held, server)); /* a key that is open goes on */
    SSL_CTX_free(held);
    SSL_CTX_free(server);
    sdk_security_deinit();
    assert_true(sdk_security_init());
    assert_true(hsm_sdk_connects(key, cert, TLS1_2_VERSION));
    sdk_security_deinit();
    free(key);
    free(cert);
    hsm_expect_quiet();
}

/* ---- several devices at once ---- */

static void *run_device(void *arg)
{
    device *d = arg;
    for (int i = 0; i < 2; i++)
        d->good += provisions(d, versions[i % 2]) && uses_the_hub(d);
    OPENSSL_thread_stop();
    return NULL;
}

static void devices_in_threads(void **state)
{
    pthread_t thread[THREADS];
    device devices[THREADS];
    (void)state;
    make_all();
    int port = tls_server_start();
    for (size_t kind = 0; kind < KIND_COUNT; kind++) {
        configure(kinds[kind].label);
        assert_true(sdk_security_init());
        for (int i = 0; i < THREADS; i++) {
            devices[i] = (device){.name = kinds[kind].label, .port = port};
            assert_int_equal(pthread_create(&thread[i], NULL, run_device, &devices[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(thread[i], NULL), 0);
            assert_int_equal(devices[i].good, 2);
        }
        sdk_security_deinit();
    }
    tls_server_stop();
    hsm_expect_quiet();
}

/* ---- the token is lost in the middle ---- */

static void survives_the_loss_of_the_token(void **state)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    char uri[128];
    (void)state;
    make_all();
    shim *s = shim_new(prov_token);
    for (size_t kind = 0; kind < KIND_COUNT; kind++) {
        configure_shim(kinds[kind].label, uri, sizeof uri);
        assert_true(sdk_security_init());
        HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
        char *key = x509->hsm_client_get_key(handle), *cert = x509->hsm_client_get_cert(handle);
        SSL_CTX *held = hsm_sdk_ssl_ctx(key, cert, TLS1_3_VERSION);
        assert_true(hsm_sdk_connects(key, cert, TLS1_2_VERSION));
        shim_close_sessions(s);
        assert_true(hsm_sdk_connects(key, cert, TLS1_3_VERSION)); /* the same text */
        shim_take_out(s);
        assert_false(hsm_sdk_connects(key, cert, TLS1_3_VERSION));
        ERR_clear_error();
        shim_put_in(s, 0);
        assert_true(hsm_sdk_connects(key, cert, TLS1_2_VERSION));
        SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), TLS1_3_VERSION);
        prov_use_software(server, &kn_algs[0]);
        assert_true(prov_handshake(held, server)); /* the same key */
        SSL_CTX_free(server);
        SSL_CTX_free(held);
        free(key);
        free(cert);
        x509->hsm_client_x509_destroy(handle);
        sdk_security_deinit();
    }
    shim_free(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_provisioning_to_the_hub),
        cmocka_unit_test(the_server_refuses_a_stranger),
        cmocka_unit_test(rsa_never_asks_for_an_unpadded_signature),
        cmocka_unit_test(an_rsa_alias_holds_no_secret),
        cmocka_unit_test(other_rsa_keys_go_on),
        cmocka_unit_test(a_damaged_rsa_alias_is_refused),
        cmocka_unit_test(an_rsa_key_lives_as_an_ec_key_does),
        cmocka_unit_test(devices_in_threads),
        cmocka_unit_test(survives_the_loss_of_the_token),
    };
    keep_modules();
    return hsm_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
