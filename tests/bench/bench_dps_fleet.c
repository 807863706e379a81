/* A fleet that registers: many devices, each with a certificate and key of its own, against the real
 * keynym-dps over MQTT; and the same fleet doing nothing but the TLS handshake, against a server that does
 * nothing else.
 *
 * bench_dps_fleet KEYNYM-DPS [DEVICES [IN-FLIGHT]]
 *
 * Prints registrations per second, latencies, the server's CPU time per registration, per bare handshake, and
 * their ratio. Ends with exit code 1 when a device was not assigned. Needs about IN-FLIGHT descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "unit/test_dps_pki.h"

#define SERVER_NAME "localhost"
#define RES         "$dps/registrations/res/"

enum {
    DEVICES = 1000,
    IN_FLIGHT = 200,
    SOURCES = 8, /* 127.0.1.x: each has its own 28000 ports */
    EVENTS = 256,
    BUFFER = 4096,
    PATIENCE_S = 120, /* for one device */
};

static void die(const char *what)
{
    fprintf(stderr, "bench_dps_fleet: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* CPU seconds that the process has used, in the kernel's ticks. */
static double cpu_s(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof(line), file) == NULL)
        die(path);
    fclose(file);
    const char *rest = strrchr(line, ')');
    if (rest == NULL ||
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die(path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Peak resident memory in MB. */
static double peak_mb(pid_t pid)
{
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "VmHWM: %lf", &kb) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    return kb / 1024;
}

typedef enum stage {
    STAGE_TLS,
    STAGE_CONNACK,
    STAGE_SUBACK,
    STAGE_ASSIGNING,
    STAGE_ASSIGNED,
    STAGE_END, /* the server closes */
} stage;

typedef struct device {
    int fd;
    SSL *ssl;
    stage stage;
    double begun;
    char id[24];
    uint8_t in[BUFFER];
    size_t in_len;
} device;

typedef struct fleet {
    SSL_CTX *ctx;
    test_cert ca;
    int port;
    const char *scope; /* NULL: bare handshakes */
    size_t devices, in_flight;
    int epoll;
    size_t started, active, assigned, failed;
    double *latencies;
    char why[256]; /* of the first failure */
} fleet;

static size_t put_text(uint8_t *out, const char *text)
{
    size_t n = strlen(text);
    out[0] = (uint8_t)(n >> 8);
    out[1] = (uint8_t)n;
    memcpy(out + 2, text, n);
    return n + 2;
}

/* The client's sockets block for nothing but a full buffer, which these few bytes never are. */
static bool send_packet(device *d, uint8_t first, const uint8_t *body, size_t n)
{
    uint8_t packet[BUFFER];
    size_t at = 0;
    packet[at++] = first;
    if (n > 127)
        packet[at++] = (uint8_t)(0x80 | (n & 0x7f));
    packet[at++] = (uint8_t)(n > 127 ? n >> 7 : n);
    memcpy(packet + at, body, n);
    return SSL_write(d->ssl, packet, (int)(at + n)) == (int)(at + n);
}

static bool send_connect(const fleet *f, device *d)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 180};
    uint8_t body[BUFFER];
    char user[256];
    size_t n = sizeof(head);
    memcpy(body, head, n);
    n += put_text(body + n, d->id);
    snprintf(user, sizeof(user), "%s/registrations/%s/api-version=2019-03-31&ClientVersion=bench%%2F1",
             f->scope, d->id);
    n += put_text(body + n, user);
    return send_packet(d, 0x10, body, n);
}

static bool send_subscribe(device *d)
{
    uint8_t body[64] = {0, 1};
    size_t n = 2 + put_text(body + 2, RES "#");
    body[n++] = 1;
    return send_packet(d, 0x82, body, n);
}

static bool send_publish(device *d, const char *topic, const char *text)
{
    uint8_t body[BUFFER];
    size_t n = put_text(body, topic);
    body[n++] = 0;
    body[n++] = 2;
    memcpy(body + n, text, strlen(text));
    return send_packet(d, 0x32, body, n + strlen(text));
}

static void finish(fleet *f, device *d, const char *failure)
{
    if (failure == NULL) {
        f->latencies[f->assigned++] = now_s() - d->begun;
    } else {
        if (f->failed++ == 0)
            snprintf(f->why, sizeof(f->why), "%s: %s", d->id, failure);
    }
    ERR_clear_error();
    SSL_free(d->ssl);
    close(d->fd);
    d->ssl = NULL;
    f->active--;
}

