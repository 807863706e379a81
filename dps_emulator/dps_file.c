#include "dps_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_all(int fd, uint8_t *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, bytes + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

bool dps_file_read(const char *path, size_t max, dps_blob *ret_bytes, dps_fail *fail)
{
    struct stat st;
    dps_blob blob = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot read \"%s\": %s; check the path and its rights",
                            path, strerror(errno));
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && (size_t)st.st_size <= max;
    if (!ok)
        dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is not a file of 1 to %zu bytes; check the path", path,
                     max);
    if (ok) {
        blob.len = (size_t)st.st_size;
        blob.bytes = malloc(blob.len);
        ok = blob.bytes != NULL && read_all(fd, blob.bytes, blob.len);
        if (!ok)
            dps_fail_set(fail, DPS_EXIT_FAILED, "cannot read \"%s\" to its end; try again", path);
    }
    close(fd);
    if (ok)
        *ret_bytes = blob;
    else
        dps_blob_clear(&blob);
    return ok;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool dps_file_read_base64(const char *path, size_t min, size_t max, dps_blob *ret_bytes, dps_fail *fail)
{
    dps_blob file = {0};
    dps_blob decoded = {0};
    if (!dps_file_read(path, 2 * max + 64, &file, fail))
        return false;
    dps_span text = {(const char *)file.bytes, file.len};
    while (text.len > 0 && is_space((uint8_t)text.at[0]))
        text = (dps_span){text.at + 1, text.len - 1};
    while (text.len > 0 && is_space((uint8_t)text.at[text.len - 1]))
        text.len--;
    bool ok = dps_base64_decode(text, max, &decoded) && decoded.len >= min;
    dps_blob_clear(&file);
    if (ok) {
        *ret_bytes = decoded;
        return true;
    }
    dps_blob_clear(&decoded);
    return dps_fail_set(fail, DPS_EXIT_FAILED,
                        "\"%s\" does not hold the base64 of %zu to %zu bytes on one line; check the file",
                        path, min, max);
}

bool dps_file_write_secret(const char *path, const char *text, dps_fail *fail)
{
    if (path == NULL)
        return (puts(text) >= 0 && fflush(stdout) == 0) ||
               dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write to stdout; check where it goes");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return dps_fail_set(fail, errno == EEXIST ? DPS_EXIT_CONFLICT : DPS_EXIT_FAILED,
                            "cannot make the file \"%s\": %s; give a path that does not exist yet", path,
                            strerror(errno));
    FILE *file = fdopen(fd, "w");
    bool ok = file != NULL && fprintf(file, "%s\n", text) > 0;
    if (file != NULL)
        ok = fclose(file) == 0 && ok;
    else
        close(fd);
    if (ok)
        return true;
    unlink(path);
    return dps_fail_set(fail, DPS_EXIT_FAILED, "cannot write \"%s\": %s; check the space", path,
                        strerror(errno));
}
