/* keynym hub: sends to the assigned IoT hub, and listens to it. */
#include "kn_cmd_device.h"
#include "kn_cmd_registration.h"
#include "kn_cmd_terminal.h"

#include "../../hsm_api/hsm_client_data.h"
#include "../../hsm_api/keynym_hsm.h"
#include "../kn_hub.h"
#include "../prov_base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "the hub"

/* ---- whom to talk to ---- */

static bool replace(char **text, const char *value)
{
    if (!value)
        return true;
    free(*text);
    return (*text = strdup(value)) != NULL;
}

/* What the registration file says, and before it the options. */
static kn_exit find_place(const kn_cmd_args *args, kn_cmd_registration *ret_place)
{
    kn_exit status = KN_EXIT_OK;

    if (args->value[KN_OPT_REGISTRATION] && (status = kn_cmd_registration_read(args->value[KN_OPT_REGISTRATION], ret_place)))
        return status;
    if (!replace(&ret_place->hub, args->value[KN_OPT_HUB]) || !replace(&ret_place->device, args->value[KN_OPT_DEVICE_ID]) ||
        !replace(&ret_place->id_scope, args->value[KN_OPT_ID_SCOPE]) || !replace(&ret_place->endpoint, args->value[KN_OPT_ENDPOINT]) ||
        !replace(&ret_place->attestation, args->value[KN_OPT_ATTESTATION]))
        return kn_cmd_fail(KN_EXIT_FAILURE, WHAT, NULL, "out of memory");
    if (ret_place->hub && ret_place->device)
        return KN_EXIT_OK;
    return kn_cmd_fail_usage(args->path,
                             "--registration, or --hub and --device-id, say which hub and device");
}

/* ---- the connection ---- */

typedef struct job {
    const kn_cmd_args *args;
    kn_exit (*work)(struct job *job, kn_hub *hub);
    const kn_prov_request *reprovision; /* NULL: it is not known how, or not wanted */
    bool not_stored;                    /* a new registration is not in its file; the user has been told */
    const char *body;
    size_t body_size;
    unsigned duration_s, count, seen;
    atomic_bool *cancel;
} job;

static kn_exit report_failure(const job *j, kn_prov_code code, const kn_hub *hub)
{
    const char *cause = code == KN_PROV_E_IDENTITY ? keynym_hsm_last_error() : "";
    const char *problem = hub ? kn_hub_problem(hub) : kn_prov_error_of(code)->sentence;
    const char *next = kn_prov_error_of(code)->remedy;

    if (!j->reprovision && (code == KN_PROV_E_UNAUTHORIZED || code == KN_PROV_E_NOT_ENROLLED))
        next = j->args->value[KN_OPT_NO_REPROVISION]
                   ? "register again: keynym provision, or without --no-reprovision"
                   : "register again: keynym provision --output FILE, after which keynym hub does it itself, or --id-scope";
    return kn_cmd_fail(kn_cmd_exit_of(code), WHAT, *cause ? NULL : next, "%s", *cause ? cause : problem);
}

static void keep_registration(const kn_prov_result *result, void *context)
{
    job *j = context;
    const char *path = j->args->value[KN_OPT_REGISTRATION];

    kn_cmd_progress_hide();
    if (!j->args->value[KN_OPT_QUIET])
        (void)fprintf(stderr, "keynym: the hub refused the device, which registered again: %s as %s\n", result->assigned_hub,
                      result->device_id);
    if (path && kn_cmd_registration_write(path, result, j->reprovision) != KN_EXIT_OK)
        j->not_stored = true;
    kn_cmd_progress_show();
}

/* A TPM registers over what carries its keys. */
static const char *registers_over(const kn_cmd_args *args, const kn_cmd_registration *p)
{
    const char *hub = args->value[KN_OPT_TRANSPORT] ? args->value[KN_OPT_TRANSPORT] : KN_PROV_DEFAULT_TRANSPORT;
    bool is_tpm = p->attestation && strcmp(p->attestation, "tpm") == 0;

    return p->transport ? p->transport : is_tpm && strncmp(hub, "mqtt", 4) == 0 ? "https" : hub;
}

