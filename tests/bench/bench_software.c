/* What a program pays that has keynym loaded and only uses keys in files: for valgrind's callgrind, which counts the
 * instructions inside measured().
 *
 *   bench_software handshake | mutual | load-ec | load-rsa | load-public | certificate  COUNT
 *
 * OPENSSL_CONF says which providers are there. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static SSL_CTX *client_ctx, *server_ctx;
static char *pem;
static long pem_length;
static const char *what;

static void need(bool good, const char *call)
{
    if (good)
        return;
    (void)fprintf(stderr, "bench_software: %s\n", call);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static X509 *issue(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);
    need(X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1) &&
             X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
             X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject) &&
             X509_gmtime_adj(X509_getm_notBefore(cert), -60) && X509_gmtime_adj(X509_getm_notAfter(cert), 3600) &&
             X509_set_pubkey(cert, key),
         "a certificate");
    if (!issuer) {
        X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
        need(ca && X509_add_ext(cert, ca, -1), "basicConstraints");
        X509_EXTENSION_free(ca);
    }
    need(X509_sign(cert, issuer_key, EVP_sha256()) > 0, "X509_sign");
    return cert;
}

static SSL_CTX *side(const SSL_METHOD *method, X509 *cert, EVP_PKEY *key, X509 *root, bool asks)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    need(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set1_groups_list(ctx, "P-256") &&
             (!cert || (SSL_CTX_use_certificate(ctx, cert) && SSL_CTX_use_PrivateKey(ctx, key))) &&
             X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), root),
         "an SSL_CTX");
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_verify(ctx, asks ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
    return ctx;
}

static void prepare(void)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    need(ca_key && key, "EVP_EC_gen");
    X509 *root = issue(ca_key, "root", NULL, ca_key), *leaf = issue(key, "leaf", root, ca_key);
    bool mutual = !strcmp(what, "mutual");
    client_ctx = side(TLS_client_method(), mutual ? leaf : NULL, key, root, true);
    server_ctx = side(TLS_server_method(), leaf, key, root, mutual);
    BIO *out = BIO_new(BIO_s_mem());
    EVP_PKEY *rsa = strcmp(what, "load-rsa") ? NULL : EVP_RSA_gen(2048);
    if (!strcmp(what, "load-public"))
        need(PEM_write_bio_PUBKEY(out, key), "PEM_write_bio_PUBKEY");
    else if (!strcmp(what, "certificate"))
        need(PEM_write_bio_X509(out, leaf), "PEM_write_bio_X509");
    else
        need(PEM_write_bio_PrivateKey(out, rsa ? rsa : key, NULL, NULL, 0, NULL, NULL), "PEM_write_bio_PrivateKey");
    char *text;
    pem_length = BIO_get_mem_data(out, &text);
    pem = strndup(text, (size_t)pem_length);
    BIO_free(out);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    X509_free(root);
    X509_free(leaf);
}

static void handshake(void)
{
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    int done_client = 0, done_server = 0;
    need(client && server && BIO_up_ref(to_server) && BIO_up_ref(to_client), "two sides");
    BIO_set_mem_eof_return(to_server, -1);
    BIO_set_mem_eof_return(to_client, -1);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_bio(server, to_server, to_client);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    for (int i = 0; i < 10 && !(done_client == 1 && done_server == 1); i++) {
        done_client = SSL_do_handshake(client);
        done_server = SSL_do_handshake(server);
    }
    need(done_client == 1 && done_server == 1 && SSL_get_verify_result(client) == X509_V_OK, "a handshake");
    SSL_free(client);
    SSL_free(server);
}

static void load(void)
{
    BIO *in = BIO_new_mem_buf(pem, (int)pem_length);
    if (!strcmp(what, "certificate")) {
        X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
        need(cert && X509_get0_pubkey(cert), "PEM_read_bio_X509");
        X509_free(cert);
    } else {
        EVP_PKEY *key = strcmp(what, "load-public") ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL)
                                                    : PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
        need(key != NULL, "PEM_read_bio");
        EVP_PKEY_free(key);
    }
    BIO_free(in);
}

void measured(void);
__attribute__((noinline)) void measured(void)
{
    if (!strcmp(what, "handshake") || !strcmp(what, "mutual"))
        handshake();
    else
        load();
}

void warm_up(void);
__attribute__((noinline)) void warm_up(void)
{
    if (!strcmp(what, "handshake") || !strcmp(what, "mutual"))
        handshake();
    else
        load();
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    what = argv[1];
    prepare();
    warm_up();
    for (int i = 0; i < atoi(argv[2]); i++)
        measured();
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
    free(pem);
    return 0;
}
