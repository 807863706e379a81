#include "kn_pin.h"

#include "support/kn_check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/keynym-test.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf -- '%s'", dir);
    return system(command);
}

static const char *write_file(const char *name, const void *data, size_t length, mode_t mode)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void expect_pin(const char *source, const void *pin, size_t length)
{
    kn_secret *secret = NULL;
    assert_ok(kn_pin_read(source, &secret));
    assert_int_equal(kn_secret_length(secret), length);
    assert_memory_equal(kn_secret_data(secret), pin, length);
    kn_secret_free(&secret);
}

static void expect_error(kn_code code, const char *source, const char *why)
{
    kn_secret *secret = (kn_secret *)8;
    assert_error(code, kn_pin_read(source, &secret));
    assert_ptr_equal(secret, (kn_secret *)8);
    assert_detail(why);
    assert_detail_lacks("123456");
}

static void expect_refused(const char *source, const char *why)
{
    expect_error(KN_E_PIN_SOURCE, source, why);
}

/* ---- files ---- */

static void test_modes(void **state)
{
    static const mode_t good[] = {0600, 0400, 0700};
    static const mode_t bad[] = {0644, 0620, 0666, 0604, 0602, 0601, 0660, 0610};
    static const mode_t group[] = {0640, 0440};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        expect_pin(write_file("pin", "123456", 6, good[i]), "123456", 6);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char mode[8];
        (void)snprintf(mode, sizeof mode, "%04o", (unsigned)bad[i]);
        expect_refused(write_file("pin", "123456", 6, bad[i]), mode);
    }
    for (size_t i = 0; i < COUNT_OF(group); i++) { /* root lends it to the group of a service; nobody else does */
        const char *path = write_file("pin", "123456", 6, group[i]);
        if (geteuid() != 0) {
            expect_refused(path, "others could read");
            continue;
        }
        expect_pin(path, "123456", 6);
        assert_int_equal(chown(path, 4711, 4711), 0);
        expect_refused(path, "others could read");
    }
}

static void test_owner(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can give a file away\n");
        skip();
    }
    const char *path = write_file("pin", "123456", 6, 0600);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(seteuid(4711), 0);
    kn_secret *secret = NULL;
    kn_err err = kn_pin_read(path, &secret); /* root's, 0600: not even readable */
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(err.code, KN_E_PIN_SOURCE);

    assert_int_equal(chown(path, 4712, 4711), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(setegid(4711), 0);
    assert_int_equal(seteuid(4711), 0);
    err = kn_pin_read(path, &secret); /* readable by group, but another user could change it */
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
    assert_int_equal(err.code, KN_E_PIN_SOURCE);
    assert_detail("4712");
}

static void test_what_is_no_file(void **state)
{
    char path[128];
    (void)state;
    expect_refused(dir, "not a regular file");
    (void)snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)alarm(10); /* a FIFO must not block */
    expect_refused(path, "not a regular file");
    (void)alarm(0);
    (void)snprintf(path, sizeof path, "%s/missing", dir);
    expect_refused(path, "No such file");
    expect_refused("/dev/null", "not a regular file");
}

static void test_symbolic_links(void **state)
{
    char link_path[128], folder_link[160];
    (void)state;
    (void)snprintf(link_path, sizeof link_path, "%s/link", dir);
    const char *path = write_file("pin", "123456", 6, 0600);
    assert_int_equal(symlink(path, link_path), 0);
    expect_refused(link_path, "symbolic link");
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(symlink(".", link_path), 0); /* a link on the way is how Kubernetes mounts secrets */
    (void)snprintf(folder_link, sizeof folder_link, "%s/pin", link_path);
    expect_pin(folder_link, "123456", 6);
    assert_int_equal(unlink(link_path), 0);
}

static void test_folder_where_anybody_may_write(void **state)
{
    (void)state;
    const char *path = write_file("pin", "123456", 6, 0600);
    assert_int_equal(chmod(dir, 0777), 0);
    expect_refused(path, "0777");
    assert_int_equal(chmod(dir, 01777), 0); /* as /tmp: others cannot replace the file */
    expect_pin(path, "123456", 6);
    assert_int_equal(chmod(dir, 0700), 0);
}

