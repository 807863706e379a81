/* The registration file: what `keynym provision --output` writes and `keynym hub` reads, and writes when a device registers again.
 *
 * Units: none. Ownership: kn_cmd_registration_clear() releases. Errors: the exit status; the user has been told. Threads: none.
 * Spec: docs/man/keynym-provision.1. The file is JSON:
 *   registrationId, assignedHub, deviceId, status, substatus, payload   what the service answered
 *   provisioning {idScope, endpoint, transport, attestation, payload}   how it was asked; payload: what the device sent
 *                                                                      (its numbers pass through a double)
 */
#ifndef KN_CMD_REGISTRATION_H
#define KN_CMD_REGISTRATION_H

#include "kn_cmd.h"

#include "../kn_prov.h"

/* NULL: the file does not say. */
typedef struct kn_cmd_registration {
    char *hub, *device, *registration_id;
    char *id_scope, *endpoint, *transport, *attestation, *payload;
} kn_cmd_registration;

/* Hub and device ID are there after success. */
kn_exit kn_cmd_registration_read(const char *path, kn_cmd_registration *ret_registration);
void kn_cmd_registration_clear(kn_cmd_registration *registration);

/* What the service answered and, with @request, how it was asked; NULL when memory is out. */
cJSON *kn_cmd_registration_json(const kn_prov_result *result, const kn_prov_request *request);

/* Makes or replaces the file in one step: after a failure the old one is there. */
kn_exit kn_cmd_registration_write(const char *path, const kn_prov_result *result, const kn_prov_request *request);

#endif
