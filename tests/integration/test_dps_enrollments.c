/* The commands for enrollments, groups and certificates, and devices with symmetric keys over MQTT against
 * the real server. */
#include "test_dps_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static server dps;
static test_cert root;
static char root_path[96];

static int start(void **state)
{
    (void)state;
    test_dir_make(dps.dir);
    root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    snprintf(root_path, sizeof(root_path), "%s/root.pem", dps.dir);
    test_cert_write(root.cert, root_path);
    server_start(&dps, (const char *const[]){"--mqtt-port", "0", NULL});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int code = server_stop(&dps, SIGTERM);
    test_cert_free(&root);
    test_dir_remove(dps.dir);
    return code;
}

static void write_file(const char *name, const char *text, char ret_path[128])
{
    snprintf(ret_path, 128, "%s/%s", dps.dir, name);
    FILE *file = fopen(ret_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A SAS token as a device makes it; key: base64. */
static void sign(const char *id, const char *key64, char out[512])
{
    unsigned char key[80], mac[32];
    char text[256], b64[64], escaped[160] = "";
    const long long se = (long long)time(NULL) + 600;
    int key_len = EVP_DecodeBlock(key, (const unsigned char *)key64, (int)strlen(key64));
    assert_true(key_len > 0);
    for (const char *c = key64; *c != '\0'; c++)
        key_len -= *c == '=';
    snprintf(text, sizeof(text), "%s%%2fregistrations%%2f%s\n%lld", dps.scope, id, se);
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), key, key_len, (unsigned char *)text, strlen(text), mac, &n));
    EVP_EncodeBlock((unsigned char *)b64, mac, 32);
    for (const char *c = b64; *c != '\0'; c++)
        snprintf(escaped + strlen(escaped), sizeof(escaped) - strlen(escaped),
                 strchr("+/=", *c) != NULL ? "%%%02X" : "%c", (unsigned char)*c);
    snprintf(out, 512, "SharedAccessSignature sr=%s%%2fregistrations%%2f%s&sig=%s&se=%lld&skn=registration",
             dps.scope, id, escaped, se);
}

/* CONNECT with a password; returns the CONNACK's code. */
static int connect_with(client *c, const char *id, const char *password)
{
    packet p = {.n = 0};
    char user[256];
    uint8_t answer[4];
    packet_text(&p, "MQTT");
    memcpy(p.bytes + p.n, "\x04\xc2\x00\xb4", 4);
    p.n += 4;
    packet_text(&p, id);
    snprintf(user, sizeof(user), "%s/registrations/%s/api-version=2021-06-01", dps.scope, id);
    packet_text(&p, user);
    packet_text(&p, password);
    packet_finish(&p, 0x10);
    client_open(c, &dps, 0, NULL, NULL);
    client_send(c, p.bytes, p.n);
    client_read(c, answer, 4);
    assert_memory_equal(answer, "\x20\x02\x00", 3);
    return answer[3];
}

static void subscribe(client *c)
{
    packet p = {.n = 0};
    memcpy(p.bytes, "\x00\x01", 2);
    p.n = 2;
    packet_text(&p, "$dps/registrations/res/#");
    p.bytes[p.n++] = 1;
    packet_finish(&p, 0x82);
    client_send(c, p.bytes, p.n);
    client_expect(c, "\x90\x03\x00\x01\x01", 5);
}

static void accepted(const char *id, const char *key64)
{
    client c;
    message m;
    char sas[512], operation[128];
    sign(id, key64, sas);
    assert_int_equal(connect_with(&c, id, sas), 0);
    subscribe(&c);
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 202);
    operation_of(&m, operation);
    client_poll(&c, "2", operation, &m);
    assert_int_equal(m.status, 200);
    assert_non_null(strstr(m.body, "\"symmetricKey\":{"));
    client_close(&c);
}

static void refused(const char *id, const char *password)
{
    client c;
    assert_int_equal(connect_with(&c, id, password), 5);
    client_expect_end(&c);
    client_close(&c);
}

static void key_of(const char *family, const char *id, const char *device, char out[128])
{
    char text[OUTPUT_MAX];
    if (device != NULL)
        assert_int_equal(
            run_program(text, family, "key", "--dir", dps.dir, "--id", id, "--device", device, NULL), 0);
    else
        assert_int_equal(run_program(text, family, "key", "--dir", dps.dir, "--id", id, NULL), 0);
    snprintf(out, 128, "%.*s", (int)strcspn(text, "\n"), text);
}

