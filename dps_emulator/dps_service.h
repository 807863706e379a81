/* Units:     retry-after in seconds.
 * Ownership: borrows the store for its life and every argument until return; a response owns its body.
 * Errors:    a request always gets a response; what went wrong is in its status and body.
 * Threads:   one service is for one thread.
 * Spec:      the device API, independent of the transport: "register" and "operation status". This is the
 * seam for all transports: they bring a peer and a request, and write the response in their own words. */
#ifndef DPS_SERVICE_H
#define DPS_SERVICE_H

#include "dps_allocate.h"
#include "dps_error.h"
#include "dps_faults.h"
#include "dps_peer.h"
#include "dps_store.h"
#include "dps_webhook.h"

typedef struct dps_service dps_service;

typedef struct dps_service_config {
    const dps_hubs *hubs;    /* for enrollments that name none; at least one; copied */
    unsigned retry_after_s;  /* sent with every 202; 0 leaves it out */
    dps_faults *faults;      /* borrowed; NULL: none */
    dps_webhook *webhook;    /* the same; without one, custom allocation stays assigning */
    unsigned assign_after_s; /* how long an operation stays "assigning" */
} dps_service_config;

typedef struct dps_request {
    const char *transport; /* name of its row */
    dps_span id_scope;
    dps_span registration_id;
    dps_span api_version;
    dps_span client_version;
    dps_span sas; /* SAS token: header, MQTT password, SASL PLAIN; empty: none was sent */
    dps_span body;
    const char *operation_id; /* only for a status request */
} dps_request;

typedef struct dps_response {
    int status;                           /* 200, 202, 400, 401, 404, 500 */
    int error_code;                       /* 0: none; so below 400, and for the 401 with a TPM's nonce */
    unsigned retry_after_s;               /* 0: none */
    char operation_id[DPS_OPERATION_LEN]; /* with 202; else empty */
    char *body;                           /* JSON; NULL when there was no memory for it */
} dps_response;

DPS_MUST_CHECK bool dps_service_new(dps_store *store, const dps_service_config *config,
                                    dps_service **ret_service, dps_fail *fail);
void dps_service_free(dps_service **service);
const char *dps_service_id_scope(const dps_service *service);
dps_store *dps_service_store(const dps_service *service);
const dps_hubs *dps_service_hubs(const dps_service *service);
dps_faults *dps_service_faults(const dps_service *service);

/* For transports that authenticate when they connect: judges the registration id, the id scope and the SAS
 * token of @request, which has no body and may have no api-version. False: @ret_response says why. A device
 * without a token is admitted; its requests are judged. */
DPS_MUST_CHECK bool dps_service_admit(dps_service *service, const dps_peer *peer, const dps_request *request,
                                      dps_response *ret_response);
/* For SASL TPM: the activation blob that holds the key with which this TPM signs its token. Both keys are a
 * TPM2B_PUBLIC. False: @ret_response says why. */
DPS_MUST_CHECK bool dps_service_tpm_challenge(dps_service *service, const dps_peer *peer,
                                              const dps_request *request, const dps_blob *endorsement_key,
                                              const dps_blob *storage_root_key, dps_blob *ret_challenge,
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
