#include "p11_state.h"

#include "../kn_log.h"
#include "../kn_proc.h"
#include "p11_restart.h"
#include "p11_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void p11_text(const CK_UTF8CHAR *padded, size_t length, char *ret_text)
{
    while (length && (padded[length - 1] == ' ' || padded[length - 1] == '\0'))
        length--;
    for (size_t i = 0; i < length; i++)
        ret_text[i] = padded[i] < 0x20 || padded[i] == 0x7f ? '?' : (char)padded[i];
    ret_text[length] = '\0';
}

static p11_token *new_token(p11_state *state, const p11_module *module, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
    p11_token *token = calloc(1, sizeof *token);
    if (!token)
        return NULL;
    token->state = state;
    token->module = module;
    p11_text(info->label, sizeof info->label, token->label);
    p11_text(info->manufacturerID, sizeof info->manufacturerID, token->manufacturer);
    p11_text(info->model, sizeof info->model, token->model);
    p11_text(info->serialNumber, sizeof info->serialNumber, token->serial);
    (void)pthread_mutex_init(&token->lock, NULL);
    (void)pthread_mutex_init(&token->login_lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&token->freed, &attr);
    (void)pthread_condattr_destroy(&attr);
    token->slot = slot;
    token->generation = 1;
    token->fork = kn_proc_fork_count();
    token->restarts = p11_restart_count();
    token->module_restarts = p11_restart_count_of(module);
    token->next = state->tokens;
    state->tokens = token;
    return token;
}

static bool is_token(const p11_token *token, const p11_module *module, const CK_TOKEN_INFO *info)
{
    char label[33], manufacturer[33], model[17], serial[17];
    p11_text(info->label, sizeof info->label, label);
    p11_text(info->manufacturerID, sizeof info->manufacturerID, manufacturer);
    p11_text(info->model, sizeof info->model, model);
    p11_text(info->serialNumber, sizeof info->serialNumber, serial);
    return token->module == module && !strcmp(token->label, label) && !strcmp(token->model, model) &&
           !strcmp(token->serial, serial) && !strcmp(token->manufacturer, manufacturer);
}

/* Session limits of 0 (CK_EFFECTIVELY_INFINITE) and ~0 (CK_UNAVAILABLE_INFORMATION) say nothing. */
static unsigned session_limit(const p11_state *state, const CK_TOKEN_INFO *info)
{
    CK_ULONG stated = info->ulMaxSessionCount;
    return stated == 0 || stated > state->sessions_max ? state->sessions_max : (unsigned)stated;
}

static p11_token *know_token(p11_state *state, const p11_module *module, CK_SLOT_ID slot,
                             const CK_TOKEN_INFO *info)
{
    p11_token *token = state->tokens;
    while (token && !is_token(token, module, info))
        token = token->next;
    if (!token)
        token = new_token(state, module, slot, info);
    if (!token)
        return NULL;
    (void)pthread_mutex_lock(&token->lock);
    if (token->slot != slot) { /* it moved: what was opened in the old slot is worth nothing */
        token->slot = slot;
        p11_session_forget_locked(token);
    }
    if (token->stated != session_limit(state, info))
        token->stated = token->limit = session_limit(state, info);
    token->flags = info->flags;
    token->flags_fresh = true;
    (void)pthread_mutex_unlock(&token->lock);
    return token;
}

typedef struct found {
    p11_token *token;
    unsigned count;
    char seen[384]; /* labels of all tokens, or of the matching ones when there are several */
    size_t seen_length;
    char unread[128]; /* the last slot whose token could not be read, and why */
} found;

static void note(found *f, const CK_TOKEN_INFO *info)
{
    char label[33], serial[17];
    p11_text(info->label, sizeof info->label, label);
    p11_text(info->serialNumber, sizeof info->serialNumber, serial);
    int n = snprintf(f->seen + f->seen_length, sizeof f->seen - f->seen_length, "%s'%s' (serial %s)",
                     f->seen_length ? ", " : "", label, serial);
    if (n > 0 && (size_t)n < sizeof f->seen - f->seen_length)
        f->seen_length += (size_t)n;
}

