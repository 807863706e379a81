#include "p11_state.h"

#include "../kn_decrypt.h"
#include "../kn_log.h"
#include "../kn_proc.h"
#include "p11_session.h"

#include <p11-kit/p11-kit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_or_null(const char *text)
{
    return text && *text ? strdup(text) : NULL;
}

kn_err p11_state_new(const kn_config *config, void **ret_state)
{
    p11_state *state = calloc(1, sizeof *state);
    if (!state)
        return kn_fail(KN_E_NO_MEMORY, "the PKCS#11 state");
    kn_decrypt_start();
    (void)pthread_mutex_init(&state->lock, NULL);
    state->module_path = copy_or_null(config->module_path);
    state->pin_source = copy_or_null(config->pin_source);
    state->login = config->login;
    state->token_copy = config->token_copy;
    state->sessions_max = config->sessions_max && config->sessions_max < P11_SESSIONS_MAX ? config->sessions_max : P11_SESSIONS_MAX;
    state->session_wait_ms = config->session_wait_ms ? config->session_wait_ms : 30000;
    state->fork = kn_proc_fork_count();
    bool lost = (config->module_path && *config->module_path && !state->module_path) ||
                (config->pin_source && *config->pin_source && !state->pin_source);
    if (lost) {
        p11_state_free(state);
        return kn_fail(KN_E_NO_MEMORY, "the PKCS#11 state");
    }
    *ret_state = state;
    return kn_success();
}

void p11_state_free(void *arg)
{
    p11_state *state = arg;
    /* Neither in a child, where the sessions are the parent's, nor at exit: see kn_proc_exiting(). */
    bool alive = !kn_proc_exiting() && state->fork == kn_proc_fork_count();
    while (state->tokens) {
        p11_token *token = state->tokens;
        state->tokens = token->next;
        if (alive)
            p11_session_close_idle(token);
        kn_secret_free(&token->kept_pin);
        (void)pthread_mutex_destroy(&token->lock);
        (void)pthread_mutex_destroy(&token->login_lock);
        (void)pthread_cond_destroy(&token->freed);
        free(token);
    }
    for (size_t i = 0; i < state->module_count; i++) {
        if (alive && state->modules[i].initialised)
            (void)p11_kit_module_finalize(state->modules[i].fn);
        if (alive && state->modules[i].path)
            p11_kit_module_release(state->modules[i].fn);
        free(state->modules[i].name);
        free(state->modules[i].path);
    }
    if (alive && state->registered)
        p11_kit_modules_release(state->registered);
    free(state->module_path);
    free(state->pin_source);
    (void)pthread_mutex_destroy(&state->lock);
    free(state);
}

void p11_state_rest(void *arg)
{
    p11_state *state = arg;
    if (kn_proc_exiting())
        return;
    (void)pthread_mutex_lock(&state->lock);
    p11_token *token = state->tokens; /* tokens are added in front, and stay */
    (void)pthread_mutex_unlock(&state->lock);
    for (; token; token = token->next) {
        (void)pthread_mutex_lock(&token->lock);
        bool ours = token->fork == kn_proc_fork_count(); /* in a child of fork they are still the parent's */
        (void)pthread_mutex_unlock(&token->lock);
        if (ours)
            p11_session_drop(token, p11_session_generation(token));
    }
}

/* Appends "NAME=VALUE" to the query, percent-encoded where RFC 7512 section 2.3 asks for it. */
static void append_query(char *uri, const char *name, const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:";
    char *end = uri + strlen(uri);
    end += sprintf(end, "%c%s=", strchr(uri, '?') ? '&' : '?', name);
    for (; *value; value++)
        end += sprintf(end, strchr(plain, *value) ? "%c" : "%%%02X", (unsigned char)*value);
}

