#include "dps_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cJSON.h>

#include "dps_id.h"
#include "dps_json.h"
#include "dps_log.h"
#include "dps_server.h"
#include "dps_state.h"
#include "dps_tls.h"
#include "dps_transport.h"

#define DEFAULT_HUB "hub1.keynym.test" /* .test never exists in public (RFC 6761): nobody's real hub */

enum {
    RETRY_AFTER_S = 3,
    CONNECT_TIMEOUT_S = 30,
    SECONDS_MAX = 300, /* what the clients accept as retry-after */
    OPTIONS_MAX = 32,
};

static const char help[] =
    "serve --dir STATE [OPTION]...\n"
    "\n"
    "Serves the device API of the Device Provisioning Service. When it listens it prints one line of JSON "
    "on\n"
    "stdout: {\"idScope\",\"mqtt\":{\"host\",\"port\"},\"amqp\":{...},\"https\":{...},\"ca\",\"pid\"}. It "
    "logs to stderr "
    "and ends at\n"
    "SIGTERM or SIGINT.\n"
    "\n"
    "  --dir STATE         folder for database, certificates and keys; made when missing, mode 0700\n"
    "  --mqtt-port N       MQTT over TLS; 0 takes a free port (default 8883)\n"
    "  --amqp-port N       AMQP over TLS; 0 takes a free port (default 5671)\n"
    "  --https-port N      HTTPS and WebSocket; 0 takes a free port (default 443)\n"
    "                      With no port option all listen on their default ports; with one or more, only "
    "the\n"
    "                      transports that are named listen.\n"
    "  --free-ports        all listen on free ports\n"
    "  --bind ADDRESS      IP address to listen on (default 127.0.0.1)\n"
    "  --name HOST         one more host name or address in the server certificate; may be repeated\n"
    "  --cert FILE         your own server certificate, PEM, followed by its intermediates\n"
    "  --key FILE          the private key of --cert, PEM\n"
    "  --hub NAME          hub for enrollments that have none (default " DEFAULT_HUB
    "); may be repeated: the\n"
    "                      devices are then spread over them\n"
    "  --webhook-ca FILE   CA certificates that webhooks are verified with, PEM (default: the system's)\n"
    "  --webhook-timeout S seconds that a webhook may take, 1..300 (default 5)\n"
    "  --retry-after S     seconds that a device is told to wait before it asks again, 0..300; 0 tells none\n"
    "                      (default 3)\n"
    "  --assign-after S    seconds for which an operation stays \"assigning\", 0..300 (default 0)\n"
    "  --connect-timeout S seconds from the TCP connection to the MQTT CONNECT, 1..300 (default 30)\n"
    "  --log-level LEVEL   error, warn, info or debug (default info)\n"
    "  --help              this text\n"
    "\n"
    "Without --cert a throw-away CA (STATE/ca.pem) and a server certificate are made at the first start and "
    "kept.\n"
    "Clients trust STATE/ca.pem.\n";

typedef struct serve_options {
    const char *dir, *bind, *cert, *key, *webhook_ca, *webhook_timeout, *retry_after, *assign_after,
        *connect_timeout, *log_level;
    const char *names[DPS_TLS_NAMES_MAX];
    size_t name_count;
    const char *hubs[DPS_HUBS_MAX];
    size_t hub_count;
    const char *ports[DPS_TRANSPORTS_MAX]; /* in the order of dps_transports */
    int port_numbers[DPS_TRANSPORTS_MAX];  /* -1: does not listen */
    bool free_ports;
    long webhook_timeout_s, retry_after_s, assign_after_s, connect_timeout_s;
} serve_options;

