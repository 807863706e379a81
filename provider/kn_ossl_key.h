/* A key as OpenSSL's key management holds it: of a token, or only the public part of one (a peer's, for instance).
 *
 * Units: none. Ownership: kn_ossl_key_new() takes the reference to the key; kn_ossl_key_free() releases.
 * Errors: NULL for out of memory. Threads: does not change once OpenSSL has it, but for parameters to which a public key
 * is added.
 */
#ifndef KN_OSSL_KEY_H
#define KN_OSSL_KEY_H

#include "kn_key.h"
#include "kn_ossl.h"

/* What OpenSSL's key managers are named by; one row for each. */
typedef struct kn_ossl_kind {
    const char *name; /* "EC" */
    kn_key_type type;
    bool pss; /* RSA: for PSS only */
    const char *signature, *exchange, *cipher; /* the names of our operations; NULL: cannot do that */
} kn_ossl_kind;

extern const kn_ossl_kind kn_ossl_ec, kn_ossl_rsa, kn_ossl_rsa_pss;
extern const kn_ossl_kind kn_ossl_ed25519, kn_ossl_ed448, kn_ossl_x25519, kn_ossl_x448;

/* The kind of @public. */
const kn_ossl_kind *kn_ossl_kind_of(const kn_public *public);

typedef struct kn_ossl_key {
    kn_ossl *prov;
    const kn_ossl_kind *kind;
    kn_key *key;       /* NULL: no private part */
    kn_public *public; /* without private part: alg alone, or the whole; NULL: an empty object that OpenSSL asked for */
} kn_ossl_key;

/* Takes @key, also on failure. */
kn_ossl_key *kn_ossl_key_new(kn_ossl *prov, kn_key *key);
/* An empty object, when @public is NULL, or one without private part. */
kn_ossl_key *kn_ossl_key_without(kn_ossl *prov, const kn_ossl_kind *kind, const kn_public *public);
void kn_ossl_key_free(void *key);

/* What is known of the public part; NULL: nothing. It may be no more than the algorithm. */
const kn_public *kn_ossl_key_public(const kn_ossl_key *key);
/* Is the public key itself known? */
bool kn_ossl_key_has_public(const kn_ossl_key *key);

/* The name of the key management that serves @public: "EC". */
const char *kn_ossl_key_type(const kn_public *public);

/* Hands @key to @callback as an object reference, as decoders and stores do. Releases what was not taken. */
int kn_ossl_key_deliver(kn_ossl_key *key, OSSL_CALLBACK *callback, void *arg);

#endif
