/* The SDK's TLS adapter uses calls that OpenSSL 3 deprecates. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "sdk.h"

#include "hsm_client_data.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static bool use_rsa(SSL_CTX *ctx, EVP_PKEY *pkey)
{
    RSA *rsa = EVP_PKEY_get1_RSA(pkey);
    bool good = rsa && SSL_CTX_use_RSAPrivateKey(ctx, rsa) == 1;
    RSA_free(rsa);
    return good;
}

static bool use_key(SSL_CTX *ctx, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    int type = pkey ? EVP_PKEY_id(pkey) : 0;
    bool good = pkey && (type == EVP_PKEY_RSA || type == EVP_PKEY_RSA2 ? use_rsa(ctx, pkey)
                                                                      : SSL_CTX_use_PrivateKey(ctx, pkey) == 1);
    EVP_PKEY_free(pkey);
    BIO_free(bio);
    return good;
}

static bool use_chain(SSL_CTX *ctx, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL), *ca;
    bool good = leaf && SSL_CTX_use_certificate(ctx, leaf) == 1;
    while (good && (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        good = SSL_CTX_add_extra_chain_cert(ctx, ca) == 1;
    if (good)
        ERR_clear_error(); /* the end of the text */
    X509_free(leaf);
    BIO_free(bio);
    return good;
}

bool sdk_add_credentials(SSL_CTX *ctx, const char *key_pem, const char *certificate_pem)
{
    return use_key(ctx, key_pem) && use_chain(ctx, certificate_pem);
}

bool sdk_security_init(void)
{
    return hsm_client_x509_init() == 0 && hsm_client_tpm_init() == 0 && hsm_client_x509_init() == 0 &&
           hsm_client_tpm_init() == 0;
}

void sdk_security_deinit(void)
{
    hsm_client_x509_deinit();
    hsm_client_tpm_deinit();
}
