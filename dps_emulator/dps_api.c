#include "dps_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_json.h"
#include "dps_log.h"
#include "dps_sas.h"
#include "dps_service.h"

static const char *const versions[] = {"2018-04-01", "2018-09-01-preview", "2019-03-31", "2021-06-01",
                                       "2021-10-01"};

static const struct {
    const char *name;
    unsigned rights;
} policies[] = {
    {"provisioningserviceowner", DPS_API_ENROLLMENT_READ | DPS_API_ENROLLMENT_WRITE |
                                     DPS_API_REGISTRATION_READ | DPS_API_REGISTRATION_WRITE |
                                     DPS_API_SERVICE_CONFIG},
    {"enrollmentread", DPS_API_ENROLLMENT_READ | DPS_API_REGISTRATION_READ},
    {"enrollmentwrite", DPS_API_ENROLLMENT_READ | DPS_API_ENROLLMENT_WRITE | DPS_API_REGISTRATION_READ |
                            DPS_API_REGISTRATION_WRITE},
    {"registrationstatusread", DPS_API_REGISTRATION_READ},
    {"registrationstatuswrite", DPS_API_REGISTRATION_READ | DPS_API_REGISTRATION_WRITE},
};

dps_store *dps_api_store(const dps_http_request *request)
{
    return dps_service_store(request->host->service);
}

/* The key that a token names, when it signed it. Returns its rights, 0 for none. */
static unsigned rights_of(dps_store *store, const dps_sas *sas)
{
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        dps_service_key key;
        if (strcmp(policies[i].name, sas->key_name) != 0)
            continue;
        if (dps_store_service_key_get(store, sas->key_name, &key) != DPS_STORE_OK)
            return 0;
        bool ok = dps_sas_signed_by(sas, key.primary.bytes, key.primary.len) ||
                  dps_sas_signed_by(sas, key.secondary.bytes, key.secondary.len);
        dps_service_key_clear(&key);
        return ok ? policies[i].rights : 0;
    }
    return 0;
}

/* The host that the client called, without its port. */
static void host_of(const dps_http_request *request, char *out, size_t cap)
{
    dps_span host = dps_http_header(request, "host");
    size_t n = host.len;
    if (n > 0 && host.at[0] == '[') { /* an IPv6 address */
        const char *end = memchr(host.at, ']', n);
        n = end != NULL ? (size_t)(end - host.at) + 1 : n;
    } else if (n > 0) {
        const char *colon = memchr(host.at, ':', n);
        n = colon != NULL ? (size_t)(colon - host.at) : n;
    }
    snprintf(out, cap, "%.*s", (int)(n < cap ? n : cap - 1), host.at != NULL ? host.at : "");
}

/* False: answered, or the connection ends. */
static bool on_demand(const dps_http_request *request, dps_http_response *ret_response)
{
    dps_fault_plan plan;
    char seconds[16];
    dps_faults_pick(dps_service_faults(request->host->service), DPS_STEP_SERVICE, (dps_span){"", 0}, &plan);
    if (request->peer->gate != NULL) {
        request->peer->gate->drop = request->peer->gate->drop || plan.drop_before;
        request->peer->gate->delay_ms += plan.delay_ms;
    }
    if (plan.status == 0 && !plan.drop_before)
        return true;
    int status = plan.status != 0 ? plan.status : 500;
    dps_http_answer_code(ret_response, status,
                         status == 429 ? dps_errors[DPS_ERR_THROTTLED].code : status * 1000 + 1,
                         plan.message);
    snprintf(seconds, sizeof(seconds), "%u", plan.retry_after_s);
    if (plan.retry_after_s > 0)
        dps_http_add_header(ret_response, "Retry-After", seconds);
    return false;
}

