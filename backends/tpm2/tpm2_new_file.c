#include "tpm2_new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kn_err fail(const char *path)
{
    return kn_fail(errno == EEXIST ? KN_E_EXISTS : KN_E_IO, "the key file %s: %s", path, strerror(errno));
}

/* For free(). */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* -1 where there are no such files, or no way to give them a name. */
static int open_unnamed(const char *path)
{
    char *directory = directory_of(path);
    int fd = directory && access("/proc/self/fd", X_OK) == 0 ? open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    free(directory);
    return fd;
}

kn_err tpm2_new_file_open(const char *path, tpm2_new_file *ret_file)
{
    tpm2_new_file file = {.path = path};
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return fail(path);
    }
    file.fd = open_unnamed(path);
    if (file.fd < 0) {
        file.named = true;
        file.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (file.fd < 0)
        return fail(path);
    *ret_file = file;
    return kn_success();
}

static bool sync_directory(const char *path)
{
    char *directory = directory_of(path);
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool good = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    free(directory);
    errno = error;
    return good || error == EINVAL || error == EACCES; /* has no fsync; may be written into, but not read */
}

kn_err tpm2_new_file_keep(tpm2_new_file *file)
{
    char link[40];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file->fd);
    if (fsync(file->fd) != 0 || (!file->named && linkat(AT_FDCWD, link, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) != 0))
        return fail(file->path);
    file->named = true;
    if (!sync_directory(file->path))
        return fail(file->path);
    file->kept = true;
    return kn_success();
}

void tpm2_new_file_close(tpm2_new_file *file)
{
    if (file->named && !file->kept)
        (void)unlink(file->path);
    (void)close(file->fd);
}
