#include "prov_response.h"

#include "prov_json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const prov_json_rules rules = {
    .what = "the service's answer",
    .code = KN_PROV_E_RESPONSE,
    .size_max = PROV_RESPONSE_MAX,
    .depth_max = PROV_RESPONSE_DEPTH_MAX,
};

typedef struct status_row {
    const char *word;
    prov_response_status status;
} status_row;

/* "blacklisted" is the older word for disabled. */
static const status_row status_rows[] = {
    {.word = "unassigned", .status = PROV_RESPONSE_UNASSIGNED},
    {.word = "assigning", .status = PROV_RESPONSE_ASSIGNING},
    {.word = "assigned", .status = PROV_RESPONSE_ASSIGNED},
    {.word = "failed", .status = PROV_RESPONSE_FAILED},
    {.word = "disabled", .status = PROV_RESPONSE_DISABLED},
    {.word = "blacklisted", .status = PROV_RESPONSE_DISABLED},
};

static bool is_visible_ascii(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    }
    return true;
}

static bool is_host_with_port(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:";

    return *text != '\0' && *text != ':' && *text != '-' && strspn(text, allowed) == strlen(text);
}

static kn_prov_code read_status(const cJSON *top, prov_response *response, prov_error *error)
{
    kn_prov_code code =
        prov_json_text(&rules, top, "status", PROV_MESSAGE_MAX, &response->status_text, error);

    if (code || !response->status_text)
        return code;
    for (size_t i = 0; i < sizeof status_rows / sizeof status_rows[0]; i++) {
        if (strcmp(response->status_text, status_rows[i].word) == 0) {
            response->status = status_rows[i].status;
            return KN_PROV_OK;
        }
    }
    return prov_fail(error, KN_PROV_E_RESPONSE, "the service's answer has the unknown status \"%.80s\"",
                     response->status_text);
}

static kn_prov_code read_payload(const cJSON *state, prov_response *response, prov_error *error)
{
    const cJSON *item;
    char *printed;
    kn_prov_code code = prov_json_member(&rules, state, "payload", &item, error);

    if (code || !item)
        return code;
    printed = cJSON_PrintUnformatted(item);
    if (printed)
        response->payload = strdup(printed);
    cJSON_free(printed);
    return response->payload ? KN_PROV_OK : prov_fail(error, KN_PROV_E_MEMORY, "no memory for the payload");
}

static kn_prov_code read_tpm(const cJSON *state, prov_response *response, prov_error *error)
{
    const cJSON *tpm;
    kn_prov_code code = prov_json_member(&rules, state, "tpm", &tpm, error);

    if (code || !tpm)
        return code;
    if (!cJSON_IsObject(tpm))
        return prov_fail(error, KN_PROV_E_RESPONSE,
                         "the service's answer has a member \"tpm\" that is not an object");
    return prov_json_text(&rules, tpm, "authenticationKey", PROV_TPM_TEXT_MAX, &response->tpm_key, error);
}

static kn_prov_code read_registration_state(const cJSON *top, prov_response *response, prov_error *error)
{
    const cJSON *state;
    kn_prov_code code = prov_json_member(&rules, top, "registrationState", &state, error);

    if (code || !state)
        return code;
    if (!cJSON_IsObject(state))
        return prov_fail(error, KN_PROV_E_RESPONSE,
                         "the service's answer has a member \"registrationState\" that is not an object");
    if ((code = prov_json_text(&rules, state, "assignedHub", PROV_HUB_MAX, &response->assigned_hub, error)))
        return code;
    if ((code = prov_json_text(&rules, state, "deviceId", PROV_DEVICE_ID_MAX, &response->device_id, error)))
        return code;
    if ((code = prov_json_text(&rules, state, "substatus", PROV_MESSAGE_MAX, &response->substatus, error)))
        return code;
    if ((code = prov_json_number(&rules, state, "errorCode", &response->error_code, error)))
        return code;
    if ((code = prov_json_text(&rules, state, "errorMessage", PROV_MESSAGE_MAX, &response->error_message,
                               error)))
        return code;
    if ((code = read_tpm(state, response, error)))
        return code;
    return read_payload(state, response, error);
}

/* What each status cannot do without, and the shape of what is used further on. */
static kn_prov_code check_needs(const prov_response *response, prov_error *error)
{
    const char *missing = NULL;

    if (response->status == PROV_RESPONSE_NONE)
        missing = "status";
    else if (response->status == PROV_RESPONSE_ASSIGNING && !response->operation_id)
        missing = "operationId";
    else if (response->status == PROV_RESPONSE_ASSIGNED && !response->assigned_hub)
        missing = "registrationState.assignedHub";
    else if (response->status == PROV_RESPONSE_ASSIGNED && !response->device_id)
        missing = "registrationState.deviceId";
    if (missing)
        return prov_fail(error, KN_PROV_E_RESPONSE, "the service's answer lacks the member \"%s\"", missing);
    if (response->operation_id && !is_visible_ascii(response->operation_id))
        return prov_fail(error, KN_PROV_E_RESPONSE, "the operationId \"%s\" is not visible ASCII",
                         response->operation_id);
    if (response->assigned_hub && !is_host_with_port(response->assigned_hub))
        return prov_fail(error, KN_PROV_E_RESPONSE, "the assignedHub \"%s\" is not a host name",
                         response->assigned_hub);
    if (response->device_id && !is_visible_ascii(response->device_id))
        return prov_fail(error, KN_PROV_E_RESPONSE, "the deviceId \"%s\" is not visible ASCII",
                         response->device_id);
    return KN_PROV_OK;
}

