#include "p11_run.h"

#include "../kn_log.h"
#include "../kn_proc.h"
#include "p11_quirk.h"
#include "p11_restart.h"

/* Makes a repetition possible. @generation: of the session that failed. */
static kn_err mend(p11_token *token, p11_retry retry, unsigned generation)
{
    kn_err err = kn_success();
    switch (retry) {
    case P11_NEVER:
    case P11_OBJECT: /* the step finds it again */
        break;
    case P11_LOGIN:
        p11_session_logged_out(token);
        break;
    case P11_SESSION:
        p11_session_close_idle(token);
        break;
    case P11_SESSIONS:
        p11_session_drop(token, generation);
        break;
    case P11_TOKEN:
        err = p11_token_find_again(token);
        p11_session_drop(token, generation); /* also when it is out: what was open is worth nothing */
        break;
    case P11_MODULE:
        err = p11_module_restart(token);
        if (!kn_failed(err))
            err = p11_token_find_again(token);
        if (!kn_failed(err))
            p11_session_forget(token, generation);
        break;
    }
    return err;
}

typedef struct attempt {
    p11_retry retry; /* what would have to be mended before another; P11_NEVER: there must be none */
    unsigned generation; /* the token's before, then that of the session */
} attempt;

static kn_err attempt_once(p11_token *token, const p11_task *task, attempt *ret)
{
    p11_session session;
    ret->retry = P11_NEVER;
    kn_err err = p11_session_take_retry(token, task->uri, task->read_write, &session, &ret->retry);
    if (kn_failed(err))
        return err;
    ret->generation = session.generation;
    p11_call call = {.token = token, .session = session.handle, .rv = CKR_OK};
    p11_step outcome = task->step(&call, session.generation, task->arg);
    err = outcome.call ? p11_fail(outcome.call, token->label, outcome.rv) : outcome.err;
    const p11_ckr *row = p11_ckr_row(outcome.rv);
    if (kn_failed(err) && outcome.rv != CKR_OK && (!outcome.begun || row->not_begun))
        ret->retry = row->retry;
    bool idle = outcome.call ? !outcome.begun && (row->retry == P11_OBJECT || row->retry == P11_LOGIN) : outcome.idle;
    p11_session_give(token, &session, !kn_failed(err) || idle);
    return err;
}

/* What is known of the token before an operation: read at once, under one lock. */
typedef struct before {
    unsigned generation;
    bool forked, failing, troubled;
} before;

static before look(p11_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    before b = {.generation = token->generation,
                .forked = token->fork != kn_proc_fork_count(),
                .failing = token->failures >= P11_FAILURES_MAX,
                .troubled = token->failures || token->renewals || token->renew_at_ms};
    (void)pthread_mutex_unlock(&token->lock);
    return b;
}

/* When the operations before it failed in the token: nothing is repeated by it. */
static void renew(p11_token *token, unsigned generation)
{
    if (!p11_module_renew(token))
        return;
    p11_session_forget(token, generation);
    (void)pthread_mutex_lock(&token->lock);
    token->failures = 0;
    (void)pthread_mutex_unlock(&token->lock);
    kn_err err = p11_token_find_again(token);
    if (kn_failed(err)) /* the operation will fail and say so */
        kn_log(KN_LOG_INFO, "%s", kn_err_detail());
}

static void note_outcome(p11_token *token, kn_err err, bool troubled)
{
    if (err.code != KN_E_TOKEN_FAILED && (kn_failed(err) || !troubled))
        return;
    (void)pthread_mutex_lock(&token->lock);
    if (kn_failed(err)) {
        token->failures++;
    } else {
        token->failures = token->renewals = 0;
        token->renew_at_ms = 0;
    }
    (void)pthread_mutex_unlock(&token->lock);
}

kn_err p11_run(p11_token *token, const p11_task *task)
{
    attempt last;
    unsigned mended = 0; /* a bit for each class */
    before b = look(token);
    kn_err err = kn_success();
    if (b.forked) { /* a child must initialise the module before any other call (PKCS#11 v3.0 section 5.4), and SoftHSM's
                     * slots may have other numbers there */
        err = mend(token, P11_MODULE, b.generation);
        if (kn_failed(err))
            return err;
        b = look(token);
    }
    if (b.failing)
        renew(token, b.generation);
    last.generation = b.failing ? p11_session_generation(token) : b.generation;
    err = attempt_once(token, task, &last);
    while (kn_failed(err) && last.retry != P11_NEVER && !(mended & 1u << last.retry)) {
        kn_log(KN_LOG_INFO, "%s; trying once more", kn_err_detail());
        mended |= 1u << last.retry;
        err = mend(token, last.retry, last.generation);
        if (kn_failed(err))
            break;
        last.generation = p11_session_generation(token);
        err = attempt_once(token, task, &last);
    }
    note_outcome(token, err, b.troubled || mended);
    if (err.code == KN_E_TOKEN_FAILED && p11_quirk_scarce(token))
        return kn_fail_within((kn_err){KN_E_TPM_BUSY}, "tpm2-pkcs11 gives no reason");
    return err;
}
