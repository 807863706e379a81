#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_id.h"
#include "dps_json.h"
#include "dps_state.h"
#include "dps_x509.h"

/* Options of all the group commands; each uses those that its table names. */
typedef struct group_options {
    const char *dir, *id, *certificate, *hub;
    bool disabled, json;
} group_options;

static int store_failed(const dps_cmd *cmd, const dps_store *store, const char *id, dps_store_result result)
{
    dps_fail fail;
    if (result == DPS_STORE_NOT_FOUND)
        dps_fail_set(&fail, DPS_EXIT_NOT_FOUND,
                     "there is no group \"%s\"; \"keynym-dps group list\" shows what there is", id);
    else
        dps_fail_set(&fail, DPS_EXIT_FAILED, "the database refuses the command: %s",
                     dps_store_message(store));
    return dps_cmd_failed(cmd, &fail);
}

static const char help_create[] =
    "group create --dir STATE --id NAME --certificate FILE [OPTION]...\n"
    "\n"
    "Creates an enrollment group: devices whose certificate chain leads to FILE may register. FILE is a root "
    "or\n"
    "an intermediate CA certificate. A running server knows the group at its next request.\n"
    "\n"
    "  --dir STATE          state folder; made when missing\n"
    "  --id NAME            name of the group: up to 128 letters, digits, '-', '.', '_', ':'\n"
    "  --certificate FILE   CA certificate, PEM (the first one of the file counts)\n"
    "  --hub NAME           hub that the devices are assigned to (default: the server's --hub)\n"
    "  --disabled           create it, but refuse its devices until \"group enable\"\n"
    "  --help               this text\n";

static bool fill_group(const group_options *o, X509 *cert, dps_enrollment *ret, dps_fail *fail)
{
    dps_enrollment group = {
        .is_group = true,
        .attestation = DPS_ATTEST_X509_SIGNING,
        .enabled = !o->disabled,
        .update_hub = true,
        .migrate_data = true,
        .created_ms = dps_time_now_ms(),
    };
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    bool ok = n > 0 && dps_random_etag(group.etag) && dps_blob_copy(der, (size_t)n, &group.primary);
    OPENSSL_free(der);
    if (!ok)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "the certificate cannot be encoded");
    group.updated_ms = group.created_ms;
    snprintf(group.id, sizeof(group.id), "%s", o->id);
    snprintf(group.hub, sizeof(group.hub), "%s", o->hub != NULL ? o->hub : "");
    *ret = group;
    return true;
}

static bool add_group(const group_options *o, const dps_enrollment *group, dps_fail *fail)
{
    dps_store *store = NULL;
    char holder[DPS_ID_LEN];
    if (!dps_state_open_store(o->dir, true, &store, fail))
        return false;
    bool ok = false;
    switch (dps_store_enrollment_add(store, group, holder)) {
    case DPS_STORE_OK:
        ok = true;
        break;
    case DPS_STORE_CONFLICT:
        if (dps_text_equal_nocase(holder, strlen(holder), o->id, strlen(o->id)))
            dps_fail_set(fail, DPS_EXIT_CONFLICT,
                         "the group \"%s\" exists; delete it first, or take another --id", holder);
        else
            dps_fail_set(fail, DPS_EXIT_CONFLICT,
                         "the group \"%s\" has this certificate already; delete that group first", holder);
        break;
    case DPS_STORE_NOT_FOUND:
    case DPS_STORE_STALE:
    case DPS_STORE_FAILED:
        dps_fail_set(fail, DPS_EXIT_FAILED, "the database refuses the group: %s", dps_store_message(store));
        break;
    }
    dps_store_close(&store);
    return ok;
}

