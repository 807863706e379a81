/* cmocka with checks of kn_err: what failed is shown with its detail text.
 *
 * Units: none. Ownership: none. Errors: a failed check ends the test. Threads: the test's own thread only.
 */
#ifndef KN_CHECK_H
#define KN_CHECK_H

#include "kn_err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static inline void kn_check_code(kn_err err, kn_code want, const char *call, const char *file, int line)
{
    if (err.code == want)
        return;
    print_error("%s: %s (%s), expected %s\n", call, kn_code_name(err.code),
                kn_failed(err) ? kn_err_detail() : "no error", kn_code_name(want));
    _fail(file, line);
}

static inline void kn_check_text(const char *text, const char *part, bool present, const char *file, int line)
{
    if ((strstr(text, part) != NULL) == present)
        return;
    print_error("'%s' %s '%s'\n", text, present ? "lacks" : "holds", part);
    _fail(file, line);
}

#define assert_ok(call)            kn_check_code(call, KN_OK, #call, __FILE__, __LINE__)
#define assert_error(code, call)   kn_check_code(call, code, #call, __FILE__, __LINE__)
#define assert_detail(part)        kn_check_text(kn_err_detail(), part, true, __FILE__, __LINE__)
#define assert_detail_lacks(part)  kn_check_text(kn_err_detail(), part, false, __FILE__, __LINE__)
#define assert_text(text, part)    kn_check_text(text, part, true, __FILE__, __LINE__)
#define assert_text_lacks(text, part) kn_check_text(text, part, false, __FILE__, __LINE__)

#endif
