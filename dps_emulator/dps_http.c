#include "dps_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_api.h"
#include "dps_json.h"

const dps_http_table dps_http_tables[] = {
    {.kind = DPS_HTTP_DEVICE, .routes = dps_http_device_routes},
    {.kind = DPS_HTTP_SERVICE, .routes = dps_api_enrollment_routes},
    {.kind = DPS_HTTP_SERVICE, .routes = dps_api_registration_routes},
    {.kind = DPS_HTTP_SERVICE, .routes = dps_api_certificate_routes},
    {.kind = DPS_HTTP_HUB, .routes = dps_http_hub_routes},
};
const size_t dps_http_table_count = sizeof(dps_http_tables) / sizeof(dps_http_tables[0]);

typedef enum match {
    MATCH_NO,
    MATCH_YES,
    MATCH_BAD_SEGMENT, /* the shape fits, but a segment cannot be decoded */
} match;

/* The text up to the next '/' or the end. */
static dps_span segment(dps_span *rest)
{
    const char *slash = rest->len > 0 ? memchr(rest->at, '/', rest->len) : NULL;
    dps_span head = {rest->at, slash != NULL ? (size_t)(slash - rest->at) : rest->len};
    *rest = slash != NULL ? (dps_span){slash + 1, rest->len - head.len - 1} : (dps_span){NULL, 0};
    return head;
}

/* Compares segment by segment: a trailing '/' is one more, empty segment. */
static match match_path(const char *pattern, dps_span path, char param[][DPS_HTTP_PARAM_LEN])
{
    dps_span wanted = dps_span_of(pattern + 1);
    dps_span given = {path.at + 1, path.len - 1};
    size_t params = 0;
    match result = MATCH_YES;
    for (;;) {
        dps_span w = segment(&wanted);
        dps_span g = segment(&given);
        if (dps_span_is(w, "*")) {
            if (g.len == 0 || params == DPS_HTTP_PARAMS_MAX)
                return MATCH_NO;
            if (!dps_http_decode(g, param[params++], DPS_HTTP_PARAM_LEN))
                result = MATCH_BAD_SEGMENT;
        } else if (!dps_text_equal_nocase(w.at, w.len, g.at, g.len)) {
            return MATCH_NO;
        }
        if (wanted.at == NULL || given.at == NULL)
            return wanted.at == given.at ? result : MATCH_NO;
    }
}

static void add_allowed(char *allow, size_t cap, const char *method)
{
    size_t used = strlen(allow);
    snprintf(allow + used, cap - used, "%s%s", used > 0 ? ", " : "", method);
}

void dps_http_dispatch(dps_http_request *request, dps_http_response *ret_response)
{
    char allow[128] = "";
    for (size_t t = 0; t < dps_http_table_count; t++) {
        for (const dps_http_route *route = dps_http_tables[t].routes; route->method != NULL; route++) {
            match m = match_path(route->pattern, request->head->path, request->param);
            if (m == MATCH_NO)
                continue;
            if (!dps_span_is(request->head->method, route->method)) {
                add_allowed(allow, sizeof(allow), route->method);
                continue;
            }
            if (m == MATCH_YES)
                route->handle(request, ret_response);
            else
                dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                                      "A part of the path is too long, or its %xx cannot be decoded");
            return;
        }
    }
    if (allow[0] != '\0') {
        dps_http_answer_code(ret_response, 405, 405000, "Method not allowed");
        dps_http_add_header(ret_response, "Allow", allow);
    } else {
        dps_http_answer_code(ret_response, 404, 404000, "Nothing is served at this path");
    }
}

dps_span dps_http_header(const dps_http_request *request, const char *name)
{
    return dps_http_field_get(request->head, name);
}

void dps_http_answer_json(dps_http_response *response, int status, char *json)
{
    dps_http_response_clear(response);
    if (json == NULL)
        return;
    response->status = status;
    response->body = json;
    response->body_len = strlen(json);
}

void dps_http_answer_code(dps_http_response *response, int status, int error_code, const char *message)
{
    char code[16];
    snprintf(code, sizeof(code), "%d", error_code);
    dps_http_answer_json(response, status, dps_json_error(error_code, message, dps_time_now_ms()));
    dps_http_add_header(response, "x-ms-error-code", code);
}

void dps_http_answer_error(dps_http_response *response, dps_error error, const char *message)
{
    dps_http_answer_code(response, dps_errors[error].status, dps_errors[error].code, message);
}

void dps_http_add_header(dps_http_response *response, const char *name, const char *value)
{
    dps_http_add_named_header(response, "", name, value);
}

void dps_http_add_named_header(dps_http_response *response, const char *prefix, const char *name,
                               const char *value)
{
    const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    if (response->extra_count == DPS_HTTP_EXTRA_MAX || strspn(name, allowed) != strlen(name))
        return;
    const size_t len = strlen(prefix) + strlen(name) + 1;
    dps_http_extra extra = {malloc(len), strdup(value)};
    if (extra.name == NULL || extra.value == NULL) {
        free(extra.name);
        free(extra.value);
        return;
    }
    snprintf(extra.name, len, "%s%s", prefix, name);
    response->extra[response->extra_count++] = extra;
}

void dps_http_response_clear(dps_http_response *response)
{
    free(response->body);
    for (size_t i = 0; i < response->extra_count; i++) {
        free(response->extra[i].name);
        free(response->extra[i].value);
    }
    *response = (dps_http_response){0};
}