static int run_create(const dps_cmd *cmd, int argc, char **argv)
{
    group_options o = {0};
    const dps_opt opts[] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "id", .value = &o.id, .required = true},
        {.name = "certificate", .value = &o.certificate, .required = true},
        {.name = "hub", .value = &o.hub},
        {.name = "disabled", .flag = &o.disabled},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_enrollment group = {0};
    dps_cert_info info;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    dps_id_verdict verdict = dps_id_check(dps_span_of(o.id));
    if (verdict != DPS_ID_OK)
        return dps_cmd_usage(cmd, "--id \"%s\" cannot be used: %s", o.id, dps_id_verdict_text(verdict));
    if (o.hub != NULL && (!dps_host_valid(o.hub, true) || strlen(o.hub) > DPS_HUB_MAX))
        return dps_cmd_usage(cmd, "--hub \"%s\" is not a host name", o.hub);
    X509 *cert = dps_x509_read_pem(o.certificate, &fail);
    if (cert == NULL)
        return dps_cmd_failed(cmd, &fail);
    bool ok =
        dps_x509_is_ca(cert) ||
        dps_fail_set(
            &fail, DPS_EXIT_FAILED,
            "\"%s\" is not a CA certificate (basicConstraints CA:TRUE); give the certificate that signs the "
            "devices' certificates",
            o.certificate);
    ok = ok && (dps_cert_info_of(cert, &info) ||
                dps_fail_set(&fail, DPS_EXIT_FAILED, "the certificate cannot be read"));
    ok = ok && fill_group(&o, cert, &group, &fail) && add_group(&o, &group, &fail);
    if (ok)
        printf("group \"%s\" created: %s, until %s\n", group.id, info.subject, info.not_after);
    dps_enrollment_clear(&group);
    X509_free(cert);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_group_create = {
    .name = "group create",
    .summary = "create an enrollment group from a CA certificate",
    .help = help_create,
    .run = run_create,
};

static bool group_cert_info(const dps_enrollment *group, dps_cert_info *ret_info)
{
    const unsigned char *der = group->primary.bytes;
    X509 *cert = d2i_X509(NULL, &der, (long)group->primary.len);
    bool ok = cert != NULL && dps_cert_info_of(cert, ret_info);
    X509_free(cert);
    return ok;
}

static cJSON *group_json(const dps_enrollment *group)
{
    dps_cert_info info;
    char created[DPS_TIME_LEN];
    char updated[DPS_TIME_LEN];
    dps_time_format(group->created_ms, created);
    dps_time_format(group->updated_ms, updated);
    cJSON *root = cJSON_CreateObject();
    cJSON *cert = dps_json_cert_info(group_cert_info(group, &info) ? &info : NULL);
    bool ok =
        cJSON_AddStringToObject(root, "enrollmentGroupId", group->id) != NULL &&
        cJSON_AddStringToObject(root, "provisioningStatus", group->enabled ? "enabled" : "disabled") !=
            NULL &&
        (group->hub[0] == '\0' || cJSON_AddStringToObject(root, "iotHubHostName", group->hub) != NULL) &&
        cJSON_AddStringToObject(root, "etag", group->etag) != NULL &&
        cJSON_AddStringToObject(root, "createdDateTimeUtc", created) != NULL &&
        cJSON_AddStringToObject(root, "lastUpdatedDateTimeUtc", updated) != NULL;
    if (ok && cert != NULL && cJSON_AddItemToObject(root, "certificate", cert))
        return root;
    cJSON_Delete(cert);
    cJSON_Delete(root);
    return NULL;
}

/* Prints @root and deletes it. */
static bool print_json(cJSON *root)
{
    char *text = dps_json_print(root);
    bool ok = text != NULL && puts(text) >= 0;
    free(text);
    return ok;
}

static const char help_list[] = "group list --dir STATE [--json]\n"
                                "\n"
                                "Lists the enrollment groups, one per line.\n"
                                "\n"
                                "  --dir STATE   state folder\n"
                                "  --json        one JSON array instead\n"
                                "  --help        this text\n";

static bool list_text(const dps_enrollment *group, void *user)
{
    (void)user;
    dps_cert_info info = {.subject = "(unreadable certificate)"};
    if (!group_cert_info(group, &info))
        info.not_after[0] = '\0';
    printf("%-24s %-9s %-32s %s, until %s\n", group->id, group->enabled ? "enabled" : "disabled",
           group->hub[0] != '\0' ? group->hub : "(default hub)", info.subject, info.not_after);
    return true;
}

static bool list_json(const dps_enrollment *group, void *user)
{
    cJSON *item = group_json(group);
    return item != NULL && cJSON_AddItemToArray(user, item);
}

static int run_list(const dps_cmd *cmd, int argc, char **argv)
{
    group_options o = {0};
    const dps_opt opts[] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "json", .flag = &o.json},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(o.dir, false, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    cJSON *array = o.json ? cJSON_CreateArray() : NULL;
    dps_store_result result = dps_store_enrollment_each(store, true, NULL, o.json ? list_json : list_text, array);
    exit_code = result == DPS_STORE_OK ? DPS_EXIT_OK : store_failed(cmd, store, "", result);
    if (o.json && !print_json(array))
        exit_code = DPS_EXIT_FAILED;
    dps_store_close(&store);
    return exit_code;
}

