/* Where a PIN comes from: one row for each kind of source. A PIN is read anew each time that a token wants one, so that a
 * source that was corrected is used at the next login.
 *
 *   /PATH, file:/PATH, file:///PATH   a file. It belongs to the effective user, or to root, and no other may read or write
 *                                     it; the group may read root's. The last part of the path is not a symbolic link, and
 *                                     stands in no folder where anybody may replace it. One line end after the PIN is not
 *                                     part of it
 *   credential:NAME                   the file NAME in $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=), by the
 *                                     same rules
 *   fd:N                              a descriptor that the process inherited: its first line. A regular file or memfd is
 *                                     read again from its start each time; what came out of a pipe or socket is kept,
 *                                     locked, for the life of the process. Waits at most KN_PIN_WAIT_MS. Never a terminal
 *   ask:                              the program, when it supplies an OpenSSL UI or pass phrase callback: who opens keys
 *                                     for it asks there (kn_token.h: kn_token_wants_pin()), never this file
 *
 * Units: bytes; *_MS in milliseconds. Ownership: kn_pin_read() returns a secret. Errors: KN_E_PIN_SOURCE with the reason,
 * KN_E_NO_PIN for ask:. Never shows what might be a PIN: a value that has none of these forms is not part of the message.
 * Threads: any. Fork: what is kept of a pipe is there in the child, too.
 * Spec: RFC 7512 section 2.4 leaves the values of pin-source to the consumer; RFC 8089 for file:.
 */
#ifndef KN_PIN_H
#define KN_PIN_H

#include "kn_secret.h"

#define KN_PIN_WAIT_MS 5000 /* how long a pipe or socket may take to deliver a line */

KN_MUST_CHECK kn_err kn_pin_read(const char *source, kn_secret **ret_secret);

/* Has it one of the forms? */
bool kn_pin_is_source(const char *source);

/* Is it ask: ? */
bool kn_pin_is_ask(const char *source);

#endif
