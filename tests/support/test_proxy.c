#include "test_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256

struct test_proxy {
    int listener, port;
    bool ipv6;
    test_proxy_script script;
    atomic_bool cut;
    const char *user, *password;
    atomic_uint tunnels, refusals;
    atomic_bool stop;
    pthread_t acceptor, workers[CONNECTIONS_MAX];
    unsigned worker_count;
};

typedef struct work {
    test_proxy *proxy;
    int fd;
} work;

static void must(bool condition, const char *what)
{
    if (!condition) {
        perror(what);
        exit(1);
    }
}

static bool read_exactly(int fd, void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = recv(fd, (char *)bytes + at, size - at, 0);

        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static bool write_all(int fd, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t put = send(fd, (const char *)bytes + at, size - at, MSG_NOSIGNAL);

        if (put <= 0)
            return false;
        at += (size_t)put;
    }
    return true;
}

typedef union loopback {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} loopback;

static socklen_t loopback_of(bool ipv6, int port, loopback *ret)
{
    if (ipv6) {
        *ret = (loopback){.v6 = {.sin6_family = AF_INET6,
                                 .sin6_port = htons((uint16_t)port),
                                 .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
        return sizeof ret->v6;
    }
    *ret = (loopback){.v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
    ret->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof ret->v4;
}

static int connect_to(const test_proxy *proxy, int port)
{
    loopback address;
    socklen_t size = loopback_of(proxy->ipv6, port, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &address.any, size) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* ---- what goes wrong ---- */

static bool is_cut(test_proxy *proxy)
{
    return atomic_load(&proxy->stop) || atomic_load(&proxy->cut);
}

/* True: this is the step, and the connection is to be closed now. */
static bool goes_wrong(test_proxy *proxy, int fd, test_proxy_step step)
{
    struct pollfd end = {.fd = fd, .events = POLLIN};
    char bytes[4096];

    if (proxy->script.step != step)
        return false;
    while (proxy->script.stall && !atomic_load(&proxy->stop))
        if (poll(&end, 1, 100) > 0 && recv(fd, bytes, sizeof bytes, 0) <= 0)
            break;
    return true;
}

static bool pass_on(const test_proxy *proxy, int fd, const void *bytes, size_t size)
{
    size_t part = proxy->script.slow ? 1 : size;

    for (size_t at = 0; at < size; at += part)
        if (!write_all(fd, (const char *)bytes + at, part))
            return false;
    return true;
}

/* Sends what the proxy itself has to say; false when it goes wrong @in the middle, or @after it. */
static bool say(test_proxy *proxy, int fd, const void *bytes, size_t size, test_proxy_step in,
                test_proxy_step after)
{
    if (proxy->script.step == in)
        return pass_on(proxy, fd, bytes, size / 2) && !goes_wrong(proxy, fd, in);
    return pass_on(proxy, fd, bytes, size) && !goes_wrong(proxy, fd, after);
}

/* ---- HTTP CONNECT ---- */

static bool basic_fits(const test_proxy *proxy, const char *head)
{
    char plain[256], wanted[600] = "Proxy-Authorization: Basic ";

    if (!proxy->user)
        return true;
    (void)snprintf(plain, sizeof plain, "%s:%s", proxy->user, proxy->password);
    (void)EVP_EncodeBlock((unsigned char *)wanted + strlen(wanted), (unsigned char *)plain,
                          (int)strlen(plain));
    strcat(wanted, "\r\n");
    return strcasestr(head, wanted) != NULL;
}

/* The tunnel's other end, or -1. */
static int serve_connect(test_proxy *proxy, int fd)
{
    static const char wrong[] = "HTTP/1.1 407 Proxy Authentication Required\r\n"
                                "Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n";
    static const char done[] = "HTTP/1.1 200 Connection established\r\n\r\n";

    for (;;) {
        char head[4096] = "C", host[256];
        size_t used = 1;
        int port, target;

        while (!strstr(head, "\r\n\r\n")) {
            if (used + 1 == sizeof head || !read_exactly(fd, head + used, 1))
                return -1;
            head[++used] = '\0';
        }
        if (sscanf(head, "CONNECT [%255[^]]]:%d ", host, &port) != 2 &&
            sscanf(head, "CONNECT %255[^:]:%d ", host, &port) != 2)
            return -1;
        if (!basic_fits(proxy, head)) {
            atomic_fetch_add(&proxy->refusals, 1);
            if (!write_all(fd, wrong, sizeof wrong - 1) || !read_exactly(fd, head, 1))
                return -1;
            continue;
        }
        target = connect_to(proxy, port);
        if (target >= 0 && say(proxy, fd, done, sizeof done - 1, TEST_PROXY_IN_ANSWER, TEST_PROXY_AFTER_ANSWER))
            return target;
        if (target >= 0)
            (void)close(target);
        return -1;
    }
}

/* ---- SOCKS5 ---- */

static bool socks_login(test_proxy *proxy, int fd)
{
    unsigned char version, length, user[256] = "", password[256] = "", answer[2] = {1, 0};

    if (!read_exactly(fd, &version, 1) || !read_exactly(fd, &length, 1) || !read_exactly(fd, user, length) ||
        !read_exactly(fd, &length, 1) || !read_exactly(fd, password, length))
        return false;
    if (strcmp((char *)user, proxy->user) != 0 || strcmp((char *)password, proxy->password) != 0) {
        atomic_fetch_add(&proxy->refusals, 1);
        answer[1] = 1;
    }
    return write_all(fd, answer, 2) && answer[1] == 0;
}

static int serve_socks(test_proxy *proxy, int fd)
{
    unsigned char count, methods[255], chosen[2] = {5, proxy->user ? 2 : 0}, head[4], length, host[256],
                                       port[2];
    unsigned char answer[10] = {5, 0, 0, 1};
    int target;

    if (!read_exactly(fd, &count, 1) || !read_exactly(fd, methods, count))
        return -1;
    if (!memchr(methods, chosen[1], count)) {
        atomic_fetch_add(&proxy->refusals, 1);
        chosen[1] = 0xff;
    }
    if (!say(proxy, fd, chosen, 2, TEST_PROXY_IN_GREETING, TEST_PROXY_AFTER_GREETING) || chosen[1] == 0xff || (proxy->user && !socks_login(proxy, fd)))
        return -1;
    if (!read_exactly(fd, head, 4) || head[1] != 1)
        return -1;
    length = head[3] == 1 ? 4 : 16;
    if (head[3] == 3 && !read_exactly(fd, &length, 1))
        return -1;
    if (!read_exactly(fd, host, length) || !read_exactly(fd, port, 2))
        return -1;
    target = connect_to(proxy, port[0] << 8 | port[1]);
    if (target >= 0 && say(proxy, fd, answer, sizeof answer, TEST_PROXY_IN_ANSWER, TEST_PROXY_AFTER_ANSWER))
        return target;
    if (target >= 0)
        (void)close(target);
    return -1;
}

/* ---- threads ---- */

static void relay(test_proxy *proxy, int a, int b)
{
    struct pollfd ends[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char bytes[16384];

    while (!is_cut(proxy)) {
        if (poll(ends, 2, 20) <= 0)
            continue;
        for (int i = 0; i < 2; i++) {
            ssize_t got;

            if (!ends[i].revents)
                continue;
            got = recv(ends[i].fd, bytes, sizeof bytes, 0);
            if (i == 1 && got > 1 && proxy->script.step == TEST_PROXY_IN_TLS) {
                (void)write_all(a, bytes, (size_t)got / 2);
                (void)goes_wrong(proxy, a, TEST_PROXY_IN_TLS);
                return;
            }
            if (got <= 0 || !pass_on(proxy, ends[1 - i].fd, bytes, (size_t)got))
                return;
        }
    }
}

static void *serve(void *arg)
{
    work *w = arg;
    test_proxy *proxy = w->proxy;
    unsigned char first;
    int fd = w->fd, target = -1;

    free(w);
    if (!is_cut(proxy) && !goes_wrong(proxy, fd, TEST_PROXY_AT_ACCEPT) && read_exactly(fd, &first, 1))
        target = first == 5 ? serve_socks(proxy, fd) : first == 'C' ? serve_connect(proxy, fd) : -1;
    if (target >= 0) {
        atomic_fetch_add(&proxy->tunnels, 1);
        relay(proxy, fd, target);
        (void)close(target);
    }
    (void)close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    test_proxy *proxy = arg;
    struct pollfd end = {.fd = proxy->listener, .events = POLLIN};

    while (!atomic_load(&proxy->stop)) {
        work *w;
        int fd;

        if (poll(&end, 1, 100) <= 0)
            continue;
        fd = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        must(fd >= 0 && proxy->worker_count < CONNECTIONS_MAX, "test_proxy: accept");
        w = malloc(sizeof *w);
        must(w != NULL, "test_proxy: malloc");
        *w = (work){.proxy = proxy, .fd = fd};
        must(pthread_create(&proxy->workers[proxy->worker_count++], NULL, serve, w) == 0,
             "test_proxy: thread");
    }
    return NULL;
}

static test_proxy *start(bool ipv6, const char *user, const char *password)
{
    test_proxy *proxy = calloc(1, sizeof *proxy);
    loopback address;
    socklen_t size = loopback_of(ipv6, 0, &address);

    must(proxy != NULL, "test_proxy: calloc");
    proxy->ipv6 = ipv6;
    proxy->user = user;
    proxy->password = password;
    proxy->listener = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(proxy->listener >= 0 && bind(proxy->listener, &address.any, size) == 0 &&
             listen(proxy->listener, 64) == 0 && getsockname(proxy->listener, &address.any, &size) == 0,
         "test_proxy: listen");
    proxy->port = ntohs(ipv6 ? address.v6.sin6_port : address.v4.sin_port);
    must(pthread_create(&proxy->acceptor, NULL, accept_all, proxy) == 0, "test_proxy: thread");
    return proxy;
}

test_proxy *test_proxy_start(const char *user, const char *password)
{
    return start(false, user, password);
}

test_proxy *test_proxy_start_ipv6(const char *user, const char *password)
{
    return start(true, user, password);
}

test_proxy *test_proxy_start_wrong(const test_proxy_script *script)
{
    test_proxy *proxy = start(false, NULL, NULL);

    proxy->script = *script; /* nobody knows its port yet */
    return proxy;
}

void test_proxy_cut(test_proxy *proxy)
{
    atomic_store(&proxy->cut, true);
}

int test_proxy_port(const test_proxy *proxy)
{
    return proxy->port;
}

unsigned test_proxy_tunnels(test_proxy *proxy)
{
    return atomic_load(&proxy->tunnels);
}

unsigned test_proxy_refusals(test_proxy *proxy)
{
    return atomic_load(&proxy->refusals);
}

void test_proxy_stop(test_proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    (void)pthread_join(proxy->acceptor, NULL);
    for (unsigned i = 0; i < proxy->worker_count; i++)
        (void)pthread_join(proxy->workers[i], NULL);
    (void)close(proxy->listener);
    free(proxy);
}
