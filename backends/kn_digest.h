/* Digests: one row each.
 *
 * Units: bytes. Ownership: rows are constant. Errors: NULL for "not known". Threads: any.
 * Spec: RFC 8017 section 9.2 (DigestInfo).
 */
#ifndef KN_DIGEST_H
#define KN_DIGEST_H

#include <stddef.h>
#include <stdint.h>

typedef enum kn_digest_id {
    KN_SHA1,
    KN_SHA224,
    KN_SHA256,
    KN_SHA384,
    KN_SHA512,
    KN_SHA512_224,
    KN_SHA512_256,
    KN_SHA3_224,
    KN_SHA3_256,
    KN_SHA3_384,
    KN_SHA3_512,
    KN_DIGEST_COUNT
} kn_digest_id;

#define KN_DIGEST_INFO_MAX 19 /* bytes of a DigestInfo in front of the digest */
#define KN_DIGEST_MAX      64 /* bytes of a digest */

typedef struct kn_digest {
    kn_digest_id id;
    const char *name; /* OpenSSL's: "SHA256" */
    size_t bytes;
    uint8_t info[KN_DIGEST_INFO_MAX];
    size_t info_length;
} kn_digest;

extern const kn_digest kn_digests[KN_DIGEST_COUNT];

#endif
