/* The contract between the face of this folder and one kind of hardware. A new kind is one folder and one row.
 *
 * Units, ownership, errors: as in the face's own headers (kn_key.h, kn_cert.h, kn_token.h), whose calls
 * these members serve. Threads: every member may be called by several threads at once; the face has
 * entered kn_proc_enter() around each call except uri_check and state_free.
 */
#ifndef KN_BACKEND_H
#define KN_BACKEND_H

#include "kn_attest.h"
#include "kn_cert.h"
#include "kn_hmac.h"
#include "kn_key.h"
#include "kn_token.h"
#include "kn_tpm.h"

/* Key files of the kind's own, which are read as aliases. Pure functions. */
typedef struct kn_key_file_functions {
    const char *pem_label;
    /* Do the bytes begin as such a file's DER does, and no other key's? */
    bool (*looks_like)(const uint8_t *der, size_t length);
    /* The URI of the key, for free(), and its public part. */
    kn_err (*to_uri)(const uint8_t *der, size_t length, char **ret_uri, kn_public *ret_public);
} kn_key_file_functions;

/* HMAC keys (kn_hmac.h). */
typedef struct kn_hmac_functions {
    kn_err (*open)(void *state, const char *uri, void **ret_key);
    kn_err (*generate)(void *state, const char *uri, size_t key_bytes, void **ret_key);
    kn_err (*import)(void *state, const char *uri, const kn_secret *value, void **ret_key);
    kn_err (*sign)(void *key, const uint8_t *data, size_t length, uint8_t ret_mac[KN_HMAC_BYTES]);
    kn_err (*inspect)(void *key, kn_custody *ret_custody);
    kn_err (*remove)(void *key);
    void (*free)(void *key);
} kn_hmac_functions;

/* TPM attestation (kn_attest.h). @uri of open may be NULL. */
typedef struct kn_attest_functions {
    kn_err (*open)(void *state, const char *uri, void **ret_device);
    kn_err (*endorsement_key)(void *device, uint8_t **ret_key, size_t *ret_length);
    kn_err (*storage_root_key)(void *device, uint8_t **ret_key, size_t *ret_length);
    kn_err (*activate)(void *device, const uint8_t *blob, size_t length);
    kn_err (*sign)(void *device, const uint8_t *data, size_t length, uint8_t ret_signature[KN_ATTEST_BYTES]);
    void (*free)(void *device);
} kn_attest_functions;

/* A backend without key_open serves attestation only: of the other members it needs scheme, state_new and state_free. */
typedef struct kn_backend {
    const char *scheme; /* of its URIs, without the colon */

    /* Pure: is the URI well-formed and are all its attributes known? */
    kn_err (*uri_check)(const char *uri);

    /* Adds to the URI what the configuration knows and the URI does not say (where the PIN and the module are), so
     * that it can be opened elsewhere. @ret_uri is for free(). */
    kn_err (*uri_complete)(void *state, const char *uri, char **ret_uri);

    /* The URI with @label as its object. KN_E_NO_KEY when it has another. @ret_uri is for free(). */
    kn_err (*uri_with_label)(const char *uri, const char *label, char **ret_uri);

    /* State of one context. Touches no hardware. */
    kn_err (*state_new)(const kn_config *config, void **ret_state);
    void (*state_free)(void *state);
    void (*state_rest)(void *state); /* kn_ctx_rest(); NULL: it holds nothing */

    /* A key. @expected: the public key that it must have, or NULL. When @expected is given the hardware is not
     * asked before the first operation, and @ret_public is not written. */
    kn_err (*key_open)(void *state, const char *uri, const kn_public *expected, void **ret_key,
                       kn_public *ret_public);
    kn_err (*key_generate)(void *state, const char *uri, const kn_key_spec *spec, void **ret_key,
                           kn_public *ret_public);
    void (*key_free)(void *key);
    kn_err (*public_find)(void *state, const char *uri, kn_public *ret_public);
    /* @ret_signature: r | s for ECDSA, with room for KN_SIGNATURE_MAX. @ret_binding: 0 when the backend compared
     * the key's public part with what is expected; otherwise a number that changes each time the key is found
     * again, and the face proves the first signature of each. */
    kn_err (*key_sign)(void *key, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                       size_t *ret_length, unsigned *ret_binding);
    /* @ret_good: false when the ciphertext has not the padding; that is no failure, takes no other path than success,
     * and leaves nothing behind that tells them apart. */
    kn_err (*key_decrypt)(void *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                          size_t *ret_length, bool *ret_good);
    /* @point: the peer's, of the right length. @ret_binding as with key_sign. */
    kn_err (*key_derive)(void *key, const uint8_t *point, size_t length, uint8_t *ret_secret, size_t *ret_length,
                         unsigned *ret_binding);
    kn_err (*key_inspect)(void *key, kn_custody *ret_custody);
    kn_err (*key_delete)(void *key);
    /* NULL: has no attestation keys. Both keys are of this backend. */
    kn_err (*key_certify)(void *key, void *attestation_key, const uint8_t *nonce, size_t nonce_length,
                          kn_certification *ret_certification);

    kn_err (*cert_read_chain)(void *state, const char *uri, kn_certs *ret_certs);
    kn_err (*cert_write_chain)(void *state, const char *uri, const kn_certs *certs);
    kn_err (*cert_search)(void *state, const char *uri, const kn_cert_query *query, kn_cert_list *ret_list);

    kn_err (*token_list)(void *state, void (*row)(const kn_token_info *info, void *arg), void *arg);
    kn_err (*token_init)(void *state, const char *uri, const kn_secret *so_pin, const kn_secret *pin);
    kn_err (*token_wants_pin)(void *state, const char *uri, bool unprompted, bool *ret_wants, char ret_label[33]);
    kn_err (*token_login)(void *state, const char *uri, const kn_secret *pin);
    kn_err (*token_objects)(void *state, const char *uri,
                            void (*row)(const kn_object_info *info, void *arg), void *arg);

    /* NULL: is no TPM. @uri may be NULL. */
    kn_err (*tpm_inspect)(void *state, const char *uri, kn_tpm_info *ret_info);

    const kn_key_file_functions *key_file; /* NULL: has none of its own */
    const kn_hmac_functions *hmac;     /* NULL: has no HMAC keys */
    const kn_attest_functions *attest; /* NULL: cannot attest */
} kn_backend;

extern const kn_backend *const kn_backends[]; /* ends with NULL */

/* KN_E_URI_SCHEME, with the schemes that are served, when there is none. */
KN_MUST_CHECK kn_err kn_backend_for_uri(const char *uri, const kn_backend **ret_backend);

/* The state of @backend in @ctx. */
void *kn_ctx_state(kn_ctx *ctx, const kn_backend *backend);

#endif
