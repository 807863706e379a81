#include "p11_key.h"

#include "../kn_log.h"
#include "../kn_proc.h"

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

void p11_key_free(void *arg)
{
    p11_key *key = arg;
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

static kn_err bind(p11_key *key, p11_call *call, unsigned generation, bound *ret_bound)
{
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&key->lock);
    if (key->generation != generation)
        err = bind_locked(key, call, generation);
    ret_bound->handle = key->handle;
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
        key->token = token;
        (void)pthread_mutex_unlock(&key->lock);
    }
    *ret_token = token;
    return kn_success();
}

/* Makes a repetition possible. */
static kn_err mend(p11_key *key, p11_token *token, p11_retry retry, unsigned generation)
{
    kn_err err = kn_success();
    if (retry == P11_MODULE)
        err = p11_module_restart(token);
    if (!kn_failed(err) && (retry == P11_MODULE || retry == P11_TOKEN))
        err = p11_token_find_again(token);
    if (kn_failed(err))
        return err;
    if (retry == P11_LOGIN)
        p11_session_logged_out(token);
    if (retry == P11_OBJECT) {
        (void)pthread_mutex_lock(&key->lock);
        key->generation = 0;
        (void)pthread_mutex_unlock(&key->lock);
    }
    if (retry == P11_SESSION)
        p11_session_close_idle(token);
    if (retry == P11_SESSIONS || retry == P11_TOKEN || retry == P11_MODULE) {
        (void)pthread_mutex_lock(&token->lock);
        if (token->generation == generation) /* else another thread was faster */
            p11_session_forget(token);
        (void)pthread_mutex_unlock(&token->lock);
    }
    return kn_success();
}

typedef struct run {
    p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg);
    void *arg;
    unsigned binding;
} run;

/* One try. @ret_retry says what would have to be mended before another; P11_NEVER: there must be none. */
static kn_err attempt(p11_key *key, p11_token *token, run *r, p11_retry *ret_retry, unsigned *ret_generation)
{
    p11_session session;
    (void)pthread_mutex_lock(&token->lock);
    *ret_generation = token->generation;
    (void)pthread_mutex_unlock(&token->lock);
    *ret_retry = P11_NEVER;
    p11_call call = {.token = token, .rv = CKR_OK};
    kn_err err = p11_session_take(token, key->uri, false, &session);
    if (kn_failed(err)) {
        if (err.code == KN_E_TOKEN_GONE)
            *ret_retry = P11_TOKEN;
        else if (err.code == KN_E_MODULE_INIT)
            *ret_retry = P11_MODULE;
        else if (err.code == KN_E_SESSION_LOST)
            *ret_retry = P11_SESSION;
        return err;
    }
    *ret_generation = session.generation;
    call.session = session.handle;
    bound where = {0};
    err = bind(key, &call, session.generation, &where);
    if (kn_failed(err)) {
        *ret_retry = call.rv == CKR_OK ? P11_NEVER : p11_ckr_row(call.rv)->retry;
        p11_session_give(token, &session, call.rv == CKR_OK);
        return err;
    }
    p11_step outcome = r->step(key, &call, where.handle, r->arg);
    err = outcome.err;
    if (outcome.call) {
        const p11_ckr *row = p11_ckr_row(outcome.rv);
        err = p11_fail(outcome.call, token->label, outcome.rv);
        if (!outcome.begun || row->not_begun)
            *ret_retry = row->retry;
    }
    p11_session_give(token, &session, !outcome.call && !kn_failed(outcome.err));
    r->binding = where.binding;
    return err;
}

/* A child of fork must initialise the module before any other call (PKCS#11 v3.0 section 5.4), and SoftHSM's slots
 * may have other numbers there. */
static kn_err follow_fork(p11_key *key, p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    bool forked = token->fork != kn_proc_fork_count();
    unsigned generation = token->generation;
    (void)pthread_mutex_unlock(&token->lock);
    return forked ? mend(key, token, P11_MODULE, generation) : kn_success();
}

kn_err p11_key_run(p11_key *key,
                   p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg), void *arg,
                   unsigned *ret_binding)
{
    run r = {.step = step, .arg = arg};
    p11_token *token;
    p11_retry retry;
    unsigned generation, mended = 0; /* a bit for each class */
    kn_err err = token_of(key, &token);
    if (!kn_failed(err))
        err = follow_fork(key, token);
    if (kn_failed(err))
        return err;
    err = attempt(key, token, &r, &retry, &generation);
    while (kn_failed(err) && retry != P11_NEVER && !(mended & 1u << retry)) {
        kn_log(KN_LOG_INFO, "%s; trying once more", kn_err_detail());
        mended |= 1u << retry;
        err = mend(key, token, retry, generation);
        if (!kn_failed(err))
            err = attempt(key, token, &r, &retry, &generation);
        else
            retry = P11_NEVER;
    }
    if (ret_binding)
        *ret_binding = r.binding;
    return err;
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
    return (p11_step){.call = NULL, .err = err};
}

kn_err p11_key_inspect(void *arg, kn_custody *ret_custody)
{
    return p11_key_run(arg, inspect_step, ret_custody, NULL);
}
