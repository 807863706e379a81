/* The service side of DPS: enrollments and registrations over HTTPS, as a factory manages them.
 *
 * Units: seconds, bytes. Ownership: the configuration is borrowed until prov_service_close(); an answer's body is released
 *   with prov_service_answer_clear(). Errors: as a kn_prov_code, the detail with the service's own words, error code and
 *   tracking id: KN_PROV_E_UNAUTHORIZED (401, 403), KN_PROV_E_NOT_ENROLLED (404), KN_PROV_E_REFUSED (other 4xx),
 *   KN_PROV_E_THROTTLED (429) after as many tries as the time allows, KN_PROV_E_SERVICE (5xx) likewise, but after one try
 *   where it might have been done.
 * Threads: one service, one thread. Spec: DPS service API 2021-10-01; SAS tokens as in prov_sas.h with the policy's name.
 *
 * The key of the connection string stays in memory that is wiped, and appears nowhere else.
 */
#ifndef PROV_SERVICE_H
#define PROV_SERVICE_H

#include "prov_http.h"

#include <cjson/cJSON.h>

#define PROV_SERVICE_CONNECTION_MAX 1024U /* characters of a connection string */
#define PROV_SERVICE_BULK_MAX       10U   /* enrollments of one bulk request */

typedef struct prov_service prov_service;

typedef struct prov_service_config {
    const char *connection_string; /* HostName=...;SharedAccessKeyName=...;SharedAccessKey=...; a port may follow the name */
    const char *ca_file;           /* as in prov_tls_config, with the three that follow */
    const char *proxy;
    const char *proxy_user;
    const char *proxy_password;
    uint32_t timeout_ms; /* of all requests together */
    atomic_bool *cancel; /* may be NULL */
} prov_service_config;

typedef struct prov_service_request {
    const char *method;
    const char *path;         /* "/enrollments/device-1", without the version */
    const char *body;         /* JSON; NULL: none */
    const char *etag;         /* for If-Match; NULL: none */
    const char *continuation; /* from the page before; NULL: none */
} prov_service_request;

typedef struct prov_service_answer {
    cJSON *json; /* NULL: the answer has no body */
    char continuation[PROV_HTTP_HEADER_MAX]; /* "": this was the last page */
} prov_service_answer;

/* Reads the connection string; connects at the first request. */
KN_PROV_MUST_CHECK kn_prov_code prov_service_open(const prov_service_config *config, prov_service **ret_service,
                                                  prov_error *error);

KN_PROV_MUST_CHECK kn_prov_code prov_service_ask(prov_service *service, const prov_service_request *request,
                                                 prov_service_answer *ret_answer, prov_error *error);

void prov_service_answer_clear(prov_service_answer *answer);

/* Accepts a pointer to NULL. Sets NULL. */
void prov_service_close(prov_service **service);

/* The key of one device of a group with a symmetric key: base64(HMAC-SHA256(group key, registration id)), as a factory gives
 * it to the device, which never sees the group's. @group_key: base64. Spec: "Derive a device key" of the DPS documentation. */
#define PROV_DEVICE_KEY_CHARS 44U
KN_PROV_MUST_CHECK kn_prov_code prov_device_key(const char *group_key, const char *registration_id,
                                                char ret_key[PROV_DEVICE_KEY_CHARS + 1], prov_error *error);

#endif