bool dps_api_allowed(const dps_http_request *request, unsigned right, dps_http_response *ret_response)
{
    char version[DPS_VERSION_LEN] = "";
    char host[DPS_SAS_RESOURCE_MAX];
    dps_sas sas;
    bool known = dps_http_query_get(request->head->query, "api-version", version, sizeof(version));
    bool listed = false;
    if (!on_demand(request, ret_response))
        return false;
    for (size_t i = 0; known && i < sizeof(versions) / sizeof(versions[0]); i++)
        listed = listed || strcmp(version, versions[i]) == 0;
    if (!listed) {
        dps_http_answer_error(
            ret_response, DPS_ERR_API_VERSION,
            "Unsupported api-version; 2018-04-01, 2019-03-31, 2021-06-01 and 2021-10-01 are known");
        return false;
    }
    host_of(request, host, sizeof(host));
    dps_span token = dps_http_header(request, "authorization");
    dps_sas_verdict verdict = token.len > 0 ? dps_sas_parse(token, &sas) : DPS_SAS_MALFORMED;
    if (verdict == DPS_SAS_OK) {
        char *port = strchr(sas.decoded, ':');
        if (port != NULL && sas.decoded[0] != '[') /* a connection string may have it; the name counts */
            *port = '\0';
        verdict = dps_sas_check(&sas, host, dps_time_served_ms());
    }
    unsigned rights = verdict == DPS_SAS_OK ? rights_of(dps_api_store(request), &sas) : 0;
    if (verdict == DPS_SAS_OK && rights == 0)
        verdict = DPS_SAS_WRONG_SIGNATURE;
    if (verdict == DPS_SAS_OK && (rights & right) == right)
        return true;
    dps_log(DPS_LOG_WARN, "%s: service API: %s", request->peer->address,
            verdict != DPS_SAS_OK ? dps_sas_verdict_text(verdict) : "the key has not the right for this");
    dps_http_answer_error(ret_response, DPS_ERR_UNAUTHORIZED,
                          token.len == 0          ? "Unauthorized: there is no SAS token"
                          : verdict != DPS_SAS_OK ? dps_sas_verdict_text(verdict)
                                                  : "Unauthorized: the key has not the right for this");
    return false;
}

void dps_api_answer_result(const dps_http_request *request, dps_store_result result, const char *what,
                           dps_http_response *ret_response)
{
    char message[DPS_MESSAGE_LEN];
    switch (result) {
    case DPS_STORE_OK:
    case DPS_STORE_FAILED:
        dps_log(DPS_LOG_ERROR, "service API: %s", dps_store_message(dps_api_store(request)));
        dps_http_answer_error(ret_response, DPS_ERR_INTERNAL, "Internal error");
        return;
    case DPS_STORE_NOT_FOUND:
        snprintf(message, sizeof(message), "The %s does not exist", what);
        dps_http_answer_error(ret_response, DPS_ERR_REGISTRATION_UNKNOWN, message);
        return;
    case DPS_STORE_CONFLICT:
        snprintf(message, sizeof(message), "The %s exists; use If-Match to change it", what);
        dps_http_answer_error(ret_response, DPS_ERR_CONFLICT, message);
        return;
    case DPS_STORE_STALE:
        snprintf(message, sizeof(message), "The %s has another ETag than If-Match", what);
        dps_http_answer_error(ret_response, DPS_ERR_STALE, message);
        return;
    }
}

void dps_api_bare_etag(dps_span text, char ret_etag[DPS_ETAG_LEN])
{
    if (text.len >= 2 && text.at[0] == '"' && text.at[text.len - 1] == '"')
        text = (dps_span){text.at + 1, text.len - 2};
    if (text.len >= DPS_ETAG_LEN)
        text.len = 0;
    if (text.len > 0)
        memcpy(ret_etag, text.at, text.len);
    ret_etag[text.len] = '\0';
}

bool dps_api_if_match(const dps_http_request *request, char ret_etag[DPS_ETAG_LEN],
                      dps_http_response *ret_response)
{
    dps_span field = dps_http_header(request, "if-match");
    dps_api_bare_etag(field, ret_etag);
    if (field.len == 0 || ret_etag[0] != '\0')
        return true;
    dps_http_answer_error(ret_response, DPS_ERR_STALE, "If-Match is no ETag of this service");
    return false;
}

