/* "It does not happen" is shown by a check that finds what is planted: a PIN in a core dump, a PIN sent too often. */
#include "fault/fault.h"

#include "../support/self.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a process that ends with a core dump: this program again, with the path of the PIN and what to leave ---- */

static int dump_core(const char *pin_file, const char *what)
{
    static char *planted;
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    const kn_config config = {.module_path = test_module, .pin_source = pin_file};
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    if (setrlimit(RLIMIT_CORE, &all) || kn_failed(kn_ctx_new(&config, &ctx)) ||
        kn_failed(fault_open_uri(ctx, FAULT_URI, &key)) ||
        kn_failed(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length))) {
        (void)fprintf(stderr, "%s\n", kn_err_detail());
        return 3;
    }
    if (!strcmp(what, "planted")) {
        FILE *file = fopen(pin_file, "r");
        planted = calloc(1, 64);
        if (!file || !planted || !fgets(planted, 64, file))
            return 4;
        (void)fclose(file);
    }
    abort(); /* with the key open, the session logged in */
}

static bool file_holds(const char *path, const char *needle)
{
    FILE *file = fopen(path, "rb");
    size_t length = strlen(needle), kept = 0, got;
    static char block[1 << 20];
    bool found = false;
    assert_non_null(file);
    while (!found && (got = fread(block + kept, 1, sizeof block - kept, file)) > 0) {
        found = memmem(block, kept + got, needle, length) != NULL;
        size_t all = kept + got;
        kept = all < length ? all : length - 1;
        memmove(block, block + all - kept, kept);
    }
    (void)fclose(file);
    return found;
}

/* The path of the core, in a directory of its own. */
static void make_core(const char *what, char *ret_path, size_t size)
{
    glob_t found;
    int status = 0;
    char dir[256], pattern[300];
    (void)snprintf(dir, sizeof dir, "%s/core-%s", fault_token->dir, what);
    assert_int_equal(mkdir(dir, 0700), 0);
    pid_t child = fork();
    if (child == 0) {
        const char *const argv[] = {test_self(), "core", fault_token->pin_file, what, NULL};
        if (!chdir(dir))
            (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(5);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(WCOREDUMP(status));
    (void)snprintf(pattern, sizeof pattern, "%s/*", dir);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    (void)snprintf(ret_path, size, "%s", found.gl_pathv[0]);
    globfree(&found);
}

/* A kernel that hands cores to a program writes none where we can read it. */
static bool cores_are_files(void)
{
    char pattern[128] = "|";
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "r");
    bool plain = file && fgets(pattern, sizeof pattern, file) && pattern[0] != '|' && !strchr(pattern, '/');
    if (file)
        (void)fclose(file);
    return plain;
}

static void test_no_pin_in_a_core_dump(void **state)
{
    char path[600];
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's shadow memory makes cores of terabytes\n");
    skip();
#endif
    if (!cores_are_files()) {
        print_message("skipped: this machine's core_pattern does not write a file into the working directory\n");
        skip();
    }
    make_core("planted", path, sizeof path);
    assert_true(file_holds(path, fault_token->pin));
    assert_true(file_holds(path, FAULT_URI)); /* it is the core of that process */
    make_core("clean", path, sizeof path);
    assert_true(file_holds(path, FAULT_URI));
    assert_false(file_holds(path, fault_token->pin));
    fault_row("claims", "no PIN in a core dump of a process that is logged in",
              "the core is searched; one in which the PIN was left on purpose holds it");
}

/* ---- the PIN is sent as often as it must be ---- */

static unsigned logins_of(kn_err (*operation)(kn_ctx *ctx))
{
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    shim_reset_calls(fault_shim);
    (void)operation(ctx);
    unsigned logins = fault_calls(SHIM_C_Login);
    kn_ctx_unref(&ctx);
    return logins;
}

static kn_err open_once(kn_ctx *ctx)
{
    kn_key *key = NULL;
    kn_err err = fault_open_uri(ctx, FAULT_URI, &key);
    kn_key_unref(&key);
    return err;
}

/* What a backend that repeats an authentication would do. */
static kn_err open_twice(kn_ctx *ctx)
{
    kn_err err = open_once(ctx);
    return kn_failed(err) ? open_once(ctx) : err;
}

/* A C_Login that the token may have judged is not repeated, whatever it returned. */
static void test_no_lost_try(void **state)
{
    static const CK_RV judged[] = {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED,
                                   CKR_DEVICE_MEMORY, CKR_HOST_MEMORY,     CKR_FUNCTION_CANCELED, CKR_SESSION_CLOSED,
                                   CKR_PIN_LOCKED,    CKR_PIN_EXPIRED,     0x80000001UL};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(judged); i++)
        for (int after = 0; after < 2; after++) {
            shim_fail_nth(fault_shim, SHIM_C_Login, 1, judged[i], after);
            unsigned logins = logins_of(open_once);
            if (logins != 1)
                fail_msg("0x%lx: %u C_Login", judged[i], logins);
            shim_fail_nth(fault_shim, SHIM_C_Login, 1, judged[i], after);
            if (logins_of(open_twice) != 2) /* planted */
                fail_msg("0x%lx: a repetition is not seen", judged[i]);
        }
    fault_row("claims", "no try of a PIN is lost", "one C_Login for each of 11 errors that the token may have judged; a repetition that is planted is counted");
}

/* A wrong PIN: once in this process, whoever asks; another process's try is its own. */
static void test_wrong_pin_once(void **state)
{
    (void)state;
    kn_ctx *ctx = shim_context(fault_token->wrong_pin_file);
    for (int i = 0; i < 5; i++)
        assert_error(KN_E_PIN_INCORRECT, open_once(ctx));
    kn_ctx_unref(&ctx);
    ctx = shim_context(fault_token->wrong_pin_file);
    assert_error(KN_E_PIN_INCORRECT, open_once(ctx));
    kn_ctx_unref(&ctx);
    assert_int_equal(fault_calls(SHIM_C_Login), 1);
    fault_row("peers", "wrong PIN in the configuration or in the URI", "one C_Login per wrong PIN and process, named error, no prompt");
}

/* ---- nothing is signed twice ---- */

static void test_no_double_signing(void **state)
{
    static const CK_RV lost[] = {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED,
                                 CKR_DEVICE_MEMORY, CKR_HOST_MEMORY,     CKR_SESSION_CLOSED, 0x80000001UL};
    (void)state;
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = fault_open(ctx);
    for (size_t i = 0; i < COUNT_OF(lost); i++) {
        shim_reset_calls(fault_shim);
        shim_fail_nth(fault_shim, SHIM_C_Sign, 1, lost[i], true);
        assert_true(kn_failed(fault_sign(key)));
        assert_int_equal(fault_done(SHIM_C_Sign), 1);
    }
    /* Planted: a module that says "nothing was begun" after it signed is believed, and counted twice. */
    shim_reset_calls(fault_shim);
    shim_fail_nth(fault_shim, SHIM_C_Sign, 1, CKR_OPERATION_NOT_INITIALIZED, true);
    assert_ok(fault_sign(key));
    assert_int_equal(fault_done(SHIM_C_Sign), 2);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    fault_row("claims", "no operation is done twice", "one C_Sign when its answer is lost, for 8 values; one that is planted is counted");
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "core"))
        return dump_core(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_no_pin_in_a_core_dump),
        FAULT_TEST(test_no_lost_try),
        FAULT_TEST(test_no_double_signing),
        FAULT_TEST(test_wrong_pin_once),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
