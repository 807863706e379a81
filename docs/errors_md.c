/* Writes docs/errors.md from the tables of the backends. */
#include "kn_err.h"
#include "pkcs11/p11_ckr.h"

#include <stdio.h>

static const char *retry_text(p11_retry retry)
{
    switch (retry) {
    case P11_NEVER:
        return "never";
    case P11_LOGIN:
        return "once, after logging in again";
    case P11_OBJECT:
        return "once, after finding the object again";
    case P11_SESSION:
        return "once, in another session (the idle ones are closed)";
    case P11_SESSIONS:
        return "once, in a new session (all are given up)";
    case P11_TOKEN:
        return "once, after finding the token again";
    case P11_MODULE:
        return "once, after initialising the module again";
    }
    return "";
}

int main(void)
{
    size_t count;
    const p11_ckr *table = p11_ckr_table(&count);
    puts("# Errors\n\n"
         "Made from `backends/kn_err_list.h` and `backends/pkcs11/p11_ckr.c`; `cmake --build DIR --target errors-md` writes\n"
         "it anew. On OpenSSL's error queue the library is `keynym`, the reason is the sentence below, and the data is the\n"
         "detail (call, token, code of the module) with the next step.\n\n"
         "| error | sentence | next step |\n|---|---|---|");
    for (int code = 1; code < KN_CODE_COUNT; code++)
        printf("| `%s` | %s | %s |\n", kn_code_name((kn_code)code), kn_code_sentence((kn_code)code),
               kn_code_remedy((kn_code)code));
    puts("\n## What each Cryptoki return value means\n\n"
         "An operation that the token may have done is never repeated: a repetition happens only when the operation was not\n"
         "begun, which the last column says of values that prove it by themselves. An authentication is never repeated.\n\n"
         "| value | code | error | sentence | next step | repeated | proves \"not begun\" |\n"
         "|---|---|---|---|---|---|---|");
    for (size_t i = 0; i < count; i++)
        printf("| `%s` | 0x%lx | `%s` | %s | %s | %s | %s |\n", table[i].name, table[i].rv, kn_code_name(table[i].code),
               kn_code_sentence(table[i].code), kn_code_remedy(table[i].code), retry_text(table[i].retry),
               table[i].not_begun ? "yes" : "no");
    return 0;
}
