/* The device API over HTTPS, against the real server. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static server dps; /* its port is the HTTPS one */
static test_cert root, dev1;

static int start(void **state)
{
    (void)state;
    char path[96];
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &root, .eku = "clientAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--hub", "hub.example.test", NULL),
                     0);
    server_start(&dps, (const char *const[]){"--https-port", "0", NULL});
    dps.port = dps.https_port;
    assert_true(dps.port > 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_cert_free(&dev1);
    test_dir_remove(dps.dir);
    return code;
}

typedef struct answer {
    int status;
    char head[4096];
    char body[8192];
} answer;

/* Reads one answer with Content-Length (or 204) and leaves the connection open. */
static void read_answer(client *c, answer *ret)
{
    size_t n = 0;
    while (n < 4 || memcmp(ret->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n + 1 < sizeof(ret->head));
        client_read(c, (uint8_t *)ret->head + n++, 1);
    }
    ret->head[n] = '\0';
    assert_memory_equal(ret->head, "HTTP/1.1 ", 9);
    ret->status = atoi(ret->head + 9);
    const char *length = strstr(ret->head, "Content-Length: ");
    size_t body = length != NULL ? (size_t)atoi(length + 16) : 0;
    assert_true(body < sizeof(ret->body));
    client_read(c, (uint8_t *)ret->body, body);
    ret->body[body] = '\0';
}

static void ask(client *c, const char *request, answer *ret)
{
    client_send(c, request, strlen(request));
    read_answer(c, ret);
}

static void header(const answer *a, const char *name, char *out, size_t cap)
{
    char line[64];
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *at = strstr(a->head, line);
    if (at == NULL)
        fail_msg("no %s in %s", name, a->head);
    at += strlen(line);
    snprintf(out, cap, "%.*s", (int)strcspn(at, "\r"), at);
}

static void text_of(const answer *a, const char *name, char *out, size_t cap)
{
    cJSON *body = cJSON_Parse(a->body);
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(body, name));
    assert_non_null(value);
    snprintf(out, cap, "%s", value);
    cJSON_Delete(body);
}

/* As npm's client does it: one connection, a GET with a body. */
static void provision(client *c, const char *version, const char *agent_name)
{
    char request[2048], operation[128], location[512], expected[512], value[64];
    answer a;
    snprintf(request, sizeof(request),
             "PUT /%s/registrations/dev1/register?api-version=%s HTTP/1.1\r\nHost: dps.test\r\n"
             "Accept: application/json\r\nContent-Type: application/json; charset=utf-8\r\n"
             "Request-Id: 1\r\n%s: test/1\r\nContent-Length: 25\r\n\r\n{\"registrationId\":\"dev1\"}",
             dps.scope, version, agent_name);
    ask(c, request, &a);
    assert_int_equal(a.status, 202);
    header(&a, "Retry-After", value, sizeof(value));
    assert_string_equal(value, "3");
    header(&a, "Content-Type", value, sizeof(value));
    assert_string_equal(value, "application/json; charset=utf-8");
    text_of(&a, "operationId", operation, sizeof(operation));
    header(&a, "Location", location, sizeof(location));
    snprintf(expected, sizeof(expected), "https://dps.test/%s/registrations/dev1/operations/%s", dps.scope,
             operation);
    assert_string_equal(location, expected);
    snprintf(request, sizeof(request),
             "GET /%s/registrations/dev1/operations/%s?api-version=%s HTTP/1.1\r\nHost: dps.test\r\n"
             "Content-Length: 2\r\n\r\n{}",
             dps.scope, operation, version);
    ask(c, request, &a);
    assert_int_equal(a.status, 200);
    text_of(&a, "status", value, sizeof(value));
    assert_string_equal(value, "assigned");
    assert_null(strstr(a.head, "Retry-After"));
}

static void test_provision(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const char *const api[] = {"2019-03-31", "2021-06-01", "2021-10-01"};
    char out[OUTPUT_MAX];
    for (size_t i = 0; i < 2; i++) {
        client c;
        client_open(&c, &dps, versions[i], &dev1, NULL);
        for (size_t v = 0; v < 3; v++)
            provision(&c, api[v], v == 0 ? "User-Agent" : "UserAgent");
        client_close(&c);
    }
    assert_int_equal(run_program(out, "registrations", "--dir", dps.dir, "--id", "dev1", "--json", NULL), 0);
    assert_non_null(strstr(out, "\"transport\":\"https\""));
    assert_non_null(strstr(out, "\"clientVersion\":\"test/1\""));
}

