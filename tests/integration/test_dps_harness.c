#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cJSON.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* In the child: the program with @args. Ends with the test, whatever happens to it. */
static void exec_program(int out, const char *const *args)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    setenv("OPENSSL_CONF", "/nonexistent/openssl.cnf", 1); /* the program must not look at it */
    execv(KEYNYM_DPS, (char *const *)args);                /* which does not change them */
    _exit(127);
}

/* Reads until @until (or the end when it is 0). Returns the bytes read, NUL-terminated in @out. */
static size_t read_until(int fd, char until, char *out, size_t cap)
{
    size_t n = 0;
    long deadline = now_ms() + DEADLINE_MS;
    while (n + 1 < cap) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        long left = deadline - now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            fail_msg("no output within %d ms", DEADLINE_MS);
        ssize_t got = read(fd, out + n, 1);
        if (got <= 0)
            break;
        if (out[n++] == until && until != '\0')
            break;
    }
    out[n] = '\0';
    return n;
}

static int port_of(const cJSON *root, const char *transport)
{
    const cJSON *port = cJSON_GetObjectItem(cJSON_GetObjectItem(root, transport), "port");
    return cJSON_IsNumber(port) ? port->valueint : 0;
}

void server_start(server *s, const char *const *more)
{
    const char *args[24] = {"keynym-dps",  "serve", "--dir",       s->dir,
                            "--mqtt-port", "0",     "--log-level", "error"};
    size_t n = 8;
    if (s->bind) {
        args[n++] = "--bind";
        args[n++] = s->bind;
    }
    for (; more != NULL && *more != NULL; more++)
        args[n++] = *more;
    int fds[2];
    char line[1024];
    assert_int_equal(pipe(fds), 0);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        close(fds[0]);
        exec_program(fds[1], args);
    }
    close(fds[1]);
    s->out = fds[0];
    read_until(s->out, '\n', line, sizeof(line));
    cJSON *root = cJSON_Parse(line);
    const cJSON *mqtt = cJSON_GetObjectItem(root, "mqtt");
    const cJSON *scope = cJSON_GetObjectItem(root, "idScope");
    assert_true(cJSON_IsString(scope));
    assert_int_equal((int)cJSON_GetNumberValue(cJSON_GetObjectItem(root, "pid")), s->pid);
    snprintf(s->scope, sizeof(s->scope), "%s", scope->valuestring);
    s->port = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(mqtt, "port"));
    assert_true(s->port > 0);
    s->https_port = port_of(root, "https");
    s->amqp_port = port_of(root, "amqp");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(mqtt, "host")),
                        s->bind ? s->bind : "127.0.0.1");
    snprintf(s->ca, sizeof(s->ca), "%s/ca.pem", s->dir);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(root, "ca")), s->ca);
    cJSON_Delete(root);
}

static int exit_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int server_stop(server *s, int signal_number)
{
    char rest[256];
    assert_int_equal(kill(s->pid, signal_number), 0);
    assert_int_equal(read_until(s->out, '\0', rest, sizeof(rest)), 0); /* one line only, then its end */
    close(s->out);
    int code = exit_of(s->pid);
    s->pid = 0;
    return code;
}

int run_program(char *ret_out, const char *first, ...)
{
    const char *args[16] = {"keynym-dps", first};
    char local[OUTPUT_MAX];
    va_list ap;
    va_start(ap, first);
    for (size_t i = 2; i < 15 && (args[i] = va_arg(ap, const char *)) != NULL; i++)
        ;
    va_end(ap);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        exec_program(fds[1], args);
    }
    close(fds[1]);
    read_until(fds[0], '\0', ret_out != NULL ? ret_out : local, OUTPUT_MAX);
    close(fds[0]);
    return exit_of(pid);
}

