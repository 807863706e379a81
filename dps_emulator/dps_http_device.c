#include "dps_http.h"

#include <stdio.h>
#include <string.h>

#include "dps_service.h"

enum {
    PARAM_SCOPE,
    PARAM_REGISTRATION,
    PARAM_OPERATION,
};

/* Header values that the device chose come back in no answer; a host name does, so it has to be one. */
static void add_location(const dps_http_request *request, const dps_response *answer,
                         dps_http_response *ret_response)
{
    char location[1024];
    dps_span host = dps_http_header(request, "host");
    if (answer->operation_id[0] == '\0')
        return;
    int n = snprintf(location, sizeof(location), "https://%.*s/%s/registrations/%s/operations/%s", (int)host.len,
                     host.at, request->param[PARAM_SCOPE], request->param[PARAM_REGISTRATION],
                     answer->operation_id);
    if (n > 0 && (size_t)n < sizeof(location)) /* no host name is that long */
        dps_http_add_header(ret_response, "Location", location);
}

static void answer(const dps_http_request *request, dps_response *from, dps_http_response *ret_response)
{
    char number[16];
    dps_http_answer_json(ret_response, from->status, from->body);
    from->body = NULL; /* taken */
    if (from->error_code != 0) {
        snprintf(number, sizeof(number), "%d", from->error_code);
        dps_http_add_header(ret_response, "x-ms-error-code", number);
    }
    if (from->retry_after_s > 0) {
        snprintf(number, sizeof(number), "%u", from->retry_after_s);
        dps_http_add_header(ret_response, "Retry-After", number);
    }
    if (from->status == 202)
        add_location(request, from, ret_response);
    dps_response_clear(from);
}

/* C SDK: "UserAgent"; everybody else as RFC 9110 has it. */
static dps_span user_agent(const dps_http_request *request)
{
    dps_span agent = dps_http_header(request, "user-agent");
    return agent.len > 0 ? agent : dps_http_header(request, "useragent");
}

static void serve(const dps_http_request *request, const char *operation_id, dps_http_response *ret_response)
{
    char version[DPS_VERSION_LEN] = "";
    if (!dps_http_query_get(request->head->query, "api-version", version, sizeof(version)))
        version[0] = '\0'; /* missing, twice or too long: the service says that it knows no such version */
    dps_response response = {0};
    const dps_request r = {
        .transport = "https",
        .id_scope = dps_span_of(request->param[PARAM_SCOPE]),
        .registration_id = dps_span_of(request->param[PARAM_REGISTRATION]),
        .api_version = dps_span_of(version),
        .client_version = user_agent(request),
        .sas = dps_http_header(request, "authorization"),
        .body = request->body,
        .operation_id = operation_id,
    };
    if (operation_id == NULL)
        dps_service_register(request->host->service, request->peer, &r, &response);
    else
        dps_service_status(request->host->service, request->peer, &r, &response);
    answer(request, &response, ret_response);
}

static void put_register(const dps_http_request *request, dps_http_response *ret_response)
{
    serve(request, NULL, ret_response);
}

/* npm's client sends a body "{}" with its GET: it is read and not looked at. */
static void get_operation(const dps_http_request *request, dps_http_response *ret_response)
{
    serve(request, request->param[PARAM_OPERATION], ret_response);
}

const dps_http_route dps_http_device_routes[] = {
    {"PUT", "/*/registrations/*/register", put_register},
    {"GET", "/*/registrations/*/operations/*", get_operation},
    {NULL, NULL, NULL},
};
