/* For the subcommands that look after tokens and keys: backends and their errors in the terms of the command.
 *
 * Units: none. Ownership: as named. Errors: the exit status; the user has been told. Threads: none.
 */
#ifndef KN_CMD_BACKEND_H
#define KN_CMD_BACKEND_H

#include "kn_cmd.h"

#include "kn_alias.h"
#include "kn_ctx.h"
#include "kn_key.h"

/* A context from --module and --pin-source; release with kn_ctx_unref(). */
kn_exit kn_cmd_context(const kn_cmd_args *args, kn_ctx **ret_ctx);

/* The alias that the operand names: a URI without a PIN in it, or the path of an alias PEM file. */
kn_exit kn_cmd_alias_of(const char *uri_or_path, kn_alias **ret_alias);

/* A URI without a PIN in it. */
kn_exit kn_cmd_check_uri(const char *uri);

/* Tells the user of @err; the exit status that fits it. */
kn_exit kn_cmd_fail_backend(const char *what, kn_err err);

/* "yes", "no" or "unknown" */
const char *kn_cmd_fact(kn_fact fact);

/* The proof of custody: as exit status 1, with what speaks against it on standard error, when it fails; as text; as the
 * JSON object. */
kn_exit kn_cmd_custody_status(const char *what, const kn_custody *custody);
void kn_cmd_print_custody(const kn_custody *custody);
cJSON *kn_cmd_custody_json(const kn_custody *custody);

#endif
