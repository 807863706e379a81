/* A private key that stays where it is: the one key handle.
 *
 * Units: bytes; *_bits in bits. Ownership: kn_key_open() and kn_key_generate() return a reference; kn_key_ref()
 * adds one; kn_key_unref() gives one back. Errors: named with each call; the detail names token, call and code.
 * Threads: any number of threads may use one key at once. Fork: the child's first use finds the key again.
 * Spec: PKCS#11 v3.0; docs/architecture.md.
 */
#ifndef KN_KEY_H
#define KN_KEY_H

#include "kn_alias.h"
#include "kn_ctx.h"
#include "kn_digest.h"

typedef struct kn_key kn_key;

/* Finds exactly one private key. Two matches are an error (KN_E_AMBIGUOUS), never "the first". An alias that
 * carries its public key is taken at its word, and the token is asked at the first operation.
 * Borrows @alias. Returns a reference in @ret_key; untouched on failure. */
KN_MUST_CHECK kn_err kn_key_open(kn_ctx *ctx, const kn_alias *alias, kn_key **ret_key);

/* Makes a key pair on the token that @uri names, under the URI's object (label) and id (a random one when
 * absent). The private key is sensitive and not extractable; it is read back, and a key that does not pass
 * is destroyed (KN_E_CUSTODY). KN_E_EXISTS when a key of that label or id is there. */
KN_MUST_CHECK kn_err kn_key_generate(kn_ctx *ctx, const char *uri, const kn_alg *alg, kn_key **ret_key);

kn_key *kn_key_ref(kn_key *key);
void kn_key_unref(kn_key **key);

const kn_public *kn_key_public(const kn_key *key); /* borrowed, for the life of the key */
const char *kn_key_uri(const kn_key *key);         /* what it was opened or generated with */

typedef enum kn_scheme { KN_ECDSA, KN_RSA_PKCS1, KN_RSA_PSS, KN_EDDSA } kn_scheme;

/* How to sign. What is signed, by scheme:
 *   ECDSA      a digest of 20 to 64 bytes; @digest is not used
 *   RSA_PKCS1  a digest of @digest; with NULL, a whole DigestInfo, or 36 bytes of MD5 | SHA1 as TLS 1.0 has it
 *   RSA_PSS    a digest of @digest; @mgf1 and @salt_bytes are honoured exactly
 *   EDDSA      the message itself, at most KN_MESSAGE_MAX bytes */
typedef struct kn_sign_how {
    kn_scheme scheme;
    const kn_digest *digest, *mgf1;
    size_t salt_bytes;
} kn_sign_how;

#define KN_SALT_ANY    SIZE_MAX      /* for verification: whatever salt the signature has */
#define KN_MESSAGE_MAX (1024 * 1024) /* bytes that are signed as a whole */

extern const kn_sign_how kn_sign_ecdsa; /* {KN_ECDSA} */

/* Signs. An ECDSA signature is an ECDSA-Sig-Value in DER. @ret_signature has room for alg->signature_max bytes.
 * KN_E_KEY_USE for a scheme of another type of key; KN_E_KEY_CHANGED when the token's key is not the one of
 * kn_key_public(): the signature is not handed out then. */
KN_MUST_CHECK kn_err kn_key_sign(kn_key *key, const kn_sign_how *how, const uint8_t *data, size_t length,
                                 uint8_t *ret_signature, size_t *ret_length);

typedef enum kn_fact { KN_FACT_UNKNOWN, KN_FACT_NO, KN_FACT_YES } kn_fact;

/* Proof of custody: what the token says of how the key came to be. SENSITIVE and not EXTRACTABLE alone prove
 * nothing, because an imported key shows the same pair; the six together do. */
typedef struct kn_custody {
    kn_fact sensitive, extractable, always_sensitive, never_extractable, local;
    kn_fact generated_here; /* CKA_KEY_GEN_MECHANISM is that of the key's type */
    char mechanism[40];     /* its name, "unavailable", or the number */
    char token[33], serial[17], model[17], manufacturer[33];
    char id[129], label[129]; /* of the private key; the id in hexadecimal */
} kn_custody;

/* Reads the facts from the token. */
KN_MUST_CHECK kn_err kn_key_inspect(kn_key *key, kn_custody *ret_custody);

/* All six as a key must have that never was outside: yes, no, yes, yes, yes, yes. */
bool kn_custody_holds(const kn_custody *custody);

#endif
