/* Which device the HSM library is to stand for, from the options of a command.
 *
 * Units: none. Ownership: none. Errors: the exit status; the user has been told. Threads: none.
 */
#ifndef KN_CMD_HSM_H
#define KN_CMD_HSM_H

#include "kn_cmd.h"

/* --identity, --key, --cert, --pin-source and --module; what is not given is as the configuration says. The library's failures are
 * kept for keynym_hsm_last_error(); its warnings go to standard error. */
kn_exit kn_cmd_hsm_configure(const kn_cmd_args *args);

#endif
