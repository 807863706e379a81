#include "prov_tls_credentials.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#define CHAIN_MAX 16 /* certificates, the leaf included */

/* OpenSSL would otherwise ask at the terminal, and hang a device that has none. */
static int refuse_passphrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

/* The first cause in the queue, which is then emptied. */
static kn_prov_code fail_with_queue(prov_error *error, kn_prov_code code, const char *what)
{
    unsigned long first = ERR_peek_error();
    unsigned long last = ERR_peek_last_error();
    char first_text[200] = "", last_text[200] = "";

    if (first)
        ERR_error_string_n(first, first_text, sizeof first_text);
    if (last != first)
        ERR_error_string_n(last, last_text, sizeof last_text);
    ERR_clear_error();
    return prov_fail(error, code, "%s%s%s%s%s", what, first ? ": " : "", first_text, *last_text ? "; " : "",
                     last_text);
}

static kn_prov_code use_chain(SSL_CTX *ctx, BIO *bio, prov_error *error)
{
    X509 *certificate = PEM_read_bio_X509_AUX(bio, NULL, refuse_passphrase, NULL);
    int used;

    if (!certificate)
        return fail_with_queue(error, KN_PROV_E_CERTIFICATE, "no certificate in the PEM text");
    used = SSL_CTX_use_certificate(ctx, certificate);
    X509_free(certificate);
    if (used != 1)
        return fail_with_queue(error, KN_PROV_E_CERTIFICATE, "TLS does not take the certificate");
    for (int count = 1;; count++) {
        certificate = PEM_read_bio_X509(bio, NULL, refuse_passphrase, NULL);
        if (!certificate)
            break;
        if (count >= CHAIN_MAX || SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
            X509_free(certificate);
            return fail_with_queue(error, KN_PROV_E_CERTIFICATE, "TLS does not take the certificate chain");
        }
    }
    /* The end of the text looks like this; anything else is a damaged certificate. */
    if (ERR_GET_LIB(ERR_peek_last_error()) != ERR_LIB_PEM ||
        ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail_with_queue(error, KN_PROV_E_CERTIFICATE, "a certificate of the chain cannot be read");
    ERR_clear_error();
    return KN_PROV_OK;
}

static kn_prov_code use_certificates(SSL_CTX *ctx, const char *pem, prov_error *error)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    kn_prov_code code;

    if (!bio)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the certificate");
    code = use_chain(ctx, bio, error);
    BIO_free(bio);
    return code;
}

/* SSL_CTX_use_PrivateKey() drops a key that does not fit the certificate without a word in some versions, so
 * the match is looked at before as well as after. */
static kn_prov_code use_key(SSL_CTX *ctx, const char *pem, prov_error *error)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = SSL_CTX_get0_certificate(ctx);
    kn_prov_code code = KN_PROV_OK;
    EVP_PKEY *key;

    if (!bio)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the key");
    key = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL);
    BIO_free(bio);
    if (!key)
        return fail_with_queue(error, KN_PROV_E_KEY, "OpenSSL cannot load the key");
    if (certificate && X509_check_private_key(certificate, key) != 1)
        code = fail_with_queue(error, KN_PROV_E_KEY_MISMATCH, "public keys compared");
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        code = fail_with_queue(error, KN_PROV_E_KEY, "TLS does not take the key");
    else if (SSL_CTX_check_private_key(ctx) != 1)
        code = fail_with_queue(error, KN_PROV_E_KEY_MISMATCH, "TLS compared them");
    EVP_PKEY_free(key);
    return code;
}

kn_prov_code prov_tls_use_credentials(SSL_CTX *ctx, const char *certificate_pem, const char *key_pem,
                                      prov_error *error)
{
    kn_prov_code code;

    ERR_clear_error();
    code = use_certificates(ctx, certificate_pem, error);
    if (code == KN_PROV_OK)
        code = use_key(ctx, key_pem, error);
    ERR_clear_error();
    return code;
}
