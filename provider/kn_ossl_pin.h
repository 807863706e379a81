/* Asking the program for a PIN, through the pass phrase callback that OpenSSL hands to stores and decoders.
 *
 * Units: none. Ownership: borrows all arguments. Errors: KN_E_NO_PIN when the program gives none; those of the login.
 * Threads: any; no lock of ours is held while the program is asked, and it may fork.
 * Spec: provider-storemgmt(7), provider-decoder(7), OSSL_PASSPHRASE_CALLBACK in provider-base(7).
 */
#ifndef KN_OSSL_PIN_H
#define KN_OSSL_PIN_H

#include "kn_alias.h"
#include "kn_ossl.h"

/* Asks, at most once, when the token of @alias wants a PIN that no source gives, and logs in with the answer. Success when
 * nobody need be asked, or it cannot be told: the operation that follows then says what is wrong.
 * @unprompted: also when nothing says ask:. For stores, whose callback answers only when the program passed a UI to
 * OSSL_STORE_open(). A decoder's callback may be OpenSSL's default, which reads from the terminal or from standard input of
 * programs that never meant to ask anybody. */
KN_MUST_CHECK kn_err kn_ossl_ask_pin(kn_ossl *prov, const kn_alias *alias, bool unprompted,
                                     OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg);

#endif
