#include "dps_api.h"

#include <string.h>

#include <cJSON.h>

#include "dps_enrollment_json.h"
#include "dps_json.h"
#include "dps_query.h"

static cJSON *to_json(const dps_registration *r)
{
    return dps_json_registration(r, dps_registration_status(r, dps_time_now_ms()));
}

static void get_one(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_registration r;
    if (!dps_api_allowed(request, DPS_API_REGISTRATION_READ, ret_response))
        return;
    dps_store_result result = dps_store_registration_get(dps_api_store(request), request->param[0], &r);
    if (result != DPS_STORE_OK) {
        dps_api_answer_result(request, result, "registration", ret_response);
        return;
    }
    dps_api_answer(ret_response, 200, to_json(&r), r.etag);
    dps_registration_clear(&r);
}

static void delete_one(const dps_http_request *request, dps_http_response *ret_response)
{
    char etag[DPS_ETAG_LEN];
    if (!dps_api_allowed(request, DPS_API_REGISTRATION_WRITE, ret_response) ||
        !dps_api_if_match(request, etag, ret_response))
        return;
    dps_store_result result =
        dps_store_registration_delete(dps_api_store(request), request->param[0], dps_api_wanted(etag));
    if (result == DPS_STORE_OK)
        ret_response->status = 204;
    else
        dps_api_answer_result(request, result, "registration", ret_response);
}

typedef struct listing {
    const char *group;
    const dps_query *query; /* NULL: all */
    dps_api_page page;
} listing;

static bool each(const dps_registration *r, void *user)
{
    listing *l = user;
    if (!dps_text_equal_nocase(r->group_id, strlen(r->group_id), l->group, strlen(l->group)))
        return true;
    cJSON *json = to_json(r);
    if (json != NULL && l->query != NULL && !dps_query_matches(l->query, json)) {
        cJSON_Delete(json);
        return true;
    }
    return dps_api_page_add(&l->page, r->id, json);
}

/* The C SDK sends no body: all registrations of the group. */
static bool read_query(const dps_http_request *request, dps_query **ret_query,
                       dps_http_response *ret_response)
{
    const char *problem = NULL;
    if (request->body.len == 0)
        return true;
    cJSON *root = dps_api_body(request, ret_response);
    if (root == NULL)
        return false;
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(root, "query");
    bool all = text == NULL || cJSON_IsNull(text) || (cJSON_IsString(text) && text->valuestring[0] == '\0');
    if (!all)
        *ret_query = dps_query_parse(dps_span_of(cJSON_IsString(text) ? text->valuestring : ""), &problem);
    if (*ret_query != NULL && dps_query_from(*ret_query) != DPS_QUERY_REGISTRATIONS)
        problem = "the query is not about registrations";
    cJSON_Delete(root);
    if (problem == NULL)
        return true;
    dps_query_free(ret_query);
    dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, problem);
    return false;
}

static void query(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_query *parsed = NULL;
    dps_enrollment group;
    listing l = {.group = request->param[0]};
    if (!dps_api_allowed(request, DPS_API_REGISTRATION_READ, ret_response))
        return;
    dps_store_result result = dps_store_enrollment_get(dps_api_store(request), true, l.group, &group);
    if (result != DPS_STORE_OK) {
        dps_api_answer_result(request, result, "enrollment group", ret_response);
        return;
    }
    dps_enrollment_clear(&group);
    if (!read_query(request, &parsed, ret_response))
        return;
    if (dps_api_page_begin(request, &l.page, ret_response)) {
        l.query = parsed;
        result = dps_store_registration_each(dps_api_store(request), l.page.after, each, &l);
        if (result != DPS_STORE_OK) {
            cJSON_Delete(l.page.items);
            dps_api_answer_result(request, result, "registration", ret_response);
        } else {
            dps_api_page_end(&l.page, "DeviceRegistration", ret_response);
        }
    }
    dps_query_free(&parsed);
}

const dps_http_route dps_api_registration_routes[] = {
    {"GET", "/registrations/*", get_one},
    {"DELETE", "/registrations/*", delete_one},
    {"POST", "/registrations/*/query", query},
    {NULL, NULL, NULL},
};
