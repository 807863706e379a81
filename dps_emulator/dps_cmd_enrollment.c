#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <openssl/crypto.h>

#include "dps_enrollment_json.h"
#include "dps_file.h"
#include "dps_json.h"
#include "dps_sas.h"
#include "dps_state.h"
#include "dps_x509.h"

/* "group show" or "enrollment show". */
static bool is_group(const dps_cmd *cmd)
{
    return strncmp(cmd->name, "group ", 6) == 0;
}

static const char *noun(const dps_cmd *cmd)
{
    return is_group(cmd) ? "group" : "enrollment";
}

static int store_failed(const dps_cmd *cmd, const dps_store *store, const char *id, dps_store_result result)
{
    dps_fail fail;
    if (result == DPS_STORE_NOT_FOUND)
        dps_fail_set(&fail, DPS_EXIT_NOT_FOUND,
                     "there is no %s \"%s\"; \"keynym-dps %s list\" shows what there is", noun(cmd), id,
                     noun(cmd));
    else
        dps_fail_set(&fail, DPS_EXIT_FAILED, "the database refuses the command: %s; run it again",
                     dps_store_message(store));
    return dps_cmd_failed(cmd, &fail);
}

/* Prints @root and deletes it. */
static bool print_json(cJSON *root)
{
    char *text = dps_json_print(root);
    bool ok = text != NULL && puts(text) >= 0;
    free(text);
    return ok;
}

/* What it attests with, in a few words. */
static void describe(const dps_enrollment *e, char *out, size_t cap)
{
    dps_cert_info info;
    X509 *cert = NULL;
    switch (e->attestation) {
    case DPS_ATTEST_X509_SIGNING:
    case DPS_ATTEST_X509_CLIENT:
        cert = dps_x509_parse(e->primary.bytes, e->primary.len);
        if (cert != NULL && dps_cert_info_of(cert, &info))
            snprintf(out, cap, "%s, until %s", info.subject, info.not_after);
        else
            snprintf(out, cap, "(unreadable certificate)");
        X509_free(cert);
        return;
    case DPS_ATTEST_X509_REFERENCE:
        snprintf(out, cap, "certificate \"%.*s\"", (int)e->primary.len, (const char *)e->primary.bytes);
        return;
    case DPS_ATTEST_SYMMETRIC:
    case DPS_ATTEST_TPM:
    case DPS_ATTEST_COUNT:
        snprintf(out, cap, "%s", dps_attestation_type(e->attestation));
        return;
    }
}

static bool list_text(const dps_enrollment *e, void *user)
{
    char what[DPS_NAME_LEN + DPS_TIME_LEN + 16] = "";
    (void)user;
    describe(e, what, sizeof(what));
    printf("%-24s %-9s %-32s %s\n", e->id, e->enabled ? "enabled" : "disabled",
           e->hub[0] != '\0' ? e->hub
           : e->hubs != NULL ? e->hubs
                             : "(default hub)",
           what);
    return true;
}

static bool list_json(const dps_enrollment *e, void *user)
{
    cJSON *item = dps_enrollment_to_json(e, NULL);
    return item != NULL && cJSON_AddItemToArray(user, item);
}

static int run_list(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL;
    bool json = false;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "json", .flag = &json},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(dir, false, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    cJSON *array = json ? cJSON_CreateArray() : NULL;
    dps_store_result result =
        dps_store_enrollment_each(store, is_group(cmd), NULL, json ? list_json : list_text, array);
    exit_code = result == DPS_STORE_OK ? DPS_EXIT_OK : store_failed(cmd, store, "", result);
    if (json && !print_json(array))
        exit_code = DPS_EXIT_FAILED;
    dps_store_close(&store);
    return exit_code;
}

