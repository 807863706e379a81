/* Custom allocation: the real server calls a webhook of the test over TLS. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cJSON.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* The webhook: one thread, one connection after the other. */
static struct {
    SSL_CTX *ctx;
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    char answer[1024]; /* whole HTTP response; empty: never answer */
    char request[32 * 1024];
    int calls;
} hook = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *serve(void *user)
{
    (void)user;
    for (;;) {
        int fd = accept(hook.fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        SSL *ssl = SSL_new(hook.ctx);
        char request[sizeof(hook.request)] = "";
        size_t n = 0;
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
            const char *end = NULL, *length = NULL;
            while (n + 1 < sizeof(request) &&
                   (end == NULL ||
                    (length != NULL && n < (size_t)(end + 4 - request) + (size_t)atoi(length + 16)))) {
                int got = SSL_read(ssl, request + n, (int)(sizeof(request) - 1 - n));
                if (got <= 0)
                    break;
                n += (size_t)got;
                request[n] = '\0';
                end = strstr(request, "\r\n\r\n");
                length = strstr(request, "Content-Length: ");
            }
            pthread_mutex_lock(&hook.lock);
            memcpy(hook.request, request, sizeof(request));
            hook.calls += n > 0; /* a client that dislikes the certificate sends nothing */
            char answer[sizeof(hook.answer)];
            memcpy(answer, hook.answer, sizeof(answer));
            pthread_mutex_unlock(&hook.lock);
            if (answer[0] != '\0')
                SSL_write(ssl, answer, (int)strlen(answer));
            else
                (void)SSL_read(ssl, request, 1); /* until the server gives up */
            SSL_shutdown(ssl);
        }
        SSL_free(ssl);
        close(fd);
    }
}

static void answer_with(const char *status, const char *body)
{
    pthread_mutex_lock(&hook.lock);
    hook.answer[0] = '\0';
    if (status != NULL)
        snprintf(hook.answer, sizeof(hook.answer),
                 "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, strlen(body),
                 body);
    pthread_mutex_unlock(&hook.lock);
}

static server dps;
static test_cert root, dev1, localhost;

static void start_hook(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);
    hook.ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(hook.ctx, localhost.cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(hook.ctx, localhost.key), 1);
    hook.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(hook.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(hook.fd, 8), 0);
    assert_int_equal(getsockname(hook.fd, (struct sockaddr *)&address, &n), 0);
    hook.port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&hook.thread, NULL, serve, NULL), 0);
}

static char ca_path[96];

static void start_server(void)
{
    server_start(&dps, (const char *const[]){"--mqtt-port", "0", "--webhook-ca", ca_path, "--webhook-timeout",
                                             "2", "--hub", "a.test", "--hub", "b.test", NULL});
}

static int start(void **state)
{
    (void)state;
    char path[96], url[128];
    signal(SIGPIPE, SIG_IGN);
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    dev1 = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &root, .eku = "clientAuth"});
    localhost = test_cert_make(&(test_cert_spec){.cn = "localhost", .issuer = &root, .eku = "serverAuth"});
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    snprintf(ca_path, sizeof(ca_path), "%s/hook-ca.pem", dps.dir);
    test_cert_write(root.cert, path);
    test_cert_write(root.cert, ca_path);
    start_hook();
    snprintf(url, sizeof(url), "https://localhost:%d/allocate?code=1", hook.port);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--allocation", "custom", "--webhook", url, "--reprovision", "reset",
                                 NULL),
                     0);
    start_server();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    shutdown(hook.fd, SHUT_RDWR);
    pthread_join(hook.thread, NULL);
    close(hook.fd);
    SSL_CTX_free(hook.ctx);
    test_cert_free(&root);
    test_cert_free(&dev1);
    test_cert_free(&localhost);
    test_dir_remove(dps.dir);
    return code;
}

/* A server that ends while it waits for the webhook: the next one asks again when the device polls. */
static void test_kill(void **state)
{
    (void)state;
    client c;
    message m;
    char operation[128];
    answer_with(NULL, NULL);
    client_open(&c, &dps, 0, &dev1, NULL);
    client_hello(&c, &dps, "dev1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    operation_of(&m, operation);
    assert_int_equal(server_stop(&dps, SIGKILL), -SIGKILL);
    client_close(&c);
    answer_with("200 OK", "{\"iotHubHostName\":\"b.test\"}");
    start_server();
    client_open(&c, &dps, 0, &dev1, NULL);
    client_hello(&c, &dps, "dev1");
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 202); /* it was not decided before */
    while (m.status == 202) {
        usleep(20000);
        client_poll(&c, "3", operation, &m);
    }
    assert_int_equal(m.status, 200);
    assert_non_null(strstr(m.body, "\"assignedHub\":\"b.test\""));
    client_close(&c);
}

