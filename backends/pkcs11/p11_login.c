#include "p11_session.h"

#include "../kn_crypto.h"
#include "../kn_log.h"

#include <string.h>

/* Wrong PINs of this process, so that each is tried once, whichever context asks; the lock is held across C_Login, for
 * contexts that ask at the same time. The hash is salted with a random value of the process; it stays in memory only. */
#define WRONG_MAX 32

static struct {
    pthread_mutex_t lock;
    bool salted;
    uint8_t salt[32];
    uint8_t hash[WRONG_MAX][32];
    unsigned count; /* grows beyond WRONG_MAX: the oldest are overwritten */
} wrong = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The token's serial number is part of what is hashed: a PIN that is wrong here may be right elsewhere. Needs
 * wrong.lock, as the next two. */
static bool hash_pin(const p11_token *token, const kn_secret *pin, uint8_t ret_hash[32])
{
    uint8_t salt[sizeof wrong.salt + sizeof token->serial + sizeof token->label] = {0};
    if (!wrong.salted)
        wrong.salted = kn_crypto_random(wrong.salt, sizeof wrong.salt);
    memcpy(salt, wrong.salt, sizeof wrong.salt);
    memcpy(salt + sizeof wrong.salt, token->serial, sizeof token->serial);
    memcpy(salt + sizeof wrong.salt + sizeof token->serial, token->label, sizeof token->label);
    return wrong.salted && kn_crypto_digest(salt, sizeof salt, kn_secret_data(pin), kn_secret_length(pin), ret_hash);
}

static bool is_known_wrong(const uint8_t hash[32])
{
    bool known = false;
    for (unsigned i = 0; i < wrong.count && i < WRONG_MAX; i++)
        known |= !memcmp(wrong.hash[i], hash, 32);
    return known;
}

static void remember_wrong(const uint8_t hash[32])
{
    memcpy(wrong.hash[wrong.count++ % WRONG_MAX], hash, 32);
}

/* The PIN of the URI, else the file that the URI names, else the configured one. */
static kn_err get_pin(const p11_token *token, const p11_uri *uri, kn_secret **ret_pin)
{
    if (uri->pin) {
        kn_log(KN_LOG_WARN, "the URI holds a PIN (pin-value), which others may see: name a file with pin-source");
        return kn_secret_new(kn_secret_data(uri->pin), kn_secret_length(uri->pin), ret_pin);
    }
    const char *source = uri->pin_source ? uri->pin_source : token->state->pin_source;
    if (!source)
        return kn_fail(KN_E_NO_PIN, "token '%s'", token->label);
    return kn_secret_read_pin(source, ret_pin);
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

/* Needs wrong.lock. */
static kn_err try_pin(p11_token *token, CK_SESSION_HANDLE session, CK_USER_TYPE user, const kn_secret *pin)
{
    uint8_t hash[32];
    if (!hash_pin(token, pin, hash))
        return kn_fail(KN_E_CRYPTO, "hashing a PIN");
    if (is_known_wrong(hash))
        return kn_fail(KN_E_PIN_INCORRECT, "token '%s': this PIN was refused before and is not sent again",
                       token->label);
    /* The call takes a pointer to non-const; the standard has it as input only. */
    CK_RV rv = token->module->fn->C_Login(session, user, (CK_UTF8CHAR *)(uintptr_t)kn_secret_data(pin),
                                          kn_secret_length(pin));
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return kn_success();
    if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE)
        remember_wrong(hash);
    return p11_fail("C_Login", token->label, rv);
}

static kn_err login_as(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session, CK_USER_TYPE user)
{
    CK_FLAGS flags = 0;
    kn_err err = check_counter(token, &flags);
    if (kn_failed(err))
        return err;
    if (flags & CKF_PROTECTED_AUTHENTICATION_PATH) { /* the PIN is typed at the token */
        CK_RV rv = token->module->fn->C_Login(session, user, NULL, 0);
        return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? kn_success()
                                                                : p11_fail("C_Login", token->label, rv);
    }
    kn_secret *pin = NULL;
    err = get_pin(token, uri, &pin);
    if (!kn_failed(err)) {
        (void)pthread_mutex_lock(&wrong.lock);
        err = try_pin(token, session, user, pin);
        (void)pthread_mutex_unlock(&wrong.lock);
    }
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
