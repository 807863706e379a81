/* What the key managers of all types share. Spec: provider-keymgmt(7). Contracts as in kn_ossl_key.h. */
#ifndef KN_OSSL_KEYMGMT_H
#define KN_OSSL_KEYMGMT_H

#include "kn_ossl_key.h"

void *kn_ossl_keymgmt_new(void *provctx);
void *kn_ossl_keymgmt_dup(const void *from, int selection);
int kn_ossl_keymgmt_has(const void *key, int selection);
int kn_ossl_keymgmt_match(const void *a, const void *b, int selection);

/* Takes the key that a decoder or a store hands over by reference, when it is of @type. */
void *kn_ossl_keymgmt_load(const void *reference, size_t size, kn_key_type type);

/* The parameters that keys of every type have: bits, security bits, largest signature, default digest. */
int kn_ossl_keymgmt_get_common(const kn_public *public, OSSL_PARAM params[]);

/* A big-endian number as a parameter. */
int kn_ossl_keymgmt_set_number(OSSL_PARAM *p, const uint8_t *bytes, size_t length);

/* The public key of @key when @selection may be exported, else NULL. Refused when the private part is asked for, also as
 * part of "everything": OpenSSL would go on with the public half in another provider, and fail late with "missing
 * private key". */
const kn_public *kn_ossl_keymgmt_exportable(const kn_ossl_key *key, int selection);

#endif
