/* Units:     status is the HTTP-like status of the answer, code the service's six-digit error code.
 * Ownership: rows are constant.
 * Errors:    these are the errors a device sees.
 * Threads:   constant data.
 * Spec:      401002, 404201 and 404202 are seen from the cloud; the other codes follow its numbering and are
 * our choice. */
#ifndef DPS_ERROR_H
#define DPS_ERROR_H

typedef enum dps_error {
    DPS_ERR_BAD_REQUEST, /* the body cannot be parsed */
    DPS_ERR_API_VERSION,
    DPS_ERR_INVALID_ARGUMENT, /* a value is not allowed */
    DPS_ERR_UNAUTHORIZED,
    DPS_ERR_REGISTRATION_UNKNOWN,
    DPS_ERR_OPERATION_UNKNOWN,
    DPS_ERR_CONFLICT, /* it exists */
    DPS_ERR_STALE,    /* If-Match is not its ETag */
    DPS_ERR_THROTTLED,
    DPS_ERR_INTERNAL,
    DPS_ERR_COUNT,
} dps_error;

/* registrationState.errorCode of an assignment that failed. 400208 and 400209 are seen from the cloud. */
enum dps_assignment_error {
    DPS_FAILED_WEBHOOK = 400207, /* custom allocation */
    DPS_FAILED_NO_HUB = 400208,
    DPS_FAILED_HUB_UNAUTHORIZED = 400209,
};

typedef struct dps_error_row {
    int status;
    int code;
} dps_error_row;

extern const dps_error_row dps_errors[DPS_ERR_COUNT];

#endif
