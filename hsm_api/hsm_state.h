/* The life of the HSM library in this process: the provider in the default OSSL_LIB_CTX, and the handles.
 *
 * Units: none. Ownership: as named. Errors: kn_err. Threads: any; one lock. Fork: as kn_ctx.
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
 * decodes the alias key anew each time it reconnects. At "off" no session with a token is left.
 */
#ifndef KN_HSM_STATE_H
#define KN_HSM_STATE_H

#include "kn_err.h"

KN_MUST_CHECK kn_err hsm_init(void);
void hsm_deinit(void);

/* One handle more. */
KN_MUST_CHECK kn_err hsm_handle_opened(void);
void hsm_handle_closed(void);

#endif