static void test_keys(void **state)
{
    (void)state;
    char key[128], sas[512], path[128], out[OUTPUT_MAX];
    const char *dir = dps.dir;
    write_file("key.b64", " MDEyMzQ1Njc4OWFiY2RlZg==\n", path);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dir, "--id", "own", "--symmetric-key",
                                 "--primary-key-file", path, NULL),
                     0);
    key_of("enrollment", "own", NULL, key);
    assert_string_equal(key, "MDEyMzQ1Njc4OWFiY2RlZg==");
    accepted("own", key);
    assert_int_equal(run_program(NULL, "enrollment", "disable", "--dir", dir, "--id", "OWN", NULL), 0);
    sign("own", key, sas);
    refused("own", sas);
    assert_int_equal(run_program(NULL, "enrollment", "enable", "--dir", dir, "--id", "own", NULL), 0);
    accepted("own", key);
    assert_int_equal(
        run_program(NULL, "group", "create", "--dir", dir, "--id", "keys", "--symmetric-key", NULL), 0);
    key_of("group", "keys", "member-1", key);
    accepted("member-1", key);
    sign("member-2", key, sas);
    refused("member-2", sas);
    refused("member-1", "SharedAccessSignature nonsense");
    /* what list and show print holds no key */
    key_of("enrollment", "own", NULL, key);
    assert_int_equal(run_program(out, "enrollment", "show", "--dir", dir, "--id", "own", NULL), 0);
    assert_null(strstr(out, key));
    assert_int_equal(run_program(out, "enrollment", "list", "--dir", dir, NULL), 0);
    assert_non_null(strstr(out, "own"));
    assert_null(strstr(out, key));
    assert_int_equal(run_program(out, "enrollment", "list", "--dir", dir, "--json", NULL), 0);
    assert_null(strstr(out, key));
    /* into a file of its own */
    snprintf(path, sizeof(path), "%s/own.key", dir);
    assert_int_equal(run_program(out, "enrollment", "key", "--dir", dir, "--id", "own", "--secondary",
                                 "--out", path, NULL),
                     0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(run_program(out, "enrollment", "key", "--dir", dir, "--id", "own", "--out", path, NULL),
                     4);
    assert_int_equal(run_program(NULL, "enrollment", "delete", "--dir", dir, "--id", "own", NULL), 0);
    assert_int_equal(run_program(NULL, "enrollment", "show", "--dir", dir, "--id", "own", NULL), 3);
    assert_int_equal(run_program(NULL, "enrollment", "key", "--dir", dir, "--id", "own", NULL), 3);
}

static void test_certificates(void **state)
{
    (void)state;
    char out[OUTPUT_MAX], path[128], code[80];
    const char *dir = dps.dir;
    client c;
    message m;
    test_cert dev = test_cert_make(&(test_cert_spec){.cn = "ref-1", .issuer = &root, .eku = "clientAuth"});
    assert_int_equal(run_program(NULL, "certificate", "add", "--dir", dir, "--id", "ours", "--certificate",
                                 root_path, NULL),
                     0);
    assert_int_equal(run_program(NULL, "certificate", "add", "--dir", dir, "--id", "ours", "--certificate",
                                 root_path, NULL),
                     4);
    assert_int_equal(
        run_program(NULL, "group", "create", "--dir", dir, "--id", "refs", "--ca-reference", "ours", NULL),
        0);
    client_open(&c, &dps, 0, &dev, NULL);
    client_hello(&c, &dps, "ref-1");
    client_register(&c, "1", "", &m);
    assert_int_equal(m.status, 401);
    assert_int_equal(run_program(out, "certificate", "code", "--dir", dir, "--id", "ours", NULL), 0);
    snprintf(code, sizeof(code), "%.*s", (int)strcspn(out, "\n"), out);
    test_cert proof = test_cert_make(&(test_cert_spec){.cn = code, .issuer = &root});
    snprintf(path, sizeof(path), "%s/proof.pem", dir);
    test_cert_write(proof.cert, path);
    assert_int_equal(run_program(NULL, "certificate", "verify", "--dir", dir, "--id", "ours", "--certificate",
                                 root_path, NULL),
                     1);
    assert_int_equal(
        run_program(NULL, "certificate", "verify", "--dir", dir, "--id", "ours", "--certificate", path, NULL),
        0);
    assert_int_equal(run_program(out, "certificate", "list", "--dir", dir, NULL), 0);
    assert_non_null(strstr(out, "verified"));
    assert_null(strstr(out, "not verified"));
    client_register(&c, "2", "", &m);
    assert_int_equal(m.status, 202);
    /* the proof cannot be used twice, and a new code takes the trust away */
    assert_int_equal(
        run_program(NULL, "certificate", "verify", "--dir", dir, "--id", "ours", "--certificate", path, NULL),
        1);
    assert_int_equal(run_program(NULL, "certificate", "code", "--dir", dir, "--id", "ours", NULL), 0);
    client_register(&c, "3", "", &m);
    assert_int_equal(m.status, 401);
    client_close(&c);
    assert_int_equal(run_program(NULL, "certificate", "delete", "--dir", dir, "--id", "ours", NULL), 0);
    assert_int_equal(run_program(NULL, "certificate", "delete", "--dir", dir, "--id", "ours", NULL), 3);
    assert_int_equal(run_program(NULL, "certificate", "code", "--dir", dir, "--id", "ours", NULL), 3);
    test_cert_free(&proof);
    test_cert_free(&dev);
}

