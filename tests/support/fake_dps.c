#include "fake_dps.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct fake_dps {
    const fake_script *script;
    SSL_CTX *ctx;
    int listener;
    int stop_pipe[2];
    uint16_t port;
    char endpoint[32];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    fake_seen seen;
};

/* One client. A function returns false when the conversation is over. */
typedef struct client {
    fake_dps *dps;
    int fd;
    SSL *ssl;
    uint8_t packet[70000]; /* body of the last packet */
    size_t size;
    uint8_t first;
} client;

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False when the client is gone, the test ends, or 20 s are over. */
static bool wait_readable(const client *c)
{
    struct pollfd items[2] = {{.fd = c->fd, .events = POLLIN},
                              {.fd = c->dps->stop_pipe[0], .events = POLLIN}};

    if (c->ssl && SSL_pending(c->ssl) > 0)
        return true;
    return poll(items, 2, 20000) > 0 && items[1].revents == 0;
}

static bool receive(client *c, void *buffer, size_t size)
{
    uint8_t *at = buffer;

    while (size > 0) {
        int got;

        if (!wait_readable(c))
            return false;
        got = SSL_read(c->ssl, at, (int)size);
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static bool send_all(client *c, const void *data, size_t size)
{
    const uint8_t *at = data;
    size_t chunk = c->dps->script->chunk ? c->dps->script->chunk : size;

    while (size > 0) {
        size_t part = size < chunk ? size : chunk;

        if (SSL_write(c->ssl, at, (int)part) <= 0)
            return false;
        at += part;
        size -= part;
    }
    return true;
}

static void stall(client *c)
{
    uint8_t byte;

    while (receive(c, &byte, 1))
        continue;
}

/* True when the script wants the conversation to end here. */
static bool ends_at(client *c, fake_phase phase)
{
    if (c->dps->script->stall_at == phase)
        stall(c);
    return c->dps->script->stall_at == phase || c->dps->script->drop_at == phase;
}

static bool receive_packet(client *c)
{
    size_t size = 0;
    unsigned shift = 0;
    uint8_t digit;

    if (!receive(c, &c->first, 1))
        return false;
    do {
        if (shift > 21 || !receive(c, &digit, 1))
            return false;
        size |= (size_t)(digit & 0x7f) << shift;
        shift += 7;
    } while (digit & 0x80);
    c->size = size;
    return size <= sizeof c->packet && receive(c, c->packet, size);
}

/* Copies the text with a 16-bit length at *at and moves *at behind it. */
static bool take_text(const client *c, size_t *at, char *text, size_t capacity)
{
    size_t size;

    if (c->size - *at < 2)
        return false;
    size = (size_t)c->packet[*at] << 8 | c->packet[*at + 1];
    *at += 2;
    if (size > c->size - *at || size >= capacity)
        return false;
    memcpy(text, c->packet + *at, size);
    text[size] = '\0';
    *at += size;
    return true;
}

static bool take_connect(client *c)
{
    fake_seen *seen = &c->dps->seen;
    char protocol[8];
    size_t at = 0;

    if (!receive_packet(c) || c->first != 0x10 || !take_text(c, &at, protocol, sizeof protocol) ||
        strcmp(protocol, "MQTT") != 0 || c->size - at < 4 || c->packet[at] != 4)
        return false;
    seen->connect_flags = c->packet[at + 1];
    seen->keep_alive = (uint16_t)(c->packet[at + 2] << 8 | c->packet[at + 3]);
    at += 4;
    return take_text(c, &at, seen->client_id, sizeof seen->client_id) &&
           take_text(c, &at, seen->user_name, sizeof seen->user_name) && at == c->size;
}

static bool answer_connect(client *c)
{
    const fake_script *script = c->dps->script;
    uint8_t connack[] = {0x20, 2, 0, script->connack};

    if (script->connack_raw)
        return send_all(c, script->connack_raw, script->connack_raw_size);
    return send_all(c, connack, sizeof connack) && script->connack == 0;
}

static bool take_subscribe(client *c)
{
    fake_seen *seen = &c->dps->seen;
    size_t at = 2;

    if (!receive_packet(c) || c->first != 0x82 || !take_text(c, &at, seen->filter, sizeof seen->filter) ||
        at + 1 != c->size)
        return false;
    seen->filter_qos = c->packet[at];
    return true;
}

static bool answer_subscribe(client *c)
{
    uint8_t code = c->dps->script->suback ? c->dps->script->suback : 1;
    uint8_t suback[] = {0x90, 3, c->packet[0], c->packet[1], code};

    return send_all(c, suback, sizeof suback);
}

/* A PUBLISH by hand: first byte, remaining length, topic, packet id, body. */
static bool publish(client *c, const fake_reply *reply, const char *topic)
{
    size_t topic_size = strlen(topic), body_size = reply->body ? strlen(reply->body) : 0;
    size_t remaining = 2 + topic_size + 2 + body_size, at = 0;
    uint8_t *packet = malloc(remaining + 5);
    bool sent;

    MUST(packet);
    packet[at++] = reply->qos2 ? 0x34 : 0x32;
    while (remaining > 127) {
        packet[at++] = (uint8_t)((remaining & 127) | 128);
        remaining >>= 7;
    }
    packet[at++] = (uint8_t)remaining;
    packet[at++] = (uint8_t)(topic_size >> 8);
    packet[at++] = (uint8_t)(topic_size & 255);
    memcpy(packet + at, topic, topic_size);
    at += topic_size;
    packet[at++] = 0x12;
    packet[at++] = 0x34;
    if (body_size)
        memcpy(packet + at, reply->body, body_size);
    sent = send_all(c, packet, at + body_size);
    free(packet);
    return sent;
}

static bool answer_request(client *c, const fake_reply *reply, const char *asked_topic)
{
    const char *rid = strstr(asked_topic, "$rid=");
    char topic[600];

    if (reply->raw)
        return send_all(c, reply->raw, reply->raw_size);
    (void)snprintf(topic, sizeof topic, "$dps/registrations/res/%d/?$rid=%ld%s%s", reply->status,
                   (rid ? strtol(rid + 5, NULL, 10) : 0) + reply->rid_offset,
                   reply->retry_after ? "&retry-after=" : "", reply->retry_after ? reply->retry_after : "");
    return publish(c, reply, reply->topic ? reply->topic : topic);
}

static bool serve_request(client *c)
{
    fake_seen *seen = &c->dps->seen;
    const fake_script *script = c->dps->script;
    unsigned index = seen->requests;
    size_t at = 0, body_size;
    uint8_t puback[4] = {0x40, 2, 0, 0};

    if (index >= FAKE_REQUESTS_MAX || !take_text(c, &at, seen->topics[index], sizeof seen->topics[index]))
        return false;
    seen->qos[index] = c->first >> 1 & 3;
    if (seen->qos[index]) {
        memcpy(puback + 2, c->packet + at, 2);
        at += 2;
    }
    body_size = c->size - at < sizeof seen->bodies[index] ? c->size - at : sizeof seen->bodies[index] - 1;
    memcpy(seen->bodies[index], c->packet + at, body_size);
    seen->times_ms[index] = now_ms();
    seen->requests++;
    if (index == 0 && ends_at(c, FAKE_AFTER_REQUEST))
        return false;
    if (index >= script->replies_count)
        return false;
    if (seen->qos[index] && !script->replies[index].no_puback && !send_all(c, puback, sizeof puback))
        return false;
    if (index == 0 && ends_at(c, FAKE_AFTER_PUBACK))
        return false;
    if (!answer_request(c, &script->replies[index], seen->topics[index]))
        return false;
    return !(index == 0 && ends_at(c, FAKE_AFTER_REPLY));
}

static bool serve_packet(client *c)
{
    static const uint8_t pingresp[] = {0xd0, 0};

    if (!receive_packet(c))
        return false;
    switch (c->first >> 4) {
    case 3:
        return serve_request(c);
    case 4:
        c->dps->seen.pubacks++;
        return true;
    case 12:
        return send_all(c, pingresp, sizeof pingresp);
    case 14:
        c->dps->seen.disconnect = c->size == 0;
        return false;
    default:
        return false;
    }
}

static void note_handshake(client *c)
{
    fake_seen *seen = &c->dps->seen;
    X509 *peer = SSL_get1_peer_certificate(c->ssl);
    const char *name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);

    (void)snprintf(seen->tls_version, sizeof seen->tls_version, "%s", SSL_get_version(c->ssl));
    (void)snprintf(seen->server_name, sizeof seen->server_name, "%s", name ? name : "");
    if (peer)
        X509_NAME_oneline(X509_get_subject_name(peer), seen->device_subject,
                          (int)sizeof seen->device_subject);
    X509_free(peer);
}

static void converse(client *c)
{
    note_handshake(c);
    if (ends_at(c, FAKE_AFTER_TLS) || !take_connect(c) || ends_at(c, FAKE_AFTER_CONNECT))
        return;
    if (!answer_connect(c) || ends_at(c, FAKE_AFTER_CONNACK))
        return;
    if (!take_subscribe(c) || ends_at(c, FAKE_AFTER_SUBSCRIBE))
        return;
    if (!answer_subscribe(c) || ends_at(c, FAKE_AFTER_SUBACK))
        return;
    while (serve_packet(c))
        continue;
}

static void reset_seen(fake_dps *dps)
{
    unsigned connections;

    (void)pthread_mutex_lock(&dps->lock);
    connections = dps->seen.connections;
    dps->seen = (fake_seen){.connections = connections};
    (void)pthread_mutex_unlock(&dps->lock);
}

/* Closing with unread bytes would reset the connection, and the client might lose what was sent before. */
static void linger(const client *c)
{
    char rest[512];

    (void)shutdown(c->fd, SHUT_WR);
    while (wait_readable(c) && read(c->fd, rest, sizeof rest) > 0)
        continue;
    (void)close(c->fd);
}

static void serve_client(fake_dps *dps, int fd)
{
    client *c = calloc(1, sizeof *c);
    int on = 1;

    MUST(c && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    reset_seen(dps);
    c->dps = dps;
    c->fd = fd;
    if (dps->script->stall_at == FAKE_AT_ACCEPT) {
        struct pollfd stop = {.fd = dps->stop_pipe[0], .events = POLLIN};

        (void)poll(&stop, 1, 20000);
    } else if (dps->script->drop_at != FAKE_AT_ACCEPT) {
        c->ssl = SSL_new(dps->ctx);
        MUST(c->ssl && SSL_set_fd(c->ssl, fd));
        if (SSL_accept(c->ssl) == 1) {
            converse(c);
            if (dps->script->drop_at == FAKE_NEVER) /* a drop comes without close_notify */
                (void)SSL_shutdown(c->ssl);
        }
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    ERR_clear_error();
    linger(c);
    free(c);
    (void)pthread_mutex_lock(&dps->lock);
    dps->seen.connections++;
    (void)pthread_cond_broadcast(&dps->changed);
    (void)pthread_mutex_unlock(&dps->lock);
}

static void *serve(void *context)
{
    fake_dps *dps = context;
    sigset_t all;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (;;) {
        struct pollfd items[2] = {{.fd = dps->listener, .events = POLLIN},
                                  {.fd = dps->stop_pipe[0], .events = POLLIN}};
        int fd;

        (void)poll(items, 2, -1);
        if (items[1].revents)
            return NULL;
        fd = accept(dps->listener, NULL, NULL);
        if (fd >= 0)
            serve_client(dps, fd);
    }
}

static int verify_device(X509_STORE_CTX *store, void *context)
{
    const fake_dps *dps = context;

    if (!dps->script->refuse_device)
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
    return 0;
}

static int note_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in,
                     unsigned int in_size, void *context)
{
    (void)ssl, (void)out, (void)out_size, (void)in, (void)in_size;
    ((fake_dps *)context)->seen.alpn = true;
    return SSL_TLSEXT_ERR_NOACK;
}

static void set_up_tls(fake_dps *dps, const fake_pki *pki)
{
    BIO *cert_bio = BIO_new_mem_buf(pki->server_cert[dps->script->certificate], -1);
    BIO *key_bio = BIO_new_mem_buf(pki->server_key, -1);
    X509 *certificate = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);

    dps->ctx = SSL_CTX_new(TLS_server_method());
    MUST(dps->ctx && SSL_CTX_use_certificate(dps->ctx, certificate) && SSL_CTX_use_PrivateKey(dps->ctx, key));
    SSL_CTX_set_verify(dps->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(dps->ctx, verify_device, dps);
    SSL_CTX_set_alpn_select_cb(dps->ctx, note_alpn, dps);
    SSL_CTX_set_session_cache_mode(dps->ctx, SSL_SESS_CACHE_OFF);
    if (dps->script->tls_version) {
        MUST(SSL_CTX_set_min_proto_version(dps->ctx, dps->script->tls_version));
        MUST(SSL_CTX_set_max_proto_version(dps->ctx, dps->script->tls_version));
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(cert_bio);
    BIO_free(key_bio);
}

fake_dps *fake_dps_start(const fake_pki *pki, const fake_script *script)
{
    fake_dps *dps = calloc(1, sizeof *dps);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;

    MUST(dps);
    dps->script = script;
    set_up_tls(dps, pki);
    dps->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(dps->listener >= 0 && pipe(dps->stop_pipe) == 0);
    MUST(bind(dps->listener, (struct sockaddr *)&address, size) == 0 && listen(dps->listener, 64) == 0);
    MUST(getsockname(dps->listener, (struct sockaddr *)&address, &size) == 0);
    dps->port = ntohs(address.sin_port);
    (void)snprintf(dps->endpoint, sizeof dps->endpoint, "localhost:%u", dps->port);
    MUST(pthread_mutex_init(&dps->lock, NULL) == 0 && pthread_cond_init(&dps->changed, NULL) == 0);
    MUST(pthread_create(&dps->thread, NULL, serve, dps) == 0);
    return dps;
}

uint16_t fake_dps_port(const fake_dps *dps)
{
    return dps->port;
}

const char *fake_dps_endpoint(const fake_dps *dps)
{
    return dps->endpoint;
}

void fake_dps_wait(fake_dps *dps, unsigned connections)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    (void)pthread_mutex_lock(&dps->lock);
    while (dps->seen.connections < connections) {
        if (pthread_cond_timedwait(&dps->changed, &dps->lock, &until) != 0)
            break;
    }
    (void)pthread_mutex_unlock(&dps->lock);
}

const fake_seen *fake_dps_seen(const fake_dps *dps)
{
    return &dps->seen;
}

void fake_dps_stop(fake_dps *dps)
{
    MUST(write(dps->stop_pipe[1], "x", 1) == 1);
    MUST(pthread_join(dps->thread, NULL) == 0);
    (void)close(dps->stop_pipe[0]);
    (void)close(dps->stop_pipe[1]);
    (void)close(dps->listener);
    SSL_CTX_free(dps->ctx);
    (void)pthread_cond_destroy(&dps->changed);
    (void)pthread_mutex_destroy(&dps->lock);
    free(dps);
}
