#include "kn_cmd_enroll.h"
#include "kn_cmd_terminal.h"

#include "../prov_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LIMIT_S 300

static kn_exit fail(const char *what, kn_prov_code code, const prov_error *error)
{
    const char *next = kn_prov_error_of(code)->remedy;

    if (code == KN_PROV_E_UNAUTHORIZED)
        next = "check the connection string: its policy must be allowed this, and the clock of this machine must be right";
    else if (code == KN_PROV_E_NOT_ENROLLED)
        next = "keynym enroll list shows what there is";
    else if (code == KN_PROV_E_REFUSED)
        next = strstr(error->detail, "status 412")   ? "get it again: somebody has changed it meanwhile"
               : strstr(error->detail, "status 409") ? "it exists: use keynym enroll update"
                                                     : "correct what the service names";
    return kn_cmd_fail(kn_cmd_exit_of(code), what, next, "%s: %s", kn_prov_error_of(code)->sentence, error->detail);
}

kn_exit kn_enroll_open(const kn_cmd_args *args, kn_enroll *ret_enroll)
{
    kn_enroll e = {.args = args};
    prov_error error = {.detail = ""};
    unsigned limit_s = DEFAULT_LIMIT_S;
    const char *path = args->value[KN_OPT_CONNECTION];
    kn_exit status = kn_cmd_require(args, KN_OPT_CONNECTION);

    if (status == KN_EXIT_OK)
        status = kn_cmd_number(args, KN_OPT_TIMEOUT, 1, 86400, &limit_s);
    if (status == KN_EXIT_OK)
        status = kn_cmd_proxy_of(args, &e.proxy);
    if (status == KN_EXIT_OK)
        status = kn_cmd_read_secret(path, PROV_SERVICE_CONNECTION_MAX + 2, &e.connection_string);
    if (status == KN_EXIT_OK) {
        const prov_service_config config = {.connection_string = e.connection_string,
                                            .ca_file = args->value[KN_OPT_CA],
                                            .proxy = e.proxy.url,
                                            .proxy_user = e.proxy.user,
                                            .proxy_password = e.proxy.password,
                                            .timeout_ms = limit_s * 1000,
                                            .cancel = kn_cmd_catch_signals()};
        kn_prov_code code = prov_service_open(&config, &e.service, &error);

        if (code)
            status = fail(code == KN_PROV_E_ARGUMENT ? path : args->path, code, &error);
    }
    if (status == KN_EXIT_OK)
        *ret_enroll = e;
    else
        kn_enroll_close(&e);
    return status;
}

void kn_enroll_close(kn_enroll *e)
{
    prov_service_close(&e->service);
    kn_cmd_proxy_clear(&e->proxy);
    kn_cmd_wipe(&e->connection_string);
    kn_cmd_pass_signal_on();
}

kn_exit kn_enroll_ask(kn_enroll *e, const char *what, const prov_service_request *request, cJSON **ret_json)
{
    prov_service_answer answer;
    prov_error error = {.detail = ""};
    bool mine = kn_cmd_progress_begin(e->args, "waiting for the service");
    kn_prov_code code = prov_service_ask(e->service, request, &answer, &error);

    if (mine)
        kn_cmd_progress_end();
    *ret_json = NULL;
    if (code)
        return fail(what, code, &error);
    *ret_json = answer.json;
    return KN_EXIT_OK;
}

static bool add_all(cJSON *array, cJSON *page)
{
    cJSON *item;

    while ((item = cJSON_DetachItemFromArray(page, 0)) != NULL) {
        if (!cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

kn_exit kn_enroll_query(kn_enroll *e, const char *path, const char *query, cJSON **ret_array)
{
    char continuation[PROV_HTTP_HEADER_MAX] = "";
    cJSON *array = cJSON_CreateArray(), *asked = cJSON_CreateObject();
    char *body = asked && cJSON_AddStringToObject(asked, "query", query) ? cJSON_PrintUnformatted(asked) : NULL;
    kn_exit status = KN_EXIT_OK;

    if (!array || !body)
        status = kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    (void)kn_cmd_progress_begin(e->args, "waiting for the service");
    while (status == KN_EXIT_OK) {
        prov_service_answer answer;
        prov_error error = {.detail = ""};
        const prov_service_request request = {.method = "POST", .path = path, .body = body, .continuation = continuation};
        kn_prov_code code = prov_service_ask(e->service, &request, &answer, &error);

        if (code)
            status = fail(e->args->path, code, &error);
        else if (!cJSON_IsArray(answer.json) || !add_all(array, answer.json))
            status = kn_cmd_fail(KN_EXIT_FAILURE, e->args->path, NULL, "the answer is no list");
        memcpy(continuation, answer.continuation, sizeof continuation);
        prov_service_answer_clear(&answer);
        kn_cmd_progress("%d found", cJSON_GetArraySize(array));
        if (!*continuation)
            break;
    }
    kn_cmd_progress_end();
    cJSON_free(body);
    cJSON_Delete(asked);
    if (status == KN_EXIT_OK)
        *ret_array = array;
    else
        cJSON_Delete(array);
    return status;
}

const char *kn_enroll_kind(const kn_cmd_args *args)
{
    return args->value[KN_OPT_GROUP] ? "/enrollmentGroups" : "/enrollments";
}

const char *kn_enroll_id_member(const kn_cmd_args *args)
{
    return args->value[KN_OPT_GROUP] ? "enrollmentGroupId" : "registrationId";
}

kn_exit kn_enroll_path(const kn_cmd_args *args, const char *prefix, const char *suffix, char ret_path[KN_ENROLL_PATH_MAX])
{
    prov_error error = {.detail = ""};

    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "exactly one id is needed");
    if (prov_registration_id_check(args->operands[0], &error))
        return kn_cmd_fail(KN_EXIT_USAGE, args->path, "an id is 1 to 128 letters, digits and - . _ :", "%s", error.detail);
    (void)snprintf(ret_path, KN_ENROLL_PATH_MAX, "%s/%s%s", prefix, args->operands[0], suffix);
    return KN_EXIT_OK;
}

kn_exit kn_enroll_read_json(const char *path, cJSON **ret_json)
{
    static const prov_json_rules rules = {
        .what = "the file", .code = KN_PROV_E_ARGUMENT, .size_max = KN_ENROLL_FILE_MAX, .depth_max = 32};
    prov_error error = {.detail = ""};
    char *text = NULL;
    kn_exit status = kn_cmd_read_text(path, KN_ENROLL_FILE_MAX, &text);

    if (status == KN_EXIT_OK && prov_json_parse(&rules, text, strlen(text), ret_json, &error))
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "correct the file", "%s", error.detail);
    kn_cmd_wipe(&text); /* it may hold keys */
    return status;
}
