#include "p11_restart.h"

#include "../kn_log.h"
#include "../kn_proc.h"

#include <dlfcn.h>
#include <p11-kit/p11-kit.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

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

/* Restarts, by the module's own function list, which is one for the process. More modules than fit share the last place:
 * they forget sessions too often, and no more. */
static struct {
    pthread_mutex_t lock;
    atomic_uint all;
    struct {
        const CK_FUNCTION_LIST *module;
        unsigned count;
    } of[P11_MODULES_MAX];
} restarts = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Needs restarts.lock. */
static unsigned *restarts_of(const p11_module *module)
{
    const CK_FUNCTION_LIST *bare = bare_functions(module);
    size_t i = 0;
    while (i < P11_MODULES_MAX - 1 && restarts.of[i].module && restarts.of[i].module != bare)
        i++;
    restarts.of[i].module = bare;
    return &restarts.of[i].count;
}

unsigned p11_restart_count(void)
{
    return atomic_load(&restarts.all);
}

unsigned p11_restart_count_of(const p11_module *module)
{
    (void)pthread_mutex_lock(&restarts.lock);
    unsigned count = *restarts_of(module);
    (void)pthread_mutex_unlock(&restarts.lock);
    return count;
}

static void count_restart(const p11_module *module)
{
    (void)pthread_mutex_lock(&restarts.lock);
    ++*restarts_of(module);
    (void)atomic_fetch_add(&restarts.all, 1);
    (void)pthread_mutex_unlock(&restarts.lock);
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

/* Counts failures, so that they become rarer. Needs @state->lock. */
static kn_err note_start(p11_state *state, const p11_module *module, CK_RV rv)
{
    if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        state->start_failures = 0;
        count_restart(module);
        return kn_success();
    }
    if (state->start_failures) { /* the first one may be repeated at once */
        unsigned shift = state->start_failures > 8 ? 8 : state->start_failures - 1;
        int64_t pause = (int64_t)P11_RESTART_MIN_MS << shift;
        state->start_at_ms = p11_now_ms() + (pause > P11_RESTART_MAX_MS ? P11_RESTART_MAX_MS : pause);
    }
    state->start_failures++;
    return kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize: %s (0x%lx)", module->name, p11_ckr_row(rv)->name, rv);
}

/* Needs @state->lock. */
static kn_err may_start(const p11_state *state, const p11_module *module)
{
    int64_t left = state->start_failures ? state->start_at_ms - p11_now_ms() : 0;
    return left <= 0 ? kn_success()
                     : kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize failed %u times; not tried again for %ld ms",
                               module->name, state->start_failures, (long)left);
}

/* Needs @state->lock. */
static kn_err start_when_dead(p11_state *state, const p11_module *module, bool *ret_started)
{
    CK_INFO info;
    if (module->fn->C_GetInfo(&info) != CKR_CRYPTOKI_NOT_INITIALIZED)
        return kn_success();
    kn_err err = may_start(state, module);
    if (!kn_failed(err))
        err = note_start(state, module, start_again(module));
    *ret_started = !kn_failed(err);
    return err;
}

kn_err p11_module_restart(p11_token *token)
{
    p11_state *state = token->state;
    bool started;
    (void)pthread_mutex_lock(&state->lock);
    bool forked = state->fork != kn_proc_fork_count();
    kn_err err = p11_modules_follow_fork(state);
    if (!kn_failed(err) && !forked)
        err = start_when_dead(state, token->module, &started);
    (void)pthread_mutex_unlock(&state->lock);
    return err;
}

bool p11_modules_revive(p11_state *state)
{
    bool revived = false;
    for (size_t i = 0; i < state->module_count; i++) {
        bool started = false;
        if (!state->modules[i].initialised)
            continue;
        if (kn_failed(start_when_dead(state, &state->modules[i], &started)))
            kn_log(KN_LOG_WARN, "%s", kn_err_detail());
        revived |= started;
    }
    return revived;
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

/* Was it really finalised, or does somebody else hold it? One without a file is taken for finalised. */
static bool is_finalised(const p11_module *module)
{
    CK_FUNCTION_LIST *bare = bare_functions(module);
    CK_INFO info;
    return !bare || bare->C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED;
}

/* Takes our part of the module back and forth through p11-kit. Needs @state->lock. */
static void renew(p11_state *state, const p11_module *module)
{
    (void)p11_kit_module_finalize(module->fn);
    bool finalised = is_finalised(module);
    CK_RV rv = p11_kit_module_initialize(module->fn);
    kn_err err = finalised ? note_start(state, module, rv) : kn_success();
    kn_log(KN_LOG_WARN, "%s: %u operations failed; %s%s%s", module->name, P11_FAILURES_MAX,
           finalised ? "started again" : "not started again, because others in this process use it",
           kn_failed(err) ? ": " : "", kn_failed(err) ? kn_err_detail() : "");
}

bool p11_module_renew(p11_token *token)
{
    p11_state *state = token->state;
    (void)pthread_mutex_lock(&state->lock);
    (void)pthread_mutex_lock(&token->lock);
    bool free = token->open == token->idle_count && p11_now_ms() >= token->renew_at_ms;
    if (free) {
        unsigned shift = token->renewals > 8 ? 8 : token->renewals;
        int64_t pause = (int64_t)P11_RESTART_MIN_MS << shift;
        token->renew_at_ms = p11_now_ms() + (pause > P11_RESTART_MAX_MS ? P11_RESTART_MAX_MS : pause);
        token->renewals++;
    }
    (void)pthread_mutex_unlock(&token->lock);
    free = free && !has_sessions(state, token->module, token) && !kn_failed(may_start(state, token->module));
    if (free)
        renew(state, token->module);
    (void)pthread_mutex_unlock(&state->lock);
    return free;
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
