#include "dps_blob.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

void dps_blob_clear(dps_blob *blob)
{
    if (blob->bytes != NULL)
        OPENSSL_cleanse(blob->bytes, blob->len);
    free(blob->bytes);
    *blob = (dps_blob){0};
}

bool dps_blob_copy(const void *bytes, size_t len, dps_blob *ret_blob)
{
    dps_blob blob = {0};
    if (len > 0) {
        blob.bytes = malloc(len);
        if (blob.bytes == NULL)
            return false;
        memcpy(blob.bytes, bytes, len);
        blob.len = len;
    }
    *ret_blob = blob;
    return true;
}

bool dps_blob_equal(const dps_blob *a, const dps_blob *b)
{
    return a->len == b->len && (a->len == 0 || CRYPTO_memcmp(a->bytes, b->bytes, a->len) == 0);
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool dps_base64_decode(dps_span text, size_t max, dps_blob *ret_blob)
{
    if (text.len % 4 != 0 || text.len / 4 > max / 3 + 1)
        return false;
    size_t digits = text.len;
    while (digits > 0 && text.len - digits < 2 && text.at[digits - 1] == '=')
        digits--;
    size_t len = digits * 3 / 4;
    if (len > max)
        return false;
    uint8_t *out = malloc(len + 1);
    if (out == NULL)
        return false;
    uint32_t bits = 0;
    unsigned count = 0;
    size_t at = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < digits; i++) {
        int digit = digit_of(text.at[i]);
        ok = digit >= 0;
        bits = (bits << 6) | (uint32_t)(digit & 63);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[at++] = (uint8_t)(bits >> count);
            bits &= (1u << count) - 1;
        }
    }
    dps_blob blob = {out, len};
    if (!ok || bits != 0) {
        dps_blob_clear(&blob);
        return false;
    }
    *ret_blob = blob;
    return true;
}

char *dps_base64_encode(const void *bytes, size_t len)
{
    if (len > INT_MAX / 2)
        return NULL;
    char *text = malloc((len + 2) / 3 * 4 + 1);
    if (text != NULL)
        EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);
    return text;
}

bool dps_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                     uint8_t ret_mac[DPS_HMAC_SIZE])
{
    unsigned n = 0;
    if (key_len > INT_MAX)
        return false;
    return HMAC(EVP_sha256(), key_len > 0 ? key : "", (int)key_len, data, len, ret_mac, &n) != NULL &&
           n == DPS_HMAC_SIZE;
}
