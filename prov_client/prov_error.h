/* How a function of the client says why it failed: a code that the caller returns, and one line of detail.
 *
 * Units: the detail has at most PROV_DETAIL_MAX bytes with its NUL; longer text is cut.
 * Ownership: a prov_error is the caller's and owns nothing.
 * Errors: none of its own. Threads: one prov_error, one thread.
 * Spec: none. The detail is for people: control characters are replaced, because parts come from the network.
 */
#ifndef PROV_ERROR_H
#define PROV_ERROR_H

#include "kn_prov.h"

#define PROV_DETAIL_MAX 768U

typedef struct prov_error {
    char detail[PROV_DETAIL_MAX];
} prov_error;

/* Writes the detail and returns @code, so that "return prov_fail(...)" is one statement. */
kn_prov_code prov_fail(prov_error *error, kn_prov_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Replaces C0 and C1 control characters of @text by '?', in place. */
void prov_text_make_printable(char *text);

#endif
