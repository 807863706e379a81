/* The process: start, stop, kill, restart, many connections, silence, the admin commands. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONNECTIONS = 200 };

typedef struct fixture {
    server dps;
    test_cert ca;
    char ca_path[96];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    test_dir_make(f->dps.dir);
    snprintf(f->ca_path, sizeof(f->ca_path), "%s/group.pem", f->dps.dir);
    f->ca = test_cert_make(&(test_cert_spec){.cn = "CA", .ca = 1});
    test_cert_write(f->ca.cert, f->ca_path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", f->dps.dir, "--id", "fleet",
                                 "--certificate", f->ca_path, "--hub", "hub.example.test", NULL),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    if (f->dps.pid > 0)
        kill(f->dps.pid, SIGKILL);
    test_cert_free(&f->ca);
    test_dir_remove(f->dps.dir);
    free(f);
    return 0;
}

static test_cert a_device(const fixture *f, const char *id)
{
    return test_cert_make(&(test_cert_spec){.cn = id, .issuer = &f->ca, .eku = "clientAuth"});
}

static void test_kill_and_restart(void **state)
{
    fixture *f = *state;
    client c;
    message m;
    char operation[128], scope[16], out[OUTPUT_MAX];
    test_cert dev = a_device(f, "dev1");
    server_start(&f->dps, NULL);
    memcpy(scope, f->dps.scope, sizeof(scope));
    client_open(&c, &f->dps, 0, &dev, NULL);
    client_hello(&c, &f->dps, "dev1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202); /* acknowledged, not yet asked for */
    operation_of(&m, operation);
    assert_int_equal(server_stop(&f->dps, SIGKILL), -SIGKILL);
    client_close(&c);
    assert_int_equal(run_program(out, "registrations", "--dir", f->dps.dir, "--id", "dev1", NULL), 0);
    assert_non_null(strstr(out, "assigned"));
    server_start(&f->dps, NULL);
    assert_string_equal(f->dps.scope, scope);
    client_open(&c, &f->dps, 0, &dev, NULL);
    client_hello(&c, &f->dps, "dev1");
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 200);
    client_close(&c);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    test_cert_free(&dev);
}

/* Killed while many register: whoever had its answer finds it again, whatever became of the others. */
static void test_kill_under_load(void **state)
{
    fixture *f = *state;
    enum { ANSWERED = 20, UNANSWERED = 20 };
    static char operations[ANSWERED][128];
    client clients[ANSWERED + UNANSWERED];
    test_cert devices[ANSWERED + UNANSWERED];
    char id[32], body[64];
    message m;
    server_start(&f->dps, NULL);
    for (size_t i = 0; i < ANSWERED + UNANSWERED; i++) {
        snprintf(id, sizeof(id), "dev%zu", i);
        devices[i] = a_device(f, id);
        client_open(&clients[i], &f->dps, 0, &devices[i], NULL);
        client_hello(&clients[i], &f->dps, id);
    }
    for (size_t i = 0; i < UNANSWERED; i++) { /* sent, and not waited for */
        snprintf(body, sizeof(body), "{\"registrationId\":\"dev%zu\"}", ANSWERED + i);
        packet p = publish_packet(0x32, 7, "$dps/registrations/PUT/iotdps-register/?$rid=1", body);
        client_send(&clients[ANSWERED + i], p.bytes, p.n);
    }
    for (size_t i = 0; i < ANSWERED; i++) {
        client_register(&clients[i], "1", "", &m);
        assert_int_equal(m.status, 202);
        operation_of(&m, operations[i]);
    }
    assert_int_equal(server_stop(&f->dps, SIGKILL), -SIGKILL);
    for (size_t i = 0; i < ANSWERED + UNANSWERED; i++)
        client_close(&clients[i]);
    server_start(&f->dps, NULL);
    for (size_t i = 0; i < ANSWERED; i++) {
        snprintf(id, sizeof(id), "dev%zu", i);
        client_open(&clients[i], &f->dps, 0, &devices[i], NULL);
        client_hello(&clients[i], &f->dps, id);
        client_poll(&clients[i], "2", operations[i], &m);
        assert_int_equal(m.status, 200);
        client_close(&clients[i]);
    }
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    for (size_t i = 0; i < ANSWERED + UNANSWERED; i++)
        test_cert_free(&devices[i]);
}

/* libwebsockets' own time for a handshake is 5 s, too short for one that queues behind a thousand others:
 * what counts is --connect-timeout. The client starts its handshake only after 6 s. */
