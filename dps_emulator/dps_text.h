/* Units:     times are milliseconds since 1970-01-01 UTC; lengths are bytes without the final NUL unless
 * said. Ownership: every output is a buffer of the caller, of the size in the argument. Errors:    random
 * functions return false when OpenSSL's generator fails; the rest cannot fail. Threads:   no shared state.
 * Spec:      RFC 3339 times, RFC 4122 version 4 UUIDs. */
#ifndef DPS_TEXT_H
#define DPS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"

enum {
    DPS_TIME_LEN = 32,      /* "2024-02-29T12:34:56.789Z" and its NUL */
    DPS_UUID_LEN = 37,      /* 36 characters and NUL */
    DPS_OPERATION_LEN = 64, /* "5.<16 hex>.<uuid>" and its NUL */
    DPS_ETAG_LEN = 32,      /* base64 of 16 bytes and NUL */
    DPS_SCOPE_LEN = 12,     /* "0ne" + 8 hex and NUL */
};

/* Bytes that belong to someone else; not NUL-terminated. */
typedef struct dps_span {
    const char *at;
    size_t len;
} dps_span;

dps_span dps_span_of(const char *text);
bool dps_span_is(dps_span span, const char *text);
/* With a NUL. Cuts what is too long, but never inside a UTF-8 character. */
void dps_span_copy(char *out, size_t cap, dps_span span);

/* Compares ASCII letters without case. */
bool dps_text_equal_nocase(const char *a, size_t a_len, const char *b, size_t b_len);

int64_t dps_time_now_ms(void);
/* The time by which the service judges tokens and certificates and which it writes into errors: the system's,
 * or with a fault of kind "clock-skew" another one. */
int64_t dps_time_served_ms(void);
void dps_time_set_skew_ms(int64_t skew_ms);
void dps_time_format(int64_t ms, char ret_text[DPS_TIME_LEN]);

/* Writes 2*@n hex digits and a NUL. */
void dps_hex(const uint8_t *bytes, size_t n, bool upper, char *ret_text);

DPS_MUST_CHECK bool dps_random_uuid(char ret_text[DPS_UUID_LEN]);
DPS_MUST_CHECK bool dps_random_operation_id(char ret_text[DPS_OPERATION_LEN]);
DPS_MUST_CHECK bool dps_random_etag(char ret_text[DPS_ETAG_LEN]);
DPS_MUST_CHECK bool dps_random_id_scope(char ret_text[DPS_SCOPE_LEN]);

/* True when all of [@bytes, @bytes + @n) is well-formed UTF-8 without U+0000 and surrogates (RFC 3629). */
bool dps_utf8_valid(const uint8_t *bytes, size_t n);

#endif
