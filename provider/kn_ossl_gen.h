/* Key generation through OpenSSL: the key is made in a token, or not at all.
 *
 * Only who asks for it gets here: by the property query provider=keynym, or because no other provider is loaded. And a key
 * without a name in a token is an error, so that a program which wants an ephemeral key never fills a token.
 *
 * Units: bits. Ownership: kn_ossl_gen_init() returns, kn_ossl_gen_cleanup() releases; kn_ossl_gen_run() returns a
 * kn_ossl_key. Errors: NULL or 0 with an entry on the error queue. Threads: one at a time for one context.
 * Spec: provider-keymgmt(7); docs/algorithms.md has the parameters.
 */
#ifndef KN_OSSL_GEN_H
#define KN_OSSL_GEN_H

#include "kn_ossl_key.h"

void *kn_ossl_gen_init(void *provctx, int selection, const OSSL_PARAM params[], const kn_ossl_kind *kind);
int kn_ossl_gen_set_params(void *gen, const OSSL_PARAM params[]);
const OSSL_PARAM *kn_ossl_gen_settable(void *gen, void *provctx);
void *kn_ossl_gen_run(void *gen, OSSL_CALLBACK *progress, void *progress_arg);
void kn_ossl_gen_cleanup(void *gen);

/* A digest by any of its names; NULL: not one of kn_digests. */
const kn_digest *kn_ossl_gen_digest(kn_ossl *prov, const char *name);

#endif
