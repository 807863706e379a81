/* A key as OpenSSL's key management holds it.
 *
 * Units: none. Ownership: kn_prov_key_new() takes the reference to the key; kn_prov_key_free() releases.
 * Errors: NULL for out of memory. Threads: does not change after it was made.
 */
#ifndef KN_PROV_KEY_H
#define KN_PROV_KEY_H

#include "kn_key.h"
#include "kn_prov.h"

typedef struct kn_prov_key {
    kn_prov *prov;
    kn_key *key;
} kn_prov_key;

/* Takes @key, also on failure. */
kn_prov_key *kn_prov_key_new(kn_prov *prov, kn_key *key);
void kn_prov_key_free(void *key);

/* The name of the key management that serves @public: "EC". */
const char *kn_prov_key_type(const kn_public *public);

/* Hands @key to @callback as an object reference, as decoders and stores do. Releases what was not taken. */
int kn_prov_key_deliver(kn_prov_key *key, OSSL_CALLBACK *callback, void *arg);

#endif
