/* A proxy for tests: HTTP CONNECT and SOCKS5 on one port of 127.0.0.1, each with or without a user and
 * password. Whatever name is asked for, it connects to 127.0.0.1.
 *
 * Units: none. Ownership: test_proxy_stop() ends its threads and releases it. Errors: a set-up that fails
 * ends the test program. Threads: its own. Spec: RFC 9110 section 9.3.6 (CONNECT), RFC 1928, RFC 1929
 * (SOCKS5).
 */
#ifndef TEST_PROXY_H
#define TEST_PROXY_H

typedef struct test_proxy test_proxy;

/* @user and @password NULL: nobody is asked. */
test_proxy *test_proxy_start(const char *user, const char *password);
/* The same on ::1, and connecting to ::1. */
test_proxy *test_proxy_start_ipv6(const char *user, const char *password);
int test_proxy_port(const test_proxy *proxy);
/* Tunnels that were made, and requests that were refused for their user or password. */
unsigned test_proxy_tunnels(test_proxy *proxy);
unsigned test_proxy_refusals(test_proxy *proxy);
void test_proxy_stop(test_proxy *proxy);

#endif
