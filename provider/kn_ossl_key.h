/* A key as OpenSSL's key management holds it.
 *
 * Units: none. Ownership: kn_ossl_key_new() takes the reference to the key; kn_ossl_key_free() releases.
 * Errors: NULL for out of memory. Threads: does not change after it was made.
 */
#ifndef KN_OSSL_KEY_H
#define KN_OSSL_KEY_H

#include "kn_key.h"
#include "kn_ossl.h"

typedef struct kn_ossl_key {
    kn_ossl *prov;
    kn_key *key; /* NULL: an empty object that OpenSSL asked for */
} kn_ossl_key;

/* Takes @key, which may be NULL, also on failure. */
kn_ossl_key *kn_ossl_key_new(kn_ossl *prov, kn_key *key);
void kn_ossl_key_free(void *key);

/* The name of the key management that serves @public: "EC". */
const char *kn_ossl_key_type(const kn_public *public);

/* Hands @key to @callback as an object reference, as decoders and stores do. Releases what was not taken. */
int kn_ossl_key_deliver(kn_ossl_key *key, OSSL_CALLBACK *callback, void *arg);

#endif
