/* TLS with the key of one side in a token, and client certificates demanded. */
#include "support/prov.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum how { BY_URI, BY_ALIAS, BY_BARE_ALIAS, HOW_COUNT } how;

static EVP_PKEY *get_key(const prov *p, const kn_alg *alg, how by)
{
    switch (by) {
    case BY_URI:
        return prov_key(p, alg);
    case BY_ALIAS:
        return prov_read_key(p, prov_file(alg, "alias.pem"));
    case BY_BARE_ALIAS:
        return prov_read_key(p, prov_file(alg, "bare.pem"));
    case HOW_COUNT:
        break;
    }
    return NULL;
}

static void use_token(const prov *p, SSL_CTX *ctx, const kn_alg *alg, how by)
{
    EVP_PKEY *pkey = get_key(p, alg, by);
    X509 *cert = prov_certificate(p, prov_file(alg, "crt"));
    assert_non_null(pkey);
    assert_string_equal(prov_of(pkey), "keynym");
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
    X509_free(cert);
    EVP_PKEY_free(pkey);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void a_client_proves_itself(void **state)
{
    const prov *p = *state;
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < TEST_EC_COUNT; i++)
            for (how by = 0; by < HOW_COUNT; by++) {
                SSL_CTX *client = prov_ssl_ctx(p->libctx, TLS_client_method(), versions[v]);
                SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), versions[v]);
                use_token(p, client, &kn_algs[i], by);
                prov_use_software(server, &kn_algs[0]);
                assert_true(prov_handshake(client, server));
                assert_true(prov_handshake(client, server));
                SSL_CTX_free(client);
                SSL_CTX_free(server);
            }
}

static void a_server_proves_itself(void **state)
{
    const prov *p = *state;
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < TEST_EC_COUNT; i++)
            for (how by = 0; by < HOW_COUNT; by++) {
                SSL_CTX *client = prov_ssl_ctx(NULL, TLS_client_method(), versions[v]);
                SSL_CTX *server = prov_ssl_ctx(p->libctx, TLS_server_method(), versions[v]);
                use_token(p, server, &kn_algs[i], by);
                prov_use_software(client, &kn_algs[0]);
                assert_true(prov_handshake(client, server));
                SSL_CTX_free(client);
                SSL_CTX_free(server);
            }
}

static void both_sides_in_one_token(void **state)
{
    const prov *p = *state;
    for (size_t v = 0; v < 2; v++) {
        SSL_CTX *client = prov_ssl_ctx(p->libctx, TLS_client_method(), versions[v]);
        SSL_CTX *server = prov_ssl_ctx(p->libctx, TLS_server_method(), versions[v]);
        use_token(p, client, &kn_algs[0], BY_ALIAS);
        use_token(p, server, &kn_algs[1], BY_URI);
        assert_true(prov_handshake(client, server));
        SSL_CTX_free(client);
        SSL_CTX_free(server);
    }
}

/* Fails when mutual authentication is not what the other tests believe it to be. */
static void a_client_without_a_key_is_refused(void **state)
{
    const prov *p = *state;
    for (size_t v = 0; v < 2; v++) {
        SSL_CTX *client = prov_ssl_ctx(p->libctx, TLS_client_method(), versions[v]);
        SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), versions[v]);
        prov_use_software(server, &kn_algs[0]);
        assert_false(prov_handshake(client, server));
        assert_non_null(strstr(prov_errors(), "peer did not return a certificate"));
        SSL_CTX_free(client);
        SSL_CTX_free(server);
    }
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    const prov *p = *state;
    EVP_PKEY *public = prov_software_public(&kn_algs[0]);
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]), *other = prov_key(p, &kn_algs[1]);
    EVP_PKEY *same_curve = EVP_PKEY_Q_keygen(p->libctx, NULL, "EC", "P-256");
    const char *path = test_token_path(prov_token, "same-curve.crt");
    prov_issue(same_curve, "same-curve", -60, 3600, path);
    X509 *cert = prov_certificate(p, prov_file(&kn_algs[0], "crt")), *other_cert = prov_certificate(p, path);
    /* The certificate is there: the key is refused. */
    SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_use_certificate(ctx, other_cert), 1);
    assert_int_not_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    assert_int_not_equal(SSL_CTX_check_private_key(ctx), 1);
    SSL_CTX_free(ctx);
    /* The key is there: OpenSSL takes the certificate and drops the key. */
    ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    assert_int_equal(SSL_CTX_use_certificate(ctx, other_cert), 1);
    assert_int_not_equal(SSL_CTX_check_private_key(ctx), 1);
    SSL_CTX_free(ctx);
    ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_not_equal(SSL_CTX_use_PrivateKey(ctx, other), 1);
    assert_string_not_equal(prov_errors(), "");
    SSL_CTX_free(ctx);
    X509_free(cert);
    X509_free(other_cert);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(other);
    EVP_PKEY_free(same_curve);
    EVP_PKEY_free(public);
}

/* A program that looks at the error queue after a call that succeeded takes what lies there for a failure. */
static void set_up_leaves_no_error(void **state)
{
    const prov *p = *state;
    for (int key_first = 0; key_first < 2; key_first++) {
        SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
        const char *key = prov_file(&kn_algs[0], "alias.pem"), *crt = prov_file(&kn_algs[0], "crt");
        if (key_first)
            assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, crt), 1);
        if (!key_first)
            assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
        assert_int_equal(ERR_peek_error(), 0);
        SSL_CTX_free(ctx);
    }
}

/* On a token of its own, which it removes while a program holds a key of it. */
static void a_token_that_is_gone_is_named(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        prov p;
        assert_int_equal(prov_group_teardown(NULL), 0);
        assert_int_equal(prov_group_setup(NULL), 0);
        prov_open(&p, PROV_DEFAULT_FIRST);
        SSL_CTX *client = prov_ssl_ctx(p.libctx, TLS_client_method(), versions[v]);
        SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), versions[v]);
        use_token(&p, client, &kn_algs[0], BY_ALIAS);
        prov_use_software(server, &kn_algs[0]);
        assert_true(prov_handshake(client, server));
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf -- '%s/tokens'", prov_token->dir);
        assert_int_equal(system(command), 0);
        assert_false(prov_handshake(client, server));
        prov_expect_error("no key matches", "on token 'keynym'", NULL);
        SSL_CTX_free(client);
        SSL_CTX_free(server);
        prov_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(a_client_proves_itself),
        PROV_TEST(a_server_proves_itself),
        PROV_TEST(both_sides_in_one_token),
        PROV_TEST(a_client_without_a_key_is_refused),
        PROV_TEST(a_key_of_another_certificate_is_refused),
        PROV_TEST(set_up_leaves_no_error),
        cmocka_unit_test(a_token_that_is_gone_is_named),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
