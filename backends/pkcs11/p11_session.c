#include "p11_session.h"

#include "../kn_proc.h"

#include <errno.h>
#include <time.h>

#define NOTIFY_NONE NULL, NULL

void p11_session_forget(p11_token *token)
{
    token->open -= token->idle_count; /* those that are lent are counted down when they come back */
    token->idle_count = 0;
    token->logged_in = false;
    token->generation++;
    if (token->generation == 0)
        token->generation = 1;
    (void)pthread_cond_broadcast(&token->freed);
}

/* Needs token->lock. */
static void notice_fork(p11_token *token)
{
    unsigned now = kn_proc_fork_count();
    if (token->fork == now)
        return;
    token->fork = now;
    token->open = token->idle_count = 0; /* the parent's, and its threads are not here */
    p11_session_forget(token);
}

/* Needs token->lock. */
static void count_closed(p11_token *token)
{
    if (token->open)
        token->open--;
    if (token->open == 0)
        token->logged_in = false; /* the standard logs out with the last session */
}

static struct timespec deadline_in(unsigned ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* Takes an idle session (@ret_handle) or the right to open one (returns with *ret_handle 0), or waits for either. */
static kn_err reserve(p11_token *token, bool read_write, p11_session *ret_session)
{
    struct timespec deadline = deadline_in(token->state->session_wait_ms);
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&token->lock);
    notice_fork(token);
    for (;;) {
        if (token->idle_count && !read_write) {
            ret_session->handle = token->idle[--token->idle_count];
            break;
        }
        if (token->open < token->limit) {
            token->open++;
            ret_session->handle = 0;
            break;
        }
        if (token->idle_count) { /* room for a read-write session: give up one of ours */
            CK_SESSION_HANDLE spare = token->idle[--token->idle_count];
            (void)pthread_mutex_unlock(&token->lock);
            (void)token->module->fn->C_CloseSession(spare);
            (void)pthread_mutex_lock(&token->lock);
            count_closed(token);
            continue;
        }
        if (pthread_cond_timedwait(&token->freed, &token->lock, &deadline) == ETIMEDOUT) {
            err = kn_fail(KN_E_SESSION_LIMIT, "token '%s': %u sessions are in use, waited %u ms", token->label,
                          token->open, token->state->session_wait_ms);
            break;
        }
    }
    ret_session->slot = token->slot;
    ret_session->generation = token->generation;
    ret_session->read_write = read_write;
    (void)pthread_mutex_unlock(&token->lock);
    return err;
}

/* Gives back the right to open a session. @learned: the token has no more than those that are open now. */
static void unreserve(p11_token *token, bool learned)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->open)
        token->open--;
    if (learned && token->open)
        token->limit = token->open;
    (void)pthread_cond_broadcast(&token->freed);
    (void)pthread_mutex_unlock(&token->lock);
}

static kn_err open_session(p11_token *token, p11_session *session, bool *ret_full)
{
    CK_FLAGS flags = CKF_SERIAL_SESSION | (session->read_write ? CKF_RW_SESSION : 0);
    CK_RV rv = token->module->fn->C_OpenSession(session->slot, flags, NOTIFY_NONE, &session->handle);
    *ret_full = false;
    if (rv == CKR_OK)
        return kn_success();
    (void)pthread_mutex_lock(&token->lock);
    *ret_full = rv == CKR_SESSION_COUNT && token->open > 1; /* others of ours will come back: wait for them */
    (void)pthread_mutex_unlock(&token->lock);
    unreserve(token, rv == CKR_SESSION_COUNT);
    return p11_fail("C_OpenSession", token->label, rv);
}

bool p11_session_is_user(p11_token *token, CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info;
    (void)pthread_mutex_lock(&token->lock);
    bool required = token->flags & CKF_LOGIN_REQUIRED;
    (void)pthread_mutex_unlock(&token->lock);
    return !required || (token->module->fn->C_GetSessionInfo(session, &info) == CKR_OK &&
                         (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS));
}

static kn_err ensure_login(p11_token *token, const p11_uri *uri, const p11_session *session)
{
    (void)pthread_mutex_lock(&token->lock);
    bool believed = token->logged_in || !(token->flags & CKF_LOGIN_REQUIRED);
    if (believed)
        token->flags_fresh = false; /* they will be old when a login needs them */
    (void)pthread_mutex_unlock(&token->lock);
    if (believed)
        return kn_success();
    (void)pthread_mutex_lock(&token->login_lock);
    kn_err err = p11_login(token, uri, session->handle);
    (void)pthread_mutex_unlock(&token->login_lock);
    return err;
}

kn_err p11_session_prove_login(p11_token *token, const p11_uri *uri, const p11_session *session)
{
    if (p11_session_is_user(token, session->handle))
        return kn_success();
    p11_session_logged_out(token);
    return ensure_login(token, uri, session);
}

kn_err p11_session_take(p11_token *token, const p11_uri *uri, bool read_write, p11_session *ret_session)
{
    p11_session session;
    kn_err err;
    bool full;
    if (kn_proc_exiting())
        return kn_fail(KN_E_CANCELLED, "token '%s': the process is ending", token->label);
    do {
        full = false;
        err = reserve(token, read_write, &session);
        if (!kn_failed(err) && session.handle == 0)
            err = open_session(token, &session, &full);
    } while (full);
    if (kn_failed(err))
        return err;
    err = read_write ? p11_session_prove_login(token, uri, &session) : ensure_login(token, uri, &session);
    if (kn_failed(err)) {
        p11_session_give(token, &session, true);
        return err;
    }
    *ret_session = session;
    return kn_success();
}

void p11_session_give(p11_token *token, p11_session *session, bool clean)
{
    (void)pthread_mutex_lock(&token->lock);
    bool current = session->generation == token->generation;
    bool keep = current && clean && !session->read_write && token->idle_count < P11_SESSIONS_MAX;
    if (keep)
        token->idle[token->idle_count++] = session->handle;
    (void)pthread_mutex_unlock(&token->lock);
    if (!keep) {
        if (current) /* an older handle may be somebody else's by now */
            (void)token->module->fn->C_CloseSession(session->handle);
        (void)pthread_mutex_lock(&token->lock);
        count_closed(token);
        (void)pthread_mutex_unlock(&token->lock);
    }
    (void)pthread_cond_signal(&token->freed);
    session->handle = 0;
}

void p11_session_logged_out(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    token->logged_in = false;
    (void)pthread_mutex_unlock(&token->lock);
}

void p11_session_close_idle(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    notice_fork(token);
    while (token->idle_count) {
        CK_SESSION_HANDLE spare = token->idle[--token->idle_count];
        (void)pthread_mutex_unlock(&token->lock);
        (void)token->module->fn->C_CloseSession(spare);
        (void)pthread_mutex_lock(&token->lock);
        count_closed(token);
    }
    (void)pthread_mutex_unlock(&token->lock);
    (void)pthread_cond_broadcast(&token->freed);
}
