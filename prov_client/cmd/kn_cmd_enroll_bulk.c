/* keynym enroll bulk: many enrollments of a file, ten in each request, which is what the service takes. */
#include "kn_cmd_enroll.h"
#include "kn_cmd_terminal.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return text ? text : "?";
}

/* The service names those that it refused. */
static bool take_errors(const kn_cmd_args *args, const cJSON *answer, cJSON *errors)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(answer, "errors")) {
        cJSON *copy = cJSON_Duplicate(item, true);

        if (!copy || !cJSON_AddItemToArray(errors, copy)) {
            cJSON_Delete(copy);
            return false;
        }
        const cJSON *number = cJSON_GetObjectItemCaseSensitive(item, "errorCode");
        const char *id = text_of(item, cJSON_HasObjectItem(item, "registrationId") ? "registrationId" : "enrollmentGroupId");
        kn_cmd_progress_hide();
        (void)fprintf(stderr, "keynym: %s: %s: error code %.0f: %s\n", args->path, id,
                      cJSON_IsNumber(number) ? cJSON_GetNumberValue(number) : 0.0, text_of(item, "errorStatus"));
        kn_cmd_progress_show();
    }
    return true;
}

/* Moves up to ten from the front of @list into a request, and asks. */
static kn_exit send_some(kn_enroll *e, cJSON *list, const char *path, cJSON *errors)
{
    const char *member = e->args->value[KN_OPT_GROUP] ? "enrollmentGroups" : "enrollments";
    cJSON *body = cJSON_CreateObject(), *some = NULL, *answer = NULL, *item;
    char *text = NULL;
    bool good = body && kn_cmd_json_text(body, "mode", e->args->value[KN_OPT_MODE]) &&
                (some = cJSON_AddArrayToObject(body, member)) != NULL;
    kn_exit status;

    for (unsigned n = 0; good && n < PROV_SERVICE_BULK_MAX && (item = cJSON_DetachItemFromArray(list, 0)) != NULL; n++) {
        good = cJSON_AddItemToArray(some, item);
        if (!good)
            cJSON_Delete(item);
    }
    text = good ? cJSON_PrintUnformatted(body) : NULL;
    status = text ? kn_enroll_ask(e, e->args->path, &(prov_service_request){.method = "POST", .path = path, .body = text},
                                  &answer)
                  : kn_cmd_fail(KN_EXIT_FAILURE, e->args->path, NULL, "out of memory");
    if (status == KN_EXIT_OK && !take_errors(e->args, answer, errors))
        status = kn_cmd_fail(KN_EXIT_FAILURE, e->args->path, NULL, "out of memory");
    kn_cmd_wipe(&text); /* cJSON uses malloc(); it may hold keys */
    cJSON_Delete(answer);
    cJSON_Delete(body);
    return status;
}

static kn_exit report(const kn_cmd_args *args, int total, int sent, cJSON *errors)
{
    int refused = cJSON_GetArraySize(errors);
    cJSON *json;
    kn_exit status = KN_EXIT_OK;

    if (args->value[KN_OPT_JSON]) {
        json = cJSON_CreateObject();
        if (!json || !cJSON_AddNumberToObject(json, "total", total) || !cJSON_AddNumberToObject(json, "sent", sent) ||
            !cJSON_AddItemReferenceToObject(json, "errors", errors)) {
            cJSON_Delete(json);
            json = NULL;
        }
        status = kn_cmd_print_json(json);
        cJSON_Delete(json);
    } else if (!args->value[KN_OPT_QUIET]) {
        (void)printf("%d of %d done\n", sent - refused, total);
        status = kn_cmd_flush();
    }
    if (status == KN_EXIT_OK && refused)
        return kn_cmd_fail(KN_EXIT_FAILURE, args->path, "correct those that are named, and send them again", "%d of %d were refused",
                           refused, total);
    return status;
}

static kn_exit run(const kn_cmd_args *args)
{
    kn_enroll e;
    cJSON *list = NULL, *errors = NULL;
    int total, sent = 0;
    char path[64];
    kn_exit status = kn_cmd_require(args, KN_OPT_MODE);

    if (status)
        return status;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one file is needed");
    if ((status = kn_enroll_read_json(args->operands[0], &list)))
        return status;
    total = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (total == 0) {
        cJSON_Delete(list);
        return kn_cmd_fail(KN_EXIT_USAGE, args->operands[0], "put a JSON array of enrollments into it", "holds no enrollments");
    }
    (void)snprintf(path, sizeof path, "%s/", kn_enroll_kind(args));
    status = kn_enroll_open(args, &e);
    if (status == KN_EXIT_OK) {
        errors = cJSON_CreateArray();
        (void)kn_cmd_progress_begin(args, "sending enrollments");
        while (status == KN_EXIT_OK && cJSON_GetArraySize(list) > 0) {
            status = send_some(&e, list, path, errors);
            sent = total - cJSON_GetArraySize(list);
            kn_cmd_progress("%d of %d", sent, total);
        }
        kn_cmd_progress_end();
        if (status == KN_EXIT_OK)
            status = report(args, total, sent, errors);
        kn_enroll_close(&e);
    }
    cJSON_Delete(errors);
    cJSON_Delete(list);
    return status;
}

static const kn_opt options[] = {KN_ENROLL_OPTIONS, KN_OPT_GROUP, KN_OPT_MODE, KN_OPT_QUIET, KN_OPT_COUNT};

const kn_cmd kn_cmd_enroll_bulk = {
    .name = "bulk",
    .summary = "create, update or delete many",
    .synopsis = "--connection FILE --mode MODE [OPTIONS] FILE",
    .description = "Sends the enrollments of a JSON array, ten in each request, in their order. Those that the service refuses\n"
                   "are named and the others are done; the exit status is 1 then.\n",
    .options = options,
    .operands_max = 1,
    .run = run,
};
