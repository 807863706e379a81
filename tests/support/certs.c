#include "certs.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

EVP_PKEY *test_key_new(const char *group)
{
    EVP_PKEY *key = EVP_EC_gen(group);
    MUST(key);
    return key;
}

EVP_PKEY *test_key_public(const kn_public *public)
{
    uint8_t der[KN_SPKI_MAX];
    size_t length;
    const uint8_t *end = der;
    MUST(!kn_failed(kn_public_to_spki(public, der, &length)));
    EVP_PKEY *key = d2i_PUBKEY(NULL, &end, (long)length);
    MUST(key && end == der + length);
    return key;
}

X509 *test_cert_new(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool is_ca)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    MUST(certificate && X509_set_version(certificate, 2));
    MUST(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++));
    X509_NAME *subject = X509_get_subject_name(certificate);
    MUST(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
    MUST(X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject));
    MUST(X509_gmtime_adj(X509_getm_notBefore(certificate), -86400));
    MUST(X509_gmtime_adj(X509_getm_notAfter(certificate), 86400));
    MUST(X509_set_pubkey(certificate, key));
    X509_EXTENSION *constraints = X509V3_EXT_nconf_nid(NULL, NULL, NID_basic_constraints,
                                                       is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    MUST(constraints && X509_add_ext(certificate, constraints, -1));
    X509_EXTENSION_free(constraints);
    MUST(X509_sign(certificate, issuer_key, EVP_sha256()));
    return certificate;
}

void test_certs_add(kn_certs *certs, X509 *certificate)
{
    uint8_t *der = NULL;
    int length = i2d_X509(certificate, &der);
    MUST(length > 0 && !kn_failed(kn_certs_add(certs, der, (size_t)length)));
    OPENSSL_free(der);
}

bool test_cert_is(const kn_certs *certs, size_t index, X509 *certificate)
{
    uint8_t *der = NULL;
    int length = i2d_X509(certificate, &der);
    bool same = index < certs->count && length > 0 && certs->cert[index].length == (size_t)length &&
                !memcmp(certs->cert[index].der, der, (size_t)length);
    OPENSSL_free(der);
    return same;
}
