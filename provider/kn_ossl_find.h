/* What OSSL_STORE_find() asks for.
 *
 * Units: bytes. Ownership: kn_ossl_find_clear() releases what kn_ossl_find_set() kept. Errors: 0 with an entry on the error
 * queue. Threads: one at a time. Spec: OSSL_STORE_SEARCH(3), provider-storemgmt(7).
 *
 *   by name             certificates with this subject
 *   by issuer, serial   the certificate with both
 *   by fingerprint      certificates whose DER, or whose SubjectPublicKeyInfo, has this digest; keys by the latter
 *   by alias            keys and certificates with this label
 *
 * Names are compared as X509_NAME_cmp() does. Nothing found is no error, as with files.
 */
#ifndef KN_OSSL_FIND_H
#define KN_OSSL_FIND_H

#include "kn_cert.h"
#include "kn_ossl.h"
#include "kn_public.h"

#define KN_OSSL_FIND_MAX 4096 /* bytes of a name */

typedef struct kn_ossl_find {
    uint8_t *subject, *issuer, *fingerprint; /* NULL: not asked for */
    size_t subject_length, issuer_length, fingerprint_length;
    BIGNUM *serial;
    char *digest, *label;
} kn_ossl_find;

extern const OSSL_PARAM kn_ossl_find_settable[];

/* Takes the search out of @params, when there is one. */
int kn_ossl_find_set(const kn_ossl *prov, kn_ossl_find *find, const OSSL_PARAM params[]);
void kn_ossl_find_clear(kn_ossl_find *find);

bool kn_ossl_find_is_set(const kn_ossl_find *find);

/* Can a key be what is looked for? */
bool kn_ossl_find_names_keys(const kn_ossl_find *find);

bool kn_ossl_find_takes_cert(kn_ossl *prov, const kn_ossl_find *find, const uint8_t *der, size_t length);
bool kn_ossl_find_takes_key(kn_ossl *prov, const kn_ossl_find *find, const kn_public *public);

#endif
