/* Proof of custody: what a token says of how a private key came to be, and of what it may do.
 *
 * Units: none. Ownership: plain data. Errors: none. Threads: any.
 * Spec: PKCS#11 v3.0 section 4.9 (private key objects), table 26.
 */
#ifndef KN_CUSTODY_H
#define KN_CUSTODY_H

#include "kn_alg.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum kn_fact { KN_FACT_UNKNOWN, KN_FACT_NO, KN_FACT_YES } kn_fact;

/* SENSITIVE and not EXTRACTABLE alone prove nothing, because an imported key shows the same pair; the first six together
 * do. */
typedef struct kn_custody {
    kn_fact sensitive, extractable, always_sensitive, never_extractable, local;
    kn_fact generated_here; /* CKA_KEY_GEN_MECHANISM is that of the key's type */
    char mechanism[40];     /* its name, "unavailable", or the number */
    char token[33], serial[17], model[17], manufacturer[33];
    char id[129], label[129]; /* of the private key; the id in hexadecimal */
    kn_fact may_sign, may_decrypt, may_unwrap, may_derive;
} kn_custody;

/* All six as a key must have that never was outside: yes, no, yes, yes, yes, yes. */
bool kn_custody_holds(const kn_custody *custody);

/* What speaks against it, "CKA_LOCAL is no, CKA_KEY_GEN_MECHANISM is unavailable"; "" when it holds. Cut to fit. */
void kn_custody_doubts(const kn_custody *custody, char *ret_text, size_t size);

#define KN_CUSTODY_DOUBTS_MAX 256 /* bytes that are enough for all six */

/* The uses of kn_use that the token allows, of those that a key of @alg can have: a token may call an EC key fit for
 * decryption, which no mechanism does. To unwrap is to decrypt, into the token or out of it. What the token does not tell
 * counts as not allowed. */
unsigned kn_custody_uses(const kn_custody *custody, const kn_alg *alg);

#endif