static kn_exit with_hub(const kn_cmd_args *args, job *j, const kn_cmd_registration *p, unsigned timeout_s)
{
    kn_cmd_proxy proxy = {.user = NULL};
    kn_exit status = kn_cmd_proxy_of(args, &proxy);
    kn_hub_request request = {
        .hub = p->hub,
        .device_id = p->device,
        .transport = args->value[KN_OPT_TRANSPORT],
        .attestation = p->attestation,
        .ca_file = args->value[KN_OPT_CA],
        .timeout_ms = timeout_s * 1000,
        .on_registered = keep_registration,
        .context = j,
        .on_trace = args->value[KN_OPT_VERBOSE] ? kn_cmd_print_trace : kn_cmd_progress_trace,
        .cancel = kn_cmd_catch_signals(),
    };
    const kn_prov_request again = {
        .endpoint = p->endpoint,
        .id_scope = p->id_scope,
        .transport = registers_over(args, p),
        .attestation = p->attestation,
        .ca_file = args->value[KN_OPT_CA],
        .registration_id = p->registration_id,
        .payload = p->payload,
        .proxy = proxy.url,
        .proxy_user = proxy.user,
        .proxy_password = proxy.password,
        .retry_file = args->value[KN_OPT_RETRY_STATE],
        .timeout_ms = timeout_s * 1000,
    };
    kn_hub *hub = NULL;
    kn_prov_code code;

    if (status)
        return status;
    request.proxy = proxy.url;
    request.proxy_user = proxy.user;
    request.proxy_password = proxy.password;
    if (p->id_scope && !args->value[KN_OPT_NO_REPROVISION])
        request.reprovision = j->reprovision = &again;
    j->cancel = request.cancel;
    (void)kn_cmd_progress_begin(args, "connecting with %s", p->hub);
    code = kn_hub_open(&request, &hub);
    status = code ? report_failure(j, code, hub) : j->work(j, hub);
    if (status == KN_EXIT_OK && j->not_stored)
        status = KN_EXIT_FAILURE;
    kn_hub_close(&hub);
    kn_cmd_proxy_clear(&proxy);
    hsm_client_x509_deinit();
    kn_cmd_pass_signal_on();
    return status;
}

static kn_exit run_job(const kn_cmd_args *args, job *j)
{
    unsigned timeout_s = KN_PROV_DEFAULT_TIMEOUT_MS / 1000;
    kn_cmd_registration p = {.hub = NULL};
    kn_exit status;

    if ((status = kn_cmd_refuse_pin(args, KN_OPT_KEY)) || (status = kn_cmd_refuse_pin(args, KN_OPT_CERT)) ||
        (status = kn_cmd_number(args, KN_OPT_TIMEOUT, 1, 86400, &timeout_s)))
        return status;
    j->args = args;
    status = find_place(args, &p);
    if (status == KN_EXIT_OK)
        status = kn_cmd_set_identity(args, WHAT);
    if (status == KN_EXIT_OK)
        status = with_hub(args, j, &p, timeout_s);
    kn_cmd_registration_clear(&p);
    return status;
}

/* ---- send ---- */

static kn_exit print_accepted(size_t size)
{
    cJSON *object = cJSON_CreateObject();
    bool good = object && cJSON_AddBoolToObject(object, "accepted", true) && cJSON_AddNumberToObject(object, "bytes", (double)size);
    kn_exit status = kn_cmd_print_json(good ? object : NULL);

    cJSON_Delete(object);
    return status;
}

static kn_exit send_body(job *j, kn_hub *hub)
{
    const kn_hub_message message = {
        .body = j->body,
        .body_size = j->body_size,
        .content_type = j->args->value[KN_OPT_CONTENT_TYPE],
        .properties = j->args->value[KN_OPT_PROPERTIES],
    };
    kn_prov_code code = kn_hub_send(hub, &message);

    kn_cmd_progress_end();
    if (code)
        return report_failure(j, code, hub);
    if (j->args->value[KN_OPT_JSON])
        return print_accepted(j->body_size);
    if (!j->args->value[KN_OPT_QUIET])
        (void)printf("accepted by the hub: %zu bytes\n", j->body_size);
    return kn_cmd_flush();
}

