#include "dps_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

char *dps_json_print(cJSON *root)
{
    if (root == NULL)
        return NULL;
    char *text = cJSON_PrintUnformatted(root); /* the default hooks: malloc and free */
    cJSON_Delete(root);
    return text;
}

/* cJSON ends a string at "\u0000", so "dev1\u0000x" would read as "dev1": refuse it before parsing. */
static bool has_nul_escape(dps_span text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.at[i] != '\\')
            continue;
        i++;
        if (text.at[i] == 'u' && text.len - i > 4 && memcmp(text.at + i + 1, "0000", 4) == 0)
            return true;
    }
    return false;
}

static dps_span trim(dps_span text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.at[0]) != NULL && text.at[0] != '\0')
        text = (dps_span){text.at + 1, text.len - 1};
    while (text.len > 0 && text.at[text.len - 1] != '\0' && strchr(" \t\r\n", text.at[text.len - 1]) != NULL)
        text.len--;
    return text;
}

static bool read_members(const cJSON *root, dps_register_body *ret_body, const char **ret_problem)
{
    dps_register_body body = {0};
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(root, "registrationId");
    if (id != NULL) {
        *ret_problem = "registrationId in the body is not a string of at most 128 characters";
        if (!cJSON_IsString(id) || strlen(id->valuestring) > DPS_ID_MAX)
            return false;
        memcpy(body.registration_id, id->valuestring, strlen(id->valuestring) + 1);
    }
    if (cJSON_GetObjectItemCaseSensitive(root, "tpm") != NULL) {
        *ret_problem = "TPM attestation is not possible over this transport";
        return false;
    }
    const cJSON *payload = cJSON_GetObjectItemCaseSensitive(root, "payload");
    if (payload != NULL) {
        *ret_problem = "the payload cannot be kept: out of memory";
        body.payload = cJSON_PrintUnformatted(payload);
        if (body.payload == NULL)
            return false;
        if (strlen(body.payload) > DPS_PAYLOAD_MAX) {
            *ret_problem = "the payload is longer than 8192 bytes";
            free(body.payload);
            return false;
        }
    }
    *ret_body = body;
    return true;
}

bool dps_json_parse_register(dps_span text, dps_register_body *ret_body, dps_error *ret_error,
                             const char **ret_problem)
{
    text = trim(text);
    if (text.len == 0) {
        *ret_body = (dps_register_body){0};
        return true;
    }
    *ret_error = DPS_ERR_BAD_REQUEST;
    *ret_problem = "the body is not UTF-8 text, or holds a NUL";
    if (!dps_utf8_valid((const uint8_t *)text.at, text.len) || has_nul_escape(text))
        return false;
    *ret_problem = "the body is not a JSON object";
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text.at, text.len, &end, false);
    bool ok = cJSON_IsObject(root) && end == text.at + text.len;
    if (ok) {
        *ret_error = DPS_ERR_INVALID_ARGUMENT;
        ok = read_members(root, ret_body, ret_problem);
    }
    cJSON_Delete(root);
    return ok;
}

char *dps_json_assigning(const char *operation_id)
{
    cJSON *root = cJSON_CreateObject();
    if (cJSON_AddStringToObject(root, "operationId", operation_id) == NULL ||
        cJSON_AddStringToObject(root, "status", "assigning") == NULL) {
        cJSON_Delete(root);
        return NULL;
    }
    return dps_json_print(root);
}

cJSON *dps_json_cert_info(const dps_cert_info *info)
{
    cJSON *object = cJSON_CreateObject();
    if (object == NULL || info == NULL)
        return object;
    bool ok = cJSON_AddStringToObject(object, "subjectName", info->subject) != NULL &&
              cJSON_AddStringToObject(object, "sha1Thumbprint", info->sha1) != NULL &&
              cJSON_AddStringToObject(object, "sha256Thumbprint", info->sha256) != NULL &&
              cJSON_AddStringToObject(object, "issuerName", info->issuer) != NULL &&
              cJSON_AddStringToObject(object, "notBeforeUtc", info->not_before) != NULL &&
              cJSON_AddStringToObject(object, "notAfterUtc", info->not_after) != NULL &&
              cJSON_AddStringToObject(object, "serialNumber", info->serial) != NULL &&
              cJSON_AddNumberToObject(object, "version", (double)info->version) != NULL;
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* Takes @item; false also when it is NULL. */
static bool add(cJSON *object, const char *name, cJSON *item)
{
    if (item == NULL)
        return false;
    if (cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool add_x509(cJSON *state, const char *group_id, const dps_cert_info *leaf,
                     const dps_cert_info *group_cert)
{
    cJSON *x509 = cJSON_AddObjectToObject(state, "x509");
    return x509 != NULL && add(x509, "certificateInfo", dps_json_cert_info(leaf)) &&
           cJSON_AddStringToObject(x509, "enrollmentGroupId", group_id) != NULL &&
           add(x509, "signingCertificateInfo", dps_json_cert_info(group_cert));
}

static bool add_state(cJSON *root, const dps_registration *r, const dps_cert_info *leaf,
                      const dps_cert_info *group_cert)
{
    char created[DPS_TIME_LEN];
    char updated[DPS_TIME_LEN];
    dps_time_format(r->created_ms, created);
    dps_time_format(r->updated_ms, updated);
    cJSON *state = cJSON_AddObjectToObject(root, "registrationState");
    return state != NULL && add_x509(state, r->group_id, leaf, group_cert) &&
           cJSON_AddStringToObject(state, "registrationId", r->id) != NULL &&
           cJSON_AddStringToObject(state, "createdDateTimeUtc", created) != NULL &&
           cJSON_AddStringToObject(state, "assignedHub", r->hub) != NULL &&
           cJSON_AddStringToObject(state, "deviceId", r->id) != NULL &&
           cJSON_AddStringToObject(state, "status", "assigned") != NULL &&
           cJSON_AddStringToObject(state, "substatus", r->substatus) != NULL &&
           cJSON_AddStringToObject(state, "lastUpdatedDateTimeUtc", updated) != NULL &&
           cJSON_AddStringToObject(state, "etag", r->etag) != NULL &&
           cJSON_AddRawToObject(state, "payload", r->payload != NULL ? r->payload : "{}") != NULL;
}

char *dps_json_assigned(const char *operation_id, const dps_registration *registration,
                        const dps_cert_info *leaf, const dps_cert_info *group_cert)
{
    cJSON *root = cJSON_CreateObject();
    if (cJSON_AddStringToObject(root, "operationId", operation_id) == NULL ||
        cJSON_AddStringToObject(root, "status", "assigned") == NULL ||
        !add_state(root, registration, leaf, group_cert)) {
        cJSON_Delete(root);
        return NULL;
    }
    return dps_json_print(root);
}

char *dps_json_error(int error_code, const char *message, int64_t now_ms)
{
    char tracking[DPS_UUID_LEN];
    char when[DPS_TIME_LEN];
    dps_time_format(now_ms, when);
    cJSON *root = cJSON_CreateObject();
    if (!dps_random_uuid(tracking) || cJSON_AddNumberToObject(root, "errorCode", error_code) == NULL ||
        cJSON_AddStringToObject(root, "trackingId", tracking) == NULL ||
        cJSON_AddStringToObject(root, "message", message) == NULL ||
        cJSON_AddStringToObject(root, "timestampUtc", when) == NULL) {
        cJSON_Delete(root);
        return NULL;
    }
    return dps_json_print(root);
}
