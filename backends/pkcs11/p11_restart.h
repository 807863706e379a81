/* Bringing a module back: after it was finalised behind our back, after it failed again and again, and when it read its
 * tokens at a bad moment.
 *
 * Units: as named. Ownership: none. Errors: KN_E_MODULE_INIT. Threads: any.
 * Fork: a child initialises its modules here or at its first search for a token.
 * Spec: PKCS#11 v3.0 section 5.4 (C_Initialize, C_Finalize, fork).
 *
 * p11-kit counts the users of a module in this process. A module is finalised only through it, so that another user
 * (GnuTLS, a second context) keeps what it has.
 */
#ifndef KN_P11_RESTART_H
#define KN_P11_RESTART_H

#include "p11_state.h"

/* Initialises the token's module again when it was finalised behind our back, or when this is a new child of fork.
 * Attempts that fail become rarer. */
KN_MUST_CHECK kn_err p11_module_restart(p11_token *token);

/* The same before a token is known: all modules that were finalised behind our back. True when one was initialised. Needs
 * @state->lock. */
bool p11_modules_revive(p11_state *state);

/* How many restarts there were in this process, of any module and of @module: the contexts that share one learn by these
 * that their handles are worthless. */
unsigned p11_restart_count(void);
unsigned p11_restart_count_of(const p11_module *module);

/* For a token that fails again and again: C_Finalize and C_Initialize, which is the only help for some (tpm2-pkcs11 when its
 * TPM was reset). Not while an operation of ours runs in it or another of its tokens is in use, nor again at once when it
 * did not help; then false. */
bool p11_module_renew(p11_token *token);

/* After a token was not found: lets modules read their tokens again, which some do in C_Initialize only. SoftHSM 2.6.1
 * moreover writes token.object anew at every login, cutting it to nothing first: a process that starts in that moment
 * has a blank token in its place, for ever. Only modules that show a blank token and have no session of ours, those of
 * @gone aside. For @attempt = 0, 1, ... until it is false: then nothing was read. Needs @state->lock. */
bool p11_modules_read_again(p11_state *state, const p11_token *gone, unsigned attempt);

#endif
