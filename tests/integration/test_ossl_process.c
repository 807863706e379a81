/* Whole processes: keynym from the configuration file, and the end of a process in every order that programs
 * use. A module's destructors, OpenSSL's own and ours meet there (openssl issue 22508, SoftHSMv2 issues 729
 * and 780). */
#include "support/prov.h"
#include "../support/self.h"

#include <fcntl.h>
#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 60 /* after which a child that hangs is killed */

/* ---- what the child does: this program again, with the name of an ending and the path of an alias ---- */

static bool signs(OSSL_LIB_CTX *libctx, EVP_PKEY *pkey)
{
    unsigned char signature[256];
    size_t length = sizeof signature;
    static const unsigned char text[] = "text";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = pkey && EVP_DigestSignInit_ex(ctx, NULL, "SHA256", libctx, NULL, pkey, NULL) == 1 &&
                EVP_DigestSign(ctx, signature, &length, text, sizeof text) == 1 && EVP_MD_CTX_reset(ctx) &&
                EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", libctx, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, signature, length, text, sizeof text) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static EVP_PKEY *read_alias(OSSL_LIB_CTX *libctx, const char *path)
{
    BIO *in = BIO_new_file(path, "r");
    EVP_PKEY *pkey = in ? PEM_read_bio_PrivateKey_ex(in, NULL, NULL, NULL, libctx, NULL) : NULL;
    BIO_free(in);
    return pkey;
}

static bool own_context_signs(const char *path, EVP_PKEY **ret_pkey, prov *ret_prov)
{
    prov_open(ret_prov, PROV_DEFAULT_FIRST);
    *ret_pkey = read_alias(ret_prov->libctx, path);
    return signs(ret_prov->libctx, *ret_pkey);
}

static bool child_of_fork_signs(EVP_PKEY *pkey)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        exit(signs(NULL, pkey) ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int child(const char *ending, const char *path)
{
    static prov p; /* static: what is left on purpose can be reached, and LeakSanitizer reports the rest */
    static EVP_PKEY *pkey;
    (void)alarm(SECONDS);
    if (!strcmp(ending, "unload, free")) {
        bool good = own_context_signs(path, &pkey, &p);
        EVP_PKEY_free(pkey);
        (void)OSSL_PROVIDER_unload(p.keynym);
        (void)OSSL_PROVIDER_unload(p.def);
        OSSL_LIB_CTX_free(p.libctx);
        return good ? 0 : 1;
    }
    if (!strcmp(ending, "free while a key is held")) {
        bool good = own_context_signs(path, &pkey, &p);
        (void)OSSL_PROVIDER_unload(p.keynym);
        return good ? 0 : 1;
    }
    if (!strcmp(ending, "context is left")) {
        bool good = own_context_signs(path, &pkey, &p);
        EVP_PKEY_free(pkey);
        return good ? 0 : 1;
    }
    if (!strcmp(ending, "many times")) {
        bool good = true;
        for (int i = 0; i < 5; i++) {
            good &= own_context_signs(path, &pkey, &p);
            EVP_PKEY_free(pkey);
            (void)OSSL_PROVIDER_unload(p.keynym);
            (void)OSSL_PROVIDER_unload(p.def);
            OSSL_LIB_CTX_free(p.libctx);
        }
        return good ? 0 : 1;
    }
    /* The others: the default context, with what the configuration file says. */
    pkey = read_alias(NULL, path);
    if (!signs(NULL, pkey)) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    if (!strcmp(ending, "fork") && !child_of_fork_signs(pkey))
        return 1;
    if (!strcmp(ending, "key is freed") || !strcmp(ending, "cleanup"))
        EVP_PKEY_free(pkey);
    if (!strcmp(ending, "cleanup"))
        OPENSSL_cleanup();
    exit(0);
}

/* ---- the tests ---- */

static const char *configuration(const char *first, const char *second)
{
    static char path[96];
    char text[2048];
    (void)snprintf(
        text, sizeof text,
        "openssl_conf = init\n"
        "[init]\nproviders = providers\n"
        "[providers]\n%s = %s_section\n%s = %s_section\n"
        "[default_section]\nactivate = 1\n"
        "[keynym_section]\nmodule = %s/keynym.so\nactivate = 1\nmodule_path = %s\npin_source = %s\n"
        "[req]\ndistinguished_name = name\n[name]\n",
        first, first, second, second, KEYNYM_MODULE_DIR, test_module, prov_token->pin_file);
    test_token_write(prov_token, "openssl.cnf", text);
    (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "openssl.cnf"));
    return path;
}

/* Runs a program with a configuration; its output goes to the files "out" and "err" of the token's directory.
 * Returns its exit status, or -1 when it was killed. */
static int run(const char *config, char *const argv[])
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(test_token_path(prov_token, "out"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        int err = open(test_token_path(prov_token, "err"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        (void)setenv("OPENSSL_CONF", config, 1);
        if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
            (void)execvp(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void show_err(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "cat '%s' >&2", test_token_path(prov_token, "err"));
    (void)!system(command);
}

static int run_self(const char *config, const char *ending)
{
    char *argv[] = {test_self(), (char *)(uintptr_t)ending,
                    (char *)(uintptr_t)prov_file(&kn_algs[0], "alias.pem"), NULL};
    int status = run(config, argv);
    if (status)
        show_err();
    return status;
}

static void every_ending_is_clean(void **state)
{
    static const char *const endings[] = {"exit",
                                          "key is freed",
                                          "cleanup",
                                          "fork",
                                          "unload, free",
                                          "free while a key is held",
                                          "context is left",
                                          "many times"};
    (void)state;
    for (int order = 0; order < 2; order++)
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
            const char *config =
                order ? configuration("keynym", "default") : configuration("default", "keynym");
            if (run_self(config, endings[i]) != 0)
                fail_msg("'%s' with %s first", endings[i], order ? "keynym" : "default");
        }
}

/* The tests above would pass if the configuration were not read. */
static void without_keynym_the_child_fails(void **state)
{
    (void)state;
    assert_int_equal(run_self("/dev/null", "exit"), 1);
}

/* OpenSSL goes on without a provider that does not start, and drops what that put on the error queue: the
 * line on standard error is all that a user sees. */
static void names_a_setting_that_is_wrong(void **state)
{
    static const char *const lines[] = {"session_wait_ms = soon", "session_wait_ms = 99999999999",
                                        "session_wait_ms = -1", "log_level = loud"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[1024];
        (void)snprintf(
            text, sizeof text,
            "openssl_conf = init\n[init]\nproviders = providers\n[providers]\nkeynym = keynym_section\n"
            "default = default_section\n[default_section]\nactivate = 1\n"
            "[keynym_section]\nmodule = %s/keynym.so\nactivate = 1\n%s\n",
            KEYNYM_MODULE_DIR, lines[i]);
        test_token_write(prov_token, "bad.cnf", text);
        char path[96];
        (void)snprintf(path, sizeof path, "%s", test_token_path(prov_token, "bad.cnf"));
        char *argv[] = {test_self(), (char *)(uintptr_t) "exit",
                        (char *)(uintptr_t)prov_file(&kn_algs[0], "alias.pem"), NULL};
        assert_int_equal(run(path, argv), 1);
        char *err = prov_read(test_token_path(prov_token, "err"));
        assert_non_null(strstr(err, "keynym: the configuration is not valid"));
        assert_non_null(strstr(err, lines[i]));
        assert_non_null(strstr(err, "next step"));
        free(err);
    }
}

static bool openssl_can_load_this_build(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a module with a sanitizer cannot be loaded by the openssl command\n");
    return false;
#else
    return true;
#endif
}

#define OPENSSL(...)                                                                                         \
    do {                                                                                                     \
        const char *const argv_[] = {"openssl", __VA_ARGS__, NULL};                                          \
        int status_ = run(config, (char *const *)(uintptr_t)argv_);                                          \
        if (status_) {                                                                                       \
            show_err();                                                                                      \
            fail_msg("openssl %s: %d", argv_[1], status_);                                                   \
        }                                                                                                    \
    } while (0)

static void the_openssl_command_works(void **state)
{
    (void)state;
    if (!openssl_can_load_this_build())
        skip();
    for (int order = 0; order < 2; order++)
        for (int by = 0; by < 2; by++) {
            char key[512], data[96], signature[96], public[96], request[96], crt[96], ca[96], cms[96];
            const char *config =
                order ? configuration("keynym", "default") : configuration("default", "keynym");
            (void)snprintf(key, sizeof key, "%s",
                           by ? prov_file(&kn_algs[0], "alias.pem")
                              : test_token_uri(prov_token, kn_algs[0].group));
            (void)snprintf(crt, sizeof crt, "%s", prov_file(&kn_algs[0], "crt"));
            (void)snprintf(ca, sizeof ca, "%s", test_token_path(prov_token, "ca.crt"));
            (void)snprintf(data, sizeof data, "%s", test_token_path(prov_token, "data"));
            (void)snprintf(signature, sizeof signature, "%s", test_token_path(prov_token, "signature"));
            (void)snprintf(public, sizeof public, "%s", test_token_path(prov_token, "public.pem"));
            (void)snprintf(request, sizeof request, "%s", test_token_path(prov_token, "request.pem"));
            (void)snprintf(cms, sizeof cms, "%s", test_token_path(prov_token, "cms.pem"));
            test_token_write(prov_token, "data", "data\n");
            OPENSSL("pkey", "-in", key, "-pubout", "-out", public);
            OPENSSL("dgst", "-sha256", "-sign", key, "-out", signature, data);
            OPENSSL("dgst", "-sha256", "-verify", public, "-signature", signature, data);
            OPENSSL("dgst", "-sha256", "-prverify", key, "-signature", signature, data);
            OPENSSL("req", "-new", "-key", key, "-subj", "/CN=device", "-out", request);
            OPENSSL("req", "-in", request, "-verify", "-noout");
            OPENSSL("req", "-x509", "-new", "-key", key, "-subj", "/CN=device", "-out", request);
            OPENSSL("verify", "-CAfile", request, "-check_ss_sig", request);
            OPENSSL("cms", "-sign", "-nodetach", "-in", data, "-signer", crt, "-inkey", key, "-outform",
                    "PEM", "-out", cms);
            OPENSSL("cms", "-verify", "-in", cms, "-inform", "PEM", "-CAfile", ca, "-purpose", "any", "-out",
                    "/dev/null");
            /* Software keys beside it. */
            OPENSSL("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", request);
            OPENSSL("dgst", "-sha256", "-sign", request, "-out", signature, data);
        }
}

static void the_openssl_command_shows_why_not(void **state)
{
    (void)state;
    if (!openssl_can_load_this_build())
        skip();
    const char *const argv[] = {"openssl", "pkey", "-in", test_token_uri(prov_token, "no-such-key"), NULL};
    assert_int_not_equal(run(configuration("default", "keynym"), (char *const *)(uintptr_t)argv), 0);
    char *err = prov_read(test_token_path(prov_token, "err"));
    assert_non_null(strstr(err, "no key matches"));
    assert_non_null(strstr(err, "next step"));
    assert_null(strstr(err, prov_token->pin));
    free(err);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return child(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ending_is_clean),
        cmocka_unit_test(without_keynym_the_child_fails),
        cmocka_unit_test(names_a_setting_that_is_wrong),
        cmocka_unit_test(the_openssl_command_works),
        cmocka_unit_test(the_openssl_command_shows_why_not),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
