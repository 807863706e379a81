/* The algorithms: one row for each kind of key. Tests loop over the rows, so a new row is tested at once.
 *
 * Units: sizes in bytes, *_bits in bits. Ownership: rows are constant. Errors: NULL for "not known".
 * Threads: any. Spec: SEC 2 v2 (curves), RFC 5480 (identifiers), NIST SP 800-57-1 table 2 (strength).
 */
#ifndef KN_ALG_H
#define KN_ALG_H

#include <stddef.h>
#include <stdint.h>

typedef enum kn_key_type { KN_KEY_EC } kn_key_type;

#define KN_EC_COORD_MAX     66                        /* bytes of one coordinate: P-521 */
#define KN_EC_POINT_MAX     (1 + 2 * KN_EC_COORD_MAX) /* bytes of an uncompressed point */
#define KN_ECDSA_DER_MAX    139                       /* bytes of an ECDSA-Sig-Value: P-521 */
#define KN_ALG_OID_MAX      10                        /* bytes of a curve's OBJECT IDENTIFIER in DER */

typedef struct kn_alg {
    const char *name;  /* what a user writes: "EC:P-256" */
    const char *group; /* OpenSSL's group name: "prime256v1" */
    kn_key_type type;
    unsigned key_bits, security_bits;
    size_t coord_bytes;           /* of r, s, x and y */
    size_t signature_max;         /* of the DER form */
    const char *default_digest;   /* OpenSSL's name of the digest that fits the curve */
    uint8_t oid[KN_ALG_OID_MAX];  /* CKA_EC_PARAMS: the curve's OBJECT IDENTIFIER in DER */
    size_t oid_length;
} kn_alg;

extern const kn_alg kn_algs[];
extern const size_t kn_alg_count;

const kn_alg *kn_alg_by_name(const char *name);
const kn_alg *kn_alg_by_oid(const uint8_t *oid, size_t length);

#endif
