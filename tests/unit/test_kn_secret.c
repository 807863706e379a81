#include "kn_secret.h"

#include "support/kn_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
    assert_ok(kn_secret_read_pin(source, &secret));
    assert_int_equal(kn_secret_length(secret), length);
    assert_memory_equal(kn_secret_data(secret), pin, length);
    kn_secret_free(&secret);
    assert_null(secret);
}

static void expect_refused(const char *source, const char *why)
{
    kn_secret *secret = (kn_secret *)8;
    assert_error(KN_E_PIN_SOURCE, kn_secret_read_pin(source, &secret));
    assert_ptr_equal(secret, (kn_secret *)8);
    assert_detail(why);
    assert_detail_lacks("123456");
}

static void test_modes(void **state)
{
    static const mode_t good[] = {0600, 0400, 0640, 0440, 0700};
    static const mode_t bad[] = {0644, 0620, 0666, 0604, 0602, 0601, 0660, 0610};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        expect_pin(write_file("pin", "123456", 6, good[i]), "123456", 6);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char mode[8];
        (void)snprintf(mode, sizeof mode, "%04o", (unsigned)bad[i]);
        expect_refused(write_file("pin", "123456", 6, bad[i]), mode);
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
    kn_err err = kn_secret_read_pin(path, &secret); /* root's, 0600: not even readable */
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(err.code, KN_E_PIN_SOURCE);

    assert_int_equal(chown(path, 4712, 4711), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(setegid(4711), 0);
    assert_int_equal(seteuid(4711), 0);
    err = kn_secret_read_pin(path, &secret); /* readable by group, but another user could change it */
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
    char link_path[128];
    (void)state;
    (void)snprintf(link_path, sizeof link_path, "%s/link", dir);
    const char *path = write_file("pin", "123456", 6, 0600);
    assert_int_equal(symlink(path, link_path), 0);
    expect_pin(link_path, "123456", 6);
    assert_int_equal(chmod(path, 0644), 0); /* the mode is that of the file */
    expect_refused(link_path, "0644");
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
    expect_refused("pin", "absolute");
    expect_refused("", "absolute");
    expect_refused("file:pin", "absolute");
    expect_refused("file://host/pin", "absolute");
    expect_refused("|cat /etc/hostname", "absolute");
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

static void test_copies(void **state)
{
    char data[] = "a secret";
    kn_secret *secret = NULL;
    (void)state;
    assert_ok(kn_secret_new(data, 8, &secret));
    data[0] = 'X';
    assert_int_equal(kn_secret_length(secret), 8);
    assert_memory_equal(kn_secret_data(secret), "a secret", 8);
    kn_secret_free(&secret);
    assert_null(secret);
    kn_secret_free(&secret);
    assert_ok(kn_secret_new(NULL, 0, &secret));
    assert_int_equal(kn_secret_length(secret), 0);
    kn_secret_free(&secret);
    char *much = malloc(100000);
    assert_non_null(much);
    memset(much, 's', 100000);
    assert_ok(kn_secret_new(much, 100000, &secret));
    assert_memory_equal(kn_secret_data(secret), much, 100000);
    kn_secret_free(&secret);
    free(much);
}

/* Does the kernel list @flag for the page at @address? */
static bool page_has(const void *address, const char *flag)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    bool here = false, found = false;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        unsigned long low, high;
        char colon[2];
        if (sscanf(line, "%lx-%lx %1s", &low, &high, colon) == 3)
            here = (uintptr_t)address >= low && (uintptr_t)address < high;
        else if (here && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, flag) != NULL;
    }
    (void)fclose(file);
    return found;
}

static void test_page_is_locked_and_not_dumped(void **state)
{
    kn_secret *secret = NULL;
    (void)state;
    void *ordinary = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ordinary, MAP_FAILED);
    *(char *)ordinary = 'x';
    assert_ok(kn_secret_new("a secret", 8, &secret));
    /* the test sees what it looks for: an ordinary page has neither flag */
    assert_true(page_has(ordinary, " rd"));
    assert_false(page_has(ordinary, " dd"));
    assert_false(page_has(ordinary, " lo"));
    assert_true(page_has(kn_secret_data(secret), " dd"));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("lock not looked at: sanitizers make mlock() do nothing\n");
#else
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (limit.rlim_cur >= 65536 || geteuid() == 0)
        assert_true(page_has(kn_secret_data(secret), " lo"));
    else
        print_message("not looked at: RLIMIT_MEMLOCK allows no locked page\n");
#endif
    kn_secret_free(&secret);
    (void)munmap(ordinary, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_symbolic_links),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_forms_of_the_source),
        cmocka_unit_test(test_no_descriptor_is_left),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_page_is_locked_and_not_dumped),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
