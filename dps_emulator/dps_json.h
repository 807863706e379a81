/* Units:     none.
 * Ownership: every returned text is the caller's; free it with free().
 * Errors:    builders return NULL when out of memory; the parser gives a sentence for the device.
 * Threads:   pure functions (cJSON_ParseWithLengthOpts keeps no state that is read here).
 * Spec:      bodies of the device API: registration request, operation status, error. */
#ifndef DPS_JSON_H
#define DPS_JSON_H

#include <stdbool.h>

#include "dps_error.h"
#include "dps_store.h"
#include "dps_x509.h"

struct cJSON;

enum {
    DPS_PAYLOAD_MAX = 8 * 1024
}; /* bytes of JSON text; it comes back in the answer, which has a limit too */

typedef struct dps_register_body {
    char registration_id[DPS_ID_LEN]; /* empty when it was not given */
    char *payload;                    /* JSON text; NULL when it was not given */
    bool has_tpm;
    dps_blob endorsement_key;  /* tpm.endorsementKey, a TPM2B_PUBLIC */
    dps_blob storage_root_key; /* tpm.storageRootKey; empty when it was not given */
} dps_register_body;

void dps_register_body_clear(dps_register_body *body);

/* An empty body, or only white space, is a request without a body. On failure @ret_problem is a constant
 * sentence, and @ret_error says which error it is; @ret_body is untouched. */
DPS_MUST_CHECK bool dps_json_parse_register(dps_span text, dps_register_body *ret_body, dps_error *ret_error,
                                            const char **ret_problem);

DPS_MUST_CHECK char *dps_json_assigning(const char *operation_id);

/* Assigned or failed. @leaf and @signing: for X.509, NULL where there is none (any more). */
DPS_MUST_CHECK char *dps_json_operation(const char *operation_id, const dps_registration *registration,
                                        const dps_cert_info *leaf, const dps_cert_info *signing);
/* A DeviceRegistrationState of the service API. @status: what it is now. */
DPS_MUST_CHECK struct cJSON *dps_json_registration(const dps_registration *registration, const char *status);
/* The 401 that brings a TPM's nonce. */
DPS_MUST_CHECK char *dps_json_challenge(const dps_blob *challenge);

DPS_MUST_CHECK char *dps_json_error(int error_code, const char *message, int64_t now_ms);

/* {"subjectName",...,"version"}, the service's X509CertificateInfo; NULL @info gives {}. For the admin
 * commands. */
DPS_MUST_CHECK struct cJSON *dps_json_cert_info(const dps_cert_info *info);

/* Any JSON, with nothing behind it: NULL with a constant sentence when it is none, is not UTF-8, or has a
 * NUL. */
DPS_MUST_CHECK struct cJSON *dps_json_parse(dps_span text, const char **ret_problem);

/* Prints on one line and deletes @root (may be NULL: returns NULL). */
DPS_MUST_CHECK char *dps_json_print(struct cJSON *root);

#endif
