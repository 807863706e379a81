/* keynym key show --attestation-key: what a TPM certifies of the key.
 *
 * Units: bytes. Ownership: a kn_cmd_certified is plain data. Errors: the exit status; the user has been told. Threads: none.
 * Spec: TPM 2.0 part 3, 18.2 (TPM2_Certify); docs/tpm-keys.md.
 */
#ifndef KN_CMD_CERTIFY_H
#define KN_CMD_CERTIFY_H

#include "kn_cmd_backend.h"

typedef struct kn_cmd_certified {
    bool asked;
    char by_uri[512]; /* without secrets */
    kn_public by;
    uint8_t nonce[KN_NONCE_MAX];
    size_t nonce_length;
    kn_certification said;
} kn_cmd_certified;

/* Are --attestation-key and --nonce as they must be? Also that there is no --nonce alone. */
kn_exit kn_cmd_check_certify(const kn_cmd_args *args);

/* Does what --attestation-key asks for; *@ret_certified says whether it was given. */
kn_exit kn_cmd_certify(const kn_cmd_args *args, kn_ctx *ctx, kn_key *key, kn_cmd_certified *ret_certified);

void kn_cmd_print_certified(const kn_cmd_certified *certified);
/* Adds the member "certification"; false when memory is out. */
bool kn_cmd_certified_json(cJSON *tree, const kn_cmd_certified *certified);

#endif
