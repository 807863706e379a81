#include "kn_cmd_registration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256 * 1024) /* bytes */

/* ---- reading ---- */

static char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsString(item) ? strdup(item->valuestring) : NULL;
}

static char *json_text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return item ? kn_cmd_json_print(item, false) : NULL;
}

kn_exit kn_cmd_registration_read(const char *path, kn_cmd_registration *ret_registration)
{
    char *text = NULL;
    kn_exit status = kn_cmd_read_text(path, FILE_MAX, &text);
    kn_cmd_registration r;
    const cJSON *provisioning;
    cJSON *tree;

    if (status)
        return status;
    tree = cJSON_Parse(text);
    free(text);
    provisioning = cJSON_GetObjectItemCaseSensitive(tree, "provisioning");
    r = (kn_cmd_registration){
        .hub = text_of(tree, "assignedHub"),
        .device = text_of(tree, "deviceId"),
        .registration_id = text_of(tree, "registrationId"),
        .id_scope = text_of(provisioning, "idScope"),
        .endpoint = text_of(provisioning, "endpoint"),
        .transport = text_of(provisioning, "transport"),
        .attestation = text_of(provisioning, "attestation"),
        .payload = json_text_of(provisioning, "payload"),
    };
    cJSON_Delete(tree);
    if (r.hub && r.device) {
        *ret_registration = r;
        return KN_EXIT_OK;
    }
    kn_cmd_registration_clear(&r);
    return kn_cmd_fail(KN_EXIT_USAGE, path, "name a file that keynym provision --output wrote", "holds no assignedHub and deviceId");
}

void kn_cmd_registration_clear(kn_cmd_registration *registration)
{
    free(registration->hub);
    free(registration->device);
    free(registration->registration_id);
    free(registration->id_scope);
    free(registration->endpoint);
    free(registration->transport);
    free(registration->attestation);
    free(registration->payload);
    *registration = (kn_cmd_registration){.hub = NULL};
}

/* ---- writing ---- */

static bool add_raw(cJSON *object, const char *name, const char *json)
{
    return !json || cJSON_AddRawToObject(object, name, json);
}

/* In one form, however it was written. */
static bool add_json(cJSON *object, const char *name, const char *json)
{
    cJSON *item = json ? cJSON_Parse(json) : NULL;

    if (!json || (item && cJSON_AddItemToObject(object, name, item)))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool add_provisioning(cJSON *object, const kn_prov_request *request)
{
    cJSON *member = cJSON_AddObjectToObject(object, "provisioning");

    return member && kn_cmd_json_text(member, "idScope", request->id_scope) &&
           kn_cmd_json_text(member, "endpoint", request->endpoint ? request->endpoint : KN_PROV_DEFAULT_ENDPOINT) &&
           kn_cmd_json_text(member, "transport", request->transport ? request->transport : KN_PROV_DEFAULT_TRANSPORT) &&
           kn_cmd_json_text(member, "attestation", request->attestation ? request->attestation : KN_PROV_DEFAULT_ATTESTATION) &&
           add_json(member, "payload", request->payload);
}

cJSON *kn_cmd_registration_json(const kn_prov_result *result, const kn_prov_request *request)
{
    cJSON *object = cJSON_CreateObject();

    if (object && kn_cmd_json_text(object, "status", result->status) &&
        kn_cmd_json_text(object, "registrationId", result->registration_id) &&
        kn_cmd_json_text(object, "assignedHub", result->assigned_hub) &&
        kn_cmd_json_text(object, "deviceId", result->device_id) &&
        kn_cmd_json_text(object, "substatus", result->substatus) && add_raw(object, "payload", result->payload) &&
        (!request || add_provisioning(object, request)))
        return object;
    cJSON_Delete(object);
    return NULL;
}

kn_exit kn_cmd_registration_write(const char *path, const kn_prov_result *result, const kn_prov_request *request)
{
    cJSON *json = kn_cmd_registration_json(result, request);
    char *printed = json ? kn_cmd_json_print(json, true) : NULL, *text = NULL;
    kn_exit status;

    if (!printed || asprintf(&text, "%s\n", printed) < 0) {
        text = NULL;
        status = kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    } else {
        status = kn_cmd_write_text(path, text);
    }
    free(printed);
    free(text);
    cJSON_Delete(json);
    return status;
}
