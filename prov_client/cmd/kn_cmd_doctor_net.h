/* The part of `keynym doctor` that needs the network: the name of the service, and a TLS handshake with it.
 *
 * Units: none. Ownership: arguments are borrowed. Errors: in the list. Threads: none.
 */
#ifndef KN_CMD_DOCTOR_NET_H
#define KN_CMD_DOCTOR_NET_H

#include "kn_cmd_checks.h"

/* @chain_pem and @key_pem: NULL: without a client certificate. */
void kn_cmd_doctor_net(kn_checks *checks, const kn_cmd_args *args, const char *chain_pem, const char *key_pem);

#endif
