#include "dps_error.h"

const dps_error_row dps_errors[DPS_ERR_COUNT] = {
    [DPS_ERR_BAD_REQUEST] = {.status = 400, .code = 400000},
    [DPS_ERR_API_VERSION] = {.status = 400, .code = 400001},
    [DPS_ERR_INVALID_ARGUMENT] = {.status = 400, .code = 400004},
    [DPS_ERR_UNAUTHORIZED] = {.status = 401, .code = 401002},
    [DPS_ERR_REGISTRATION_UNKNOWN] = {.status = 404, .code = 404201},
    [DPS_ERR_OPERATION_UNKNOWN] = {.status = 404, .code = 404202},
    [DPS_ERR_CONFLICT] = {.status = 409, .code = 409201},
    [DPS_ERR_STALE] = {.status = 412, .code = 412201},
    [DPS_ERR_THROTTLED] = {.status = 429, .code = 429001},
    [DPS_ERR_INTERNAL] = {.status = 500, .code = 500001},
};
