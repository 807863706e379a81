#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "dps_hub.h"
#include "dps_json.h"

static const char events_help[] =
    "events --dir STATE [--device ID] [--after N] [--json]\n"
    "\n"
    "Shows the messages that devices sent to the hub, oldest first; the newest 10000 are kept.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --device ID   only from this device\n"
    "  --after N     only those after the message with this number\n"
    "  --json        one JSON array; a body that is no UTF-8 is in bodyBase64\n"
    "  --help        this text\n";

static const char send_help[] =
    "send --dir STATE --device ID [--body TEXT | --file FILE] [--property NAME=VALUE]...\n"
    "\n"
    "Queues a message for a device. It is delivered when the device listens, over MQTT, AMQP or HTTPS. At "
    "most 50\n"
    "messages wait for one device.\n"
    "\n"
    "  --dir STATE             state folder\n"
    "  --device ID             device id\n"
    "  --body TEXT             what is in the message (default: nothing)\n"
    "  --file FILE             the same, from a file of at most 65536 bytes\n"
    "  --property NAME=VALUE   an application property; may be repeated\n"
    "  --help                  this text\n";

static const char twin_show_help[] =
    "twin show --dir STATE --device ID\n"
    "\n"
    "Prints a device's twin as JSON: "
    "{\"deviceId\",\"hub\",\"tags\",\"properties\":{\"desired\",\"reported\"}}.\n"
    "\n"
    "  --dir STATE   state folder\n"
    "  --device ID   device id\n"
    "  --help        this text\n";

static const char twin_update_help[] = "twin update --dir STATE --device ID [--desired JSON] [--tags JSON]\n"
                                       "\n"
                                       "Merges a JSON object into the desired properties or the tags of a "
                                       "device's twin; null removes a member. A device\n"
                                       "that listens gets the change of its desired properties.\n"
                                       "\n"
                                       "  --dir STATE      state folder\n"
                                       "  --device ID      device id\n"
                                       "  --desired JSON   change of the desired properties\n"
                                       "  --tags JSON      change of the tags\n"
                                       "  --help           this text\n";

enum { PROPERTIES_MAX = 32 };

/* Both databases of the state folder. */
static bool open_hub(const char *dir, dps_hub *ret_hub, dps_fail *fail)
{
    dps_hub hub = {.store = NULL};
    if (!dps_state_open_store(dir, false, &hub.registrations, fail))
        return false;
    if (!dps_hub_store_open(dir, true, &hub.store, fail)) {
        dps_store_close(&hub.registrations);
        return false;
    }
    *ret_hub = hub;
    return true;
}

static void close_hub(dps_hub *hub)
{
    dps_hub_store_close(&hub->store);
    dps_store_close(&hub->registrations);
}

static bool find_device(dps_hub *hub, const char *id, dps_hub_device *ret_device, dps_fail *fail)
{
    return dps_hub_find(hub, id, ret_device) ||
           dps_fail_set(fail, DPS_EXIT_NOT_FOUND,
                        "no device \"%s\" has been assigned; \"keynym-dps registrations\" lists them", id);
}

static bool add_body(cJSON *object, const dps_blob *body)
{
    if (dps_utf8_valid(body->bytes, body->len)) {
        char *text = strndup(body->bytes != NULL ? (const char *)body->bytes : "", body->len);
        bool ok = text != NULL && cJSON_AddStringToObject(object, "body", text) != NULL;
        free(text);
        return ok;
    }
    char *text = dps_base64_encode(body->bytes, body->len);
    bool ok = text != NULL && cJSON_AddStringToObject(object, "bodyBase64", text) != NULL;
    free(text);
    return ok;
}

