#include "kn_alg.h"

#include <string.h>
#include <strings.h>

const kn_alg kn_algs[] = {
    {
        .name = "EC:P-256",
        .group = "prime256v1",
        .type = KN_KEY_EC,
        .key_bits = 256,
        .security_bits = 128,
        .coord_bytes = 32,
        .signature_max = 72,
        .default_digest = "SHA256",
        .oid = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
        .oid_length = 10,
    },
    {
        .name = "EC:P-384",
        .group = "secp384r1",
        .type = KN_KEY_EC,
        .key_bits = 384,
        .security_bits = 192,
        .coord_bytes = 48,
        .signature_max = 104,
        .default_digest = "SHA384",
        .oid = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
        .oid_length = 7,
    },
    {
        .name = "EC:P-521",
        .group = "secp521r1",
        .type = KN_KEY_EC,
        .key_bits = 521,
        .security_bits = 256,
        .coord_bytes = 66,
        .signature_max = 139,
        .default_digest = "SHA512",
        .oid = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
        .oid_length = 7,
    },
};
const size_t kn_alg_count = sizeof kn_algs / sizeof *kn_algs;

const kn_alg *kn_alg_by_name(const char *name)
{
    for (size_t i = 0; i < kn_alg_count; i++)
        if (!strcasecmp(name, kn_algs[i].name))
            return &kn_algs[i];
    return NULL;
}

const kn_alg *kn_alg_by_oid(const uint8_t *oid, size_t length)
{
    for (size_t i = 0; i < kn_alg_count; i++)
        if (length == kn_algs[i].oid_length && !memcmp(oid, kn_algs[i].oid, length))
            return &kn_algs[i];
    return NULL;
}
