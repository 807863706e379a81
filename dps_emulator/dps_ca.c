#include "dps_ca.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "dps_x509.h"

const char *dps_ca_new(const char *name, const void *certificate, size_t len, dps_ca *ret_ca)
{
    dps_ca ca = {.created_ms = dps_time_now_ms()};
    if (dps_id_check(dps_span_of(name)) != DPS_ID_OK)
        return "the name of the certificate has up to 128 letters, digits, '-', '.', '_', ':'";
    ca.updated_ms = ca.created_ms;
    snprintf(ca.name, sizeof(ca.name), "%s", name);
    X509 *cert = dps_x509_parse(certificate, len);
    const char *problem = cert == NULL ? "the certificate is neither PEM nor DER"
                          : !dps_x509_is_ca(cert)
                              ? "the certificate is no CA certificate (basicConstraints CA:TRUE)"
                              : NULL;
    unsigned char *der = NULL;
    int n = problem == NULL ? i2d_X509(cert, &der) : 0;
    if (problem == NULL &&
        (n <= 0 || !dps_blob_copy(der, (size_t)n, &ca.certificate) || !dps_random_etag(ca.etag)))
        problem = "the certificate cannot be kept: out of memory";
    OPENSSL_free(der);
    X509_free(cert);
    if (problem == NULL)
        *ret_ca = ca;
    else
        dps_ca_clear(&ca);
    return problem;
}

bool dps_ca_new_code(dps_ca *ca)
{
    uint8_t random[(DPS_CODE_LEN - 1) / 2]; /* a common name has 64 characters at most */
    char etag[DPS_ETAG_LEN];
    if (RAND_bytes(random, sizeof(random)) != 1 || !dps_random_etag(etag))
        return false;
    dps_hex(random, sizeof(random), true, ca->code);
    memcpy(ca->etag, etag, sizeof(etag));
    ca->verified = false;
    ca->updated_ms = dps_time_now_ms();
    return true;
}

const char *dps_ca_verify(dps_ca *ca, const void *proof, size_t len)
{
    char cn[DPS_ID_LEN];
    char etag[DPS_ETAG_LEN];
    const char *problem = NULL;
    if (ca->code[0] == '\0')
        return "there is no verification code; ask for one first";
    X509 *root = dps_x509_parse(ca->certificate.bytes, ca->certificate.len);
    X509 *cert = dps_x509_parse(proof, len);
    EVP_PKEY *key = root != NULL ? X509_get0_pubkey(root) : NULL;
    if (cert == NULL)
        problem = "the verification certificate is neither PEM nor DER";
    else if (dps_x509_common_name(cert, cn) != DPS_CN_OK || strlen(cn) != strlen(ca->code) ||
             CRYPTO_memcmp(cn, ca->code, strlen(cn)) != 0)
        problem = "the common name of the verification certificate is not the verification code";
    else if (key == NULL || X509_verify(cert, key) != 1)
        problem = "the verification certificate is not signed by the key of the CA certificate";
    else if (dps_x509_check_leaf(cert).verdict == DPS_CHAIN_EXPIRED ||
             dps_x509_check_leaf(cert).verdict == DPS_CHAIN_NOT_YET_VALID)
        problem = "the verification certificate is not valid now";
    else if (!dps_random_etag(etag))
        problem = "there are no random numbers";
    X509_free(cert);
    X509_free(root);
    ERR_clear_error();
    if (problem != NULL)
        return problem;
    memcpy(ca->etag, etag, sizeof(etag));
    ca->verified = true;
    ca->code[0] = '\0';
    ca->updated_ms = dps_time_now_ms();
    return NULL;
}
