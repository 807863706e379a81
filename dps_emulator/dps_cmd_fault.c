#include "dps_cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cJSON.h>

#include "dps_faults.h"
#include "dps_file.h"
#include "dps_json.h"
#include "dps_state.h"

static const char help_add[] =
    "fault add --dir STATE --kind KIND [OPTION]...\n"
    "\n"
    "Makes a running or later server misbehave. The faults are in STATE/faults.json, which is read again "
    "whenever it\n"
    "changes.\n"
    "\n"
    "  --dir STATE        state folder\n"
    "  --kind KIND        throttle (429), error (5xx), drop (the connection), delay (the answer), malformed "
    "(JSON), fail\n"
    "                     (the assignment), stuck (it stays assigning), wrong-certificate, clock-skew\n"
    "  --step STEP        request (register and status; the default), register, status, admit "
    "(authentication at\n"
    "                     connect), connect (before TLS), handshake (after it), service (the service API)\n"
    "  --id ID            only for this registration id\n"
    "  --percent N        only N of a hundred times, at random\n"
    "  --count N          only the next N times\n"
    "  --after            drop: do what was asked for, and lose the answer\n"
    "  --status N         error: 500..599 (default 500)\n"
    "  --retry-after S    throttle, error: seconds (default 5 with throttle)\n"
    "  --delay MS         delay: milliseconds\n"
    "  --error-code N     fail: registrationState.errorCode (default 400208)\n"
    "  --message TEXT     throttle, error, fail: message\n"
    "  --skew S           clock-skew: seconds that the service's clock is ahead; negative: behind\n"
    "  --certificate C    wrong-certificate: wrong-name (the default), expired or untrusted\n"
    "  --help             this text\n";

static const char help_list[] = "fault list --dir STATE\n"
                                "\n"
                                "Shows the faults on demand as JSON.\n"
                                "\n"
                                "  --dir STATE   state folder\n"
                                "  --help        this text\n";

static const char help_clear[] = "fault clear --dir STATE\n"
                                 "\n"
                                 "Removes all faults on demand.\n"
                                 "\n"
                                 "  --dir STATE   state folder\n"
                                 "  --help        this text\n";

static bool path_of(const char *dir, char ret_path[DPS_PATH_LEN], dps_fail *fail)
{
    dps_state state;
    if (!dps_state_open(dir, false, &state, fail))
        return false;
    bool ok = dps_state_path(&state, DPS_FAULTS_NAME, ret_path, fail);
    dps_state_close(&state);
    return ok;
}

/* The file as JSON, or a new one. */
static cJSON *read_faults(const char *path, dps_fail *fail)
{
    dps_blob file = {0};
    dps_fault_rule *rules = calloc(DPS_FAULTS_MAX, sizeof(*rules));
    size_t count = 0;
    const char *problem = NULL;
    cJSON *root = NULL;
    if (access(path, F_OK) != 0) {
        root = cJSON_CreateObject();
        if (cJSON_AddArrayToObject(root, "faults") == NULL)
            dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    } else if (rules != NULL && dps_file_read(path, DPS_FAULTS_FILE_MAX, &file, fail)) {
        dps_span text = {(const char *)file.bytes, file.len};
        if (dps_faults_parse(text, rules, &count, fail))
            root = dps_json_parse(text, &problem);
    }
    dps_blob_clear(&file);
    free(rules);
    return root;
}

/* In one step, so that the server never sees half a file. Deletes @root. */
static bool write_faults(const char *path, cJSON *root, dps_fail *fail)
{
    char temporary[DPS_PATH_LEN + 16];
    dps_fault_rule *rules = calloc(DPS_FAULTS_MAX, sizeof(*rules));
    size_t count = 0;
    char *text = dps_json_print(root);
    bool ok = text != NULL && rules != NULL;
    if (!ok)
        dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    ok = ok && dps_faults_parse(dps_span_of(text), rules, &count, fail);
    if (ok) {
        snprintf(temporary, sizeof(temporary), "%s.new", path);
        unlink(temporary); /* of a command that was killed */
        ok = dps_file_write_secret(temporary, text, fail);
        if (ok && rename(temporary, path) != 0)
            ok =
                dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write \"%s\": %s; check the rights of the folder",
                             path, strerror(errno));
    }
    free(text);
    free(rules);
    return ok;
}

typedef struct add_options {
    const char *dir, *kind, *step, *id, *percent, *count, *status, *retry_after, *delay, *error_code,
        *message, *skew, *certificate;
    bool after;
} add_options;