/* A refusal says why, and leaves nothing behind. */
static void test_refusals(void **state)
{
    (void)state;
    char out[OUTPUT_MAX], twin[128], text[128], key[128];
    const char *dir = dps.dir;
    write_file("twin.json", "[]", twin);
    write_file("text", "this is no key\n", text);
    write_file("short.b64", "c2hvcnQ=\n", key);
#define CREATE(...) run_program(out, "enrollment", "create", "--dir", dir, "--id", "bad", __VA_ARGS__, NULL)
    assert_int_equal(run_program(out, "enrollment", "create", "--dir", dir, "--id", "bad", NULL), 2);
    assert_int_equal(CREATE("--symmetric-key", "--certificate", root_path), 2);
    assert_int_equal(CREATE("--certificate", root_path, "--primary-key-file", text), 2);
    assert_int_equal(CREATE("--ca-reference", "x"), 2); /* for groups only */
    assert_int_equal(CREATE("--symmetric-key", "--allocation", "best"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--allocation", "custom"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--webhook", "https://localhost/"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--allocation", "custom", "--webhook", "http://localhost/"),
                     2);
    assert_int_equal(CREATE("--symmetric-key", "--reprovision", "often"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--hub", "a b"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--device-id", "a b"), 2);
    assert_int_equal(CREATE("--symmetric-key", "--initial-twin", twin), 1);
    assert_int_equal(CREATE("--symmetric-key", "--initial-twin", "/nonexistent"), 1);
    assert_int_equal(CREATE("--symmetric-key", "--primary-key-file", text), 1);
    assert_int_equal(CREATE("--symmetric-key", "--primary-key-file", key), 1);
    assert_int_equal(CREATE("--symmetric-key", "--primary-key-file", dir), 1);
    assert_int_equal(CREATE("--certificate", text), 1);
    assert_int_equal(CREATE("--endorsement-key-file", key), 1);
    assert_int_equal(run_program(out, "enrollment", "show", "--dir", dir, "--id", "bad", NULL), 3);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "bad", "--endorsement-key-file", key, NULL),
        2);
    assert_int_equal(
        run_program(out, "certificate", "add", "--dir", dir, "--id", "a b", "--certificate", root_path, NULL),
        1);
    assert_int_equal(
        run_program(out, "certificate", "add", "--dir", dir, "--id", "x", "--certificate", text, NULL), 1);
    assert_int_equal(
        run_program(out, "group", "create", "--dir", dir, "--id", "x509", "--certificate", root_path, NULL),
        0);
    assert_int_equal(run_program(out, "group", "key", "--dir", dir, "--id", "x509", NULL), 1);
    assert_int_equal(run_program(out, "group", "key", "--dir", dir, "--id", "x509", "--device", "a b", NULL),
                     2);
}

static void fault(const char *kind, const char *option, const char *value)
{
    assert_int_equal(run_program(NULL, "fault", "clear", "--dir", dps.dir, NULL), 0); /* counting starts anew */
    assert_int_equal(run_program(NULL, "fault", "add", "--dir", dps.dir, "--kind", kind, "--step", "admit",
                                 "--count", "1", option, value, NULL),
                     0);
}

/* Faults where a token is judged: an error is the refusal of CONNECT, a drop leaves it without an answer. */
static void test_faults_at_admission(void **state)
{
    (void)state;
    client c;
    char key[128], sas[512], user[256];
    packet p = {.n = 0};
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", "admitted",
                                 "--symmetric-key", NULL),
                     0);
    key_of("enrollment", "admitted", NULL, key);
    sign("admitted", key, sas);
    accepted("admitted", key);
    fault("error", "--status", "500");
    refused("admitted", sas);
    fault("throttle", "--retry-after", "3");
    refused("admitted", sas);
    fault("delay", "--delay", "300");
    accepted("admitted", key);
    fault("drop", NULL, NULL);
    packet_text(&p, "MQTT");
    memcpy(p.bytes + p.n, "\x04\xc2\x00\xb4", 4);
    p.n += 4;
    packet_text(&p, "admitted");
    snprintf(user, sizeof(user), "%s/registrations/admitted/api-version=2021-06-01", dps.scope);
    packet_text(&p, user);
    packet_text(&p, sas);
    packet_finish(&p, 0x10);
    client_open(&c, &dps, 0, NULL, NULL);
    client_send(&c, p.bytes, p.n);
    client_expect_end(&c);
    client_close(&c);
    accepted("admitted", key); /* each was for once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_faults_at_admission),
    };
    return cmocka_run_group_tests(tests, start, tear_down);
}
