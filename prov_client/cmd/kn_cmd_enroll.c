/* keynym enroll: the enrollments of a provisioning service, as a factory manages them. */
#include "kn_cmd_enroll.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_FILE_MAX 1024

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

    return text ? text : "-";
}

/* id, attestation, status, hub and ETag: what tells enrollments apart. */
static void print_enrollment(const cJSON *item)
{
    const char *id = cJSON_HasObjectItem(item, "enrollmentGroupId") ? "enrollmentGroupId" : "registrationId";

    (void)printf("%-32s %-12s %-8s %-32s %s\n", text_of(item, id),
                 text_of(cJSON_GetObjectItemCaseSensitive(item, "attestation"), "type"), text_of(item, "provisioningStatus"),
                 text_of(item, "iotHubHostName"), text_of(item, "etag"));
}

static void print_registration(const cJSON *item)
{
    (void)printf("%-32s %-12s %-32s %-32s %s\n", text_of(item, "registrationId"), text_of(item, "status"),
                 text_of(item, "assignedHub"), text_of(item, "deviceId"), text_of(item, "lastUpdatedDateTimeUtc"));
}

/* Keys are for the file of `keynym enroll keys`, not for screens and logs, even if the service should answer with them. */
static void hide_keys(cJSON *enrollment)
{
    cJSON *keys = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(enrollment, "attestation"), "symmetricKey");

    cJSON_DeleteItemFromObjectCaseSensitive(keys, "primaryKey");
    cJSON_DeleteItemFromObjectCaseSensitive(keys, "secondaryKey");
}

/* An object, or a list of them. */
static kn_exit show(const kn_cmd_args *args, cJSON *json, void (*print)(const cJSON *item))
{
    cJSON *item;

    if (cJSON_IsArray(json)) {
        cJSON_ArrayForEach(item, json) hide_keys(item);
    } else {
        hide_keys(json);
    }
    if (args->value[KN_OPT_JSON])
        return kn_cmd_print_json(json);
    if (cJSON_IsArray(json)) {
        cJSON_ArrayForEach(item, json) print(item);
    } else if (json) {
        print(json);
    }
    return kn_cmd_flush();
}

/* One request for one id; the answer is printed. */
static kn_exit one(const kn_cmd_args *args, const char *method, const char *prefix, void (*print)(const cJSON *item))
{
    const char *id_member = print == print_registration ? "registrationId" : kn_enroll_id_member(args);
    char path[KN_ENROLL_PATH_MAX];
    kn_enroll e;
    cJSON *json = NULL;
    kn_exit status = kn_enroll_path(args, prefix, "", path);

    if (status == KN_EXIT_OK)
        status = kn_enroll_open(args, &e);
    if (status)
        return status;
    status = kn_enroll_ask(
        &e, args->operands[0],
        &(prov_service_request){.method = method, .path = path, .etag = args->value[KN_OPT_ETAG]}, &json);
    if (status == KN_EXIT_OK && json)
        status = show(args, json, print);
    else if (status == KN_EXIT_OK && args->value[KN_OPT_JSON]) /* deleted: the answer has no body */
        status = kn_cmd_print_members(id_member, args->operands[0], "state", "deleted", NULL);
    cJSON_Delete(json);
    kn_enroll_close(&e);
    return status;
}

/* ---- create, update ---- */

static kn_exit put(kn_enroll *e, const char *path, const char *etag, const cJSON *body)
{
    cJSON *json = NULL;
    char *text = cJSON_PrintUnformatted(body);
    kn_exit status = text ? kn_enroll_ask(e, e->args->operands[0],
                                          &(prov_service_request){.method = "PUT", .path = path, .body = text, .etag = etag},
                                          &json)
                          : kn_cmd_fail(KN_EXIT_FAILURE, e->args->path, NULL, "out of memory");

    kn_cmd_wipe(&text); /* cJSON uses malloc(); it may hold keys */
    if (status == KN_EXIT_OK)
        status = show(e->args, json, print_enrollment);
    cJSON_Delete(json);
    return status;
}

/* The file of --definition, or nothing; with the id of the command line. */
static kn_exit begin_body(const kn_cmd_args *args, cJSON **ret_body)
{
    const char *path = args->value[KN_OPT_DEFINITION], *member = kn_enroll_id_member(args);
    cJSON *body = NULL;
    const cJSON *id;
    kn_exit status = path ? kn_enroll_read_json(path, &body) : KN_EXIT_OK;

    if (!path)
        body = cJSON_CreateObject();
    if (status)
        return status;
    id = cJSON_GetObjectItemCaseSensitive(body, member);
    if (path && !cJSON_IsObject(body))
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "put one enrollment into it", "is no JSON object");
    else if (id && (!cJSON_IsString(id) || strcmp(id->valuestring, args->operands[0]) != 0))
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "name the same enrollment in both", "%s is not %s", member, args->operands[0]);
    else if (!body || (!id && !kn_cmd_json_text(body, member, args->operands[0])))
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
    if (status)
        cJSON_Delete(body);
    else
        *ret_body = body;
    return status;
}

