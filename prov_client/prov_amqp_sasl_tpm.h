/* The SASL mechanism TPM of the Device Provisioning Service: the device's side, message by message.
 *
 * Units: bytes. Ownership: a prov_sasl_tpm borrows its session; prov_sasl_tpm_clear() wipes it. Errors:
 *   KN_PROV_E_PROTOCOL for a message that is not in its turn or too large; those of the identity. After any of them the
 *   authentication can only be given up. Threads: one prov_sasl_tpm, one thread; no I/O but the TPM's.
 * Spec: as the Azure IoT C SDK speaks it (its prov_sasl_tpm.c):
 *
 *   state    | the service says                        | the device answers                    | next
 *   ---------+-----------------------------------------+---------------------------------------+---------
 *   START    | (offers the mechanism)                  | 0, scope, 0, id, 0, endorsement key   | KEYS
 *   KEYS     | one byte 0                              | 0, storage root key                   | SEGMENTS
 *   SEGMENTS | 0x80 | number modulo 4, part of the key | 0                                     | SEGMENTS
 *   SEGMENTS | 0xc0 | number modulo 4, its last part   | 0, SAS token (the TPM opened the key) | DONE
 */
#ifndef PROV_AMQP_SASL_TPM_H
#define PROV_AMQP_SASL_TPM_H

#include "prov_transport.h"

#define PROV_SASL_TPM_MESSAGE_MAX 471U /* bytes: a control byte and what fits into a SASL frame behind it */

typedef enum prov_sasl_tpm_state {
    PROV_SASL_TPM_START,
    PROV_SASL_TPM_KEYS,
    PROV_SASL_TPM_SEGMENTS,
    PROV_SASL_TPM_DONE,
} prov_sasl_tpm_state;

/* Start with {.session = ...}. */
typedef struct prov_sasl_tpm {
    const prov_session *session;
    prov_sasl_tpm_state state;
    unsigned segments; /* that came */
    unsigned char blob[PROV_TPM_BLOB_MAX];
    size_t blob_size;
    unsigned char answer[PROV_SASL_TPM_MESSAGE_MAX]; /* the message to send */
    size_t answer_size;
    kn_prov_code code; /* why this side gave up */
    prov_error error;
} prov_sasl_tpm;

/* The first message, into tpm->answer. */
KN_PROV_MUST_CHECK kn_prov_code prov_sasl_tpm_start(prov_sasl_tpm *tpm, prov_error *error);

/* The answer to what the service said, into tpm->answer. */
KN_PROV_MUST_CHECK kn_prov_code prov_sasl_tpm_next(prov_sasl_tpm *tpm, const unsigned char *said, size_t size,
                                                   prov_error *error);

void prov_sasl_tpm_clear(prov_sasl_tpm *tpm);

#endif
