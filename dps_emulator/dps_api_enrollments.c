#include "dps_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_enrollment_json.h"
#include "dps_query.h"

static const char *noun(bool is_group)
{
    return is_group ? "enrollment group" : "enrollment";
}

/* With the state of the device, where it has one. */
static cJSON *to_json(dps_store *store, const dps_enrollment *e)
{
    dps_registration registration;
    if (e->is_group || dps_store_registration_get(store, e->id, &registration) != DPS_STORE_OK)
        return dps_enrollment_to_json(e, NULL);
    cJSON *json = dps_enrollment_to_json(e, &registration);
    dps_registration_clear(&registration);
    return json;
}

static void get_one(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    dps_enrollment e;
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_READ, ret_response))
        return;
    dps_store_result result =
        dps_store_enrollment_get(dps_api_store(request), is_group, request->param[0], &e);
    if (result != DPS_STORE_OK) {
        dps_api_answer_result(request, result, noun(is_group), ret_response);
        return;
    }
    dps_api_answer(ret_response, 200, to_json(dps_api_store(request), &e), e.etag);
    dps_enrollment_clear(&e);
}

static void get_mechanism(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    dps_enrollment e;
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_READ | DPS_API_ENROLLMENT_WRITE, ret_response))
        return;
    dps_store_result result =
        dps_store_enrollment_get(dps_api_store(request), is_group, request->param[0], &e);
    if (result != DPS_STORE_OK) {
        dps_api_answer_result(request, result, noun(is_group), ret_response);
        return;
    }
    dps_api_answer(ret_response, 200, dps_enrollment_mechanism(&e), NULL);
    dps_enrollment_clear(&e);
}

/* Which of the two a PUT is. */
typedef enum put_mode {
    PUT_CREATE, /* CONFLICT when it exists */
    PUT_UPDATE, /* @etag: what it must have, "" or "*" for any */
} put_mode;

typedef struct put_outcome {
    dps_store_result result;
    const char *problem; /* of the document; then result is meaningless */
    char holder[DPS_ID_LEN];
    dps_enrollment stored; /* when the result is OK */
} put_outcome;

static void write_one(dps_store *store, const cJSON *object, bool is_group, const char *id, put_mode mode,
                      const char *etag, put_outcome *ret)
{
    dps_enrollment before = {0};
    dps_enrollment e;
    *ret = (put_outcome){.result = dps_store_enrollment_get(store, is_group, id, &before)};
    bool exists = ret->result == DPS_STORE_OK;
    if (ret->result == DPS_STORE_FAILED)
        return;
    if (exists && mode == PUT_CREATE) {
        ret->result = DPS_STORE_CONFLICT;
    } else if (!exists && mode == PUT_UPDATE) {
        ret->result = DPS_STORE_NOT_FOUND;
    } else if (dps_enrollment_from_json(object, is_group, exists ? &before : NULL, &e, &ret->problem)) {
        e.updated_ms = dps_time_now_ms();
        e.created_ms = exists ? before.created_ms : e.updated_ms;
        if (exists)
            memcpy(e.id, before.id, sizeof(e.id)); /* as it was spelled first */
        if (!dps_random_etag(e.etag))
            ret->result = DPS_STORE_FAILED;
        else if (mode == PUT_UPDATE)
            ret->result = dps_store_enrollment_update(store, &e, dps_api_wanted(etag), ret->holder);
        else
            ret->result = dps_store_enrollment_add(store, &e, ret->holder);
        if (ret->result == DPS_STORE_OK)
            ret->stored = e;
        else
            dps_enrollment_clear(&e);
    }
    dps_enrollment_clear(&before);
}

/* A conflict about a certificate, not about the id. */
static bool about_certificate(const put_outcome *outcome, const char *id)
{
    return outcome->result == DPS_STORE_CONFLICT && outcome->holder[0] != '\0' &&
           !dps_text_equal_nocase(outcome->holder, strlen(outcome->holder), id, strlen(id));
}

static bool same_id(const cJSON *object, bool is_group, const char *id)
{
    const char *given =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, dps_enrollment_id_member(is_group)));
    return given != NULL && dps_text_equal_nocase(given, strlen(given), id, strlen(id));
}

