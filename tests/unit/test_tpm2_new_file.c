/* New files: whole or not there, with and without O_TMPFILE. */
#include "support/kn_check.h"

#include "tpm2/tpm2_new_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char directory[] = "/tmp/kn-new-file-XXXXXX", path[64];
static bool no_tmpfile;

/* In libc's place, for the file systems that have no O_TMPFILE. */
int open(const char *name, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode);
}

static unsigned names(void)
{
    unsigned n = 0;
    DIR *open_directory = opendir(directory);
    assert_non_null(open_directory);
    for (struct dirent *entry = readdir(open_directory); entry; entry = readdir(open_directory))
        n += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    (void)closedir(open_directory);
    return n;
}

static void one(void)
{
    tpm2_new_file file, other;
    struct stat info;
    assert_ok(tpm2_new_file_open(path, &file));
    assert_int_equal(names(), no_tmpfile);
    tpm2_new_file_close(&file);
    assert_int_equal(names(), 0);

    assert_ok(tpm2_new_file_open(path, &file));
    assert_int_equal(write(file.fd, "whole", 5), 5);
    assert_ok(tpm2_new_file_keep(&file));
    tpm2_new_file_close(&file);
    assert_int_equal(names(), 1);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 5);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_error(KN_E_EXISTS, tpm2_new_file_open(path, &other));
    assert_detail(path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(unlink(path), 0);
}

static void test_unnamed(void **state)
{
    tpm2_new_file file, other;
    (void)state;
    no_tmpfile = false;
    one();
    assert_ok(tpm2_new_file_open(path, &file)); /* two at once: the first one that is finished */
    assert_ok(tpm2_new_file_open(path, &other));
    assert_ok(tpm2_new_file_keep(&other));
    assert_error(KN_E_EXISTS, tpm2_new_file_keep(&file));
    tpm2_new_file_close(&file);
    tpm2_new_file_close(&other);
    assert_int_equal(names(), 1);
    assert_int_equal(unlink(path), 0);
}

static void test_named(void **state)
{
    (void)state;
    no_tmpfile = true;
    one();
    no_tmpfile = false;
}

static void test_refused(void **state)
{
    tpm2_new_file file;
    char dangling[80];
    (void)state;
    assert_error(KN_E_IO, tpm2_new_file_open("/nowhere/at/all", &file));
    assert_detail("/nowhere/at/all");
    assert_error(KN_E_EXISTS, tpm2_new_file_open(directory, &file));
    (void)snprintf(dangling, sizeof dangling, "%s/dangling", directory);
    assert_int_equal(symlink("/nowhere/at/all", dangling), 0);
    assert_error(KN_E_EXISTS, tpm2_new_file_open(dangling, &file));
    assert_int_equal(unlink(dangling), 0);
    assert_int_equal(chdir(directory), 0);
    assert_ok(tpm2_new_file_open("bare", &file));
    assert_ok(tpm2_new_file_keep(&file));
    tpm2_new_file_close(&file);
    assert_int_equal(names(), 1);
    assert_int_equal(unlink("bare"), 0);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) && snprintf(path, sizeof path, "%s/key", directory) > 0 ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unnamed),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