static void note_unread(found *f, CK_SLOT_ID slot, CK_RV rv)
{
    (void)snprintf(f->unread, sizeof f->unread, "; slot %lu cannot be read: C_GetTokenInfo: %s (0x%lx)", slot,
                   p11_ckr_row(rv)->name, rv);
}

bool p11_slot_matches(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, const p11_uri *uri)
{
    CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(uri->kit);
    if (wanted != (CK_SLOT_ID)-1 && wanted != slot)
        return false;
    CK_SLOT_INFO info;
    return !uri->has_slot_info ||
           (fn->C_GetSlotInfo(slot, &info) == CKR_OK && p11_kit_uri_match_slot_info(uri->kit, &info));
}

kn_err p11_slots_of(const p11_module *module, CK_SLOT_ID *ret_slots, CK_ULONG *ret_count)
{
    CK_ULONG count = P11_SLOTS_MAX;
    CK_RV rv = module->fn->C_GetSlotList(CK_TRUE, ret_slots, &count);
    if (rv == CKR_BUFFER_TOO_SMALL)
        return kn_fail(KN_E_TOKEN_FAILED, "%s has more than %d slots with a token; name its module and slot-id",
                       module->name, P11_SLOTS_MAX);
    if (rv != CKR_OK)
        return kn_fail(p11_ckr_row(rv)->code, "%s: C_GetSlotList: %s (0x%lx)", module->name, p11_ckr_row(rv)->name,
                       rv);
    *ret_count = count;
    return kn_success();
}

static kn_err search_module(p11_state *state, const p11_module *module, const p11_uri *uri, found *f, found *all)
{
    CK_SLOT_ID slots[P11_SLOTS_MAX];
    CK_ULONG count;
    CK_INFO library;
    if (uri->has_library_info && (module->fn->C_GetInfo(&library) != CKR_OK ||
                                  !p11_kit_uri_match_module_info(uri->kit, &library)))
        return kn_success();
    kn_err err = p11_slots_of(module, slots, &count);
    if (kn_failed(err))
        return err;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        CK_RV rv = module->fn->C_GetTokenInfo(slots[i], &info);
        if (rv != CKR_OK && rv != CKR_TOKEN_NOT_PRESENT)
            note_unread(all, slots[i], rv);
        if (rv != CKR_OK || !(info.flags & CKF_TOKEN_INITIALIZED))
            continue; /* an empty or blank token is not an error of the others */
        note(all, &info);
        if (!p11_kit_uri_match_token_info(uri->kit, &info) || !p11_slot_matches(module->fn, slots[i], uri))
            continue;
        f->token = know_token(state, module, slots[i], &info);
        if (!f->token)
            return kn_fail(KN_E_NO_MEMORY, "a token");
        note(f, &info);
        f->count++;
    }
    return kn_success();
}

/* Registered modules that did not start: the token may be one of theirs. */
static void note_silent_modules(const p11_state *state, char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < state->module_count; i++) {
        const p11_module *module = &state->modules[i];
        if (!module->configured || module->start_rv == CKR_OK)
            continue;
        int n = snprintf(text + used, size - used, "; module %.40s does not start: %s", module->name,
                         p11_ckr_row(module->start_rv)->name);
        if (n < 0 || (size_t)n >= size - used)
            break;
        used += (size_t)n;
    }
}

static kn_err find_locked(p11_state *state, const p11_uri *uri, p11_token **ret_token)
{
    const p11_module *modules[P11_MODULES_MAX];
    size_t module_count;
    found match = {0}, all = {0};
    kn_err failure = kn_success();
    kn_err err = p11_modules_for(state, uri, modules, &module_count);
    if (kn_failed(err))
        return err;
    for (size_t i = 0; i < module_count; i++) {
        err = search_module(state, modules[i], uri, &match, &all);
        if (err.code == KN_E_NO_MEMORY)
            return err;
        if (kn_failed(err)) { /* one broken module does not hide the tokens of the others */
            kn_log(KN_LOG_WARN, "%s", kn_err_detail());
            failure = err;
        }
    }
    char wanted[160];
    p11_uri_show(uri, wanted, sizeof wanted);
    if (match.count > 1)
        return kn_fail(KN_E_AMBIGUOUS_TOKEN, "%s matches %s", wanted, match.seen);
    if (match.count == 0 && kn_failed(failure) && !all.seen_length)
        return failure;
    char silent[200] = "";
    note_silent_modules(state, silent, sizeof silent);
    if (match.count == 0)
        return kn_fail(KN_E_NO_TOKEN, "%s; there is %s%s%s", wanted,
                       all.seen_length ? all.seen : "no initialised token at all", all.unread, silent);
    *ret_token = match.token;
    return kn_success();
}

