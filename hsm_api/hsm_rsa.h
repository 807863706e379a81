/* RSA keys for callers that take a key apart. The SDK's TLS adapter asks an RSA key for its RSA structure
 * (EVP_PKEY_get1_RSA), which a key of a provider does not have. So an RSA alias goes out as a PKCS#8 with an
 * AlgorithmIdentifier of our own, whose content is the alias; OpenSSL's reader comes to us for it, and gets an RSA
 * structure that signs with the key in the token.
 *
 * Units: bytes. Ownership: hsm_rsa_pem() returns text for free(); a key holds a reference to its kn_key until it is
 * released. Errors: KN_E_KEY_TYPE where this OpenSSL has no such way; a failed signature is on OpenSSL's error queue
 * and one log line. Threads: any, after hsm_rsa_start(). Fork: as kn_key.
 * Spec: RFC 5958 (PKCS#8); EVP_PKEY_ASN1_METHOD(3), RSA_METHOD(3), EVP_PKEY_METHOD(3). docs/hsm.md.
 *
 * What the process gets, for its life, since OpenSSL has no way back:
 *   hsm_rsa_start()   the object identifier, and how its keys are read: nobody else is touched
 *   hsm_rsa_pem()     how RSA keys sign (EVP_PKEY_METHOD): from then on all RSA operations of the process go through
 *                     OpenSSL's own legacy implementation, with ours in between that takes the keys of tokens.
 *                     Without it a token would have to offer RSA without padding.
 */
#ifndef KN_HSM_RSA_H
#define KN_HSM_RSA_H

#include "kn_alias.h"

/* The arc of UUID 93098b77-f116-49a8-851a-613a7784c6a5 (ITU-T X.667): nobody had to be asked for it. */
#define HSM_RSA_OID "2.25.195446074809808525121534537159833601701"

/* Makes OpenSSL read what hsm_rsa_pem() writes. Again and again, and in several copies of this library in one process:
 * the first serves all. */
KN_MUST_CHECK kn_err hsm_rsa_start(void);

/* @alias carries an RSA public key. */
KN_MUST_CHECK kn_err hsm_rsa_pem(const kn_alias *alias, char **ret_pem);

#endif