static void put_one(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    char etag[DPS_ETAG_LEN];
    put_outcome outcome;
    const char *id = request->param[0];
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_WRITE, ret_response) ||
        !dps_api_if_match(request, etag, ret_response))
        return;
    cJSON *root = dps_api_body(request, ret_response);
    if (root == NULL)
        return;
    if (!same_id(root, is_group, id)) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                              "The id in the body is not the one of the path");
        cJSON_Delete(root);
        return;
    }
    write_one(dps_api_store(request), root, is_group, id, etag[0] != '\0' ? PUT_UPDATE : PUT_CREATE, etag,
              &outcome);
    cJSON_Delete(root);
    if (outcome.problem != NULL) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, outcome.problem);
    } else if (about_certificate(&outcome, id)) {
        char message[DPS_MESSAGE_LEN];
        snprintf(message, sizeof(message), "The enrollment group %.128s has this certificate",
                 outcome.holder);
        dps_http_answer_error(ret_response, DPS_ERR_CONFLICT, message);
    } else if (outcome.result != DPS_STORE_OK) {
        dps_api_answer_result(request, outcome.result, noun(is_group), ret_response);
    } else {
        dps_api_answer(ret_response, 200, to_json(dps_api_store(request), &outcome.stored),
                       outcome.stored.etag);
    }
    dps_enrollment_clear(&outcome.stored);
}

static void delete_one(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    char etag[DPS_ETAG_LEN];
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_WRITE, ret_response) ||
        !dps_api_if_match(request, etag, ret_response))
        return;
    dps_store_result result = dps_store_enrollment_delete(dps_api_store(request), is_group, request->param[0],
                                                          dps_api_wanted(etag));
    if (result == DPS_STORE_OK)
        ret_response->status = 204;
    else
        dps_api_answer_result(request, result, noun(is_group), ret_response);
}

/* Bulk. */

typedef enum bulk_mode {
    BULK_CREATE,
    BULK_UPDATE,
    BULK_UPDATE_IF_MATCH,
    BULK_DELETE,
    BULK_MODES,
} bulk_mode;

static const char *const bulk_names[BULK_MODES] = {
    [BULK_CREATE] = "create",
    [BULK_UPDATE] = "update",
    [BULK_UPDATE_IF_MATCH] = "updateIfMatchETag",
    [BULK_DELETE] = "delete",
};

static dps_error error_of(dps_store_result result)
{
    switch (result) {
    case DPS_STORE_NOT_FOUND:
        return DPS_ERR_REGISTRATION_UNKNOWN;
    case DPS_STORE_CONFLICT:
        return DPS_ERR_CONFLICT;
    case DPS_STORE_STALE:
        return DPS_ERR_STALE;
    case DPS_STORE_OK:
    case DPS_STORE_FAILED:
        break;
    }
    return DPS_ERR_INTERNAL;
}

/* What one enrollment of a bulk request came to: NULL, or an element of "errors". */
static bool bulk_one(dps_store *store, const cJSON *object, bool is_group, bulk_mode mode, cJSON *errors)
{
    char etag[DPS_ETAG_LEN] = "";
    const char *given = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "etag"));
    const char *id =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, dps_enrollment_id_member(is_group)));
    put_outcome outcome = {.problem = "The id is missing or not valid"};
    if (given != NULL)
        dps_api_bare_etag(dps_span_of(given), etag);
    if (id == NULL || dps_id_check(dps_span_of(id)) != DPS_ID_OK) {
        id = "";
    } else if (mode == BULK_DELETE) {
        outcome =
            (put_outcome){.result = dps_store_enrollment_delete(store, is_group, id, dps_api_wanted(etag))};
    } else if (mode == BULK_UPDATE_IF_MATCH && etag[0] == '\0') {
        outcome = (put_outcome){.result = DPS_STORE_STALE};
    } else {
        write_one(store, object, is_group, id, mode == BULK_CREATE ? PUT_CREATE : PUT_UPDATE,
                  mode == BULK_UPDATE_IF_MATCH ? etag : "", &outcome);
    }
    dps_enrollment_clear(&outcome.stored);
    if (outcome.problem == NULL && outcome.result == DPS_STORE_OK)
        return true;
    dps_error error = outcome.problem != NULL ? DPS_ERR_INVALID_ARGUMENT : error_of(outcome.result);
    static const char *const words[DPS_ERR_COUNT] = {
        [DPS_ERR_REGISTRATION_UNKNOWN] = "The enrollment does not exist",
        [DPS_ERR_CONFLICT] = "The enrollment, or its certificate, exists",
        [DPS_ERR_STALE] = "The enrollment has another ETag",
        [DPS_ERR_INTERNAL] = "Internal error",
    };
    cJSON *item = cJSON_CreateObject();
    if (cJSON_AddStringToObject(item, dps_enrollment_id_member(is_group), id) == NULL ||
        cJSON_AddNumberToObject(item, "errorCode", dps_errors[error].code) == NULL ||
        cJSON_AddStringToObject(item, "errorStatus",
                                outcome.problem != NULL ? outcome.problem : words[error]) == NULL ||
        !cJSON_AddItemToArray(errors, item)) {
        cJSON_Delete(item);
        return false;
    }
    return false;
}

