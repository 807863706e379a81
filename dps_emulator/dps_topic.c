#include "dps_topic.h"

#include <stdio.h>
#include <string.h>

const char *dps_topic_err_text(dps_topic_err err)
{
    switch (err) {
    case DPS_TOPIC_OK:
        return "ok";
    case DPS_TOPIC_E_LENGTH:
        return "it is longer than 1024 bytes";
    case DPS_TOPIC_E_SHAPE:
        return "it is not <idScope>/registrations/<registrationId>/api-version=<version>";
    case DPS_TOPIC_E_UNKNOWN:
        return "it is not a topic of this service";
    case DPS_TOPIC_E_QUERY:
        return "a query parameter is malformed or given twice";
    case DPS_TOPIC_E_RID:
        return "$rid is missing or longer than 128 bytes";
    case DPS_TOPIC_E_OPERATION:
        return "operationId is missing or too long";
    }
    return "unknown error";
}

/* Splits @text at the first @separator; false when there is none. */
static bool split(dps_span text, char separator, dps_span *ret_head, dps_span *ret_tail)
{
    const char *at = text.len > 0 ? memchr(text.at, separator, text.len) : NULL;
    if (at == NULL)
        return false;
    size_t head = (size_t)(at - text.at);
    *ret_head = (dps_span){text.at, head};
    *ret_tail = (dps_span){at + 1, text.len - head - 1};
    return true;
}

typedef struct parameter {
    const char *name;
    dps_span *value;
    bool seen;
} parameter;

/* Reads name=value[&...]. Names that nobody asked for are passed over, as the cloud does. */
static bool parse_query(dps_span query, parameter *wanted, size_t count)
{
    while (query.len > 0) {
        dps_span pair, rest, name, value;
        if (!split(query, '&', &pair, &rest)) {
            pair = query;
            rest = (dps_span){query.at + query.len, 0};
        }
        query = rest;
        if (pair.len == 0)
            continue;
        if (!split(pair, '=', &name, &value) || name.len == 0)
            return false;
        for (size_t i = 0; i < count; i++) {
            if (!dps_span_is(name, wanted[i].name))
                continue;
            if (wanted[i].seen)
                return false;
            wanted[i].seen = true;
            *wanted[i].value = value;
        }
    }
    return true;
}

dps_topic_err dps_username_parse(dps_span text, dps_username *ret)
{
    dps_username user = {.api_version = {"", 0}, .client_version = {"", 0}};
    dps_span rest, word;
    if (text.len > DPS_USERNAME_MAX)
        return DPS_TOPIC_E_LENGTH;
    if (!split(text, '/', &user.id_scope, &rest) || !split(rest, '/', &word, &rest) ||
        !split(rest, '/', &user.registration_id, &rest))
        return DPS_TOPIC_E_SHAPE;
    if (user.id_scope.len == 0 || user.registration_id.len == 0 || !dps_span_is(word, "registrations"))
        return DPS_TOPIC_E_SHAPE;
    if (rest.len > 0 && rest.at[0] == '?') /* hub style; harmless */
        rest = (dps_span){rest.at + 1, rest.len - 1};
    parameter wanted[] = {
        {.name = "api-version", .value = &user.api_version},
        {.name = "ClientVersion", .value = &user.client_version},
    };
    if (!parse_query(rest, wanted, sizeof(wanted) / sizeof(wanted[0])))
        return DPS_TOPIC_E_QUERY;
    *ret = user;
    return DPS_TOPIC_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool percent_decode(dps_span text, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            if (text.len - i < 3)
                return false;
            int high = hex_digit(text.at[i + 1]);
            int low = hex_digit(text.at[i + 2]);
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n + 1 >= cap)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static const struct {
    const char *path;
    dps_topic_kind kind;
} topics[] = {
    {"$dps/registrations/PUT/iotdps-register/", DPS_TOPIC_REGISTER},
    {"$dps/registrations/GET/iotdps-get-operationstatus/", DPS_TOPIC_STATUS},
};

dps_topic_err dps_topic_parse(dps_span text, dps_topic *ret)
{
    if (text.len > DPS_TOPIC_MAX)
        return DPS_TOPIC_E_LENGTH;
    dps_span path, query;
    if (!split(text, '?', &path, &query))
        return DPS_TOPIC_E_UNKNOWN;
    size_t row = 0;
    const size_t rows = sizeof(topics) / sizeof(topics[0]);
    while (row < rows && !dps_span_is(path, topics[row].path))
        row++;
    if (row == rows)
        return DPS_TOPIC_E_UNKNOWN;

    dps_span rid = {"", 0}, operation = {"", 0};
    parameter wanted[] = {
        {.name = "$rid", .value = &rid},
        {.name = "operationId", .value = &operation},
    };
    bool query_ok = parse_query(query, wanted, sizeof(wanted) / sizeof(wanted[0]));
    bool rid_ok = rid.len > 0 && rid.len <= DPS_RID_MAX;
    *ret = (dps_topic){.kind = topics[row].kind, .rid = {rid_ok ? rid.at : "", rid_ok ? rid.len : 0}};
    if (!query_ok)
        return DPS_TOPIC_E_QUERY;
    if (!rid_ok)
        return DPS_TOPIC_E_RID;
    if (ret->kind == DPS_TOPIC_REGISTER)
        return DPS_TOPIC_OK;
    if (operation.len == 0)
        return DPS_TOPIC_E_OPERATION;
    if (!percent_decode(operation, ret->operation_id, sizeof(ret->operation_id))) {
        ret->operation_id[0] = '\0';
        return DPS_TOPIC_E_OPERATION;
    }
    return DPS_TOPIC_OK;
}

void dps_topic_response(char ret_topic[DPS_RES_TOPIC_LEN], int status, dps_span rid, unsigned retry_after_s)
{
    int n = snprintf(ret_topic, DPS_RES_TOPIC_LEN, "$dps/registrations/res/%d/?$rid=%.*s", status,
                     (int)rid.len, rid.at);
    if (retry_after_s > 0 && n > 0 && n < DPS_RES_TOPIC_LEN)
        snprintf(ret_topic + n, DPS_RES_TOPIC_LEN - (size_t)n, "&retry-after=%u", retry_after_s);
}
