#include "kn_pin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOM (KN_PIN_MAX + 3) /* a longer PIN is noticed, with room for CR LF */

/* Takes the line end off, and checks the size. @name is for messages. */
static kn_err finish(const char *name, size_t got, kn_secret *secret)
{
    const unsigned char *bytes = kn_secret_data(secret);
    if (got && bytes[got - 1] == '\n')
        got--;
    if (got && bytes[got - 1] == '\r')
        got--;
    if (got == 0)
        return kn_fail(KN_E_PIN_SOURCE, "%s is empty", name);
    if (got > KN_PIN_MAX)
        return kn_fail(KN_E_PIN_SOURCE, "%s holds more than %d bytes", name, KN_PIN_MAX);
    kn_secret_set_length(secret, got);
    return kn_success();
}

/* ---- files ---- */

static kn_err check_file(const char *path, const struct stat *st)
{
    mode_t others = S_IRWXO | S_IWGRP | S_IXGRP;
    if (st->st_uid != 0)
        others |= S_IRGRP; /* only root lends a PIN to a group, as it does for services */
    if (!S_ISREG(st->st_mode))
        return kn_fail(KN_E_PIN_SOURCE, "%s is not a regular file", path);
    if (st->st_uid != geteuid() && st->st_uid != 0 && geteuid() != 0)
        return kn_fail(KN_E_PIN_SOURCE, "%s belongs to another user (uid %u)", path, (unsigned)st->st_uid);
    if (st->st_mode & others)
        return kn_fail(KN_E_PIN_SOURCE, "%s has mode %04o: others could read or change it", path,
                       (unsigned)(st->st_mode & 07777));
    return kn_success();
}

/* Opens the folder first, so that what is checked is what is read. */
static kn_err open_file(const char *path, int *ret_fd)
{
    struct stat st;
    const char *name = strrchr(path, '/') + 1;
    char *folder = strndup(path, name == path + 1 ? 1 : (size_t)(name - path - 1));
    if (!folder)
        return kn_fail(KN_E_NO_MEMORY, "a path");
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;
    kn_err err = kn_success();
    if (at < 0 || fstat(at, &st))
        err = kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno));
    else if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
        err = kn_fail(KN_E_PIN_SOURCE, "%s: anybody may replace it, because its folder has mode %04o", path,
                      (unsigned)(st.st_mode & 07777));
    else if ((fd = openat(at, *name ? name : ".", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)) < 0)
        err = errno == ELOOP ? kn_fail(KN_E_PIN_SOURCE, "%s is a symbolic link: name the file itself", path)
                             : kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno));
    if (at >= 0)
        (void)close(at);
    free(folder);
    *ret_fd = fd;
    return err;
}

/* Reads a regular file from its start. */
static kn_err read_regular(int fd, const char *name, kn_secret *secret, size_t *ret_got)
{
    size_t got = 0;
    while (got < ROOM) {
        ssize_t n = pread(fd, kn_secret_room(secret) + got, ROOM - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kn_fail(KN_E_PIN_SOURCE, "%s: %s", name, strerror(errno));
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return kn_success();
}

static kn_err read_path(const char *path, kn_secret *secret)
{
    struct stat st;
    int fd = -1;
    size_t got = 0;
    kn_err err = open_file(path, &fd);
    if (kn_failed(err))
        return err;
    err = fstat(fd, &st) ? kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno)) : check_file(path, &st);
    if (!kn_failed(err))
        err = read_regular(fd, path, secret, &got);
    (void)close(fd);
    return kn_failed(err) ? err : finish(path, got, secret);
}

static kn_err read_file_source(const char *value, kn_secret *secret)
{
    if (!strncmp(value, "//", 2)) /* RFC 8089: file:///path has an empty host */
        value += 2;
    if (*value != '/')
        return kn_fail(KN_E_PIN_SOURCE, "what follows file: is not an absolute path");
    return read_path(value, secret);
}

static kn_err read_credential(const char *name, kn_secret *secret)
{
    const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");
    char path[512];
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return kn_fail(KN_E_PIN_SOURCE, "credential: needs the name of a credential, without a '/'");
    if (!folder || *folder != '/')
        return kn_fail(KN_E_PIN_SOURCE, "credential:%.60s: CREDENTIALS_DIRECTORY is not set: the program was not started "
                                        "by systemd with LoadCredential= or SetCredential=", name);
    size_t folder_length = strlen(folder), name_length = strlen(name);
    if (folder_length + name_length + 2 > sizeof path)
        return kn_fail(KN_E_PIN_SOURCE, "credential:%.60s: its path is longer than %zu bytes", name, sizeof path);
    memcpy(path, folder, folder_length);
    path[folder_length] = '/';
    memcpy(path + folder_length + 1, name, name_length + 1);
    return read_path(path, secret);
}

/* ---- descriptors ---- */

/* A descriptor that was used once. Programs close what they do not know when they go into the background, and the number
 * is then given to a file or connection that has nothing to do with a PIN: it is never read. */
typedef struct used {
    int fd;
    dev_t device;
    ino_t inode;
    kn_secret *kept; /* of a pipe or socket, which says it once; NULL: a regular file */
    struct used *next;
} used;

static pthread_mutex_t used_lock = PTHREAD_MUTEX_INITIALIZER;
static used *used_list;

__attribute__((destructor)) static void forget_used(void)
{
    while (used_list) {
        used *one = used_list;
        used_list = one->next;
        kn_secret_free(&one->kept);
        free(one);
    }
}

static long now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

