/* The state of the HSM library in this process: configuration, backends, and the provider in the default OSSL_LIB_CTX.
 *
 * Units: none. Ownership: as named. Errors: kn_err; hsm_report() makes one line of it. Threads: any; one lock.
 * Fork: as kn_ctx.
 *
 * init and deinit are idempotent and not counted, because the SDK calls them unbalanced (twice at start, and twice at the
 * end with a symmetric key). What they stand for, by call:
 *
 *   state \\ call   init        deinit                create          destroy
 *   off            -> on       off                   -> on, 1        -
 *   on, 0 handles  on          -> off                on, 1           -
 *   on, n handles  on          -> leaving            on, n + 1       on, n - 1
 *   leaving, n     -> on, n    leaving               on, n + 1       leaving, n - 1; at 0 -> off
 *
 * "on" means: the provider is loaded. It stays so until the last handle is gone, since a TLS connection of the SDK
 * decodes the alias key anew each time it reconnects.
 */
#ifndef KN_HSM_STATE_H
#define KN_HSM_STATE_H

#include "kn_ctx.h"

typedef struct hsm_x509_settings {
    char *key, *certificate;
    kn_ctx *ctx;
} hsm_x509_settings;

KN_MUST_CHECK kn_err hsm_init(void);
void hsm_deinit(void);

/* One more handle. Copies of the settings as they are now, with a reference to the context. */
KN_MUST_CHECK kn_err hsm_handle_opened(hsm_x509_settings *ret_settings);
void hsm_handle_closed(void);
void hsm_settings_free(hsm_x509_settings *settings);

/* A reference to the context of this process; one of its own when the library is not initialised. For reading a key
 * that says all by itself. */
KN_MUST_CHECK kn_err hsm_context(kn_ctx **ret_ctx);

/* The failure of a call for this thread: one log line, and the text of keynym_hsm_last_error(). */
void hsm_report(const char *call, kn_err err);

#endif
