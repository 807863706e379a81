#include "dps_tpm.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

enum {
    ALG_RSA = 0x0001,
    ALG_AES = 0x0006,
    ALG_KEYEDHASH = 0x0008,
    ALG_SHA256 = 0x000b,
    ALG_NULL = 0x0010,
    ALG_HMAC = 0x0005,
    ALG_CFB = 0x0043,
    ATTR_FIXED_TPM = 0x00000002,
    ATTR_RESTRICTED = 0x00010000,
    ATTR_DECRYPT = 0x00020000,
    ATTR_SIGN = 0x00040000,
    ATTRS_IDENTITY = 0x00040440, /* sign, userWithAuth, noDA */
    POLICY_MAX = 64,
    SEED_SIZE = 32,
    INNER_KEY_SIZE = 16, /* AES-128, as Microsoft's C client takes it */
    DEFAULT_EXPONENT = 65537,
    SENSITIVE_MAX = 2 + 2 + 2 + 2 + SEED_SIZE + 2 + DPS_KEY_MAX,
    INNER_MAX = 2 + SHA256_DIGEST_LENGTH + SENSITIVE_MAX,
};

/* Reading. */

typedef struct cursor {
    const uint8_t *at;
    size_t left;
    bool short_of; /* something was not there */
} cursor;

