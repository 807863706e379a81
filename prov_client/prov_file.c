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

bool prov_file_replace(const char *path, const char *text, const char **ret_what)
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
    ok = write_and_close(fd, text) && rename(temporary, path) == 0;
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

bool prov_file_remove(const char *path, const char **ret_what)
{
    *ret_what = "cannot remove";
    if (unlink(path) != 0)
        return errno == ENOENT;
    *ret_what = "removed, but its directory cannot be synchronised";
    return sync_directory_of(path);
}