int tcp_connect(int port)
{
    const struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
    int one = 1; /* small packets in turns: without it each waits for a delayed ACK */
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

bool client_try(client *c, const server *s, int version, const test_cert *leaf, const test_cert *issuer)
{
    signal(SIGPIPE, SIG_IGN);
    *c = (client){.ctx = SSL_CTX_new(TLS_client_method())};
    assert_non_null(c->ctx);
    SSL_CTX_set_min_proto_version(c->ctx, version);
    SSL_CTX_set_max_proto_version(c->ctx, version);
    if (version != 0 && version < TLS1_2_VERSION)
        SSL_CTX_set_cipher_list(c->ctx, "ALL:@SECLEVEL=0");
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_CTX_load_verify_locations(c->ctx, s->ca, NULL), 1);
    if (leaf != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(c->ctx, leaf->cert), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(c->ctx, leaf->key), 1);
        if (issuer != NULL)
            assert_int_equal(SSL_CTX_add1_chain_cert(c->ctx, issuer->cert), 1);
        else
            SSL_CTX_set_mode(c->ctx, SSL_MODE_NO_AUTO_CHAIN);
    }
    c->fd = tcp_connect(s->port);
    c->ssl = SSL_new(c->ctx);
    assert_non_null(c->ssl);
    assert_int_equal(SSL_set1_host(c->ssl, "global.azure-devices-provisioning.net"), 1);
    assert_int_equal(SSL_set_tlsext_host_name(c->ssl, "global.azure-devices-provisioning.net"), 1);
    assert_int_equal(SSL_set_fd(c->ssl, c->fd), 1);
    if (SSL_connect(c->ssl) == 1)
        return true;
    client_close(c);
    return false;
}

void client_open(client *c, const server *s, int version, const test_cert *leaf, const test_cert *issuer)
{
    assert_true(client_try(c, s, version, leaf, issuer));
}

void client_close(client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    ERR_clear_error();
    *c = (client){.fd = -1};
}

static void raw_send(client *c, const void *bytes, size_t n)
{
    assert_int_equal(SSL_write(c->ssl, bytes, (int)n), (int)n);
}

/* In a frame of its own when it is a WebSocket: final, binary, masked. */
void client_send(client *c, const void *bytes, size_t n)
{
    static const uint8_t mask[4] = {0x12, 0xa5, 0x00, 0xff};
    uint8_t frame[9000];
    size_t at = 2;
    if (!c->ws) {
        raw_send(c, bytes, n);
        return;
    }
    assert_true(n + 8 <= sizeof(frame));
    frame[0] = 0x82;
    frame[1] = (uint8_t)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        frame[at++] = (uint8_t)(n >> 8);
        frame[at++] = (uint8_t)n;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < n; i++)
        frame[at + i] = ((const uint8_t *)bytes)[i] ^ mask[i % 4];
    raw_send(c, frame, at + n);
}

static void raw_read(client *c, uint8_t *out, size_t n)
{
    for (size_t have = 0; have < n;) {
        int got = SSL_read(c->ssl, out + have, (int)(n - have));
        if (got <= 0)
            fail_msg("the server closed, or was silent: SSL error %d", SSL_get_error(c->ssl, got));
        have += (size_t)got;
    }
}

/* The header of a server's frame: binary, final, not masked. */
static void frame_header(client *c)
{
    uint8_t head[10];
    raw_read(c, head, 2);
    assert_int_equal(head[0], 0x82);
    assert_true(head[1] < 127);
    c->frame_left = head[1];
    if (head[1] == 126) {
        raw_read(c, head + 2, 2);
        c->frame_left = (size_t)head[2] << 8 | head[3];
        assert_true(c->frame_left >= 126);
    }
}

void client_read(client *c, uint8_t *out, size_t n)
{
    if (!c->ws) {
        raw_read(c, out, n);
        return;
    }
    while (n > 0) {
        while (c->frame_left == 0)
            frame_header(c);
        size_t piece = n < c->frame_left ? n : c->frame_left;
        raw_read(c, out, piece);
        c->frame_left -= piece;
        out += piece;
        n -= piece;
    }
}

