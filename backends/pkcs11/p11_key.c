#include "p11_key.h"

#include "../kn_proc.h"
#include "p11_quirk.h"

#include <stdlib.h>
#include <string.h>

kn_err p11_key_new(p11_state *state, const char *uri, p11_key **ret_key)
{
    p11_key *key = calloc(1, sizeof *key);
    if (!key)
        return kn_fail(KN_E_NO_MEMORY, "a key handle");
    key->state = state;
    (void)pthread_mutex_init(&key->lock, NULL);
    kn_err err = p11_uri_new(uri, &key->uri);
    if (kn_failed(err)) {
        p11_key_free(key);
        return err;
    }
    *ret_key = key;
    return kn_success();
}

void p11_key_use(p11_key *key, p11_token *token)
{
    key->token = token;
    (void)pthread_mutex_lock(&token->lock);
    token->keys++;
    (void)pthread_mutex_unlock(&token->lock);
}

/* The last key of a token whose login others wait for ends it. */
static void end_use(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    bool last = --token->keys == 0 && token->open > 0 && token->fork == kn_proc_fork_count();
    unsigned generation = token->generation;
    (void)pthread_mutex_unlock(&token->lock);
    if (last && !kn_proc_exiting() && p11_quirk_scarce(token))
        p11_session_drop(token, generation);
}

void p11_key_free(void *arg)
{
    p11_key *key = arg;
    p11_copy_abandon(&key->copy, key->token);
    if (key->token)
        end_use(key->token);
    p11_uri_free(&key->uri);
    (void)pthread_mutex_destroy(&key->lock);
    free(key);
}

/* Finds the object in an open session and notes it. Needs key->lock. */
static kn_err bind_locked(p11_key *key, p11_call *call, unsigned generation)
{
    p11_object object;
    kn_public public;
    bool has_public = false;
    kn_err err = p11_key_locate(call, key->uri, &object, &public, &has_public);
    if (kn_failed(err))
        return err;
    if (has_public && key->has_expected && !kn_public_equal(&public, &key->expected))
        return kn_fail(KN_E_KEY_CHANGED, "the key on token '%s' has another public key than the alias",
                       call->token->label);
    if (!has_public && !key->has_expected)
        return kn_fail(KN_E_NO_PUBLIC, "token '%s'", call->token->label);
    if (!key->has_expected) {
        key->has_expected = true;
        key->expected = public;
    }
    key->handle = object.handle;
    key->always_authenticate = object.always_authenticate;
    key->compared = has_public;
    key->generation = generation;
    if (++key->binding == 0)
        key->binding = 1;
    return kn_success();
}

typedef struct bound {
    CK_OBJECT_HANDLE handle;
    unsigned binding; /* 0: the token's public key was compared */
} bound;

/* @signing: a session copy will do. */
static kn_err bind(p11_key *key, p11_call *call, unsigned generation, bool signing, bound *ret_bound)
{
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&key->lock);
    if (key->generation != generation) {
        p11_copy_abandon(&key->copy, call->token);
        err = bind_locked(key, call, generation);
    }
    ret_bound->handle = key->handle;
    if (!kn_failed(err) && signing && key->state->token_copy && !key->always_authenticate)
        ret_bound->handle = p11_copy_use(&key->copy, call, generation, key->handle);
    ret_bound->binding = key->compared ? 0 : key->binding;
    (void)pthread_mutex_unlock(&key->lock);
    return err;
}

static kn_err token_of(p11_key *key, p11_token **ret_token)
{
    (void)pthread_mutex_lock(&key->lock);
    p11_token *token = key->token;
    (void)pthread_mutex_unlock(&key->lock);
    if (!token) {
        kn_err err = p11_token_find(key->state, key->uri, &token);
        if (kn_failed(err))
            return err;
        (void)pthread_mutex_lock(&key->lock);
        if (!key->token)
            p11_key_use(key, token);
        token = key->token;
        (void)pthread_mutex_unlock(&key->lock);
    }
    *ret_token = token;
    return kn_success();
}

typedef struct key_run {
    p11_key *key;
    p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg);
    void *arg;
    bool signing;
    unsigned binding;
} key_run;

static p11_step key_step(p11_call *call, unsigned generation, void *arg)
{
    key_run *r = arg;
    bound where = {0};
    kn_err err = bind(r->key, call, generation, r->signing, &where);
    if (kn_failed(err))
        return (p11_step){.err = err, .rv = call->rv, .idle = call->rv == CKR_OK};
    r->binding = where.binding;
    p11_step outcome = r->step(r->key, call, where.handle, r->arg);
    if (outcome.rv != CKR_OK && p11_ckr_row(outcome.rv)->retry == P11_OBJECT) {
        (void)pthread_mutex_lock(&r->key->lock);
        r->key->generation = 0;
        (void)pthread_mutex_unlock(&r->key->lock);
    }
    return outcome;
}

