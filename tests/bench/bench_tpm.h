/* Ways to sign with a key of one TPM, each behind the same function, so that they can be timed in turn. All of them reach
 * the TPM by the same TCTI, which counts commands (tests/support/swtpm.h).
 *
 * Units: none. Ownership: a contender keeps what it opened until bench_tpm_close(). Errors: end the process with a message;
 * a contender that this machine does not have says why in `missing`. Threads: one.
 */
#ifndef BENCH_TPM_H
#define BENCH_TPM_H

#include "kn_key.h"

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <tss2/tss2_esys.h>

/* Where a key is, and of which kind. */
typedef struct bench_tpm_key {
    const char *name;
    const char *alg;    /* of kn_algs */
    const char *handle; /* NULL: in a file */
    const char *file;   /* in the TPM's directory */
} bench_tpm_key;

typedef struct bench_tpm_contender bench_tpm_contender;
struct bench_tpm_contender {
    const char *name;
    const char *missing; /* NULL: it can run */
    void (*sign)(bench_tpm_contender *c);
    bool rsa;
    ESYS_CONTEXT *esys; /* raw */
    ESYS_TR object;
    bool transient;      /* object takes a slot */
    TPMS_CONTEXT *saved; /* raw, and what is loaded from it for each signature */
    kn_ctx *ctx;         /* of its own, or NULL */
    kn_key *key;         /* the backends' face */
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *providers[2];
    const char *properties; /* without which tpm2-openssl's key would be used by the default provider */
    EVP_PKEY *pkey;
    bool borrowed; /* all of these are another contender's */
};

#define BENCH_TPM_EACH_LOADED "raw ContextLoad, Esys_Sign and FlushContext"

/* Starts a TPM and makes the keys; with @token also a token of tpm2-pkcs11 with one of each kind, where it is installed. */
void bench_tpm_set_up(const bench_tpm_key *keys, unsigned count, bool token);
void bench_tpm_tear_down(void);

bench_tpm_contender bench_tpm_raw(const bench_tpm_key *key);
bench_tpm_contender bench_tpm_raw_context(const bench_tpm_key *key); /* key in a file: loaded for each signature */
bench_tpm_contender bench_tpm_face(const bench_tpm_key *key);
bench_tpm_contender bench_tpm_provider(const bench_tpm_key *key);
bench_tpm_contender bench_tpm_openssl(const bench_tpm_key *key);
/* The same key by another function: borrows it, since each that is read from a file takes one of the TPM's slots. */
bench_tpm_contender bench_tpm_openssl_digest(const bench_tpm_contender *hashed);
bench_tpm_contender bench_tpm_pkcs11(const bench_tpm_key *key); /* a key of the same kind in tpm2-pkcs11, by Keynym */
bool bench_tpm_signs(bench_tpm_contender *c); /* for bench_tpm_face(): signs, or not, and goes on */
void bench_tpm_close(bench_tpm_contender *c);

void bench_tpm_need(bool good, const char *what);

#endif
