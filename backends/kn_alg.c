#include "kn_alg.h"

#include <string.h>
#include <strings.h>

const kn_alg kn_algs[] = {
    {
        .name = "EC:P-256",
        .group = "prime256v1",
        .type = KN_KEY_EC,
        .uses = KN_USE_SIGN | KN_USE_DERIVE,
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
        .uses = KN_USE_SIGN | KN_USE_DERIVE,
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
        .uses = KN_USE_SIGN | KN_USE_DERIVE,
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
        .uses = KN_USE_SIGN | KN_USE_DECRYPT,
        .key_bits = 2048,
        .security_bits = 112,
        .coord_bytes = 256,
        .signature_max = 256,
        .default_digest = "SHA256",
    },
    {
        .name = "RSA:3072",
        .type = KN_KEY_RSA,
        .uses = KN_USE_SIGN | KN_USE_DECRYPT,
        .key_bits = 3072,
        .security_bits = 128,
        .coord_bytes = 384,
        .signature_max = 384,
        .default_digest = "SHA256",
    },
    {
        .name = "RSA:4096",
        .type = KN_KEY_RSA,
        .uses = KN_USE_SIGN | KN_USE_DECRYPT,
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
        .uses = KN_USE_SIGN,
        .key_bits = 256,
        .security_bits = 128,
        .coord_bytes = 32,
        .signature_max = 64,
        .default_digest = "",
        .oid = {0x06, 0x03, 0x2b, 0x65, 0x70}, /* id-Ed25519, RFC 8410 */
        .oid_length = 5,
    },
    {
        .name = "ED448",
        .group = "ED448",
        .type = KN_KEY_ED448,
        .uses = KN_USE_SIGN,
        .key_bits = 456,
        .security_bits = 224,
        .coord_bytes = 57,
        .signature_max = 114,
        .default_digest = "",
        .oid = {0x06, 0x03, 0x2b, 0x65, 0x71},
        .oid_length = 5,
    },
    {
        .name = "X25519",
        .group = "X25519",
        .type = KN_KEY_X25519,
        .uses = KN_USE_DERIVE,
        .key_bits = 253,
        .security_bits = 128,
        .coord_bytes = 32,
        .default_digest = "",
        .oid = {0x06, 0x03, 0x2b, 0x65, 0x6e},
        .oid_length = 5,
    },
    {
        .name = "X448",
        .group = "X448",
        .type = KN_KEY_X448,
        .uses = KN_USE_DERIVE,
        .key_bits = 448,
        .security_bits = 224,
        .coord_bytes = 56,
        .default_digest = "",
        .oid = {0x06, 0x03, 0x2b, 0x65, 0x6f},
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

const kn_alg *kn_alg_by_group(const char *group)
{
    for (size_t i = 0; i < kn_alg_count; i++)
        if (kn_algs[i].group && (!strcasecmp(group, kn_algs[i].group) ||
                                 (kn_algs[i].type == KN_KEY_EC && !strcasecmp(group, kn_algs[i].name + strlen("EC:")))))
            return &kn_algs[i];
    return NULL;
}

/* The other form of CKA_EC_PARAMS: the curve's name as a PrintableString (PKCS#11 v3.0 section 2.3.10). */
static const struct {
    const char *curve, *name;
} curve_names[] = {
    {"edwards25519", "ED25519"},
    {"edwards448", "ED448"},
    {"curve25519", "X25519"},
    {"curve448", "X448"},
};

const kn_alg *kn_alg_by_oid(const uint8_t *oid, size_t length)
{
    if (length < 2)
        return NULL;
    if (oid[0] == 0x13 && oid[1] == length - 2) {
        for (size_t i = 0; i < sizeof curve_names / sizeof *curve_names; i++)
            if (length - 2 == strlen(curve_names[i].curve) && !memcmp(oid + 2, curve_names[i].curve, length - 2))
                return kn_alg_by_name(curve_names[i].name);
        return NULL;
    }
    for (size_t i = 0; i < kn_alg_count; i++)
        if (length == kn_algs[i].oid_length && !memcmp(oid, kn_algs[i].oid, length))
            return &kn_algs[i];
    return NULL;
}

static const kn_use all_uses[] = {KN_USE_SIGN, KN_USE_DECRYPT, KN_USE_DERIVE};

const char *kn_use_name(kn_use use)
{
    switch (use) {
    case KN_USE_SIGN:
        return "sign";
    case KN_USE_DECRYPT:
        return "decrypt";
    case KN_USE_DERIVE:
        return "derive";
    }
    return "";
}

bool kn_uses_parse(const char *text, unsigned *ret_uses)
{
    unsigned uses = 0;
    for (;;) {
        size_t length = strcspn(text, ","), i = 0;
        while (i < sizeof all_uses / sizeof *all_uses &&
               (strlen(kn_use_name(all_uses[i])) != length || strncmp(text, kn_use_name(all_uses[i]), length)))
            i++;
        if (i == sizeof all_uses / sizeof *all_uses)
            return false;
        uses |= all_uses[i];
        if (!text[length])
            break;
        text += length + 1;
    }
    *ret_uses = uses;
    return true;
}
