#include "hsm.h"
#include "sdk.h"
#include "self.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TESTS_MAX 64

static struct {
    pthread_mutex_t lock;
    int count, level; /* lines of error or warning, and the level of the last */
    char line[2048];
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- processes ---- */

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
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("%s: wait status 0x%x", argv[1], (unsigned)status);
}

int hsm_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
    struct CMUnitTest rows[TESTS_MAX];
    if (argc == 2) {
        for (size_t i = 0; i < count; i++)
            if (!strcmp(tests[i].name, argv[1]))
                return _cmocka_run_group_tests(argv[1], &tests[i], 1, prov_group_setup, prov_group_teardown);
        return 2;
    }
    if (count > TESTS_MAX)
        abort();
    for (size_t i = 0; i < count; i++)
        rows[i] =
            (struct CMUnitTest){tests[i].name, in_own_process, NULL, NULL, (void *)(uintptr_t)tests[i].name};
    return _cmocka_run_group_tests(argv[0], rows, count, NULL, NULL);
}

/* ---- what the library says ---- */

static void hear(int level, const char *line)
{
    if (level > 2)
        return;
    (void)pthread_mutex_lock(&heard.lock);
    heard.count++;
    heard.level = level;
    (void)snprintf(heard.line, sizeof heard.line, "%s", line);
    (void)pthread_mutex_unlock(&heard.lock);
}

void hsm_listen(void)
{
    keynym_hsm_set_log(hear);
}

void hsm_configure(const char *key, const char *certificate)
{
    const keynym_hsm_config config = {.size = sizeof config,
                                           .key = key,
                                           .certificate = certificate,
                                           .pin_source = prov_token->pin_file,
                                           .module_path = test_module};
    hsm_listen();
    assert_int_equal(keynym_hsm_configure(NULL, &config), 0);
}

void hsm_expect_quiet(void)
{
    if (heard.count)
        fail_msg("not quiet: %s", heard.line);
}

void hsm_expect_failure(const char *call, ...)
{
    char begin[64];
    if (heard.count != 1)
        fail_msg("%d lines instead of 1; the last: %s", heard.count, heard.line);
    assert_int_equal(heard.level, 1);
    assert_string_equal(heard.line, keynym_hsm_last_error());
    (void)snprintf(begin, sizeof begin, "%s: ", call);
    assert_int_equal(strncmp(heard.line, begin, strlen(begin)), 0);
    va_list args;
    va_start(args, call);
    for (const char *text; (text = va_arg(args, const char *));)
        if (!strstr(heard.line, text))
            fail_msg("'%s' is not in: %s", text, heard.line);
    va_end(args);
    assert_non_null(strstr(heard.line, "(next step: "));
    assert_null(strstr(heard.line, prov_token->pin));
    heard.count = 0;
}

void hsm_expect_warning(const char *text)
{
    if (heard.count != 1 || heard.level != 2 || !strstr(heard.line, text))
        fail_msg("%d lines, level %d: %s", heard.count, heard.level, heard.line);
    heard.count = 0;
}

/* ---- the SDK's side ---- */

EVP_PKEY *hsm_decode(const char *key_pem)
{
    BIO *bio = BIO_new_mem_buf(key_pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return pkey;
}

bool hsm_signs(EVP_PKEY *pkey, const kn_alg *alg)
{
    unsigned char signature[256];
    static const unsigned char text[] = "text";
    size_t length = sizeof signature;
    EVP_PKEY *software = prov_software_public(alg);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
                EVP_DigestSign(ctx, signature, &length, text, sizeof text) == 1 && EVP_MD_CTX_reset(ctx) &&
                EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, software) == 1 &&
                EVP_DigestVerify(ctx, signature, length, text, sizeof text) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(software);
    return good;
}

SSL_CTX *hsm_sdk_ssl_ctx(const char *key_pem, const char *certificate_pem, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_load_verify_file(ctx, test_token_path(prov_token, "ca.crt")), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (!sdk_add_credentials(ctx, key_pem, certificate_pem)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

bool hsm_sdk_connects(const char *key_pem, const char *certificate_pem, int version)
{
    SSL_CTX *client = hsm_sdk_ssl_ctx(key_pem, certificate_pem, version);
    if (!client)
        return false;
    SSL_CTX *server = prov_ssl_ctx(NULL, TLS_server_method(), version);
    prov_use_software(server, &kn_algs[0]);
    bool good = prov_handshake(client, server);
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    return good;
}