static void expect_error(const char *request, int status, const char *code, const char *text)
{
    client c;
    answer a;
    char value[64];
    client_open(&c, &dps, 0, &dev1, NULL);
    ask(&c, request, &a);
    if (a.status != status || strstr(a.body, text) == NULL)
        fail_msg("%s%s", a.head, a.body);
    header(&a, "x-ms-error-code", value, sizeof(value));
    assert_string_equal(value, code);
    cJSON *body = cJSON_Parse(a.body);
    assert_int_equal((int)cJSON_GetNumberValue(cJSON_GetObjectItem(body, "errorCode")), atoi(code));
    assert_true(cJSON_IsString(cJSON_GetObjectItem(body, "trackingId")));
    assert_true(cJSON_IsString(cJSON_GetObjectItem(body, "timestampUtc")));
    cJSON_Delete(body);
    client_close(&c);
}

static void test_errors(void **state)
{
    (void)state;
    char request[1024];
    static const struct {
        const char *text_of_request; /* @ is the id scope */
        int status;
        const char *code, *text;
    } rows[] = {
        {"PUT /@/registrations/dev1/register HTTP/1.1\r\nHost: a\r\n\r\n", 400, "400001", "api-version"},
        {"PUT /@/registrations/dev1/register?api-version=1999-01-01 HTTP/1.1\r\nHost: a\r\n\r\n", 400,
         "400001", "api-version"},
        {"PUT /@/registrations/dev1/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n"
         "Content-Length: 1\r\n\r\n{",
         400, "400000", "JSON"},
        {"PUT /@/registrations/dev2/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n", 401,
         "401002", "common name"},
        {"PUT /x@/registrations/dev1/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n", 401,
         "401002", "ID scope"},
        {"PUT /@/registrations/de%20v1/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n", 400,
         "400004", "registration id"},
        {"PUT /@/registrations/de%zz/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n", 400,
         "400004", "path"},
        {"GET /@/registrations/dev1/operations/none?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n", 404,
         "404202", "Operation not found"},
        {"GET /@/registrations/dev1/register HTTP/1.1\r\nHost: a\r\n\r\n", 405, "405000", "Method"},
        {"GET /@ HTTP/1.1\r\nHost: a\r\n\r\n", 404, "404000", "path"},
        {"GET /@/registrations//register HTTP/1.1\r\nHost: a\r\n\r\n", 404, "404000", "path"},
        {"GET /@ HTTP/1.1\r\n\r\n", 400, "400000", "Host"},
        {"BREW /@ HTCPCP/1.0\r\n\r\n", 400, "400000", "parsed"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *at = strchr(rows[i].text_of_request, '@');
        snprintf(request, sizeof(request), "%.*s%s%s", (int)(at - rows[i].text_of_request),
                 rows[i].text_of_request, dps.scope, at + 1);
        expect_error(request, rows[i].status, rows[i].code, rows[i].text);
    }
}

static void test_no_certificate(void **state)
{
    (void)state;
    client c;
    answer a;
    char request[512];
    snprintf(request, sizeof(request),
             "PUT /%s/registrations/dev1/register?api-version=2021-06-01 HTTP/1.1\r\nHost: a\r\n\r\n",
             dps.scope);
    client_open(&c, &dps, 0, NULL, NULL);
    ask(&c, request, &a);
    assert_int_equal(a.status, 401);
    client_close(&c);
}

/* After an answer to something that is no HTTP nothing more is read. */
static void test_malformed_closes(void **state)
{
    (void)state;
    client c;
    answer a;
    client_open(&c, &dps, 0, &dev1, NULL);
    ask(&c, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    assert_int_equal(a.status, 501);
    assert_non_null(strstr(a.head, "\r\nConnection: close\r\n"));
    client_expect_end(&c);
    client_close(&c);
    client_open(&c, &dps, 0, &dev1, NULL);
    ask(&c, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &a);
    assert_int_equal(a.status, 404);
    client_expect_end(&c);
    client_close(&c);
}

static void test_pipelined_and_head(void **state)
{
    (void)state;
    client c;
    answer a;
    char all[4096];
    client_open(&c, &dps, 0, &dev1, NULL);
    ask(&c,
        "GET /x HTTP/1.1\r\nHost: a\r\n\r\nPUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\nHEAD /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        &a);
    assert_int_equal(a.status, 404);
    read_answer(&c, &a);
    assert_int_equal(a.status, 404);
    client_read_all(&c, all, sizeof(all));
    assert_memory_equal(all, "HTTP/1.1 404 Not Found\r\n", 24);
    assert_null(strchr(all, '{')); /* the length of a body, but no body */
    client_close(&c);
}

/* Headers without an end, and a body that never comes: the time to connect is for the whole request. */
static void test_slow_request_is_cut(void **state)
{
    (void)state;
    server slow = {.pid = 0};
    client head, body;
    char request[512];
    test_dir_make(slow.dir);
    server_start(&slow, (const char *const[]){"--https-port", "0", "--connect-timeout", "1", NULL});
    slow.port = slow.https_port;
    client_open(&head, &slow, 0, NULL, NULL);
    client_open(&body, &slow, 0, NULL, NULL);
    snprintf(request, sizeof(request),
             "PUT /%s/registrations/dev1/register HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
             slow.scope);
    client_send(&head, request, 20);
    client_send(&body, request, strlen(request));
    client_expect_end(&head);
    client_expect_end(&body);
    client_close(&head);
    client_close(&body);
    assert_int_equal(server_stop(&slow, SIGTERM), 0);
    test_dir_remove(slow.dir);
}

/* The most resident memory that the server ever had, in MB: what it freed again counts too. */
static double peak_mb(pid_t pid)
{
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL && sscanf(line, "VmHWM: %lf", &kb) != 1)
        ;
    fclose(file);
    return kb / 1024;
}

/* A peer that asks for ever and reads nothing is closed, and costs no more than its caps. */
/* Processor time of a process so far. */
static long cpu_ms(pid_t pid)
{
    char path[64], line[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    fclose(f);
    assert_int_equal(sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    return (long)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    client c;
    static char requests[16 * 1024];
    static const char one[] = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    const size_t n = sizeof(one) - 1;
    for (size_t i = 0; i < sizeof(requests) / n; i++)
        memcpy(requests + i * n, one, n);
    double before = peak_mb(dps.pid);
    const struct timeval patience = {.tv_sec = 2};
    client_open(&c, &dps, 0, &dev1, NULL);
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    int sent = 0;
    for (int i = 0; i < 20000 && sent >= 0; i++) {
        int written = SSL_write(c.ssl, requests, (int)(sizeof(requests) / n * n));
        sent = written > 0 ? sent + 1 : -1;
    }
    assert_int_equal(sent, -1); /* 300 MB were not taken */
    long cpu = cpu_ms(dps.pid);
    sleep(1);
    assert_true(cpu_ms(dps.pid) - cpu < 500); /* who waits for a peer does not burn the processor */
    client_close(&c);
    client_open(&c, &dps, 0, &dev1, NULL); /* the next is served */
    answer a;
    ask(&c, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", &a);
    assert_int_equal(a.status, 404);
    client_close(&c);
#ifndef __SANITIZE_ADDRESS__
    assert_true(peak_mb(dps.pid) - before < 32);
#else
    (void)before;
#endif
}

/* h2 is offered by many and spoken by libwebsockets: HTTP/1.1 must be chosen. */
static void test_alpn(void **state)
{
    (void)state;
    static const unsigned char offer[] = "\2h2\10http/1.1";
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    char head[16] = "";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    int fd = tcp_connect(dps.port);
    assert_int_equal(SSL_set_alpn_protos(ssl, offer, sizeof(offer) - 1), 0);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_equal(SSL_connect(ssl), 1);
    SSL_get0_alpn_selected(ssl, &chosen, &n);
    assert_int_equal(n, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    static const char request[] = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_int_equal(SSL_write(ssl, request, sizeof(request) - 1), sizeof(request) - 1);
    assert_true(SSL_read(ssl, head, 12) == 12);
    assert_string_equal(head, "HTTP/1.1 404");
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_provision),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_no_certificate),
        cmocka_unit_test(test_malformed_closes),
        cmocka_unit_test(test_pipelined_and_head),
        cmocka_unit_test(test_slow_request_is_cut),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_alpn),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
