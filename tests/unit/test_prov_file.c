/* Making and replacing a file: the process is killed, and each call fails, at every write, fsync, close and rename in turn.
 * The linker sends those calls of prov_file.c to this file (--wrap). */
#include "prov_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define OLD "the old content\n"
#define NEW "the new content, which is longer than the old one was\n"

ssize_t __real_write(int fd, const void *bytes, size_t size);
int __real_fsync(int fd);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

typedef enum hit {
    NOTHING,
    DIE_BEFORE,
    DIE_AFTER,
    DIE_HALF, /* a write of which one byte arrived, then death */
    FAIL,
    SHORT, /* a write of one byte that is a success; others go on */
} hit;

static bool armed;
static hit what;
static unsigned at, calls;
static bool unsynced;    /* data was written and not synchronised */
static bool old_system; /* a file system that does not know RENAME_NOREPLACE */
static bool entry_lost;  /* renamed or removed, and the directory not synchronised */

/* True: the call is to fail. */
static bool turn(bool is_write, bool *ret_short)
{
    *ret_short = false;
    if (!armed || calls++ != at)
        return false;
    if (what == DIE_BEFORE || (what == DIE_HALF && !is_write))
        _exit(9);
    *ret_short = is_write && (what == SHORT || what == DIE_HALF);
    if (what == FAIL)
        errno = ENOSPC;
    return what == FAIL;
}

static void die_after(void)
{
    if (armed && calls == at + 1 && (what == DIE_AFTER || what == DIE_HALF))
        _exit(9);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    bool brief;
    ssize_t put;

    if (turn(true, &brief))
        return -1;
    put = __real_write(fd, bytes, brief ? 1 : size);
    unsynced = unsynced || armed;
    die_after();
    return put;
}

int __wrap_fsync(int fd)
{
    struct stat status;
    bool brief;
    int result;

    if (turn(false, &brief))
        return -1;
    result = __real_fsync(fd);
    assert_int_equal(fstat(fd, &status), 0);
    if (S_ISDIR(status.st_mode))
        entry_lost = false;
    else
        unsynced = false;
    die_after();
    return result;
}

int __wrap_close(int fd)
{
    bool brief, fails = turn(false, &brief);
    int result = __real_close(fd);

    if (fails)
        errno = EIO;
    die_after();
    return fails ? -1 : result;
}

/* A name that points to data which is not on the disk is how half a file is made. */
int __wrap_rename(const char *from, const char *to)
{
    bool brief;
    int result;

    if (armed)
        assert_false(unsynced);
    if (turn(false, &brief))
        return -1;
    result = __real_rename(from, to);
    entry_lost = entry_lost || armed;
    die_after();
    return result;
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    bool brief;

    if (armed)
        assert_false(unsynced);
    if (turn(false, &brief))
        return -1;
    if (old_system) {
        errno = EINVAL;
        return -1;
    }
    entry_lost = entry_lost || armed;
    return __real_renameat2(from_fd, from, to_fd, to, flags);
}

int __wrap_unlink(const char *path)
{
    bool brief;
    int result;

    if (turn(false, &brief))
        return -1;
    result = __real_unlink(path);
    entry_lost = entry_lost || armed;
    die_after();
    return result;
}

static char directory[] = "/tmp/kn-file-XXXXXX", path[64];

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static unsigned entries(bool remove_others)
{
    DIR *listing = opendir(directory);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(listing);
    while ((entry = readdir(listing))) {
        char name[400];

        if (entry->d_name[0] == '.')
            continue;
        count++;
        (void)snprintf(name, sizeof name, "%s/%s", directory, entry->d_name);
        if (remove_others && strcmp(name, path) != 0)
            (void)__real_unlink(name);
    }
    (void)closedir(listing);
    return count;
}

static int tear_down(void **state)
{
    (void)state;
    (void)entries(true);
    (void)__real_unlink(path);
    return rmdir(directory);
}

static void put_old(void)
{
    const char *problem;

    armed = false;
    assert_true(prov_file_replace(path, OLD, &problem));
}

static bool holds(const char *text)
{
    char content[200] = "";
    FILE *file = fopen(path, "re");
    size_t size;

    assert_non_null(file);
    size = fread(content, 1, sizeof content - 1, file);
    (void)fclose(file);
    return size == strlen(text) && strcmp(content, text) == 0;
}

