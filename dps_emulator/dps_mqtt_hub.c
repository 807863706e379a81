#include "dps_mqtt_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_http_codec.h"
#include "dps_log.h"

#define EVENTS      "/messages/events"
#define DEVICEBOUND "/messages/devicebound/"
#define TWIN_GET    "$iothub/twin/GET/"
#define TWIN_PATCH  "$iothub/twin/PATCH/properties/reported/"
#define METHODS     "$iothub/methods/"

enum { SUBACK_FAILURE = 0x80, NAME_LEN = 256, VALUE_LEN = 2048, RID_MAX = 128 };

bool dps_hub_username_parse(dps_span text, dps_hub_username *ret)
{
    const char *first = text.len > 0 ? memchr(text.at, '/', text.len) : NULL;
    if (first == NULL || first == text.at)
        return false;
    dps_hub_username user = {.hub = {text.at, (size_t)(first - text.at)}};
    dps_span rest = {first + 1, text.len - user.hub.len - 1};
    const char *second = rest.len > 0 ? memchr(rest.at, '/', rest.len) : NULL;
    user.device = (dps_span){rest.at, second != NULL ? (size_t)(second - rest.at) : rest.len};
    if (user.device.len == 0)
        return false;
    size_t skip = user.device.len + (second != NULL ? 1 : 0);
    dps_span query = {rest.at + skip, rest.len - skip};
    if (query.len > 0 && query.at[0] != '?' && memchr(query.at, '/', query.len) != NULL)
        return false;
    *ret = user;
    return true;
}

static bool add_pair(cJSON *object, dps_span pair)
{
    char name[NAME_LEN], value[VALUE_LEN] = "";
    const char *equals = memchr(pair.at, '=', pair.len);
    dps_span key = {pair.at, equals != NULL ? (size_t)(equals - pair.at) : pair.len};
    if (!dps_http_decode(key, name, sizeof(name)) || name[0] == '\0' ||
        !dps_utf8_valid((const uint8_t *)name, strlen(name)))
        return false;
    if (equals != NULL &&
        (!dps_http_decode((dps_span){equals + 1, pair.len - key.len - 1}, value, sizeof(value)) ||
         !dps_utf8_valid((const uint8_t *)value, strlen(value))))
        return false;
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    return cJSON_AddStringToObject(object, name, value) != NULL;
}

char *dps_hub_bag_to_json(dps_span bag)
{
    cJSON *object = bag.len <= DPS_MQTT_HUB_TOPIC_MAX ? cJSON_CreateObject() : NULL;
    bool ok = object != NULL;
    while (ok && bag.len > 0) {
        const char *end = memchr(bag.at, '&', bag.len);
        dps_span pair = {bag.at, end != NULL ? (size_t)(end - bag.at) : bag.len};
        size_t skip = end != NULL ? pair.len + 1 : pair.len;
        bag = (dps_span){bag.at + skip, bag.len - skip};
        ok = pair.len == 0 || add_pair(object, pair);
    }
    char *text = ok ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    return text;
}

/* Appends percent-encoded; everything but letters, digits and "-._~" is. */
static bool put_encoded(char *out, size_t cap, size_t *n, const char *text)
{
    static const char plain[] = "-._~";
    static const char hex[] = "0123456789ABCDEF";
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool keep = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr(plain, c) != NULL;
        if (*n + 4 > cap)
            return false;
        if (keep) {
            out[(*n)++] = (char)c;
        } else {
            out[(*n)++] = '%';
            out[(*n)++] = hex[c >> 4];
            out[(*n)++] = hex[c & 15];
        }
    }
    out[*n] = '\0';
    return true;
}

char *dps_hub_bag_from_json(const char *json)
{
    cJSON *object = cJSON_Parse(json);
    char *out = cJSON_IsObject(object) ? calloc(1, DPS_MQTT_HUB_TOPIC_MAX) : NULL;
    bool ok = out != NULL;
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const char *value = cJSON_GetStringValue(item);
        if (!ok || value == NULL)
            continue;
        if (n > 0)
            out[n++] = '&';
        ok = put_encoded(out, DPS_MQTT_HUB_TOPIC_MAX - 2, &n, item->string);
        if (ok) {
            out[n++] = '=';
            ok = put_encoded(out, DPS_MQTT_HUB_TOPIC_MAX - 2, &n, value);
        }
    }
    cJSON_Delete(object);
    if (!ok) {
        free(out);
        return NULL;
    }
    return out;
}