const char *dps_api_wanted(const char *etag)
{
    return etag[0] == '\0' || strcmp(etag, "*") == 0 ? NULL : etag;
}

cJSON *dps_api_body(const dps_http_request *request, dps_http_response *ret_response)
{
    const char *problem = NULL;
    cJSON *root = dps_json_parse(request->body, &problem);
    if (root == NULL)
        dps_http_answer_error(ret_response, DPS_ERR_BAD_REQUEST, problem);
    return root;
}

void dps_api_answer(dps_http_response *response, int status, cJSON *json, const char *etag)
{
    char quoted[DPS_ETAG_LEN + 2];
    dps_http_answer_json(response, status, dps_json_print(json));
    if (etag != NULL) {
        snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
        dps_http_add_header(response, "ETag", quoted);
    }
}

/* The text in a continuation token says what it is for. */
static bool read_continuation(dps_span token, char ret_after[DPS_ID_LEN])
{
    static const char head[] = "after:";
    const size_t n = sizeof(head) - 1;
    dps_blob decoded = {0};
    if (!dps_base64_decode(token, DPS_ID_MAX + n, &decoded))
        return false;
    bool ok = decoded.len > n && memcmp(decoded.bytes, head, n) == 0;
    if (ok) {
        dps_span id = {(const char *)decoded.bytes + n, decoded.len - n};
        ok = dps_id_check(id) == DPS_ID_OK;
        if (ok) {
            memcpy(ret_after, id.at, id.len);
            ret_after[id.len] = '\0';
        }
    }
    dps_blob_clear(&decoded);
    return ok;
}

bool dps_api_page_begin(const dps_http_request *request, dps_api_page *ret_page,
                        dps_http_response *ret_response)
{
    dps_api_page page = {.max = DPS_API_PAGE_DEFAULT};
    dps_span count = dps_http_header(request, "x-ms-max-item-count");
    dps_span token = dps_http_header(request, "x-ms-continuation");
    if (count.len > 0) {
        page.max = 0;
        for (size_t i = 0; i < count.len && i < 6; i++)
            page.max = count.at[i] >= '0' && count.at[i] <= '9' ? page.max * 10 + (size_t)(count.at[i] - '0')
                                                                : 1000000;
        if (count.len > 5 || page.max == 0 || page.max > DPS_API_PAGE_MAX) {
            dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                                  "x-ms-max-item-count is not a number of 1..1000");
            return false;
        }
    }
    if (token.len > 0 && !read_continuation(token, page.after)) {
        dps_http_answer_error(ret_response, DPS_ERR_INVALID_ARGUMENT,
                              "x-ms-continuation is no token of this service");
        return false;
    }
    page.items = cJSON_CreateArray();
    *ret_page = page;
    return true;
}

bool dps_api_page_add(dps_api_page *page, const char *id, cJSON *item)
{
    if (page->count == page->max) {
        page->more = true;
        cJSON_Delete(item);
        return false;
    }
    if (item == NULL || !cJSON_AddItemToArray(page->items, item)) {
        cJSON_Delete(item);
        cJSON_Delete(page->items);
        page->items = NULL;
        return false;
    }
    page->count++;
    snprintf(page->last, sizeof(page->last), "%s", id);
    return true;
}

void dps_api_page_end(dps_api_page *page, const char *type, dps_http_response *ret_response)
{
    char text[DPS_ID_LEN + 8];
    bool more = page->more;
    dps_api_answer(ret_response, 200, page->items, NULL);
    page->items = NULL;
    dps_http_add_header(ret_response, "x-ms-item-type", type);
    if (!more)
        return;
    int n = snprintf(text, sizeof(text), "after:%s", page->last);
    char *token = dps_base64_encode(text, (size_t)n);
    if (token != NULL)
        dps_http_add_header(ret_response, "x-ms-continuation", token);
    free(token);
}
