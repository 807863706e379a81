/* Units:     expiry in seconds since 1970-01-01 UTC.
 * Ownership: a parsed token points into its text.
 * Errors:    a dps_sas_verdict; its text is a sentence for the device and tells nothing about keys.
 * Threads:   pure functions.
 * Spec:      SharedAccessSignature sr=<URI>&sig=<base64 HMAC-SHA256>&se=<expiry>[&skn=<policy>], fields in
 * any order, each once. What is signed is sr as it was sent, a line feed, and se; what sr names is compared
 * after percent-decoding, without case. */
#ifndef DPS_SAS_H
#define DPS_SAS_H

#include "dps_blob.h"

enum {
    DPS_SAS_MAX = 2048,         /* bytes of a token */
    DPS_SAS_RESOURCE_MAX = 512, /* bytes of sr, decoded */
    DPS_SAS_NAME_LEN = 65,      /* skn and NUL */
};

typedef enum dps_sas_verdict {
    DPS_SAS_OK,
    DPS_SAS_MALFORMED,
    DPS_SAS_WRONG_RESOURCE,
    DPS_SAS_EXPIRED,
    DPS_SAS_WRONG_SIGNATURE,
} dps_sas_verdict;

typedef struct dps_sas {
    dps_span resource; /* sr as sent */
    dps_span expiry;   /* se as sent */
    int64_t expiry_s;
    char decoded[DPS_SAS_RESOURCE_MAX + 1];
    char key_name[DPS_SAS_NAME_LEN]; /* skn; empty when it is missing */
    uint8_t signature[DPS_HMAC_SIZE];
} dps_sas;

DPS_MUST_CHECK dps_sas_verdict dps_sas_parse(dps_span text, dps_sas *ret_sas);
/* Resource and expiry, before any key is looked at. */
DPS_MUST_CHECK dps_sas_verdict dps_sas_check(const dps_sas *sas, const char *resource, int64_t now_ms);
/* Constant time in the signature. */
DPS_MUST_CHECK bool dps_sas_signed_by(const dps_sas *sas, const void *key, size_t key_len);

const char *dps_sas_verdict_text(dps_sas_verdict verdict);

/* The key of a device of a group: HMAC-SHA256(group key, registration id as it is spelled). */
DPS_MUST_CHECK bool dps_sas_derive(const dps_blob *group_key, dps_span registration_id,
                                   uint8_t ret_key[DPS_HMAC_SIZE]);

#endif
