#include "dps_amqp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/crypto.h>

#include "dps_http_codec.h"
#include "dps_log.h"

enum { TOKEN_MAX = 4096, CBS_MESSAGE_MAX = 8 * 1024, TWIN_MESSAGE_MAX = 64 * 1024 };

/* "devices/<id>" and @tail, without case, as the clients spell it in several ways. */
static bool match_device(const char *address, const char *tail, dps_amqp_link *link)
{
    static const char head[] = "devices/";
    const size_t n = sizeof(head) - 1;
    size_t len = strlen(address);
    size_t end = strlen(tail);
    if (len <= n + end || !dps_text_equal_nocase(address, n, head, n) ||
        !dps_text_equal_nocase(address + len - end, end, tail, end))
        return false;
    snprintf(link->first, sizeof(link->first), "%.*s", (int)(len - n - end), address + n);
    return strchr(link->first, '/') == NULL; /* no modules */
}

static bool match_events(dps_amqp_session *session, const char *address, dps_amqp_link *link)
{
    return session->host->hub != NULL && !link->sends && match_device(address, "/messages/events", link);
}

static bool match_messages(dps_amqp_session *session, const char *address, dps_amqp_link *link)
{
    return session->host->hub != NULL && link->sends && match_device(address, "/messages/devicebound", link);
}

static bool match_twin(dps_amqp_session *session, const char *address, dps_amqp_link *link)
{
    return session->host->hub != NULL && match_device(address, "/twin", link);
}

static bool match_cbs(dps_amqp_session *session, const char *address, dps_amqp_link *link)
{
    (void)link;
    return session->host->hub != NULL && strcmp(address, "$cbs") == 0;
}

/* By its certificate, or by the token that came to $cbs before. The hub's name is that of OPEN. */
static bool attach(dps_amqp_session *s, dps_amqp_link *link, const char **ret_condition)
{
    char reason[DPS_MESSAGE_LEN];
    const char *host = pn_connection_remote_hostname(s->driver.connection);
    bool mine = dps_text_equal_nocase(s->hub_device, strlen(s->hub_device), link->first, strlen(link->first));
    const char *token = mine && s->hub_token != NULL ? s->hub_token : "";
    if (dps_hub_admit(s->host->hub, s->peer, dps_span_of(host != NULL ? host : ""), dps_span_of(link->first),
                      dps_span_of(token), &link->device, reason))
        return true;
    dps_log(DPS_LOG_WARN, "%s: device \"%s\" refused by the hub: %s", s->peer->address, link->first, reason);
    *ret_condition = "amqp:unauthorized-access";
    return false;
}

static bool add_text(cJSON *object, const char *name, pn_bytes_t value)
{
    if (!dps_utf8_valid((const uint8_t *)value.start, value.size))
        return false;
    char *text = strndup(value.start, value.size);
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    bool ok = text != NULL && cJSON_AddStringToObject(object, name, text) != NULL;
    free(text);
    return ok;
}

/* The application properties that are strings. */
static bool add_application(cJSON *object, pn_data_t *data)
{
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP)
        return true;
    size_t pairs = pn_data_get_map(data) / 2;
    bool ok = true;
    pn_data_enter(data);
    for (size_t i = 0; ok && i < pairs && pn_data_next(data); i++) {
        pn_bytes_t key = pn_data_get_string(data);
        char name[256];
        bool usable =
            key.size > 0 && key.size < sizeof(name) && dps_utf8_valid((const uint8_t *)key.start, key.size);
        if (usable)
            snprintf(name, sizeof(name), "%.*s", (int)key.size, key.start);
        if (!pn_data_next(data))
            break;
        if (usable && pn_data_type(data) == PN_STRING)
            ok = add_text(object, name, pn_data_get_string(data));
    }
    pn_data_exit(data);
    return ok;
}

static char *properties_of(pn_message_t *message)
{
    cJSON *object = cJSON_CreateObject();
    bool ok = object != NULL;
    const char *type = pn_message_get_content_type(message);
    const char *encoding = pn_message_get_content_encoding(message);
    pn_msgid_t id = pn_message_get_id(message);
    pn_msgid_t correlation = pn_message_get_correlation_id(message);
    if (ok && id.type == PN_STRING)
        ok = add_text(object, "$.mid", id.u.as_bytes);
    if (ok && correlation.type == PN_STRING)
        ok = add_text(object, "$.cid", correlation.u.as_bytes);
    if (ok && type != NULL && type[0] != '\0')
        ok = add_text(object, "$.ct", pn_bytes(strlen(type), type));
    if (ok && encoding != NULL && encoding[0] != '\0')
        ok = add_text(object, "$.ce", pn_bytes(strlen(encoding), encoding));
    ok = ok && add_application(object, pn_message_properties(message));
    char *text = ok ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    return text;
}

