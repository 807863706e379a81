/* A proxy for tests: HTTP CONNECT and SOCKS5 on one port of 127.0.0.1, each with or without a user and
 * password. Whatever name is asked for, it connects to 127.0.0.1.
 *
 * Units: none. Ownership: test_proxy_stop() ends its threads and releases it. Errors: a set-up that fails
 * ends the test program. Threads: its own. Spec: RFC 9110 section 9.3.6 (CONNECT), RFC 1928, RFC 1929
 * (SOCKS5).
 */
#ifndef TEST_PROXY_H
#define TEST_PROXY_H

#include <stdbool.h>

typedef struct test_proxy test_proxy;

/* @user and @password NULL: nobody is asked. */
test_proxy *test_proxy_start(const char *user, const char *password);
/* The same on ::1, and connecting to ::1. */
test_proxy *test_proxy_start_ipv6(const char *user, const char *password);
int test_proxy_port(const test_proxy *proxy);
/* Where a proxy goes wrong. HTTP has no greeting. */
typedef enum test_proxy_step {
    TEST_PROXY_NEVER,
    TEST_PROXY_AT_ACCEPT,
    TEST_PROXY_IN_GREETING, /* SOCKS5's choice of a method: half of it was sent */
    TEST_PROXY_AFTER_GREETING,
    TEST_PROXY_IN_ANSWER, /* half of it was sent */
    TEST_PROXY_AFTER_ANSWER,
    TEST_PROXY_IN_TLS,    /* a part of the server's first bytes was passed on */
    TEST_PROXY_WHEN_TOLD, /* test_proxy_cut() */
    TEST_PROXY_STEPS,
} test_proxy_step;

typedef struct test_proxy_script {
    test_proxy_step step;
    bool stall; /* say no more, instead of closing the connection */
    bool slow;  /* one byte at a time, whatever it is */
} test_proxy_script;

test_proxy *test_proxy_start_wrong(const test_proxy_script *script);
/* All tunnels end, and no other is made. */
void test_proxy_cut(test_proxy *proxy);

/* Tunnels that were made, and requests that were refused for their user or password. */
unsigned test_proxy_tunnels(test_proxy *proxy);
unsigned test_proxy_refusals(test_proxy *proxy);
void test_proxy_stop(test_proxy *proxy);

#endif
