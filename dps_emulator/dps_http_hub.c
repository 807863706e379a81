#include "dps_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_hub.h"
#include "dps_log.h"

enum { PARAM_DEVICE, PARAM_TOKEN };

/* The header fields with a place of their own among a message's properties; the rest is "iothub-app-<name>".
 */
static const struct {
    const char *field;
    const char *property;
} system_properties[] = {
    {"iothub-messageid", "$.mid"},      {"iothub-correlationid", "$.cid"}, {"iothub-contenttype", "$.ct"},
    {"iothub-contentencoding", "$.ce"}, {"iothub-userid", "$.uid"},
};

static const char app_prefix[] = "iothub-app-";

/* The device of the path, or false and the refusal is in @ret_response. */
static bool admit(const dps_http_request *request, dps_hub_device *ret_device,
                  dps_http_response *ret_response)
{
    char reason[DPS_MESSAGE_LEN];
    if (request->host->hub == NULL) {
        dps_http_answer_code(ret_response, 404, 404000, "Nothing is served at this path");
        return false;
    }
    if (dps_hub_admit(request->host->hub, request->peer, dps_http_header(request, "host"),
                      dps_span_of(request->param[PARAM_DEVICE]), dps_http_header(request, "authorization"),
                      ret_device, reason))
        return true;
    dps_log(DPS_LOG_WARN, "%s: device \"%s\" refused by the hub: %s", request->peer->address,
            request->param[PARAM_DEVICE], reason);
    dps_http_answer_code(ret_response, 401, 401002, reason);
    return false;
}

static bool add_property(cJSON *object, const char *name, dps_span value)
{
    char *text = strndup(value.at, value.len);
    bool ok = text != NULL && dps_utf8_valid((const uint8_t *)text, value.len) &&
              cJSON_AddStringToObject(object, name, text) != NULL;
    free(text);
    return ok;
}

/* NULL: a value that is no UTF-8, or out of memory. */
static char *properties_of(const dps_http_request *request)
{
    cJSON *object = cJSON_CreateObject();
    bool ok = object != NULL;
    for (size_t i = 0; ok && i < sizeof(system_properties) / sizeof(system_properties[0]); i++) {
        dps_span value = dps_http_header(request, system_properties[i].field);
        if (value.len > 0)
            ok = add_property(object, system_properties[i].property, value);
    }
    for (size_t i = 0; ok && i < request->head->field_count; i++) {
        const dps_http_field *field = &request->head->fields[i];
        char name[128];
        const size_t prefix = sizeof(app_prefix) - 1;
        if (field->name.len <= prefix || field->name.len - prefix >= sizeof(name) ||
            !dps_text_equal_nocase(field->name.at, prefix, app_prefix, prefix))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(field->name.len - prefix), field->name.at + prefix);
        ok = add_property(object, name, field->value);
    }
    char *text = ok ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    return text;
}

static void post_event(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_hub_device device;
    if (!admit(request, &device, ret_response))
        return;
    char *properties = properties_of(request);
    if (properties == NULL || request->body.len > DPS_HUB_EVENT_MAX)
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                              "A property is not UTF-8, or the message is larger than 262144 bytes");
    else if (dps_hub_receive(request->host->hub, &device, "https", properties, request->body))
        ret_response->status = 204;
    free(properties);
}

static void add_headers(const dps_hub_message *m, dps_http_response *response)
{
    char number[24], quoted[DPS_UUID_LEN + 2], when[DPS_TIME_LEN];
    snprintf(quoted, sizeof(quoted), "\"%s\"", m->message_id);
    dps_http_add_header(response, "ETag", quoted);
    dps_http_add_header(response, "iothub-messageid", m->message_id);
    snprintf(number, sizeof(number), "%lld", (long long)m->id);
    dps_http_add_header(response, "iothub-sequencenumber", number);
    dps_time_format(m->at_ms, when);
    dps_http_add_header(response, "iothub-enqueuedtime", when);
}

/* Header fields of the properties; those that would be no header field stay behind. */
static void add_properties(const dps_hub_message *m, dps_http_response *response)
{
    cJSON *object = cJSON_Parse(m->properties);
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const char *value = cJSON_GetStringValue(item);
        if (value == NULL)
            continue;
        for (size_t i = 0; i < sizeof(system_properties) / sizeof(system_properties[0]); i++) {
            if (strcmp(item->string, system_properties[i].property) == 0)
                dps_http_add_header(response, system_properties[i].field, value);
        }
        dps_http_add_named_header(response, app_prefix, item->string, value); /* not the names with a "$" */
    }
    cJSON_Delete(object);
}

static void get_message(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_hub_device device;
    dps_hub_message m;
    if (!admit(request, &device, ret_response))
        return;
    switch (dps_hub_message_next(request->host->hub->store, device.id, 0, &m)) {
    case DPS_STORE_OK:
        break;
    case DPS_STORE_NOT_FOUND:
        ret_response->status = 204;
        return;
    case DPS_STORE_CONFLICT:
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        dps_log(DPS_LOG_ERROR, "a message cannot be read: %s",
                dps_hub_store_message(request->host->hub->store));
        return;
    }
    ret_response->status = 200;
    ret_response->content_type = "application/octet-stream";
    ret_response->body = malloc(m.body.len + 1);
    if (ret_response->body != NULL && m.body.len > 0)
        memcpy(ret_response->body, m.body.bytes, m.body.len);
    ret_response->body_len = m.body.len;
    if (ret_response->body == NULL)
        ret_response->status = 0;
    add_headers(&m, ret_response);
    add_properties(&m, ret_response);
    dps_hub_message_clear(&m);
}

/* Completes (DELETE) or rejects (DELETE with ?reject): the message goes away either way. */
static void delete_message(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_hub_device device;
    if (!admit(request, &device, ret_response))
        return;
    dps_store_result result =
        dps_hub_message_delete(request->host->hub->store, device.id, request->param[PARAM_TOKEN]);
    if (result == DPS_STORE_OK)
        ret_response->status = 204;
    else if (result == DPS_STORE_NOT_FOUND)
        dps_http_answer_code(ret_response, 412, 412002, "There is no message with this lock token");
}

/* The message was never locked: it comes again with the next GET. */
static void abandon_message(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_hub_device device;
    if (admit(request, &device, ret_response))
        ret_response->status = 204;
}

const dps_http_route dps_http_hub_routes[] = {
    {"POST", "/devices/*/messages/events", post_event},
    {"GET", "/devices/*/messages/deviceBound", get_message},
    {"DELETE", "/devices/*/messages/deviceBound/*", delete_message},
    {"POST", "/devices/*/messages/deviceBound/*/abandon", abandon_message},
    {NULL, NULL, NULL},
};