static kn_exit run_create(const kn_cmd_args *args)
{
    char path[KN_ENROLL_PATH_MAX];
    kn_enroll e;
    cJSON *body = NULL;
    kn_exit status = kn_enroll_path(args, kn_enroll_kind(args), "", path);

    if (status == KN_EXIT_OK)
        status = begin_body(args, &body);
    if (status)
        return status;
    status = kn_enroll_apply(args, body);
    if (status == KN_EXIT_OK && !cJSON_HasObjectItem(body, "attestation"))
        status = kn_cmd_fail_usage(args->path, "nobody says how the device proves itself: --cert, --ca-reference, "
                                               "--endorsement-key, --symmetric-key, --symmetric-keys or --definition");
    if (status == KN_EXIT_OK)
        status = kn_enroll_open(args, &e);
    if (status == KN_EXIT_OK) {
        status = put(&e, path, NULL, body);
        kn_enroll_close(&e);
    }
    cJSON_Delete(body);
    return status;
}

/* Reads it, changes what the options say and writes it back, provided that nobody else has changed it meanwhile. */
static kn_exit run_update(const kn_cmd_args *args)
{
    char path[KN_ENROLL_PATH_MAX], etag[PROV_HTTP_HEADER_MAX] = "";
    kn_enroll e;
    cJSON *body = NULL, *now = NULL;
    kn_exit status = kn_enroll_path(args, kn_enroll_kind(args), "", path);

    if (status == KN_EXIT_OK && args->value[KN_OPT_DEFINITION])
        status = begin_body(args, &body);
    if (status == KN_EXIT_OK)
        status = kn_enroll_open(args, &e);
    if (status) {
        cJSON_Delete(body);
        return status;
    }
    status = kn_enroll_ask(&e, args->operands[0], &(prov_service_request){.method = "GET", .path = path}, &now);
    if (status == KN_EXIT_OK)
        (void)snprintf(etag, sizeof etag, "%s", args->value[KN_OPT_ETAG] ? args->value[KN_OPT_ETAG] : text_of(now, "etag"));
    if (status == KN_EXIT_OK && !body) {
        body = now;
        now = NULL;
    }
    if (status == KN_EXIT_OK)
        status = kn_enroll_apply(args, body);
    if (status == KN_EXIT_OK)
        status = put(&e, path, etag, body);
    cJSON_Delete(body);
    cJSON_Delete(now);
    kn_enroll_close(&e);
    return status;
}

#define BODY_OPTIONS                                                                                                     \
    KN_ENROLL_OPTIONS, KN_OPT_GROUP, KN_OPT_DEFINITION, KN_OPT_CERT, KN_OPT_SECONDARY_CERT, KN_OPT_CA_REFERENCE,         \
        KN_OPT_ENDORSEMENT_KEY, KN_OPT_SYMMETRIC_KEY, KN_OPT_SYMMETRIC_KEYS, KN_OPT_HUB, KN_OPT_DEVICE_ID,               \
        KN_OPT_ALLOCATION, KN_OPT_REPROVISION, KN_OPT_TWIN, KN_OPT_EDGE, KN_OPT_ENABLED, KN_OPT_DISABLED

static const kn_opt create_options[] = {BODY_OPTIONS, KN_OPT_COUNT};
static const kn_opt update_options[] = {BODY_OPTIONS, KN_OPT_ETAG, KN_OPT_COUNT};

static const kn_cmd create = {
    .name = "create",
    .summary = "let a device, or a group of devices, in",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Creates the enrollment ID. It is a failure when there is one already. Of a file with certificates only the\n"
                   "first is sent: the device's own, or with --group the one that signs those of the devices.\n",
    .options = create_options,
    .operands_max = 1,
    .run = run_create,
};

static const kn_cmd update = {
    .name = "update",
    .summary = "change an enrollment",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Reads the enrollment ID, changes what the options say (all of it with --definition) and writes it back,\n"
                   "provided that nobody has changed it meanwhile.\n",
    .options = update_options,
    .operands_max = 1,
    .run = run_update,
};

/* ---- get, delete, list, query ---- */

static kn_exit run_get(const kn_cmd_args *args)
{
    return one(args, "GET", kn_enroll_kind(args), print_enrollment);
}