static void receive_event(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    char *properties = properties_of(s->message);
    if (properties == NULL)
        dps_amqp_reject(delivery, 400, "A property is not UTF-8", 0);
    else if (dps_hub_receive(s->host->hub, &link->device, s->transport, properties,
                             dps_amqp_body(s->message)))
        dps_amqp_accept(delivery);
    else
        dps_amqp_reject(delivery, 500, "The message cannot be written", 0);
    free(properties);
}

static void refuse_message(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    (void)s;
    (void)link;
    dps_amqp_reject(delivery, 400, "This link is for the other direction", 0);
}

/* "hub%2Fdevices%2Fid", encoded or not. */
static bool parse_audience(const char *name, char *hub, size_t hub_cap, char *device, size_t device_cap)
{
    char decoded[DPS_AMQP_ADDRESS_LEN];
    static const char middle[] = "/devices/";
    if (!dps_http_decode(dps_span_of(name), decoded, sizeof(decoded)))
        return false;
    char *at = strstr(decoded, middle);
    if (at == NULL || (size_t)(at - decoded) >= hub_cap || strlen(at + sizeof(middle) - 1) >= device_cap)
        return false;
    *at = '\0';
    memcpy(hub, decoded, strlen(decoded) + 1);
    memcpy(device, at + sizeof(middle) - 1, strlen(at + sizeof(middle) - 1) + 1);
    return true;
}

/* Judges the token and keeps it for the links that follow. */
static int put_token(dps_amqp_session *s, const char **ret_description)
{
    char name[DPS_AMQP_ADDRESS_LEN], hub[DPS_HUB_LEN], operation[32], reason[DPS_MESSAGE_LEN];
    char device[DPS_AMQP_ADDRESS_LEN];
    dps_hub_device admitted;
    dps_span token = dps_amqp_body(s->message);
    *ret_description = "Bad request: put-token with name, type and a token as body is expected";
    if (!dps_amqp_property(s->message, "operation", operation, sizeof(operation)) ||
        strcmp(operation, "put-token") != 0 || !dps_amqp_property(s->message, "name", name, sizeof(name)) ||
        !parse_audience(name, hub, sizeof(hub), device, sizeof(device)) || token.len == 0 ||
        token.len > TOKEN_MAX || memchr(token.at, '\0', token.len) != NULL)
        return 400;
    *ret_description = "Unauthorized";
    if (!dps_hub_admit(s->host->hub, s->peer, dps_span_of(hub), dps_span_of(device), token, &admitted,
                       reason)) {
        dps_log(DPS_LOG_WARN, "%s: device \"%s\" refused by the hub: %s", s->peer->address, device, reason);
        return 401;
    }
    char *kept = strndup(token.at, token.len);
    if (kept == NULL)
        return 500;
    if (s->hub_token != NULL)
        OPENSSL_cleanse(s->hub_token, strlen(s->hub_token));
    free(s->hub_token);
    s->hub_token = kept;
    memcpy(s->hub_device, device, sizeof(device));
    *ret_description = "OK";
    return 200;
}

static void receive_token(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    static const char code[] = "status-code";
    static const char description[] = "status-description";
    const char *text = NULL;
    int status = put_token(s, &text);
    pn_link_t *sender = dps_amqp_sender_for(s, link);
    if (sender == NULL || !dps_amqp_begin_answer(s, true)) {
        dps_amqp_reject(delivery, 400, "There is no link for the answer", 0);
        return;
    }
    pn_data_t *properties = pn_message_properties(s->message);
    pn_data_put_map(properties);
    pn_data_enter(properties);
    pn_data_put_string(properties, pn_bytes(sizeof(code) - 1, code));
    pn_data_put_int(properties, status);
    pn_data_put_string(properties, pn_bytes(sizeof(description) - 1, description));
    pn_data_put_string(properties, pn_bytes(strlen(text), text));
    pn_data_exit(properties);
    if (dps_amqp_send(s, sender))
        dps_amqp_accept(delivery);
}

