/* What PKCS#11 modules of the distribution lose, so that LeakSanitizer reports only what is ours. Include in one file of a
 * test program, and call keep_modules() first: a module that stays loaded has a name in the report.
 *
 *   SoftHSM 2.6.1      the name of the curve, 37 bytes, each time an Ed25519 key is used
 *   tpm2-pkcs11 1.9.0  40 bytes in each C_Initialize without a TPM; p11-kit initialises every module in its registry
 */
#ifndef MODULE_LEAKS_H
#define MODULE_LEAKS_H

#include "token.h"

#include <dlfcn.h>
#include <glob.h>

__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);

const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0"; /* the modules have no frame pointers */
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\nleak:libtpm2_pkcs11.so\n";
}

static inline void keep_modules(void)
{
    glob_t found;
    (void)dlopen(test_module, RTLD_NOW | RTLD_NODELETE);
    if (glob(P11_MODULE_DIR "/libtpm2_pkcs11.so*", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            (void)dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_NODELETE);
        globfree(&found);
    }
}

#endif
