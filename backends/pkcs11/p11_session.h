/* Sessions of a token: a bounded pool, and the login.
 *
 * Units: as named. Ownership: p11_session_take() lends a session, p11_session_give() returns it.
 * Errors: KN_E_SESSION_LIMIT when none becomes free in time; KN_E_PIN_*; those of opening one.
 * Threads: any; one session serves one operation at a time. No lock is held across a token call, but login_lock and
 * the process's lock of PINs across C_Login. Fork: the child starts with an empty pool and does not close the parent's sessions.
 * Spec: PKCS#11 v3.0 sections 5.6 (sessions and login).
 *
 * State of a token's login, by call:
 *   no session open, or the last one closed -> logged out
 *   take                                    -> logged in (once for all sessions of the process)
 *   CKR_USER_NOT_LOGGED_IN seen             -> p11_session_logged_out(), and the next take logs in
 *   a key cannot be found                   -> p11_session_is_user() tells whether somebody else logged us out
 *   CKR_OPERATION_ACTIVE and the like       -> p11_session_close_idle(): logged in while one is lent
 *   CKR_SESSION_HANDLE_INVALID and the like -> p11_session_drop(): logged out, pool empty; those that live are closed
 *   the module started anew                 -> p11_session_forget(): the same, but none is closed
 *
 * How many: what the token states, or what CKR_SESSION_COUNT taught; then one more is tried now and then, by an operation
 * that would have to wait, so that the number grows again when others give theirs back.
 */
#ifndef KN_P11_SESSION_H
#define KN_P11_SESSION_H

#include "p11_state.h"

typedef struct p11_session {
    CK_SESSION_HANDLE handle;
    CK_SLOT_ID slot;     /* of the token, when the session was lent */
    unsigned generation; /* the token's, likewise */
    unsigned epoch;      /* likewise */
    bool believed;       /* no login was needed then */
    bool read_write;     /* not from the pool: closed when given back */
} p11_session;

/* @uri says where the PIN is; NULL: the caller needs no login. A read-write session is opened for the caller and closed afterwards, and the token is asked
 * whether it is logged in; a read-only one believes what is known. */
KN_MUST_CHECK kn_err p11_session_take(p11_token *token, const p11_uri *uri, bool read_write,
                                      p11_session *ret_session);

/* The same; on failure *ret_retry says what to mend before it may be tried again. An authentication that the token may have
 * judged is never: P11_NEVER. */
KN_MUST_CHECK kn_err p11_session_take_retry(p11_token *token, const p11_uri *uri, bool read_write,
                                            p11_session *ret_session, p11_retry *ret_retry);

/* @clean: no operation is left active in it, so another may use it. */
void p11_session_give(p11_token *token, p11_session *session, bool clean);

unsigned p11_session_generation(p11_token *token);

/* All handles are worthless, and may by now be those of somebody else in this process: none is closed. Nothing happens when
 * @generation is not the token's: another thread was faster. */
void p11_session_forget(p11_token *token, unsigned generation);

/* The same with token->lock held. */
void p11_session_forget_locked(p11_token *token);

/* Sessions were lost, all or some: the handles are given up, and those that the token still knows are closed. */
void p11_session_drop(p11_token *token, unsigned generation);

/* The session takes a session object: its id as an owner of such. 0: too many own some. Needs the session to be lent. */
unsigned p11_session_own(p11_token *token, CK_SESSION_HANDLE session);
bool p11_session_owns(p11_token *token, unsigned owner); /* is that session still open, as far as is known? */

void p11_session_logged_out(p11_token *token);

/* Asks the token whether @session sees private objects. */
bool p11_session_is_user(p11_token *token, CK_SESSION_HANDLE session);

/* Asks the token, and logs in when somebody else logged out. */
KN_MUST_CHECK kn_err p11_session_prove_login(p11_token *token, const p11_uri *uri, const p11_session *session);

/* Closes the sessions that are not lent, unless they are those of the process that forked this one. */
void p11_session_close_idle(p11_token *token);

/* C_Login for CKA_ALWAYS_AUTHENTICATE keys, inside the operation that was begun in @session. */
KN_MUST_CHECK kn_err p11_login_for_operation(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session);

/* C_Login as the user, once. Needs token->login_lock. */
KN_MUST_CHECK kn_err p11_login(p11_token *token, const p11_uri *uri, CK_SESSION_HANDLE session);

#endif
