/* Every transport and attestation, straight and through proxies, against the real keynym-dps; all at once, in
 * threads. */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"
#include "../support/test_proxy.h"
#include "test_dps_harness.h"

#include "kn_prov.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define USER     "gateway"
#define PASSWORD "p@ss:w0rd"

/* 32 bytes each, in Base64. */
#define GROUP_KEY  "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define DEVICE_KEY "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

static fake_pki *pki, *stranger; /* the second one's root is in no enrollment group */
static server dps = {.dir = "/tmp/kn-transports-XXXXXX"};
static test_proxy *open_proxy, *closed_proxy;
static char open_http[64], open_socks[64], closed_http[64], closed_socks[64];

static void key_file(const char *name, const char *base64, char ret_path[128])
{
    char *path = fake_pki_file(pki, name, base64);

    assert_int_equal(chmod(path, 0600), 0);
    (void)snprintf(ret_path, 128, "%s", path);
    free(path);
}

static int set_up(void **state)
{
    static const char *const args[] = {"--free-ports", "--retry-after", "1", NULL};
    char path[128];

    (void)state;
    pki = fake_pki_new();
    stranger = fake_pki_new();
    assert_non_null(mkdtemp(dps.dir));
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "g", "--certificate",
                                 pki->ca_file, "--hub", "hub1.test", NULL),
                     0);
    key_file("group.key", GROUP_KEY, path);
    assert_int_equal(run_program(NULL, "group", "create", "--dir", dps.dir, "--id", "k", "--symmetric-key",
                                 "--primary-key-file", path, "--hub", "hub4.test", NULL),
                     0);
    server_start(&dps, args);
    open_proxy = test_proxy_start(NULL, NULL);
    closed_proxy = test_proxy_start(USER, PASSWORD);
    (void)snprintf(open_http, sizeof open_http, "http://127.0.0.1:%d", test_proxy_port(open_proxy));
    (void)snprintf(open_socks, sizeof open_socks, "socks5h://127.0.0.1:%d", test_proxy_port(open_proxy));
    (void)snprintf(closed_http, sizeof closed_http, "http://127.0.0.1:%d", test_proxy_port(closed_proxy));
    (void)snprintf(closed_socks, sizeof closed_socks, "socks5h://127.0.0.1:%d",
                   test_proxy_port(closed_proxy));
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    test_proxy_stop(open_proxy);
    test_proxy_stop(closed_proxy);
    assert_int_equal(server_stop(&dps, SIGTERM), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", dps.dir);
    assert_int_equal(system(command), 0);
    fake_pki_free(pki);
    fake_pki_free(stranger);
    return 0;
}

/* One registration in a thread of its own. */
typedef struct job {
    kn_prov_request request;
    fake_hsm_settings identity; /* a device of its own: a registration ends the one before */
    char *certificate, *key, name[40];
    char symmetric_key[64];
    const char *hub;
    char endpoint[32];
    char statuses[200];
    kn_prov_code expected;
    kn_prov_code code;
    kn_prov_result result;
    pthread_t thread;
} job;

#define JOBS_MAX 80

static job jobs[JOBS_MAX];
static size_t job_count;

static void note_status(kn_prov_status status, void *context)
{
    job *j = context;
    size_t used = strlen(j->statuses);

    (void)snprintf(j->statuses + used, sizeof j->statuses - used, " %s",
                   kn_prov_status_name(status) + strlen("PROV_DEVICE_REG_STATUS_"));
}

static void *run_job(void *arg)
{
    job *j = arg;

    fake_hsm_mine = &j->identity;
    j->code = kn_prov_register(&j->request, &j->result);
    return NULL;
}

static int port_of_transport(const char *name)
{
    return strcmp(name, "mqtt") == 0 ? dps.port : strcmp(name, "amqp") == 0 ? dps.amqp_port : dps.https_port;
}

static job *add_job(const char *transport, const char *attestation, const char *proxy, kn_prov_code expected)
{
    job *j = &jobs[job_count++];

    assert_true(job_count <= JOBS_MAX);
    *j = (job){.expected = expected, .hub = "hub1.test", .result = KN_PROV_RESULT_INIT};
    (void)snprintf(j->name, sizeof j->name, "device-%zu", job_count);
    fake_pki_device(pki, j->name, &j->certificate, &j->key);
    j->identity = (fake_hsm_settings){.common_name = j->name, .certificate = j->certificate, .key = j->key};
    (void)snprintf(j->endpoint, sizeof j->endpoint, "localhost:%d", port_of_transport(transport));
    j->request = (kn_prov_request){
        .endpoint = j->endpoint,
        .id_scope = dps.scope,
        .transport = transport,
        .attestation = attestation,
        .ca_file = dps.ca,
        .proxy = proxy,
        .on_status = note_status,
        .context = j,
    };
    return j;
}