kn_err p11_uri_complete(void *arg, const char *text, char **ret_uri)
{
    const p11_state *state = arg;
    p11_uri *uri = NULL;
    kn_err err = p11_uri_new(text, &uri);
    if (kn_failed(err))
        return err;
    const char *pin_source = uri->pin_source || uri->pin ? NULL : state->pin_source;
    bool one_module = state->module_path && !strchr(state->module_path, ':');
    const char *module_path = uri->module_path || uri->module_name || !one_module ? NULL : state->module_path;
    size_t room = strlen(text) + 3 * ((pin_source ? strlen(pin_source) : 0) + (module_path ? strlen(module_path) : 0)) +
                  sizeof "?pin-source=&module-path=";
    char *complete = malloc(room);
    p11_uri_free(&uri);
    if (!complete)
        return kn_fail(KN_E_NO_MEMORY, "a URI");
    memcpy(complete, text, strlen(text) + 1);
    if (pin_source)
        append_query(complete, "pin-source", pin_source);
    if (module_path)
        append_query(complete, "module-path", module_path);
    *ret_uri = complete;
    return kn_success();
}

/* Takes @name and @path. */
static kn_err add_module(p11_state *state, CK_FUNCTION_LIST *fn, char *name, char *path)
{
    if (!name || state->module_count == P11_MODULES_MAX) {
        free(name);
        free(path);
        return kn_fail(name ? KN_E_CONFIG : KN_E_NO_MEMORY, "more than %d PKCS#11 modules", P11_MODULES_MAX);
    }
    state->modules[state->module_count++] = (p11_module){
        .fn = fn, .name = name, .path = path, .configured = !path && !state->module_path, .initialised = path != NULL};
    kn_proc_watch_exit();
    return kn_success();
}

static kn_err initialise(p11_module *module)
{
    if (module->initialised)
        return kn_success();
    CK_RV rv = p11_kit_module_initialize(module->fn);
    module->start_rv = rv == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CKR_OK : rv;
    if (module->start_rv != CKR_OK)
        return kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize: %s (0x%lx)", module->name, p11_ckr_row(rv)->name, rv);
    module->initialised = true;
    return kn_success();
}

/* A module by its path; loaded once. */
static kn_err load_path(p11_state *state, const char *path, p11_module **ret_module)
{
    for (size_t i = 0; i < state->module_count; i++)
        if (state->modules[i].path && !strcmp(state->modules[i].path, path)) {
            *ret_module = &state->modules[i];
            return kn_success();
        }
    CK_FUNCTION_LIST *fn = p11_kit_module_load(path, 0);
    if (!fn) {
        const char *why = p11_kit_message();
        return kn_fail(KN_E_MODULE_LOAD, "%s: %s", path, why ? why : "no reason given");
    }
    CK_RV rv = p11_kit_module_initialize(fn);
    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        p11_kit_module_release(fn);
        return kn_fail(KN_E_MODULE_INIT, "%s: C_Initialize: %s (0x%lx)", path, p11_ckr_row(rv)->name, rv);
    }
    kn_err err = add_module(state, fn, strdup(path), strdup(path));
    if (kn_failed(err)) {
        (void)p11_kit_module_finalize(fn);
        p11_kit_module_release(fn);
        return err;
    }
    *ret_module = &state->modules[state->module_count - 1];
    return kn_success();
}

/* p11-kit's own trust store has certificates of the system and no keys of ours. */
static bool is_trust_store(CK_FUNCTION_LIST *fn)
{
    char *option = p11_kit_config_option(fn, "trust-policy");
    bool trust = option && !strcmp(option, "yes");
    free(option);
    return trust;
}

static kn_err load_registered(p11_state *state)
{
    if (state->registered_loaded)
        return kn_success();
    state->registered = p11_kit_modules_load(NULL, 0);
    if (!state->registered) {
        const char *why = p11_kit_message();
        return kn_fail(KN_E_MODULE_LOAD, "p11-kit: %s", why ? why : "a critical module cannot be loaded");
    }
    state->registered_loaded = true;
    for (size_t i = 0; state->registered[i]; i++) {
        if (is_trust_store(state->registered[i]))
            continue;
        kn_err err = add_module(state, state->registered[i], p11_kit_module_get_name(state->registered[i]), NULL);
        if (kn_failed(err))
            return err;
    }
    return kn_success();
}

