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

void dps_register_body_clear(dps_register_body *body)
{
    free(body->payload);
    dps_blob_clear(&body->endorsement_key);
    dps_blob_clear(&body->storage_root_key);
    *body = (dps_register_body){0};
}

static bool read_key(const cJSON *tpm, const char *name, dps_blob *ret_key)
{
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(tpm, name);
    if (key == NULL || cJSON_IsNull(key))
        return true;
    return cJSON_IsString(key) && key->valuestring[0] != '\0' &&
           dps_base64_decode(dps_span_of(key->valuestring), DPS_TPM_PUBLIC_MAX, ret_key);
}

static bool read_tpm(const cJSON *root, dps_register_body *body, const char **ret_problem)
{
    const cJSON *tpm = cJSON_GetObjectItemCaseSensitive(root, "tpm");
    if (tpm == NULL || cJSON_IsNull(tpm))
        return true;
    body->has_tpm = true;
    *ret_problem = "tpm.endorsementKey or tpm.storageRootKey of the TPM is not base64 of at most 1024 bytes";
    return cJSON_IsObject(tpm) && read_key(tpm, "endorsementKey", &body->endorsement_key) &&
           read_key(tpm, "storageRootKey", &body->storage_root_key);
}

static bool read_payload(const cJSON *root, dps_register_body *body, const char **ret_problem)
{
    const cJSON *payload = cJSON_GetObjectItemCaseSensitive(root, "payload");
    if (payload == NULL)
        return true;
    *ret_problem = "the payload cannot be kept: out of memory";
    body->payload = cJSON_PrintUnformatted(payload);
    if (body->payload == NULL)
        return false;
    *ret_problem = "the payload is longer than 8192 bytes";
    return strlen(body->payload) <= DPS_PAYLOAD_MAX;
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
    if (!read_tpm(root, &body, ret_problem) || !read_payload(root, &body, ret_problem)) {
        dps_register_body_clear(&body);
        return false;
    }
    *ret_body = body;
    return true;
}

cJSON *dps_json_parse(dps_span text, const char **ret_problem)
{
    text = trim(text);
    *ret_problem = "the body is not UTF-8 text, or holds a NUL";
    if (!dps_utf8_valid((const uint8_t *)text.at, text.len) || has_nul_escape(text))
        return NULL;
    *ret_problem = "the body is not JSON";
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text.at, text.len, &end, false);
    if (root == NULL || end == text.at + text.len)
        return root;
    cJSON_Delete(root);
    return NULL;
}

bool dps_json_parse_register(dps_span text, dps_register_body *ret_body, dps_error *ret_error,
                             const char **ret_problem)
{
    if (trim(text).len == 0) {
        *ret_body = (dps_register_body){0};
        return true;
    }
    *ret_error = DPS_ERR_BAD_REQUEST;
    cJSON *root = dps_json_parse(text, ret_problem);
    bool ok = cJSON_IsObject(root);
    if (ok) {
        *ret_error = DPS_ERR_INVALID_ARGUMENT;
        ok = read_members(root, ret_body, ret_problem);
    } else if (root != NULL || strstr(*ret_problem, "JSON") != NULL) {
        *ret_problem = "the body is not a JSON object";
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

static bool add_text(cJSON *object, const char *name, const char *text)
{
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

/* How the device proved itself, in the words of the device API. */
static bool add_attestation(cJSON *state, const dps_registration *r, const dps_cert_info *leaf,
                            const dps_cert_info *signing)
{
    cJSON *object = cJSON_AddObjectToObject(state, dps_attestation_type(r->attestation));
    if (object == NULL)
        return false;
    switch (r->attestation) {
    case DPS_ATTEST_X509_SIGNING:
    case DPS_ATTEST_X509_REFERENCE:
    case DPS_ATTEST_X509_CLIENT:
        return add(object, "certificateInfo", dps_json_cert_info(leaf)) &&
               (r->group_id[0] == '\0' ||
                (add_text(object, "enrollmentGroupId", r->group_id) &&
                 add(object, "signingCertificateInfo", dps_json_cert_info(signing))));
    case DPS_ATTEST_SYMMETRIC:
        return r->group_id[0] == '\0' || add_text(object, "enrollmentGroupId", r->group_id);
    case DPS_ATTEST_TPM:
        return add_text(object, "authenticationKey", r->tpm_key != NULL ? r->tpm_key : "");
    case DPS_ATTEST_COUNT:
        break;
    }
    return false;
}

static bool add_state(cJSON *state, const dps_registration *r, const char *status)
{
    char created[DPS_TIME_LEN];
    char updated[DPS_TIME_LEN];
    bool failed = strcmp(status, "failed") == 0;
    bool assigned = strcmp(status, "assigned") == 0;
    const char *payload = r->payload_out != NULL ? r->payload_out : r->payload;
    dps_time_format(r->created_ms, created);
    dps_time_format(r->updated_ms, updated);
    return add_text(state, "registrationId", r->id) && add_text(state, "createdDateTimeUtc", created) &&
           (!assigned ||
            (add_text(state, "assignedHub", r->hub) && add_text(state, "deviceId", r->device_id))) &&
           add_text(state, "status", status) && (!assigned || add_text(state, "substatus", r->substatus)) &&
           (!failed || (cJSON_AddNumberToObject(state, "errorCode", r->error_code) != NULL &&
                        add_text(state, "errorMessage", r->error_message))) &&
           add_text(state, "lastUpdatedDateTimeUtc", updated) && add_text(state, "etag", r->etag) &&
           cJSON_AddRawToObject(state, "payload", payload != NULL ? payload : "{}") != NULL;
}

char *dps_json_operation(const char *operation_id, const dps_registration *registration,
                         const dps_cert_info *leaf, const dps_cert_info *signing)
{
    const char *status = registration->outcome == DPS_OUTCOME_FAILED ? "failed" : "assigned";
    cJSON *root = cJSON_CreateObject();
    bool ok = add_text(root, "operationId", operation_id) && add_text(root, "status", status);
    cJSON *state = ok ? cJSON_AddObjectToObject(root, "registrationState") : NULL;
    if (state == NULL || !add_attestation(state, registration, leaf, signing) ||
        !add_state(state, registration, status)) {
        cJSON_Delete(root);
        return NULL;
    }
    return dps_json_print(root);
}

cJSON *dps_json_registration(const dps_registration *registration, const char *status)
{
    cJSON *root = cJSON_CreateObject();
    if (root == NULL || !add_state(root, registration, status)) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

char *dps_json_challenge(const dps_blob *challenge)
{
    cJSON *root = cJSON_CreateObject();
    char *key = dps_base64_encode(challenge->bytes, challenge->len);
    bool ok = key != NULL &&
              add_text(root, "message", "Authorization required, resend request using supplied key") &&
              add_text(root, "authenticationKey", key) &&
              cJSON_AddNullToObject(root, "unencryptedAuthenticationKey") != NULL &&
              add_text(root, "keyName", "registration");
    free(key);
    if (!ok) {
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
