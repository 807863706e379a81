#include "tpm2_attest_uri.h"

#include "kn_pin.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 1024

typedef kn_err set_function(tpm2_attest_config *config, const char *value);

static kn_err copy(const char *value, char **ret_text)
{
    *ret_text = strdup(value);
    return *ret_text ? kn_success() : kn_fail(KN_E_NO_MEMORY, "a TPM's URI");
}

static kn_err set_tcti(tpm2_attest_config *config, const char *value)
{
    return copy(value, &config->tcti);
}

static kn_err set_source(const char *name, const char *value, char **ret_source)
{
    return kn_pin_is_source(value) && !kn_pin_is_ask(value)
               ? copy(value, ret_source)
               : kn_fail(KN_E_URI_MALFORMED, "%s= names no file, credential or descriptor that holds the authorization", name);
}

static kn_err set_owner_auth(tpm2_attest_config *config, const char *value)
{
    return set_source("owner-auth", value, &config->owner_auth);
}

static kn_err set_endorsement_auth(tpm2_attest_config *config, const char *value)
{
    return set_source("endorsement-auth", value, &config->endorsement_auth);
}

/* Persistent handles: part 2, 7.5. */
static kn_err set_handle(const char *name, const char *value, uint32_t *ret_handle)
{
    char *end = NULL;
    unsigned long handle = strncasecmp(value, "0x", 2) ? 0 : strtoul(value, &end, 16);
    if (strlen(value) != 10 || !isxdigit((unsigned char)value[2]) || !end || *end || handle < 0x81000000u || handle > 0x81ffffffu)
        return kn_fail(KN_E_URI_MALFORMED, "%s=%.40s is no persistent handle: 0x81000000 to 0x81ffffff", name, value);
    *ret_handle = (uint32_t)handle;
    return kn_success();
}

static kn_err set_ek_handle(tpm2_attest_config *config, const char *value)
{
    return set_handle("ek-handle", value, &config->ek_handle);
}

static kn_err set_srk_handle(tpm2_attest_config *config, const char *value)
{
    return set_handle("srk-handle", value, &config->srk_handle);
}

static kn_err set_ek_unique(tpm2_attest_config *config, const char *value)
{
    config->ek_unique_empty = strcmp(value, "empty") == 0;
    return config->ek_unique_empty || strcmp(value, "zeros") == 0
               ? kn_success()
               : kn_fail(KN_E_URI_MALFORMED, "ek-unique=%.40s is neither zeros nor empty", value);
}

static const struct {
    const char *name;
    set_function *set;
} attributes[] = {
    {"tcti", set_tcti},           {"owner-auth", set_owner_auth}, {"endorsement-auth", set_endorsement_auth},
    {"ek-handle", set_ek_handle}, {"srk-handle", set_srk_handle}, {"ek-unique", set_ek_unique},
};
#define ATTRIBUTE_COUNT (sizeof attributes / sizeof attributes[0])

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

static kn_err take(const char *text, size_t length, tpm2_attest_config *config, bool seen[ATTRIBUTE_COUNT])
{
    char value[VALUE_MAX];
    const char *equals = memchr(text, '=', length);
    size_t name_length = equals ? (size_t)(equals - text) : length, i = 0;
    while (i < ATTRIBUTE_COUNT && (strlen(attributes[i].name) != name_length || memcmp(attributes[i].name, text, name_length) != 0))
        i++;
    if (i == ATTRIBUTE_COUNT || !equals)
        return kn_fail(KN_E_URI_ATTRIBUTE, "'%.*s'; a TPM that attests has tcti, owner-auth, endorsement-auth, ek-handle, srk-handle, "
                                           "ek-unique", (int)(name_length < 40 ? name_length : 40), text);
    if (seen[i])
        return kn_fail(KN_E_URI_MALFORMED, "%s stands there twice", attributes[i].name);
    seen[i] = true;
    kn_err err = decode(equals + 1, length - name_length - 1, value);
    return kn_failed(err) ? kn_fail_within(err, "%s", attributes[i].name) : attributes[i].set(config, value);
}

kn_err tpm2_attest_config_parse(const char *uri, tpm2_attest_config *ret_config)
{
    tpm2_attest_config config = {.ek_handle = TPM2_EK_HANDLE, .srk_handle = TPM2_SRK_HANDLE};
    bool seen[ATTRIBUTE_COUNT] = {false};
    kn_err err = kn_success();
    if (uri && strncasecmp(uri, "tpm2:", 5) != 0)
        return kn_fail(KN_E_URI_SCHEME, "a TPM is named by tpm2:");
    for (const char *at = uri ? uri + 5 : ""; *at && !kn_failed(err);) {
        size_t length = strcspn(at, ";");
        err = take(at, length, &config, seen);
        at += length + (at[length] == ';');
    }
    if (!kn_failed(err) && config.ek_handle == config.srk_handle)
        err = kn_fail(KN_E_URI_MALFORMED, "ek-handle and srk-handle are the same");
    if (kn_failed(err))
        tpm2_attest_config_clear(&config);
    else
        *ret_config = config;
    return err;
}

void tpm2_attest_config_clear(tpm2_attest_config *config)
{
    free(config->tcti);
    free(config->owner_auth);
    free(config->endorsement_auth);
    *config = (tpm2_attest_config){.tcti = NULL};
}
