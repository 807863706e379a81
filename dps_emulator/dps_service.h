/* Units:     retry-after in seconds.
 * Ownership: borrows the store for its life and every argument until return; a response owns its body.
 * Errors:    a request always gets a response; what went wrong is in its status and body.
 * Threads:   one service is for one thread.
 * Spec:      the device API, independent of the transport: "register" and "operation status". This is the
 * seam for all transports: they bring a peer and a request, and write the response in their own words. */
#ifndef DPS_SERVICE_H
#define DPS_SERVICE_H

#include "dps_error.h"
#include "dps_peer.h"
#include "dps_store.h"

typedef struct dps_service dps_service;

typedef struct dps_service_config {
    const char *default_hub; /* for groups that name none; kept */
    unsigned retry_after_s;  /* sent with every 202; 0 leaves it out */
    unsigned assign_after_s; /* how long an operation stays "assigning" */
} dps_service_config;

typedef struct dps_request {
    const char *transport; /* name of its row */
    dps_span id_scope;
    dps_span registration_id;
    dps_span api_version;
    dps_span client_version;
    dps_span sas; /* "SharedAccessSignature ..."; empty when the device sent none */
    dps_span body;
    const char *operation_id; /* only for a status request */
} dps_request;

typedef struct dps_response {
    int status;                           /* 200, 202, 400, 401, 404, 500 */
    int error_code;                       /* 0 below 400 */
    unsigned retry_after_s;               /* 0: none */
    char operation_id[DPS_OPERATION_LEN]; /* with 202; else empty */
    char *body;                           /* JSON; NULL when there was no memory for it */
} dps_response;

DPS_MUST_CHECK bool dps_service_new(dps_store *store, const dps_service_config *config,
                                    dps_service **ret_service, dps_fail *fail);
void dps_service_free(dps_service **service);
const char *dps_service_id_scope(const dps_service *service);
dps_store *dps_service_store(const dps_service *service);

/* Whether the device may go on, for transports that say so when it connects. False leaves the reason in
 * @ret_response; the two requests below judge again. */
DPS_MUST_CHECK bool dps_service_admit(dps_service *service, const dps_peer *peer, const dps_request *request,
                                      dps_response *ret_response);

void dps_service_register(dps_service *service, const dps_peer *peer, const dps_request *request,
                          dps_response *ret_response);
void dps_service_status(dps_service *service, const dps_peer *peer, const dps_request *request,
                        dps_response *ret_response);
/* The answer to a request that a transport could not read as far as the two above need it. */
void dps_service_reject(dps_service *service, dps_error error, const char *message,
                        dps_response *ret_response);

void dps_response_clear(dps_response *response);

#endif
