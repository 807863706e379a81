/* A TPM for attestation, made of two RSA keys: it opens an activation blob as TPM2_ActivateCredential and TPM2_Import would,
 * step by step from the specification, with code of its own.
 *
 * Units: bytes. Ownership: soft_tpm_make() fills, soft_tpm_clear() releases. Errors: false. Threads: one TPM, one thread.
 * Spec: TPM 2.0 part 1: 11.4.10.2 (KDFa), 23.3 (duplication), 24 (credentials), B.4 (OAEP).
 */
#ifndef SOFT_TPM_H
#define SOFT_TPM_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct soft_tpm_key {
    EVP_PKEY *pair;
    uint8_t public_area[400]; /* TPM2B_PUBLIC */
    size_t len;
} soft_tpm_key;

typedef struct soft_tpm {
    soft_tpm_key ek, srk;
    uint8_t hmac_key[32]; /* the identity key */
    unsigned activations; /* that succeeded */
} soft_tpm;

bool soft_tpm_make(soft_tpm *ret_tpm);
void soft_tpm_clear(soft_tpm *tpm);
/* The identity key is untouched when the blob is not for this TPM. */
bool soft_tpm_activate(soft_tpm *tpm, const uint8_t *blob, size_t n);
bool soft_tpm_sign(const soft_tpm *tpm, const void *data, size_t n, uint8_t ret_mac[32]);

#endif
