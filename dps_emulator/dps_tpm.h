/* Units:     lengths in bytes; structures are big-endian, as a TPM marshals them.
 * Ownership: borrows its arguments; a returned blob is the caller's to clear.
 * Errors:    the parser gives a constant sentence; the rest is false when OpenSSL fails or memory is out.
 * Threads:   pure functions.
 * Spec:      TPM attestation of the service. A key for HMAC-SHA256 is wrapped so that only the TPM with this
 * endorsement key can import it, below this storage root key: TPM 2.0 part 1, 24 (credential
 * protection), 23.3 (duplication with inner and outer wrapping), 11.4.10.2 (KDFa); part 2, 12.2.4
 * (TPMT_PUBLIC). */
#ifndef DPS_TPM_H
#define DPS_TPM_H

#include "dps_blob.h"
#include "dps_enrollment.h"

enum {
    DPS_TPM_MODULUS_SIZE = 256, /* RSA 2048 */
    DPS_TPM_NAME_SIZE = 34,     /* algorithm and SHA-256 */
    DPS_TPM_WINDOW_S = 3600,    /* a nonce is good in its window and in the one after */
    DPS_TPM_CHALLENGE_MAX = 2048,
    DPS_TPM_URI_MAX = 512,
};

/* What is used of a TPM2B_PUBLIC. */
typedef struct dps_tpm_public {
    uint8_t modulus[DPS_TPM_MODULUS_SIZE];
    uint32_t exponent;
    uint8_t name[DPS_TPM_NAME_SIZE];
} dps_tpm_public;

/* Accepts what the service's clients create as endorsement and storage root keys: RSA 2048, restricted
 * decryption keys that cannot leave their TPM, AES-128-CFB, SHA-256. NULL, or a constant sentence on what is
 * wrong; @ret_public is then untouched. */
DPS_MUST_CHECK const char *dps_tpm_parse_public(const dps_blob *bytes, dps_tpm_public *ret_public);

/* The activation blob: @key, 1 to DPS_KEY_MAX bytes, for this TPM alone. @uri goes along as text. */
DPS_MUST_CHECK bool dps_tpm_wrap(const dps_tpm_public *endorsement_key,
                                 const dps_tpm_public *storage_root_key, const void *key, size_t key_len,
                                 const char *uri, dps_blob *ret_blob);

/* The nonce with which a device signs its token: derived, so that asking for one stores nothing and takes
 * nothing from another device, and a restart of the service does not lose it. */
int64_t dps_tpm_window(int64_t now_ms);
DPS_MUST_CHECK bool dps_tpm_nonce(const dps_blob *secret, const char *registration_id,
                                  const dps_blob *endorsement_key, int64_t window,
                                  uint8_t ret_key[DPS_HMAC_SIZE]);

#endif
