#include "dps_server.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dps_carrier.h"
#include "dps_log.h"

enum {
    WATCH_MS = 200,
    FILES_MAX = 65536, /* descriptors; libwebsockets has a table of this size */
};

struct dps_server {
    dps_carrier_host carrier;
    struct lws_context *context;
    struct lws_vhost *vhosts[DPS_TRANSPORTS_MAX];
    lws_sorted_usec_list_t watch;                          /* the timer that looks for messages for devices */
    struct lws_protocols protocols[DPS_TRANSPORTS_MAX][2]; /* the transport's and the end */
};

/* One server per process (it owns the signals), and the signal callback has no other way to say so. */
static bool stopping;

static int on_signal_fd(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)user;
    (void)in;
    (void)len;
    if (reason != LWS_CALLBACK_RAW_RX_FILE)
        return 0;
    struct signalfd_siginfo info;
    ssize_t n = read(lws_get_socket_fd(wsi), &info, sizeof(info));
    if (n == (ssize_t)sizeof(info)) {
        dps_log(DPS_LOG_INFO, "%s: stopping", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        stopping = true;
        lws_cancel_service(lws_get_context(wsi));
    }
    return 0;
}

static const dps_carrier_host *carrier_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

/* Hooks the listener's SSL_CTX before the first connection; everything else goes to the carrier. */
static int on_transport(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS)
        return dps_tls_configure(user, carrier_of(wsi)->wrong_certificates) ? 0 : -1;
    return dps_carrier_callback(wsi, reason, user, in, len);
}

static void on_lws_log(int level, const char *line)
{
    size_t n = strcspn(line, "\n");
    dps_log((level & LLL_ERR) != 0 ? DPS_LOG_WARN : DPS_LOG_DEBUG, "libwebsockets: %.*s", (int)n, line);
}

/* Many devices are many descriptors. */
static unsigned raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    rlim_t wanted = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
            return 1024;
    }
    return (unsigned)(limit.rlim_cur < FILES_MAX ? limit.rlim_cur : FILES_MAX);
}

/* libwebsockets says only that it could not listen. Try first, and say why. */
static bool check_bind(const char *address, int port, const char *name, dps_fail *fail)
{
    char service[16];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    snprintf(service, sizeof(service), "%d", port);
    if (getaddrinfo(address, service, &hints, &found) != 0)
        return dps_fail_set(fail, DPS_EXIT_USAGE, "--bind \"%s\" is not an IP address", address);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    if (!ok)
        return dps_fail_set(
            fail, error == EADDRINUSE ? DPS_EXIT_CONFLICT : DPS_EXIT_FAILED,
            "cannot listen on %s port %d: %s; stop the other program, or give --%s-port 0 for a free one",
            address, port, strerror(error), name);
    return true;
}

static bool listen_on(dps_server *server, size_t index, const dps_server_config *config, dps_fail *fail)
{
    const dps_transport *transport = dps_transports[index];
    if (!check_bind(config->bind, config->ports[index], transport->name, fail))
        return false;
    struct lws_protocols *protocols = server->protocols[index];
    protocols[0] = (struct lws_protocols){
        .name = transport->name,
        .callback = on_transport,
        .per_session_data_size = sizeof(dps_carrier),
        .user = (void *)transport, /* libwebsockets hands it back unchanged */
    };
    struct lws_context_creation_info info = {
        .port = config->ports[index],
        .iface = config->bind,
        .vhost_name = transport->name,
        .protocols = protocols,
        .ssl_cert_filepath = config->tls->cert,
        .ssl_private_key_filepath = config->tls->key,
        .alpn = transport->alpn,
        .timeout_secs = config->connect_timeout_s,
        .listen_accept_role = "raw-skt",
        .listen_accept_protocol = transport->name,
        .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                   LWS_SERVER_OPTION_ADOPT_APPLY_LISTEN_ACCEPT_CONFIG |
                   (strchr(config->bind, ':') == NULL ? LWS_SERVER_OPTION_DISABLE_IPV6 : 0),
    };
    server->vhosts[index] = lws_create_vhost(server->context, &info);
    if (server->vhosts[index] == NULL || dps_server_port(server, index) <= 0)
        return dps_fail_set(fail, DPS_EXIT_FAILED,
                            "cannot listen on %s port %d for %s; run again with --log-level debug",
                            config->bind, config->ports[index], transport->name);
    return true;
}

