/* Errors of the backends: a result that must be looked at, and one sentence about what happened.
 *
 * Units: none. Ownership: texts belong to this module. Errors: this is them.
 * Threads: any; the detail text is the calling thread's own and lasts until its next failure.
 * Spec: the list is kn_err_list.h; docs/errors.md is made from it.
 */
#ifndef KN_ERR_H
#define KN_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define KN_MUST_CHECK __attribute__((warn_unused_result))
#define KN_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))

typedef enum kn_code {
    KN_OK = 0,
#define KN_ERR_ROW(name, sentence, remedy) KN_E_##name,
#include "kn_err_list.h"
#undef KN_ERR_ROW
    KN_CODE_COUNT
} kn_code;

/* A struct, so that a result cannot be mistaken for a truth value. */
typedef struct kn_err {
    kn_code code;
} kn_err;

#define KN_DETAIL_MAX 1024 /* bytes of detail text that are kept, with the final NUL */

static inline kn_err kn_success(void)
{
    return (kn_err){KN_OK};
}

static inline bool kn_failed(kn_err err)
{
    return err.code != KN_OK;
}

/* Records the detail of a failure for this thread and returns it as a result. The text names the call,
 * the token and the code that the module gave; it never holds a PIN. Control characters are replaced. */
kn_err kn_fail(kn_code code, const char *format, ...) KN_PRINTF(2, 3);

/* Puts "CONTEXT: " in front of the detail of a failure that is passed on. */
kn_err kn_fail_within(kn_err err, const char *format, ...) KN_PRINTF(2, 3);

/* This thread's last detail text, "" before the first failure. */
const char *kn_err_detail(void);

const char *kn_code_name(kn_code code);     /* "KN_E_NO_TOKEN" */
const char *kn_code_sentence(kn_code code); /* "no token matches" */
const char *kn_code_remedy(kn_code code);   /* what to do next */

/* "SENTENCE: DETAIL (next step: REMEDY)" into @ret_text; cut to fit. For the failure that this thread saw last. */
void kn_err_text(kn_err err, char *ret_text, size_t size);

#endif
