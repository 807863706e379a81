#include "prov_base64.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

bool prov_base64_decode(const char *text, unsigned char *ret_bytes, size_t capacity, size_t *ret_size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(text), padding = 0, size;
    unsigned char *bytes;
    bool good;

    while (padding < 2 && length > padding && text[length - 1 - padding] == '=')
        padding++;
    /* EVP_DecodeBlock() takes white space at both ends and does not mind '=' elsewhere */
    if (length == 0 || length % 4 != 0 || length > INT_MAX || strspn(text, digits) != length - padding)
        return false;
    size = length / 4 * 3 - padding;
    if (size == 0 || size > capacity)
        return false;
    bytes = malloc(size + padding);
    if (!bytes)
        return false;
    good = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) == (int)(size + padding);
    if (good) {
        memcpy(ret_bytes, bytes, size);
        *ret_size = size;
    }
    OPENSSL_cleanse(bytes, size + padding);
    free(bytes);
    return good;
}

char *prov_base64_encode(const unsigned char *bytes, size_t size)
{
    char *text = size <= INT_MAX / 2 ? malloc((size + 2) / 3 * 4 + 1) : NULL;

    if (text)
        (void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
    return text;
}
