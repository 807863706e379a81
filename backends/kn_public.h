/* The public part of a key, by value: what can be known without the token.
 *
 * Units: bytes. Ownership: a kn_public holds no pointers that need releasing. Errors: KN_E_KEY_TYPE, KN_E_ALIAS_MALFORMED.
 * Threads: plain data. Spec: RFC 5480, 8410 and 4055 (SubjectPublicKeyInfo), SEC 1 section 2.3.3 (points).
 */
#ifndef KN_PUBLIC_H
#define KN_PUBLIC_H

#include "kn_alg.h"
#include "kn_digest.h"
#include "kn_err.h"

#define KN_SPKI_MAX      704  /* bytes of the SubjectPublicKeyInfo of RSA 4096, with room */
#define KN_SPKI_READ_MAX 4096 /* bytes that are looked at, so that a key of another type is named in the error */

typedef struct kn_public {
    const kn_alg *alg;
    uint8_t point[KN_EC_POINT_MAX]; /* EC: uncompressed, 04 | x | y; the RFC 7748 and 8032 curves: the bare bytes */
    size_t point_length;            /* 0 for RSA */
    uint8_t modulus[KN_RSA_MAX];    /* RSA: big-endian, alg->coord_bytes */
    uint8_t exponent[KN_RSA_EXPONENT_MAX]; /* RSA: big-endian, without leading zeros */
    size_t exponent_length;
    bool pss; /* RSA: signs with PSS only (id-RSASSA-PSS); what follows are its restrictions */
    const kn_digest *pss_digest, *pss_mgf1; /* both or none */
    size_t pss_salt_min;                    /* bytes, when there is a digest */
} kn_public;

/* Takes a point as PKCS#11 stores it in CKA_EC_POINT: an OCTET STRING in DER, or (older tokens) the bare
 * point; uncompressed only. Checks the length against the curve. */
KN_MUST_CHECK kn_err kn_public_from_ec_point(const kn_alg *alg, const uint8_t *point, size_t length,
                                             kn_public *ret_public);

/* Takes CKA_MODULUS and CKA_PUBLIC_EXPONENT: big-endian, leading zeros allowed. */
KN_MUST_CHECK kn_err kn_public_from_rsa(const uint8_t *modulus, size_t modulus_length, const uint8_t *exponent,
                                        size_t exponent_length, kn_public *ret_public);

/* Strict DER. KN_E_KEY_TYPE names the algorithm that is not supported. */
KN_MUST_CHECK kn_err kn_public_from_spki(const uint8_t *der, size_t length, kn_public *ret_public);
/* Also for certificates: the key inside. */
KN_MUST_CHECK kn_err kn_public_from_certificate(const uint8_t *der, size_t length, kn_public *ret_public);

/* @ret_length is at most KN_SPKI_MAX. */
KN_MUST_CHECK kn_err kn_public_to_spki(const kn_public *public, uint8_t ret_der[KN_SPKI_MAX],
                                       size_t *ret_length);

/* The same key. Whether it is for PSS only does not count: a token may not know. */
bool kn_public_equal(const kn_public *a, const kn_public *b);

#endif