static cJSON *event_json(const dps_hub_event *event)
{
    char when[DPS_TIME_LEN];
    cJSON *object = cJSON_CreateObject();
    cJSON *properties = cJSON_Parse(event->properties);
    dps_time_format(event->at_ms, when);
    bool ok = properties != NULL && cJSON_AddNumberToObject(object, "id", (double)event->id) != NULL &&
              cJSON_AddStringToObject(object, "deviceId", event->device_id) != NULL &&
              cJSON_AddStringToObject(object, "hub", event->hub) != NULL &&
              cJSON_AddStringToObject(object, "transport", event->transport) != NULL &&
              cJSON_AddStringToObject(object, "enqueuedTimeUtc", when) != NULL;
    if (ok && cJSON_AddItemToObject(object, "properties", properties))
        properties = NULL;
    ok = ok && add_body(object, &event->body);
    cJSON_Delete(properties);
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

typedef struct listing {
    bool json;
    bool failed;
    size_t count;
} listing;

/* A line, or an element of the array; one at a time, because there may be many. */
static bool print_event(const dps_hub_event *event, void *user)
{
    listing *l = user;
    char *text = dps_json_print(event_json(event));
    l->failed = text == NULL;
    if (text != NULL)
        printf("%s%s%s", l->json && l->count > 0 ? "," : "", text, l->json ? "" : "\n");
    free(text);
    l->count++;
    return !l->failed;
}

static int run_events(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *device = NULL, *after = NULL;
    listing l = {.json = false};
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "device", .value = &device},
        {.name = "after", .value = &after},
        {.name = "json", .flag = &l.json},
        {.name = NULL},
    };
    int exit_code;
    long number = 0;
    dps_fail fail;
    dps_hub hub;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (after != NULL && !dps_cmd_number(after, 0, 999999999, &number))
        return dps_cmd_usage(cmd, "--after \"%s\" is not a number", after);
    if (!open_hub(dir, &hub, &fail))
        return dps_cmd_failed(cmd, &fail);
    if (l.json)
        putchar('[');
    bool ok = dps_hub_event_each(hub.store, device, number, print_event, &l) == DPS_STORE_OK && !l.failed;
    if (l.json)
        puts("]");
    if (!ok)
        dps_fail_set(&fail, DPS_EXIT_FAILED, "the messages cannot be read: %s",
                     dps_hub_store_message(hub.store));
    close_hub(&hub);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

static bool read_file(const char *path, dps_blob *ret, dps_fail *fail)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = file != NULL ? malloc(DPS_HUB_MESSAGE_MAX + 1) : NULL;
    size_t n = bytes != NULL ? fread(bytes, 1, DPS_HUB_MESSAGE_MAX + 1, file) : 0;
    bool ok = bytes != NULL && ferror(file) == 0 && n <= DPS_HUB_MESSAGE_MAX;
    if (file != NULL)
        fclose(file);
    if (!ok) {
        free(bytes);
        return dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" cannot be read, or has more than %d bytes", path,
                            DPS_HUB_MESSAGE_MAX);
    }
    *ret = (dps_blob){bytes, n};
    return true;
}

/* Names with a "$" are the hub's own. */
static char *properties_json(const char *const *pairs, size_t count, dps_fail *fail)
{
    cJSON *object = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++) {
        size_t name = strcspn(pairs[i], "=");
        char *copy = strdup(pairs[i]);
        if (pairs[i][name] != '=' || name == 0 || pairs[i][0] == '$' || copy == NULL ||
            !dps_utf8_valid((const uint8_t *)pairs[i], strlen(pairs[i]))) {
            free(copy);
            cJSON_Delete(object);
            dps_fail_set(fail, DPS_EXIT_USAGE, "--property \"%s\" is not NAME=VALUE", pairs[i]);
            return NULL;
        }
        copy[name] = '\0';
        cJSON_DeleteItemFromObjectCaseSensitive(object, copy);
        cJSON_AddStringToObject(object, copy, copy + name + 1);
        free(copy);
    }
    char *text = dps_json_print(object);
    if (text == NULL || strlen(text) > DPS_HUB_PROPERTIES_MAX) {
        free(text);
        dps_fail_set(fail, DPS_EXIT_USAGE, "the properties are larger than %d bytes", DPS_HUB_PROPERTIES_MAX);
        return NULL;
    }
    return text;
}

/* Takes nothing of @message; fills its id and time. */
static bool queue(const char *dir, const char *device_id, dps_hub_message *message, dps_fail *fail)
{
    dps_hub hub;
    dps_hub_device device;
    if (!open_hub(dir, &hub, fail))
        return false;
    bool ok = find_device(&hub, device_id, &device, fail);
    if (ok) {
        memcpy(message->device_id, device.id, sizeof(message->device_id));
        message->at_ms = dps_time_now_ms();
        dps_store_result result =
            dps_random_uuid(message->message_id) ? dps_hub_message_add(hub.store, message) : DPS_STORE_FAILED;
        ok = result == DPS_STORE_OK;
        if (result == DPS_STORE_CONFLICT)
            dps_fail_set(fail, DPS_EXIT_CONFLICT, "%d messages wait for \"%s\" already; let it read them",
                         DPS_HUB_QUEUE_MAX, device.id);
        else if (!ok)
            dps_fail_set(fail, DPS_EXIT_FAILED, "the message cannot be written: %s",
                         dps_hub_store_message(hub.store));
    }
    close_hub(&hub);
    return ok;
}

