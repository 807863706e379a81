/* The algorithms: one row for each kind of key. Tests loop over the rows, so a new row is tested at once.
 *
 * Units: sizes in bytes, *_bits in bits. Ownership: rows are constant. Errors: NULL for "not known".
 * Threads: any. Spec: SEC 2 v2 (curves), RFC 5480 (identifiers), NIST SP 800-57-1 table 2 (strength).
 */
#ifndef KN_ALG_H
#define KN_ALG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One for each of OpenSSL's key types. */
typedef enum kn_key_type {
    KN_KEY_EC,
    KN_KEY_RSA,
    KN_KEY_ED25519,
    KN_KEY_ED448,
    KN_KEY_X25519,
    KN_KEY_X448
} kn_key_type;

/* What a private key is used for; a set of them is an unsigned. */
typedef enum kn_use { KN_USE_SIGN = 1, KN_USE_DECRYPT = 2, KN_USE_DERIVE = 4 } kn_use;

#define KN_EC_COORD_MAX     66                        /* bytes of one coordinate: P-521 */
#define KN_EC_POINT_MAX     (1 + 2 * KN_EC_COORD_MAX) /* bytes of an uncompressed point */
#define KN_ECDSA_DER_MAX    139                       /* bytes of an ECDSA-Sig-Value: P-521 */
#define KN_RSA_MAX          512                       /* bytes of a modulus and of a signature: RSA 4096 */
#define KN_RSA_EXPONENT_MAX 8                         /* bytes of a public exponent */
#define KN_SIGNATURE_MAX    KN_RSA_MAX                /* bytes of any signature */
#define KN_ALG_OID_MAX      14                        /* bytes of CKA_EC_PARAMS */

typedef struct kn_alg {
    const char *name;  /* what a user writes: "EC:P-256" */
    const char *group; /* OpenSSL's group name: "prime256v1"; of the types without groups the type's; NULL for RSA */
    kn_key_type type;
    unsigned uses; /* all that this kind of key can be made for */
    unsigned key_bits, security_bits;
    size_t coord_bytes;          /* EC: of r, s, x and y; RSA: of the modulus; the others: of the public key */
    size_t signature_max;        /* of the form that OpenSSL uses: DER for ECDSA; X25519, X448: 0 */
    const char *default_digest;  /* OpenSSL's name of the digest that fits the key; "" where there is none */
    uint8_t oid[KN_ALG_OID_MAX]; /* CKA_EC_PARAMS: the curve's OBJECT IDENTIFIER in DER */
    size_t oid_length;           /* 0 for RSA */
} kn_alg;

extern const kn_alg kn_algs[];
extern const size_t kn_alg_count;

const kn_alg *kn_alg_by_name(const char *name);
/* Of a value of CKA_EC_PARAMS: object identifiers, and for the curves of RFC 7748 and 8032 also the name. */
const kn_alg *kn_alg_by_oid(const uint8_t *oid, size_t length);
const kn_alg *kn_alg_by_rsa_bits(size_t modulus_bits);
const kn_alg *kn_alg_by_group(const char *group); /* OpenSSL's name, or NIST's: "P-256" */

/* "sign", "decrypt", "derive" */
const char *kn_use_name(kn_use use);
/* A list as "sign,decrypt"; false when a word is not known or there is none. */
bool kn_uses_parse(const char *text, unsigned *ret_uses);

#endif
