/* For tests with Ed25519 keys: SoftHSM 2.6.1 loses the name of the curve each time it uses such a key (37 bytes). Include in
 * one file of a test program, and call keep_softhsm() first, so that LeakSanitizer can tell whose it is. */
#ifndef SOFTHSM_LEAK_H
#define SOFTHSM_LEAK_H

#include "token.h"

#include <dlfcn.h>

__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);

const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0"; /* SoftHSM has no frame pointers */
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\n";
}

static inline void keep_softhsm(void)
{
    (void)dlopen(test_module, RTLD_NOW | RTLD_NODELETE);
}

#endif