static uint32_t take(cursor *c, size_t bytes)
{
    uint32_t value = 0;
    if (c->left < bytes) {
        c->short_of = true;
        c->left = 0;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | c->at[i];
    c->at += bytes;
    c->left -= bytes;
    return value;
}

static const uint8_t *take_bytes(cursor *c, size_t n)
{
    const uint8_t *at = c->at;
    if (c->left < n) {
        c->short_of = true;
        return NULL;
    }
    c->at += n;
    c->left -= n;
    return at;
}

static bool name_of(const uint8_t *public_area, size_t len, uint8_t ret_name[DPS_TPM_NAME_SIZE])
{
    ret_name[0] = 0;
    ret_name[1] = ALG_SHA256;
    return EVP_Digest(public_area, len, ret_name + 2, NULL, EVP_sha256(), NULL) == 1;
}

const char *dps_tpm_parse_public(const dps_blob *bytes, dps_tpm_public *ret_public)
{
    static const char truncated[] = "the TPM public area is not complete";
    dps_tpm_public out;
    cursor c = {bytes->bytes, bytes->len, false};
    if (bytes->len == 0 || take(&c, 2) != c.left || c.short_of)
        return "the TPM public area has another length than it says";
    const uint8_t *area = c.at;
    const size_t area_len = c.left;
    uint32_t type = take(&c, 2);
    uint32_t name_alg = take(&c, 2);
    uint32_t attributes = take(&c, 4);
    uint32_t policy_len = take(&c, 2);
    if (c.short_of || policy_len > POLICY_MAX || take_bytes(&c, policy_len) == NULL)
        return truncated;
    if (type != ALG_RSA || name_alg != ALG_SHA256)
        return "the TPM key is not RSA with SHA-256 names";
    const uint32_t needed = ATTR_FIXED_TPM | ATTR_RESTRICTED | ATTR_DECRYPT;
    if ((attributes & needed) != needed || (attributes & ATTR_SIGN) != 0)
        return "the TPM key is not a restricted decryption key that is fixed to its TPM";
    if (take(&c, 2) != ALG_AES || take(&c, 2) != 128 || take(&c, 2) != ALG_CFB || take(&c, 2) != ALG_NULL)
        return "the TPM key does not use AES-128-CFB without a scheme";
    uint32_t bits = take(&c, 2);
    out.exponent = take(&c, 4);
    uint32_t modulus_len = take(&c, 2);
    if (c.short_of)
        return truncated;
    if (bits != 8 * DPS_TPM_MODULUS_SIZE || modulus_len != DPS_TPM_MODULUS_SIZE)
        return "the TPM key has not 2048 bits";
    const uint8_t *modulus = take_bytes(&c, modulus_len);
    if (modulus == NULL || c.left != 0)
        return truncated;
    if ((modulus[0] & 0x80) == 0 || (modulus[modulus_len - 1] & 1) == 0)
        return "the TPM key has no RSA modulus of 2048 bits";
    if (out.exponent == 0)
        out.exponent = DEFAULT_EXPONENT;
    if (out.exponent < DEFAULT_EXPONENT || (out.exponent & 1) == 0)
        return "the TPM key has an exponent that is not allowed";
    memcpy(out.modulus, modulus, modulus_len);
    if (!name_of(area, area_len, out.name))
        return "the name of the TPM key cannot be computed";
    *ret_public = out;
    return NULL;
}

/* Writing: into a buffer that is large enough by construction; checked all the same. */

typedef struct buffer {
    uint8_t bytes[DPS_TPM_CHALLENGE_MAX];
    size_t len;
    bool full;
} buffer;

static void put(buffer *b, const void *bytes, size_t n)
{
    if (n > sizeof(b->bytes) - b->len) {
        b->full = true;
        return;
    }
    if (n > 0)
        memcpy(b->bytes + b->len, bytes, n);
    b->len += n;
}

static void put_u16(buffer *b, size_t value)
{
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    b->full |= value > UINT16_MAX;
    put(b, bytes, 2);
}

static void put_sized(buffer *b, const void *bytes, size_t n)
{
    put_u16(b, n);
    put(b, bytes, n);
}

/* KDFa with SHA-256 and one context; at most 256 bits, which is one round. */
static bool kdfa(const uint8_t seed[SEED_SIZE], const char *label, const uint8_t *context, size_t context_len,
                 uint32_t bits, uint8_t *ret_key)
{
    uint8_t text[128];
    uint8_t mac[DPS_HMAC_SIZE];
    size_t label_len = strlen(label) + 1; /* with its NUL */
    size_t n = 0;
    if (4 + label_len + context_len + 4 > sizeof(text) || bits > 8 * DPS_HMAC_SIZE)
        return false;
    memcpy(text, "\0\0\0\1", 4);
    n = 4;
    memcpy(text + n, label, label_len);
    n += label_len;
    if (context_len > 0)
        memcpy(text + n, context, context_len);
    n += context_len;
    memset(text + n, 0, 2);
    text[n + 2] = (uint8_t)(bits >> 8);
    text[n + 3] = (uint8_t)bits;
    n += 4;
    bool ok = dps_hmac_sha256(seed, SEED_SIZE, text, n, mac);
    if (ok)
        memcpy(ret_key, mac, bits / 8);
    OPENSSL_cleanse(mac, sizeof(mac));
    return ok;
}

/* AES-128-CFB with a zero IV, in place. */
static bool encrypt(const uint8_t key[16], uint8_t *bytes, size_t n)
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int out = 0;
    bool ok = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv) == 1 &&
              EVP_EncryptUpdate(ctx, bytes, &out, bytes, (int)n) == 1 && (size_t)out == n;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static EVP_PKEY *rsa_key(const dps_tpm_public *public)
{
    EVP_PKEY *key = NULL;
    BIGNUM *n = BN_bin2bn(public->modulus, DPS_TPM_MODULUS_SIZE, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (n != NULL && build != NULL && ctx != NULL &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_uint32(build, OSSL_PKEY_PARAM_RSA_E, public->exponent) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(build)) != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    return key;
}

/* A TPM2B_ENCRYPTED_SECRET: the seed, RSA-OAEP with SHA-256 and a label that includes its NUL. */
static bool put_seed(buffer *b, const dps_tpm_public *to, const char *label, const uint8_t seed[SEED_SIZE])
{
    uint8_t out[DPS_TPM_MODULUS_SIZE];
    size_t n = sizeof(out);
    EVP_PKEY *key = rsa_key(to);
    EVP_PKEY_CTX *ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    char *label_copy = OPENSSL_strdup(label);
    bool ok = ctx != NULL && label_copy != NULL && EVP_PKEY_encrypt_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 &&
              EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1;
    if (ok && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, label_copy, (int)strlen(label) + 1) == 1)
        label_copy = NULL; /* taken */
    else
        ok = false;
    ok = ok && EVP_PKEY_encrypt(ctx, out, &n, seed, SEED_SIZE) == 1 && n == sizeof(out);
    OPENSSL_free(label_copy);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (ok)
        put_sized(b, out, n);
    return ok;
}

