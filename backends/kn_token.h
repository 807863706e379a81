/* The tokens that are there.
 *
 * Units: none. Ownership: the row is valid during the callback. Errors: those of loading modules.
 * Threads: any.
 */
#ifndef KN_TOKEN_H
#define KN_TOKEN_H

#include "kn_ctx.h"
#include "kn_secret.h"

typedef struct kn_token_info {
    char label[33], manufacturer[33], model[17], serial[17];
    const char *module; /* p11-kit's name of the module, or its path */
    unsigned long slot;
    bool initialised, login_required, pin_set, pin_count_low, pin_final_try, pin_locked;
} kn_token_info;

/* One private key, secret key or certificate of a token. */
typedef struct kn_object_info {
    bool is_key;
    char label[129], id[129]; /* id in hexadecimal */
    const char *kind;         /* "EC:P-256", "RSA", "HMAC", "X.509", "unknown" */
} kn_object_info;

/* Calls @row for each token of each module, and for the TPM that the environment names or that the kernel has. No login. What cannot
 * be listed does not hide the others: their rows come first. */
KN_MUST_CHECK kn_err kn_token_list(kn_ctx *ctx, void (*row)(const kn_token_info *info, void *arg), void *arg);

/* Calls @row for each private key, secret key and certificate on the one token that @uri names. Logs in. */
KN_MUST_CHECK kn_err kn_token_objects(kn_ctx *ctx, const char *uri,
                                      void (*row)(const kn_object_info *info, void *arg), void *arg);

/* Initialises the one blank token that @uri allows (slot-id, model, module-path, ...) with the label token= of @uri, and
 * sets both PINs. A token that is initialised already is never touched: KN_E_EXISTS when one has that label,
 * KN_E_NO_TOKEN when none is blank. Spec: PKCS#11 v3.0 section 5.5 (C_InitToken, C_InitPIN). */
KN_MUST_CHECK kn_err kn_token_init(kn_ctx *ctx, const char *uri, const kn_secret *so_pin, const kn_secret *pin);

/* Would an operation on the one token that @uri names fail for want of a PIN that somebody could type? No: a PIN source is
 * named in the URI or the configuration (then no token is looked at), the token wants no login, has a keypad of its own, or
 * is logged in. Yes: the source is ask:, or, with @unprompted, none is named. Fails with KN_E_PIN_LOCKED and the like when a
 * PIN would not be sent. @ret_label: of the token, when it wants one. */
KN_MUST_CHECK kn_err kn_token_wants_pin(kn_ctx *ctx, const char *uri, bool unprompted, bool *ret_wants, char ret_label[33]);

/* Logs in with a PIN that somebody typed, and keeps it, locked, for the life of @ctx, for when the token wants it again.
 * A PIN that the token refuses is not kept. */
KN_MUST_CHECK kn_err kn_token_login(kn_ctx *ctx, const char *uri, const kn_secret *pin);

#endif