static void begin(fleet *f, device *d)
{
    struct sockaddr_in from = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port)};
    int one = 1;
    *d = (device){.begun = now_s()};
    snprintf(d->id, sizeof(d->id), "fleet-%zu", f->started);
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = d->id, .issuer = &f->ca, .eku = "clientAuth"});
    from.sin_addr.s_addr = htonl(0x7f000101u + (uint32_t)(f->started % SOURCES));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->started++;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0 || setsockopt(d->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) != 0 ||
        setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        bind(d->fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        (connect(d->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS))
        die("socket");
    d->ssl = SSL_new(f->ctx);
    if (d->ssl == NULL || SSL_use_certificate(d->ssl, leaf.cert) != 1 ||
        SSL_use_PrivateKey(d->ssl, leaf.key) != 1 || SSL_set1_host(d->ssl, SERVER_NAME) != 1 ||
        SSL_set_fd(d->ssl, d->fd) != 1)
        die("SSL");
    SSL_set_connect_state(d->ssl);
    test_cert_free(&leaf);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = d};
    if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, d->fd, &event) != 0)
        die("epoll_ctl");
    f->active++;
}

/* One PUBLISH of the service. NULL, or what is wrong. */
static const char *on_answer(device *d, uint8_t first, const uint8_t *body, size_t n)
{
    char topic[256], text[1024];
    size_t topic_len = n > 2 ? (size_t)body[0] << 8 | body[1] : 0;
    size_t at = 2 + topic_len + ((first & 6) != 0 ? 2 : 0);
    if (topic_len == 0 || topic_len >= sizeof(topic) || at > n || n - at >= BUFFER)
        return "a malformed PUBLISH";
    memcpy(topic, body + 2, topic_len);
    topic[topic_len] = '\0';
    if (strncmp(topic, RES, sizeof(RES) - 1) != 0)
        return "another topic";
    int status = atoi(topic + sizeof(RES) - 1);
    if ((first & 6) != 0 && !send_packet(d, 0x40, body + 2 + topic_len, 2))
        return "PUBACK cannot be sent";
    if (status == 200 && d->stage == STAGE_ASSIGNED) {
        snprintf(text, sizeof(text), "%.*s", (int)(n - at), (const char *)body + at);
        if (strstr(text, "\"status\":\"assigned\"") == NULL)
            return "200 without assigned";
        d->stage = STAGE_END;
        return send_packet(d, 0xe0, body, 0) ? NULL : "DISCONNECT cannot be sent";
    }
    if (status != 202)
        return "another status";
    snprintf(text, sizeof(text), "%.*s", (int)(n - at), (const char *)body + at);
    char *id = strstr(text, "\"operationId\":\"");
    char *end = id != NULL ? strchr(id + 15, '"') : NULL;
    if (end == NULL)
        return "202 without operationId";
    *end = '\0';
    char poll[512];
    snprintf(poll, sizeof(poll), "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=%s",
             id + 15);
    d->stage = STAGE_ASSIGNED;
    return send_publish(d, poll, " ") ? NULL : "the poll cannot be sent";
}

static const char *on_packet(device *d, uint8_t first, const uint8_t *body, size_t n)
{
    char text[128];
    switch (first & 0xf0) { /* MQTT's packet types */
    case 0x20:
        if (d->stage != STAGE_CONNACK || n != 2 || body[1] != 0)
            return "CONNACK refuses";
        d->stage = STAGE_SUBACK;
        return send_subscribe(d) ? NULL : "SUBSCRIBE cannot be sent";
    case 0x90:
        if (d->stage != STAGE_SUBACK)
            return "SUBACK out of turn";
        d->stage = STAGE_ASSIGNING;
        snprintf(text, sizeof(text), "{\"registrationId\":\"%s\"}", d->id);
        return send_publish(d, "$dps/registrations/PUT/iotdps-register/?$rid=1", text)
                   ? NULL
                   : "PUBLISH cannot be sent";
    case 0x40:
        return NULL;
    case 0x30:
        return on_answer(d, first, body, n);
    default:
        return "a packet of another type";
    }
}