/* Registers and polls until it is decided; returns registrationState. The caller deletes the whole answer. */
static cJSON *decided(const char *body, const cJSON **ret_state)
{
    client c;
    message m;
    char operation[128];
    client_open(&c, &dps, 0, &dev1, NULL);
    client_hello(&c, &dps, "dev1");
    client_register(&c, "1", body, &m);
    assert_int_equal(m.status, 202);
    operation_of(&m, operation);
    do {
        usleep(20000);
        client_poll(&c, "2", operation, &m);
    } while (m.status == 202);
    assert_int_equal(m.status, 200);
    client_close(&c);
    cJSON *json = cJSON_Parse(m.body);
    assert_non_null(json);
    *ret_state = cJSON_GetObjectItem(json, "registrationState");
    return json;
}

static const char *text(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
    return value != NULL ? value : "";
}

static void test_assigned(void **state)
{
    (void)state;
    const cJSON *s;
    answer_with("200 OK", "{\"iotHubHostName\":\"b.test\",\"initialTwin\":{\"tags\":{\"t\":1}},\"payload\":{"
                          "\"hello\":\"device\"}}");
    cJSON *json = decided("{\"payload\":{\"model\":\"m1\"}}", &s);
    assert_string_equal(text(s, "status"), "assigned");
    assert_string_equal(text(s, "assignedHub"), "b.test");
    assert_string_equal(text(s, "substatus"), "initialAssignment");
    assert_string_equal(text(cJSON_GetObjectItem(s, "payload"), "hello"), "device");
    cJSON_Delete(json);
    /* what it was asked */
    pthread_mutex_lock(&hook.lock);
    assert_memory_equal(hook.request, "POST /allocate?code=1&api-version=2021-10-01 HTTP/1.1\r\n", 54);
    cJSON *asked = cJSON_Parse(strstr(hook.request, "\r\n\r\n") + 4);
    pthread_mutex_unlock(&hook.lock);
    assert_non_null(asked);
    assert_int_equal(cJSON_GetArraySize(asked), 3);
    assert_string_equal(text(cJSON_GetObjectItem(asked, "enrollmentGroup"), "enrollmentGroupId"), "fleet");
    const cJSON *context = cJSON_GetObjectItem(asked, "deviceRuntimeContext");
    assert_string_equal(text(context, "registrationId"), "dev1");
    assert_string_equal(text(cJSON_GetObjectItem(context, "payload"), "model"), "m1");
    assert_true(strlen(text(cJSON_GetObjectItem(context, "x509"), "clientCertificate")) > 100);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(asked, "linkedHubs")), 2);
    cJSON_Delete(asked);
    /* again, to another hub: the policy of the group resets */
    answer_with("200 OK", "{\"iotHubHostName\":\"a.test\"}");
    json = decided("", &s);
    assert_string_equal(text(s, "assignedHub"), "a.test");
    assert_string_equal(text(s, "substatus"), "deviceDataReset");
    cJSON_Delete(json);
}

static void test_failures(void **state)
{
    (void)state;
    static const struct {
        const char *status, *body;
        int code;
        const char *message;
    } rows[] = {
        {"500 Oops", "{}", 400207, "status code: 500"},
        {"404 Not Found", "", 400207, "status code: 404"},
        {"302 Found", "", 400207, "status code: 302"},
        {"200 OK", "not JSON", 400207, "JSON object"},
        {"200 OK", "[]", 400207, "JSON object"},
        {"200 OK", "{}", 400208, "no iotHubHostName"},
        {"200 OK", "{\"iotHubHostName\":\"c.test\"}", 400208, "not linked"},
        {"200 OK", "{\"iotHubHostName\":\"a.test\",\"initialTwin\":7}", 400207, "initialTwin"},
        {NULL, NULL, 400207, "Timeout"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const cJSON *s;
        answer_with(rows[i].status, rows[i].body);
        cJSON *json = decided("", &s);
        assert_string_equal(text(s, "status"), "failed");
        assert_true((int)cJSON_GetNumberValue(cJSON_GetObjectItem(s, "errorCode")) == rows[i].code);
        if (strstr(text(s, "errorMessage"), rows[i].message) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].message, text(s, "errorMessage"));
        cJSON_Delete(json);
    }
}

static void recreate(const char *url)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/root.pem", dps.dir);
    assert_int_equal(run_program(NULL, "group", "delete", "--dir", dps.dir, "--id", "fleet", NULL), 0);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "fleet", "--certificate",
                                 path, "--allocation", "custom", "--webhook", url, NULL),
                     0);
}

/* Name and chain are verified, and nothing but this machine is called. */
static void test_refused(void **state)
{
    (void)state;
    char url[128];
    const cJSON *s;
    int calls = hook.calls;
    answer_with("200 OK", "{\"iotHubHostName\":\"a.test\"}");
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/", hook.port); /* not a name of the certificate */
    recreate(url);
    cJSON *json = decided("", &s);
    assert_non_null(strstr(text(s, "errorMessage"), "SSL"));
    cJSON_Delete(json);
    recreate("https://192.0.2.1/"); /* TEST-NET-1: would not answer either, but must not be tried */
    json = decided("", &s);
    assert_non_null(strstr(text(s, "errorMessage"), "not on this machine"));
    cJSON_Delete(json);
    assert_int_equal(hook.calls, calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assigned),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
