/* The HSM interface without an SDK: TLS with the key in the token, for a program that speaks to its service itself.
 *
 *     openssl_device HOST:PORT CA-FILE            (who the device is: /etc/keynym/keynym.cnf, or KEYNYM_CONF)
 */
#include <keynym/hsm_client_data.h>
#include <keynym/keynym_hsm.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int use_credentials(SSL_CTX *ctx, const char *chain, const char *key)
{
    BIO *in = BIO_new_mem_buf(chain, -1);
    X509 *certificate = PEM_read_bio_X509(in, NULL, NULL, NULL);
    int good = certificate && SSL_CTX_use_certificate(ctx, certificate);
    X509_free(certificate);
    while (good && (certificate = PEM_read_bio_X509(in, NULL, NULL, NULL)))
        good = (int)SSL_CTX_add0_chain_cert(ctx, certificate);
    ERR_clear_error(); /* the end of the text */
    BIO_free(in);
    in = BIO_new_mem_buf(key, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    good = good && pkey && SSL_CTX_use_PrivateKey(ctx, pkey);
    EVP_PKEY_free(pkey);
    BIO_free(in);
    return good;
}

static int talk(SSL_CTX *ctx, const char *address)
{
    char host[256];
    SSL *ssl = NULL;
    BIO *bio = BIO_new_ssl_connect(ctx);
    snprintf(host, sizeof host, "%.*s", (int)strcspn(address, ":"), address);
    BIO_get_ssl(bio, &ssl);
    if (SSL_set_tlsext_host_name(ssl, host) && SSL_set1_host(ssl, host) && BIO_set_conn_hostname(bio, address) &&
        BIO_do_connect(bio) > 0 && BIO_do_handshake(bio) > 0) {
        printf("%s, %s\n", SSL_get_version(ssl), SSL_get_cipher(ssl));
        BIO_free_all(bio);
        return 0;
    }
    ERR_print_errors_fp(stderr);
    BIO_free_all(bio);
    return 1;
}

int main(int argc, char **argv)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int failed = 1;
    if (argc != 3 || !ctx || !SSL_CTX_load_verify_file(ctx, argv[2]) || hsm_client_x509_init())
        return 2;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    HSM_CLIENT_HANDLE device = x509->hsm_client_x509_create();
    char *chain = device ? x509->hsm_client_get_cert(device) : NULL, *key = chain ? x509->hsm_client_get_key(device) : NULL;
    if (!key)
        fprintf(stderr, "%s\n", keynym_hsm_last_error());
    else if (use_credentials(ctx, chain, key))
        failed = talk(ctx, argv[1]);
    free(chain);
    free(key);
    SSL_CTX_free(ctx);
    x509->hsm_client_x509_destroy(device);
    hsm_client_x509_deinit();
    return failed;
}
