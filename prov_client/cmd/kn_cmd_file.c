#include "kn_cmd.h"

#include "../prov_file.h"

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

static kn_exit check_private(int fd, const char *path)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return fail_file(path, "cannot look at it");
    if (!S_ISREG(status.st_mode))
        return kn_cmd_fail(KN_EXIT_FAILURE, path, "name a file of mode 0600", "not a regular file, and what is meant holds a secret");
    if (status.st_mode & (S_IRWXG | S_IRWXO))
        return kn_cmd_fail(KN_EXIT_FAILURE, path, "chmod 600 it, or choose another file",
                           "others have access to a file that holds a secret");
    return KN_EXIT_OK;
}

kn_exit kn_cmd_read_secret(const char *path, size_t max, char **ret_text)
{
    /* not through a link that somebody may turn elsewhere; nor is a pipe waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    FILE *file = NULL;
    kn_exit status;

    if (fd < 0 && errno == ELOOP)
        return kn_cmd_fail(KN_EXIT_FAILURE, path, "name the file itself", "a symbolic link, and what is meant holds a secret");
    if (fd < 0)
        return fail_file(path, "cannot open");
    status = check_private(fd, path);
    if (status == KN_EXIT_OK && !(file = fdopen(fd, "r")))
        status = fail_file(path, "cannot open");
    if (status == KN_EXIT_OK) {
        (void)setvbuf(file, NULL, _IONBF, 0); /* no second copy in a buffer of stdio */
        status = read_open_file(file, path, max, ret_text);
    }
    if (file)
        (void)fclose(file);
    else
        (void)close(fd);
    return status;
}

void kn_cmd_wipe(char **text)
{
    if (*text)
        OPENSSL_cleanse(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

kn_exit kn_cmd_write_text(const char *path, const char *text)
{
    const char *what;

    return prov_file_replace(path, text, &what) ? KN_EXIT_OK : fail_file(path, what);
}

static kn_exit fail_exists(const char *path)
{
    return kn_cmd_fail(KN_EXIT_FAILURE, path, "choose another file, or remove it", "exists, and nothing is overwritten");
}

kn_exit kn_cmd_create_text(const char *path, const char *text)
{
    const char *what;

    if (prov_file_create(path, text, &what))
        return KN_EXIT_OK;
    return errno == EEXIST ? fail_exists(path) : fail_file(path, what);
}

kn_exit kn_cmd_check_new(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 ? fail_exists(path) : KN_EXIT_OK;
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