/* All complete packets of the buffer. */
static const char *on_bytes(device *d)
{
    for (;;) {
        size_t header = 2, n;
        if (d->in_len < 2)
            return NULL;
        n = d->in[1] & 0x7f;
        if ((d->in[1] & 0x80) != 0) {
            if (d->in_len < 3)
                return NULL;
            n |= (size_t)d->in[2] << 7;
            header = 3;
        }
        if (header + n > sizeof(d->in))
            return "a large packet";
        if (d->in_len < header + n)
            return NULL;
        const char *problem = on_packet(d, d->in[0], d->in + header, n);
        if (problem != NULL)
            return problem;
        memmove(d->in, d->in + header + n, d->in_len - header - n);
        d->in_len -= header + n;
    }
}

static bool shake_hands(fleet *f, device *d)
{
    int result = SSL_do_handshake(d->ssl);
    if (result == 1) {
        d->stage = f->scope != NULL ? STAGE_CONNACK : STAGE_END;
        bool ok = f->scope != NULL ? send_connect(f, d) : SSL_write(d->ssl, "x", 1) == 1;
        if (!ok)
            finish(f, d, "the first bytes cannot be sent");
        return ok;
    }
    int error = SSL_get_error(d->ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        finish(f, d, "the handshake failed");
    return false;
}

static void drive(fleet *f, device *d)
{
    if (d->ssl == NULL || (d->stage == STAGE_TLS && !shake_hands(f, d)))
        return;
    for (;;) {
        int n = SSL_read(d->ssl, d->in + d->in_len, (int)(sizeof(d->in) - d->in_len));
        if (n <= 0) {
            int error = SSL_get_error(d->ssl, n);
            if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
                return;
            finish(f, d, d->stage == STAGE_END ? NULL : "the server closed");
            return;
        }
        d->in_len += (size_t)n;
        const char *problem = on_bytes(d);
        if (problem != NULL) {
            finish(f, d, problem);
            return;
        }
    }
}

/* Keeps @in_flight devices busy until all are through. */
static double run_fleet(fleet *f)
{
    device *slots = calloc(f->in_flight, sizeof(*slots));
    struct epoll_event events[EVENTS];
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    f->latencies = calloc(f->devices, sizeof(*f->latencies));
    if (slots == NULL || f->latencies == NULL || f->epoll < 0)
        die("memory");
    double begun = now_s();
    while (f->assigned + f->failed < f->devices) {
        /* A few at a time: making a key and a certificate is work too, and the others wait for it. */
        size_t fresh = 0;
        for (size_t i = 0; i < f->in_flight && f->started < f->devices && fresh < 16; i++) {
            if (slots[i].ssl == NULL) {
                begin(f, &slots[i]);
                fresh++;
            }
        }
        int n = epoll_wait(f->epoll, events, EVENTS, f->started < f->devices && fresh == 16 ? 0 : 1000);
        for (int i = 0; i < n; i++)
            drive(f, events[i].data.ptr);
        for (size_t i = 0; n == 0 && i < f->in_flight; i++) {
            if (slots[i].ssl != NULL && now_s() - slots[i].begun > PATIENCE_S)
                finish(f, &slots[i], "no end within 120 s");
        }
    }
    double seconds = now_s() - begun;
    close(f->epoll);
    free(slots);
    return seconds;
}

static SSL_CTX *client_ctx(const char *ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1)
        die(ca);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
    return ctx;
}

static int accept_any(X509_STORE_CTX *ctx, void *user)
{
    (void)user;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

/* The yardstick: the same handshake (mutual, any client certificate, no tickets), one byte, the end. */
static void serve_handshakes(int listener, const char *cert, const char *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384:P-521") != 1 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
        die("the server for bare handshakes");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            SSL *ssl = events[i].data.ptr;
            if (ssl == NULL) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                ssl = fd >= 0 ? SSL_new(ctx) : NULL;
                if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
                    continue;
                SSL_set_accept_state(ssl);
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = ssl};
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            char byte;
            int got = SSL_read(ssl, &byte, 1); /* with the handshake before it */
            if (got <= 0 && SSL_get_error(ssl, got) == SSL_ERROR_WANT_READ)
                continue;
            int fd = SSL_get_fd(ssl);
            SSL_shutdown(ssl);
            SSL_free(ssl);
            close(fd);
            ERR_clear_error();
        }
    }
}

