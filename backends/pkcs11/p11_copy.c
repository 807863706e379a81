#include "p11_copy.h"

#include "../kn_log.h"

static bool is(p11_call *call, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type, CK_BBOOL wanted)
{
    CK_BBOOL value;
    CK_ULONG length = sizeof value;
    return !kn_failed(p11_read(call, handle, type, &value, &length)) && length == sizeof value && value == wanted;
}

/* As safe as a key of ours must be, and gone with its session. */
static bool is_safe(p11_call *call, CK_OBJECT_HANDLE handle)
{
    return is(call, handle, CKA_TOKEN, CK_FALSE) && is(call, handle, CKA_PRIVATE, CK_TRUE) &&
           is(call, handle, CKA_SENSITIVE, CK_TRUE) && is(call, handle, CKA_EXTRACTABLE, CK_FALSE);
}

static void destroy_abandoned(p11_call *call, unsigned generation)
{
    p11_token *token = call->token;
    p11_abandoned list[P11_ABANDONED_MAX];
    (void)pthread_mutex_lock(&token->lock);
    unsigned count = token->generation == generation ? token->abandoned_count : 0;
    for (unsigned i = 0; i < count; i++)
        list[i] = token->abandoned[i];
    token->abandoned_count -= count;
    (void)pthread_mutex_unlock(&token->lock);
    for (unsigned i = 0; i < count; i++)
        if (list[i].generation == generation && p11_session_owns(token, list[i].owner))
            (void)token->module->fn->C_DestroyObject(call->session, list[i].handle);
}

void p11_copy_abandon(p11_copy *copy, p11_token *token)
{
    if (!copy->owner || !token)
        return;
    (void)pthread_mutex_lock(&token->lock);
    if (copy->generation == token->generation && token->abandoned_count < P11_ABANDONED_MAX)
        token->abandoned[token->abandoned_count++] = (p11_abandoned){copy->handle, copy->owner, copy->generation};
    (void)pthread_mutex_unlock(&token->lock);
    *copy = (p11_copy){.owner = 0};
}

static bool make(p11_call *call, CK_OBJECT_HANDLE original, CK_OBJECT_HANDLE *ret_handle)
{
    static const CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE template[] = {p11_attribute(CKA_TOKEN, &no, sizeof no)};
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_OBJECT_HANDLE handle;
    CK_RV rv = fn->C_CopyObject(call->session, original, template, 1, &handle);
    if (rv != CKR_OK) {
        kn_log(KN_LOG_WARN, "token '%s' makes no session copy of a key (%s): its own key is used", call->token->label,
               p11_ckr_row(rv)->name);
        return false;
    }
    if (!is_safe(call, handle)) {
        CK_RV gone = fn->C_DestroyObject(call->session, handle);
        kn_log(KN_LOG_ERROR, "token '%s' made a session copy of a key that is weaker than the key, which %s: its own key is used",
               call->token->label, gone == CKR_OK ? "was destroyed" : "could NOT be destroyed");
        return false;
    }
    *ret_handle = handle;
    return true;
}

CK_OBJECT_HANDLE p11_copy_use(p11_copy *copy, p11_call *call, unsigned generation, CK_OBJECT_HANDLE original)
{
    bool current = copy->generation == generation;
    if (current && copy->refused)
        return original;
    if (current && copy->owner && p11_session_owns(call->token, copy->owner))
        return copy->handle;
    *copy = (p11_copy){.generation = generation, .refused = true};
    destroy_abandoned(call, generation);
    unsigned owner = p11_session_own(call->token, call->session);
    if (!owner || !make(call, original, &copy->handle))
        return original;
    copy->owner = owner;
    copy->refused = false;
    return copy->handle;
}
