#include "kn_proc.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static pthread_rwlock_t calls; /* read: a thread is inside; write: fork */
static pthread_once_t calls_once = PTHREAD_ONCE_INIT, exit_once = PTHREAD_ONCE_INIT;
static atomic_uint fork_count;
static atomic_bool exiting;
static _Thread_local bool inside; /* this thread is between enter and leave */

static void calls_init(void)
{
    pthread_rwlockattr_t attr;
    (void)pthread_rwlockattr_init(&attr);
    /* Without this, threads that sign without a pause keep a fork waiting for ever. */
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&calls, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
}

/* A module may fork in a call of ours (p11-kit starts the program of a `remote:` module so): this thread would then
 * wait for itself. Such a child only executes another program. */
static void before_fork(void)
{
    if (!inside)
        (void)pthread_rwlock_wrlock(&calls);
}

static void after_fork_parent(void)
{
    if (!inside)
        (void)pthread_rwlock_unlock(&calls);
}

static void after_fork_child(void)
{
    calls_init(); /* the lock's owner is a thread of the parent: a new lock instead of an unlock */
    if (inside)
        (void)pthread_rwlock_rdlock(&calls);
    atomic_fetch_add(&fork_count, 1);
}

static void start(void)
{
    calls_init();
    (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void kn_proc_enter(void)
{
    (void)pthread_once(&calls_once, start);
    (void)pthread_rwlock_rdlock(&calls);
    inside = true;
    ERR_set_mark();
}

void kn_proc_leave(void)
{
    ERR_pop_to_mark();
    inside = false;
    (void)pthread_rwlock_unlock(&calls);
}

unsigned kn_proc_fork_count(void)
{
    return atomic_load(&fork_count);
}

static void note_exit(void)
{
    atomic_store(&exiting, true);
}

static void watch_exit(void)
{
    (void)atexit(note_exit);
}

void kn_proc_watch_exit(void)
{
    (void)pthread_once(&exit_once, watch_exit);
}

bool kn_proc_exiting(void)
{
    /* Refused once OPENSSL_cleanup() has begun, which may be called without the process ending. */
    return atomic_load(&exiting) || !OPENSSL_init_crypto(0, NULL);
}