static kn_err run(key_run *r, unsigned *ret_binding)
{
    const p11_task task = {.uri = r->key->uri, .step = key_step, .arg = r};
    p11_token *token;
    kn_err err = token_of(r->key, &token);
    if (!kn_failed(err))
        err = p11_run(token, &task);
    if (ret_binding)
        *ret_binding = r->binding;
    return err;
}

kn_err p11_key_run(p11_key *key,
                   p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg), void *arg,
                   unsigned *ret_binding)
{
    key_run r = {.key = key, .step = step, .arg = arg};
    return run(&r, ret_binding);
}

kn_err p11_key_run_signing(p11_key *key,
                           p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg),
                           void *arg, unsigned *ret_binding)
{
    key_run r = {.key = key, .step = step, .arg = arg, .signing = true};
    return run(&r, ret_binding);
}

static p11_step nothing(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    (void)key, (void)call, (void)handle, (void)arg;
    return (p11_step){.call = NULL};
}

kn_err p11_key_open(void *state, const char *uri, const kn_public *expected, void **ret_key, kn_public *ret_public)
{
    p11_key *key = NULL;
    kn_err err = p11_key_new(state, uri, &key);
    if (kn_failed(err))
        return err;
    if (expected) {
        key->has_expected = true;
        key->expected = *expected;
    } else {
        err = p11_key_run(key, nothing, NULL, NULL);
        if (kn_failed(err)) {
            p11_key_free(key);
            return err;
        }
        *ret_public = key->expected;
    }
    *ret_key = key;
    return kn_success();
}

static p11_step inspect_step(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    (void)key;
    kn_err err = p11_custody_read(call, handle, arg);
    return (p11_step){.err = err, .rv = call->rv};
}

kn_err p11_key_inspect(void *arg, kn_custody *ret_custody)
{
    return p11_key_run(arg, inspect_step, ret_custody, NULL);
}

/* Is the object the public half of the key? One of another kind, or without what is needed to tell, is not. */
static kn_err is_public_of(p11_call *call, CK_OBJECT_HANDLE handle, const kn_public *expected, bool *ret_is)
{
    p11_object object;
    kn_public public;
    call->rv = CKR_OK;
    kn_err err = p11_object_read(call, handle, &object);
    if (!kn_failed(err))
        err = p11_object_public(call, &object, &public);
    *ret_is = !kn_failed(err) && kn_public_equal(&public, expected);
    return call->rv == CKR_OK || call->rv == CKR_ATTRIBUTE_TYPE_INVALID ? kn_success() : err;
}

/* After the private key is gone: what fails here is told, and does not bring it back. */
static kn_err delete_public(p11_call *call, const p11_object *private, const kn_public *expected)
{
    static const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[] = {p11_attribute(CKA_CLASS, &class, sizeof class),
                               p11_attribute(CKA_ID, private->id, private->id_length)};
    CK_OBJECT_HANDLE handles[P11_MATCHES_MAX + 1];
    CK_ULONG count;
    kn_err err = p11_search(call, template, 2, P11_MATCHES_MAX, handles, &count);
    for (CK_ULONG i = 0; !kn_failed(err) && i < count && i <= P11_MATCHES_MAX; i++) {
        CK_RV rv = CKR_OK;
        bool is = false;
        err = is_public_of(call, handles[i], expected, &is);
        if (is)
            rv = call->token->module->fn->C_DestroyObject(call->session, handles[i]);
        if (rv != CKR_OK)
            err = p11_fail("C_DestroyObject", call->token->label, rv);
    }
    return kn_failed(err) ? kn_fail_within(err, "the private key is deleted; its public key") : err;
}

static p11_step delete_step(p11_call *call, unsigned generation, void *arg)
{
    p11_key *key = arg;
    p11_object private;
    kn_public public;
    bool tells;
    (void)generation;
    kn_err err = p11_key_locate(call, key->uri, &private, &public, &tells);
    if (!kn_failed(err) && tells && key->has_expected && !kn_public_equal(&public, &key->expected))
        err = kn_fail(KN_E_KEY_CHANGED, "the private key on token '%s' is another than the alias's", call->token->label);
    if (kn_failed(err))
        return (p11_step){.err = err, .rv = call->rv};
    CK_RV rv = call->token->module->fn->C_DestroyObject(call->session, private.handle);
    if (rv != CKR_OK)
        return (p11_step){.call = "C_DestroyObject", .rv = rv, .begun = true};
    if (tells)
        err = delete_public(call, &private, &public);
    return (p11_step){.err = err, .begun = true};
}

kn_err p11_key_delete(void *arg)
{
    p11_key *key = arg;
    const p11_task task = {.uri = key->uri, .read_write = true, .step = delete_step, .arg = key};
    p11_token *token = NULL;
    kn_err err = p11_token_find(key->state, key->uri, &token);
    return kn_failed(err) ? err : p11_run(token, &task);
}