/* No port option: everything at its default port. Otherwise what is named. */
static int check_ports(const dps_cmd *cmd, serve_options *o)
{
    bool named = false;
    for (size_t i = 0; dps_transports[i] != NULL; i++)
        named = named || o->ports[i] != NULL;
    for (size_t i = 0; dps_transports[i] != NULL; i++) {
        long port = o->free_ports ? 0 : named ? -1 : dps_transports[i]->default_port;
        if (o->ports[i] != NULL && !dps_cmd_number(o->ports[i], 0, 65535, &port))
            return dps_cmd_usage(cmd, "--%s \"%s\" is not a port of 0..65535", dps_transports[i]->port_option,
                                 o->ports[i]);
        o->port_numbers[i] = (int)port;
    }
    return DPS_EXIT_OK;
}

/* Returns DPS_EXIT_OK, or an exit code after a complaint. */
static int check_options(const dps_cmd *cmd, serve_options *o)
{
    dps_log_level level = DPS_LOG_INFO;
    unsigned char address[16];
    o->retry_after_s = RETRY_AFTER_S;
    o->webhook_timeout_s = DPS_WEBHOOK_TIMEOUT_S;
    if (o->webhook_timeout != NULL &&
        !dps_cmd_number(o->webhook_timeout, 1, SECONDS_MAX, &o->webhook_timeout_s))
        return dps_cmd_usage(cmd, "--webhook-timeout \"%s\" is not a number of 1..300", o->webhook_timeout);
    if (o->webhook_ca != NULL && access(o->webhook_ca, R_OK) != 0)
        return dps_cmd_usage(cmd, "--webhook-ca \"%s\" cannot be read", o->webhook_ca);
    o->connect_timeout_s = CONNECT_TIMEOUT_S;
    if (o->retry_after != NULL && !dps_cmd_number(o->retry_after, 0, SECONDS_MAX, &o->retry_after_s))
        return dps_cmd_usage(cmd, "--retry-after \"%s\" is not a number of 0..300", o->retry_after);
    if (o->assign_after != NULL && !dps_cmd_number(o->assign_after, 0, SECONDS_MAX, &o->assign_after_s))
        return dps_cmd_usage(cmd, "--assign-after \"%s\" is not a number of 0..300", o->assign_after);
    if (o->connect_timeout != NULL &&
        !dps_cmd_number(o->connect_timeout, 1, SECONDS_MAX, &o->connect_timeout_s))
        return dps_cmd_usage(cmd, "--connect-timeout \"%s\" is not a number of 1..300", o->connect_timeout);
    if (o->log_level != NULL && !dps_log_level_parse(o->log_level, &level))
        return dps_cmd_usage(cmd, "--log-level \"%s\" is not error, warn, info or debug", o->log_level);
    if (inet_pton(AF_INET, o->bind, address) != 1 && inet_pton(AF_INET6, o->bind, address) != 1)
        return dps_cmd_usage(cmd, "--bind \"%s\" is not an IP address", o->bind);
    if (o->hub_count == 0)
        o->hubs[o->hub_count++] = DEFAULT_HUB;
    for (size_t i = 0; i < o->hub_count; i++) {
        if (!dps_host_valid(o->hubs[i], true) || strlen(o->hubs[i]) > DPS_HUB_MAX)
            return dps_cmd_usage(cmd, "--hub \"%s\" is not a host name", o->hubs[i]);
    }
    for (size_t i = 0; i < o->name_count; i++) {
        if (!dps_host_valid(o->names[i], false))
            return dps_cmd_usage(cmd, "--name \"%s\" is not a host name or address", o->names[i]);
    }
    if ((o->cert == NULL) != (o->key == NULL))
        return dps_cmd_usage(cmd, "--cert and --key belong together; one is missing");
    dps_log_set_level(level);
    return check_ports(cmd, o);
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

/* Clients connect to the bound address, so it has to be a name of the certificate. */
static bool prepare_tls(const serve_options *o, const dps_state *state, dps_tls_files *ret_files,
                        dps_fail *fail)
{
    if (o->cert != NULL)
        return dps_tls_check_own(o->cert, o->key, ret_files, fail);
    const char *names[DPS_TLS_NAMES_MAX + DPS_HUBS_MAX + 1];
    char hubs[DPS_HUBS_MAX][DPS_HUB_LEN];
    size_t count = 0;
    for (size_t i = 0; i < o->name_count; i++)
        names[count++] = o->names[i];
    for (size_t i = 0; i < o->hub_count; i++) { /* "host:port" is checked before: its host is a name */
        snprintf(hubs[i], sizeof(hubs[i]), "%s", o->hubs[i]);
        char *colon = strrchr(hubs[i], ':');
        if (colon != NULL && strchr(hubs[i], ':') == colon)
            *colon = '\0';
        names[count++] = hubs[i];
    }
    if (!is_wildcard(o->bind) && strcmp(o->bind, "127.0.0.1") != 0 && strcmp(o->bind, "::1") != 0)
        names[count++] = o->bind;
    return dps_tls_prepare(state, names, count, ret_files, fail);
}

static bool announce(const dps_service *service, const dps_server *server, const serve_options *o,
                     const dps_tls_files *tls, dps_fail *fail)
{
    const char *host = !is_wildcard(o->bind) ? o->bind : strcmp(o->bind, "::") == 0 ? "::1" : "127.0.0.1";
    cJSON *root = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(root, "idScope", dps_service_id_scope(service)) != NULL;
    for (size_t i = 0; ok && dps_transports[i] != NULL; i++) {
        if (dps_server_port(server, i) < 0)
            continue;
        cJSON *row = cJSON_AddObjectToObject(root, dps_transports[i]->name);
        ok = cJSON_AddStringToObject(row, "host", host) != NULL &&
             cJSON_AddNumberToObject(row, "port", dps_server_port(server, i)) != NULL;
    }
    if (ok && tls->ca[0] != '\0')
        ok = cJSON_AddStringToObject(root, "ca", tls->ca) != NULL;
    else if (ok)
        ok = cJSON_AddNullToObject(root, "ca") != NULL;
    ok = ok && cJSON_AddNumberToObject(root, "pid", getpid()) != NULL;
    char *line = ok ? dps_json_print(root) : NULL;
    if (!ok)
        cJSON_Delete(root);
    if (line == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    ok = puts(line) >= 0 && fflush(stdout) == 0;
    free(line);
    return ok || dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write to stdout, where the port is announced");
}

static dps_faults *new_faults(const dps_state *state)
{
    char path[DPS_PATH_LEN];
    return dps_state_path(state, DPS_FAULTS_NAME, path, NULL) ? dps_faults_new(path) : NULL;
}

static bool new_webhook(const serve_options *o, const dps_state *state, const dps_hubs *hubs,
                        dps_webhook **ret_webhook, dps_fail *fail)
{
    char path[DPS_PATH_LEN];
    const dps_webhook_config config = {
        .database = path,
        .hubs = hubs,
        .ca = o->webhook_ca,
        .timeout_s = (unsigned)o->webhook_timeout_s,
    };
    return dps_state_path(state, DPS_DATABASE_NAME, path, fail) &&
           dps_webhook_new(&config, ret_webhook, fail);
}

static bool serve(const serve_options *o, dps_state *state, dps_fail *fail)
{
    dps_tls_files *tls = calloc(1, sizeof(*tls)); /* three paths are too much for the stack */
    dps_store *store = NULL;
    dps_service *service = NULL;
    dps_server *server = NULL;
    dps_hub hub = {.store = NULL};
    dps_hubs hubs = {.count = 0};
    dps_faults *faults = new_faults(state);
    dps_tls_wrong *wrong = faults != NULL ? dps_tls_wrong_new(state, faults) : NULL;
    bool ok = false;
    for (size_t i = 0; i < o->hub_count; i++)
        ok = dps_hubs_add(&hubs, dps_span_of(o->hubs[i]));
    dps_webhook *webhook = NULL;
    dps_service_config service_config = {
        .hubs = &hubs,
        .faults = faults,
        .retry_after_s = (unsigned)o->retry_after_s,
        .assign_after_s = (unsigned)o->assign_after_s,
    };
    if (tls == NULL || wrong == NULL || !ok) {
        ok = dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
        goto out;
    }
    ok = false;
    if (!dps_state_lock(state, fail) || !dps_state_open_store(o->dir, true, &store, fail) ||
        !prepare_tls(o, state, tls, fail) || !new_webhook(o, state, &hubs, &webhook, fail))
        goto out;
    service_config.webhook = webhook;
    if (!dps_service_new(store, &service_config, &service, fail))
        goto out;
    if (!dps_hub_store_open(o->dir, true, &hub.store, fail))
        goto out;
    hub.registrations = store;
    dps_server_config server_config = {
        .bind = o->bind,
        .tls = tls,
        .wrong_certificates = wrong,
        .connect_timeout_s = (unsigned)o->connect_timeout_s,
    };
    memcpy(server_config.ports, o->port_numbers, sizeof(server_config.ports));
    if (!dps_server_new(service, &hub, &server_config, &server, fail) ||
        !announce(service, server, o, tls, fail))
        goto out;
    for (size_t i = 0; dps_transports[i] != NULL; i++) {
        if (dps_server_port(server, i) >= 0)
            dps_log(DPS_LOG_INFO, "%s: listening on %s port %d", dps_transports[i]->name, o->bind,
                    dps_server_port(server, i));
    }
    dps_log(DPS_LOG_INFO, "id scope %s", dps_service_id_scope(service));
    ok = dps_server_run(server, fail);
out:
    dps_server_free(&server);
    dps_service_free(&service);
    dps_webhook_free(&webhook);
    dps_hub_store_close(&hub.store);
    dps_store_close(&store);
    dps_tls_wrong_free(&wrong);
    dps_faults_free(&faults);
    free(tls);
    return ok;
}

static int run(const dps_cmd *cmd, int argc, char **argv)
{
    serve_options o = {.bind = "127.0.0.1"};
    dps_opt opts[OPTIONS_MAX + DPS_TRANSPORTS_MAX] = {
        {.name = "dir", .value = &o.dir, .required = true},
        {.name = "free-ports", .flag = &o.free_ports},
        {.name = "bind", .value = &o.bind},
        {.name = "name", .values = o.names, .values_max = DPS_TLS_NAMES_MAX, .values_count = &o.name_count},
        {.name = "cert", .value = &o.cert},
        {.name = "key", .value = &o.key},
        {.name = "hub", .values = o.hubs, .values_max = DPS_HUBS_MAX, .values_count = &o.hub_count},
        {.name = "webhook-ca", .value = &o.webhook_ca},
        {.name = "webhook-timeout", .value = &o.webhook_timeout},
        {.name = "retry-after", .value = &o.retry_after},
        {.name = "assign-after", .value = &o.assign_after},
        {.name = "connect-timeout", .value = &o.connect_timeout},
        {.name = "log-level", .value = &o.log_level},
    };
    size_t count = 0;
    while (opts[count].name != NULL)
        count++;
    for (size_t i = 0; dps_transports[i] != NULL; i++)
        opts[count++] = (dps_opt){.name = dps_transports[i]->port_option, .value = &o.ports[i]};
    int exit_code;
    dps_state state;
    dps_fail fail;
    if (!dps_cmd_options(cmd, argc, argv, opts, &exit_code) ||
        (exit_code = check_options(cmd, &o)) != DPS_EXIT_OK)
        return exit_code;
    if (!dps_state_open(o.dir, true, &state, &fail))
        return dps_cmd_failed(cmd, &fail);
    bool ok = serve(&o, &state, &fail);
    dps_state_close(&state);
    return ok ? DPS_EXIT_OK : dps_cmd_failed(cmd, &fail);
}

const dps_cmd dps_cmd_serve = {
    .name = "serve",
    .summary = "serve the device API",
    .help = help,
    .run = run,
};
