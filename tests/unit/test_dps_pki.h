/* Certificates made in the test's own process, for the tests of dps_emulator. The caller frees everything. */
#ifndef TEST_DPS_PKI_H
#define TEST_DPS_PKI_H

#include <openssl/evp.h>
#include <openssl/x509.h>

typedef struct test_cert {
    X509 *cert;
    EVP_PKEY *key;
} test_cert;

typedef struct test_cert_spec {
    const char *cn;          /* NULL: no common name */
    const char *second_cn;   /* NULL: only one */
    const test_cert *issuer; /* NULL: self-signed */
    int ca;                  /* basicConstraints CA:TRUE and keyCertSign */
    const char *eku;         /* extendedKeyUsage; NULL: none */
    long from_s, to_s;       /* validity, in seconds from now; 0, 0: an hour ago to a day ahead */
    const char *digest;      /* NULL: SHA256 */
} test_cert_spec;

test_cert test_cert_make(const test_cert_spec *spec);
void test_cert_free(test_cert *cert);
void test_cert_write(X509 *cert, const char *path);

/* A new folder below TMPDIR or /tmp, and its removal with all that is in it. */
void test_dir_make(char path[64]);
void test_dir_remove(const char *path);

#endif
