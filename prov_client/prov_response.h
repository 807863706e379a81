/* The JSON that the service answers with, as a struct.
 *
 * Units: bytes. Ownership: a prov_response owns its strings; release them with prov_response_clear().
 * Errors: KN_PROV_E_RESPONSE naming the member that is missing, doubled, of the wrong type or not usable;
 *   KN_PROV_E_MEMORY. Threads: pure functions, no I/O.
 * Spec: DPS device API 2021-06-01: RegistrationOperationStatus, DeviceRegistrationResult, and error bodies.
 *   Members that are not listed here are ignored; null counts as absent.
 */
#ifndef PROV_RESPONSE_H
#define PROV_RESPONSE_H

#include "prov_error.h"

#define PROV_RESPONSE_MAX       65536U /* bytes of JSON text */
#define PROV_RESPONSE_DEPTH_MAX 32U    /* objects and arrays in one another */
#define PROV_OPERATION_ID_MAX   256U
#define PROV_HUB_MAX            260U /* host name and port */
#define PROV_DEVICE_ID_MAX      128U
#define PROV_MESSAGE_MAX        4096U /* any other text */
#define PROV_TPM_TEXT_MAX       8192U /* Base64 of a key that was wrapped for a TPM */

typedef enum prov_response_status {
    PROV_RESPONSE_NONE, /* no "status" member */
    PROV_RESPONSE_UNASSIGNED,
    PROV_RESPONSE_ASSIGNING,
    PROV_RESPONSE_ASSIGNED,
    PROV_RESPONSE_FAILED,
    PROV_RESPONSE_DISABLED,
} prov_response_status;

/* NULL and 0: the member was absent. */
typedef struct prov_response {
    prov_response_status status;
    char *status_text;
    char *operation_id; /* printable ASCII, no blank */
    char *assigned_hub; /* a host name, perhaps with a port */
    char *device_id;    /* printable ASCII, no blank */
    char *substatus;
    char *payload;       /* JSON text */
    long error_code;     /* of registrationState or, in an error body, of the top level */
    char *error_message; /* likewise: errorMessage or message */
    char *tracking_id;
    char *tpm_key; /* registrationState.tpm.authenticationKey, Base64 */
} prov_response;

/* An answer with a status below 300. "status" is required, and what that status needs: assigning
 * operationId; assigned registrationState.assignedHub and .deviceId. */
KN_PROV_MUST_CHECK kn_prov_code prov_response_parse(const char *text, size_t size,
                                                    prov_response *ret_response, prov_error *error);

/* An answer that reports an error: errorCode, trackingId and message, each optional. */
KN_PROV_MUST_CHECK kn_prov_code prov_response_parse_error(const char *text, size_t size,
                                                          prov_response *ret_response, prov_error *error);

/* The answer 401 by which the service challenges a TPM: it has authenticationKey and keyName, and no status.
 * The Base64 of the key in @ret_key, for free(); NULL when the answer is a refusal like any other. */
KN_PROV_MUST_CHECK kn_prov_code prov_response_parse_challenge(const char *text, size_t size, char **ret_key,
                                                              prov_error *error);

void prov_response_clear(prov_response *response);

#endif
