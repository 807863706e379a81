#include "p11_session.h"

#include "../kn_proc.h"
#include "p11_restart.h"

#include <string.h>
#include <time.h>

#define NOTIFY_NONE NULL, NULL

int64_t p11_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

unsigned p11_session_generation(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    unsigned generation = token->generation;
    (void)pthread_mutex_unlock(&token->lock);
    return generation;
}

unsigned p11_session_own(p11_token *token, CK_SESSION_HANDLE session)
{
    p11_owner *found = NULL;
    (void)pthread_mutex_lock(&token->lock);
    for (unsigned i = 0; i < P11_OWNERS_MAX && !(found && found->id); i++)
        if (token->owners[i].id && token->owners[i].session == session)
            found = &token->owners[i];
        else if (!token->owners[i].id && !found)
            found = &token->owners[i];
    if (found && !found->id)
        *found = (p11_owner){session, ++token->owner_last};
    unsigned id = found ? found->id : 0;
    (void)pthread_mutex_unlock(&token->lock);
    return id;
}

bool p11_session_owns(p11_token *token, unsigned owner)
{
    bool owns = false;
    (void)pthread_mutex_lock(&token->lock);
    for (unsigned i = 0; i < P11_OWNERS_MAX; i++)
        owns |= token->owners[i].id == owner;
    (void)pthread_mutex_unlock(&token->lock);
    return owns;
}

/* Before a session is closed: what it owned goes with it. Needs token->lock. */
static void disown(p11_token *token, CK_SESSION_HANDLE session)
{
    for (unsigned i = 0; i < P11_OWNERS_MAX; i++)
        if (token->owners[i].session == session)
            token->owners[i].id = 0;
}

/* Needs token->lock. */
static void renew_generation(p11_token *token)
{
    memset(token->owners, 0, sizeof token->owners);
    token->abandoned_count = 0;
    token->logged_in = false;
    token->generation++;
    if (token->generation == 0)
        token->generation = 1;
}

void p11_session_forget_locked(p11_token *token)
{
    token->open -= token->idle_count; /* those that are lent are counted down when they come back */
    token->idle_count = 0;
    token->epoch++;
    renew_generation(token);
    (void)pthread_cond_broadcast(&token->freed);
}

void p11_session_forget(p11_token *token, unsigned generation)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->generation == generation)
        p11_session_forget_locked(token);
    (void)pthread_mutex_unlock(&token->lock);
}

/* A module that was started again, by whichever context of ours, gives out the same handles for other things. Needs
 * token->lock. */
static void notice_restart(p11_token *token)
{
    unsigned now = p11_restart_count();
    if (token->restarts == now)
        return;
    token->restarts = now;
    unsigned own = p11_restart_count_of(token->module);
    if (token->module_restarts != own)
        p11_session_forget_locked(token);
    token->module_restarts = own;
}

/* Needs token->lock. */
static void notice_fork(p11_token *token)
{
    unsigned now = kn_proc_fork_count();
    if (token->fork == now)
        return;
    token->fork = now;
    token->open = token->idle_count = 0; /* the parent's, and its threads are not here */
    p11_session_forget_locked(token);
}

/* Needs token->lock. */
static void count_closed(p11_token *token)
{
    if (token->open)
        token->open--;
    if (token->open == 0) /* the standard logs out with the last session, and a logout ends handles of private objects */
        renew_generation(token);
}

/* A session that may have died: closed where the token still knows it. */
static void close_if_alive(p11_token *token, CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
    CK_SESSION_INFO info;
    if (token->module->fn->C_GetSessionInfo(handle, &info) == CKR_OK && info.slotID == slot)
        (void)token->module->fn->C_CloseSession(handle);
}

void p11_session_drop(p11_token *token, unsigned generation)
{
    CK_SESSION_HANDLE old[P11_SESSIONS_MAX];
    (void)pthread_mutex_lock(&token->lock);
    unsigned count = token->generation == generation ? token->idle_count : 0;
    CK_SLOT_ID slot = token->slot;
    if (token->generation == generation) {
        memcpy(old, token->idle, count * sizeof *old);
        token->idle_count = 0;
        renew_generation(token);
    }
    (void)pthread_mutex_unlock(&token->lock);
    for (unsigned i = 0; i < count; i++)
        close_if_alive(token, old[i], slot);
    (void)pthread_mutex_lock(&token->lock);
    for (unsigned i = 0; i < count; i++)
        count_closed(token);
    (void)pthread_cond_broadcast(&token->freed);
    (void)pthread_mutex_unlock(&token->lock);
}