static const char *bulk_problem(const cJSON *root, const cJSON *list, bulk_mode *ret_mode)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "mode"));
    size_t mode = 0;
    while (mode < BULK_MODES && (name == NULL || strcmp(bulk_names[mode], name) != 0))
        mode++;
    if (mode == BULK_MODES)
        return "mode is not create, update, updateIfMatchETag or delete";
    *ret_mode = (bulk_mode)mode;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) < 1 || cJSON_GetArraySize(list) > DPS_API_BULK_MAX)
        return "the list of enrollments is not an array of 1 to 10 objects";
    return NULL;
}

static void bulk(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    bulk_mode mode = BULK_CREATE;
    const cJSON *item;
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_WRITE, ret_response))
        return;
    cJSON *root = dps_api_body(request, ret_response);
    if (root == NULL)
        return;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, is_group ? "enrollmentGroups" : "enrollments");
    const char *problem = bulk_problem(root, list, &mode);
    if (problem != NULL) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, problem);
        cJSON_Delete(root);
        return;
    }
    bool all = true;
    cJSON *errors = cJSON_CreateArray();
    cJSON_ArrayForEach(item, list) all =
        bulk_one(dps_api_store(request), item, is_group, mode, errors) && all;
    cJSON *answer = cJSON_CreateObject();
    if (errors == NULL || cJSON_AddBoolToObject(answer, "isSuccessful", all) == NULL ||
        !cJSON_AddItemToObject(answer, "errors", errors)) {
        cJSON_Delete(errors);
        cJSON_Delete(answer);
        answer = NULL;
    }
    dps_api_answer(ret_response, 200, answer, NULL);
    cJSON_Delete(root);
}

/* Query. */

typedef struct listing {
    dps_store *store;
    const dps_query *query;
    dps_api_page page;
} listing;

static bool each(const dps_enrollment *e, void *user)
{
    listing *l = user;
    cJSON *json = to_json(l->store, e);
    if (json != NULL && !dps_query_matches(l->query, json)) {
        cJSON_Delete(json);
        return true;
    }
    return dps_api_page_add(&l->page, e->id, json);
}

static void query(const dps_http_request *request, bool is_group, dps_http_response *ret_response)
{
    listing l = {.store = dps_api_store(request)};
    const char *problem = NULL;
    if (!dps_api_allowed(request, DPS_API_ENROLLMENT_READ, ret_response))
        return;
    cJSON *root = dps_api_body(request, ret_response);
    if (root == NULL)
        return;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "query"));
    dps_query *parsed = dps_query_parse(dps_span_of(text != NULL ? text : ""), &problem);
    cJSON_Delete(root);
    if (parsed != NULL && dps_query_from(parsed) != (is_group ? DPS_QUERY_GROUPS : DPS_QUERY_ENROLLMENTS))
        problem = is_group ? "the query is not about enrollmentGroups" : "the query is not about enrollments";
    if (problem != NULL) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT, problem);
    } else if (dps_api_page_begin(request, &l.page, ret_response)) {
        l.query = parsed;
        dps_store_result result = dps_store_enrollment_each(l.store, is_group, l.page.after, each, &l);
        if (result != DPS_STORE_OK) {
            cJSON_Delete(l.page.items);
            dps_api_answer_result(request, result, noun(is_group), ret_response);
        } else {
            dps_api_page_end(&l.page, is_group ? "EnrollmentGroup" : "Enrollment", ret_response);
        }
    }
    dps_query_free(&parsed);
}

#define BOTH(name)                                                                                           \
    static void name##_enrollment(const dps_http_request *request, dps_http_response *ret_response)          \
    {                                                                                                        \
        name(request, false, ret_response);                                                                  \
    }                                                                                                        \
    static void name##_group(const dps_http_request *request, dps_http_response *ret_response)               \
    {                                                                                                        \
        name(request, true, ret_response);                                                                   \
    }

BOTH(get_one)
BOTH(put_one)
BOTH(delete_one)
BOTH(get_mechanism)
BOTH(bulk)
BOTH(query)

const dps_http_route dps_api_enrollment_routes[] = {
    {"GET", "/enrollments/*", get_one_enrollment},
    {"PUT", "/enrollments/*", put_one_enrollment},
    {"DELETE", "/enrollments/*", delete_one_enrollment},
    {"POST", "/enrollments", bulk_enrollment},
    {"POST", "/enrollments/", bulk_enrollment},
    {"POST", "/enrollments/query", query_enrollment},
    {"POST", "/enrollments/*/attestationmechanism", get_mechanism_enrollment},
    {"GET", "/enrollmentGroups/*", get_one_group},
    {"PUT", "/enrollmentGroups/*", put_one_group},
    {"DELETE", "/enrollmentGroups/*", delete_one_group},
    {"POST", "/enrollmentGroups", bulk_group},
    {"POST", "/enrollmentGroups/", bulk_group},
    {"POST", "/enrollmentGroups/query", query_group},
    {"POST", "/enrollmentGroups/*/attestationmechanism", get_mechanism_group},
    {NULL, NULL, NULL},
};