static void test_line_ends(void **state)
{
    (void)state;
    expect_pin(write_file("pin", "1234\n", 5, 0600), "1234", 4);
    expect_pin(write_file("pin", "1234\r\n", 6, 0600), "1234", 4);
    expect_pin(write_file("pin", "1234\n\n", 6, 0600), "1234\n", 5);
    expect_pin(write_file("pin", " 1234 ", 6, 0600), " 1234 ", 6);
    expect_pin(write_file("pin", "12\0" "34", 5, 0600), "12\0" "34", 5);
    expect_refused(write_file("pin", "", 0, 0600), "empty");
    expect_refused(write_file("pin", "\n", 1, 0600), "empty");
    expect_refused(write_file("pin", "\r\n", 2, 0600), "empty");
}

static void test_sizes(void **state)
{
    char pin[1000];
    (void)state;
    memset(pin, '7', sizeof pin);
    expect_pin(write_file("pin", pin, KN_PIN_MAX, 0600), pin, KN_PIN_MAX);
    expect_refused(write_file("pin", pin, KN_PIN_MAX + 1, 0600), "255");
    expect_refused(write_file("pin", pin, sizeof pin, 0600), "255");
    pin[KN_PIN_MAX] = '\r';
    pin[KN_PIN_MAX + 1] = '\n';
    expect_pin(write_file("pin", pin, KN_PIN_MAX + 2, 0600), pin, KN_PIN_MAX);
    pin[KN_PIN_MAX] = '7';
    expect_refused(write_file("pin", pin, KN_PIN_MAX + 2, 0600), "255");
}

static void test_forms_of_the_source(void **state)
{
    char source[160];
    (void)state;
    const char *path = write_file("pin", "123456", 6, 0600);
    (void)snprintf(source, sizeof source, "file:%s", path);
    expect_pin(source, "123456", 6);
    (void)snprintf(source, sizeof source, "file://%s", path);
    expect_pin(source, "123456", 6);
    static const char *const bad[] = {"pin", "", "file:pin", "file://host/pin", "|cat /etc/hostname", "FILE:/etc/pin",
                                      "env:PIN", "pass:123456", "123456"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) /* the last two: the PIN in the wrong place is not repeated */
        expect_refused(bad[i], "absolute path");
    expect_refused("/", "not a regular file");
    expect_refused("file:/", "not a regular file");
}

static void test_no_descriptor_is_left(void **state)
{
    (void)state;
    int before = dup(0), after;
    (void)close(before);
    expect_pin(write_file("pin", "123456", 6, 0600), "123456", 6);
    expect_refused(dir, "");
    after = dup(0);
    (void)close(after);
    assert_int_equal(before, after);
}

/* ---- systemd's credentials ---- */

static void test_credentials(void **state)
{
    (void)state;
    (void)write_file("token-pin", "123456\n", 7, 0400);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    expect_refused("credential:token-pin", "CREDENTIALS_DIRECTORY");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "relative", 1), 0);
    expect_refused("credential:token-pin", "CREDENTIALS_DIRECTORY");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
    expect_pin("credential:token-pin", "123456", 6);
    expect_refused("credential:missing", "No such file");
    static const char *const bad[] = {"credential:", "credential:.", "credential:..", "credential:../pin", "credential:/etc/pin"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        expect_refused(bad[i], "name of a credential");
    (void)write_file("open-pin", "123456", 6, 0644); /* by the rules of files */
    expect_refused("credential:open-pin", "0644");
    char much[700];
    memset(much, 'a', sizeof much);
    memcpy(much, "credential:", 11);
    much[sizeof much - 1] = '\0';
    expect_refused(much, "longer");
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

/* ---- descriptors: each test uses a number of its own, for they are remembered ---- */

static const char *move_to(int fd, int number)
{
    static char source[16];
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, number), number);
    (void)close(fd);
    (void)snprintf(source, sizeof source, "fd:%d", number);
    return source;
}

static void test_descriptor_of_a_file_is_read_again(void **state)
{
    (void)state;
    const char *path = write_file("pin", "123456\nsomething else\n", 22, 0600);
    const char *source = move_to(open(path, O_RDWR | O_CLOEXEC), 100);
    expect_pin(source, "123456", 6);
    assert_int_equal(pwrite(100, "654321", 6, 0), 6);
    expect_pin(source, "654321", 6);
    assert_int_equal(ftruncate(100, 0), 0);
    expect_refused(source, "fd:100 is empty");
    /* the program closed it, and the number is another file's now */
    assert_int_equal(close(100), 0);
    expect_refused(source, "closed");
    (void)move_to(open(write_file("other", "not a PIN", 9, 0600), O_RDONLY | O_CLOEXEC), 100);
    expect_refused(source, "closed");
    assert_detail_lacks("not a PIN");
    (void)close(100);
}

