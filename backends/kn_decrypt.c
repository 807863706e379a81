#include "kn_decrypt.h"

#include "kn_crypto.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define SECRET_BYTES 32
#define CANDIDATES   128 /* lengths that are drawn, so that one below the limit is among them but for a chance of 2^-128 */

static uint8_t secret[SECRET_BYTES]; /* of this process; replacements cannot be predicted without it */
static bool have_secret;
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void)
{
    have_secret = getrandom(secret, sizeof secret, 0) == sizeof secret; /* without libcrypto: every program that loads us pays */
}

void kn_decrypt_start(void)
{
    (void)pthread_once(&secret_once, make_secret);
}

/* ---- constant time: all ones when the condition holds, else zero; the compiler must not see a truth value ---- */

static size_t hidden(size_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

static size_t mask_nonzero(size_t value)
{
    return hidden(0 - ((value | (0 - value)) >> (sizeof value * 8 - 1)));
}

static size_t mask_equal(size_t a, size_t b)
{
    return hidden(~mask_nonzero(a ^ b));
}

/* Both below 2^31. */
static size_t mask_less(size_t a, size_t b)
{
    return hidden(0 - ((a - b) >> (sizeof a * 8 - 1)));
}

static size_t choose(size_t mask, size_t yes, size_t no)
{
    return (mask & yes) | (~mask & no);
}

/* ---- the replacement ---- */

/* A stream of bytes that only this process can make for this key and ciphertext. */
static bool stream(const kn_public *public, const uint8_t *data, uint8_t *ret_bytes, size_t length)
{
    uint8_t whole[2 * KN_RSA_MAX], seed[32], block[32];
    size_t bytes = public->alg->coord_bytes;
    memcpy(whole, public->modulus, bytes);
    memcpy(whole + bytes, data, bytes);
    bool good = kn_crypto_digest(secret, sizeof secret, whole, 2 * bytes, seed);
    for (size_t at = 0; good && at < length; at += sizeof block) {
        uint8_t counter[2] = {(uint8_t)(at / sizeof block >> 8), (uint8_t)(at / sizeof block)};
        good = kn_crypto_digest(seed, sizeof seed, counter, sizeof counter, block);
        size_t room = length - at < sizeof block ? length - at : sizeof block;
        memcpy(ret_bytes + at, block, room);
    }
    explicit_bzero(seed, sizeof seed);
    explicit_bzero(block, sizeof block);
    return good;
}

/* A length from 0 to @most: the last of the candidates that is not above. */
static size_t draw_length(const uint8_t candidates[2 * CANDIDATES], size_t most)
{
    size_t bits = most, length = 0;
    for (size_t shift = 1; shift < 16; shift *= 2)
        bits |= bits >> shift; /* all ones below the top bit */
    for (size_t i = 0; i < CANDIDATES; i++) {
        size_t candidate = ((size_t)candidates[2 * i] << 8 | candidates[2 * i + 1]) & bits;
        length = choose(mask_less(candidate, most + 1), candidate, length);
    }
    return length;
}

kn_err kn_decrypt_prepare(const kn_decrypt_how *how, const kn_public *public, const uint8_t *data,
                          kn_decrypted *ret_decrypted)
{
    uint8_t bytes[KN_RSA_MAX + 2 * CANDIDATES];
    bool good;
    if (how->padding == KN_PAD_TLS) {
        good = kn_crypto_random(ret_decrypted->instead, KN_PREMASTER_BYTES);
        ret_decrypted->instead_length = KN_PREMASTER_BYTES;
        return good ? kn_success() : kn_fail(KN_E_CRYPTO, "no random bytes for a premaster secret");
    }
    kn_decrypt_start();
    good = have_secret && stream(public, data, bytes, sizeof bytes);
    memcpy(ret_decrypted->instead, bytes, KN_RSA_MAX);
    ret_decrypted->instead_length = draw_length(bytes + KN_RSA_MAX, public->alg->coord_bytes - 11);
    explicit_bzero(bytes, sizeof bytes);
    return good ? kn_success() : kn_fail(KN_E_CRYPTO, "the digest of a ciphertext");
}

void kn_decrypt_finish(const kn_decrypt_how *how, size_t modulus_bytes, kn_decrypted *d)
{
    size_t good = mask_nonzero(d->good);
    if (how->padding == KN_PAD_TLS) {
        size_t version = (size_t)d->plain[0] << 8 | d->plain[1];
        size_t fits = mask_equal(version, how->tls_version) |
                      (mask_nonzero(how->tls_version_too) & mask_equal(version, how->tls_version_too));
        good &= mask_equal(d->length, KN_PREMASTER_BYTES) & fits;
    } else {
        good &= mask_less(d->length, modulus_bytes - 10); /* RFC 8017 section 7.2.2: at least 11 bytes are padding */
    }
    for (size_t i = 0; i < KN_RSA_MAX; i++)
        d->plain[i] = (uint8_t)choose(good, d->plain[i], d->instead[i]);
    d->length = choose(good, d->length, d->instead_length);
}