static bool write_armed(bool (*write_file)(const char *name, const char *text, const char **ret_what), hit kind, unsigned number)
{
    const char *problem = NULL;
    bool ok;

    what = kind;
    at = number;
    calls = 0;
    unsynced = entry_lost = false;
    armed = true;
    ok = write_file(path, NEW, &problem);
    armed = false;
    assert_non_null(problem);
    return ok;
}

static bool replace_armed(hit kind, unsigned number)
{
    return write_armed(prov_file_replace, kind, number);
}

static unsigned calls_of_a_replacement(void)
{
    put_old();
    assert_true(replace_armed(NOTHING, 0));
    assert_true(holds(NEW));
    assert_false(unsynced);
    assert_false(entry_lost);
    return calls;
}

/* Death at every call: whoever reads the file afterwards finds the old one or the new one, whole. */
static void test_death(void **state)
{
    static const hit deaths[] = {DIE_BEFORE, DIE_AFTER, DIE_HALF};
    unsigned count = calls_of_a_replacement(), old = 0, new = 0;

    (void)state;
    assert_in_range(count, 5, 10); /* write, fsync, close, rename, and fsync, close of the directory */
    for (size_t kind = 0; kind < sizeof deaths / sizeof *deaths; kind++) {
        for (unsigned number = 0; number < count; number++) {
            pid_t child;
            int status;

            put_old();
            child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                (void)replace_armed(deaths[kind], number);
                _exit(0);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 9);
            assert_true(holds(OLD) || holds(NEW));
            old += holds(OLD);
            new += holds(NEW);
            (void)entries(true); /* what the dead process could not remove */
        }
    }
    assert_true(old >= 9 && new >= 6);
}

/* Every call fails: it is told, the file is whole, and nothing else is left. */
static void test_failures(void **state)
{
    unsigned count = calls_of_a_replacement();

    (void)state;
    for (unsigned number = 0; number < count; number++) {
        bool ok;

        put_old();
        ok = replace_armed(FAIL, number);
        assert_true(ok || errno == ENOSPC || errno == EIO);
        assert_true(ok ? holds(NEW) : holds(OLD) || number > 3);
        assert_true(number > 3 || !ok); /* only the last close, of the directory, means nothing */
        assert_int_equal(entries(false), 1);
    }
}

static void test_short_write(void **state)
{
    (void)state;
    put_old();
    assert_true(replace_armed(SHORT, 0));
    assert_true(holds(NEW));
}

static void test_mode_and_names(void **state)
{
    const char *problem = NULL;
    struct stat status;

    (void)state;
    put_old();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_false(prov_file_replace("/nothing/here/file", NEW, &problem));
    assert_string_equal(problem, "cannot make a temporary file beside it");
    assert_int_equal(errno, ENOENT);
    assert_true(prov_file_remove(path, &problem));
    assert_true(prov_file_remove(path, &problem));
    assert_int_equal(entries(false), 0);
    assert_false(prov_file_remove("/proc/self/status", &problem));
    assert_string_equal(problem, "cannot remove");
}

/* What is there stays, whatever it is; where nothing is, the whole file comes, or nothing. */
static void test_create(void **state)
{
    const char *problem = NULL;
    struct stat status;
    bool made = false;

    (void)state;
    for (int old = 0; old < 2; old++) {
        old_system = old;
        put_old();
        assert_false(prov_file_create(path, NEW, &problem));
        assert_int_equal(errno, EEXIST);
        assert_true(holds(OLD));
        assert_int_equal(entries(false), 1);
        assert_int_equal(__real_unlink(path), 0);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_false(prov_file_create(path, NEW, &problem));
        assert_int_equal(errno, EEXIST);
        assert_int_equal(entries(false), 1);
        assert_int_equal(__real_unlink(path), 0);
        for (unsigned number = 0; number < 3; number++) { /* write, fsync, close */
            assert_false(write_armed(prov_file_create, FAIL, number));
            assert_int_equal(entries(false), 0);
        }
        assert_false(write_armed(prov_file_create, FAIL, 3)); /* the file gets its name */
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(entries(false), 0);
        made = write_armed(prov_file_create, NOTHING, 0);
        assert_true(made && holds(NEW) && !unsynced && !entry_lost);
        assert_int_equal(entries(false), 1);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
    }
    old_system = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_short_write),
        cmocka_unit_test(test_mode_and_names),
        cmocka_unit_test(test_create),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