/* Reads to the end of the first line, and not a byte further. */
static kn_err read_stream(int fd, const char *name, kn_secret *secret, size_t *ret_got)
{
    long deadline = now_ms() + KN_PIN_WAIT_MS;
    unsigned char *bytes = kn_secret_room(secret);
    size_t got = 0;
    while (got < ROOM && (got == 0 || bytes[got - 1] != '\n')) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        long left = deadline - now_ms();
        int n = poll(&ready, 1, left > 0 ? (int)left : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return kn_fail(KN_E_PIN_SOURCE, "%s did not deliver a line within %d ms", name, KN_PIN_WAIT_MS);
        ssize_t one = n < 0 ? -1 : read(fd, bytes + got, 1);
        if (one < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (one < 0)
            return kn_fail(KN_E_PIN_SOURCE, "%s: %s", name, strerror(errno));
        if (one == 0)
            break;
        got++;
    }
    *ret_got = got;
    return kn_success();
}

static kn_err read_first_time(int fd, const char *name, const struct stat *st, kn_secret *secret)
{
    size_t got = 0;
    if (isatty(fd))
        return kn_fail(KN_E_PIN_SOURCE, "%s is a terminal", name);
    used *one = calloc(1, sizeof *one);
    if (!one)
        return kn_fail(KN_E_NO_MEMORY, "a PIN source");
    bool regular = S_ISREG(st->st_mode);
    kn_err err = regular ? read_regular(fd, name, secret, &got) : read_stream(fd, name, secret, &got);
    const unsigned char *line = memchr(kn_secret_data(secret), '\n', got);
    if (!kn_failed(err))
        err = finish(name, line ? (size_t)(line - kn_secret_data(secret)) + 1 : got, secret);
    if (!kn_failed(err) && !regular)
        err = kn_secret_new(kn_secret_data(secret), kn_secret_length(secret), &one->kept);
    if (kn_failed(err)) {
        free(one);
        return err;
    }
    one->fd = fd;
    one->device = st->st_dev;
    one->inode = st->st_ino;
    one->next = used_list;
    used_list = one;
    return kn_success();
}

static kn_err read_again(const used *one, const char *name, const struct stat *st, kn_secret *secret)
{
    size_t got = 0;
    if (one->kept) {
        kn_secret_lock(one->kept); /* a child of fork has the pages, but not their lock */
        memcpy(kn_secret_room(secret), kn_secret_data(one->kept), kn_secret_length(one->kept));
        kn_secret_set_length(secret, kn_secret_length(one->kept));
        return kn_success();
    }
    if (!st || st->st_dev != one->device || st->st_ino != one->inode)
        return kn_fail(KN_E_PIN_SOURCE, "%s was closed since it was read, or is another file now", name);
    kn_err err = read_regular(one->fd, name, secret, &got);
    const unsigned char *line = memchr(kn_secret_data(secret), '\n', got);
    return kn_failed(err) ? err : finish(name, line ? (size_t)(line - kn_secret_data(secret)) + 1 : got, secret);
}

static kn_err read_descriptor(const char *number, kn_secret *secret)
{
    char name[24] = "fd:";
    struct stat st;
    size_t digits = strspn(number, "0123456789");
    if (digits == 0 || digits > 9 || number[digits] || !strcmp(number, "1") || !strcmp(number, "2"))
        return kn_fail(KN_E_PIN_SOURCE, "fd: needs the number of an inherited descriptor, and not 1 or 2");
    memcpy(name + 3, number, digits + 1);
    int fd = atoi(number);
    (void)pthread_mutex_lock(&used_lock);
    const used *one = used_list;
    while (one && one->fd != fd)
        one = one->next;
    kn_err err;
    bool open = fstat(fd, &st) == 0;
    if (one)
        err = read_again(one, name, open ? &st : NULL, secret);
    else if (!open)
        err = kn_fail(KN_E_PIN_SOURCE, "%s: %s", name, strerror(errno));
    else
        err = read_first_time(fd, name, &st, secret);
    (void)pthread_mutex_unlock(&used_lock);
    return err;
}

static kn_err read_asked(const char *rest, kn_secret *secret)
{
    (void)secret;
    if (*rest)
        return kn_fail(KN_E_PIN_SOURCE, "nothing follows ask:");
    return kn_fail(KN_E_NO_PIN, "ask: and the program gives nobody who could be asked");
}

/* ---- the rows ---- */

static const struct {
    const char *prefix;
    kn_err (*read)(const char *rest, kn_secret *secret);
} sources[] = {
    {"/", NULL}, /* the whole text is the path */
    {"file:", read_file_source},
    {"credential:", read_credential},
    {"fd:", read_descriptor},
    {"ask:", read_asked},
};
#define SOURCE_COUNT (sizeof sources / sizeof *sources)

static size_t row_of(const char *source)
{
    size_t i = 0;
    while (i < SOURCE_COUNT && strncmp(source, sources[i].prefix, strlen(sources[i].prefix)))
        i++;
    return i;
}

bool kn_pin_is_source(const char *source)
{
    return row_of(source) < SOURCE_COUNT;
}

bool kn_pin_is_ask(const char *source)
{
    return !strcmp(source, "ask:");
}

kn_err kn_pin_read(const char *source, kn_secret **ret_secret)
{
    kn_secret *secret = NULL;
    size_t i = row_of(source);
    if (i == SOURCE_COUNT) /* the value itself may be a PIN that somebody wrote in the wrong place */
        return kn_fail(KN_E_PIN_SOURCE, "its value is neither an absolute path nor begins with file:, credential:, fd: or "
                                        "ask:");
    kn_err err = kn_secret_new_empty(ROOM, &secret);
    if (kn_failed(err))
        return err;
    err = sources[i].read ? sources[i].read(source + strlen(sources[i].prefix), secret) : read_path(source, secret);
    if (kn_failed(err)) {
        kn_secret_free(&secret);
        return err;
    }
    *ret_secret = secret;
    return kn_success();
}
