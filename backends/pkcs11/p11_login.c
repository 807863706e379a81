#include "p11_session.h"

#include "../kn_log.h"
#include "../kn_pin.h"
#include "../kn_refused.h"

#include <openssl/crypto.h>
#include <string.h>

/* Held across C_Login, for contexts that ask at the same time: a wrong PIN is sent once. */
static pthread_mutex_t trying = PTHREAD_MUTEX_INITIALIZER;

/* The token's serial number is part of it: a PIN that is wrong here may be right elsewhere. */
static kn_err mark_of(const p11_token *token, const kn_secret *pin, kn_refused_mark *ret_mark)
{
    char owner[sizeof token->serial + sizeof token->label];
    memcpy(owner, token->serial, sizeof token->serial);
    memcpy(owner + sizeof token->serial, token->label, sizeof token->label);
    return kn_refused_mark_of(owner, sizeof owner, pin, ret_mark);
}

/* Where the PIN is: what the URI says, else the configuration. NULL: nothing says it, or says that somebody is asked. */
static const char *source_of(const p11_token *token, const p11_uri *uri)
{
    const char *source = uri->pin_source ? uri->pin_source : token->state->pin_source;
    return source && !kn_pin_is_ask(source) ? source : NULL;
}

static kn_err kept_pin(p11_token *token, kn_secret **ret_pin)
{
    kn_err err = kn_success();
    (void)pthread_mutex_lock(&token->lock);
    if (token->kept_pin) {
        kn_secret_lock(token->kept_pin); /* this may be a child of fork */
        err = kn_secret_new(kn_secret_data(token->kept_pin), kn_secret_length(token->kept_pin), ret_pin);
    }
    (void)pthread_mutex_unlock(&token->lock);
    return err;
}

/* A PIN that the token refused is not kept: whoever typed it is asked again when a key is opened the next time. */
static void drop_kept_pin(p11_token *token, const kn_secret *refused)
{
    (void)pthread_mutex_lock(&token->lock);
    if (token->kept_pin && kn_secret_length(token->kept_pin) == kn_secret_length(refused) &&
        !CRYPTO_memcmp(kn_secret_data(token->kept_pin), kn_secret_data(refused), kn_secret_length(refused)))
        kn_secret_free(&token->kept_pin);
    (void)pthread_mutex_unlock(&token->lock);
}

/* The PIN of the URI; of the source that URI or configuration name; the one that somebody typed before. Success with
 * *@ret_pin NULL: it is typed at the token (CKF_PROTECTED_AUTHENTICATION_PATH). A source that was named comes first, so that
 * an unattended program can use a token with a keypad. */
static kn_err get_pin(p11_token *token, const p11_uri *uri, CK_FLAGS flags, kn_secret **ret_pin)
{
    if (uri->pin) {
        kn_log(KN_LOG_WARN, "the URI holds a PIN (pin-value), which others may see: name a file with pin-source");
        return kn_secret_new(kn_secret_data(uri->pin), kn_secret_length(uri->pin), ret_pin);
    }
    const char *source = source_of(token, uri);
    if (source)
        return kn_pin_read(source, ret_pin);
    kn_err err = kept_pin(token, ret_pin);
    if (kn_failed(err) || *ret_pin || flags & CKF_PROTECTED_AUTHENTICATION_PATH)
        return err;
    return kn_fail(KN_E_NO_PIN, "token '%s'", token->label);
}

/* Flags of the PIN counter, as they are now. */
static kn_err check_counter(p11_token *token, CK_FLAGS *ret_flags)
{
    (void)pthread_mutex_lock(&token->lock);
    bool fresh = token->flags_fresh;
    CK_FLAGS flags = token->flags;
    CK_SLOT_ID slot = token->slot;
    token->flags_fresh = false;
    (void)pthread_mutex_unlock(&token->lock);
    if (!fresh) {
        CK_TOKEN_INFO info;
        CK_RV rv = token->module->fn->C_GetTokenInfo(slot, &info);
        if (rv != CKR_OK)
            return p11_fail("C_GetTokenInfo", token->label, rv);
        flags = info.flags;
    }
    if (flags & CKF_USER_PIN_LOCKED)
        return kn_fail(KN_E_PIN_LOCKED, "token '%s'", token->label);
    if (flags & CKF_USER_PIN_FINAL_TRY)
        return kn_fail(KN_E_PIN_LAST_TRY, "token '%s'", token->label);
    if (!(flags & CKF_USER_PIN_INITIALIZED))
        return kn_fail(KN_E_PIN_STATE, "token '%s' has no user PIN", token->label);
    *ret_flags = flags;
    return kn_success();
}

