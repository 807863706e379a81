#include "dps_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

dps_span dps_span_of(const char *text)
{
    return (dps_span){text, strlen(text)};
}

bool dps_span_is(dps_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

void dps_span_copy(char *out, size_t cap, dps_span span)
{
    size_t n = span.len < cap ? span.len : cap - 1;
    while (n > 0 && n < span.len && ((unsigned char)span.at[n] & 0xc0) == 0x80)
        n--;
    memcpy(out, span.at, n);
    out[n] = '\0';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool dps_text_equal_nocase(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len)
        return false;
    for (size_t i = 0; i < a_len; i++) {
        if (lower(a[i]) != lower(b[i]))
            return false;
    }
    return true;
}

int64_t dps_time_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t served_skew_ms;

int64_t dps_time_served_ms(void)
{
    return dps_time_now_ms() + served_skew_ms;
}

void dps_time_set_skew_ms(int64_t skew_ms)
{
    served_skew_ms = skew_ms;
}

void dps_time_format(int64_t ms, char ret_text[DPS_TIME_LEN])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char day[24];
    if (gmtime_r(&seconds, &tm) == NULL || strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        memcpy(day, "1970-01-01T00:00:00", 20);
    snprintf(ret_text, DPS_TIME_LEN, "%s.%03uZ", day, (unsigned)(ms % 1000));
}

void dps_hex(const uint8_t *bytes, size_t n, bool upper, char *ret_text)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret_text[2 * i] = digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_text[2 * n] = '\0';
}

bool dps_random_uuid(char ret_text[DPS_UUID_LEN])
{
    uint8_t b[16];
    if (RAND_bytes(b, sizeof(b)) != 1)
        return false;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    char hex[33];
    dps_hex(b, sizeof(b), false, hex);
    snprintf(ret_text, DPS_UUID_LEN, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return true;
}

bool dps_random_operation_id(char ret_text[DPS_OPERATION_LEN])
{
    uint8_t b[8];
    char hex[17];
    char uuid[DPS_UUID_LEN];
    if (RAND_bytes(b, sizeof(b)) != 1 || !dps_random_uuid(uuid))
        return false;
    dps_hex(b, sizeof(b), false, hex);
    snprintf(ret_text, DPS_OPERATION_LEN, "5.%s.%s", hex, uuid);
    return true;
}

bool dps_random_etag(char ret_text[DPS_ETAG_LEN])
{
    uint8_t b[16];
    if (RAND_bytes(b, sizeof(b)) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)ret_text, b, (int)sizeof(b)); /* 24 characters and NUL */
    return true;
}

bool dps_random_id_scope(char ret_text[DPS_SCOPE_LEN])
{
    uint8_t b[4];
    if (RAND_bytes(b, sizeof(b)) != 1)
        return false;
    memcpy(ret_text, "0ne", 3);
    dps_hex(b, sizeof(b), true, ret_text + 3);
    return true;
}

/* One well-formed sequence at @p (RFC 3629, section 4): its length, or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    static const struct {
        uint8_t lead_min, lead_max, second_min, second_max;
        uint8_t len;
    } forms[] = {
        {0x01, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
        if (p[0] < forms[f].lead_min || p[0] > forms[f].lead_max)
            continue;
        if (forms[f].len > n)
            return 0;
        if (forms[f].len > 1 && (p[1] < forms[f].second_min || p[1] > forms[f].second_max))
            return 0;
        for (size_t i = 2; i < forms[f].len; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
        }
        return forms[f].len;
    }
    return 0;
}

bool dps_utf8_valid(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t step = utf8_sequence(bytes + i, n - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}
