#include "tpm2_uri.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 2048

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

static kn_err decode(const char *from, size_t length, char ret_value[VALUE_MAX])
{
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        int high = 0, low = from[i];
        if (from[i] == '%') {
            high = i + 2 < length ? hex(from[i + 1]) : -1;
            low = high < 0 ? -1 : hex(from[i + 2]);
            if (i + 2 < length && low >= 0)
                low |= high << 4;
            else
                low = 0;
            i += 2;
        }
        if (low == 0 || used + 1 >= VALUE_MAX)
            return kn_fail(KN_E_URI_MALFORMED, "a value of more than %d bytes, with a NUL, or with a bad %% escape", VALUE_MAX - 1);
        ret_value[used++] = (char)low;
    }
    ret_value[used] = '\0';
    return used ? kn_success() : kn_fail(KN_E_URI_MALFORMED, "an empty value");
}

/* Persistent handles: part 2, 7.5. */
kn_err tpm2_uri_handle(const char *name, const char *value, uint32_t *ret_handle)
{
    char *end = NULL;
    unsigned long handle = strncasecmp(value, "0x", 2) ? 0 : strtoul(value, &end, 16);
    if (strlen(value) != 10 || !isxdigit((unsigned char)value[2]) || !end || *end || handle < 0x81000000u || handle > 0x81ffffffu)
        return kn_fail(KN_E_URI_MALFORMED, "%s=%.40s is no persistent handle: 0x81000000 to 0x81ffffff", name, value);
    *ret_handle = (uint32_t)handle;
    return kn_success();
}

static kn_err take(const char *text, size_t length, const tpm2_uri_grammar *grammar, void *config, unsigned *seen)
{
    char value[VALUE_MAX];
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals ? (size_t)(equals - text) : length, i = 0;
    while (i < grammar->count && (strlen(grammar->attributes[i].name) != name_length ||
                                  memcmp(grammar->attributes[i].name, text, name_length) != 0))
        i++;
    if (i == grammar->count || !equals)
        return kn_fail(KN_E_URI_ATTRIBUTE, "'%.*s'; %s", (int)(name_length < 40 ? name_length : 40), text, grammar->known);
    if (*seen & 1u << i)
        return kn_fail(KN_E_URI_MALFORMED, "%s stands there twice", grammar->attributes[i].name);
    *seen |= 1u << i;
    kn_err err = decode(equals + 1, length - name_length - 1, value);
    return kn_failed(err) ? kn_fail_within(err, "%s", grammar->attributes[i].name) : grammar->attributes[i].set(config, value);
}

kn_err tpm2_uri_parse(const char *uri, const tpm2_uri_grammar *grammar, void *config)
{
    unsigned seen = 0;
    kn_err err = kn_success();
    if (strncasecmp(uri, "tpm2:", 5) != 0)
        return kn_fail(KN_E_URI_SCHEME, "a TPM is named by tpm2:");
    for (const char *at = uri + 5; *at && !kn_failed(err);) {
        size_t length = strcspn(at, ";");
        err = take(at, length, grammar, config, &seen);
        at += length + (at[length] == ';');
    }
    return err;
}
