#include "prov_json.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Depth and NUL are checked before cJSON sees the text: it recurses 1000 deep and cuts strings at U+0000.
 * The text need not be valid JSON here; a wrong count is then cJSON's syntax error. */
static const char *shape_problem(const char *text, size_t size, size_t depth_max)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        /* cJSON takes any control character for white space, and lets them into strings. */
        if ((unsigned char)c < 0x20 && (quoted || (c != '\t' && c != '\n' && c != '\r')))
            return "holds a control character";
        if (quoted && c == '\\') {
            if (size - i > 5 && memcmp(text + i, "\\u0000", 6) == 0)
                return "holds U+0000";
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && (c == '{' || c == '[')) {
            if (++depth > depth_max)
                return "is nested too deeply";
        } else if (!quoted && (c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return NULL;
}

kn_prov_code prov_json_parse(const prov_json_rules *rules, const char *text, size_t size, cJSON **ret_tree,
                             prov_error *error)
{
    const char *problem, *end = NULL;
    char *copy;
    cJSON *tree;
    size_t offset;

    if (size > rules->size_max)
        return prov_fail(error, rules->code, "%s has %zu bytes, %zu are allowed", rules->what, size,
                         rules->size_max);
    problem = shape_problem(text, size, rules->depth_max);
    if (problem)
        return prov_fail(error, rules->code, "%s %s", rules->what, problem);
    copy = strndup(text, size); /* cJSON may look at the byte behind the end */
    if (!copy)
        return prov_fail(error, KN_PROV_E_MEMORY, "no %zu bytes for %s", size, rules->what);
    tree = cJSON_ParseWithLengthOpts(copy, size + 1, &end, 1);
    offset = end ? (size_t)(end - copy) : 0;
    free(copy);
    if (!tree)
        return prov_fail(error, rules->code, "%s is not JSON: syntax error near byte %zu of %zu", rules->what,
                         offset, size);
    *ret_tree = tree;
    return KN_PROV_OK;
}

kn_prov_code prov_json_member(const prov_json_rules *rules, const cJSON *object, const char *name,
                              const cJSON **ret_item, prov_error *error)
{
    const cJSON *found = NULL;

    for (const cJSON *item = object->child; item; item = item->next) {
        if (strcmp(item->string, name) != 0)
            continue;
        if (found)
            return prov_fail(error, rules->code, "%s has the member \"%s\" twice", rules->what, name);
        found = item;
    }
    *ret_item = cJSON_IsNull(found) ? NULL : found;
    return KN_PROV_OK;
}

kn_prov_code prov_json_text(const prov_json_rules *rules, const cJSON *object, const char *name, size_t max,
                            char **ret_text, prov_error *error)
{
    const cJSON *item;
    kn_prov_code code = prov_json_member(rules, object, name, &item, error);
    char *text;

    if (code || !item)
        return code;
    if (!cJSON_IsString(item))
        return prov_fail(error, rules->code, "%s has a member \"%s\" that is not a string", rules->what,
                         name);
    if (strlen(item->valuestring) > max)
        return prov_fail(error, rules->code, "%s has a member \"%s\" of over %zu bytes", rules->what, name,
                         max);
    text = strdup(item->valuestring);
    if (!text)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for \"%s\"", name);
    *ret_text = text;
    return KN_PROV_OK;
}

kn_prov_code prov_json_number(const prov_json_rules *rules, const cJSON *object, const char *name,
                              long *ret_number, prov_error *error)
{
    const cJSON *item;
    kn_prov_code code = prov_json_member(rules, object, name, &item, error);

    if (code || !item)
        return code;
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= INT32_MAX) ||
        item->valuedouble > (double)(long)item->valuedouble)
        return prov_fail(error, rules->code, "%s has a member \"%s\" that is not a whole number", rules->what,
                         name);
    *ret_number = (long)item->valuedouble;
    return KN_PROV_OK;
}
