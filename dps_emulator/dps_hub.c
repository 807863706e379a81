#include "dps_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/x509.h>

#include "dps_json.h"
#include "dps_log.h"
#include "dps_sas.h"

static size_t without_port(const char *name, size_t len)
{
    size_t digits = 0;
    while (digits < len && name[len - 1 - digits] >= '0' && name[len - 1 - digits] <= '9')
        digits++;
    return digits > 0 && digits < len && name[len - 1 - digits] == ':' ? len - digits - 1 : len;
}

bool dps_hub_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return dps_text_equal_nocase(a, without_port(a, a_len), b, without_port(b, b_len));
}

static bool refuse(char reason[DPS_MESSAGE_LEN], const char *text)
{
    snprintf(reason, DPS_MESSAGE_LEN, "%s", text);
    return false;
}

/* The thumbprint of the certificate with which it registered, as a hub knows it; and its validity now. */
static bool check_certificate(const dps_registration *r, const dps_peer *peer, char reason[DPS_MESSAGE_LEN])
{
    unsigned char *der = NULL;
    int n = peer->leaf != NULL ? i2d_X509(peer->leaf, &der) : 0;
    bool same =
        n > 0 && (size_t)n == r->evidence.leaf.len && memcmp(der, r->evidence.leaf.bytes, (size_t)n) == 0;
    OPENSSL_free(der);
    if (peer->leaf == NULL)
        return refuse(reason, "the device sent no certificate");
    if (!same)
        return refuse(reason, "the certificate is not the one with which the device registered");
    if (X509_cmp_current_time(X509_get0_notBefore(peer->leaf)) > 0 ||
        X509_cmp_current_time(X509_get0_notAfter(peer->leaf)) < 0)
        return refuse(reason, "the certificate is not valid at this time");
    return true;
}

static bool check_token(const dps_registration *r, dps_span text, char reason[DPS_MESSAGE_LEN])
{
    char resource[DPS_HUB_LEN + DPS_ID_LEN + 16];
    dps_sas sas;
    snprintf(resource, sizeof(resource), "%s/devices/%s", r->hub, r->device_id);
    dps_sas_verdict verdict = dps_sas_parse(text, &sas);
    if (verdict == DPS_SAS_OK)
        verdict = dps_sas_check(&sas, resource, dps_time_now_ms());
    if (verdict != DPS_SAS_OK)
        return refuse(reason, dps_sas_verdict_text(verdict));
    bool good = false;
    for (size_t i = 0; i < DPS_DEVICE_KEYS; i++) {
        if (r->keys[i].len > 0 && dps_sas_signed_by(&sas, r->keys[i].bytes, r->keys[i].len))
            good = true;
    }
    return good || refuse(reason, dps_sas_verdict_text(DPS_SAS_WRONG_SIGNATURE));
}

static bool check_identity(const dps_registration *r, const dps_peer *peer, dps_span sas,
                           char reason[DPS_MESSAGE_LEN])
{
    switch (r->attestation) {
    case DPS_ATTEST_X509_SIGNING:
    case DPS_ATTEST_X509_REFERENCE:
    case DPS_ATTEST_X509_CLIENT:
        return sas.len == 0 ? check_certificate(r, peer, reason)
                            : refuse(reason, "the device proves itself by its certificate, not by a token");
    case DPS_ATTEST_SYMMETRIC:
    case DPS_ATTEST_TPM:
        return sas.len > 0 ? check_token(r, sas, reason) : refuse(reason, "the device sent no SAS token");
    case DPS_ATTEST_COUNT:
        break;
    }
    return refuse(reason, "the device has no identity");
}

static void device_of(const dps_registration *r, dps_hub_device *ret)
{
    memcpy(ret->id, r->device_id, sizeof(ret->id));
    memcpy(ret->hub, r->hub, sizeof(ret->hub));
}

bool dps_hub_admit(dps_hub *hub, const dps_peer *peer, dps_span hub_name, dps_span device_id, dps_span sas,
                   dps_hub_device *ret_device, char ret_reason[DPS_MESSAGE_LEN])
{
    char id[DPS_ID_LEN];
    dps_registration r;
    if (dps_id_check(device_id) != DPS_ID_OK)
        return refuse(ret_reason, "the device id cannot be one");
    snprintf(id, sizeof(id), "%.*s", (int)device_id.len, device_id.at);
    dps_store_result found = dps_store_registration_by_device(hub->registrations, id, &r);
    if (found != DPS_STORE_OK)
        return refuse(ret_reason, found == DPS_STORE_NOT_FOUND ? "no device with this id has been assigned"
                                                               : dps_store_message(hub->registrations));
    bool ok = false;
    if (r.outcome != DPS_OUTCOME_ASSIGNED || dps_time_now_ms() < r.ready_ms)
        refuse(ret_reason, "the device is not assigned yet");
    else if (!dps_hub_same(hub_name.at, hub_name.len, r.hub, strlen(r.hub)))
        refuse(ret_reason, "the device is assigned to another hub");
    else
        ok = check_identity(&r, peer, sas, ret_reason);
    if (ok)
        device_of(&r, ret_device);
    dps_registration_clear(&r);
    return ok;
}

