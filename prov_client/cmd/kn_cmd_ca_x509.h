/* Certificates as a certification authority makes them, with a key that OpenSSL has from a token.
 *
 * Units: days. Ownership: what is returned is the caller's. Errors: every function that fails has told the user.
 * Threads: none. Spec: RFC 5280; RFC 2986 for requests. Serial numbers are 159 random bits.
 */
#ifndef KN_CMD_CA_X509_H
#define KN_CMD_CA_X509_H

#include "kn_cmd.h"

#include <openssl/x509.h>

typedef enum kn_ca_profile {
    KN_CA_ROOT,         /* signs certificates; any number of authorities below */
    KN_CA_INTERMEDIATE, /* signs those of devices, and no further authority */
    KN_CA_DEVICE,       /* a TLS client */
    KN_CA_PROOF,        /* proves possession of the issuer's key; for nothing else */
} kn_ca_profile;

/* @reference: a pkcs11: or tpm2: URI, or a PEM file with an alias or a key. Nobody is asked for a pass phrase. */
kn_exit kn_ca_load_key(const char *reference, EVP_PKEY **ret_key);

/* The certificate request of @key for "CN=@name", self-signed. */
kn_exit kn_ca_request(EVP_PKEY *key, const char *name, X509_REQ **ret_request);

/* Reads a request and verifies that it is signed with its own key. */
kn_exit kn_ca_read_request(const char *path, X509_REQ **ret_request);

/* A certificate for @public and @subject, signed with @key. @issuer NULL: self-signed. KN_EXIT_USAGE when it would outlive the
 * issuer, or the issuer is no authority or is not that of the key. */
kn_exit kn_ca_issue(kn_ca_profile profile, const X509_NAME *subject, EVP_PKEY *public, const X509 *issuer, EVP_PKEY *key,
                    unsigned days, X509 **ret_certificate);

/* "CN=@name". NULL when memory is out. */
X509_NAME *kn_ca_name(const char *name);

#endif
