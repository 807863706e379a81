/* What a device proves itself with: a registration ID and the secrets or references of one attestation.
 *
 * Units: none. Ownership: close() of the row releases and wipes all of it, and closes the HSM handle.
 * Errors: KN_PROV_E_IDENTITY naming the call of the HSM interface that failed; the library behind that
 *   interface logs its own cause. Threads: one identity, one thread; the HSM library serialises its token.
 * Spec: hsm_client_data.h. The key is whatever PEM text that library returns: never looked into here.
 *
 * An attestation is one row of prov_attestations and one file.
 */
#ifndef PROV_IDENTITY_H
#define PROV_IDENTITY_H

#include "prov_error.h"

#include <stdbool.h>

/* A bit each, because a transport says which ones it can carry. */
typedef enum prov_attestation_kind {
    PROV_ATTESTATION_X509 = 1 << 0,
    PROV_ATTESTATION_SYMMETRIC = 1 << 1,
    PROV_ATTESTATION_TPM = 1 << 2,
} prov_attestation_kind;

#define PROV_MAC_BYTES 32U  /* HMAC-SHA256 */
#define PROV_KEY_MAX   256U /* bytes of a symmetric key */

#define PROV_TPM_KEY_MAX  1024U /* bytes of a public key as a TPM writes it */
#define PROV_TPM_BLOB_MAX 4096U /* bytes of a key that the service wrapped for a TPM */

typedef struct prov_identity {
    char *registration_id;
    char *certificate_pem; /* chain, leaf first; NULL when the attestation is not X.509 */
    char *key_pem;
    void *hsm; /* handle of the HSM interface; lives as long as the TLS connection uses the key */
    /* HMAC-SHA256 with the identity's key, for SAS tokens; NULL when the attestation is X.509. */
    kn_prov_code (*sign)(const struct prov_identity *identity, const unsigned char *data, size_t size,
                         unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error);
    unsigned char key[PROV_KEY_MAX]; /* of the symmetric key attestation: the interface hands it out */
    size_t key_bytes;
    /* Of TPM attestation: TPM2B_PUBLIC, size and all; NULL before prepare(), and for other attestations. */
    unsigned char *endorsement_key, *storage_root_key;
    size_t endorsement_key_bytes, storage_root_key_bytes;
    /* Takes a key that the service wrapped for this TPM; sign() uses it from then on. NULL: not a TPM. */
    kn_prov_code (*activate)(const struct prov_identity *identity, const unsigned char *blob, size_t size,
                             prov_error *error);
} prov_identity;

typedef struct prov_attestation {
    const char *name;
    prov_attestation_kind kind;
    /* @registration_id replaces the HSM library's own when it is not NULL. Fills @ret_identity, which
     * close() of this row empties; nothing is held after a failure. */
    kn_prov_code (*open)(const char *registration_id, prov_identity *ret_identity, prov_error *error);
    /* What a registration needs and the hub does not; NULL: nothing. Until then registration_id may be NULL. */
    kn_prov_code (*prepare)(prov_identity *identity, prov_error *error);
    void (*close)(prov_identity *identity);
} prov_attestation;

extern const prov_attestation *const prov_attestations[];
extern const size_t prov_attestations_count;

extern const prov_attestation prov_attestation_x509;
extern const prov_attestation prov_attestation_symmetric;
extern const prov_attestation prov_attestation_tpm;

/* Decodes @base64 and hands it to the TPM of @identity. KN_PROV_E_RESPONSE when it is not Base64. */
KN_PROV_MUST_CHECK kn_prov_code prov_identity_take_key(const prov_identity *identity, const char *base64,
                                                       prov_error *error);

/* ,"tpm":{"endorsementKey":"...","storageRootKey":"..."} for free(); false when memory is out. */
KN_PROV_MUST_CHECK bool prov_tpm_member(const prov_identity *identity, char **ret_text);

/* An unknown name is KN_PROV_E_ARGUMENT and the message lists those that exist. */
KN_PROV_MUST_CHECK kn_prov_code prov_attestation_find(const char *name,
                                                      const prov_attestation **ret_attestation,
                                                      prov_error *error);

#endif
