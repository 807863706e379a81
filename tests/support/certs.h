/* Certificates for tests.
 *
 * Units: none. Ownership: the caller releases what is returned. Errors: end the test process with a message.
 * Threads: one.
 */
#ifndef TEST_CERTS_H
#define TEST_CERTS_H

#include "kn_cert.h"
#include "kn_public.h"

#include <openssl/x509.h>

/* A new key on the curve with OpenSSL's name @group, in software. */
EVP_PKEY *test_key_new(const char *group);

EVP_PKEY *test_key_public(const kn_public *public);

/* @issuer NULL: self-signed. Without key identifiers, so that only the signature tells issuers of one name apart. */
X509 *test_cert_new(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool is_ca);

void test_certs_add(kn_certs *certs, X509 *certificate);
bool test_cert_is(const kn_certs *certs, size_t index, X509 *certificate);

#endif
