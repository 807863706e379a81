#include "prov_mqtt_topic.h"

#include "prov_names.h"
#include "prov_response.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "$dps/registrations/res/"

/* At most 9 digits, so that it always fits. */
static bool read_number(const char *text, size_t size, uint32_t *ret_number)
{
    uint32_t number = 0;

    if (size == 0 || size > 9)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *ret_number = number;
    return true;
}

static bool has_name(const char *text, size_t size, const char *name)
{
    return size == strlen(name) && memcmp(text, name, size) == 0;
}

static kn_prov_code read_parameter(const char *text, size_t size, prov_mqtt_topic *topic, bool *seen_rid,
                                   bool *seen_retry, prov_error *error)
{
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals ? (size_t)(equals - text) : size;
    const char *value = equals ? equals + 1 : text + size;
    size_t value_size = (size_t)(text + size - value);
    bool is_rid = has_name(text, name_size, "$rid");
    bool *seen = is_rid ? seen_rid : seen_retry;

    if (!is_rid && !has_name(text, name_size, "retry-after"))
        return KN_PROV_OK;
    if (*seen)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the response topic has \"%.*s\" twice", (int)name_size,
                         text);
    *seen = true;
    if (!read_number(value, value_size, is_rid ? &topic->request_id : &topic->retry_after_s))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the response topic has a \"%.*s\" that is not a number",
                         (int)name_size, text);
    return KN_PROV_OK;
}

kn_prov_code prov_mqtt_topic_parse(const char *topic, size_t size, prov_mqtt_topic *ret_topic,
                                   prov_error *error)
{
    static const size_t head = sizeof PREFIX - 1 + 5; /* prefix, "202", "/?" */
    prov_mqtt_topic parsed = {.status = 0};
    bool seen_rid = false, seen_retry = false;
    uint32_t status = 0;

    if (size < head || memcmp(topic, PREFIX, sizeof PREFIX - 1) != 0 ||
        memcmp(topic + head - 2, "/?", 2) != 0)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the topic \"%.*s\" is not that of a response",
                         (int)(size < 200 ? size : 200), topic);
    if (!read_number(topic + sizeof PREFIX - 1, 3, &status) || status < 100 || status > 599)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the response topic has no status from 100 to 599");
    parsed.status = (int)status;
    for (size_t at = head; at <= size;) {
        const char *end = at < size ? memchr(topic + at, '&', size - at) : NULL;
        size_t length = end ? (size_t)(end - topic) - at : size - at;
        kn_prov_code code = read_parameter(topic + at, length, &parsed, &seen_rid, &seen_retry, error);

        if (code)
            return code;
        at += length + 1;
    }
    if (!seen_rid)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the response topic has no \"$rid\"");
    *ret_topic = parsed;
    return KN_PROV_OK;
}

static size_t fitting(int length, size_t capacity)
{
    return length > 0 && (size_t)length < capacity ? (size_t)length : 0;
}

size_t prov_mqtt_topic_of_register(uint32_t request_id, char *buffer, size_t capacity)
{
    return fitting(snprintf(buffer, capacity, "$dps/registrations/PUT/iotdps-register/?$rid=%u", request_id),
                   capacity);
}

size_t prov_mqtt_topic_of_poll(uint32_t request_id, const char *operation_id, char *buffer, size_t capacity)
{
    char encoded[3 * PROV_OPERATION_ID_MAX + 1];

    if (!prov_percent_encode(operation_id, encoded, sizeof encoded))
        return 0;
    return fitting(snprintf(buffer, capacity,
                            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=%u&operationId=%s",
                            request_id, encoded),
                   capacity);
}