const dps_cmd dps_cmd_group_list = {
    .name = "group list",
    .summary = "list the enrollment groups",
    .help = help_list,
    .run = run_list,
};

static const char help_show[] = "group show --dir STATE --id NAME\n"
                                "\n"
                                "Shows one enrollment group as JSON.\n"
                                "\n"
                                "  --dir STATE   state folder\n"
                                "  --id NAME     name of the group\n"
                                "  --help        this text\n";

static dps_store_result act_show(dps_store *store, const char *id)
{
    dps_enrollment group;
    dps_store_result result = dps_store_enrollment_get(store, true, id, &group);
    if (result != DPS_STORE_OK)
        return result;
    bool printed = print_json(group_json(&group));
    dps_enrollment_clear(&group);
    return printed ? DPS_STORE_OK : DPS_STORE_FAILED;
}

static const char help_delete[] =
    "group delete --dir STATE --id NAME\n"
    "\n"
    "Deletes an enrollment group. Its devices are refused from the next request on; what is\n"
    "known about their registrations stays.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --id NAME     name of the group\n"
    "  --help        this text\n";

static dps_store_result act_delete(dps_store *store, const char *id)
{
    dps_store_result result = dps_store_enrollment_delete(store, true, id, NULL);
    if (result == DPS_STORE_OK)
        printf("group \"%s\" deleted\n", id);
    return result;
}

static const char help_enable[] = "group enable --dir STATE --id NAME\n"
                                  "\n"
                                  "Lets the devices of an enrollment group register again.\n"
                                  "\n"
                                  "  --dir STATE   state folder\n"
                                  "  --id NAME     name of the group\n"
                                  "  --help        this text\n";

static dps_store_result act_enable(dps_store *store, const char *id)
{
    dps_store_result result = dps_store_enrollment_enable(store, true, id, true);
    if (result == DPS_STORE_OK)
        printf("group \"%s\" enabled\n", id);
    return result;
}

static const char help_disable[] = "group disable --dir STATE --id NAME\n"
                                   "\n"
                                   "Refuses the devices of an enrollment group from the next request on.\n"
                                   "\n"
                                   "  --dir STATE   state folder\n"
                                   "  --id NAME     name of the group\n"
                                   "  --help        this text\n";

static dps_store_result act_disable(dps_store *store, const char *id)
{
    dps_store_result result = dps_store_enrollment_enable(store, true, id, false);
    if (result == DPS_STORE_OK)
        printf("group \"%s\" disabled\n", id);
    return result;
}

static const struct {
    const dps_cmd *cmd;
    dps_store_result (*act)(dps_store *store, const char *id);
} actions[] = {
    {&dps_cmd_group_show, act_show},
    {&dps_cmd_group_delete, act_delete},
    {&dps_cmd_group_enable, act_enable},
    {&dps_cmd_group_disable, act_disable},
};

/* The commands that do one thing to one group. */
static int run_one(const dps_cmd *cmd, int argc, char **argv)
{
    group_options o = {0};
    const dps_opt opts[] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "id", .value = &o.id, .required = true},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(o.dir, false, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    dps_store_result result = DPS_STORE_FAILED;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (actions[i].cmd == cmd)
            result = actions[i].act(store, o.id);
    }
    exit_code = result == DPS_STORE_OK ? DPS_EXIT_OK : store_failed(cmd, store, o.id, result);
    dps_store_close(&store);
    return exit_code;
}

const dps_cmd dps_cmd_group_show = {
    .name = "group show",
    .summary = "show one enrollment group",
    .help = help_show,
    .run = run_one,
};

const dps_cmd dps_cmd_group_delete = {
    .name = "group delete",
    .summary = "delete an enrollment group",
    .help = help_delete,
    .run = run_one,
};

const dps_cmd dps_cmd_group_enable = {
    .name = "group enable",
    .summary = "let the devices of a group register",
    .help = help_enable,
    .run = run_one,
};

const dps_cmd dps_cmd_group_disable = {
    .name = "group disable",
    .summary = "refuse the devices of a group",
    .help = help_disable,
    .run = run_one,
};
