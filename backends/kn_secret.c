#include "kn_secret.h"

#include "kn_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct kn_secret {
    unsigned char *page; /* whole pages of our own, so that mlock and madvise touch nothing else */
    size_t page_bytes, length;
};

void kn_secret_lock(const kn_secret *secret)
{
    if (mlock(secret->page, secret->page_bytes))
        kn_log(KN_LOG_DEBUG, "a secret cannot be locked in memory: %s", strerror(errno));
}

kn_err kn_secret_new_empty(size_t capacity, kn_secret **ret_secret)
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
    kn_secret_lock(secret);
    (void)madvise(secret->page, secret->page_bytes, MADV_DONTDUMP);
    *ret_secret = secret;
    return kn_success();
}

kn_err kn_secret_new(const void *data, size_t length, kn_secret **ret_secret)
{
    kn_secret *secret = NULL;
    kn_err err = kn_secret_new_empty(length, &secret);
    if (kn_failed(err))
        return err;
    if (length)
        memcpy(secret->page, data, length);
    secret->length = length;
    *ret_secret = secret;
    return kn_success();
}

const unsigned char *kn_secret_data(const kn_secret *secret)
{
    return secret->page;
}

unsigned char *kn_secret_room(kn_secret *secret)
{
    return secret->page;
}

void kn_secret_set_length(kn_secret *secret, size_t length)
{
    secret->length = length;
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