static kn_exit run_send(const kn_cmd_args *args)
{
    job j = {.work = send_body};
    char *body = NULL;
    kn_exit status;

    if (args->operand_count != 1)
        return kn_cmd_fail_usage(args->path, "one FILE is needed; - reads standard input");
    status = kn_cmd_read_text(strcmp(args->operands[0], "-") ? args->operands[0] : "/dev/stdin",
                              KN_HUB_BODY_MAX, &body);
    if (status)
        return status;
    j.body = body;
    j.body_size = strlen(body);
    status = run_job(args, &j);
    free(body);
    return status;
}

/* ---- twin ---- */

static kn_exit show_twin(job *j, kn_hub *hub)
{
    char *json = NULL;
    kn_prov_code code = kn_hub_twin(hub, &json);
    cJSON *tree;
    kn_exit status;

    if (code)
        return report_failure(j, code, hub);
    kn_cmd_progress_end();
    tree = cJSON_Parse(json);
    free(json);
    status =
        tree ? kn_cmd_print_json(tree) : kn_cmd_fail(KN_EXIT_FAILURE, WHAT, NULL, "the twin is not JSON");
    cJSON_Delete(tree);
    return status;
}

static kn_exit run_twin(const kn_cmd_args *args)
{
    job j = {.work = show_twin};

    return run_job(args, &j);
}

/* ---- listen ---- */

static const char *const kinds[] = {
    [KN_HUB_CONNECTED] = "connected",
    [KN_HUB_DISCONNECTED] = "disconnected",
    [KN_HUB_MESSAGE] = "message",
    [KN_HUB_DESIRED] = "desired",
    [KN_HUB_REGISTERED] = "registered",
};

/* As text where it is text, else in base64. */
static bool add_body(cJSON *object, const kn_hub_event *event)
{
    char *encoded;
    bool good;

    if (strlen(event->body) == event->body_size && kn_cmd_is_utf8(event->body))
        return kn_cmd_json_text(object, "body", event->body);
    encoded = prov_base64_encode((const unsigned char *)event->body, event->body_size);
    good = encoded && kn_cmd_json_text(object, "bodyBase64", encoded);
    free(encoded);
    return good;
}

static bool print_event_json(const kn_hub_event *event)
{
    cJSON *object = cJSON_CreateObject();
    char *line = NULL;

    if (object && kn_cmd_json_text(object, "event", kinds[event->kind]) &&
        add_body(object, event) &&
        (!*event->properties || kn_cmd_json_text(object, "properties", event->properties)))
        line = kn_cmd_json_print(object, false);
    if (line)
        (void)puts(line);
    free(line);
    cJSON_Delete(object);
    return line != NULL;
}