static bool add_number(cJSON *rule, const char *name, const char *text)
{
    long number = 0;
    bool negative = text != NULL && text[0] == '-';
    if (text == NULL)
        return true;
    return dps_cmd_number(negative ? text + 1 : text, 0, 999999999, &number) &&
           cJSON_AddNumberToObject(rule, name, (double)(negative ? -number : number)) != NULL;
}

static bool add_text(cJSON *rule, const char *name, const char *text)
{
    return text == NULL || cJSON_AddStringToObject(rule, name, text) != NULL;
}

static cJSON *rule_of(const add_options *o)
{
    cJSON *rule = cJSON_CreateObject();
    if (add_text(rule, "kind", o->kind) && add_text(rule, "step", o->step) &&
        add_text(rule, "registrationId", o->id) && add_number(rule, "percent", o->percent) &&
        add_number(rule, "count", o->count) && add_number(rule, "status", o->status) &&
        add_number(rule, "retryAfterS", o->retry_after) && add_number(rule, "delayMs", o->delay) &&
        add_number(rule, "errorCode", o->error_code) && add_text(rule, "message", o->message) &&
        add_number(rule, "skewS", o->skew) && add_text(rule, "certificate", o->certificate) &&
        (!o->after || cJSON_AddTrueToObject(rule, "after") != NULL))
        return rule;
    cJSON_Delete(rule);
    return NULL;
}

static int run_add(const dps_cmd *cmd, int argc, char **argv)
{
    add_options o = {0};
    const dps_opt opts[] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "kind", .value = &o.kind, .required = true},
        {.name = "step", .value = &o.step},
        {.name = "id", .value = &o.id},
        {.name = "percent", .value = &o.percent},
        {.name = "count", .value = &o.count},
        {.name = "after", .flag = &o.after},
        {.name = "status", .value = &o.status},
        {.name = "retry-after", .value = &o.retry_after},
        {.name = "delay", .value = &o.delay},
        {.name = "error-code", .value = &o.error_code},
        {.name = "message", .value = &o.message},
        {.name = "skew", .value = &o.skew},
        {.name = "certificate", .value = &o.certificate},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    char path[DPS_PATH_LEN];
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    cJSON *rule = rule_of(&o);
    if (rule == NULL)
        return dps_cmd_usage(cmd, "a number is not one, or there is no memory");
    cJSON *root = path_of(o.dir, path, &fail) ? read_faults(path, &fail) : NULL;
    if (root == NULL) {
        cJSON_Delete(rule);
        return dps_cmd_failed(cmd, &fail);
    }
    if (!cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(root, "faults"), rule)) {
        cJSON_Delete(rule);
        cJSON_Delete(root);
        root = NULL;
    }
    if (!write_faults(path, root, &fail))
        return dps_cmd_failed(cmd, &fail);
    printf("fault \"%s\" added\n", o.kind);
    return DPS_EXIT_OK;
}

static int run_list(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL;
    const dps_opt opts[] = {{.name = "dir", .value = &dir, .required = true}, {.name = NULL}};
    int exit_code;
    dps_fail fail;
    char path[DPS_PATH_LEN];
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    cJSON *root = path_of(dir, path, &fail) ? read_faults(path, &fail) : NULL;
    if (root == NULL)
        return dps_cmd_failed(cmd, &fail);
    char *text = dps_json_print(root);
    bool ok = text != NULL && puts(text) >= 0;
    free(text);
    return ok ? DPS_EXIT_OK : DPS_EXIT_FAILED;
}

static int run_clear(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL;
    const dps_opt opts[] = {{.name = "dir", .value = &dir, .required = true}, {.name = NULL}};
    int exit_code;
    dps_fail fail;
    char path[DPS_PATH_LEN];
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!path_of(dir, path, &fail))
        return dps_cmd_failed(cmd, &fail);
    if (unlink(path) != 0 && errno != ENOENT) {
        dps_fail_set(&fail, DPS_EXIT_FAILED, "cannot remove \"%s\": %s; check the rights of the folder", path,
                     strerror(errno));
        return dps_cmd_failed(cmd, &fail);
    }
    puts("no faults");
    return DPS_EXIT_OK;
}

const dps_cmd dps_cmd_fault_add = {
    .name = "fault add",
    .summary = "make the server misbehave on demand",
    .help = help_add,
    .run = run_add,
};

const dps_cmd dps_cmd_fault_list = {
    .name = "fault list",
    .summary = "show the faults on demand",
    .help = help_list,
    .run = run_list,
};

const dps_cmd dps_cmd_fault_clear = {
    .name = "fault clear",
    .summary = "remove the faults on demand",
    .help = help_clear,
    .run = run_clear,
};