static kn_exit run_delete(const kn_cmd_args *args)
{
    return one(args, "DELETE", kn_enroll_kind(args), print_enrollment);
}

static kn_exit query(const kn_cmd_args *args, const char *path, const char *text, void (*print)(const cJSON *item))
{
    kn_enroll e;
    cJSON *array = NULL;
    kn_exit status = kn_enroll_open(args, &e);

    if (status)
        return status;
    status = kn_enroll_query(&e, path, text, &array);
    if (status == KN_EXIT_OK)
        status = show(args, array, print);
    cJSON_Delete(array);
    kn_enroll_close(&e);
    return status;
}

static kn_exit run_list(const kn_cmd_args *args)
{
    char path[64], text[64] = "SELECT * FROM enrollments";

    if (args->operand_count > 1)
        return kn_cmd_fail_usage(args->path, "one query at most");
    if (args->value[KN_OPT_GROUP])
        (void)snprintf(text, sizeof text, "SELECT * FROM enrollmentGroups");
    (void)snprintf(path, sizeof path, "%s/query", kn_enroll_kind(args));
    return query(args, path, args->operand_count ? args->operands[0] : text, print_enrollment);
}

static const kn_opt get_options[] = {KN_ENROLL_OPTIONS, KN_OPT_GROUP, KN_OPT_COUNT};
static const kn_opt delete_options[] = {KN_ENROLL_OPTIONS, KN_OPT_GROUP, KN_OPT_ETAG, KN_OPT_COUNT};

static const kn_cmd get = {
    .name = "get",
    .summary = "show an enrollment",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Shows the enrollment ID: its attestation, whether it is enabled, its hub and its ETag; with --json, all of it.\n",
    .options = get_options,
    .operands_max = 1,
    .run = run_get,
};

static const kn_cmd delete = {
    .name = "delete",
    .summary = "delete an enrollment",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Deletes the enrollment ID. Devices that registered by it keep their hub.\n",
    .options = delete_options,
    .operands_max = 1,
    .run = run_delete,
};

static const kn_cmd list = {
    .name = "list",
    .summary = "list enrollments, or those that fit a query",
    .synopsis = "--connection FILE [OPTIONS] [QUERY]",
    .description = "Lists all enrollments, or the answer to a query such as\n"
                   "\"SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'\".\n",
    .options = get_options,
    .operands_max = 1,
    .run = run_list,
};

/* ---- keys ---- */

/* The keys of an enrollment, into a file of its own: they are not for the screen. */
static kn_exit run_keys(const kn_cmd_args *args)
{
    char path[KN_ENROLL_PATH_MAX], *text = NULL;
    kn_enroll e;
    cJSON *json = NULL;
    const cJSON *keys;
    kn_exit status = kn_cmd_require(args, KN_OPT_OUTPUT);

    if (status == KN_EXIT_OK)
        status = kn_cmd_check_new(args->value[KN_OPT_OUTPUT]);
    if (status == KN_EXIT_OK)
        status = kn_enroll_path(args, kn_enroll_kind(args), "/attestationmechanism", path);
    if (status == KN_EXIT_OK)
        status = kn_enroll_open(args, &e);
    if (status)
        return status;
    status = kn_enroll_ask(&e, args->operands[0], &(prov_service_request){.method = "POST", .path = path}, &json);
    keys = cJSON_GetObjectItemCaseSensitive(json, "symmetricKey");
    if (status == KN_EXIT_OK && !cJSON_IsObject(keys))
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->operands[0], NULL, "its attestation is not a symmetric key");
    else if (status == KN_EXIT_OK &&
             asprintf(&text, "%s\n%s\n", text_of(keys, "primaryKey"), text_of(keys, "secondaryKey")) < 0)
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
    if (status == KN_EXIT_OK)
        status = kn_cmd_create_text(args->value[KN_OPT_OUTPUT], text);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON])
        status = kn_cmd_print_members(kn_enroll_id_member(args), args->operands[0], "file", args->value[KN_OPT_OUTPUT], NULL);
    kn_cmd_wipe(&text);
    cJSON_Delete(json);
    kn_enroll_close(&e);
    return status;
}

