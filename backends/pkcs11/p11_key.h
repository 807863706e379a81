/* Keys of a token: the members of the backend's contract that concern a key (kn_backend.h says what they promise).
 *
 * A key is {URI, weak link to its token, object handle with the generation in which it was found}.
 */
#ifndef KN_P11_KEY_H
#define KN_P11_KEY_H

#include "../kn_backend.h"
#include "p11_copy.h"
#include "p11_run.h"

#include <stdatomic.h>

typedef struct p11_key {
    p11_state *state;
    p11_uri *uri;
    bool has_expected; /* the alias carries the public key */
    kn_public expected;

    pthread_mutex_t lock; /* guards what follows */
    p11_token *token;     /* NULL until first found */
    CK_OBJECT_HANDLE handle;
    unsigned generation; /* the token's, when the handle was found; 0: never */
    unsigned binding;    /* grows with each time it was found */
    p11_copy copy;       /* of the object, for signing */
    bool compared;       /* the token told the public key, and it is the expected one */
    atomic_bool always_authenticate; /* read without the lock */
} p11_key;

kn_err p11_key_open(void *state, const char *uri, const kn_public *expected, void **ret_key,
                    kn_public *ret_public);
void p11_key_free(void *key);
kn_err p11_key_sign(void *key, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                    size_t *ret_length, unsigned *ret_binding);
kn_err p11_key_inspect(void *key, kn_custody *ret_custody);
kn_err p11_key_delete(void *key);
kn_err p11_key_decrypt(void *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                       size_t *ret_length, bool *ret_good);
kn_err p11_key_derive(void *key, const uint8_t *point, size_t length, uint8_t *ret_secret, size_t *ret_length,
                      unsigned *ret_binding);
kn_err p11_key_generate(void *state, const char *uri, const kn_key_spec *spec, void **ret_key, kn_public *ret_public);

kn_err p11_public_find(void *state, const char *uri, kn_public *ret_public);

/* Finds the one private key that @uri names, in an open session, and what the token tells of its public part:
 * *ret_has_public is false when it tells none. */
KN_MUST_CHECK kn_err p11_key_locate(p11_call *call, const p11_uri *uri, p11_object *ret_object,
                                    kn_public *ret_public, bool *ret_has_public);

/* Runs @step on the key with a session, and mends and repeats it where that is safe. */
KN_MUST_CHECK kn_err p11_key_run(p11_key *key,
                                 p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle,
                                                  void *arg),
                                 void *arg, unsigned *ret_binding);

/* The same for signing: with a session copy of the key where that is configured. */
KN_MUST_CHECK kn_err p11_key_run_signing(p11_key *key,
                                         p11_step (*step)(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle,
                                                          void *arg),
                                         void *arg, unsigned *ret_binding);

/* CKA_ALWAYS_AUTHENTICATE: the PIN once more, inside the operation. */
KN_MUST_CHECK kn_err p11_key_authenticate(p11_key *key, p11_call *call);

/* Reads the six facts, and names, of one private key object. */
KN_MUST_CHECK kn_err p11_custody_read(p11_call *call, CK_OBJECT_HANDLE handle, kn_custody *ret_custody);

/* A new handle for a key, not yet found on the token. */
KN_MUST_CHECK kn_err p11_key_new(p11_state *state, const char *uri, p11_key **ret_key);

/* The key is on @token, once: p11_key_free() ends it. */
void p11_key_use(p11_key *key, p11_token *token);

#endif
