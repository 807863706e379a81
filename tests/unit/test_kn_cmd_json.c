/* JSON that is printed is UTF-8, whatever bytes it is made of. */
#include "kn_cmd.h"

#include "support/kn_check.h"

#include <stdlib.h>
#include <string.h>

#define R "\xef\xbf\xbd" /* U+FFFD */

static const struct {
    const char *text, *shown; /* shown NULL: as it is */
} rows[] = {
    {"", NULL},
    {"plain", NULL},
    {"\xc2\x80 \xdf\xbf", NULL},
    {"\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf", NULL},
    {"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf", NULL},
    {"\x80", R},
    {"a\xff" "b", "a" R "b"},
    {"\xc0\x80", R R},                 /* overlong */
    {"\xc1\xbf", R R},                 /* overlong */
    {"\xe0\x9f\xbf", R R R},           /* overlong */
    {"\xf0\x8f\xbf\xbf", R R R R},     /* overlong */
    {"\xed\xa0\x80", R R R},           /* a surrogate */
    {"\xf4\x90\x80\x80", R R R R},     /* above U+10FFFF */
    {"\xf5\x80\x80\x80", R R R R},
    {"\xc3", R},                       /* ends too early */
    {"\xe2\x82", R R},
    {"\xf0\x9f\x98", R R R},
    {"\xe2\x82z", R R "z"},
    {"\xc3\xc3\xa4", R "\xc3\xa4"},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (int formatted = 0; formatted < 2; formatted++) {
            cJSON *object = cJSON_CreateObject();
            assert_non_null(cJSON_AddStringToObject(object, "text", rows[i].text));
            char *printed = kn_cmd_json_print(object, formatted);
            assert_non_null(printed);
            assert_true(kn_cmd_is_utf8(printed));
            cJSON *again = cJSON_Parse(printed);
            assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(again, "text")), rows[i].shown ? rows[i].shown : rows[i].text);
            cJSON_Delete(again);
            cJSON_Delete(object);
            free(printed);
        }
        assert_int_equal(kn_cmd_is_utf8(rows[i].text), rows[i].shown == NULL);
    }
    assert_null(kn_cmd_json_print(NULL, true));
}

/* Sequences that end with the text, in memory of exactly that size: a sanitizer sees a byte read behind. */
static void test_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t size = 0; size <= strlen(rows[i].text); size++) {
            char *copy = malloc(size + 1);
            memcpy(copy, rows[i].text, size);
            copy[size] = '\0';
            (void)kn_cmd_is_utf8(copy);
            free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
