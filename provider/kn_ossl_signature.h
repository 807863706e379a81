/* What the signature algorithms share: the digest is made in software, the signature in the hardware. A context that waits
 * holds no session.
 *
 * Units: bytes. Ownership: a context keeps references to key and digest. Errors: 0 with an entry on the error queue.
 * Threads: one at a time for one context. Spec: provider-signature(7).
 */
#ifndef KN_OSSL_SIGNATURE_H
#define KN_OSSL_SIGNATURE_H

#include "kn_ossl_key.h"

#define KN_OSSL_NAME_MAX 50 /* bytes of a digest's name, with the final NUL */

/* begin() -> IDLE, start() -> EMPTY, update() -> DATA, the end -> ENDED. A context that ended wants begin() again, as
 * OpenSSL 3.4 demands of every key; before that, OpenSSL ends a copy where data may still follow. */
typedef enum kn_ossl_state { KN_OSSL_IDLE, KN_OSSL_EMPTY, KN_OSSL_DATA, KN_OSSL_ENDED } kn_ossl_state;

typedef struct kn_ossl_signature {
    kn_ossl *prov;
    char *properties;
    kn_key *key;             /* NULL: there is only the public part, which verifies */
    const kn_public *public; /* of key, or own */
    kn_public *own;
    EVP_MD *md;              /* NULL: the caller hashes */
    const kn_digest *digest; /* the row of md; NULL: none */
    kn_ossl_state state;
    EVP_MD_CTX *hash; /* NULL until the first data; then used again */
    bool verifying;
    /* RSA */
    bool pss;
    const kn_digest *mgf1; /* NULL: as the digest */
    int salt;              /* bytes, or one of RSA_PSS_SALTLEN_... */
} kn_ossl_signature;

void *kn_ossl_signature_newctx(void *provctx, const char *properties);
void kn_ossl_signature_freectx(void *ctx);
void *kn_ossl_signature_dupctx(void *ctx);

/* Chooses the key, NULL: as before, and forgets what was hashed. */
int kn_ossl_signature_begin(kn_ossl_signature *ctx, const kn_ossl_key *key, bool verifying);

/* Handles the digest parameters of set_ctx_params. @properties of the parameters come before those of the context. */
int kn_ossl_signature_set_digest(kn_ossl_signature *ctx, const OSSL_PARAM params[]);
int kn_ossl_signature_get_digest(const kn_ossl_signature *ctx, OSSL_PARAM params[]);

/* Chooses @name, or the key's default, and starts hashing. */
int kn_ossl_signature_start(kn_ossl_signature *ctx, const char *name);
int kn_ossl_signature_update(void *ctx, const unsigned char *data, size_t length);

/* Fills @ret_how for the context's digest and padding, raising an error when that is not possible. */
typedef int kn_ossl_how(const kn_ossl_signature *ctx, kn_sign_how *ret_how);

int kn_ossl_signature_sign(kn_ossl_signature *ctx, kn_ossl_how *how, unsigned char *signature, size_t *length,
                           size_t size, const unsigned char *data, size_t data_length);
int kn_ossl_signature_verify(kn_ossl_signature *ctx, kn_ossl_how *how, const unsigned char *signature, size_t length,
                             const unsigned char *data, size_t data_length);
/* The same on what was hashed and @data after it. One call for both spares OpenSSL a copy of the context. */
int kn_ossl_signature_sign_all(kn_ossl_signature *ctx, kn_ossl_how *how, unsigned char *signature, size_t *length,
                               size_t size, const unsigned char *data, size_t data_length);
int kn_ossl_signature_verify_all(kn_ossl_signature *ctx, kn_ossl_how *how, const unsigned char *signature,
                                 size_t length, const unsigned char *data, size_t data_length);

#endif