/* Needs token->lock. */
static bool believed_logged_in(p11_token *token)
{
    bool believed = token->logged_in || !(token->flags & CKF_LOGIN_REQUIRED) || token->state->login == KN_LOGIN_NEVER;
    if (believed)
        token->flags_fresh = false; /* they will be old when a login needs them */
    return believed;
}

/* Waits on token->freed, which uses CLOCK_MONOTONIC. Needs token->lock. */
static void wait_until(p11_token *token, int64_t at_ms)
{
    const struct timespec at = {(time_t)(at_ms / 1000), (long)(at_ms % 1000) * 1000000};
    (void)pthread_cond_timedwait(&token->freed, &token->lock, &at);
}

/* May one more session than the limit be tried now? The next try is then put off. Needs token->lock. */
static bool may_grow(p11_token *token)
{
    if (token->open >= token->stated || p11_now_ms() < token->grow_at_ms)
        return false;
    token->grow_at_ms = p11_now_ms() + token->grow_pause_ms;
    return true;
}

/* Takes an idle session (@ret_handle) or the right to open one (returns with *ret_handle 0), or waits for either.
 * @try_at_once: when none is ours, nobody will give one back, and what was learned long ago is not waited for. */
static kn_err reserve(p11_token *token, bool read_write, int64_t *deadline_ms, bool try_at_once, p11_session *ret_session)
{
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&token->lock);
    notice_fork(token);
    notice_restart(token);
    for (;;) {
        if (token->idle_count && !read_write) {
            ret_session->handle = token->idle[--token->idle_count];
            break;
        }
        if (token->open < token->limit || (try_at_once && !token->open) || (!token->idle_count && may_grow(token))) {
            token->open++;
            ret_session->handle = 0;
            break;
        }
        if (token->idle_count) { /* room for a read-write session: give up one of ours */
            CK_SESSION_HANDLE spare = token->idle[--token->idle_count];
            disown(token, spare);
            (void)pthread_mutex_unlock(&token->lock);
            (void)token->module->fn->C_CloseSession(spare);
            (void)pthread_mutex_lock(&token->lock);
            count_closed(token);
            continue;
        }
        if (*deadline_ms == 0) /* most operations never wait, and do not ask for the time */
            *deadline_ms = p11_now_ms() + token->state->session_wait_ms;
        if (p11_now_ms() >= *deadline_ms) {
            err = kn_fail(KN_E_SESSION_LIMIT, "token '%s': %u sessions are in use here%s, waited %u ms", token->label,
                          token->open, token->open < token->stated ? ", others by other programs" : "",
                          token->state->session_wait_ms);
            break;
        }
        bool can_grow = token->open < token->stated && token->grow_at_ms < *deadline_ms;
        wait_until(token, can_grow ? token->grow_at_ms : *deadline_ms);
    }
    ret_session->slot = token->slot;
    ret_session->generation = token->generation;
    ret_session->epoch = token->epoch;
    ret_session->read_write = read_write;
    ret_session->believed = believed_logged_in(token);
    (void)pthread_mutex_unlock(&token->lock);
    return err;
}

/* Several tries fit into the wait of one operation. */
static unsigned longest_pause(const p11_token *token)
{
    unsigned share = token->state->session_wait_ms / 4 + 1;
    return share < P11_GROW_MAX_MS ? share : P11_GROW_MAX_MS;
}

/* A session could not be opened. With @full the token has no more than those that are open now. */
static void unreserve(p11_token *token, bool full)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->open)
        token->open--;
    if (full) {
        token->limit = token->open;
        token->grow_pause_ms = token->grow_pause_ms ? 2 * token->grow_pause_ms : P11_GROW_MIN_MS;
        if (token->grow_pause_ms > longest_pause(token))
            token->grow_pause_ms = longest_pause(token);
        token->grow_at_ms = p11_now_ms() + token->grow_pause_ms;
    }
    (void)pthread_cond_broadcast(&token->freed);
    (void)pthread_mutex_unlock(&token->lock);
}

static void note_opened(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->open > token->limit) { /* it grew: whoever waits may try the next one at once */
        token->limit = token->open;
        token->grow_pause_ms = 0;
        token->grow_at_ms = 0;
        (void)pthread_cond_broadcast(&token->freed);
    }
    (void)pthread_mutex_unlock(&token->lock);
}

