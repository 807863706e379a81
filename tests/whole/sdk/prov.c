/* The part of a provisioning client that asks the HSM library and OpenSSL, as the SDK does. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <keynym/hsm_client_data.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <stdlib.h>

int use_identity(SSL_CTX *ctx);

int use_identity(SSL_CTX *ctx)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = hsm_client_x509_interface();
    if (!x509 || !hsm_client_tpm_interface() || !hsm_client_key_interface())
        return 0;
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    char *name = handle ? x509->hsm_client_get_common_name(handle) : NULL;
    char *chain = name ? x509->hsm_client_get_cert(handle) : NULL, *key = chain ? x509->hsm_client_get_key(handle) : NULL;
    BIO *bio = key ? BIO_new_mem_buf(key, -1) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    int good = 0;
    if (pkey && EVP_PKEY_get_id(pkey) == EVP_PKEY_RSA) {
        RSA *rsa = EVP_PKEY_get1_RSA(pkey);
        good = rsa && SSL_CTX_use_RSAPrivateKey(ctx, rsa) == 1;
        RSA_free(rsa);
    } else if (pkey) {
        good = SSL_CTX_use_PrivateKey(ctx, pkey) == 1;
    }
    BIO_free(bio);
    bio = good ? BIO_new_mem_buf(chain, -1) : NULL;
    X509 *leaf = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL, *issuer;
    good = leaf && SSL_CTX_use_certificate(ctx, leaf) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    while (good && (issuer = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        good = SSL_CTX_add_extra_chain_cert(ctx, issuer) == 1;
    ERR_clear_error(); /* the end of the text */
    X509_free(leaf);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    free(name);
    free(chain);
    free(key);
    x509->hsm_client_x509_destroy(handle);
    return good;
}