static void check_job(job *j)
{
    if (j->code != j->expected)
        print_message("%s, %s, proxy %s: %s\n", j->request.transport, j->request.attestation,
                      j->request.proxy ? j->request.proxy : "none",
                      j->result.message ? j->result.message : "done");
    assert_int_equal(j->code, j->expected);
    if (j->code == KN_PROV_OK) {
        assert_string_equal(j->result.assigned_hub, j->hub);
        assert_string_equal(j->result.device_id, j->result.registration_id);
        assert_string_equal(j->statuses, " CONNECTED REGISTERING ASSIGNING ASSIGNED");
    } else {
        assert_non_null(strstr(j->statuses, " ERROR"));
        assert_true(strlen(j->result.message) > 0);
        assert_null(strstr(j->result.message, "wrong-one"));
    }
}

static void run_jobs(void)
{
    for (size_t i = 0; i < job_count; i++)
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]), 0);
    for (size_t i = 0; i < job_count; i++)
        assert_int_equal(pthread_join(jobs[i].thread, NULL), 0);
    for (size_t i = 0; i < job_count; i++) {
        check_job(&jobs[i]);
        kn_prov_result_clear(&jobs[i].result);
        free(jobs[i].certificate);
        free(jobs[i].key);
    }
    job_count = 0;
}

static void test_straight(void **state)
{
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++)
        (void)add_job(kn_prov_transport_name(i), "x509", NULL, KN_PROV_OK);
    run_jobs();
}

/* ---- every attestation ---- */

/* What a factory computes for a device of a group: Base64 of HMAC-SHA256(group key, registration ID). */
static void derive_key(const char *id, char ret_base64[64])
{
    unsigned char key[64], mac[32];
    unsigned mac_size = 0;
    int size = EVP_DecodeBlock(key, (const unsigned char *)GROUP_KEY, (int)strlen(GROUP_KEY));

    assert_int_equal(size, 33); /* with the byte that '=' stands for */
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const unsigned char *)id, strlen(id), mac, &mac_size));
    assert_int_equal(EVP_EncodeBlock((unsigned char *)ret_base64, mac, (int)mac_size), 44);
}

/* A chain that ends with the root, as some factories ship it: the service does not mind. */
static void x509_group(job *j)
{
    char *chain;

    assert_true(asprintf(&chain, "%s%s", j->certificate, pki->ca_cert) > 0);
    free(j->certificate);
    j->identity.certificate = j->certificate = chain;
}

/* Only its own enrollment can let it in. */
static void x509_individual(job *j)
{
    char *path;

    free(j->certificate);
    free(j->key);
    fake_pki_device(stranger, j->name, &j->certificate, &j->key);
    *strchr(strstr(j->certificate, "-----END") + 5, '\n') = '\0'; /* the leaf alone */
    j->identity.certificate = j->certificate;
    j->identity.key = j->key;
    j->hub = "hub2.test";
    path = fake_pki_file(pki, "leaf.pem", j->certificate);
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", j->name,
                                 "--certificate", path, "--hub", j->hub, NULL),
                     0);
    free(path);
}

static void symmetric_individual(job *j)
{
    char path[128];

    key_file("device.key", DEVICE_KEY, path);
    j->identity = (fake_hsm_settings){.registration_name = j->name, .symmetric_key = DEVICE_KEY};
    j->hub = "hub3.test";
    assert_int_equal(run_program(NULL, "enrollment", "create", "--dir", dps.dir, "--id", j->name,
                                 "--symmetric-key", "--primary-key-file", path, "--hub", j->hub, NULL),
                     0);
}

static void symmetric_group(job *j)
{
    derive_key(j->name, j->symmetric_key);
    j->identity = (fake_hsm_settings){.registration_name = j->name, .symmetric_key = j->symmetric_key};
    j->hub = "hub4.test";
}

static const struct {
    const char *name, *attestation;
    void (*set_up)(job *j);
} kinds[] = {
    {"xg", "x509", x509_group},
    {"xi", "x509", x509_individual},
    {"si", "symmetric-key", symmetric_individual},
    {"sg", "symmetric-key", symmetric_group},
};

/* Every transport x attestation x way there. The hub tells which enrollment let the device in. */
static void test_matrix(void **state)
{
    const char *const proxies[] = {NULL, closed_http, open_socks, closed_socks};
    unsigned open_before = test_proxy_tunnels(open_proxy), closed_before = test_proxy_tunnels(closed_proxy),
             count = 0;

    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            for (size_t p = 0; p < sizeof proxies / sizeof *proxies; p++) {
                job *j = add_job(kn_prov_transport_name(i), kinds[k].attestation, proxies[p], KN_PROV_OK);

                (void)snprintf(j->name, sizeof j->name, "%s-%s-%zu", kinds[k].name, kn_prov_transport_name(i),
                               p);
                free(j->certificate);
                free(j->key);
                fake_pki_device(pki, j->name, &j->certificate, &j->key);
                j->identity.certificate = j->certificate;
                j->identity.key = j->key;
                kinds[k].set_up(j);
                if (proxies[p] == closed_http || proxies[p] == closed_socks) {
                    j->request.proxy_user = USER;
                    j->request.proxy_password = PASSWORD;
                }
            }
            count++;
        }
    }
    run_jobs();
    /* HTTPS may take a connection for each of its two requests */
    assert_in_range(test_proxy_tunnels(open_proxy) - open_before, count, count + 4);
    assert_in_range(test_proxy_tunnels(closed_proxy) - closed_before, 2 * count, 2 * count + 8);
}

