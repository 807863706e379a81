#include "soft_tpm.h"

#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <string.h>

static void put(soft_tpm_key *k, const void *bytes, size_t n)
{
    memcpy(k->public_area + k->len, bytes, n);
    k->len += n;
}

/* RSA 2048, AES-128-CFB, SHA-256; the endorsement key with the policy of the TCG's template. */
static bool make_key(uint32_t attributes, bool policy, soft_tpm_key *ret_key)
{
    static const uint8_t policy_bytes[] = "\0\x20\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\xfd\x52"
                                          "\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa";
    uint8_t modulus[256];
    BIGNUM *n = NULL;
    soft_tpm_key k = {.pair = EVP_RSA_gen(2048), .len = 2};
    const uint8_t head[] = {0,
                            1,
                            0,
                            0x0b,
                            (uint8_t)(attributes >> 24),
                            (uint8_t)(attributes >> 16),
                            (uint8_t)(attributes >> 8),
                            (uint8_t)attributes};
    bool good = k.pair && EVP_PKEY_get_bn_param(k.pair, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
                BN_bn2binpad(n, modulus, sizeof modulus) == 256;
    BN_free(n);
    if (!good) {
        EVP_PKEY_free(k.pair);
        return false;
    }
    put(&k, head, sizeof head);
    put(&k, policy ? (const void *)policy_bytes : "\0", policy ? 34 : 2);
    put(&k, "\0\6\0\x80\0\x43\0\x10\x08\0\0\0\0\0\1\0", 16);
    put(&k, modulus, sizeof modulus);
    k.public_area[0] = (uint8_t)((k.len - 2) >> 8);
    k.public_area[1] = (uint8_t)(k.len - 2);
    *ret_key = k;
    return true;
}

bool soft_tpm_make(soft_tpm *ret_tpm)
{
    soft_tpm tpm = {.activations = 0};
    if (!make_key(0x000300b2, true, &tpm.ek))
        return false;
    if (!make_key(0x00030472, false, &tpm.srk)) {
        EVP_PKEY_free(tpm.ek.pair);
        return false;
    }
    *ret_tpm = tpm;
    return true;
}

void soft_tpm_clear(soft_tpm *tpm)
{
    EVP_PKEY_free(tpm->ek.pair);
    EVP_PKEY_free(tpm->srk.pair);
    *tpm = (soft_tpm){.activations = 0};
}

/* Part 1, B.4: the seed that was sent to @k. */
static bool open_seed(const soft_tpm_key *k, const char *label, size_t label_len, const uint8_t *secret, uint8_t seed[32])
{
    uint8_t out[256];
    size_t n = sizeof out;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pair, NULL);
    unsigned char *copy = OPENSSL_memdup(label, label_len);
    bool good = EVP_PKEY_decrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 &&
                EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
                EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)label_len) == 1 &&
                EVP_PKEY_decrypt(ctx, out, &n, secret, 256) == 1 && n == 32;
    if (good)
        memcpy(seed, out, 32);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

/* Part 1, 11.4.10.2 with one block. */
static void kdfa(const uint8_t seed[32], const char *label, const uint8_t *name, size_t name_len, uint32_t bits,
                 uint8_t out[32])
{
    uint8_t text[128] = {0, 0, 0, 1};
    size_t n = 4 + strlen(label) + 1;
    unsigned len = 0;
    memcpy(text + 4, label, strlen(label) + 1);
    if (name_len > 0)
        memcpy(text + n, name, name_len);
    n += name_len;
    const uint8_t size[] = {0, 0, (uint8_t)(bits >> 8), (uint8_t)bits};
    memcpy(text + n, size, 4);
    (void)HMAC(EVP_sha256(), seed, 32, text, n + 4, out, &len);
}

static void name_of(const uint8_t *public_area, size_t n, uint8_t name[34])
{
    name[0] = 0;
    name[1] = 0x0b;
    (void)EVP_Digest(public_area, n, name + 2, NULL, EVP_sha256(), NULL);
}

static void decrypt(const uint8_t *aes, const uint8_t *in, size_t n, uint8_t *out)
{
    static const uint8_t iv[16];
    int len = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    (void)EVP_DecryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, aes, iv);
    (void)EVP_DecryptUpdate(ctx, out, &len, in, (int)n);
    EVP_CIPHER_CTX_free(ctx);
}

/* The integrity that a TPM checks before it decrypts. */
static bool is_whole(const uint8_t seed[32], const uint8_t *mac, const uint8_t *data, size_t n, const uint8_t *name)
{
    uint8_t mac_key[32], text[256], expected[32];
    unsigned len = 0;
    kdfa(seed, "INTEGRITY", NULL, 0, 256, mac_key);
    memcpy(text, data, n);
    memcpy(text + n, name, 34);
    (void)HMAC(EVP_sha256(), mac_key, 32, text, n + 34, expected, &len);
    return memcmp(mac, expected, 32) == 0;
}

/* The key of the inner wrapper: TPM2_ActivateCredential. */
static bool open_credential(const soft_tpm *tpm, const uint8_t *blob, uint8_t identity[18])
{
    uint8_t seed[32], aes[32], name[34];
    name_of(tpm->srk.public_area + 2, tpm->srk.len - 2, name);
    if (memcmp(blob, "\0\x34\0\x20", 4) != 0 || !open_seed(&tpm->ek, "IDENTITY", 9, blob + 56, seed) ||
        !is_whole(seed, blob + 4, blob + 36, 18, name))
        return false;
    kdfa(seed, "STORAGE", name, 34, 128, aes);
    decrypt(aes, blob + 36, 18, identity);
    return memcmp(identity, "\0\x10", 2) == 0; /* a key of 16 bytes: Microsoft's client takes no other */
}

bool soft_tpm_activate(soft_tpm *tpm, const uint8_t *blob, size_t n)
{
    uint8_t seed[32], aes[32], name[34], identity[18], outer[108], inner[108], hash[32], text[74 + 34];
    if (n < 766 || !open_credential(tpm, blob, identity) || memcmp(blob + 312, "\0\x8e\0\x20", 4) != 0 ||
        memcmp(blob + 714, "\0\x30\0\x08\0\x0b\0\4\4\x40\0\0\0\5\0\x0b\0\x20", 18) != 0 ||
        !open_seed(&tpm->srk, "DUPLICATE", 10, blob + 458, seed))
        return false;
    name_of(blob + 716, 48, name);
    if (!is_whole(seed, blob + 316, blob + 348, 108, name))
        return false;
    kdfa(seed, "STORAGE", name, 34, 128, aes);
    decrypt(aes, blob + 348, 108, outer);
    decrypt(identity + 2, outer, 108, inner);
    memcpy(text, inner + 34, 74);
    memcpy(text + 74, name, 34);
    (void)EVP_Digest(text, sizeof text, hash, NULL, EVP_sha256(), NULL);
    if (memcmp(inner, "\0\x20", 2) != 0 || memcmp(inner + 2, hash, 32) != 0 ||
        memcmp(inner + 34, "\0\x48\0\x08\0\0\0\x20", 8) != 0 || memcmp(inner + 74, "\0\x20", 2) != 0)
        return false;
    memcpy(tpm->hmac_key, inner + 76, 32);
    tpm->activations++;
    return true;
}

bool soft_tpm_sign(const soft_tpm *tpm, const void *data, size_t n, uint8_t ret_mac[32])
{
    unsigned len = 0;
    return tpm->activations > 0 && HMAC(EVP_sha256(), tpm->hmac_key, 32, data, n, ret_mac, &len) != NULL;
}