/* p11-kit-proxy shows the slots of all registered modules as its own, for programs that know one module only. p11-kit
 * refuses to load it into a process that uses p11-kit, as ours does, so the path stands for what is behind it. */
static bool is_proxy(const char *path)
{
    const char *name = strrchr(path, '/');
    return name && !strcmp(name, "/p11-kit-proxy.so");
}

static kn_err configure_registered(p11_state *state)
{
    kn_err err = load_registered(state);
    for (size_t i = 0; !kn_failed(err) && i < state->module_count; i++)
        state->modules[i].configured |= !state->modules[i].path;
    return err;
}

static kn_err load_configured(p11_state *state)
{
    char *paths = strdup(state->module_path), *rest = paths;
    kn_err err = paths ? kn_success() : kn_fail(KN_E_NO_MEMORY, "module paths");
    for (char *path; !kn_failed(err) && (path = strsep(&rest, ":"));) {
        p11_module *module;
        if (!*path)
            continue;
        if (is_proxy(path)) {
            err = configure_registered(state);
            continue;
        }
        err = load_path(state, path, &module);
        if (!kn_failed(err))
            module->configured = true;
    }
    free(paths);
    return err;
}

kn_err p11_modules_follow_fork(p11_state *state)
{
    unsigned now = kn_proc_fork_count();
    if (state->fork == now)
        return kn_success();
    for (size_t i = 0; i < state->module_count; i++) {
        if (!state->modules[i].initialised)
            continue;
        CK_RV rv = p11_kit_module_initialize(state->modules[i].fn);
        if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
            return kn_fail(KN_E_MODULE_INIT, "%s in the forked process: %s (0x%lx)", state->modules[i].name,
                           p11_ckr_row(rv)->name, rv);
    }
    state->fork = now;
    return kn_success();
}

/* Does the module count, for a URI with @name, or one that asks for all that are @registered? */
static bool is_allowed(const p11_module *module, const char *name, bool registered)
{
    if (name || registered)
        return !module->path && (!name || !strcmp(name, module->name));
    return module->configured;
}

kn_err p11_modules_for(p11_state *state, const p11_uri *uri, const p11_module **ret_modules, size_t *ret_count)
{
    size_t count = 0;
    kn_err err = p11_modules_follow_fork(state);
    if (kn_failed(err))
        return err;
    bool registered = uri && uri->module_path && is_proxy(uri->module_path);
    if (uri && uri->module_path && !registered) {
        p11_module *module = NULL;
        err = load_path(state, uri->module_path, &module);
        ret_modules[0] = module;
        *ret_count = 1;
        return err;
    }
    /* A name is one of p11-kit's, whatever else is configured. */
    const char *name = uri ? uri->module_name : NULL;
    err = state->module_path && !name && !registered ? load_configured(state) : load_registered(state);
    if (kn_failed(err))
        return err;
    for (size_t i = 0; i < state->module_count; i++) {
        p11_module *module = &state->modules[i];
        if (!is_allowed(module, name, registered))
            continue;
        kn_err one = initialise(module);
        if (!kn_failed(one)) {
            ret_modules[count++] = module;
            continue;
        }
        err = one;
        if (!name) /* does not hide the tokens of the others; named when no token is found */
            kn_log(KN_LOG_INFO, "%s", kn_err_detail());
    }
    *ret_count = count;
    if (count)
        return kn_success();
    if (kn_failed(err))
        return err;
    return name ? kn_fail(KN_E_NO_MODULE, "no module is registered under the name '%.60s'", name)
                : kn_fail(KN_E_NO_MODULE, "p11-kit knows of none");
}