/* A value of the message annotations, which are keyed by symbols. */
static bool annotation(pn_message_t *message, const char *name, char *out, size_t cap)
{
    pn_data_t *data = pn_message_annotations(message);
    bool found = false;
    pn_data_rewind(data);
    if (!pn_data_next(data) || pn_data_type(data) != PN_MAP)
        return false;
    size_t pairs = pn_data_get_map(data) / 2;
    pn_data_enter(data);
    for (size_t i = 0; i < pairs && !found && pn_data_next(data); i++) {
        pn_bytes_t key = pn_data_get_symbol(data);
        bool same = key.size == strlen(name) && memcmp(key.start, name, key.size) == 0;
        if (!pn_data_next(data))
            break;
        pn_bytes_t value =
            pn_data_type(data) == PN_SYMBOL ? pn_data_get_symbol(data) : pn_data_get_string(data);
        if (!same || value.start == NULL || value.size >= cap)
            continue;
        snprintf(out, cap, "%.*s", (int)value.size, value.start);
        found = true;
    }
    pn_data_exit(data);
    return found;
}

static void put_annotation(pn_data_t *data, const char *name, int64_t value)
{
    pn_data_put_symbol(data, pn_bytes(strlen(name), name));
    if (strcmp(name, "version") == 0)
        pn_data_put_long(data, value);
    else
        pn_data_put_int(data, (int32_t)value);
}

/* What the twin link is asked for; one row per operation and resource. */
static int twin_request(dps_amqp_session *s, const dps_amqp_link *link, dps_amqp_link *out, char **ret_body,
                        int64_t *ret_version)
{
    char operation[16] = "", resource[96] = "";
    const char *problem = "";
    bool desired, reported;
    if (!annotation(s->message, "operation", operation, sizeof(operation)))
        return 400;
    if (!annotation(s->message, "resource", resource, sizeof(resource)))
        resource[0] = '\0';
    desired = strcmp(resource, "/notifications/twin/properties/desired") == 0;
    reported = strcmp(resource, "/properties/reported") == 0;
    if (strcmp(operation, "GET") == 0) {
        *ret_body = dps_hub_twin(s->host->hub, &link->device, NULL);
        return *ret_body != NULL ? 200 : 500;
    }
    if (strcmp(operation, "PATCH") == 0 && reported)
        return dps_hub_twin_patch(s->host->hub, &link->device, DPS_TWIN_REPORTED, dps_amqp_body(s->message),
                                  ret_version, &problem);
    if (strcmp(operation, "PUT") == 0 && desired) {
        char *twin = dps_hub_twin(s->host->hub, &link->device, &out->position);
        out->follows = twin != NULL;
        free(twin);
        return out->follows ? 200 : 500;
    }
    if (strcmp(operation, "DELETE") == 0 && desired) {
        out->follows = false;
        return 200;
    }
    return 400;
}

static void receive_twin(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    pn_link_t *sender = dps_amqp_sender_for(s, link);
    char *body = NULL;
    int64_t version = 0;
    if (sender == NULL) {
        dps_amqp_reject(delivery, 400, "There is no link for the answer", 0);
        return;
    }
    int status = twin_request(s, link, pn_link_get_context(sender), &body, &version);
    if (!dps_amqp_begin_answer(s, false)) {
        free(body);
        dps_amqp_reject(delivery, 400, "The correlation id is longer than 128 bytes", 0);
        return;
    }
    pn_data_t *annotations = pn_message_annotations(s->message);
    pn_data_put_map(annotations);
    pn_data_enter(annotations);
    put_annotation(annotations, "status", status);
    if (version > 0)
        put_annotation(annotations, "version", version);
    pn_data_exit(annotations);
    pn_message_set_inferred(s->message, true);
    const char *text = body != NULL ? body : "";
    pn_data_put_binary(pn_message_body(s->message), pn_bytes(strlen(text), text));
    if (dps_amqp_send(s, sender))
        dps_amqp_accept(delivery);
    free(body);
}

