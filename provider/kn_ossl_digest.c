#include "kn_ossl_digest.h"

#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS     8  /* digests that are kept at a time; a signature of X.509 or TLS has one of five */
#define KEPT_MAX  64 /* digests that were ever kept; an application that changes its mind more often pays for fetches */
#define NAME_MAX_ 24 /* bytes of a name that is kept, with the final NUL */

/* Never changed once it is in a slot, and never freed before the end: readers take no lock. */
typedef struct kept {
    EVP_MD *md;
    const kn_digest *row;
    unsigned epoch;
    char name[NAME_MAX_];
} kept;

struct kn_ossl_digests {
    const OSSL_CORE_HANDLE *core;
    const OSSL_DISPATCH *in;
    atomic_uint epoch; /* grows when what was fetched may no longer be what a fetch would give */
    _Atomic(const kept *) slot[SLOTS];
    OSSL_FUNC_provider_deregister_child_cb_fn *deregister; /* NULL: nobody tells us of changes, and nothing is kept */

    pthread_mutex_t lock; /* guards what follows */
    OSSL_LIB_CTX *child;  /* NULL until the first digest */
    kept all[KEPT_MAX];
    unsigned all_count;
};

kn_ossl_digests *kn_ossl_digests_new(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in)
{
    kn_ossl_digests *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->core = core;
    d->in = in;
    (void)pthread_mutex_init(&d->lock, NULL);
    return d;
}

void kn_ossl_digests_free(kn_ossl_digests **digests)
{
    kn_ossl_digests *d = *digests;
    *digests = NULL;
    if (!d)
        return;
    for (unsigned i = 0; i < d->all_count; i++)
        EVP_MD_free(d->all[i].md);
    OSSL_LIB_CTX_free(d->child); /* takes the first registration of ours off, which is its own */
    if (d->deregister)
        d->deregister(d->core);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

/* ---- what OpenSSL tells ---- */

static int provider_changed(const OSSL_CORE_HANDLE *provider, void *arg)
{
    kn_ossl_digests *d = arg;
    (void)provider;
    atomic_fetch_add(&d->epoch, 1);
    return 1;
}

static int properties_changed(const char *properties, void *arg)
{
    (void)properties;
    return provider_changed(NULL, arg);
}

/* Needs d->lock. After the child was made, which registers first. */
static void listen(kn_ossl_digests *d)
{
    OSSL_FUNC_provider_register_child_cb_fn *reg = NULL;
    OSSL_FUNC_provider_deregister_child_cb_fn *dereg = NULL;
    for (const OSSL_DISPATCH *in = d->in; in->function_id; in++)
        if (in->function_id == OSSL_FUNC_PROVIDER_REGISTER_CHILD_CB)
            reg = OSSL_FUNC_provider_register_child_cb(in);
        else if (in->function_id == OSSL_FUNC_PROVIDER_DEREGISTER_CHILD_CB)
            dereg = OSSL_FUNC_provider_deregister_child_cb(in);
    if (reg && dereg && reg(d->core, provider_changed, provider_changed, properties_changed, d))
        d->deregister = dereg;
}

/* ---- fetching ---- */

const kn_digest *kn_ossl_digest_row(const EVP_MD *md)
{
    for (size_t i = 0; md && i < KN_DIGEST_COUNT; i++)
        if (EVP_MD_is_a(md, kn_digests[i].name))
            return &kn_digests[i];
    return NULL;
}

static const kept *find(const kn_ossl_digests *d, const char *name, unsigned epoch)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const kept *k = atomic_load_explicit(&d->slot[i], memory_order_acquire);
        if (!k)
            return NULL;
        if (k->epoch == epoch && !strcmp(k->name, name))
            return k;
    }
    return NULL;
}

/* Needs d->lock. */
static void keep(kn_ossl_digests *d, const char *name, unsigned epoch, EVP_MD *md, const kn_digest *row)
{
    size_t length = strlen(name);
    if (!d->deregister || length >= NAME_MAX_ || d->all_count == KEPT_MAX || !EVP_MD_up_ref(md))
        return;
    kept *k = &d->all[d->all_count];
    k->md = md;
    k->row = row;
    k->epoch = epoch;
    memcpy(k->name, name, length + 1);
    atomic_store_explicit(&d->slot[d->all_count++ % SLOTS], k, memory_order_release);
}

OSSL_LIB_CTX *kn_ossl_digests_child(kn_ossl_digests *d)
{
    (void)pthread_mutex_lock(&d->lock);
    if (!d->child) {
        d->child = OSSL_LIB_CTX_new_child(d->core, d->in);
        if (d->child)
            listen(d);
    }
    OSSL_LIB_CTX *child = d->child;
    (void)pthread_mutex_unlock(&d->lock);
    return child;
}

EVP_MD *kn_ossl_digests_get(kn_ossl_digests *d, const char *name, const char *properties, const kn_digest **ret_row)
{
    bool plain = !properties || !*properties;
    unsigned epoch = atomic_load(&d->epoch);
    const kept *k = plain ? find(d, name, epoch) : NULL;
    if (k && EVP_MD_up_ref(k->md)) {
        *ret_row = k->row;
        return k->md;
    }
    OSSL_LIB_CTX *child = kn_ossl_digests_child(d);
    epoch = atomic_load(&d->epoch); /* before the fetch: a change during it makes what it gave old */
    EVP_MD *md = child ? EVP_MD_fetch(child, name, properties) : NULL;
    *ret_row = kn_ossl_digest_row(md);
    if (md && plain) {
        (void)pthread_mutex_lock(&d->lock);
        keep(d, name, epoch, md, *ret_row);
        (void)pthread_mutex_unlock(&d->lock);
    }
    return md;
}
