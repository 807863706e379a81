#include "p11_restart.h"

#include "../kn_log.h"
#include "../kn_proc.h"

#include <dlfcn.h>
#include <p11-kit/p11-kit.h>
#include <stdlib.h>

/* The module's own function list, without p11-kit's counting around it; NULL for one that is not a file (`remote:`). The
 * library stays loaded, as it is by p11-kit. */
static CK_FUNCTION_LIST *bare_functions(const p11_module *module)
{
    char *path = p11_kit_module_get_filename(module->fn);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) : NULL;
    CK_C_GetFunctionList get = NULL;
    CK_FUNCTION_LIST *fn = NULL;
    free(path);
    if (!library)
        return NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get || get(&fn) != CKR_OK)
        fn = NULL;
    (void)dlclose(library);
    return fn;
}

/* p11-kit believes that a module which was finalised behind its back is still initialised, and does not call C_Initialize
 * while anybody else in the process holds it. What is undone here is that one C_Finalize. */
static CK_RV start_again(const p11_module *module)
{
    CK_FUNCTION_LIST *bare = bare_functions(module);
    if (!bare) {
        (void)p11_kit_module_finalize(module->fn);
        return p11_kit_module_initialize(module->fn);
    }
    char *reserved = p11_kit_config_option(module->fn, "x-init-reserved");
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = reserved};
    CK_RV rv = bare->C_Initialize(&args);
    free(reserved);
    return rv;
}

/* Counts failures, so that they become rarer. Needs the state's lock. */
static kn_err note_start(p11_token *token, CK_RV rv)
{
    if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        token->start_failures = 0;
        return kn_success();
    }
    if (token->start_failures) { /* the first one may be repeated at once */
        unsigned shift = token->start_failures > 8 ? 8 : token->start_failures - 1;
        int64_t pause = (int64_t)P11_RESTART_MIN_MS << shift;
        token->start_at_ms = p11_now_ms() + (pause > P11_RESTART_MAX_MS ? P11_RESTART_MAX_MS : pause);
    }
    token->start_failures++;
    return kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize: %s (0x%lx)", token->module->name, p11_ckr_row(rv)->name, rv);
}

static kn_err may_start(const p11_token *token)
{
    int64_t left = token->start_failures ? token->start_at_ms - p11_now_ms() : 0;
    return left <= 0 ? kn_success()
                     : kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize failed %u times; not tried again for %ld ms",
                               token->module->name, token->start_failures, (long)left);
}

kn_err p11_module_restart(p11_token *token, bool *ret_restarted)
{
    p11_state *state = token->state;
    CK_INFO info;
    *ret_restarted = false;
    (void)pthread_mutex_lock(&state->lock);
    bool forked = state->fork != kn_proc_fork_count();
    kn_err err = p11_modules_follow_fork(state);
    if (!kn_failed(err) && !forked && token->module->fn->C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED) {
        err = may_start(token);
        if (!kn_failed(err)) {
            err = note_start(token, start_again(token->module));
            *ret_restarted = !kn_failed(err);
        }
    }
    *ret_restarted |= forked;
    (void)pthread_mutex_unlock(&state->lock);
    return err;
}

/* Needs @state->lock. */
static bool has_sessions(p11_state *state, const p11_module *module, const p11_token *gone)
{
    bool open = false;
    for (p11_token *token = state->tokens; token && !open; token = token->next) {
        (void)pthread_mutex_lock(&token->lock);
        open = token->module == module && token != gone && token->open && token->fork == kn_proc_fork_count();
        (void)pthread_mutex_unlock(&token->lock);
    }
    return open;
}

bool p11_module_renew(p11_token *token)
{
    p11_state *state = token->state;
    bool renewed = false;
    (void)pthread_mutex_lock(&state->lock);
    (void)pthread_mutex_lock(&token->lock);
    bool lent = token->open != token->idle_count;
    (void)pthread_mutex_unlock(&token->lock);
    if (!lent && !has_sessions(state, token->module, token) && !kn_failed(may_start(token))) {
        (void)p11_kit_module_finalize(token->module->fn);
        kn_err err = note_start(token, p11_kit_module_initialize(token->module->fn));
        kn_log(KN_LOG_WARN, "%s: started again after %u failures in a row%s%s", token->module->name, P11_FAILURES_MAX,
               kn_failed(err) ? ": " : "", kn_failed(err) ? kn_err_detail() : "");
        renewed = true;
    }
    (void)pthread_mutex_unlock(&state->lock);
    return renewed;
}

static bool shows_blank_token(const p11_module *module)
{
    CK_SLOT_ID slots[P11_SLOTS_MAX];
    CK_ULONG count = P11_SLOTS_MAX;
    bool blank = false;
    if (module->fn->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        return false;
    for (CK_ULONG i = 0; i < count && !blank; i++) {
        CK_TOKEN_INFO info;
        blank = module->fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && !(info.flags & CKF_TOKEN_INITIALIZED);
    }
    return blank;
}

bool p11_modules_read_again(p11_state *state, const p11_token *gone, unsigned attempt)
{
    const struct timespec pause = {.tv_nsec = (long)(10000000u << attempt)};
    bool read = false;
    if (attempt >= P11_READ_AGAIN_MAX || (attempt == 0 && p11_now_ms() < state->read_again_at_ms))
        return false;
    state->read_again_at_ms = p11_now_ms() + P11_READ_AGAIN_PAUSE_MS;
    for (size_t i = 0; i < state->module_count; i++) {
        CK_FUNCTION_LIST *fn = state->modules[i].fn;
        if (!state->modules[i].initialised || has_sessions(state, &state->modules[i], gone) ||
            !shows_blank_token(&state->modules[i]))
            continue;
        if (!read)
            (void)nanosleep(&pause, NULL);
        (void)p11_kit_module_finalize(fn);
        CK_RV rv = p11_kit_module_initialize(fn);
        if (rv != CKR_OK)
            kn_log(KN_LOG_WARN, "%s: C_Initialize: %s (0x%lx)", state->modules[i].name, p11_ckr_row(rv)->name, rv);
        read = true;
    }
    return read;
}
