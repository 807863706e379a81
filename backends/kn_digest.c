#include "kn_digest.h"

/* DigestInfo in front of a digest of @bytes whose identifier is 2.16.840.1.101.3.4.2.@arc (NIST's hashAlgs). */
#define NIST_INFO(arc, bytes)                                                                                         \
    .info = {0x30, 0x11 + (bytes), 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, (arc),     \
             0x05, 0x00, 0x04, (bytes)},                                                                              \
    .info_length = 19

const kn_digest kn_digests[KN_DIGEST_COUNT] = {
    [KN_SHA1] = {
        .id = KN_SHA1,
        .name = "SHA1",
        .bytes = 20,
        .info = {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14},
        .info_length = 15,
    },
    [KN_SHA224] = {.id = KN_SHA224, .name = "SHA224", .bytes = 28, NIST_INFO(4, 28)},
    [KN_SHA256] = {.id = KN_SHA256, .name = "SHA256", .bytes = 32, NIST_INFO(1, 32)},
    [KN_SHA384] = {.id = KN_SHA384, .name = "SHA384", .bytes = 48, NIST_INFO(2, 48)},
    [KN_SHA512] = {.id = KN_SHA512, .name = "SHA512", .bytes = 64, NIST_INFO(3, 64)},
    [KN_SHA512_224] = {.id = KN_SHA512_224, .name = "SHA512-224", .bytes = 28, NIST_INFO(5, 28)},
    [KN_SHA512_256] = {.id = KN_SHA512_256, .name = "SHA512-256", .bytes = 32, NIST_INFO(6, 32)},
    [KN_SHA3_224] = {.id = KN_SHA3_224, .name = "SHA3-224", .bytes = 28, NIST_INFO(7, 28)},
    [KN_SHA3_256] = {.id = KN_SHA3_256, .name = "SHA3-256", .bytes = 32, NIST_INFO(8, 32)},
    [KN_SHA3_384] = {.id = KN_SHA3_384, .name = "SHA3-384", .bytes = 48, NIST_INFO(9, 48)},
    [KN_SHA3_512] = {.id = KN_SHA3_512, .name = "SHA3-512", .bytes = 64, NIST_INFO(10, 64)},
};