/* A change of the desired properties has no correlation id. */
static void ready_twin(dps_amqp_session *s, dps_amqp_link *link)
{
    char *patch = NULL;
    int64_t version = 0;
    while (link->follows && pn_link_credit(link->link) > 0 &&
           dps_hub_patch_next(s->host->hub->store, link->device.id, link->position, &version, &patch) ==
               DPS_STORE_OK) {
        link->position = version;
        pn_message_clear(s->message);
        pn_message_set_inferred(s->message, true);
        pn_data_put_binary(pn_message_body(s->message), pn_bytes(strlen(patch), patch));
        pn_data_t *annotations = pn_message_annotations(s->message);
        pn_data_put_map(annotations);
        pn_data_enter(annotations);
        put_annotation(annotations, "version", version);
        pn_data_exit(annotations);
        bool ok = dps_amqp_send(s, link->link);
        free(patch);
        pn_message_clear(s->message);
        if (!ok)
            return;
    }
}

static void put_properties(pn_message_t *message, const char *json)
{
    cJSON *object = cJSON_Parse(json);
    pn_data_t *data = pn_message_properties(message);
    const cJSON *item;
    pn_data_put_map(data);
    pn_data_enter(data);
    cJSON_ArrayForEach(item, object)
    {
        const char *value = cJSON_GetStringValue(item);
        if (value == NULL)
            continue;
        if (strcmp(item->string, "$.ct") == 0) {
            pn_message_set_content_type(message, value);
        } else if (strcmp(item->string, "$.ce") == 0) {
            pn_message_set_content_encoding(message, value);
        } else if (item->string[0] != '$') {
            pn_data_put_string(data, pn_bytes(strlen(item->string), item->string));
            pn_data_put_string(data, pn_bytes(strlen(value), value));
        }
    }
    pn_data_exit(data);
    cJSON_Delete(object);
}

/* Messages stay in the queue until the device settles them; the delivery's context names which one. */
static void ready_messages(dps_amqp_session *s, dps_amqp_link *link)
{
    dps_hub_message m;
    while (pn_link_credit(link->link) > 0 &&
           dps_hub_message_next(s->host->hub->store, link->device.id, link->position, &m) == DPS_STORE_OK) {
        char to[DPS_ID_LEN + 40];
        link->position = m.id;
        pn_message_clear(s->message);
        pn_message_set_inferred(s->message, true);
        pn_message_set_id(
            s->message,
            (pn_msgid_t){.type = PN_STRING, .u.as_bytes = pn_bytes(strlen(m.message_id), m.message_id)});
        snprintf(to, sizeof(to), "/devices/%s/messages/deviceBound", link->device.id);
        pn_message_set_address(s->message, to);
        put_properties(s->message, m.properties);
        pn_data_put_binary(pn_message_body(s->message), pn_bytes(m.body.len, (const char *)m.body.bytes));
        bool ok = dps_amqp_send_tagged(s, link->link, m.message_id);
        dps_hub_message_clear(&m);
        pn_message_clear(s->message);
        if (!ok)
            return;
    }
}

/* Accepted or rejected, the message is done; released or modified, it comes again. */
static void settled_message(dps_amqp_session *s, dps_amqp_link *link, pn_delivery_t *delivery)
{
    char id[DPS_UUID_LEN];
    pn_delivery_tag_t tag = pn_delivery_tag(delivery);
    uint64_t state = pn_delivery_remote_state(delivery);
    if (tag.size >= sizeof(id))
        return;
    snprintf(id, sizeof(id), "%.*s", (int)tag.size, tag.start);
    if (state != PN_ACCEPTED && state != PN_REJECTED)
        link->position = 0;
    else if (dps_hub_message_delete(s->host->hub->store, link->device.id, id) == DPS_STORE_FAILED)
        dps_log(DPS_LOG_ERROR, "a message cannot be removed: %s", dps_hub_store_message(s->host->hub->store));
}

const dps_amqp_node dps_amqp_cbs_node = {
    .match = match_cbs,
    .receive = receive_token,
    .message_max = CBS_MESSAGE_MAX,
};

const dps_amqp_node dps_amqp_events_node = {
    .match = match_events,
    .attach = attach,
    .receive = receive_event,
    .message_max = DPS_HUB_EVENT_MAX + DPS_AMQP_FRAME_MAX,
};

const dps_amqp_node dps_amqp_messages_node = {
    .match = match_messages,
    .attach = attach,
    .receive = refuse_message,
    .ready = ready_messages,
    .settled = settled_message,
    .message_max = DPS_HUB_MESSAGE_MAX + DPS_AMQP_FRAME_MAX,
};

const dps_amqp_node dps_amqp_twin_node = {
    .match = match_twin,
    .attach = attach,
    .receive = receive_twin,
    .ready = ready_twin,
    .message_max = TWIN_MESSAGE_MAX,
};
