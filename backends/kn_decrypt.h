/* PKCS#1 v1.5 decryption without an oracle: what is handed out when the padding was wrong, chosen in constant time.
 *
 * A token says whether the padding was right (Bleichenbacher's oracle). Nobody above may learn it: neither by an error, nor
 * by a second path, nor by asking twice. So the replacement is made before the token is asked, in every case.
 *
 * Units: bytes. Ownership: the caller wipes kn_decrypted. Errors: KN_E_CRYPTO before the token is asked.
 * Threads: any. Fork: a child keeps the secret from which replacements are made, so that the workers of a server give the
 * same one; it is made with the first kn_ctx, which is before a server forks.
 * Spec: RFC 5246 section 7.4.7.1 (TLS); draft-irtf-cfrg-rsa-guidance (implicit rejection).
 */
#ifndef KN_DECRYPT_H
#define KN_DECRYPT_H

#include "kn_key.h"

typedef struct kn_decrypted {
    uint8_t plain[KN_RSA_MAX];
    size_t length;
    bool good; /* the token found the padding right */
    uint8_t instead[KN_RSA_MAX];
    size_t instead_length;
} kn_decrypted;

/* Makes the secret of this process, once. */
void kn_decrypt_start(void);

/* Makes the replacement for @data, which has the length of the modulus. */
KN_MUST_CHECK kn_err kn_decrypt_prepare(const kn_decrypt_how *how, const kn_public *public, const uint8_t *data,
                                        kn_decrypted *ret_decrypted);

/* Leaves in plain and length what is to be handed out; touches all of KN_RSA_MAX bytes whatever they are. */
void kn_decrypt_finish(const kn_decrypt_how *how, size_t modulus_bytes, kn_decrypted *decrypted);

#endif