/* A WebSocket that is closed counts as the end. */
size_t client_read_some(client *c, uint8_t *out, size_t cap)
{
    if (c->ws && c->frame_left == 0) {
        uint8_t first;
        if (SSL_peek(c->ssl, &first, 1) != 1 || first == 0x88)
            return 0;
        frame_header(c);
    }
    size_t wanted = c->ws && c->frame_left < cap ? c->frame_left : cap;
    int got = SSL_read(c->ssl, out, (int)wanted);
    ERR_clear_error();
    if (got <= 0)
        return 0;
    if (c->ws)
        c->frame_left -= (size_t)got;
    return (size_t)got;
}

/* The key and its answer are those of RFC 6455, 1.3. */
void client_upgrade(client *c, const char *subprotocol)
{
    char request[512], head[1024], expected[64];
    size_t n = 0;
    snprintf(request, sizeof(request),
             "GET /$iothub/websocket HTTP/1.1\r\nHost: dps.test:443\r\nConnection: Upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
             "Sec-WebSocket-Protocol: %s\r\n\r\n",
             subprotocol);
    raw_send(c, request, strlen(request));
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n + 1 < sizeof(head));
        raw_read(c, (uint8_t *)head + n++, 1);
    }
    head[n] = '\0';
    assert_memory_equal(head, "HTTP/1.1 101 ", 13);
    assert_non_null(strstr(head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    snprintf(expected, sizeof(expected), "\r\nSec-WebSocket-Protocol: %s\r\n", subprotocol);
    assert_non_null(strstr(head, expected));
    assert_null(strstr(head, "Sec-WebSocket-Extensions"));
    c->ws = true;
}

void client_expect(client *c, const void *bytes, size_t n)
{
    uint8_t got[64];
    assert_true(n <= sizeof(got));
    client_read(c, got, n);
    assert_memory_equal(got, bytes, n);
}

size_t client_read_all(client *c, char *out, size_t cap)
{
    size_t n = 0;
    int got = 0;
    while (n + 1 < cap && (got = SSL_read(c->ssl, out + n, (int)(cap - 1 - n))) > 0)
        n += (size_t)got;
    out[n] = '\0';
    ERR_clear_error();
    return n;
}

void client_expect_end(client *c)
{
    uint8_t byte;
    errno = 0;
    int got = SSL_read(c->ssl, &byte, 1);
    assert_true(got <= 0);
    int error = SSL_get_error(c->ssl, got);
    bool timed_out = error == SSL_ERROR_WANT_READ || (error == SSL_ERROR_SYSCALL && errno == EAGAIN);
    assert_false(timed_out);
    ERR_clear_error();
}

void packet_text(packet *p, const char *text)
{
    size_t n = strlen(text);
    assert_true(p->n + 2 + n <= sizeof(p->bytes));
    p->bytes[p->n++] = (uint8_t)(n >> 8);
    p->bytes[p->n++] = (uint8_t)n;
    memcpy(p->bytes + p->n, text, n);
    p->n += n;
}

void packet_finish(packet *p, uint8_t first)
{
    uint8_t head[3] = {first, (uint8_t)p->n};
    size_t head_len = 2;
    assert_true(p->n < 8000);
    if (p->n > 127) {
        head[1] = (uint8_t)(0x80 | (p->n & 0x7f));
        head[2] = (uint8_t)(p->n >> 7);
        head_len = 3;
    }
    memmove(p->bytes + head_len, p->bytes, p->n);
    memcpy(p->bytes, head, head_len);
    p->n += head_len;
}

packet connect_packet(const char *scope, const char *id, const char *query, unsigned keepalive_s)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x82};
    packet p = {.n = sizeof(head)};
    char user[1024];
    memcpy(p.bytes, head, sizeof(head));
    p.bytes[p.n++] = (uint8_t)(keepalive_s >> 8);
    p.bytes[p.n++] = (uint8_t)keepalive_s;
    packet_text(&p, id);
    snprintf(user, sizeof(user), "%s/registrations/%s/%s", scope, id, query);
    packet_text(&p, user);
    packet_finish(&p, 0x10);
    return p;
}

packet publish_packet(uint8_t first, unsigned packet_id, const char *topic, const char *body)
{
    packet p = {.n = 0};
    packet_text(&p, topic);
    if ((first & 6) != 0) {
        p.bytes[p.n++] = (uint8_t)(packet_id >> 8);
        p.bytes[p.n++] = (uint8_t)packet_id;
    }
    memcpy(p.bytes + p.n, body, strlen(body));
    p.n += strlen(body);
    packet_finish(&p, first);
    return p;
}