static void test_late_handshake(void **state)
{
    fixture *f = *state;
    test_cert dev = a_device(f, "dev1");
    client c = {.ctx = SSL_CTX_new(TLS_client_method())};
    server_start(&f->dps, (const char *const[]){"--connect-timeout", "60", NULL});
    assert_int_equal(SSL_CTX_use_certificate(c.ctx, dev.cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(c.ctx, dev.key), 1);
    c.fd = tcp_connect(f->dps.port);
    struct pollfd closed = {.fd = c.fd, .events = POLLIN};
    assert_int_equal(poll(&closed, 1, 6000), 0); /* it is not cut, and says nothing */
    c.ssl = SSL_new(c.ctx);
    assert_int_equal(SSL_set_fd(c.ssl, c.fd), 1);
    assert_int_equal(SSL_connect(c.ssl), 1);
    client_hello(&c, &f->dps, "dev1");
    client_close(&c);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    test_cert_free(&dev);
}

static void test_many_connections(void **state)
{
    fixture *f = *state;
    client *clients = calloc(CONNECTIONS, sizeof(*clients));
    test_cert *devices = calloc(CONNECTIONS, sizeof(*devices));
    char operation[128], id[32];
    assert_non_null(clients);
    assert_non_null(devices);
    server_start(&f->dps, NULL);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        snprintf(id, sizeof(id), "dev%zu", i);
        devices[i] = a_device(f, id);
        client_open(&clients[i], &f->dps, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, &devices[i], NULL);
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        snprintf(id, sizeof(id), "dev%zu", i);
        client_hello(&clients[i], &f->dps, id);
    }
    for (size_t i = CONNECTIONS; i-- > 0;) {
        snprintf(id, sizeof(id), "dev%zu", i);
        client_provision(&clients[i], id, operation);
    }
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0); /* with all of them open */
    for (size_t i = 0; i < CONNECTIONS; i++) {
        client_close(&clients[i]);
        test_cert_free(&devices[i]);
    }
    free(clients);
    free(devices);
}

static void test_signals(void **state)
{
    fixture *f = *state;
    server_start(&f->dps, NULL);
    assert_int_equal(server_stop(&f->dps, SIGINT), 0);
    server_start(&f->dps, NULL);
    int fd = tcp_connect(f->dps.port); /* in the middle of nothing */
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    close(fd);
}

/* No handshake, no CONNECT, no life sign: each is closed in its time. */
static void test_silence(void **state)
{
    fixture *f = *state;
    client mute, quiet;
    char byte;
    test_cert dev = a_device(f, "dev1");
    server_start(&f->dps, (const char *const[]){"--connect-timeout", "1", NULL});
    int fd = tcp_connect(f->dps.port);
    client_open(&mute, &f->dps, 0, &dev, NULL);
    client_open(&quiet, &f->dps, 0, &dev, NULL);
    packet p = connect_packet(f->dps.scope, "dev1", "api-version=2021-10-01", 1);
    client_send(&quiet, p.bytes, p.n);
    client_expect(&quiet, "\x20\2\0\0", 4);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    client_expect_end(&mute);
    client_expect_end(&quiet);
    close(fd);
    client_close(&mute);
    client_close(&quiet);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    test_cert_free(&dev);
}

static void test_conflicts(void **state)
{
    fixture *f = *state;
    char port[16], other[96];
    server_start(&f->dps, NULL);
    assert_int_equal(run_program(NULL, "serve", "--dir", f->dps.dir, "--mqtt-port", "0", NULL), 4);
    snprintf(port, sizeof(port), "%d", f->dps.port);
    snprintf(other, sizeof(other), "%s/other", f->dps.dir);
    assert_int_equal(run_program(NULL, "serve", "--dir", other, "--mqtt-port", port, NULL), 4);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
}

static X509 *read_cert(const fixture *f, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->dps.dir, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(cert);
    return cert;
}

static int mode_of(const fixture *f, const char *name)
{
    struct stat st;
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->dps.dir, name);
    assert_int_equal(stat(path, &st), 0);
    return (int)(st.st_mode & 0777);
}

