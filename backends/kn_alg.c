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
    {
        .name = "RSA:2048",
        .type = KN_KEY_RSA,
        .key_bits = 2048,
        .security_bits = 112,
        .coord_bytes = 256,
        .signature_max = 256,
        .default_digest = "SHA256",
    },
    {
        .name = "RSA:3072",
        .type = KN_KEY_RSA,
        .key_bits = 3072,
        .security_bits = 128,
        .coord_bytes = 384,
        .signature_max = 384,
        .default_digest = "SHA256",
    },
    {
        .name = "RSA:4096",
        .type = KN_KEY_RSA,
        .key_bits = 4096,
        .security_bits = 152,
        .coord_bytes = 512,
        .signature_max = 512,
        .default_digest = "SHA256",
    },
    {
        .name = "ED25519",
        .group = "ED25519",
        .type = KN_KEY_ED25519,
        .key_bits = 256,
        .security_bits = 128,
        .coord_bytes = 32,
        .signature_max = 64,
        .default_digest = "",
        .oid = {0x06, 0x03, 0x2b, 0x65, 0x70}, /* id-Ed25519, RFC 8410 */
        .oid_length = 5,
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

const kn_alg *kn_alg_by_rsa_bits(size_t modulus_bits)
{
    for (size_t i = 0; i < kn_alg_count; i++)
        if (kn_algs[i].type == KN_KEY_RSA && kn_algs[i].key_bits == modulus_bits)
            return &kn_algs[i];
    return NULL;
}

const kn_alg *kn_alg_by_oid(const uint8_t *oid, size_t length)
{
    /* the other form of the same: a PrintableString (PKCS#11 v3.0 section 2.3.10) */
    static const uint8_t name[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};
    if (length == sizeof name && !memcmp(oid, name, length))
        return kn_alg_by_name("ED25519");
    if (length == 0)
        return NULL;
    for (size_t i = 0; i < kn_alg_count; i++)
        if (length == kn_algs[i].oid_length && !memcmp(oid, kn_algs[i].oid, length))
            return &kn_algs[i];
    return NULL;
}
