#include "prov_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool write_all(int fd, const char *text)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t written = write(fd, text, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        text += written;
        size -= (size_t)written;
    }
    return fsync(fd) == 0;
}

/* The directory entry is only on the disk after the directory itself is. */
static bool sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = !slash          ? strdup(".")
                      : slash == path ? strdup("/")
                                      : strndup(path, (size_t)(slash - path));
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool ok = fd >= 0 && fsync(fd) == 0;
    int error = errno;

    if (fd >= 0)
        (void)close(fd);
    free(directory);
    errno = error;
    return ok;
}

static bool write_and_close(int fd, const char *text)
{
    bool ok = write_all(fd, text);
    int error = errno;

    if (close(fd) != 0 && ok)
        return false;
    errno = error;
    return ok;
}

/* @put gives the finished file its name. */
static bool put_in_place(const char *path, const char *text, int (*put)(const char *temporary, const char *path), const char **ret_what)
{
    char *temporary = NULL;
    bool ok;
    int fd, error;

    *ret_what = "cannot make a temporary file beside it";
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return false;
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        ok = false;
        goto out;
    }
    *ret_what = "cannot write";
    ok = write_and_close(fd, text) && put(temporary, path) == 0;
    if (!ok) {
        error = errno;
        (void)unlink(temporary);
        errno = error;
        goto out;
    }
    *ret_what = "written, but its directory cannot be synchronised";
    ok = sync_directory_of(path);
out:
    error = errno;
    free(temporary);
    errno = error;
    return ok;
}

bool prov_file_replace(const char *path, const char *text, const char **ret_what)
{
    return put_in_place(path, text, rename, ret_what);
}

/* Both calls are refused where there is anything of that name, be it a link that leads nowhere. NFS has only the second, FAT only the
 * first. */
static int put_new(const char *temporary, const char *path)
{
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return link(temporary, path) == 0 ? unlink(temporary) : -1;
}

bool prov_file_create(const char *path, const char *text, const char **ret_what)
{
    return put_in_place(path, text, put_new, ret_what);
}

bool prov_file_remove(const char *path, const char **ret_what)
{
    *ret_what = "cannot remove";
    if (unlink(path) != 0)
        return errno == ENOENT;
    *ret_what = "removed, but its directory cannot be synchronised";
    return sync_directory_of(path);
}
