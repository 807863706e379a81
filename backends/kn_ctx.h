/* The context: configuration, and the backends' state (modules, tokens, sessions). One for each provider
 * instance, HSM library or command.
 *
 * Units: as named. Ownership: kn_ctx_new() returns, kn_ctx_unref() releases; keys keep their context alive.
 * Errors: KN_E_CONFIG. Threads: any, after it was made. Fork: the child goes on with the parent's context;
 * sessions are opened anew at its first operation.
 */
#ifndef KN_CTX_H
#define KN_CTX_H

#include "kn_err.h"

typedef struct kn_ctx kn_ctx;

typedef enum kn_login {
    KN_LOGIN_WHEN_NEEDED, /* before private keys; before certificates only when they are not seen without */
    KN_LOGIN_ALWAYS,      /* before everything */
    KN_LOGIN_NEVER        /* somebody else in the process does it */
} kn_login;

/* What is 0 has its default. */
typedef struct kn_config {
    const char *module_path; /* PKCS#11 modules to load, separated by ':'; NULL: those registered with p11-kit */
    const char *pin_source;  /* where the PIN is when a URI does not say; NULL: nowhere */
    kn_login login;
    unsigned sessions_max;    /* of one token that are open at once; 0: as many as it says, at most 1024 */
    bool token_copy;          /* sign with session copies of keys */
    unsigned session_wait_ms; /* how long an operation waits for a free session; 0: the default, 30,000 */
} kn_config;

/* Touches no module and no token: that happens at the first use. Keeps a copy of @config; NULL: defaults. */
KN_MUST_CHECK kn_err kn_ctx_new(const kn_config *config, kn_ctx **ret_ctx);

kn_ctx *kn_ctx_ref(kn_ctx *ctx);
void kn_ctx_unref(kn_ctx **ctx);

/* Gives up what the context holds of its tokens and does not use at this moment: sessions and logins. The next operation
 * takes them anew; keys stay valid. */
void kn_ctx_rest(kn_ctx *ctx);

#endif
