/* Ways to sign with one key on P-256, each behind the same two functions, so that they can be timed in turn.
 *
 * Units: bytes. Ownership: a contender keeps what it opened until the process ends. Errors: end the process with a message;
 * a contender that this machine does not have says why in `missing`. Threads: bench_sign_once() with a state of each
 * thread's own.
 */
#ifndef BENCH_SIGN_H
#define BENCH_SIGN_H

#include "prov.h"

#include <p11-kit/pkcs11.h>

#define BENCH_LABEL "prime256v1" /* of the key, kn_algs[0].group */

typedef struct bench_target {
    const char *module; /* the PKCS#11 module's path */
    bool copy;          /* raw: sign with a session copy of the key; keynym: token_copy = yes */
} bench_target;

typedef struct bench_contender {
    const char *name;
    const char *missing; /* NULL: it can run */
    CK_FUNCTION_LIST *fn; /* raw, and the null provider over it, with what follows */
    CK_SLOT_ID slot;
    CK_OBJECT_HANDLE handle;
    OSSL_LIB_CTX *libctx;
    EVP_PKEY *pkey;
    const EVP_MD *legacy; /* for the engine, which is not a provider */
} bench_contender;

typedef struct bench_thread {
    CK_SESSION_HANDLE session; /* where the contender has fn */
} bench_thread;

bench_contender bench_raw(const bench_target *target);
bench_contender bench_null(void);
bench_contender bench_null_over_raw(const bench_target *target);
bench_contender bench_keynym(const bench_target *target);
bench_contender bench_engine(const bench_target *target);
bench_contender bench_pkcs11_provider(const bench_target *target);

bench_thread bench_thread_start(const bench_contender *c);
void bench_thread_end(const bench_contender *c, bench_thread *thread);

/* 64 bytes, SHA-256; raw: 32 bytes that are taken as a digest. */
void bench_sign_once(const bench_contender *c, const bench_thread *thread);

void bench_need(bool good, const char *what);

#endif
