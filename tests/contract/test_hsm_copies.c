/* Two copies of the static library in one process, as two plug-ins bring them: each with a state of its own, on one OpenSSL; and
 * one of them is closed before the other has finished. */
#include "support/prov.h"
#include "support/sdk.h"
#include "support/self.h"
#include "support/module_leaks.h"

#include "hsm_client_data.h"
#include "keynym_hsm.h"

#include <dlfcn.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct copy {
    void *library;
    int (*configure)(const char *identity, const keynym_hsm_config *config);
    int (*init)(void);
    void (*deinit)(void);
    const HSM_CLIENT_X509_INTERFACE *(*interface)(void);
} copy;

static void *symbol(const copy *c, const char *name)
{
    void *address = dlsym(c->library, name);
    if (!address)
        fail_msg("%s", dlerror());
    return address;
}

static copy open_copy(const char *path)
{
    copy c = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!c.library)
        fail_msg("%s", dlerror());
    *(void **)&c.configure = symbol(&c, "keynym_hsm_configure");
    *(void **)&c.init = symbol(&c, "hsm_client_x509_init");
    *(void **)&c.deinit = symbol(&c, "hsm_client_x509_deinit");
    *(void **)&c.interface = symbol(&c, "hsm_client_x509_interface");
    return c;
}

static const char *label_file(const char *label, const char *ending)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", label, ending);
    return test_token_path(prov_token, name);
}

static void configure(const copy *c, const char *label)
{
    keynym_hsm_config config = KEYNYM_HSM_CONFIG_INIT;
    config.key = label_file(label, "alias.pem");
    config.certificate = label_file(label, "crt");
    assert_int_equal(c->configure(NULL, &config), 0);
}

static bool connects(const char *key, const char *chain)
{
    SSL_CTX *client = SSL_CTX_new(TLS_method()), *server = prov_ssl_ctx(NULL, TLS_server_method(), TLS1_3_VERSION);
    prov_use_software(server, &kn_algs[0]);
    SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
    bool good = SSL_CTX_load_verify_file(client, test_token_path(prov_token, "ca.crt")) == 1 &&
                sdk_add_credentials(client, key, chain) && prov_handshake(client, server);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    return good;
}

typedef struct texts {
    char *key, *chain;
} texts;

static texts fetch(const copy *c)
{
    const HSM_CLIENT_X509_INTERFACE *x509 = c->interface();
    HSM_CLIENT_HANDLE handle = x509->hsm_client_x509_create();
    texts t = {x509->hsm_client_get_key(handle), x509->hsm_client_get_cert(handle)};
    assert_non_null(t.key);
    assert_non_null(t.chain);
    x509->hsm_client_x509_destroy(handle);
    return t;
}

/* In the order of the life of two plug-ins: both, one is de-initialised, closed, and the other goes on. */
static void live(const char *label_one, const char *label_two)
{
    copy one = open_copy(KEYNYM_COPY_A), two = open_copy(KEYNYM_COPY_B);
    assert_ptr_not_equal((void *)(uintptr_t)one.init, (void *)(uintptr_t)two.init);
    configure(&one, label_one);
    configure(&two, label_two);
    assert_int_equal(one.init(), 0);
    assert_int_equal(two.init(), 0);
    texts first = fetch(&one), second = fetch(&two);
    assert_string_not_equal(first.key, second.key);
    for (int i = 0; i < 2; i++) {
        assert_true(connects(first.key, first.chain));
        assert_true(connects(second.key, second.chain));
    }
    one.deinit();
    assert_true(connects(second.key, second.chain));
    assert_int_equal(dlclose(one.library), 0);
    assert_true(connects(second.key, second.chain));
    texts again = fetch(&two);
    assert_true(connects(again.key, again.chain));
    two.deinit();
    assert_int_equal(dlclose(two.library), 0);
    EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    assert_non_null(other); /* OpenSSL still knows of what they brought */
    EVP_PKEY_free(other);
    free(first.key);
    free(first.chain);
    free(second.key);
    free(second.chain);
    free(again.key);
    free(again.chain);
    assert_int_equal(ERR_peek_error(), 0);
}

static void make(const char *label, const char *alg)
{
    EVP_PKEY *public = prov_generate(label, kn_alg_by_name(alg));
    prov_issue(public, label, -3600, 86400, label_file(label, "crt"));
    EVP_PKEY_free(public);
}

static void two_ec_keys(void **state)
{
    (void)state;
    live(kn_algs[0].group, kn_algs[1].group);
}

static void two_rsa_keys(void **state)
{
    (void)state;
    make("rsa-one", "RSA:2048");
    make("rsa-two", "RSA:2048");
    live("rsa-one", "rsa-two");
}

static void one_of_each(void **state)
{
    (void)state;
    make("rsa-one", "RSA:2048");
    live(kn_algs[0].group, "rsa-one");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_ec_keys),
    cmocka_unit_test(two_rsa_keys),
    cmocka_unit_test(one_of_each),
};
#define TEST_COUNT (sizeof tests / sizeof *tests)

/* What a copy brings to OpenSSL stays: each test is a process. */
static void in_own_process(void **state)
{
    char *argv[] = {test_self(), *state, NULL};
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        (void)execv(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    struct CMUnitTest rows[TEST_COUNT];
    keep_modules();
    for (size_t i = 0; i < TEST_COUNT; i++) {
        if (argc == 2 && !strcmp(tests[i].name, argv[1]))
            return _cmocka_run_group_tests(argv[1], &tests[i], 1, prov_group_setup, prov_group_teardown);
        rows[i] = (struct CMUnitTest){tests[i].name, in_own_process, NULL, NULL, (void *)(uintptr_t)tests[i].name};
    }
    return argc == 1 ? _cmocka_run_group_tests("copies", rows, TEST_COUNT, NULL, NULL) : 2;
}
