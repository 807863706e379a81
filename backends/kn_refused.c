#include "kn_refused.h"

#include "kn_crypto.h"

#include <pthread.h>
#include <string.h>

#define KEPT_MAX   32
#define SALT_BYTES 32

static struct {
    pthread_mutex_t lock;
    kn_secret *salt;
    kn_refused_mark mark[KEPT_MAX];
    unsigned count; /* grows beyond KEPT_MAX: the oldest are overwritten */
} refused = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Needs the lock. */
static bool have_salt(void)
{
    uint8_t salt[SALT_BYTES];
    if (!refused.salt && kn_crypto_random(salt, sizeof salt) && kn_failed(kn_secret_new(salt, sizeof salt, &refused.salt)))
        refused.salt = NULL;
    explicit_bzero(salt, sizeof salt);
    return refused.salt;
}

/* Owner and secret cannot be shifted against each other: the owner goes in as its digest. */
static bool hash(const void *owner, size_t owner_length, const kn_secret *secret, uint8_t ret_hash[32])
{
    uint8_t salt[SALT_BYTES + 32];
    if (!have_salt() || !kn_crypto_digest(NULL, 0, owner, owner_length, salt + SALT_BYTES))
        return false;
    memcpy(salt, kn_secret_data(refused.salt), SALT_BYTES);
    bool good = kn_crypto_digest(salt, sizeof salt, secret ? kn_secret_data(secret) : NULL, secret ? kn_secret_length(secret) : 0, ret_hash);
    explicit_bzero(salt, sizeof salt);
    return good;
}

kn_err kn_refused_mark_of(const void *owner, size_t owner_length, const kn_secret *secret, kn_refused_mark *ret_mark)
{
    (void)pthread_mutex_lock(&refused.lock);
    bool good = hash(owner, owner_length, secret, ret_mark->hash);
    (void)pthread_mutex_unlock(&refused.lock);
    return good ? kn_success() : kn_fail(KN_E_CRYPTO, "hashing a PIN");
}

bool kn_refused_known(const kn_refused_mark *mark)
{
    bool known = false;
    (void)pthread_mutex_lock(&refused.lock);
    for (unsigned i = 0; i < refused.count && i < KEPT_MAX; i++)
        known |= !memcmp(&refused.mark[i], mark, sizeof *mark);
    (void)pthread_mutex_unlock(&refused.lock);
    return known;
}

void kn_refused_remember(const kn_refused_mark *mark)
{
    (void)pthread_mutex_lock(&refused.lock);
    refused.mark[refused.count++ % KEPT_MAX] = *mark;
    (void)pthread_mutex_unlock(&refused.lock);
}