static dps_store_result act_show(const dps_cmd *cmd, dps_store *store, const char *id)
{
    dps_enrollment e;
    dps_store_result result = dps_store_enrollment_get(store, is_group(cmd), id, &e);
    if (result != DPS_STORE_OK)
        return result;
    bool printed = print_json(dps_enrollment_to_json(&e, NULL));
    dps_enrollment_clear(&e);
    return printed ? DPS_STORE_OK : DPS_STORE_FAILED;
}

static dps_store_result act_delete(const dps_cmd *cmd, dps_store *store, const char *id)
{
    dps_store_result result = dps_store_enrollment_delete(store, is_group(cmd), id, NULL);
    if (result == DPS_STORE_OK)
        printf("%s \"%s\" deleted\n", noun(cmd), id);
    return result;
}

static dps_store_result act_enable(const dps_cmd *cmd, dps_store *store, const char *id)
{
    bool enable = strstr(cmd->name, " enable") != NULL;
    dps_store_result result = dps_store_enrollment_enable(store, is_group(cmd), id, enable);
    if (result == DPS_STORE_OK)
        printf("%s \"%s\" %s\n", noun(cmd), id, enable ? "enabled" : "disabled");
    return result;
}

static const struct {
    const char *word;
    dps_store_result (*act)(const dps_cmd *cmd, dps_store *store, const char *id);
} actions[] = {
    {" show", act_show},
    {" delete", act_delete},
    {" enable", act_enable},
    {" disable", act_enable},
};

/* The commands that do one thing to one enrollment. */
static int run_one(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *id = NULL;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "id", .value = &id, .required = true},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!dps_state_open_store(dir, false, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    dps_store_result result = DPS_STORE_FAILED;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(strchr(cmd->name, ' '), actions[i].word) == 0)
            result = actions[i].act(cmd, store, id);
    }
    exit_code = result == DPS_STORE_OK ? DPS_EXIT_OK : store_failed(cmd, store, id, result);
    dps_store_close(&store);
    return exit_code;
}

/* Writes a key, for groups that of one device. */
static bool write_key(const dps_enrollment *e, bool secondary, const char *device, const char *out,
                      dps_fail *fail)
{
    const dps_blob *from = secondary ? &e->secondary : &e->primary;
    uint8_t derived[DPS_HMAC_SIZE];
    if (e->attestation != DPS_ATTEST_SYMMETRIC)
        return dps_fail_set(fail, DPS_EXIT_FAILED,
                            "\"%s\" has no symmetric key but attestation %s; name another one", e->id,
                            dps_attestation_type(e->attestation));
    bool ok = device == NULL || dps_sas_derive(from, dps_span_of(device), derived);
    char *text = !ok              ? NULL
                 : device != NULL ? dps_base64_encode(derived, sizeof(derived))
                                  : dps_base64_encode(from->bytes, from->len);
    OPENSSL_cleanse(derived, sizeof(derived));
    if (text == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    ok = dps_file_write_secret(out, text, fail);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    return ok;
}

static int run_key(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *id = NULL, *device = NULL, *out = NULL;
    bool secondary = false;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "id", .value = &id, .required = true},
        {.name = "out", .value = &out},
        {.name = "secondary", .flag = &secondary},
        {.name = is_group(cmd) ? "device" : NULL, .value = &device},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_store *store = NULL;
    dps_enrollment e;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    dps_id_verdict verdict = device != NULL ? dps_id_check(dps_span_of(device)) : DPS_ID_OK;
    if (verdict != DPS_ID_OK)
        return dps_cmd_usage(cmd, "--device \"%s\" cannot be used: %s", device, dps_id_verdict_text(verdict));
    if (!dps_state_open_store(dir, false, &store, &fail))
        return dps_cmd_failed(cmd, &fail);
    dps_store_result result = dps_store_enrollment_get(store, is_group(cmd), id, &e);
    if (result != DPS_STORE_OK) {
        exit_code = store_failed(cmd, store, id, result);
    } else {
        exit_code = write_key(&e, secondary, device, out, &fail) ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
        dps_enrollment_clear(&e);
    }
    dps_store_close(&store);
    return exit_code;
}

