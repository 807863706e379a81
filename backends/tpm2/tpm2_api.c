#include "tpm2_api.h"

#include "kn_proc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

typedef struct function_row {
    const char *name;
    size_t offset;
} function_row;

#define ROW(function) {#function, offsetof(tpm2_api, function)},
static const function_row esys_rows[] = {TPM2_ESYS_FUNCTIONS(ROW)};
static const function_row mu_rows[] = {TPM2_MU_FUNCTIONS(ROW)};
static const function_row tcti_rows[] = {TPM2_TCTI_FUNCTIONS(ROW)};
#undef ROW

static const struct {
    const char *library;
    const function_row *rows;
    size_t count;
} libraries[] = {
    {"libtss2-esys.so.0", esys_rows, sizeof esys_rows / sizeof esys_rows[0]},
    {"libtss2-mu.so.0", mu_rows, sizeof mu_rows / sizeof mu_rows[0]},
    {"libtss2-tctildr.so.0", tcti_rows, sizeof tcti_rows / sizeof tcti_rows[0]},
};

static kn_err load_library(size_t i, tpm2_api *api)
{
    void *library = dlopen(libraries[i].library, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return kn_fail(KN_E_TPM_LIBRARY, "%s", dlerror());
    for (size_t n = 0; n < libraries[i].count; n++) {
        void *function = dlsym(library, libraries[i].rows[n].name);
        if (!function)
            return kn_fail(KN_E_TPM_LIBRARY, "%s has no %s", libraries[i].library, libraries[i].rows[n].name);
        memcpy((char *)api + libraries[i].rows[n].offset, &function, sizeof function);
    }
    return kn_success();
}

kn_err tpm2_api_load(const tpm2_api **ret_api)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static tpm2_api api;
    static bool loaded;
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; !loaded && !kn_failed(err) && i < sizeof libraries / sizeof libraries[0]; i++)
        err = load_library(i, &api);
    if (!kn_failed(err) && !loaded) {
        loaded = true;
        kn_proc_watch_exit();
    }
    (void)pthread_mutex_unlock(&lock);
    if (!kn_failed(err))
        *ret_api = &api;
    return err;
}
