/* The command `keynym provision`, run as a process of its own against the fake service, and the frame around
 * it.
 */
#include "../support/fake_dps.h"
#include "../support/fake_dps_hsm.h"

#include "kn_cmd.h"
#include "../support/self.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ASSIGNING "{\"operationId\":\"5.1.2\",\"status\":\"assigning\"}"
#define ASSIGNED                                                                                             \
    "{\"operationId\":\"5.1.2\",\"status\":\"assigned\",\"registrationState\":{\"assignedHub\":\"hub1."      \
    "example\","                                                                                             \
    "\"deviceId\":\"device-7\",\"substatus\":\"initialAssignment\",\"payload\":{\"n\":1}}}"

static const kn_cmd group_leaf = {
    .name = "list",
    .summary = "list them",
    .synopsis = "[options]",
    .description = "Lists.\n",
    .run = NULL,
    .options = NULL,
};
static const kn_cmd *const group_children[] = {&group_leaf, NULL};
static const kn_cmd group = {.name = "token", .summary = "tokens", .children = group_children};
static const kn_cmd *const commands[] = {&kn_cmd_provision, &group, NULL};

static fake_pki *pki;
static char *key_file, *cert_file;
static char out[16384], err[16384];

static int set_up(void **state)
{
    (void)state;
    pki = fake_pki_new();
    key_file = fake_pki_file(pki, "device.key", pki->device_key);
    cert_file = fake_pki_file(pki, "device.pem", pki->device_cert);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(key_file);
    free(cert_file);
    fake_pki_free(pki);
    return 0;
}

static void slurp(FILE *file, char *text, size_t capacity)
{
    size_t size;

    rewind(file);
    size = fread(text, 1, capacity - 1, file);
    text[size] = '\0';
    assert_int_equal(fclose(file), 0);
}

/* This program again, as the command: a fork() alone would go on with locks that the service's thread held.
 */