/* The administrator's commands write into the hub's database; its version tells at the price of one small
 * read. */
static void watch_hub(lws_sorted_usec_list_t *timer)
{
    dps_server *server = lws_container_of(timer, dps_server, watch);
    dps_hub *hub = server->carrier.host.hub;
    if (hub != NULL && dps_hub_store_changed(hub->store))
        dps_carrier_wake_all(&server->carrier);
    lws_sul_schedule(server->context, 0, timer, watch_hub, WATCH_MS * LWS_US_PER_MS);
}

static const struct lws_protocols signal_protocols[] = {
    {.name = "signals", .callback = on_signal_fd},
    {.name = NULL},
};

/* Signals arrive in the loop, like everything else, at a virtual host of their own. */
static bool take_signals(dps_server *server, dps_fail *fail)
{
    const struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .vhost_name = "signals",
        .protocols = signal_protocols,
    };
    struct lws_vhost *vhost = lws_create_vhost(server->context, &info);
    lws_sock_file_fd_type fd = {.filefd = -1};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0 ||
        (fd.filefd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot take signals: %s", strerror(errno));
    /* From here on libwebsockets owns the descriptor, also when it cannot use it. */
    if (vhost == NULL ||
        lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "signals", NULL) == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED,
                            "cannot watch for signals; run again with --log-level debug");
    return true;
}

bool dps_server_new(dps_service *service, dps_hub *hub, const dps_server_config *config,
                    dps_server **ret_server, dps_fail *fail)
{
    dps_server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    server->carrier = (dps_carrier_host){
        .host = {.service = service, .store = dps_service_store(service), .hub = hub},
        .connect_timeout_s = config->connect_timeout_s,
        .wrong_certificates = config->wrong_certificates,
    };
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    /* timeout_secs counts on the context: the virtual host's alone is not enough, and the default of 5 s cuts
     * handshakes that queue behind others. */
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
        .timeout_secs = config->connect_timeout_s,
        .fd_limit_per_thread = raise_file_limit(),
        .user = &server->carrier,
    };
    server->context = lws_create_context(&info);
    if (server->context == NULL) {
        dps_server_free(&server);
        return dps_fail_set(fail, DPS_EXIT_FAILED,
                            "libwebsockets does not start; run again with --log-level debug");
    }
    bool ok = true;
    for (size_t i = 0; ok && dps_transports[i] != NULL && i < DPS_TRANSPORTS_MAX; i++) {
        if (config->ports[i] >= 0)
            ok = listen_on(server, i, config, fail);
    }
    if (!ok || !take_signals(server, fail)) {
        dps_server_free(&server);
        return false;
    }
    watch_hub(&server->watch);
    *ret_server = server;
    return true;
}

int dps_server_port(const dps_server *server, size_t index)
{
    return server->vhosts[index] != NULL ? lws_get_vhost_listen_port(server->vhosts[index]) : -1;
}

bool dps_server_run(dps_server *server, dps_fail *fail)
{
    while (!stopping) {
        if (lws_service(server->context, 0) < 0)
            return dps_fail_set(fail, DPS_EXIT_FAILED,
                                "the event loop failed; run again with --log-level debug");
    }
    return true;
}

void dps_server_free(dps_server **server)
{
    if (*server == NULL)
        return;
    lws_context_destroy((*server)->context);
    free(*server);
    *server = NULL;
}