/* A certificate that no enrollment knows, another device's derived key, another key: refused everywhere. */
static void test_wrong_identities(void **state)
{
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        const char *name = kn_prov_transport_name(i);
        job *j = add_job(name, "x509", NULL, KN_PROV_E_UNAUTHORIZED);

        free(j->certificate);
        free(j->key);
        fake_pki_device(stranger, j->name, &j->certificate, &j->key);
        j->identity.certificate = j->certificate;
        j->identity.key = j->key;
        j = add_job(name, "symmetric-key", NULL, KN_PROV_E_UNAUTHORIZED);
        symmetric_group(j);
        derive_key("another-device", j->symmetric_key);
        j = add_job(name, "symmetric-key", NULL, KN_PROV_E_UNAUTHORIZED);
        (void)snprintf(j->name, sizeof j->name, "wrong-%zu", i);
        symmetric_individual(j);
        j->identity.symmetric_key = GROUP_KEY;
    }
    run_jobs();
}

static void test_proxies(void **state)
{
    unsigned before = test_proxy_tunnels(open_proxy), closed_before = test_proxy_tunnels(closed_proxy),
             count = 0;

    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        const char *name = kn_prov_transport_name(i);

        (void)add_job(name, "x509", open_http, KN_PROV_OK);
        (void)add_job(name, "x509", open_socks, KN_PROV_OK);
        for (int socks = 0; socks < 2; socks++) {
            job *j = add_job(name, "x509", socks ? closed_socks : closed_http, KN_PROV_OK);

            j->request.proxy_user = USER;
            j->request.proxy_password = PASSWORD;
        }
        count += 2;
    }
    run_jobs();
    /* HTTPS may take a connection for each of its two requests */
    assert_in_range(test_proxy_tunnels(open_proxy) - before, count, count + 2);
    assert_in_range(test_proxy_tunnels(closed_proxy) - closed_before, count, count + 2);
}

/* A proxy that wants another password, or any: the error is the proxy's, and says nothing of the password. */
static void test_refusing_proxies(void **state)
{
    unsigned before = test_proxy_refusals(closed_proxy), count = 0;

    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        for (int n = 0; n < 4; n++) {
            job *j = add_job(kn_prov_transport_name(i), "x509", n & 1 ? closed_socks : closed_http,
                             KN_PROV_E_PROXY);

            if (n & 2) {
                j->request.proxy_user = USER;
                j->request.proxy_password = "wrong-one";
            }
            count++;
        }
    }
    run_jobs();
    assert_true(test_proxy_refusals(closed_proxy) - before >= count);
}

/* The certificate is for another name, or of another CA: refused by every transport, N of N. */
static void test_untrusted(void **state)
{
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        job *j = add_job(kn_prov_transport_name(i), "x509", NULL, KN_PROV_E_SERVER_UNTRUSTED);

        j->request.ca_file = pki->other_ca_file;
        /* the harness's server has a certificate for localhost and 127.0.0.1 only */
        j = add_job(kn_prov_transport_name(i), "x509", open_socks, KN_PROV_E_SERVER_NAME);
        (void)snprintf(j->endpoint, sizeof j->endpoint, "dps.test:%d",
                       port_of_transport(kn_prov_transport_name(i)));
    }
    run_jobs();
}

/* The certificate says that it is another device. */
static void test_wrong_name(void **state)
{
    (void)state;
    for (size_t i = 0; kn_prov_transport_name(i); i++) {
        job *j = add_job(kn_prov_transport_name(i), "x509", NULL, KN_PROV_E_UNAUTHORIZED);

        j->request.registration_id = "somebody-else";
    }
    run_jobs();
}

static unsigned descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    (void)closedir(directory);
    return count;
}

/* After everything above nothing is left open. */
static void test_nothing_left(void **state)
{
    unsigned before;

    (void)state;
    test_straight(state);
    before = descriptors();
    test_straight(state);
    assert_int_equal(descriptors(), before);
    assert_int_equal(fake_hsm_handles, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_straight),         cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_wrong_identities), cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_refusing_proxies), cmocka_unit_test(test_untrusted),
        cmocka_unit_test(test_wrong_name),       cmocka_unit_test(test_nothing_left),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