static void test_server_certificate(void **state)
{
    fixture *f = *state;
    const char *const names[] = {"--name", "dps.example", "--name", "10.1.2.3", NULL};
    server_start(&f->dps, NULL);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    X509 *ca = read_cert(f, "ca.pem");
    X509 *first = read_cert(f, "server.pem");
    assert_int_equal(X509_check_host(first, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(first, "global.azure-devices-provisioning.net", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(first, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(first, "::1", 0), 1);
    assert_int_equal(X509_check_host(first, "dps.example", 0, 0, NULL), 0);
    assert_int_equal(mode_of(f, "server.key"), 0600);
    assert_int_equal(mode_of(f, "ca.key"), 0600);
    server_start(&f->dps, NULL);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    X509 *second = read_cert(f, "server.pem");
    assert_int_equal(X509_cmp(first, second), 0); /* kept */
    server_start(&f->dps, names);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    X509 *third = read_cert(f, "server.pem");
    X509 *same_ca = read_cert(f, "ca.pem");
    assert_int_equal(X509_check_host(third, "dps.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(third, "10.1.2.3", 0), 1);
    assert_int_equal(X509_cmp(ca, same_ca), 0); /* clients keep their trust */
    assert_int_equal(X509_verify(third, X509_get0_pubkey(ca)), 1);
    X509_free(ca);
    X509_free(same_ca);
    X509_free(first);
    X509_free(second);
    X509_free(third);
}

/* A damaged or expired certificate is made anew, a foreign one is taken as it is. */
static void test_renewal_and_own(void **state)
{
    fixture *f = *state;
    char cert_path[128], key_path[128], out[OUTPUT_MAX];
    snprintf(cert_path, sizeof(cert_path), "%s/server.pem", f->dps.dir);
    snprintf(key_path, sizeof(key_path), "%s/server.key", f->dps.dir);
    FILE *file = fopen(cert_path, "w");
    assert_non_null(file);
    fputs("nonsense\n", file);
    fclose(file);
    server_start(&f->dps, NULL);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    X509_free(read_cert(f, "server.pem"));
    test_cert expired = test_cert_make(&(test_cert_spec){.cn = "old", .from_s = -20, .to_s = -10});
    test_cert_write(expired.cert, cert_path);
    file = fopen(key_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, expired.key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    assert_int_equal(run_program(out, "serve", "--dir", f->dps.dir, "--cert", cert_path, NULL), 2);
    assert_int_equal(
        run_program(out, "serve", "--dir", f->dps.dir, "--cert", f->ca_path, "--key", key_path, NULL), 1);
    server_start(&f->dps, NULL);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    X509 *renewed = read_cert(f, "server.pem");
    assert_int_not_equal(X509_cmp(renewed, expired.cert), 0);
    X509_free(renewed);
    test_cert_free(&expired);
}

static void test_groups(void **state)
{
    fixture *f = *state;
    char out[OUTPUT_MAX], leaf_path[128];
    const char *dir = f->dps.dir;
    test_cert leaf = a_device(f, "dev1");
    snprintf(leaf_path, sizeof(leaf_path), "%s/leaf.pem", dir);
    test_cert_write(leaf.cert, leaf_path);
    test_cert_free(&leaf);
    assert_int_equal(run_program(out, "group", "list", "--dir", dir, NULL), 0);
    assert_non_null(strstr(out, "fleet"));
    assert_int_equal(run_program(out, "group", "list", "--dir", dir, "--json", NULL), 0);
    assert_non_null(strstr(out, "\"enrollmentGroupId\":\"fleet\""));
    assert_int_equal(run_program(out, "group", "show", "--dir", dir, "--id=FLEET", NULL), 0);
    assert_non_null(strstr(out, "\"provisioningStatus\":\"enabled\""));
    assert_int_equal(run_program(out, "group", "disable", "--dir", dir, "--id", "fleet", NULL), 0);
    assert_int_equal(run_program(out, "group", "show", "--dir", dir, "--id", "fleet", NULL), 0);
    assert_non_null(strstr(out, "\"provisioningStatus\":\"disabled\""));
    assert_int_equal(run_program(out, "group", "show", "--dir", dir, "--id", "nobody", NULL), 3);
    assert_int_equal(run_program(out, "group", "delete", "--dir", dir, "--id", "nobody", NULL), 3);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "fleet", "--certificate", f->ca_path, NULL),
        4);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "two", "--certificate", f->ca_path, NULL),
        4);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "a b", "--certificate", f->ca_path, NULL),
        2);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "x", "--certificate", leaf_path, NULL), 1);
    assert_int_equal(run_program(out, "group", "create", "--dir", dir, "--id", "x", NULL), 2);
    assert_int_equal(run_program(out, "group", "delete", "--dir", dir, "--id", "fleet", NULL), 0);
    assert_int_equal(run_program(out, "group", "list", "--dir", dir, "--json", NULL), 0);
    assert_string_equal(out, "[]\n");
}

