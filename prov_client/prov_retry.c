#include "prov_retry.h"

#include "prov_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint32_t prov_retry_pause_ms(const prov_retry *retry, int64_t now_s)
{
    /* a clock that was set back: all of the pause, which the file says and no clock can stretch */
    int64_t from_s = now_s < retry->saved_s ? retry->saved_s : now_s;

    return from_s < retry->not_before_s ? (uint32_t)(retry->not_before_s - from_s) * 1000 : 0;
}

void prov_retry_not_before(prov_retry *retry, int64_t now_s, uint32_t pause_s)
{
    uint32_t known_s = prov_retry_pause_ms(retry, now_s) / 1000;

    if (pause_s < known_s)
        pause_s = known_s;
    if (pause_s > PROV_RETRY_PAUSE_MAX_S)
        pause_s = PROV_RETRY_PAUSE_MAX_S;
    retry->saved_s = now_s;
    retry->not_before_s = now_s + pause_s;
}

void prov_retry_count(prov_retry *retry, int64_t now_s, uint32_t jitter)
{
    uint32_t pause_s = PROV_RETRY_FILE_MIN_S;

    for (unsigned i = 0; i < retry->failures && pause_s < PROV_RETRY_FILE_MAX_S; i++)
        pause_s *= 2;
    if (pause_s > PROV_RETRY_FILE_MAX_S)
        pause_s = PROV_RETRY_FILE_MAX_S;
    if (retry->failures < PROV_RETRY_FAILURES_MAX)
        retry->failures++;
    pause_s += pause_s * (jitter % PROV_RETRY_JITTER_RANGE) / (2 * PROV_RETRY_JITTER_RANGE);
    prov_retry_not_before(retry, now_s, pause_s);
}

static void render(const prov_retry *retry, char text[PROV_RETRY_TEXT_MAX])
{
    (void)snprintf(text, PROV_RETRY_TEXT_MAX, "keynym-retry 1 %u %" PRId64 " %" PRId64 "\n", retry->failures,
                   retry->saved_s, retry->not_before_s);
}

/* What the numbers read back as must be the text again: no sign, no zero in front, nothing left over. */
kn_prov_code prov_retry_parse(const char *text, size_t size, prov_retry *ret_retry, prov_error *error)
{
    char copy[PROV_RETRY_TEXT_MAX] = "", again[PROV_RETRY_TEXT_MAX];
    prov_retry retry;

    if (size >= sizeof copy)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "it holds more than a retry state");
    memcpy(copy, text, size);
    if (sscanf(copy, "keynym-retry 1 %7u %18" SCNd64 " %18" SCNd64, &retry.failures, &retry.saved_s,
               &retry.not_before_s) != 3)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "it holds no retry state");
    render(&retry, again);
    if (strlen(again) != size || memcmp(again, text, size) != 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "it holds no retry state");
    if (retry.failures < 1 || retry.failures > PROV_RETRY_FAILURES_MAX || retry.saved_s < 0 ||
        retry.not_before_s < retry.saved_s || retry.not_before_s - retry.saved_s > PROV_RETRY_PAUSE_MAX_S)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "its numbers cannot be a retry state");
    *ret_retry = retry;
    return KN_PROV_OK;
}

kn_prov_code prov_retry_load(const char *path, prov_retry *ret_retry, prov_error *error)
{
    char text[PROV_RETRY_TEXT_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not stop a device */
    prov_error why;
    ssize_t size;

    *ret_retry = (prov_retry){.failures = 0};
    if (fd < 0 && errno == ENOENT)
        return KN_PROV_OK;
    size = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (size < 0)
        (void)prov_fail(error, KN_PROV_E_ARGUMENT, "the retry state %s is not used: cannot read: %s", path,
                        strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    if (size < 0)
        return KN_PROV_E_ARGUMENT;
    if (prov_retry_parse(text, (size_t)size, ret_retry, &why))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the retry state %s is not used: %s", path, why.detail);
    return KN_PROV_OK;
}

kn_prov_code prov_retry_save(const char *path, const prov_retry *retry, prov_error *error)
{
    char text[PROV_RETRY_TEXT_MAX];
    const char *what;
    bool ok;

    render(retry, text);
    ok = retry->failures ? prov_file_replace(path, text, &what) : prov_file_remove(path, &what);
    if (ok)
        return KN_PROV_OK;
    return prov_fail(error, KN_PROV_E_ARGUMENT, "the retry state %s is not kept: %s: %s", path, what,
                     strerror(errno));
}
