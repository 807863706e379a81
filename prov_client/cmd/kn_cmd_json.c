#include "kn_cmd.h"

#include <stdlib.h>
#include <string.h>

/* The bytes of the UTF-8 sequence (RFC 3629) that @at begins with; 0: none. Reads no further than the NUL at the end. */
static size_t sequence(const unsigned char *at)
{
    static const struct {
        unsigned char first, last, second_min, second_max, size;
    } rows[] = {
        {0x01, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (at[0] < rows[i].first || at[0] > rows[i].last)
            continue;
        if (rows[i].size > 1 && (at[1] < rows[i].second_min || at[1] > rows[i].second_max))
            return 0;
        for (size_t n = 2; n < rows[i].size; n++)
            if (at[n] < 0x80 || at[n] > 0xbf)
                return 0;
        return rows[i].size;
    }
    return 0;
}

bool kn_cmd_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t size;

    while (*at && (size = sequence(at)) > 0)
        at += size;
    return *at == '\0';
}

/* U+FFFD for each byte that belongs to no sequence. NULL when memory is out. */
static char *replaced(const char *text)
{
    static const char mark[] = "\xef\xbf\xbd";
    const unsigned char *at = (const unsigned char *)text;
    char *copy = malloc(strlen(text) * (sizeof mark - 1) + 1), *to = copy;

    while (copy && *at) {
        size_t size = sequence(at), put = size ? size : sizeof mark - 1;

        memcpy(to, size ? (const char *)at : mark, put);
        to += put;
        at += size ? size : 1;
    }
    if (copy)
        *to = '\0';
    return copy;
}

char *kn_cmd_json_print(const cJSON *tree, bool formatted)
{
    char *printed = !tree ? NULL : formatted ? cJSON_Print(tree) : cJSON_PrintUnformatted(tree), *text;

    if (!printed || kn_cmd_is_utf8(printed))
        return printed;
    text = replaced(printed); /* whole JSON still: its own signs are ASCII */
    free(printed);            /* cJSON uses malloc() */
    return text;
}