bool dps_hub_find(dps_hub *hub, const char *device_id, dps_hub_device *ret_device)
{
    dps_registration r;
    if (dps_store_registration_by_device(hub->registrations, device_id, &r) != DPS_STORE_OK)
        return false;
    device_of(&r, ret_device);
    dps_registration_clear(&r);
    return true;
}

static bool store_failed(const dps_hub *hub, const char *what)
{
    dps_log(DPS_LOG_ERROR, "%s: %s", what, dps_hub_store_message(hub->store));
    return false;
}

bool dps_hub_receive(dps_hub *hub, const dps_hub_device *device, const char *transport,
                     const char *properties, dps_span body)
{
    if (body.len > DPS_HUB_EVENT_MAX)
        return false;
    char none[] = "{}";
    dps_hub_event event = {
        .at_ms = dps_time_now_ms(),
        .properties = properties != NULL ? (char *)properties : none, /* borrowed; not cleared */
        .body = {(uint8_t *)body.at, body.len},
    };
    memcpy(event.device_id, device->id, sizeof(event.device_id));
    memcpy(event.hub, device->hub, sizeof(event.hub));
    snprintf(event.transport, sizeof(event.transport), "%s", transport);
    if (dps_hub_event_add(hub->store, &event) != DPS_STORE_OK)
        return store_failed(hub, "a message cannot be written");
    dps_log(DPS_LOG_INFO, "hub %s: %zu bytes from \"%s\" over %s", device->hub, body.len, device->id,
            transport);
    return true;
}

/* The text of an object of @parent, or "{}". */
static char *object_text(const cJSON *parent, const char *name)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(parent, name);
    return cJSON_IsObject(object) ? cJSON_PrintUnformatted(object) : strdup("{}");
}

static bool twin_from_initial(const dps_registration *r, dps_twin *ret)
{
    cJSON *initial = r->initial_twin != NULL ? cJSON_Parse(r->initial_twin) : NULL;
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(initial, "properties");
    dps_twin t = {.desired_version = 1, .reported_version = 1};
    memcpy(t.device_id, r->device_id, sizeof(t.device_id));
    memcpy(t.hub, r->hub, sizeof(t.hub));
    t.tags = object_text(initial, "tags");
    t.desired = object_text(properties, "desired");
    t.reported = strdup("{}");
    cJSON_Delete(initial);
    if (t.tags == NULL || t.desired == NULL || t.reported == NULL) {
        dps_twin_clear(&t);
        return false;
    }
    *ret = t;
    return true;
}

/* Finds the twin, or makes it. */
static bool load_twin(dps_hub *hub, const dps_hub_device *device, dps_twin *ret)
{
    dps_store_result result = dps_hub_twin_get(hub->store, device->id, ret);
    if (result == DPS_STORE_OK && strcmp(ret->hub, device->hub) == 0)
        return true;
    if (result == DPS_STORE_FAILED)
        return store_failed(hub, "a twin cannot be read");
    dps_registration r;
    bool had = result == DPS_STORE_OK;
    if (dps_store_registration_by_device(hub->registrations, device->id, &r) != DPS_STORE_OK) {
        if (had)
            dps_twin_clear(ret);
        return false;
    }
    bool ok = true;
    if (had && strcmp(r.substatus, "deviceDataMigrated") == 0) {
        memcpy(ret->hub, device->hub, sizeof(ret->hub));
    } else {
        if (had)
            dps_twin_clear(ret);
        ok = twin_from_initial(&r, ret);
    }
    dps_registration_clear(&r);
    if (ok && dps_hub_twin_save(hub->store, ret, NULL) != DPS_STORE_OK) {
        dps_twin_clear(ret);
        ok = store_failed(hub, "a twin cannot be written");
    }
    return ok;
}

/* @text as an object with its version. */
static bool add_part(cJSON *parent, const char *name, const char *text, int64_t version)
{
    cJSON *object = cJSON_Parse(text);
    if (object == NULL || !cJSON_AddItemToObject(parent, name, object)) {
        cJSON_Delete(object);
        return false;
    }
    return version == 0 || cJSON_AddNumberToObject(object, "$version", (double)version) != NULL;
}

static bool add_properties(cJSON *parent, const dps_twin *twin)
{
    return add_part(parent, "desired", twin->desired, twin->desired_version) &&
           add_part(parent, "reported", twin->reported, twin->reported_version);
}