kn_err p11_token_find(p11_state *state, const p11_uri *uri, p11_token **ret_token)
{
    if (kn_proc_exiting())
        return kn_fail(KN_E_CANCELLED, "the process is ending");
    (void)pthread_mutex_lock(&state->lock);
    kn_err err = find_locked(state, uri, ret_token);
    if (err.code == KN_E_MODULE_INIT && p11_modules_revive(state))
        err = find_locked(state, uri, ret_token);
    for (unsigned i = 0; err.code == KN_E_NO_TOKEN && p11_modules_read_again(state, NULL, i); i++)
        err = find_locked(state, uri, ret_token);
    (void)pthread_mutex_unlock(&state->lock);
    return err;
}

static kn_err find_again_locked(p11_token *token)
{
    CK_SLOT_ID slots[P11_SLOTS_MAX];
    CK_ULONG count = 0;
    kn_err err = p11_slots_of(token->module, slots, &count);
    if (kn_failed(err))
        return err;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (token->module->fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && is_token(token, token->module, &info) &&
            know_token(token->state, token->module, slots[i], &info) == token)
            return kn_success();
    }
    return kn_fail(KN_E_TOKEN_GONE, "'%s' (serial %s) is in none of the %lu slots", token->label, token->serial, count);
}

kn_err p11_token_find_again(p11_token *token)
{
    (void)pthread_mutex_lock(&token->state->lock);
    kn_err err = find_again_locked(token);
    for (unsigned i = 0; err.code == KN_E_TOKEN_GONE && p11_modules_read_again(token->state, token, i); i++)
        err = find_again_locked(token);
    (void)pthread_mutex_unlock(&token->state->lock);
    return err;
}

static void list_slot(const p11_module *module, CK_SLOT_ID slot,
                      void (*row)(const kn_token_info *info, void *arg), void *arg)
{
    CK_TOKEN_INFO info;
    if (module->fn->C_GetTokenInfo(slot, &info) != CKR_OK)
        return;
    kn_token_info out = {
        .module = module->name,
        .slot = slot,
        .initialised = info.flags & CKF_TOKEN_INITIALIZED,
        .login_required = info.flags & CKF_LOGIN_REQUIRED,
        .pin_set = info.flags & CKF_USER_PIN_INITIALIZED,
        .pin_count_low = info.flags & CKF_USER_PIN_COUNT_LOW,
        .pin_final_try = info.flags & CKF_USER_PIN_FINAL_TRY,
        .pin_locked = info.flags & CKF_USER_PIN_LOCKED,
    };
    p11_text(info.label, sizeof info.label, out.label);
    p11_text(info.manufacturerID, sizeof info.manufacturerID, out.manufacturer);
    p11_text(info.model, sizeof info.model, out.model);
    p11_text(info.serialNumber, sizeof info.serialNumber, out.serial);
    row(&out, arg);
}

kn_err p11_token_list(void *arg_state, void (*row)(const kn_token_info *info, void *arg), void *arg)
{
    p11_state *state = arg_state;
    const p11_module *modules[P11_MODULES_MAX];
    size_t module_count = 0;
    (void)pthread_mutex_lock(&state->lock);
    kn_err err = p11_modules_for(state, NULL, modules, &module_count);
    for (size_t i = 0; !kn_failed(err) && i < module_count; i++) {
        CK_SLOT_ID slots[P11_SLOTS_MAX];
        CK_ULONG count;
        if (kn_failed(p11_slots_of(modules[i], slots, &count))) {
            kn_log(KN_LOG_WARN, "%s", kn_err_detail());
            continue;
        }
        for (CK_ULONG s = 0; s < count; s++)
            list_slot(modules[i], slots[s], row, arg);
    }
    (void)pthread_mutex_unlock(&state->lock);
    return err;
}