static pid_t start_handshakes(const char *dir, int *ret_port)
{
    char cert[128], key[128];
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 4096) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    snprintf(cert, sizeof(cert), "%s/server.pem", dir);
    snprintf(key, sizeof(key), "%s/server.key", dir);
    *ret_port = ntohs(address.sin_port);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_handshakes(listener, cert, key);
    }
    close(listener);
    return pid;
}

static pid_t start_dps(const char *program, const char *dir, int *ret_port, char scope[32])
{
    char line[1024] = "";
    int fds[2];
    if (pipe(fds) != 0)
        die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDOUT_FILENO);
        execl(program, "keynym-dps", "serve", "--dir", dir, "--mqtt-port", "0", "--retry-after", "0",
              "--connect-timeout", "300", "--log-level", "error", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    size_t n = 0;
    while (n + 1 < sizeof(line) && read(fds[0], line + n, 1) == 1 && line[n++] != '\n')
        ;
    const char *port = strstr(line, "\"port\":");
    const char *id = strstr(line, "\"idScope\":\"");
    if (port == NULL || id == NULL)
        die("keynym-dps did not start");
    *ret_port = atoi(port + 7);
    snprintf(scope, 32, "%.*s", (int)strcspn(id + 11, "\""), id + 11);
    return pid;
}

static void create_group(const char *program, const char *dir, const char *ca)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        execl(program, "keynym-dps", "group", "create", "--dir", dir, "--id", "fleet", "--certificate", ca,
              (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("group create");
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Runs the fleet against one server; prints a line; returns the server's CPU microseconds per device. */
static double measure(const char *what, fleet *f, pid_t server)
{
    double cpu = cpu_s(server);
    double seconds = run_fleet(f);
    cpu = cpu_s(server) - cpu;
    if (f->assigned == 0) {
        fprintf(stderr, "bench_dps_fleet: all %zu failed: %s\n", f->failed, f->why);
        exit(1);
    }
    qsort(f->latencies, f->assigned, sizeof(*f->latencies), by_size);
    printf("%-15s %6zu done %4zu failed %7.2f s %7.0f /s  p50 %6.3f s  p99 %6.3f s  server CPU %6.0f us "
           "each, peak %.0f MB\n",
           what, f->assigned, f->failed, seconds, (double)f->assigned / seconds,
           f->latencies[f->assigned / 2], f->latencies[f->assigned * 99 / 100],
           cpu * 1e6 / (double)f->assigned, peak_mb(server));
    if (f->failed > 0)
        printf("  first failure: %s\n", f->why);
    fflush(stdout);
    free(f->latencies);
    return cpu * 1e6 / (double)f->assigned;
}

static void end(pid_t pid)
{
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    char dir[64], ca[96], path[96], scope[32];
    size_t devices = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : DEVICES;
    size_t in_flight = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : IN_FLIGHT;
    if (argc < 2 || devices == 0 || in_flight == 0 || devices > 1000000 || in_flight > 20000) {
        fputs("usage: bench_dps_fleet KEYNYM-DPS [DEVICES [IN-FLIGHT]]\n", stderr);
        return 2;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_IGN);
    test_dir_make(dir);
    fleet f = {.devices = devices, .in_flight = in_flight};
    f.ca = test_cert_make(&(test_cert_spec){.cn = "Fleet root", .ca = 1});
    snprintf(path, sizeof(path), "%s/root.pem", dir);
    test_cert_write(f.ca.cert, path);
    create_group(argv[1], dir, path);
    pid_t server = start_dps(argv[1], dir, &f.port, scope);
    snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
    f.ctx = client_ctx(ca);
    f.scope = scope;
    printf("%zu devices, %zu in flight\n", devices, in_flight);
    double registration = measure("registrations", &f, server);
    size_t failed = f.failed;
    end(server);

    fleet bare = {.devices = devices, .in_flight = in_flight, .ctx = f.ctx, .ca = f.ca};
    server = start_handshakes(dir, &bare.port);
    double handshake = measure("bare handshakes", &bare, server);
    end(server);
    printf("a registration costs the server %.2f bare handshakes\n", registration / handshake);
    SSL_CTX_free(f.ctx);
    test_cert_free(&f.ca);
    test_dir_remove(dir);
    return failed + bare.failed > 0 ? 1 : 0;
}