static int run_send(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *device = NULL, *body = NULL, *file = NULL;
    const char *pairs[PROPERTIES_MAX];
    size_t count = 0;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "device", .value = &device, .required = true},
        {.name = "body", .value = &body},
        {.name = "file", .value = &file},
        {.name = "property", .values = pairs, .values_max = PROPERTIES_MAX, .values_count = &count},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_hub_message m = {.id = 0};
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (body != NULL && file != NULL)
        return dps_cmd_usage(cmd, "--body and --file exclude each other");
    bool ok = file == NULL || read_file(file, &m.body, &fail);
    if (ok && body != NULL)
        ok = (strlen(body) <= DPS_HUB_MESSAGE_MAX && dps_blob_copy(body, strlen(body), &m.body)) ||
             dps_fail_set(&fail, DPS_EXIT_USAGE, "--body is longer than %d bytes", DPS_HUB_MESSAGE_MAX);
    if (ok)
        ok = (m.properties = properties_json(pairs, count, &fail)) != NULL && queue(dir, device, &m, &fail);
    if (ok)
        printf("message %s queued for \"%s\"\n", m.message_id, m.device_id);
    dps_hub_message_clear(&m);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

static int run_twin_show(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *id = NULL;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "device", .value = &id, .required = true},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_hub hub;
    dps_hub_device device;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (!open_hub(dir, &hub, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = find_device(&hub, id, &device, &fail);
    char *text = ok ? dps_hub_twin_full(&hub, &device) : NULL;
    if (ok && text == NULL)
        ok = dps_fail_set(&fail, DPS_EXIT_FAILED, "the twin cannot be read: %s",
                          dps_hub_store_message(hub.store));
    if (ok)
        puts(text);
    free(text);
    close_hub(&hub);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

static bool patch(dps_hub *hub, const dps_hub_device *device, dps_twin_part part, const char *option,
                  const char *json, dps_fail *fail)
{
    const char *problem = NULL;
    if (json == NULL)
        return true;
    switch (
        dps_hub_twin_patch(hub, device, part, dps_span_of(json), NULL, &problem)) { /* an HTTP-like status */
    case 200:
        return true;
    case 400:
        return dps_fail_set(fail, DPS_EXIT_USAGE, "--%s: %s", option, problem);
    default:
        return dps_fail_set(fail, DPS_EXIT_FAILED, "the twin cannot be written: %s",
                            dps_hub_store_message(hub->store));
    }
}

static int run_twin_update(const dps_cmd *cmd, int argc, char **argv)
{
    const char *dir = NULL, *id = NULL, *desired = NULL, *tags = NULL;
    const dps_opt opts[] = {
        {.name = "dir", .value = &dir, .required = true},
        {.name = "device", .value = &id, .required = true},
        {.name = "desired", .value = &desired},
        {.name = "tags", .value = &tags},
        {.name = NULL},
    };
    int exit_code;
    dps_fail fail;
    dps_hub hub;
    dps_hub_device device;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code))
        return exit_code;
    if (desired == NULL && tags == NULL)
        return dps_cmd_usage(cmd, "nothing to do: give --desired or --tags");
    if (!open_hub(dir, &hub, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = find_device(&hub, id, &device, &fail) &&
              patch(&hub, &device, DPS_TWIN_TAGS, "tags", tags, &fail) &&
              patch(&hub, &device, DPS_TWIN_DESIRED, "desired", desired, &fail);
    close_hub(&hub);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_events = {
    .name = "events",
    .summary = "show what devices sent to the hub",
    .help = events_help,
    .run = run_events,
};

const dps_cmd dps_cmd_send = {
    .name = "send",
    .summary = "queue a message for a device",
    .help = send_help,
    .run = run_send,
};

const dps_cmd dps_cmd_twin_show = {
    .name = "twin show",
    .summary = "print a device's twin",
    .help = twin_show_help,
    .run = run_twin_show,
};

const dps_cmd dps_cmd_twin_update = {
    .name = "twin update",
    .summary = "change desired properties or tags of a twin",
    .help = twin_update_help,
    .run = run_twin_update,
};