/* @ret_full: the token has no more; wait for one. */
static kn_err open_session(p11_token *token, p11_session *session, bool *ret_full, p11_retry *ret_retry)
{
    CK_FLAGS flags = CKF_SERIAL_SESSION | (session->read_write ? CKF_RW_SESSION : 0);
    CK_RV rv = token->module->fn->C_OpenSession(session->slot, flags, NOTIFY_NONE, &session->handle);
    *ret_full = rv == CKR_SESSION_COUNT;
    if (rv == CKR_OK) {
        note_opened(token);
        return kn_success();
    }
    unreserve(token, *ret_full);
    *ret_retry = p11_ckr_row(rv)->retry;
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

static kn_err ensure_login(p11_token *token, const p11_uri *uri, const p11_session *session, p11_retry *ret_retry)
{
    if (session->believed)
        return kn_success();
    (void)pthread_mutex_lock(&token->login_lock);
    token->login_rv = CKR_OK;
    kn_err err = p11_login(token, uri, session->handle);
    const p11_ckr *row = p11_ckr_row(token->login_rv);
    (void)pthread_mutex_unlock(&token->login_lock);
    if (kn_failed(err) && row->not_begun)
        *ret_retry = row->retry;
    return err;
}

static kn_err prove_login(p11_token *token, const p11_uri *uri, const p11_session *session, p11_retry *ret_retry)
{
    if (p11_session_is_user(token, session->handle))
        return kn_success();
    p11_session_logged_out(token);
    p11_session again = *session;
    (void)pthread_mutex_lock(&token->lock);
    again.believed = believed_logged_in(token);
    (void)pthread_mutex_unlock(&token->lock);
    return ensure_login(token, uri, &again, ret_retry);
}

kn_err p11_session_prove_login(p11_token *token, const p11_uri *uri, const p11_session *session)
{
    p11_retry retry;
    return prove_login(token, uri, session, &retry);
}

kn_err p11_session_take_retry(p11_token *token, const p11_uri *uri, bool read_write, p11_session *ret_session,
                              p11_retry *ret_retry)
{
    p11_session session;
    kn_err err;
    bool full;
    int64_t deadline_ms = 0;
    *ret_retry = P11_NEVER;
    if (kn_proc_exiting())
        return kn_fail(KN_E_CANCELLED, "token '%s': the process is ending", token->label);
    for (full = false;;) {
        err = reserve(token, read_write, &deadline_ms, !full, &session);
        full = false;
        if (!kn_failed(err) && session.handle == 0)
            err = open_session(token, &session, &full, ret_retry);
        if (!full)
            break;
    }
    if (kn_failed(err))
        return err;
    if (uri)
        err = read_write ? prove_login(token, uri, &session, ret_retry) : ensure_login(token, uri, &session, ret_retry);
    if (kn_failed(err)) {
        p11_session_give(token, &session, *ret_retry == P11_NEVER);
        return err;
    }
    *ret_session = session;
    return kn_success();
}

kn_err p11_session_take(p11_token *token, const p11_uri *uri, bool read_write, p11_session *ret_session)
{
    p11_retry retry;
    return p11_session_take_retry(token, uri, read_write, ret_session, &retry);
}

void p11_session_give(p11_token *token, p11_session *session, bool clean)
{
    (void)pthread_mutex_lock(&token->lock);
    bool current = session->generation == token->generation;
    bool known = session->epoch == token->epoch;
    bool keep = current && clean && !session->read_write && token->idle_count < P11_SESSIONS_MAX;
    if (keep)
        token->idle[token->idle_count++] = session->handle;
    else if (current)
        disown(token, session->handle);
    (void)pthread_mutex_unlock(&token->lock);
    if (!keep) {
        if (current)
            (void)token->module->fn->C_CloseSession(session->handle);
        else if (known)
            close_if_alive(token, session->handle, session->slot);
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
        disown(token, spare);
        (void)pthread_mutex_unlock(&token->lock);
        (void)token->module->fn->C_CloseSession(spare);
        (void)pthread_mutex_lock(&token->lock);
        count_closed(token);
    }
    (void)pthread_mutex_unlock(&token->lock);
    (void)pthread_cond_broadcast(&token->freed);
}
