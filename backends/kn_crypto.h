/* The little cryptography in software that the backends need, with a libcrypto context of our own: no
 * configuration of the host changes it, and it never comes back to a provider that is made of this code.
 *
 * Units: bytes. Ownership: arguments are borrowed; X509_free() releases a certificate. Errors: false also when libcrypto fails. Threads: any.
 */
#ifndef KN_CRYPTO_H
#define KN_CRYPTO_H

#include "kn_key.h"

#include <openssl/types.h>

/* Of a signature. NONE: it could not be looked at, for lack of memory for one; or it is malformed. */
typedef enum kn_verdict { KN_VERDICT_BAD, KN_VERDICT_GOOD, KN_VERDICT_NONE } kn_verdict;

/* @how and @data as for kn_key_sign(); @salt_bytes may be KN_SALT_ANY. */
kn_verdict kn_crypto_judge(const kn_public *public, const kn_sign_how *how, const uint8_t *data, size_t length,
                           const uint8_t *signature, size_t signature_length);
/* Is it good? */
bool kn_crypto_verify(const kn_public *public, const kn_sign_how *how, const uint8_t *data, size_t length,
                      const uint8_t *signature, size_t signature_length);

/* Is it a point of its curve (SP 800-56A section 5.6.2.3), or a possible RSA key? */
bool kn_crypto_public_valid(const kn_public *public);

/* The base point of a curve, as a public key. */
bool kn_crypto_base_point(const kn_alg *alg, kn_public *ret_public);

/* Encrypts with an RSA key. @ret_data has room for KN_RSA_MAX bytes. */
bool kn_crypto_encrypt(const kn_public *public, const kn_decrypt_how *how, const uint8_t *plain, size_t length,
                       uint8_t *ret_data, size_t *ret_length);

/* One certificate in DER and nothing after it; NULL when it is not that. */
X509 *kn_crypto_certificate(const uint8_t *der, size_t length);

/* Did @issuer issue @certificate? Names and key identifiers fit, and the signature verifies. */
bool kn_crypto_issued(X509 *issuer, X509 *certificate);

bool kn_crypto_hmac(const uint8_t *key, size_t key_length, const uint8_t *data, size_t length, uint8_t ret_mac[32]);

bool kn_crypto_random(uint8_t *ret_bytes, size_t length);

bool kn_crypto_hash(const kn_digest *digest, const uint8_t *data, size_t length, uint8_t ret_digest[KN_DIGEST_MAX]);

/* SHA-256 of @salt and then @data. */
bool kn_crypto_digest(const uint8_t *salt, size_t salt_length, const uint8_t *data, size_t length,
                      uint8_t ret_digest[32]);

#endif
