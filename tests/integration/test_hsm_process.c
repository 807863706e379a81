/* Processes that load libkeynym_hsm and end, in every order that programs use. The library is opened at run
 * time, as a plug-in would, so that closing it is among them. */
#include "support/prov.h"

#include "hsm_client_data.h"
#include "../support/self.h"

#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 60 /* after which a child that hangs is killed */

static void *symbol(void *library, const char *name)
{
    void *address = dlsym(library, name);
    if (!address)
        abort();
    return address;
}

static bool signs(EVP_PKEY *pkey)
{
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = pkey && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
                EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static EVP_PKEY *decode(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return pkey;
}

static bool child_of_fork_signs(EVP_PKEY *pkey)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        exit(signs(pkey) ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int child(const char *ending)
{
    (void)alarm(SECONDS);
    void *library = dlopen(KEYNYM_HSM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(void);
    void (*deinit)(void);
    const HSM_CLIENT_X509_INTERFACE *(*interface)(void);
    *(void **)&init = symbol(library, "hsm_client_x509_init");
    *(void **)&deinit = symbol(library, "hsm_client_x509_deinit");
    *(void **)&interface = symbol(library, "hsm_client_x509_interface");
    if (init())
        return 1;
    const HSM_CLIENT_X509_INTERFACE *x509 = interface();
    static HSM_CLIENT_HANDLE handle; /* static: what is left on purpose can be reached by LeakSanitizer */
    static char *pem;
    static EVP_PKEY *pkey;
    handle = x509->hsm_client_x509_create();
    pem = handle ? x509->hsm_client_get_key(handle) : NULL;
    pkey = pem ? decode(pem) : NULL;
    if (!signs(pkey))
        return 1;
    if (!strcmp(ending, "fork") && !child_of_fork_signs(pkey))
        return 1;
    if (!strcmp(ending, "everything is left"))
        exit(0);
    free(pem);
    if (strcmp(ending, "a key is held"))
        EVP_PKEY_free(pkey);
    x509->hsm_client_x509_destroy(handle);
    deinit();
    if (!strcmp(ending, "closed")) {
        if (dlclose(library))
            return 1;
        /* OpenSSL still knows the provider's functions. */
        EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        EVP_PKEY_free(other);
        return other ? 0 : 1;
    }
    if (!strcmp(ending, "cleanup"))
        OPENSSL_cleanup();
    exit(0);
}

static void every_ending_is_clean(void **state)
{
    static const char *const endings[] = {
        "deinit", "everything is left", "a key is held", "closed", "cleanup", "fork"};
    char text[1024], config[96];
    (void)state;
    (void)snprintf(text, sizeof text, "[keynym_hsm]\nkey = %s\ncertificate = %s\n",
                   prov_file(&kn_algs[0], "alias.pem"), prov_file(&kn_algs[0], "crt"));
    test_token_write(prov_token, "keynym.cnf", text);
    (void)snprintf(config, sizeof config, "%s", test_token_path(prov_token, "keynym.cnf"));
    assert_int_equal(setenv("KEYNYM_CONF", config, 1), 0);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char *argv[] = {test_self(), (char *)(uintptr_t)endings[i], NULL};
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            (void)execv(argv[0], argv);
            _exit(127);
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            fail_msg("'%s': wait status 0x%x", endings[i], (unsigned)status);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return child(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ending_is_clean),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
