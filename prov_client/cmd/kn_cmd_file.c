#include "kn_cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static kn_exit fail_file(const char *path, const char *what)
{
    return kn_cmd_fail(errno == ENOENT ? KN_EXIT_NOT_FOUND : KN_EXIT_FAILURE, path,
                       "check the path and its permissions", "%s: %s", what, strerror(errno));
}

static kn_exit read_open_file(FILE *file, const char *path, size_t max, char **ret_text)
{
    char *text = malloc(max + 2);
    size_t size;

    if (!text)
        return kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    size = fread(text, 1, max + 1, file);
    if (ferror(file)) {
        free(text);
        return fail_file(path, "cannot read");
    }
    text[size] = '\0';
    if (size > max || strlen(text) != size) {
        free(text);
        return kn_cmd_fail(KN_EXIT_USAGE, path, "name a text file", "holds %s",
                           size > max ? "too much" : "a NUL byte");
    }
    *ret_text = text;
    return KN_EXIT_OK;
}

kn_exit kn_cmd_read_text(const char *path, size_t max, char **ret_text)
{
    FILE *file = fopen(path, "re");
    kn_exit status;

    if (!file)
        return fail_file(path, "cannot open");
    status = read_open_file(file, path, max, ret_text);
    (void)fclose(file);
    return status;
}

static kn_exit check_private(FILE *file, const char *path)
{
    struct stat status;

    if (fstat(fileno(file), &status) != 0)
        return fail_file(path, "cannot look at it");
    if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IRWXG | S_IRWXO)))
        return kn_cmd_fail(KN_EXIT_FAILURE, path, "chmod 600 it, or choose another file",
                           "others have access to a file that holds a secret");
    return KN_EXIT_OK;
}

kn_exit kn_cmd_read_secret(const char *path, size_t max, char **ret_text)
{
    FILE *file = fopen(path, "re");
    kn_exit status;

    if (!file)
        return fail_file(path, "cannot open");
    (void)setvbuf(file, NULL, _IONBF, 0); /* no second copy in a buffer of stdio */
    status = check_private(file, path);
    if (status == KN_EXIT_OK)
        status = read_open_file(file, path, max, ret_text);
    (void)fclose(file);
    return status;
}

void kn_cmd_wipe(char **text)
{
    if (*text)
        OPENSSL_cleanse(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

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

kn_exit kn_cmd_write_text(const char *path, const char *text)
{
    char *temporary = NULL;
    kn_exit status = KN_EXIT_OK;
    bool ok;
    int fd;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return kn_cmd_fail(KN_EXIT_FAILURE, path, NULL, "out of memory");
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        status = fail_file(path, "cannot make a temporary file beside it");
        goto out;
    }
    ok = write_all(fd, text);
    ok = close(fd) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) {
        status = fail_file(path, "cannot write");
        (void)unlink(temporary);
        goto out;
    }
    if (!sync_directory_of(path))
        status = fail_file(path, "written, but its directory cannot be synchronised");
out:
    free(temporary);
    return status;
}

const char *kn_cmd_absolute(const char *path, char *buffer)
{
    /* file:, credential:, fd: are no relative paths; a file whose name begins so is named ./fd:x */
    if (!path || *path == '/' || path[strcspn(path, ":/")] == ':' || !getcwd(buffer, KN_CMD_PATH_MAX))
        return path;
    size_t used = strlen(buffer), length = strlen(path);
    if (used + 1 + length >= KN_CMD_PATH_MAX)
        return path;
    buffer[used] = '/';
    memcpy(buffer + used + 1, path, length + 1);
    return buffer;
}
