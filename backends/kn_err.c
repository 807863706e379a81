#include "kn_err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *sentence, *remedy;
} rows[KN_CODE_COUNT] = {
    [KN_OK] = {"KN_OK", "no error", ""},
#define KN_ERR_ROW(name_, sentence_, remedy_) [KN_E_##name_] = {"KN_E_" #name_, sentence_, remedy_},
#include "kn_err_list.h"
#undef KN_ERR_ROW
};

static _Thread_local char last_detail[KN_DETAIL_MAX];

/* Names come from tokens: what would steer a terminal or break a log line is shown as '?'. Control characters are the bytes
 * below 0x20, 0x7f, and U+0080 to U+009F, which UTF-8 writes as 0xc2 and a byte below 0xa0. */
static void make_printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
            c[0] = c[1] = '?';
    }
}

kn_err kn_fail(kn_code code, const char *format, ...)
{
    /* The arguments may point into last_detail, so it is written last. */
    char text[KN_DETAIL_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_printable(text);
    memcpy(last_detail, text, sizeof text);
    return (kn_err){code};
}

kn_err kn_fail_within(kn_err err, const char *format, ...)
{
    char context[KN_DETAIL_MAX / 2], old[KN_DETAIL_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(context, sizeof context, format, args);
    va_end(args);
    make_printable(context);
    memcpy(old, last_detail, sizeof old);
    int used = snprintf(last_detail, sizeof last_detail, "%s: ", context);
    if (used > 0 && (size_t)used < sizeof last_detail) {
        size_t room = sizeof last_detail - (size_t)used - 1;
        size_t length = strnlen(old, room);
        memcpy(last_detail + used, old, length);
        last_detail[(size_t)used + length] = '\0';
    }
    return err;
}

const char *kn_err_detail(void)
{
    return last_detail;
}

const char *kn_code_name(kn_code code)
{
    return code < KN_CODE_COUNT ? rows[code].name : "KN_E_UNKNOWN";
}

const char *kn_code_sentence(kn_code code)
{
    return code < KN_CODE_COUNT ? rows[code].sentence : "an error that is not in the list";
}

const char *kn_code_remedy(kn_code code)
{
    return code < KN_CODE_COUNT ? rows[code].remedy : "report this";
}

void kn_err_text(kn_err err, char *ret_text, size_t size)
{
    (void)snprintf(ret_text, size, "%s: %s (next step: %s)", kn_code_sentence(err.code), last_detail,
                   kn_code_remedy(err.code));
}
