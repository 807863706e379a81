/* JSON with the limits that text from outside needs; cJSON alone has none that fit.
 *
 * Units: bytes. Ownership: prov_json_parse() returns a tree that cJSON_Delete() releases; strings that
 *   prov_json_text() returns are released with free().
 * Errors: the code that the caller names, and the member in the detail; KN_PROV_E_MEMORY.
 * Threads: pure functions, no I/O. Spec: RFC 8259. U+0000 is refused: C strings would end there.
 */
#ifndef PROV_JSON_H
#define PROV_JSON_H

#include "prov_error.h"

#include <cjson/cJSON.h>

/* What is read, and how to say so when it is wrong. */
typedef struct prov_json_rules {
    const char *what;  /* "the answer" */
    kn_prov_code code; /* of every failure but lack of memory */
    size_t size_max;
    size_t depth_max;
} prov_json_rules;

/* Exactly one JSON value with nothing but white space around it. */
KN_PROV_MUST_CHECK kn_prov_code prov_json_parse(const prov_json_rules *rules, const char *text, size_t size,
                                                cJSON **ret_tree, prov_error *error);

/* The member @name of @object, NULL in @ret_item when absent or null. A name that occurs twice is an error.
 */
KN_PROV_MUST_CHECK kn_prov_code prov_json_member(const prov_json_rules *rules, const cJSON *object,
                                                 const char *name, const cJSON **ret_item, prov_error *error);

/* A copy of a string member of at most @max bytes in @ret_text, untouched when absent. */
KN_PROV_MUST_CHECK kn_prov_code prov_json_text(const prov_json_rules *rules, const cJSON *object,
                                               const char *name, size_t max, char **ret_text,
                                               prov_error *error);

/* A whole number from 0 to 2^31-1 in @ret_number, untouched when absent. */
KN_PROV_MUST_CHECK kn_prov_code prov_json_number(const prov_json_rules *rules, const cJSON *object,
                                                 const char *name, long *ret_number, prov_error *error);

#endif