void client_hello(client *c, const server *s, const char *id)
{
    static const uint8_t subscribe[] = "\x82\x1d\0\1\0\x18$dps/registrations/res/#\1";
    packet p = connect_packet(
        s->scope, id, "api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1", 180);
    client_send(c, p.bytes, p.n);
    client_expect(c, "\x20\2\0\0", 4);
    client_send(c, subscribe, sizeof(subscribe) - 1);
    client_expect(c, "\x90\3\0\1\1", 5);
}

void client_message(client *c, message *ret)
{
    uint8_t first, digit, packet_id[2];
    uint8_t body[8192];
    size_t length = 0;
    unsigned shift = 0;
    client_read(c, &first, 1);
    assert_true((first & 0xf0) == 0x30);
    do {
        client_read(c, &digit, 1);
        length |= (size_t)(digit & 0x7f) << shift;
        shift += 7;
    } while ((digit & 0x80) != 0);
    assert_true(length > 2 && length < sizeof(body));
    client_read(c, body, length);
    size_t topic_len = (size_t)body[0] << 8 | body[1];
    size_t at = 2 + topic_len;
    assert_true(topic_len < sizeof(ret->topic) && at <= length);
    memcpy(ret->topic, body + 2, topic_len);
    ret->topic[topic_len] = '\0';
    if ((first & 6) != 0) {
        assert_true((first & 6) == 2 && at + 2 <= length);
        memcpy(packet_id, body + at, 2);
        const uint8_t puback[] = {0x40, 2, packet_id[0], packet_id[1]};
        client_send(c, puback, sizeof(puback));
        at += 2;
    }
    assert_true(length - at < sizeof(ret->body));
    memcpy(ret->body, body + at, length - at);
    ret->body[length - at] = '\0';
    static const char prefix[] = "$dps/registrations/res/";
    assert_memory_equal(ret->topic, prefix, sizeof(prefix) - 1);
    ret->status = atoi(ret->topic + sizeof(prefix) - 1);
}

void client_register(client *c, const char *rid, const char *body, message *ret)
{
    char topic[256];
    snprintf(topic, sizeof(topic), "$dps/registrations/PUT/iotdps-register/?$rid=%s", rid);
    packet p = publish_packet(0x32, 7, topic, body);
    client_send(c, p.bytes, p.n);
    client_expect(c, "\x40\2\0\7", 4);
    client_message(c, ret);
}

void client_poll(client *c, const char *rid, const char *operation_id, message *ret)
{
    char topic[512];
    snprintf(topic, sizeof(topic),
             "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=%s&operationId=%s", rid, operation_id);
    packet p = publish_packet(0x32, 8, topic, " ");
    client_send(c, p.bytes, p.n);
    client_expect(c, "\x40\2\0\10", 4);
    client_message(c, ret);
}

void operation_of(const message *m, char ret_id[128])
{
    cJSON *root = cJSON_Parse(m->body);
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(root, "operationId"));
    assert_non_null(id);
    snprintf(ret_id, 128, "%s", id);
    cJSON_Delete(root);
}

void client_provision(client *c, const char *id, char ret_operation[128])
{
    message m;
    char body[256];
    snprintf(body, sizeof(body), "{\"registrationId\":\"%s\"}", id);
    client_register(c, "r-1", body, &m);
    if (m.status != 202)
        fail_msg("%s %s", m.topic, m.body);
    assert_string_equal(m.topic, "$dps/registrations/res/202/?$rid=r-1&retry-after=3");
    operation_of(&m, ret_operation);
    client_poll(c, "r-2", ret_operation, &m);
    assert_string_equal(m.topic, "$dps/registrations/res/200/?$rid=r-2");
    assert_non_null(strstr(m.body, "\"status\":\"assigned\""));
    assert_non_null(strstr(m.body, "\"assignedHub\":\"hub.example.test\""));
}
