/* The little cryptography in software that the backends need, with a libcrypto context of our own: no
 * configuration of the host changes it, and it never comes back to a provider that is made of this code.
 *
 * Units: bytes. Ownership: all borrowed. Errors: false also when libcrypto fails. Threads: any.
 */
#ifndef KN_CRYPTO_H
#define KN_CRYPTO_H

#include "kn_public.h"

/* @signature: an ECDSA-Sig-Value in DER. */
bool kn_crypto_verify(const kn_public *public, const uint8_t *digest, size_t digest_length,
                      const uint8_t *signature, size_t signature_length);

bool kn_crypto_random(uint8_t *ret_bytes, size_t length);

/* SHA-256 of @salt and then @data. */
bool kn_crypto_digest(const uint8_t *salt, size_t salt_length, const uint8_t *data, size_t length,
                      uint8_t ret_digest[32]);

#endif
