/* HMAC keys that stay where they are, for the shared access signatures of symmetric attestation.
 *
 * Units: bytes. Ownership: kn_hmac_open(), kn_hmac_generate() and kn_hmac_import() return a handle, kn_hmac_free() releases
 * it (it accepts NULL and sets NULL). Errors: those of a private key (kn_key.h); KN_E_TOKEN_CANNOT where a backend or a
 * token has no HMAC. Threads: any number of threads may use one handle at once. Fork: the child's first use finds the key
 * again. Spec: RFC 2104; PKCS#11 v3.0 sections 2.6 (generic secret keys) and 2.25 (HMAC-SHA-256).
 *
 * Keys are those that the Device Provisioning Service takes: 16 to 64 bytes.
 */
#ifndef KN_HMAC_H
#define KN_HMAC_H

#include "kn_key.h"
#include "kn_secret.h"

#include <stdint.h>

#define KN_HMAC_BYTES     32                    /* of an HMAC-SHA-256 */
#define KN_HMAC_KEY_MIN   16                    /* bytes of a key; DPS documentation, "symmetric key attestation" */
#define KN_HMAC_KEY_MAX   64                    /* bytes of a key */
#define KN_HMAC_TEXT_MAX  88                    /* characters of base64 of the longest key */
#define KN_HMAC_DATA_MAX  (64 * 1024)           /* bytes that are signed at once */

typedef struct kn_hmac kn_hmac;

/* Finds exactly one secret key; two matches are KN_E_AMBIGUOUS. */
KN_MUST_CHECK kn_err kn_hmac_open(kn_ctx *ctx, const char *uri, kn_hmac **ret_hmac);

/* A random key of @key_bytes in the token, under the URI's object and id (a random one when absent). Sensitive and not
 * extractable, read back, destroyed when it is not so (KN_E_CUSTODY). KN_E_EXISTS when the name is in use. */
KN_MUST_CHECK kn_err kn_hmac_generate(kn_ctx *ctx, const char *uri, size_t key_bytes, kn_hmac **ret_hmac);

/* Puts @key into the token, with the same rules; that the token computes with this key is proved, too. */
KN_MUST_CHECK kn_err kn_hmac_import(kn_ctx *ctx, const char *uri, const kn_secret *key, kn_hmac **ret_hmac);

KN_MUST_CHECK kn_err kn_hmac_sign(kn_hmac *hmac, const uint8_t *data, size_t length, uint8_t ret_mac[KN_HMAC_BYTES]);

/* The six facts; an imported key shows local and never_extractable as "no". */
KN_MUST_CHECK kn_err kn_hmac_inspect(kn_hmac *hmac, kn_custody *ret_custody);

/* Removes the key from its token for good. The handle is good for kn_hmac_free() only then. */
KN_MUST_CHECK kn_err kn_hmac_delete(kn_hmac *hmac);

void kn_hmac_free(kn_hmac **hmac);

/* In software, with a key that was handed out already. */
KN_MUST_CHECK kn_err kn_hmac_software(const kn_secret *key, const uint8_t *data, size_t length,
                                      uint8_t ret_mac[KN_HMAC_BYTES]);

/* Strict base64 (RFC 4648 section 4, padded, nothing around it but one line end) of a key. The error shows none of it. */
KN_MUST_CHECK kn_err kn_hmac_key_from_base64(const char *text, size_t length, kn_secret **ret_key);

/* The same from a file, which must belong to the effective user or to root (root may use anyone's) and be accessible to
 * nobody else: KN_E_KEY_FILE. */
KN_MUST_CHECK kn_err kn_hmac_key_read(const char *path, kn_secret **ret_key);

#endif