#define COMMAND(variable, words, says, text, runs)                                                           \
    const dps_cmd variable = {.name = words, .summary = says, .help = text, .run = runs}

#define HELP_ONE(words, what)                                                                                \
    words " --dir STATE --id ID\n"                                                                           \
          "\n" what "\n"                                                                                     \
          "\n"                                                                                               \
          "  --dir STATE   state folder\n"                                                                   \
          "  --id ID       name of the group, or registration id\n"                                          \
          "  --help        this text\n"

#define HELP_LIST(words, what)                                                                               \
    words " --dir STATE [--json]\n"                                                                          \
          "\n" what "\n"                                                                                     \
          "\n"                                                                                               \
          "  --dir STATE   state folder\n"                                                                   \
          "  --json        one JSON array instead\n"                                                         \
          "  --help        this text\n"

static const char help_group_key[] =
    "group key --dir STATE --id NAME [--device ID] [--secondary] [--out FILE]\n"
    "\n"
    "Writes a symmetric key of a group as base64: the group's own, or the one that is derived for a device.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --id NAME     name of the group\n"
    "  --device ID   the key of the device with this registration id, spelled as the device spells it\n"
    "  --secondary   from the secondary key\n"
    "  --out FILE    write it into this new file, mode 0600 (default: stdout)\n"
    "  --help        this text\n";

static const char help_enrollment_key[] =
    "enrollment key --dir STATE --id ID [--secondary] [--out FILE]\n"
    "\n"
    "Writes the symmetric key of a device as base64.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --id ID       registration id\n"
    "  --secondary   the secondary key\n"
    "  --out FILE    write it into this new file, mode 0600 (default: stdout)\n"
    "  --help        this text\n";

COMMAND(dps_cmd_group_list, "group list", "list the enrollment groups",
        HELP_LIST("group list", "Lists the enrollment groups, one per line."), run_list);
COMMAND(dps_cmd_group_show, "group show", "show one enrollment group",
        HELP_ONE("group show", "Shows one enrollment group as JSON, without symmetric keys."), run_one);
COMMAND(dps_cmd_group_delete, "group delete", "delete an enrollment group",
        HELP_ONE("group delete",
                 "Deletes an enrollment group. Its devices are refused from the next request on; what is\n"
                 "known about their registrations stays."),
        run_one);
COMMAND(dps_cmd_group_enable, "group enable", "let the devices of a group register",
        HELP_ONE("group enable", "Lets the devices of an enrollment group register again."), run_one);
COMMAND(dps_cmd_group_disable, "group disable", "refuse the devices of a group",
        HELP_ONE("group disable", "Refuses the devices of an enrollment group from the next request on."),
        run_one);
COMMAND(dps_cmd_group_key, "group key", "write a symmetric key of a group, or of one of its devices",
        help_group_key, run_key);
COMMAND(dps_cmd_enrollment_list, "enrollment list", "list the individual enrollments",
        HELP_LIST("enrollment list", "Lists the individual enrollments, one per line."), run_list);
COMMAND(dps_cmd_enrollment_show, "enrollment show", "show one individual enrollment",
        HELP_ONE("enrollment show", "Shows one individual enrollment as JSON, without symmetric keys."),
        run_one);
COMMAND(dps_cmd_enrollment_delete, "enrollment delete", "delete an individual enrollment",
        HELP_ONE("enrollment delete",
                 "Deletes the enrollment of a device. From the next request on the groups decide."),
        run_one);
COMMAND(dps_cmd_enrollment_enable, "enrollment enable", "let a device register",
        HELP_ONE("enrollment enable", "Lets a device register again."), run_one);
COMMAND(dps_cmd_enrollment_disable, "enrollment disable", "refuse a device",
        HELP_ONE("enrollment disable",
                 "Refuses a device from the next request on, whatever groups there are."),
        run_one);
COMMAND(dps_cmd_enrollment_key, "enrollment key", "write the symmetric key of a device", help_enrollment_key,
        run_key);
