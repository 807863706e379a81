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
#include "kn_custody.h"
#include "kn_digest.h"

typedef struct kn_key kn_key;

/* Finds exactly one private key. Two matches are an error (KN_E_AMBIGUOUS), never "the first". An alias that
 * carries its public key is taken at its word, and the token is asked at the first operation.
 * Borrows @alias. Returns a reference in @ret_key; untouched on failure. */
KN_MUST_CHECK kn_err kn_key_open(kn_ctx *ctx, const kn_alias *alias, kn_key **ret_key);

/* What a new key is to be. */
typedef struct kn_key_spec {
    const kn_alg *alg;
    unsigned uses; /* of kn_use; 0: to sign, or to derive where the kind of key can do nothing else */
    bool pss;      /* RSA: for PSS only. The restrictions go to the public key; a token holds none of them. */
    const kn_digest *pss_digest, *pss_mgf1;
    size_t pss_salt_min;
} kn_key_spec;

/* Makes a key pair on the token that @uri names, under the URI's object (label) and id (a random one when
 * absent). The private key is sensitive and not extractable, and may be used for what @spec says and nothing else; it
 * is read back, and a key that does not pass is destroyed (KN_E_CUSTODY). KN_E_EXISTS when a key of that label or id
 * is there; KN_E_KEY_USE for uses that this kind of key has not. */
KN_MUST_CHECK kn_err kn_key_make(kn_ctx *ctx, const char *uri, const kn_key_spec *spec, kn_key **ret_key);
/* The same for the usual uses. */
KN_MUST_CHECK kn_err kn_key_generate(kn_ctx *ctx, const char *uri, const kn_alg *alg, kn_key **ret_key);

/* Finds exactly one public key that stands on the token as an object of its own, without a login: also one without a
 * private key. KN_E_NO_KEY, KN_E_AMBIGUOUS. */
KN_MUST_CHECK kn_err kn_public_find(kn_ctx *ctx, const char *uri, kn_public *ret_public);

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

typedef enum kn_padding { KN_PAD_PKCS1, KN_PAD_OAEP, KN_PAD_TLS } kn_padding;

/* How an RSA key decrypts.
 *   PAD_PKCS1  PKCS#1 v1.5. A ciphertext whose padding is wrong does not fail: the result is a made-up message, always
 *              the same for it in this process (and a random one for each process), so that nobody can tell (implicit rejection)
 *   PAD_OAEP   @digest, @mgf1 and @label
 *   PAD_TLS    PKCS#1 v1.5 around the 48 bytes of a TLS 1.2 premaster secret, which begins with @tls_version, or with
 *              @tls_version_too when that is not 0; 48 random bytes when it does not */
typedef struct kn_decrypt_how {
    kn_padding padding;
    const kn_digest *digest, *mgf1;
    const uint8_t *label; /* borrowed */
    size_t label_length;
    unsigned tls_version, tls_version_too;
} kn_decrypt_how;

#define KN_PREMASTER_BYTES 48
#define KN_OAEP_LABEL_MAX  1024 /* bytes */

/* Decrypts in the token. @ret_plain has room for KN_RSA_MAX bytes, all of which may be written. KN_E_DECRYPT is the one
 * error for an OAEP ciphertext that is not one. The caller wipes. */
KN_MUST_CHECK kn_err kn_key_decrypt(kn_key *key, const kn_decrypt_how *how, const uint8_t *data, size_t length,
                                    uint8_t *ret_plain, size_t *ret_length);

/* ECDH (SP 800-56A: the x coordinate; X25519 and X448: RFC 7748), in the token. KN_E_PEER when @peer is not a valid
 * public key of the same curve; KN_E_KEY_CHANGED when the token's key is not the one of kn_key_public(). @ret_secret has room for KN_EC_COORD_MAX bytes and gets alg->coord_bytes. The caller
 * wipes. */
KN_MUST_CHECK kn_err kn_key_derive(kn_key *key, const kn_public *peer, uint8_t *ret_secret, size_t *ret_length);

/* Removes the key for good, with the public key object that belongs to it; certificates stay. The handle is good for kn_key_unref()
 * only then. KN_E_KEY_CHANGED when the token's key is not the one of kn_key_public(); KN_E_KEY_USE for a storage key of a TPM;
 * KN_E_TOKEN_CANNOT for a key in a file, which goes with its file. */
KN_MUST_CHECK kn_err kn_key_delete(kn_key *key);

/* Reads the facts from the token. */
KN_MUST_CHECK kn_err kn_key_inspect(kn_key *key, kn_custody *ret_custody);

#define KN_NONCE_MAX     32   /* bytes */
#define KN_STATEMENT_MAX 512  /* bytes */
#define KN_AREA_MAX      1024 /* bytes */

/* What a TPM says of a key, for somebody who does not trust the machine around it: @statement is signed by the attestation key
 * and holds the nonce and the name of the key, which is the digest of @area; @area holds the attributes from which the facts of
 * kn_key_inspect() follow. */
typedef struct kn_certification {
    uint8_t statement[KN_STATEMENT_MAX]; /* TPMS_ATTEST */
    size_t statement_length;
    uint8_t area[KN_AREA_MAX]; /* TPMT_PUBLIC of the key */
    size_t area_length;
    uint8_t name[2 + KN_DIGEST_MAX]; /* of the key: TPMI_ALG_HASH of @area's digest, and the digest */
    size_t name_length;
    kn_sign_how how; /* the signature's */
    uint8_t signature[KN_SIGNATURE_MAX]; /* in the form of kn_key_sign() */
    size_t signature_length;
} kn_certification;

/* Has the TPM certify @key with @attestation_key, a restricted signing key of the same TPM (TPM2_Certify: TPM 2.0 part 3, 18.2),
 * and verifies what it gives: also that the attestation key was made in the TPM and signs nothing that the TPM has not made.
 * @nonce: 1 to KN_NONCE_MAX bytes. KN_E_TOKEN_CANNOT for keys in PKCS#11 tokens; KN_E_KEY_USE for another kind of attestation
 * key; KN_E_CERTIFICATION when the statement is not about the key. */
KN_MUST_CHECK kn_err kn_key_certify(kn_key *key, kn_key *attestation_key, const uint8_t *nonce, size_t nonce_length,
                                    kn_certification *ret_certification);

#endif