/* "devices/<id>" and @tail, for this device. @ret_rest: what follows. */
static bool of_device(const dps_mqtt_hub *h, dps_span topic, const char *tail, dps_span *ret_rest)
{
    static const char head[] = "devices/";
    size_t id = strlen(h->device.id);
    size_t n = sizeof(head) - 1 + id + strlen(tail);
    if (topic.len < n || memcmp(topic.at, head, sizeof(head) - 1) != 0 ||
        !dps_text_equal_nocase(topic.at + sizeof(head) - 1, id, h->device.id, id) ||
        memcmp(topic.at + sizeof(head) - 1 + id, tail, strlen(tail)) != 0)
        return false;
    *ret_rest = (dps_span){topic.at + n, topic.len - n};
    return true;
}

static bool starts_with(dps_span topic, const char *head, dps_span *ret_rest)
{
    size_t n = strlen(head);
    if (topic.len < n || memcmp(topic.at, head, n) != 0)
        return false;
    *ret_rest = (dps_span){topic.at + n, topic.len - n};
    return true;
}

/* Which switch a filter turns; NULL: none. */
static bool *switch_of(dps_mqtt_hub *h, dps_span filter)
{
    dps_span rest;
    if (dps_span_is(filter, "$iothub/twin/res/#"))
        return &h->twin_answers;
    if (dps_span_is(filter, "$iothub/twin/PATCH/properties/desired/#"))
        return &h->patches;
    if (of_device(h, filter, DEVICEBOUND, &rest) && dps_span_is(rest, "#"))
        return &h->messages;
    return NULL;
}

uint8_t dps_mqtt_hub_subscribe(dps_mqtt_hub *h, dps_span filter, uint8_t qos)
{
    uint8_t granted = qos > 1 ? 1 : qos;
    bool *on = switch_of(h, filter);
    if (on == NULL) /* direct methods: nobody calls one here, so the subscription is true and silent */
        return dps_span_is(filter, METHODS "POST/#") ? granted : SUBACK_FAILURE;
    if (on == &h->messages) {
        h->messages_qos = granted;
        h->last_message = 0; /* what was not acknowledged comes again */
        memset(h->in_flight, 0, sizeof(h->in_flight));
    }
    if (on == &h->patches) {
        char *twin = dps_hub_twin(h->hub, &h->device, &h->desired_version);
        if (twin == NULL)
            return SUBACK_FAILURE;
        free(twin);
    }
    *on = true;
    return granted;
}

void dps_mqtt_hub_unsubscribe(dps_mqtt_hub *h, dps_span filter)
{
    bool *on = switch_of(h, filter);
    if (on != NULL)
        *on = false;
}

static const char *on_event(dps_mqtt_hub *h, dps_span bag, dps_span body)
{
    if (bag.len > 0 && bag.at[0] == '/')
        bag = (dps_span){bag.at + 1, bag.len - 1};
    if (bag.len > 0 && bag.at[0] == '?')
        bag = (dps_span){bag.at + 1, bag.len - 1};
    char *properties = dps_hub_bag_to_json(bag);
    if (properties == NULL)
        return "the properties of a message cannot be read";
    bool ok = dps_hub_receive(h->hub, &h->device, h->transport, properties, body);
    free(properties);
    return ok ? NULL : "a message is larger than 262144 bytes, or cannot be written";
}

/* "?$rid=<rid>" */
static bool take_rid(dps_span rest, char rid[RID_MAX + 1])
{
    return rest.len > 0 && rest.at[0] == '?' &&
           dps_http_query_get((dps_span){rest.at + 1, rest.len - 1}, "$rid", rid, RID_MAX + 1) &&
           strpbrk(rid, "#+") == NULL;
}

static void answer_twin(dps_mqtt_hub *h, const dps_mqtt_emit *emit, int status, const char *rid,
                        int64_t version, const char *body)
{
    char topic[RID_MAX + 96], tail[48] = "";
    uint16_t packet_id;
    if (!h->twin_answers)
        return;
    if (version > 0)
        snprintf(tail, sizeof(tail), "&$version=%lld", (long long)version);
    snprintf(topic, sizeof(topic), "$iothub/twin/res/%d/?$rid=%s%s", status, rid, tail);
    (void)emit->publish(emit->user, topic, dps_span_of(body), 0, &packet_id);
}

static const char *on_twin_get(dps_mqtt_hub *h, dps_span rest, const dps_mqtt_emit *emit)
{
    char rid[RID_MAX + 1];
    if (!take_rid(rest, rid))
        return "a twin is asked for without $rid";
    char *twin = dps_hub_twin(h->hub, &h->device, NULL);
    answer_twin(h, emit, twin != NULL ? 200 : 500, rid, 0, twin != NULL ? twin : "");
    free(twin);
    return NULL;
}

