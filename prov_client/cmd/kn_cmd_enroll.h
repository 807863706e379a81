/* What the subcommands of `keynym enroll` share.
 *
 * Units: none. Ownership: kn_enroll_close() releases all of it. Errors: every function that fails has told the user.
 * Threads: none. Spec: docs/man/keynym-enroll.1; DPS service API 2021-10-01.
 */
#ifndef KN_CMD_ENROLL_H
#define KN_CMD_ENROLL_H

#include "kn_cmd_device.h"

#include "../prov_service.h"

#define KN_ENROLL_FILE_MAX (1024U * 1024U) /* bytes of a file with an enrollment, or many */

/* What --connection, --ca, --proxy, --proxy-auth and --timeout say. */
typedef struct kn_enroll {
    const kn_cmd_args *args;
    prov_service *service;
    kn_cmd_proxy proxy;
    char *connection_string;
} kn_enroll;

#define KN_ENROLL_OPTIONS KN_OPT_CONNECTION, KN_OPT_CA, KN_OPT_PROXY, KN_OPT_PROXY_AUTH, KN_OPT_TIMEOUT, KN_OPT_JSON

kn_exit kn_enroll_open(const kn_cmd_args *args, kn_enroll *ret_enroll);
void kn_enroll_close(kn_enroll *enroll);

/* @ret_json is NULL where the answer has none; cJSON_Delete() it. @what begins the message of a failure. */
kn_exit kn_enroll_ask(kn_enroll *enroll, const char *what, const prov_service_request *request, cJSON **ret_json);

/* Every page of a query, as one array. */
kn_exit kn_enroll_query(kn_enroll *enroll, const char *path, const char *query, cJSON **ret_array);

/* "/enrollments" or "/enrollmentGroups", and "registrationId" or "enrollmentGroupId", as --group says. */
const char *kn_enroll_kind(const kn_cmd_args *args);
const char *kn_enroll_id_member(const kn_cmd_args *args);

/* "/enrollments/device-1" and so on. KN_EXIT_USAGE when there is not exactly one operand, or it is no id. */
#define KN_ENROLL_PATH_MAX 512
kn_exit kn_enroll_path(const kn_cmd_args *args, const char *prefix, const char *suffix, char ret_path[KN_ENROLL_PATH_MAX]);

/* kn_cmd_enroll_body.c. Puts what the options say into @body: an object that holds nothing, or an enrollment. */
kn_exit kn_enroll_apply(const kn_cmd_args *args, cJSON *body);

/* Reads a JSON file. */
kn_exit kn_enroll_read_json(const char *path, cJSON **ret_json);

extern const kn_cmd kn_cmd_enroll_bulk; /* kn_cmd_enroll_bulk.c */

#endif
