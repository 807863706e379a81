#include "kn_secret.h"

#include "kn_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct kn_secret {
    unsigned char *page; /* whole pages of our own, so that mlock and madvise touch nothing else */
    size_t page_bytes, length;
};

static kn_err secret_alloc(size_t capacity, kn_secret **ret_secret)
{
    kn_secret *secret = calloc(1, sizeof *secret);
    if (!secret)
        return kn_fail(KN_E_NO_MEMORY, "a secret of %zu bytes", capacity);
    size_t unit = (size_t)sysconf(_SC_PAGESIZE);
    secret->page_bytes = (capacity / unit + 1) * unit;
    secret->page =
        mmap(NULL, secret->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret->page == MAP_FAILED) {
        free(secret);
        return kn_fail(KN_E_NO_MEMORY, "a secret of %zu bytes", capacity);
    }
    if (mlock(secret->page, secret->page_bytes))
        kn_log(KN_LOG_DEBUG, "a secret cannot be locked in memory: %s", strerror(errno));
    (void)madvise(secret->page, secret->page_bytes, MADV_DONTDUMP);
    *ret_secret = secret;
    return kn_success();
}

kn_err kn_secret_new(const void *data, size_t length, kn_secret **ret_secret)
{
    kn_secret *secret = NULL;
    kn_err err = secret_alloc(length, &secret);
    if (kn_failed(err))
        return err;
    if (length)
        memcpy(secret->page, data, length);
    secret->length = length;
    *ret_secret = secret;
    return kn_success();
}

static const char *source_path(const char *source)
{
    if (strncmp(source, "file:", 5))
        return source;
    source += 5;
    return strncmp(source, "//", 2) ? source : source + 2; /* RFC 8089: file:///path has an empty host */
}

static kn_err check_owner_and_mode(const char *path, const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return kn_fail(KN_E_PIN_SOURCE, "%s is not a regular file", path);
    if (st->st_uid != geteuid() && st->st_uid != 0 && geteuid() != 0)
        return kn_fail(KN_E_PIN_SOURCE, "%s belongs to another user (uid %u)", path, (unsigned)st->st_uid);
    if (st->st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
        return kn_fail(KN_E_PIN_SOURCE, "%s has mode %04o: others could read or change it", path,
                       (unsigned)(st->st_mode & 07777));
    return kn_success();
}

static kn_err read_pin(int fd, const char *path, kn_secret *secret)
{
    size_t got = 0;
    while (got <= KN_PIN_MAX + 2) { /* a longer file is noticed, with room for CR LF */
        ssize_t n = read(fd, secret->page + got, KN_PIN_MAX + 3 - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno));
        if (n == 0)
            break;
        got += (size_t)n;
    }
    if (got && secret->page[got - 1] == '\n')
        got--;
    if (got && secret->page[got - 1] == '\r')
        got--;
    if (got == 0)
        return kn_fail(KN_E_PIN_SOURCE, "%s is empty", path);
    if (got > KN_PIN_MAX)
        return kn_fail(KN_E_PIN_SOURCE, "%s holds more than %d bytes", path, KN_PIN_MAX);
    secret->length = got;
    return kn_success();
}

kn_err kn_secret_read_pin(const char *source, kn_secret **ret_secret)
{
    const char *path = source_path(source);
    if (*path != '/')
        return kn_fail(KN_E_PIN_SOURCE, "'%s' is not an absolute path", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not block us */
    if (fd < 0)
        return kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno));
    kn_secret *secret = NULL;
    struct stat st;
    kn_err err = fstat(fd, &st) ? kn_fail(KN_E_PIN_SOURCE, "%s: %s", path, strerror(errno))
                                : check_owner_and_mode(path, &st);
    if (!kn_failed(err))
        err = secret_alloc(KN_PIN_MAX + 3, &secret);
    if (!kn_failed(err))
        err = read_pin(fd, path, secret);
    (void)close(fd);
    if (kn_failed(err)) {
        kn_secret_free(&secret);
        return err;
    }
    *ret_secret = secret;
    return kn_success();
}

const unsigned char *kn_secret_data(const kn_secret *secret)
{
    return secret->page;
}

size_t kn_secret_length(const kn_secret *secret)
{
    return secret->length;
}

void kn_secret_free(kn_secret **secret)
{
    if (!*secret)
        return;
    explicit_bzero((*secret)->page, (*secret)->page_bytes);
    (void)munmap((*secret)->page, (*secret)->page_bytes);
    free(*secret);
    *secret = NULL;
}