static void test_memfd(void **state)
{
    (void)state;
    int fd = memfd_create("pin", MFD_CLOEXEC);
    assert_int_equal(write(fd, "123456\r\n", 8), 8); /* the offset is at its end: it does not matter */
    const char *source = move_to(fd, 101);
    expect_pin(source, "123456", 6);
    expect_pin(source, "123456", 6);
    (void)close(101);
}

static void test_pipe_is_kept(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "123456\nrest", 11), 11); /* the writer stays: the line is enough */
    const char *source = move_to(ends[0], 102);
    expect_pin(source, "123456", 6);
    expect_pin(source, "123456", 6);
    char rest[8] = "";
    assert_int_equal(read(102, rest, sizeof rest), 4); /* not a byte more was taken */
    assert_string_equal(rest, "rest");
    pid_t child = fork();
    if (child == 0) {
        kn_secret *secret = NULL;
        _exit(kn_failed(kn_pin_read("fd:102", &secret)) || memcmp(kn_secret_data(secret), "123456", 6));
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(close(102), 0);
    (void)move_to(open(write_file("other", "not a PIN", 9, 0600), O_RDONLY | O_CLOEXEC), 102);
    expect_pin(source, "123456", 6); /* and not what has the number now */
    (void)close(102);
    (void)close(ends[1]);
}

static void test_pipes_that_say_nothing(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)close(ends[1]);
    expect_refused(move_to(ends[0], 103), "fd:103 is empty");
    (void)close(103);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    char much[KN_PIN_MAX + 20];
    memset(much, '1', sizeof much);
    assert_int_equal(write(ends[1], much, sizeof much), sizeof much);
    expect_refused(move_to(ends[0], 104), "255");
    (void)close(104);
    (void)close(ends[1]);
}

static void *read_pin_106(void *arg)
{
    kn_secret *secret = NULL;
    kn_code *code = arg;
    *code = kn_pin_read("fd:106", &secret).code;
    kn_secret_free(&secret);
    return NULL;
}

static void test_slow_pipe(void **state)
{
    int ends[2];
    pthread_t thread;
    kn_code code = KN_E_ARGUMENT;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)move_to(ends[0], 106);
    assert_int_equal(pthread_create(&thread, NULL, read_pin_106, &code), 0);
    assert_int_equal(write(ends[1], "123", 3), 3);
    assert_int_equal(write(ends[1], "456\n", 4), 4);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(code, KN_OK);
    expect_pin("fd:106", "123456", 6);
    (void)close(106);
    (void)close(ends[1]);
}

/* Takes KN_PIN_WAIT_MS: a writer that never writes does not stop the program for ever. */
static void test_silent_pipe(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)alarm(100);
    expect_refused(move_to(ends[0], 109), "did not deliver a line");
    (void)alarm(0);
    assert_int_equal(write(ends[1], "123456\n", 7), 7); /* the source is corrected */
    expect_pin("fd:109", "123456", 6);
    (void)close(109);
    (void)close(ends[1]);
}

static void test_descriptors_that_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"fd:", "fd:x", "fd:1", "fd:2", "fd:-1", "fd:3x", "fd: 3", "fd:99999999999"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        expect_refused(bad[i], "number of an inherited descriptor");
    expect_refused("fd:999", "Bad file descriptor");
    expect_refused(move_to(open(dir, O_RDONLY | O_CLOEXEC), 107), "fd:107");
    (void)close(107);
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0) {
        expect_refused(move_to(open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC), 108), "terminal");
        (void)close(108);
    } else {
        print_message("terminal not looked at: there is no /dev/ptmx\n");
    }
    (void)close(master);
}

static void test_asking(void **state)
{
    (void)state;
    assert_true(kn_pin_is_ask("ask:"));
    assert_false(kn_pin_is_ask("ask"));
    assert_false(kn_pin_is_ask("ask:123456"));
    expect_error(KN_E_NO_PIN, "ask:", "nobody");
    expect_refused("ask:123456", "nothing follows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_symbolic_links),
        cmocka_unit_test(test_folder_where_anybody_may_write),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_forms_of_the_source),
        cmocka_unit_test(test_no_descriptor_is_left),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_descriptor_of_a_file_is_read_again),
        cmocka_unit_test(test_memfd),
        cmocka_unit_test(test_pipe_is_kept),
        cmocka_unit_test(test_pipes_that_say_nothing),
        cmocka_unit_test(test_slow_pipe),
        cmocka_unit_test(test_silent_pipe),
        cmocka_unit_test(test_descriptors_that_are_refused),
        cmocka_unit_test(test_asking),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
