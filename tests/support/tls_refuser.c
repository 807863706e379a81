#include "tls_refuser.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 128
#define PATIENCE_S      60 /* for a client that says nothing */

#define RECORD_ALERT     21
#define RECORD_HEAD_SIZE 5U
#define ALERT_SIZE       2U

struct tls_refuser {
    int listener, port;
    bool raw;
    const char *answer;
    SSL_CTX *ctx;
    atomic_uint handshakes, application_size, version_alerts;
    atomic_bool stop;
    pthread_t acceptor, workers[CONNECTIONS_MAX];
    unsigned worker_count;
};

typedef struct work {
    tls_refuser *server;
    int fd;
} work;

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- TLS 1.1 by hand ---- */

static bool read_exactly(int fd, uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = recv(fd, bytes + at, size - at, 0);

        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static bool read_record(int fd, uint8_t *ret_type, uint8_t body[65536], size_t *ret_size)
{
    uint8_t head[RECORD_HEAD_SIZE];

    if (!read_exactly(fd, head, sizeof head))
        return false;
    *ret_type = head[0];
    *ret_size = (size_t)head[3] << 8 | head[4];
    return read_exactly(fd, body, *ret_size);
}

/* RFC 4346 section 7.4.1.3: no session, ECDHE-ECDSA-AES128-SHA, no compression. */
static void serve_raw(tls_refuser *server, int fd)
{
    static const uint8_t hello[RECORD_HEAD_SIZE + 42] = {
        22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, [RECORD_HEAD_SIZE + 38] = 0, 0xc0, 0x09, 0};
    static _Thread_local uint8_t body[65536];
    uint8_t type;
    size_t size;

    if (!read_record(fd, &type, body, &size) || send(fd, hello, sizeof hello, MSG_NOSIGNAL) < 0)
        return;
    while (read_record(fd, &type, body, &size)) {
        if (type == RECORD_ALERT && size == ALERT_SIZE && body[1] == SSL_AD_PROTOCOL_VERSION)
            atomic_fetch_add(&server->version_alerts, 1);
        else if (type != RECORD_ALERT)
            atomic_fetch_add(&server->application_size, (unsigned)size);
    }
}

/* ---- TLS ---- */

static void serve_tls(tls_refuser *server, int fd)
{
    SSL *ssl = SSL_new(server->ctx);
    char bytes[4096];

    must(ssl && SSL_set_fd(ssl, fd) == 1, "tls_refuser: SSL");
    if (SSL_accept(ssl) == 1) {
        int got = SSL_read(ssl, bytes, sizeof bytes);

        atomic_fetch_add(&server->handshakes, 1);
        if (got > 0)
            atomic_fetch_add(&server->application_size, (unsigned)got);
        if (got > 0 && server->answer)
            (void)SSL_write(ssl, server->answer, (int)strlen(server->answer));
        (void)SSL_shutdown(ssl);
    }
    /* the alert must arrive: no reset for bytes that were not read */
    (void)shutdown(fd, SHUT_WR);
    while (recv(fd, bytes, sizeof bytes, 0) > 0)
        continue;
    SSL_free(ssl);
    ERR_clear_error();
}

static void *serve(void *arg)
{
    work *w = arg;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    sigset_t pipe_only;

    /* in this thread only: the client has to look after itself */
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
    (void)setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (w->server->raw)
        serve_raw(w->server, w->fd);
    else
        serve_tls(w->server, w->fd);
    (void)close(w->fd);
    free(w);
    OPENSSL_thread_stop();
    return NULL;
}

static void *accept_all(void *arg)
{
    tls_refuser *server = arg;
    struct pollfd end = {.fd = server->listener, .events = POLLIN};

    while (!atomic_load(&server->stop)) {
        work *w;
        int fd;

        if (poll(&end, 1, 100) <= 0)
            continue;
        fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        must(fd >= 0 && server->worker_count < CONNECTIONS_MAX, "tls_refuser: accept");
        w = malloc(sizeof *w);
        must(w != NULL, "tls_refuser: malloc");
        *w = (work){.server = server, .fd = fd};
        must(pthread_create(&server->workers[server->worker_count++], NULL, serve, w) == 0,
             "tls_refuser: thread");
    }
    return NULL;
}

/* ---- set-up ---- */

static int accept_any_device(int ok, X509_STORE_CTX *store)
{
    (void)ok;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static void use_certificate(SSL_CTX *ctx, const fake_pki *pki, fake_server_cert which)
{
    BIO *cert_text = BIO_new_mem_buf(pki->server_cert[which], -1);
    BIO *key_text = BIO_new_mem_buf(pki->server_key, -1);
    X509 *cert = PEM_read_bio_X509(cert_text, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);

    must(cert && key && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1,
         "tls_refuser: certificate");
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(cert_text);
    BIO_free(key_text);
}

static SSL_CTX *make_ctx(const fake_pki *pki, const tls_refuser_script *script)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int least = script->tls_version ? script->tls_version : TLS1_2_VERSION;

    must(ctx && SSL_CTX_set_min_proto_version(ctx, least) == 1 &&
             SSL_CTX_set_max_proto_version(ctx, script->tls_version) == 1,
         "tls_refuser: versions");
    if (script->tls_version) /* below TLS 1.2 there are only signatures with SHA-1 */
        must(SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0") == 1, "tls_refuser: ciphers");
    use_certificate(ctx, pki, script->certificate);
    if (script->device_ca_file)
        must(SSL_CTX_load_verify_locations(ctx, script->device_ca_file, NULL) == 1, "tls_refuser: CA");
    if (script->device_ca_file)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any_device);
    return ctx;
}

tls_refuser *tls_refuser_start(const fake_pki *pki, const tls_refuser_script *script)
{
    tls_refuser *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    must(server != NULL, "tls_refuser: calloc");
    server->raw = script->raw_tls_1_1;
    server->answer = script->answer;
    server->ctx = make_ctx(pki, script);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server->listener >= 0 && bind(server->listener, (struct sockaddr *)&address, size) == 0 &&
             listen(server->listener, CONNECTIONS_MAX) == 0 &&
             getsockname(server->listener, (struct sockaddr *)&address, &size) == 0,
         "tls_refuser: listen");
    server->port = ntohs(address.sin_port);
    must(pthread_create(&server->acceptor, NULL, accept_all, server) == 0, "tls_refuser: thread");
    return server;
}

int tls_refuser_port(const tls_refuser *server)
{
    return server->port;
}

tls_refuser_seen tls_refuser_stop(tls_refuser *server)
{
    tls_refuser_seen seen;

    atomic_store(&server->stop, true);
    (void)pthread_join(server->acceptor, NULL);
    for (unsigned i = 0; i < server->worker_count; i++)
        (void)pthread_join(server->workers[i], NULL);
    seen = (tls_refuser_seen){
        .connections = server->worker_count,
        .handshakes = atomic_load(&server->handshakes),
        .application_size = atomic_load(&server->application_size),
        .version_alerts = atomic_load(&server->version_alerts),
    };
    (void)close(server->listener);
    SSL_CTX_free(server->ctx);
    free(server);
    return seen;
}
