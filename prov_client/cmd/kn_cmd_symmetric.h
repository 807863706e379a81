/* The subcommands of `keynym key` for symmetric keys.
 *
 * Units: none. Ownership: arguments are borrowed. Errors: the exit status; the user has been told. Threads: none.
 */
#ifndef KN_CMD_SYMMETRIC_H
#define KN_CMD_SYMMETRIC_H

#include "kn_cmd.h"

#include "kn_ctx.h"

extern const kn_cmd kn_cmd_key_import_symmetric;
extern const kn_cmd kn_cmd_key_generate_symmetric;

/* The six facts of the secret key that @uri names. */
kn_exit kn_cmd_show_symmetric(const kn_cmd_args *args, kn_ctx *ctx, const char *uri);

/* Removes the secret key that @uri names; the error is for the caller to tell. */
KN_MUST_CHECK kn_err kn_cmd_delete_symmetric(kn_ctx *ctx, const char *uri);

#endif