static void test_use(void **state)
{
    fixture *f = *state;
    char out[OUTPUT_MAX], missing[96];
    snprintf(missing, sizeof(missing), "%s/missing", f->dps.dir);
    assert_int_equal(run_program(out, "--help", NULL), 0);
    assert_non_null(strstr(out, "group create"));
    assert_int_equal(run_program(out, "--version", NULL), 0);
    assert_int_equal(run_program(out, "nonsense", NULL), 2);
    assert_int_equal(run_program(out, "group", NULL), 2);
    assert_int_equal(run_program(out, "group", "nonsense", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--nonsense", NULL), 2);
    assert_int_equal(run_program(out, "serve", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--dir", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--dir", f->dps.dir, "--mqtt-port", "65536", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--dir", f->dps.dir, "--bind", "localhost", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--dir", f->dps.dir, "--name", "a,DNS:b", NULL), 2);
    assert_int_equal(run_program(out, "serve", "--dir", f->dps.dir, "--log-level", "loud", NULL), 2);
    assert_int_equal(run_program(out, "registrations", "--dir", missing, NULL), 3);
    assert_int_equal(run_program(out, "registrations", "--dir", f->dps.dir, "--id", "nobody", NULL), 3);
    assert_int_equal(run_program(out, "registrations", "--dir", f->dps.dir, "--json", NULL), 0);
    assert_string_equal(out, "[]\n");
    assert_int_equal(run_program(out, "registrations", "--help", NULL), 0);
    assert_memory_equal(out, "Usage: keynym-dps registrations ", 32);
}

static long memory_kib(pid_t pid)
{
    char path[64], line[128];
    long kib = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        sscanf(line, "VmRSS: %ld", &kib);
    fclose(file);
    assert_true(kib > 0);
    return kib;
}

static size_t descriptors(pid_t pid)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* One of a crowd: says something that is wrong, or half of something, and stays. */
static int hostile(const server *s, size_t i)
{
    static const char half_hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    const int ports[] = {s->port, s->https_port, s->amqp_port};
    char bytes[4096];
    int fd = tcp_connect(ports[i % 3]);
    for (size_t n = 0; n < sizeof(bytes); n++)
        bytes[n] = (char)(n * (i + 7) + (n >> 5));
    switch (i / 3 % 4) {
    case 0: /* mute */
        break;
    case 1:
        assert_true(send(fd, half_hello, sizeof(half_hello) - 1, MSG_NOSIGNAL) > 0);
        break;
    case 2:
        assert_true(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) > 0);
        break;
    default:
        assert_true(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0);
        break;
    }
    return fd;
}

/* And one that gets through TLS first: what follows is long, and no protocol. */
static void hostile_inside(client *c, const server *s, size_t i)
{
    const int ports[] = {s->port, s->https_port, s->amqp_port};
    uint8_t bytes[16384];
    server at = *s;
    at.port = ports[i % 3];
    memset(bytes, 'a' + (int)(i % 20), sizeof(bytes));
    client_open(c, &at, 0, NULL, NULL);
    (void)SSL_write(c->ssl, bytes, sizeof(bytes)); /* may fail: it may have been closed at the first byte */
}

static void test_a_hostile_crowd(void **state)
{
    fixture *f = *state;
    int fds[CONNECTIONS];
    static client inside[30];
    char operation[128], byte;
    test_cert dev = a_device(f, "honest");
    client honest;
    server_start(&f->dps, (const char *const[]){"--free-ports", "--connect-timeout", "2", NULL});
    client_open(&honest, &f->dps, 0, &dev, NULL); /* what a first connection needs is there */
    client_hello(&honest, &f->dps, "honest");
    client_provision(&honest, "honest", operation);
    long before_kib = memory_kib(f->dps.pid);
    size_t before = descriptors(f->dps.pid);
    for (size_t i = 0; i < CONNECTIONS; i++)
        fds[i] = hostile(&f->dps, i);
    for (size_t i = 0; i < 30; i++)
        hostile_inside(&inside[i], &f->dps, i);
    client_provision(&honest, "honest", operation); /* nobody waits for them */
    assert_true(memory_kib(f->dps.pid) - before_kib < (CONNECTIONS + 30) * 256L);
    for (size_t i = 0; i < CONNECTIONS; i++) { /* each is closed in its time, with an alert or without a word */
        while (recv(fds[i], &byte, 1, 0) > 0)
            ;
        close(fds[i]);
    }
    for (size_t i = 0; i < 30; i++)
        client_close(&inside[i]);
    for (int i = 0; i < 300 && descriptors(f->dps.pid) > before; i++)
        usleep(10000);
    assert_true(descriptors(f->dps.pid) <= before);
    client_provision(&honest, "honest", operation);
    client_close(&honest);
    assert_int_equal(server_stop(&f->dps, SIGTERM), 0);
    test_cert_free(&dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_and_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hostile_crowd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewal_and_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_use, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
