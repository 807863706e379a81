/* Setting up a blank token. */
#include "p11_state.h"

#include <stdint.h>
#include <string.h>

typedef struct blank {
    const p11_module *module;
    CK_SLOT_ID slot;
    unsigned count;
} blank;

static kn_err look_at(const p11_module *module, const p11_uri *uri, const CK_TOKEN_INFO *wanted, blank *found)
{
    CK_SLOT_ID slots[P11_SLOTS_MAX];
    CK_ULONG count;
    kn_err err = p11_slots_of(module, slots, &count);
    for (CK_ULONG i = 0; !kn_failed(err) && i < count; i++) {
        CK_TOKEN_INFO info;
        if (module->fn->C_GetTokenInfo(slots[i], &info) != CKR_OK)
            continue;
        if (info.flags & CKF_TOKEN_INITIALIZED) {
            char label[33];
            p11_text(info.label, sizeof info.label, label);
            if (!memcmp(info.label, wanted->label, sizeof info.label))
                return kn_fail(KN_E_EXISTS, "a token with the label '%s' is in slot %lu", label, slots[i]);
            continue;
        }
        memcpy(info.label, wanted->label, sizeof info.label); /* a blank token has none: match the rest */
        if (!p11_kit_uri_match_token_info(uri->kit, &info) || !p11_slot_matches(module->fn, slots[i], uri))
            continue;
        *found = (blank){module, slots[i], found->count + 1};
    }
    return err;
}

static kn_err find_blank(p11_state *state, const p11_uri *uri, const CK_TOKEN_INFO *wanted, blank *found)
{
    const p11_module *modules[P11_MODULES_MAX];
    size_t module_count = 0;
    kn_err err = p11_modules_for(state, uri, modules, &module_count);
    for (size_t i = 0; !kn_failed(err) && i < module_count; i++)
        err = look_at(modules[i], uri, wanted, found);
    if (!kn_failed(err) && found->count == 0)
        err = kn_fail(KN_E_NO_TOKEN, "no blank token: every one is initialised, or the URI excludes it");
    if (!kn_failed(err) && found->count > 1)
        err = kn_fail(KN_E_AMBIGUOUS_TOKEN, "%u blank tokens; add slot-id= or module-path= to the URI", found->count);
    return err;
}

static CK_UTF8CHAR *pin_bytes(const kn_secret *pin)
{
    return (CK_UTF8CHAR *)(uintptr_t)kn_secret_data(pin); /* input only, by the standard */
}

static kn_err set_user_pin(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, const kn_secret *so_pin, const kn_secret *pin)
{
    CK_SESSION_HANDLE session;
    const char *call = "C_OpenSession";
    CK_RV rv = fn->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv != CKR_OK)
        return p11_fail(call, NULL, rv);
    call = "C_Login as security officer";
    rv = fn->C_Login(session, CKU_SO, pin_bytes(so_pin), kn_secret_length(so_pin));
    if (rv == CKR_OK) {
        call = "C_InitPIN";
        rv = fn->C_InitPIN(session, pin_bytes(pin), kn_secret_length(pin));
        (void)fn->C_Logout(session);
    }
    (void)fn->C_CloseSession(session);
    return rv == CKR_OK ? kn_success() : p11_fail(call, NULL, rv);
}

static kn_err initialise(p11_state *state, const p11_uri *uri, const kn_secret *so_pin, const kn_secret *pin)
{
    const CK_TOKEN_INFO *wanted = p11_kit_uri_get_token_info(uri->kit);
    blank found = {0};
    CK_UTF8CHAR label[32];
    if (!wanted || wanted->label[0] == '\0')
        return kn_fail(KN_E_URI_MALFORMED, "a new token needs a label: token=");
    kn_err err = find_blank(state, uri, wanted, &found);
    if (kn_failed(err))
        return err;
    memcpy(label, wanted->label, sizeof label);
    CK_FUNCTION_LIST *fn = found.module->fn;
    CK_RV rv = fn->C_InitToken(found.slot, pin_bytes(so_pin), kn_secret_length(so_pin), label);
    return rv == CKR_OK ? set_user_pin(fn, found.slot, so_pin, pin) : p11_fail("C_InitToken", NULL, rv);
}

kn_err p11_token_init(void *arg, const char *text, const kn_secret *so_pin, const kn_secret *pin)
{
    p11_state *state = arg;
    p11_uri *uri = NULL;
    kn_err err = p11_uri_new(text, &uri);
    if (kn_failed(err))
        return err;
    (void)pthread_mutex_lock(&state->lock);
    err = initialise(state, uri, so_pin, pin);
    (void)pthread_mutex_unlock(&state->lock);
    p11_uri_free(&uri);
    return err;
}