/* What comes from the network is shown without its control characters. */
static void print_event_text(const kn_hub_event *event)
{
    (void)printf("%s%s%s%s", kinds[event->kind], *event->properties ? " [" : "", event->properties,
                 *event->properties ? "]" : "");
    (void)fputs(event->body_size ? ": " : "", stdout);
    for (size_t i = 0; i < event->body_size; i++) {
        unsigned char c = (unsigned char)event->body[i];

        (void)putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    (void)putchar('\n');
}

static bool on_event(const kn_hub_event *event, void *context)
{
    job *j = context;

    if (j->args->value[KN_OPT_JSON]) {
        if (!print_event_json(event))
            return false;
    } else {
        print_event_text(event);
    }
    (void)fflush(stdout);
    if (event->kind == KN_HUB_MESSAGE || event->kind == KN_HUB_DESIRED)
        j->seen++;
    return !j->count || j->seen < j->count;
}

static kn_exit listen_to_hub(job *j, kn_hub *hub)
{
    const kn_hub_event connected = {.kind = KN_HUB_CONNECTED, .body = "", .properties = ""};
    kn_prov_code code;

    kn_cmd_progress_end();
    (void)on_event(&connected, j);
    code = kn_hub_listen(hub, j->duration_s * 1000, on_event, j);
    if (code)
        return report_failure(j, code, hub);
    if (j->count && j->seen < j->count && !atomic_load(j->cancel))
        return kn_cmd_fail(KN_EXIT_UNAVAILABLE, WHAT, "raise --duration, or look at what was sent",
                           "%u of %u messages came in time", j->seen, j->count);
    return kn_cmd_flush();
}

static kn_exit run_listen(const kn_cmd_args *args)
{
    job j = {.work = listen_to_hub};
    kn_exit status;

    if ((status = kn_cmd_number(args, KN_OPT_DURATION, 1, 86400, &j.duration_s)) ||
        (status = kn_cmd_number(args, KN_OPT_EVENTS, 1, 1000000, &j.count)))
        return status;
    return run_job(args, &j);
}

/* ---- the table ---- */

#define CONNECTION                                                                                                                         \
    KN_OPT_REGISTRATION, KN_OPT_HUB, KN_OPT_DEVICE_ID, KN_OPT_ID_SCOPE, KN_OPT_ENDPOINT, KN_OPT_RETRY_STATE, KN_OPT_NO_REPROVISION,        \
        KN_OPT_TRANSPORT, KN_OPT_ATTESTATION, KN_OPT_PROXY, KN_OPT_PROXY_AUTH, KN_OPT_CA, KN_OPT_KEY, KN_OPT_CERT, KN_OPT_PIN_SOURCE,     \
        KN_OPT_MODULE, KN_OPT_TPM, KN_OPT_TIMEOUT

static const kn_opt send_options[] = {CONNECTION,   KN_OPT_CONTENT_TYPE, KN_OPT_PROPERTIES, KN_OPT_JSON,
                                      KN_OPT_QUIET, KN_OPT_VERBOSE,      KN_OPT_COUNT};

static const kn_cmd send_cmd = {
    .name = "send",
    .summary = "send one message to the hub",
    .synopsis = "(--registration FILE | --hub HOST --device-id ID) [OPTIONS] FILE",
    .description = "Sends the text in FILE (- for standard input) as telemetry and waits until the hub has "
                   "accepted it.\n"
                   "Exit status 0 proves that the device's identity works.\n"
                   "\n"
                   "  echo '{\"up\":true}' | keynym hub send --registration hub.json --key device.pem --cert "
                   "chain.pem -\n",
    .options = send_options,
    .operands_max = 1,
    .run = run_send,
};

static const kn_opt twin_options[] = {CONNECTION, KN_OPT_JSON, KN_OPT_VERBOSE, KN_OPT_COUNT};

static const kn_cmd twin_cmd = {
    .name = "twin",
    .summary = "show the device's twin",
    .synopsis = "(--registration FILE | --hub HOST --device-id ID) [OPTIONS]",
    .description = "Prints desired and reported properties as JSON, with --json or without. The transport https has none.\n",
    .options = twin_options,
    .run = run_twin,
};

static const kn_opt listen_options[] = {CONNECTION,  KN_OPT_DURATION, KN_OPT_EVENTS,
                                        KN_OPT_JSON, KN_OPT_VERBOSE,  KN_OPT_COUNT};

static const kn_cmd listen_cmd = {
    .name = "listen",
    .summary = "show what the hub sends",
    .synopsis = "(--registration FILE | --hub HOST --device-id ID) [OPTIONS]",
    .description =
        "Shows messages to the device and changes of its desired properties, one line each, until Ctrl-C or\n"
        "--duration, or until --events have come. A connection that is lost is made again.\n",
    .options = listen_options,
    .run = run_listen,
};

static const kn_cmd *const children[] = {&send_cmd, &listen_cmd, &twin_cmd, NULL};

const kn_cmd kn_cmd_hub = {
    .name = "hub",
    .summary = "send to the assigned IoT hub, and listen to it",
    .synopsis = "COMMAND",
    .description = "Talks to the IoT hub that a registration assigned, with the same identity. A device that the hub refuses is\n"
                   "registered again, as its registration file or --id-scope say, and goes on with the hub that it gets.\n",
    .children = children,
};