/* "hmac | data" inside a sized structure: what protects both the credential and the duplicate. */
static bool put_protected(buffer *b, const uint8_t seed[SEED_SIZE], const uint8_t name[DPS_TPM_NAME_SIZE],
                          uint8_t *data, size_t n)
{
    uint8_t key[DPS_HMAC_SIZE];
    uint8_t text[INNER_MAX + DPS_TPM_NAME_SIZE];
    uint8_t mac[DPS_HMAC_SIZE];
    bool ok = n <= INNER_MAX && kdfa(seed, "STORAGE", name, DPS_TPM_NAME_SIZE, 128, key) &&
              encrypt(key, data, n) && kdfa(seed, "INTEGRITY", NULL, 0, 256, key);
    if (ok) {
        memcpy(text, data, n);
        memcpy(text + n, name, DPS_TPM_NAME_SIZE);
        ok = dps_hmac_sha256(key, sizeof(key), text, n + DPS_TPM_NAME_SIZE, mac);
    }
    OPENSSL_cleanse(key, sizeof(key));
    if (!ok)
        return false;
    put_u16(b, 2 + sizeof(mac) + n);
    put_sized(b, mac, sizeof(mac));
    put(b, data, n);
    return true;
}

/* The TPMT_PUBLIC of the key that is imported. */
static bool identity_public(const uint8_t seed_value[SEED_SIZE], const void *key, size_t key_len, buffer *ret,
                            uint8_t ret_name[DPS_TPM_NAME_SIZE])
{
    static const uint8_t head[] = {0,
                                   ALG_KEYEDHASH,
                                   0,
                                   ALG_SHA256,
                                   0,
                                   ATTRS_IDENTITY >> 16,
                                   (ATTRS_IDENTITY >> 8) & 0xff,
                                   ATTRS_IDENTITY & 0xff,
                                   0,
                                   0,
                                   0,
                                   ALG_HMAC,
                                   0,
                                   ALG_SHA256};
    uint8_t text[SEED_SIZE + DPS_KEY_MAX];
    uint8_t unique[SHA256_DIGEST_LENGTH];
    memcpy(text, seed_value, SEED_SIZE);
    memcpy(text + SEED_SIZE, key, key_len);
    bool ok = EVP_Digest(text, SEED_SIZE + key_len, unique, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(text, sizeof(text));
    put(ret, head, sizeof(head));
    put_sized(ret, unique, sizeof(unique));
    return ok && name_of(ret->bytes, ret->len, ret_name);
}

/* The sensitive area with its inner wrapping: integrity, then encryption with the inner key. */
static bool inner_wrap(const uint8_t seed_value[SEED_SIZE], const void *key, size_t key_len,
                       const uint8_t name[DPS_TPM_NAME_SIZE], const uint8_t inner_key[INNER_KEY_SIZE],
                       buffer *ret)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    buffer sensitive = {.len = 0};
    put_u16(&sensitive, 2 + 2 + 2 + SEED_SIZE + 2 + key_len);
    put_u16(&sensitive, ALG_KEYEDHASH);
    put_u16(&sensitive, 0); /* no authorisation value */
    put_sized(&sensitive, seed_value, SEED_SIZE);
    put_sized(&sensitive, key, key_len);
    const size_t sensitive_len = sensitive.len;
    put(&sensitive, name, DPS_TPM_NAME_SIZE);
    bool ok =
        !sensitive.full && EVP_Digest(sensitive.bytes, sensitive.len, digest, NULL, EVP_sha256(), NULL) == 1;
    put_sized(ret, digest, sizeof(digest));
    put(ret, sensitive.bytes, sensitive_len);
    OPENSSL_cleanse(&sensitive, sizeof(sensitive));
    return ok && !ret->full && encrypt(inner_key, ret->bytes, ret->len);
}

