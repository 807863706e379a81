/* Symmetric keys as people have them: base64, in a file. */
#include "kn_hmac.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The value of a character of base64, or -1. No table that is indexed by it: a cache would tell of it. */
static int value_of(unsigned char c)
{
    int value = -1;
    value += (c >= 'A' && c <= 'Z') * (c - 'A' + 1);
    value += (c >= 'a' && c <= 'z') * (c - 'a' + 26 + 1);
    value += (c >= '0' && c <= '9') * (c - '0' + 52 + 1);
    value += (c == '+') * (62 + 1);
    value += (c == '/') * (63 + 1);
    return value;
}

/* @length is a multiple of 4, at most KN_HMAC_TEXT_MAX. False: not base64. */
static bool decode(const char *text, size_t length, uint8_t *out, size_t *ret_length)
{
    size_t padding = length && text[length - 1] == '=' ? (text[length - 2] == '=' ? 2 : 1) : 0, n = 0;
    uint32_t bits = 0;
    int bad = 0;
    for (size_t i = 0; i < length - padding; i++) {
        int value = value_of((unsigned char)text[i]);
        bad |= value;
        bits = bits << 6 | ((unsigned)value & 63);
        if (i % 4)
            out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    /* what the padding leaves over must be zero, or two texts would be one key */
    bool spare = padding && bits & (padding == 2 ? 15 : 3);
    *ret_length = n;
    return bad >= 0 && !spare;
}

kn_err kn_hmac_key_from_base64(const char *text, size_t length, kn_secret **ret_key)
{
    uint8_t raw[KN_HMAC_TEXT_MAX / 4 * 3];
    size_t raw_length = 0;
    kn_err err;
    if (length && text[length - 1] == '\n')
        length--;
    if (length && text[length - 1] == '\r')
        length--;
    if (length == 0 || length % 4 || length > KN_HMAC_TEXT_MAX || !decode(text, length, raw, &raw_length))
        err = kn_fail(KN_E_KEY_TEXT, "it is not base64 of %d to %d bytes", KN_HMAC_KEY_MIN, KN_HMAC_KEY_MAX);
    else if (raw_length < KN_HMAC_KEY_MIN || raw_length > KN_HMAC_KEY_MAX)
        err = kn_fail(KN_E_DATA_SIZE, "a symmetric key has %d to %d bytes, not %zu", KN_HMAC_KEY_MIN, KN_HMAC_KEY_MAX,
                      raw_length);
    else
        err = kn_success();
    if (!kn_failed(err))
        err = kn_secret_new(raw, raw_length, ret_key);
    explicit_bzero(raw, sizeof raw);
    return err;
}

/* The rules of a PIN file, and not readable by a group either: this is the key itself. */
static kn_err check_file(const char *path, const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return kn_fail(KN_E_KEY_FILE, "%s is not a regular file", path);
    if (st->st_uid != geteuid() && st->st_uid != 0 && geteuid() != 0)
        return kn_fail(KN_E_KEY_FILE, "%s belongs to another user (uid %u)", path, (unsigned)st->st_uid);
    if (st->st_mode & (S_IRWXG | S_IRWXO))
        return kn_fail(KN_E_KEY_FILE, "%s has mode %04o: others could read or change it", path,
                       (unsigned)(st->st_mode & 07777));
    return kn_success();
}

static kn_err read_text(int fd, const char *path, kn_secret **ret_key)
{
    char text[KN_HMAC_TEXT_MAX + 3]; /* CR LF, and one more to notice a longer file */
    size_t got = 0;
    ssize_t n;
    do {
        n = read(fd, text + got, sizeof text - got);
        if (n > 0)
            got += (size_t)n;
    } while ((n > 0 && got < sizeof text) || (n < 0 && errno == EINTR));
    kn_err err = n < 0 ? kn_fail(KN_E_KEY_FILE, "%s: %s", path, strerror(errno))
                       : kn_hmac_key_from_base64(text, got, ret_key);
    if (err.code == KN_E_KEY_TEXT || err.code == KN_E_DATA_SIZE)
        err = kn_fail_within(err, "%s", path);
    explicit_bzero(text, sizeof text);
    return err;
}

kn_err kn_hmac_key_read(const char *path, kn_secret **ret_key)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not block us */
    if (fd < 0)
        return kn_fail(KN_E_KEY_FILE, "%s: %s", path, strerror(errno));
    kn_err err = fstat(fd, &st) ? kn_fail(KN_E_KEY_FILE, "%s: %s", path, strerror(errno)) : check_file(path, &st);
    if (!kn_failed(err))
        err = read_text(fd, path, ret_key);
    (void)close(fd);
    return err;
}