char *dps_hub_twin(dps_hub *hub, const dps_hub_device *device, int64_t *ret_desired_version)
{
    dps_twin twin;
    if (!load_twin(hub, device, &twin))
        return NULL;
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL && add_properties(root, &twin);
    if (ret_desired_version != NULL)
        *ret_desired_version = twin.desired_version;
    dps_twin_clear(&twin);
    if (!ok) {
        cJSON_Delete(root);
        root = NULL;
    }
    return dps_json_print(root);
}

char *dps_hub_twin_full(dps_hub *hub, const dps_hub_device *device)
{
    dps_twin twin;
    if (!load_twin(hub, device, &twin))
        return NULL;
    cJSON *root = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(root, "deviceId", twin.device_id) != NULL &&
              cJSON_AddStringToObject(root, "hub", twin.hub) != NULL && add_part(root, "tags", twin.tags, 0);
    cJSON *properties = ok ? cJSON_AddObjectToObject(root, "properties") : NULL;
    ok = properties != NULL && add_properties(properties, &twin);
    dps_twin_clear(&twin);
    if (!ok) {
        cJSON_Delete(root);
        root = NULL;
    }
    return dps_json_print(root);
}

/* RFC 7396. cJSON's own limit on nesting bounds the recursion. */
static bool merge(cJSON *target, const cJSON *patch)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, patch)
    {
        if (cJSON_IsNull(item)) {
            cJSON_DeleteItemFromObjectCaseSensitive(target, item->string);
            continue;
        }
        cJSON *into = cJSON_GetObjectItemCaseSensitive(target, item->string);
        if (cJSON_IsObject(item)) {
            if (!cJSON_IsObject(into)) {
                cJSON_DeleteItemFromObjectCaseSensitive(target, item->string);
                into = cJSON_AddObjectToObject(target, item->string);
            }
            if (into == NULL || !merge(into, item))
                return false;
            continue;
        }
        cJSON *copy = cJSON_Duplicate(item, true);
        cJSON_DeleteItemFromObjectCaseSensitive(target, item->string);
        if (copy == NULL || !cJSON_AddItemToObject(target, item->string, copy)) {
            cJSON_Delete(copy);
            return false;
        }
    }
    return true;
}

/* The text of @old with @patch in it, or NULL. */
static char *merged_text(const char *old, const cJSON *patch)
{
    cJSON *target = cJSON_Parse(old);
    char *text = target != NULL && merge(target, patch) ? cJSON_PrintUnformatted(target) : NULL;
    cJSON_Delete(target);
    return text;
}

static int patch_twin(dps_hub *hub, const dps_hub_device *device, dps_twin_part part, const cJSON *patch,
                      int64_t *ret_version, const char **ret_problem)
{
    dps_twin twin;
    if (!load_twin(hub, device, &twin))
        return 500;
    char **parts[] = {[DPS_TWIN_DESIRED] = &twin.desired,
                      [DPS_TWIN_REPORTED] = &twin.reported,
                      [DPS_TWIN_TAGS] = &twin.tags};
    int status = 500;
    char *text = merged_text(*parts[part], patch);
    char *kept = part == DPS_TWIN_DESIRED ? cJSON_PrintUnformatted(patch) : NULL;
    if (text != NULL && strlen(text) > DPS_HUB_TWIN_MAX) {
        *ret_problem = "The twin would be larger than 32768 bytes";
        status = 400;
    } else if (text != NULL && (kept != NULL || part != DPS_TWIN_DESIRED)) {
        free(*parts[part]);
        *parts[part] = text;
        text = NULL;
        if (part == DPS_TWIN_DESIRED)
            twin.desired_version++;
        if (part == DPS_TWIN_REPORTED)
            twin.reported_version++;
        if (dps_hub_twin_save(hub->store, &twin, kept) == DPS_STORE_OK)
            status = 200;
        else
            store_failed(hub, "a twin cannot be written");
        if (ret_version != NULL)
            *ret_version = part == DPS_TWIN_REPORTED ? twin.reported_version : twin.desired_version;
    }
    free(text);
    free(kept);
    dps_twin_clear(&twin);
    return status;
}

int dps_hub_twin_patch(dps_hub *hub, const dps_hub_device *device, dps_twin_part part, dps_span patch,
                       int64_t *ret_version, const char **ret_problem)
{
    *ret_problem = "The patch is not one JSON object in UTF-8 of at most 32768 bytes";
    if (patch.len > DPS_HUB_TWIN_MAX || !dps_utf8_valid((const uint8_t *)patch.at, patch.len))
        return 400;
    char *text = strndup(patch.at, patch.len);
    cJSON *json = text != NULL ? cJSON_ParseWithOpts(text, NULL, true) : NULL;
    int status = text == NULL ? 500 : 400;
    if (cJSON_IsObject(json))
        status = patch_twin(hub, device, part, json, ret_version, ret_problem);
    cJSON_Delete(json);
    free(text);
    return status;
}