static bool build(const dps_tpm_public *ek, const dps_tpm_public *srk, const void *key, size_t key_len,
                  const char *uri, const uint8_t *random, buffer *out)
{
    const uint8_t *inner_key = random;
    const uint8_t *seed_identity = random + INNER_KEY_SIZE;
    const uint8_t *seed_duplicate = seed_identity + SEED_SIZE;
    const uint8_t *seed_value = seed_duplicate + SEED_SIZE;
    uint8_t name[DPS_TPM_NAME_SIZE];
    uint8_t credential[2 + INNER_KEY_SIZE] = {0, INNER_KEY_SIZE};
    buffer public = {.len = 0};
    buffer inner = {.len = 0};
    buffer text = {.len = 0};
    memcpy(credential + 2, inner_key, INNER_KEY_SIZE);
    put(&text, uri, strlen(uri));
    bool ok = put_protected(out, seed_identity, srk->name, credential, sizeof(credential)) &&
              put_seed(out, ek, "IDENTITY", seed_identity) &&
              identity_public(seed_value, key, key_len, &public, name) &&
              inner_wrap(seed_value, key, key_len, name, inner_key, &inner) &&
              put_protected(out, seed_duplicate, name, inner.bytes, inner.len) &&
              put_seed(out, srk, "DUPLICATE", seed_duplicate) && encrypt(inner_key, text.bytes, text.len);
    put_sized(out, public.bytes, public.len);
    put_sized(out, text.bytes, text.len);
    OPENSSL_cleanse(credential, sizeof(credential));
    OPENSSL_cleanse(&inner, sizeof(inner));
    return ok && !text.full && !public.full && !out->full;
}

bool dps_tpm_wrap(const dps_tpm_public *endorsement_key, const dps_tpm_public *storage_root_key,
                  const void *key, size_t key_len, const char *uri, dps_blob *ret_blob)
{
    uint8_t random[INNER_KEY_SIZE + 3 * SEED_SIZE];
    buffer out = {.len = 0};
    if (key_len == 0 || key_len > DPS_KEY_MAX || strlen(uri) > DPS_TPM_URI_MAX)
        return false;
    bool ok = RAND_bytes(random, sizeof(random)) == 1 &&
              build(endorsement_key, storage_root_key, key, key_len, uri, random, &out) &&
              dps_blob_copy(out.bytes, out.len, ret_blob);
    OPENSSL_cleanse(random, sizeof(random));
    return ok;
}

int64_t dps_tpm_window(int64_t now_ms)
{
    return now_ms / 1000 / DPS_TPM_WINDOW_S;
}

bool dps_tpm_nonce(const dps_blob *secret, const char *registration_id, const dps_blob *endorsement_key,
                   int64_t window, uint8_t ret_key[DPS_HMAC_SIZE])
{
    buffer text = {.len = 0};
    uint8_t when[8];
    for (size_t i = 0; i < sizeof(when); i++)
        when[i] = (uint8_t)((uint64_t)window >> (8 * i));
    char id[DPS_ID_LEN];
    size_t n = strlen(registration_id);
    if (n >= sizeof(id))
        return false;
    for (size_t i = 0; i <= n; i++)
        id[i] = registration_id[i] >= 'A' && registration_id[i] <= 'Z'
                    ? (char)(registration_id[i] - 'A' + 'a')
                    : registration_id[i];
    put(&text, "tpm nonce", 9);
    put_sized(&text, id, n);
    put_sized(&text, endorsement_key->bytes, endorsement_key->len);
    put(&text, when, sizeof(when));
    return !text.full && dps_hmac_sha256(secret->bytes, secret->len, text.bytes, text.len, ret_key);
}