/* Offline: the group's key and an id are all that is needed. */
static kn_exit run_device_key(const kn_cmd_args *args)
{
    char key[PROV_DEVICE_KEY_CHARS + 1], *group = NULL, *text = NULL;
    prov_error error = {.detail = ""};
    kn_exit status = kn_cmd_require(args, KN_OPT_SYMMETRIC_KEYS);

    if (status == KN_EXIT_OK)
        status = kn_cmd_require(args, KN_OPT_OUTPUT);
    if (status == KN_EXIT_OK)
        status = kn_cmd_check_new(args->value[KN_OPT_OUTPUT]);
    if (status)
        return status;
    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "exactly one registration id is needed");
    if ((status = kn_cmd_read_secret(args->value[KN_OPT_SYMMETRIC_KEYS], SECRET_FILE_MAX, &group)))
        return status;
    group[strcspn(group, "\r\n")] = '\0';
    if (prov_device_key(group, args->operands[0], key, &error))
        status = kn_cmd_fail(KN_EXIT_USAGE, args->path, "check the file and the id", "%s", error.detail);
    else if (asprintf(&text, "%s\n", key) < 0)
        status = kn_cmd_fail(KN_EXIT_FAILURE, args->path, NULL, "out of memory");
    if (status == KN_EXIT_OK)
        status = kn_cmd_create_text(args->value[KN_OPT_OUTPUT], text);
    if (status == KN_EXIT_OK && args->value[KN_OPT_JSON])
        status = kn_cmd_print_members("registrationId", args->operands[0], "file", args->value[KN_OPT_OUTPUT], NULL);
    OPENSSL_cleanse(key, sizeof key);
    kn_cmd_wipe(&text);
    kn_cmd_wipe(&group);
    return status;
}

static const kn_opt keys_options[] = {KN_ENROLL_OPTIONS, KN_OPT_GROUP, KN_OPT_OUTPUT, KN_OPT_COUNT};
static const kn_opt device_key_options[] = {KN_OPT_SYMMETRIC_KEYS, KN_OPT_OUTPUT, KN_OPT_JSON, KN_OPT_COUNT};

static const kn_cmd keys = {
    .name = "keys",
    .summary = "write an enrollment's symmetric keys into a file",
    .synopsis = "--connection FILE --output FILE [OPTIONS] ID",
    .description = "Writes primary and secondary key of the enrollment ID, a line each, into a file that only its owner can read.\n"
                   "A file that exists is not overwritten.\n",
    .options = keys_options,
    .operands_max = 1,
    .run = run_keys,
};

static const kn_cmd device_key = {
    .name = "device-key",
    .summary = "make a device's key from its group's",
    .synopsis = "--symmetric-keys FILE --output FILE ID",
    .description = "Derives the symmetric key of the device ID from the first key in the file, which is its group's, and writes it\n"
                   "into a file that only its owner can read. A file that exists is not overwritten. For the factory: a device must\n"
                   "never see its group's key.\n",
    .options = device_key_options,
    .operands_max = 1,
    .run = run_device_key,
};

/* ---- registrations ---- */

static kn_exit run_state(const kn_cmd_args *args)
{
    return one(args, "GET", "/registrations", print_registration);
}

static kn_exit run_forget(const kn_cmd_args *args)
{
    return one(args, "DELETE", "/registrations", print_registration);
}

static kn_exit run_states(const kn_cmd_args *args)
{
    char path[KN_ENROLL_PATH_MAX];
    kn_exit status = kn_enroll_path(args, "/registrations", "/query", path);

    return status ? status : query(args, path, "SELECT * FROM deviceRegistrations", print_registration);
}

static const kn_opt state_options[] = {KN_ENROLL_OPTIONS, KN_OPT_COUNT};
static const kn_opt forget_options[] = {KN_ENROLL_OPTIONS, KN_OPT_ETAG, KN_OPT_COUNT};

static const kn_cmd state = {
    .name = "state",
    .summary = "show whether and where a device is registered",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Shows the registration of the device ID: its status, hub, device ID and when it was last updated.\n",
    .options = state_options,
    .operands_max = 1,
    .run = run_state,
};

static const kn_cmd states = {
    .name = "states",
    .summary = "list the registrations of a group",
    .synopsis = "--connection FILE [OPTIONS] GROUP",
    .description = "Lists the devices that registered by the enrollment group GROUP.\n",
    .options = state_options,
    .operands_max = 1,
    .run = run_states,
};

static const kn_cmd forget = {
    .name = "forget",
    .summary = "delete the registration of a device",
    .synopsis = "--connection FILE [OPTIONS] ID",
    .description = "Deletes the registration of the device ID. It is assigned anew when it registers again.\n",
    .options = forget_options,
    .operands_max = 1,
    .run = run_forget,
};

static const kn_cmd *const children[] = {
    &create, &get, &update, &delete, &list, &kn_cmd_enroll_bulk, &keys, &device_key, &state, &states, &forget, NULL,
};

const kn_cmd kn_cmd_enroll = {
    .name = "enroll",
    .summary = "manage the enrollments of a provisioning service",
    .synopsis = "COMMAND",
    .description = "For factories: who may register with a provisioning service, and where.\n",
    .children = children,
};