/* Needs the lock. */
static kn_err try_pin(p11_token *token, CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_FLAGS flags,
                      const kn_secret *pin)
{
    kn_refused_mark mark;
    kn_err err = mark_of(token, pin, &mark);
    if (kn_failed(err))
        return err;
    if (kn_refused_known(&mark))
        return kn_fail(KN_E_PIN_INCORRECT, "token '%s': this PIN was refused before and is not sent again",
                       token->label);
    if (flags & CKF_USER_PIN_COUNT_LOW)
        kn_log(KN_LOG_INFO, "token '%s': a wrong PIN was entered since the last login", token->label);
    /* The call takes a pointer to non-const; the standard has it as input only. */
    CK_RV rv = token->module->fn->C_Login(session, user, (CK_UTF8CHAR *)(uintptr_t)kn_secret_data(pin),
                                          kn_secret_length(pin));
    token->login_rv = rv;
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return kn_success();
    if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE)
        kn_refused_remember(&mark);
    return p11_fail("C_Login", token->label, rv);
}

/* Somebody types the PIN at the token, which may take its time: no lock of ours but the token's login_lock is held. */
static kn_err login_at_token(p11_token *token, CK_SESSION_HANDLE session, CK_USER_TYPE user)
{
    kn_log(KN_LOG_INFO, "token '%s' waits for its PIN to be entered at the token", token->label);
    CK_RV rv = token->module->fn->C_Login(session, user, NULL, 0);
    token->login_rv = rv;
    return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? kn_success() : p11_fail("C_Login", token->label, rv);
}

static kn_err login_as(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session, CK_USER_TYPE user)
{
    CK_FLAGS flags = 0;
    kn_secret *pin = NULL;
    kn_err err = check_counter(token, &flags);
    if (!kn_failed(err))
        err = get_pin(token, uri, flags, &pin);
    if (kn_failed(err))
        return err;
    if (!pin)
        return login_at_token(token, session, user);
    (void)pthread_mutex_lock(&trying);
    err = try_pin(token, session, user, flags, pin);
    (void)pthread_mutex_unlock(&trying);
    if (err.code == KN_E_PIN_INCORRECT)
        drop_kept_pin(token, pin);
    kn_secret_free(&pin);
    return err;
}

kn_err p11_login(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session)
{
    (void)pthread_mutex_lock(&token->lock);
    bool done = token->logged_in; /* another thread was faster */
    (void)pthread_mutex_unlock(&token->lock);
    if (done)
        return kn_success();
    kn_err err = login_as(token, uri, session, CKU_USER);
    if (!kn_failed(err)) {
        (void)pthread_mutex_lock(&token->lock);
        token->logged_in = true;
        (void)pthread_mutex_unlock(&token->lock);
    }
    return err;
}

kn_err p11_login_for_operation(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session)
{
    (void)pthread_mutex_lock(&token->login_lock);
    kn_err err = login_as(token, uri, session, CKU_CONTEXT_SPECIFIC);
    (void)pthread_mutex_unlock(&token->login_lock);
    return err;
}

/* ---- a PIN that somebody types ---- */

/* Purely from URI and configuration: could anybody be asked? */
static bool may_be_asked(const p11_state *state, const p11_uri *uri, bool unprompted)
{
    const char *source = uri->pin_source ? uri->pin_source : state->pin_source;
    return !uri->pin && (source ? kn_pin_is_ask(source) : unprompted);
}

kn_err p11_token_wants_pin(void *arg, const char *text, bool unprompted, bool *ret_wants, char ret_label[33])
{
    p11_state *state = arg;
    p11_uri *uri = NULL;
    p11_token *token = NULL;
    CK_FLAGS flags;
    bool wants = false;
    kn_err err = p11_uri_new(text, &uri);
    if (!kn_failed(err) && may_be_asked(state, uri, unprompted))
        err = p11_token_find(state, uri, &token);
    if (!kn_failed(err) && token) {
        (void)pthread_mutex_lock(&token->lock);
        wants = token->flags & CKF_LOGIN_REQUIRED && !(token->flags & CKF_PROTECTED_AUTHENTICATION_PATH) &&
                !token->kept_pin && !token->logged_in && state->login != KN_LOGIN_NEVER;
        (void)pthread_mutex_unlock(&token->lock);
        if (wants) /* nobody types a PIN that would not be sent */
            err = check_counter(token, &flags);
    }
    p11_uri_free(&uri);
    if (kn_failed(err))
        return err;
    *ret_wants = wants;
    if (wants)
        memcpy(ret_label, token->label, sizeof token->label);
    return err;
}

kn_err p11_token_login(void *arg, const char *text, const kn_secret *pin)
{
    p11_uri *uri = NULL;
    p11_token *token = NULL;
    kn_secret *copy = NULL;
    p11_session session;
    kn_err err = p11_uri_new(text, &uri);
    if (!kn_failed(err))
        err = p11_token_find(arg, uri, &token);
    if (!kn_failed(err))
        err = kn_secret_new(kn_secret_data(pin), kn_secret_length(pin), &copy);
    if (!kn_failed(err)) {
        (void)pthread_mutex_lock(&token->lock);
        kn_secret *old = token->kept_pin;
        token->kept_pin = copy;
        (void)pthread_mutex_unlock(&token->lock);
        kn_secret_free(&old);
        err = p11_session_take(token, uri, false, &session);
        if (!kn_failed(err))
            p11_session_give(token, &session, true);
    }
    p11_uri_free(&uri);
    return err;
}
