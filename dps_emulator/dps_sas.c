#include "dps_sas.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

enum {
    SIGNATURE_TEXT_MAX = 48, /* base64 of 32 bytes has 44 characters */
    EXPIRY_DIGITS_MAX = 12,
};

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decoding; a plus sign stays one. False for a broken escape, a NUL, or more than @cap - 1 bytes. */
static bool decode(dps_span text, char *out, size_t cap, size_t *ret_len)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            if (text.len - i < 3 || hex_of(text.at[i + 1]) < 0 || hex_of(text.at[i + 2]) < 0)
                return false;
            c = (char)(hex_of(text.at[i + 1]) * 16 + hex_of(text.at[i + 2]));
            i += 2;
        }
        if (c == '\0' || n + 1 >= cap)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    *ret_len = n;
    return true;
}

static bool take_expiry(dps_span value, dps_sas *sas)
{
    if (value.len == 0 || value.len > EXPIRY_DIGITS_MAX)
        return false;
    int64_t seconds = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
        seconds = seconds * 10 + (value.at[i] - '0');
    }
    sas->expiry = value;
    sas->expiry_s = seconds;
    return true;
}

static bool take_signature(dps_span value, dps_sas *sas)
{
    char text[SIGNATURE_TEXT_MAX];
    dps_span decoded = {text, 0};
    dps_blob mac = {0};
    if (!decode(value, text, sizeof(text), &decoded.len) || !dps_base64_decode(decoded, DPS_HMAC_SIZE, &mac))
        return false;
    bool ok = mac.len == DPS_HMAC_SIZE;
    if (ok)
        memcpy(sas->signature, mac.bytes, DPS_HMAC_SIZE);
    dps_blob_clear(&mac);
    return ok;
}

enum {
    FIELD_SR = 1,
    FIELD_SIG = 2,
    FIELD_SE = 4,
    FIELD_SKN = 8,
};

/* One "name=value"; 0 when it is none that is known or its value is broken. */
static unsigned take_field(dps_span field, dps_sas *sas)
{
    const char *equals = memchr(field.at, '=', field.len);
    if (equals == NULL)
        return 0;
    dps_span name = {field.at, (size_t)(equals - field.at)};
    dps_span value = {equals + 1, field.len - name.len - 1};
    size_t n = 0;
    if (dps_span_is(name, "sr")) {
        sas->resource = value;
        return value.len > 0 && decode(value, sas->decoded, sizeof(sas->decoded), &n) ? FIELD_SR : 0;
    }
    if (dps_span_is(name, "sig"))
        return take_signature(value, sas) ? FIELD_SIG : 0;
    if (dps_span_is(name, "se"))
        return take_expiry(value, sas) ? FIELD_SE : 0;
    if (dps_span_is(name, "skn"))
        return decode(value, sas->key_name, sizeof(sas->key_name), &n) ? FIELD_SKN : 0;
    return 0;
}

dps_sas_verdict dps_sas_parse(dps_span text, dps_sas *ret_sas)
{
    static const char scheme[] = "SharedAccessSignature ";
    const size_t head = sizeof(scheme) - 1;
    dps_sas sas = {0};
    unsigned seen = 0;
    if (text.len > DPS_SAS_MAX || text.len <= head || memcmp(text.at, scheme, head) != 0)
        return DPS_SAS_MALFORMED;
    dps_span rest = {text.at + head, text.len - head};
    while (true) {
        const char *end = memchr(rest.at, '&', rest.len);
        dps_span field = {rest.at, end != NULL ? (size_t)(end - rest.at) : rest.len};
        unsigned bit = take_field(field, &sas);
        if (bit == 0 || (seen & bit) != 0)
            return DPS_SAS_MALFORMED;
        seen |= bit;
        if (end == NULL)
            break;
        rest = (dps_span){end + 1, rest.len - field.len - 1};
    }
    if ((seen & (FIELD_SR | FIELD_SIG | FIELD_SE)) != (FIELD_SR | FIELD_SIG | FIELD_SE))
        return DPS_SAS_MALFORMED;
    *ret_sas = sas;
    return DPS_SAS_OK;
}

dps_sas_verdict dps_sas_check(const dps_sas *sas, const char *resource, int64_t now_ms)
{
    if (!dps_text_equal_nocase(sas->decoded, strlen(sas->decoded), resource, strlen(resource)))
        return DPS_SAS_WRONG_RESOURCE;
    return sas->expiry_s <= now_ms / 1000 ? DPS_SAS_EXPIRED : DPS_SAS_OK;
}

bool dps_sas_signed_by(const dps_sas *sas, const void *key, size_t key_len)
{
    char text[DPS_SAS_MAX + 2];
    uint8_t mac[DPS_HMAC_SIZE];
    size_t n = sas->resource.len;
    if (key_len == 0 || n + 1 + sas->expiry.len > sizeof(text))
        return false;
    memcpy(text, sas->resource.at, n);
    text[n++] = '\n';
    memcpy(text + n, sas->expiry.at, sas->expiry.len);
    n += sas->expiry.len;
    bool ok =
        dps_hmac_sha256(key, key_len, text, n, mac) && CRYPTO_memcmp(mac, sas->signature, sizeof(mac)) == 0;
    OPENSSL_cleanse(mac, sizeof(mac));
    return ok;
}

const char *dps_sas_verdict_text(dps_sas_verdict verdict)
{
    switch (verdict) {
    case DPS_SAS_OK:
        return "The SAS token is valid";
    case DPS_SAS_MALFORMED:
        return "The SAS token cannot be read";
    case DPS_SAS_WRONG_RESOURCE:
        return "The SAS token is for another resource";
    case DPS_SAS_EXPIRED:
        return "The SAS token has expired";
    case DPS_SAS_WRONG_SIGNATURE:
        return "The signature of the SAS token is wrong";
    }
    return "The SAS token is not valid";
}

bool dps_sas_derive(const dps_blob *group_key, dps_span registration_id, uint8_t ret_key[DPS_HMAC_SIZE])
{
    return dps_hmac_sha256(group_key->bytes, group_key->len, registration_id.at, registration_id.len,
                           ret_key);
}
