/* What the commands share that act as the device: `keynym provision` and `keynym hub`.
 *
 * Units: none. Ownership: as named with each call. Errors: every function that fails has told the user.
 * Threads: none; a signal handler sets the cancel flag. Spec: docs/man/keynym-provision.1, keynym-hub.1.
 */
#ifndef KN_CMD_DEVICE_H
#define KN_CMD_DEVICE_H

#include "kn_cmd.h"

#include "../kn_prov.h"

/* SIGINT and SIGTERM set the flag that is returned, for a request's cancel. */
atomic_bool *kn_cmd_catch_signals(void);

/* Ends the process by the signal that was caught, if there was one: a shell that runs a loop of commands
 * stops only when the command died of it. */
void kn_cmd_pass_signal_on(void);

/* For a request's on_trace. */
void kn_cmd_print_trace(const char *line, void *context);

/* Tells the HSM library what --key, --cert, --pin-source and --module say; without any of them it reads its
 * configuration file. @what begins the message. */
kn_exit kn_cmd_set_identity(const kn_cmd_args *args, const char *what);

typedef struct kn_cmd_proxy {
    const char *url;
    char *user;
    const char *password; /* behind @user */
} kn_cmd_proxy;

/* Reads --proxy and --proxy-auth; kn_cmd_proxy_clear() wipes. */
kn_exit kn_cmd_proxy_of(const kn_cmd_args *args, kn_cmd_proxy *ret_proxy);
void kn_cmd_proxy_clear(kn_cmd_proxy *proxy);

/* The exit status that a failure of the client library has. */
kn_exit kn_cmd_exit_of(kn_prov_code code);

#endif