static pid_t start(char **argv, FILE *out_file, FILE *err_file)
{
    posix_spawn_file_actions_t actions;
    pid_t child;

    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fileno(out_file), STDOUT_FILENO), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fileno(err_file), STDERR_FILENO), 0);
    assert_int_equal(posix_spawn(&child, test_self(), &actions, NULL, argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    return child;
}

/* Runs "keynym ARGUMENTS..."; fills out and err; returns the exit status, or 1000 + the signal. */
static int keynym(const char *first, ...)
{
    char *argv[40] = {(char *)(uintptr_t) "keynym", (char *)(uintptr_t)first};
    FILE *out_file = tmpfile(), *err_file = tmpfile();
    int count = first ? 2 : 1, status;
    va_list args;
    pid_t child;

    va_start(args, first);
    while (first && count < 39 && (argv[count] = va_arg(args, char *)))
        count++;
    va_end(args);
    assert_non_null(out_file);
    assert_non_null(err_file);
    child = start(argv, out_file, err_file);
    assert_int_equal(waitpid(child, &status, 0), child);
    slurp(out_file, out, sizeof out);
    slurp(err_file, err, sizeof err);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

#define PROVISION(dps, ...)                                                                                  \
    keynym("provision", "--id-scope", "0ne00012345", "--endpoint", fake_dps_endpoint(dps), "--ca",           \
           pki->ca_file, "--key", key_file, "--cert", cert_file, ##__VA_ARGS__, NULL)

static void test_text(void **state)
{
    static const fake_reply replies[] = {{.status = 202, .body = ASSIGNING, .retry_after = "1"},
                                         {.status = 200, .body = ASSIGNED}};
    fake_script script = {.replies = replies, .replies_count = 2};
    fake_dps *dps = fake_dps_start(pki, &script);

    (void)state;
    assert_int_equal(PROVISION(dps), 0);
    assert_string_equal(out, "Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED\n"
                             "Provisioning Status: PROV_DEVICE_REG_STATUS_REGISTERING\n"
                             "Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING\n"
                             "Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNED\n"
                             "Registration Information received from service: hub1.example!\n"
                             "Device ID: device-7\n");
    assert_string_equal(err, "");
    fake_dps_stop(dps);
}

static void test_json_and_output(void **state)
{
    static const fake_reply replies[] = {{.status = 200, .body = ASSIGNED}};
    fake_script script = {.replies = replies, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    char path[128], stored[4096];
    char *payload = fake_pki_file(pki, "payload.json", "{\"model\": 3}\n");
    struct stat info;
    FILE *file;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/result.json", pki->directory);
    assert_int_equal(PROVISION(dps, "--json", "--output", path, "--payload", payload, "--registration-id",
                               "other-name", "--timeout", "20"),
                     0);
    assert_non_null(strstr(out, "\"assignedHub\":\t\"hub1.example\""));
    assert_non_null(strstr(out, "\"deviceId\":\t\"device-7\""));
    assert_non_null(strstr(out, "\"registrationId\":\t\"other-name\""));
    assert_non_null(strstr(out, "{\"n\":1}"));
    assert_null(strstr(out, "Provisioning Status"));
    file = fopen(path, "r");
    assert_non_null(file);
    slurp(file, stored, sizeof stored);
    assert_string_equal(stored, out);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    fake_dps_wait(dps, 1);
    assert_string_equal(fake_dps_seen(dps)->bodies[0],
                        "{\"registrationId\":\"other-name\",\"payload\":{\"model\": 3}\n}");
    free(payload);
    fake_dps_stop(dps);
    dps = fake_dps_start(pki, &script);
    assert_int_equal(PROVISION(dps, "--quiet", "--output", "/nonexistent/dir/x"), KN_EXIT_NOT_FOUND);
    assert_non_null(strstr(err, "/nonexistent/dir/x"));
    fake_dps_stop(dps);
}

static unsigned entries_of(const char *path)
{
    DIR *directory = opendir(path);
    unsigned count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    assert_int_equal(closedir(directory), 0);
    return count;
}

/* A failure leaves the old file, and no temporary one. */
static void test_output_after_failure(void **state)
{
    static const fake_reply refusal = {
        .status = 401,
        .body = "{\"errorCode\":401002,\"trackingId\":\"track-9\",\"message\":\"CA not found\"}"};
    fake_script script = {.replies = &refusal, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);
    char *old = fake_pki_file(pki, "old.json", "old");
    char stored[64];
    unsigned files = entries_of(pki->directory);
    FILE *file;

    (void)state;
    assert_int_equal(PROVISION(dps, "--json", "--output", old), KN_EXIT_FAILURE);
    assert_non_null(strstr(out, "\"error\":\t\"KN_PROV_E_UNAUTHORIZED\""));
    assert_non_null(strstr(out, "\"errorCode\":\t401002"));
    assert_non_null(strstr(out, "\"trackingId\":\t\"track-9\""));
    assert_non_null(strstr(err, "keynym: provisioning failed: "));
    assert_non_null(strstr(err, "401002"));
    assert_non_null(strstr(err, "track-9"));
    assert_non_null(strstr(err, "\n  next: "));
    assert_int_equal(entries_of(pki->directory), files);
    file = fopen(old, "r");
    assert_non_null(file);
    slurp(file, stored, sizeof stored);
    assert_string_equal(stored, "old");
    free(old);
    fake_dps_stop(dps);
}

static void test_exit_statuses(void **state)
{
    static const fake_reply unknown = {.status = 404, .body = "{\"errorCode\":404201}"};
    fake_script script = {.replies = &unknown, .replies_count = 1};
    fake_dps *dps = fake_dps_start(pki, &script);

    (void)state;
    assert_int_equal(PROVISION(dps, "--quiet"), KN_EXIT_NOT_FOUND);
    assert_string_equal(out, "");
    assert_non_null(strstr(err, "404201"));
    assert_int_equal(PROVISION(dps, "--verbose"), KN_EXIT_NOT_FOUND);
    assert_non_null(strstr(err, "TLS connection with localhost"));
    assert_int_equal(keynym("provision", "--id-scope", "s", "--endpoint", "localhost:1", "--ca", pki->ca_file,
                            "--key", key_file, "--cert", cert_file, NULL),
                     KN_EXIT_UNAVAILABLE);
    assert_int_equal(keynym("provision", "--id-scope", "s", "--key", "/nonexistent", NULL), KN_EXIT_FAILURE);
    assert_non_null(strstr(err, "/nonexistent: cannot be opened"));
    assert_int_equal(keynym("provision", "--id-scope", "s", NULL), KN_EXIT_FAILURE);
    assert_non_null(strstr(err, "hsm_client_get_common_name"));
    fake_dps_stop(dps);
}

static void expect_usage(int status, const char *words)
{
    assert_int_equal(status, KN_EXIT_USAGE);
    if (!strstr(err, words))
        fail_msg("\"%s\" lacks \"%s\"", err, words);
    assert_non_null(strstr(err, "\n  next: "));
    assert_string_equal(out, "");
}

static void test_usage(void **state)
{
    (void)state;
    expect_usage(keynym(NULL), "command is missing");
    expect_usage(keynym("provison", NULL), "did you mean \"provision\"?");
    expect_usage(keynym("zzzzzzzz", NULL), "unknown command \"zzzzzzzz\"");
    expect_usage(keynym("help", "toke", NULL), "did you mean \"token\"?");
    expect_usage(keynym("token", "lsit", NULL), "did you mean \"list\"?");
    expect_usage(keynym("provision", NULL), "--id-scope SCOPE is required");
    expect_usage(keynym("provision", "--id-scope", NULL), "--id-scope needs a value");
    expect_usage(keynym("provision", "--pin", "1234", NULL), "--pin is unknown");
    assert_null(strstr(err, "1234"));
    expect_usage(keynym("provision", "--pin=1234", NULL), "--pin is unknown");
    assert_null(strstr(err, "1234"));
    expect_usage(keynym("provision", "--password=1234", NULL), "--password is unknown");
    assert_null(strstr(err, "1234"));
    expect_usage(keynym("provision", "-x", NULL), "-x is unknown");
    expect_usage(keynym("provision", "--quiet=1", NULL), "--quiet");
    expect_usage(keynym("provision", "--json", "--json", NULL), "--json is given twice");
    expect_usage(keynym("provision", "extra", NULL), "unexpected argument \"extra\"");
    expect_usage(keynym("provision", "--id-scope", "s", "--timeout", "0", NULL), "--timeout \"0\"");
    expect_usage(keynym("provision", "--id-scope", "s", "--timeout", "1x", NULL), "--timeout \"1x\"");
    expect_usage(keynym("provision", "--id-scope", "s", "--transport", "pigeon", "--quiet", NULL), "mqtt");
}

static void test_no_pin_in_arguments(void **state)
{
    (void)state;
    expect_usage(keynym("provision", "--id-scope", "s", "--key", "pkcs11:object=k?pin-value=4711", NULL),
                 "--key carries a PIN");
    assert_null(strstr(err, "4711"));
}

static void test_help(void **state)
{
    static const char *const forms[][2] = {
        {"help", "provision"}, {"provision", "--help"}, {"provision", "-h"}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(keynym(forms[i][0], forms[i][1], NULL), 0);
        assert_int_equal(strncmp(out, "Usage: keynym provision --id-scope SCOPE", 40), 0);
        assert_non_null(strstr(out, "--pin-source SOURCE"));
        assert_string_equal(err, "");
    }
    assert_int_equal(keynym("--help", NULL), 0);
    assert_non_null(strstr(out, "  provision    register this device"));
    assert_int_equal(keynym("token", "--help", NULL), 0);
    assert_non_null(strstr(out, "Usage: keynym token COMMAND"));
    assert_int_equal(keynym("--version", NULL), 0);
    assert_string_equal(out, "keynym " KN_VERSION "\n");
}

/* Ctrl-C while the service is silent: the command says so and dies of the signal. */
static void test_interrupt(void **state)
{
    fake_script script = {.stall_at = FAKE_AFTER_CONNACK};
    fake_dps *dps = fake_dps_start(pki, &script);
    char *argv[] = {(char *)(uintptr_t) "keynym",     (char *)(uintptr_t) "provision",
                    (char *)(uintptr_t) "--id-scope", (char *)(uintptr_t) "s",
                    (char *)(uintptr_t) "--endpoint", (char *)(uintptr_t)fake_dps_endpoint(dps),
                    (char *)(uintptr_t) "--ca",       pki->ca_file,
                    (char *)(uintptr_t) "--key",      key_file,
                    (char *)(uintptr_t) "--cert",     cert_file,
                    (char *)(uintptr_t) "--verbose",  NULL};
    int pipe_fds[2], status;
    FILE *out_file = tmpfile(), *err_file;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    err_file = fdopen(pipe_fds[1], "w");
    child = start(argv, out_file, err_file);
    assert_int_equal(fclose(err_file), 0);
    err_file = fdopen(pipe_fds[0], "r");
    do { /* the handlers are in place once it talks of the connection */
        assert_non_null(fgets(err, (int)sizeof err, err_file));
    } while (!strstr(err, "TLS connection with"));
    assert_int_equal(kill(child, SIGINT), 0);
    assert_non_null(fgets(err, (int)sizeof err, err_file));
    assert_non_null(strstr(err, "cancelled"));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_int_equal(fclose(err_file), 0);
    assert_int_equal(fclose(out_file), 0);
    fake_dps_stop(dps);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json_and_output),
        cmocka_unit_test(test_output_after_failure),
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_no_pin_in_arguments),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_interrupt),
    };

    if (strcmp(argv[0], "keynym") == 0)
        return (int)kn_cmd_main(commands, argc, argv);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