static const char *on_twin_patch(dps_mqtt_hub *h, dps_span rest, dps_span body, const dps_mqtt_emit *emit)
{
    char rid[RID_MAX + 1];
    const char *problem = "";
    int64_t version = 0;
    if (!take_rid(rest, rid))
        return "a twin is patched without $rid";
    int status = dps_hub_twin_patch(h->hub, &h->device, DPS_TWIN_REPORTED, body, &version, &problem);
    if (status == 200)
        answer_twin(h, emit, 204, rid, version, "");
    else
        answer_twin(h, emit, status, rid, 0, "");
    return NULL;
}

const char *dps_mqtt_hub_publish(dps_mqtt_hub *h, const dps_mqtt_publish *publish, const dps_mqtt_emit *emit)
{
    dps_span rest;
    if (publish->topic.len > DPS_MQTT_HUB_TOPIC_MAX)
        return "a topic is longer than 8192 bytes";
    if (of_device(h, publish->topic, EVENTS, &rest) && (rest.len == 0 || rest.at[0] == '/'))
        return on_event(h, rest, publish->payload);
    if (starts_with(publish->topic, TWIN_GET, &rest))
        return on_twin_get(h, rest, emit);
    if (starts_with(publish->topic, TWIN_PATCH, &rest))
        return on_twin_patch(h, rest, publish->payload, emit);
    return "PUBLISH to a topic that the hub does not have";
}

void dps_mqtt_hub_acked(dps_mqtt_hub *h, uint16_t packet_id)
{
    for (size_t i = 0; i < DPS_MQTT_HUB_IN_FLIGHT; i++) {
        if (h->in_flight[i].packet_id != packet_id || packet_id == 0)
            continue;
        h->in_flight[i].packet_id = 0;
        if (dps_hub_message_delete(h->hub->store, h->device.id, h->in_flight[i].message_id) ==
            DPS_STORE_FAILED)
            dps_log(DPS_LOG_ERROR, "a message cannot be removed: %s", dps_hub_store_message(h->hub->store));
        return;
    }
}

static size_t free_slot(const dps_mqtt_hub *h)
{
    size_t i = 0;
    while (i < DPS_MQTT_HUB_IN_FLIGHT && h->in_flight[i].packet_id != 0)
        i++;
    return i;
}

/* "devices/<id>/messages/devicebound/%24.mid=...&%24.to=...&<properties>" */
static bool send_message(dps_mqtt_hub *h, const dps_hub_message *m, size_t slot, const dps_mqtt_emit *emit)
{
    const size_t cap = 2 * DPS_MQTT_HUB_TOPIC_MAX;
    uint16_t packet_id = 0;
    char *bag = dps_hub_bag_from_json(m->properties);
    char *topic = bag != NULL ? malloc(cap) : NULL;
    bool ok = topic != NULL;
    if (ok) {
        snprintf(topic, cap,
                 "devices/%s" DEVICEBOUND
                 "%%24.mid=%s&%%24.to=%%2Fdevices%%2F%s%%2Fmessages%%2FdeviceBound%s%s",
                 h->device.id, m->message_id, h->device.id, bag[0] != '\0' ? "&" : "", bag);
        ok = emit->publish(emit->user, topic, (dps_span){(const char *)m->body.bytes, m->body.len},
                           h->messages_qos, &packet_id);
    }
    free(topic);
    free(bag);
    if (!ok)
        return false;
    if (h->messages_qos == 0)
        return dps_hub_message_delete(h->hub->store, h->device.id, m->message_id) != DPS_STORE_FAILED;
    h->in_flight[slot].packet_id = packet_id;
    memcpy(h->in_flight[slot].message_id, m->message_id, sizeof(m->message_id));
    return true;
}

void dps_mqtt_hub_wake(dps_mqtt_hub *h, const dps_mqtt_emit *emit)
{
    dps_hub_message m;
    char *patch = NULL;
    int64_t version = 0;
    bool ok = true;
    while (ok && h->messages && emit->has_room(emit->user) && free_slot(h) < DPS_MQTT_HUB_IN_FLIGHT &&
           dps_hub_message_next(h->hub->store, h->device.id, h->last_message, &m) == DPS_STORE_OK) {
        h->last_message = m.id;
        ok = send_message(h, &m, free_slot(h), emit);
        dps_hub_message_clear(&m);
    }
    while (ok && h->patches && emit->has_room(emit->user) &&
           dps_hub_patch_next(h->hub->store, h->device.id, h->desired_version, &version, &patch) ==
               DPS_STORE_OK) {
        char topic[96];
        uint16_t packet_id;
        h->desired_version = version;
        snprintf(topic, sizeof(topic), "$iothub/twin/PATCH/properties/desired/?$version=%lld",
                 (long long)version);
        ok = emit->publish(emit->user, topic, dps_span_of(patch), 0, &packet_id);
        free(patch);
    }
}