static kn_prov_code parse_object(const char *text, size_t size, cJSON **ret_top, prov_error *error)
{
    kn_prov_code code = prov_json_parse(&rules, text, size, ret_top, error);

    if (code == KN_PROV_OK && !cJSON_IsObject(*ret_top)) {
        cJSON_Delete(*ret_top);
        return prov_fail(error, KN_PROV_E_RESPONSE, "the service's answer is not a JSON object");
    }
    return code;
}

static kn_prov_code read_answer(const cJSON *top, prov_response *response, prov_error *error)
{
    kn_prov_code code;

    if ((code = read_status(top, response, error)))
        return code;
    if ((code = prov_json_text(&rules, top, "operationId", PROV_OPERATION_ID_MAX, &response->operation_id,
                               error)))
        return code;
    if ((code = prov_json_text(&rules, top, "trackingId", PROV_MESSAGE_MAX, &response->tracking_id, error)))
        return code;
    if ((code = read_registration_state(top, response, error)))
        return code;
    return check_needs(response, error);
}

static kn_prov_code read_error(const cJSON *top, prov_response *response, prov_error *error)
{
    kn_prov_code code;

    if ((code = prov_json_number(&rules, top, "errorCode", &response->error_code, error)))
        return code;
    if ((code = prov_json_text(&rules, top, "trackingId", PROV_MESSAGE_MAX, &response->tracking_id, error)))
        return code;
    return prov_json_text(&rules, top, "message", PROV_MESSAGE_MAX, &response->error_message, error);
}

static kn_prov_code parse_with(kn_prov_code (*read)(const cJSON *, prov_response *, prov_error *),
                               const char *text, size_t size, prov_response *ret_response, prov_error *error)
{
    prov_response response = {.status = PROV_RESPONSE_NONE};
    cJSON *top;
    kn_prov_code code = parse_object(text, size, &top, error);

    if (code)
        return code;
    code = read(top, &response, error);
    cJSON_Delete(top);
    if (code) {
        prov_response_clear(&response);
        return code;
    }
    *ret_response = response;
    return KN_PROV_OK;
}

kn_prov_code prov_response_parse(const char *text, size_t size, prov_response *ret_response,
                                 prov_error *error)
{
    return parse_with(read_answer, text, size, ret_response, error);
}

kn_prov_code prov_response_parse_error(const char *text, size_t size, prov_response *ret_response,
                                       prov_error *error)
{
    return parse_with(read_error, text, size, ret_response, error);
}

static kn_prov_code read_challenge(const cJSON *top, char **ret_key, prov_error *error)
{
    const cJSON *status;
    char *name = NULL, *key = NULL;
    kn_prov_code code = prov_json_member(&rules, top, "status", &status, error);

    if (code == KN_PROV_OK)
        code = prov_json_text(&rules, top, "keyName", PROV_MESSAGE_MAX, &name, error);
    if (code == KN_PROV_OK)
        code = prov_json_text(&rules, top, "authenticationKey", PROV_TPM_TEXT_MAX, &key, error);
    if (code == KN_PROV_OK && !status && name && key) {
        /* the name goes into the token, as its policy */
        if (strcmp(name, "registration") == 0)
            *ret_key = key;
        else
            code = prov_fail(error, KN_PROV_E_RESPONSE,
                             "the service's challenge is for the key \"%.80s\", not \"registration\"", name);
    }
    if (!*ret_key)
        free(key);
    free(name);
    return code;
}

kn_prov_code prov_response_parse_challenge(const char *text, size_t size, char **ret_key, prov_error *error)
{
    cJSON *top;
    kn_prov_code code = parse_object(text, size, &top, error);

    *ret_key = NULL;
    if (code)
        return code;
    code = read_challenge(top, ret_key, error);
    cJSON_Delete(top);
    return code;
}

void prov_response_clear(prov_response *response)
{
    free(response->status_text);
    free(response->operation_id);
    free(response->assigned_hub);
    free(response->device_id);
    free(response->substatus);
    free(response->payload);
    free(response->error_message);
    free(response->tracking_id);
    free(response->tpm_key);
    *response = (prov_response){.status = PROV_RESPONSE_NONE};
}
