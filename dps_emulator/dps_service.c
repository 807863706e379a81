#include "dps_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "dps_assignment.h"
#include "dps_authorize.h"
#include "dps_json.h"
#include "dps_log.h"
#include "dps_tpm.h"

struct dps_service {
    dps_store *store;
    dps_authorizer *authorizer;
    char id_scope[DPS_SCOPE_LEN];
    dps_hubs hubs;
    dps_assignment_context assignment;
    dps_webhook *webhook; /* borrowed; NULL: none */
    unsigned retry_after_s;
    dps_faults *faults;
    dps_fault_plan plan; /* for the request that is being answered */
};

static const char *const api_versions[] = {"2019-03-31", "2021-06-01", "2021-10-01"};

bool dps_service_new(dps_store *store, const dps_service_config *config, dps_service **ret_service,
                     dps_fail *fail)
{
    dps_service *service = calloc(1, sizeof(*service));
    if (service == NULL)
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    service->store = store;
    service->retry_after_s = config->retry_after_s;
    service->hubs = *config->hubs;
    service->faults = config->faults;
    service->webhook = config->webhook;
    service->assignment = (dps_assignment_context){
        .store = store,
        .id_scope = service->id_scope,
        .hubs = &service->hubs,
        .assign_after_s = config->assign_after_s,
    };
    service->authorizer = dps_authorizer_new(store);
    if (service->authorizer == NULL) {
        dps_service_free(&service);
        return dps_fail_set(fail, DPS_EXIT_FAILED, "out of memory");
    }
    if (dps_store_id_scope(store, service->id_scope) != DPS_STORE_OK) {
        dps_fail_set(fail, DPS_EXIT_FAILED, "the database has no id scope: %s; start with a new --dir",
                     dps_store_message(store));
        dps_service_free(&service);
        return false;
    }
    *ret_service = service;
    return true;
}

void dps_service_free(dps_service **service)
{
    if (*service == NULL)
        return;
    dps_authorizer_free(&(*service)->authorizer);
    free(*service);
    *service = NULL;
}

const char *dps_service_id_scope(const dps_service *service)
{
    return service->id_scope;
}

dps_store *dps_service_store(const dps_service *service)
{
    return service->store;
}

const dps_hubs *dps_service_hubs(const dps_service *service)
{
    return &service->hubs;
}

dps_faults *dps_service_faults(const dps_service *service)
{
    return service->faults;
}

void dps_response_clear(dps_response *response)
{
    free(response->body);
    *response = (dps_response){0};
}

void dps_service_reject(dps_service *service, dps_error error, const char *message,
                        dps_response *ret_response)
{
    (void)service;
    *ret_response = (dps_response){
        .status = dps_errors[error].status,
        .error_code = dps_errors[error].code,
        .body = dps_json_error(dps_errors[error].code, message, dps_time_served_ms()),
    };
}

/* Remembers why a device was refused, so that its owner can ask the server instead of guessing. */
static void refuse(dps_service *service, const dps_peer *peer, const dps_request *request,
                   const dps_decision *decision, dps_response *ret_response)
{
    dps_service_reject(service, decision->error, decision->message, ret_response);
    dps_log(DPS_LOG_WARN, "%s: registration id \"%.*s\" refused: %s", peer->address,
            (int)request->registration_id.len, request->registration_id.at, decision->message);
    if (dps_id_check(request->registration_id) != DPS_ID_OK)
        return;
    dps_refusal refusal = {.error_code = ret_response->error_code, .at_ms = dps_time_now_ms()};
    dps_span_copy(refusal.registration_id, sizeof(refusal.registration_id), request->registration_id);
    memcpy(refusal.message, decision->message, sizeof(refusal.message));
    if (!dps_evidence_of(peer, request, &refusal.evidence) ||
        dps_store_refusal_save(service->store, &refusal) != DPS_STORE_OK)
        dps_log(DPS_LOG_ERROR, "a refusal cannot be written: %s", dps_store_message(service->store));
    dps_refusal_clear(&refusal);
}

static void decide(dps_decision *decision, dps_error error, const char *message)
{
    *decision = (dps_decision){.error = error};
    snprintf(decision->message, sizeof(decision->message), "%s", message);
}

static bool api_version_known(dps_span version)
{
    for (size_t i = 0; i < sizeof(api_versions) / sizeof(api_versions[0]); i++) {
        if (dps_span_is(version, api_versions[i]))
            return true;
    }
    return false;
}

/* What can be judged without looking at any enrollment. */
static bool check_request(const dps_service *service, const dps_request *request, bool with_version,
                          dps_decision *ret_decision)
{
    dps_id_verdict verdict = dps_id_check(request->registration_id);
    if (verdict != DPS_ID_OK) {
        char message[DPS_MESSAGE_LEN];
        snprintf(message, sizeof(message), "Invalid registration id: %s", dps_id_verdict_text(verdict));
        decide(ret_decision, DPS_ERR_INVALID_ARGUMENT, message);
        return false;
    }
    if (with_version && !api_version_known(request->api_version)) {
        decide(ret_decision, DPS_ERR_API_VERSION,
               "Unsupported api-version; 2019-03-31, 2021-06-01 and 2021-10-01 are known");
        return false;
    }
    if (!dps_span_is(request->id_scope, service->id_scope)) {
        decide(ret_decision, DPS_ERR_UNAUTHORIZED,
               "Unauthorized: the ID scope is not the one of this service");
        return false;
    }
    return true;
}

/* Finds the enrollment and judges the evidence. The caller clears the decision. */
static bool judge(dps_service *service, const dps_peer *peer, const dps_request *request, bool with_version,
                  dps_decision *ret_decision)
{
    const dps_claim claim = {
        .peer = peer,
        .id_scope = request->id_scope,
        .registration_id = request->registration_id,
        .sas = request->sas,
    };
    if (!check_request(service, request, with_version, ret_decision))
        return false;
    dps_authorize(service->authorizer, &claim, ret_decision);
    return ret_decision->granted;
}

static bool admit(dps_service *service, const dps_peer *peer, const dps_request *request,
                  dps_response *ret_response)
{
    dps_decision decision;
    if (request->sas.len == 0)
        return true;
    bool admitted = judge(service, peer, request, false, &decision);
    if (!admitted)
        refuse(service, peer, request, &decision, ret_response);
    dps_decision_clear(&decision);
    return admitted;
}

static void internal_error(dps_service *service, const char *what, dps_response *ret_response)
{
    dps_log(DPS_LOG_ERROR, "%s: %s", what, dps_store_message(service->store));
    dps_service_reject(service, DPS_ERR_INTERNAL, "Internal error", ret_response);
}

static void fail_on_demand(const dps_service *service, dps_registration *r)
{
    if (service->plan.fail_code == 0)
        return;
    r->outcome = DPS_OUTCOME_FAILED;
    r->error_code = service->plan.fail_code;
    memcpy(r->error_message, service->plan.message, sizeof(r->error_message));
}

/* The webhook's turn. A server that was stopped meanwhile asks again when the device does. */
static bool ask_webhook(dps_service *service, const dps_registration *r)
{
    return service->webhook != NULL && dps_webhook_ask(service->webhook, r->id);
}

static void commit(dps_service *service, const dps_peer *peer, const dps_registration *registration,
                   dps_response *ret_response)
{
    dps_operation operation = {.created_ms = registration->updated_ms, .ready_ms = registration->ready_ms};
    memcpy(operation.registration_id, registration->id, sizeof(operation.registration_id));
    if (!dps_random_operation_id(operation.id) ||
        dps_store_registration_save(service->store, registration, &operation) != DPS_STORE_OK) {
        internal_error(service, "a registration cannot be written", ret_response);
        return;
    }
    if (registration->outcome == DPS_OUTCOME_PENDING && !ask_webhook(service, registration))
        dps_log(DPS_LOG_WARN, "the webhook for \"%s\" has to wait", registration->id);
    dps_log(DPS_LOG_INFO, "%s: registration id \"%s\" accepted by %s \"%s\" (%s), hub %s (%s)", peer->address,
            registration->id, registration->group_id[0] != '\0' ? "group" : "enrollment",
            registration->group_id[0] != '\0' ? registration->group_id : registration->id,
            dps_attestation_type(registration->attestation),
            registration->outcome == DPS_OUTCOME_ASSIGNED ? registration->hub : "none", peer->tls_version);
    *ret_response = (dps_response){
        .status = 202,
        .retry_after_s = service->retry_after_s,
        .body = dps_json_assigning(operation.id),
    };
    memcpy(ret_response->operation_id, operation.id, sizeof(operation.id));
}

/* The keys of a device that asks for a nonce must be those of its enrollment. */
static const char *check_tpm_keys(const dps_enrollment *e, const dps_blob *endorsement_key,
                                  const dps_blob *storage_root_key)
{
    if (!dps_blob_equal(endorsement_key, &e->primary))
        return "The endorsement key is not the one of the enrollment";
    if (e->secondary.len > 0 && !dps_blob_equal(storage_root_key, &e->secondary))
        return "The storage root key is not the one of the enrollment";
    return NULL;
}

/* The nonce for the TPM that an enrollment names; @problem is NULL and @error DPS_ERR_INTERNAL when that
 * failed for a reason of ours. */
static bool challenge(dps_service *service, const dps_enrollment *e, const dps_blob *endorsement_key,
                      const dps_blob *storage_root_key, dps_blob *ret_challenge, dps_error *ret_error,
                      const char **ret_problem)
{
    dps_tpm_public ek, srk;
    dps_blob secret = {0};
    uint8_t nonce[DPS_HMAC_SIZE];
    char uri[DPS_TPM_URI_MAX];
    *ret_error = DPS_ERR_UNAUTHORIZED;
    if ((*ret_problem = check_tpm_keys(e, endorsement_key, storage_root_key)) != NULL)
        return false;
    *ret_error = DPS_ERR_INVALID_ARGUMENT;
    if ((*ret_problem = dps_tpm_parse_public(endorsement_key, &ek)) != NULL ||
        (*ret_problem = dps_tpm_parse_public(storage_root_key, &srk)) != NULL)
        return false;
    *ret_error = DPS_ERR_INTERNAL;
    snprintf(uri, sizeof(uri), "%s/registrations/%s", service->id_scope, e->id);
    bool ok = dps_store_tpm_root_save(service->store, e->id, storage_root_key) == DPS_STORE_OK &&
              dps_store_tpm_secret(service->store, &secret) == DPS_STORE_OK &&
              dps_tpm_nonce(&secret, e->id, endorsement_key, dps_tpm_window(dps_time_served_ms()), nonce) &&
              dps_tpm_wrap(&ek, &srk, nonce, sizeof(nonce), uri, ret_challenge);
    dps_blob_clear(&secret);
    OPENSSL_cleanse(nonce, sizeof(nonce));
    return ok;
}

static void decide_again(dps_decision *decision, dps_error error, const char *message)
{
    dps_decision_clear(decision);
    decide(decision, error, message);
}

bool dps_service_tpm_challenge(dps_service *service, const dps_peer *peer, const dps_request *request,
                               const dps_blob *endorsement_key, const dps_blob *storage_root_key,
                               dps_blob *ret_challenge, dps_response *ret_response)
{
    dps_decision decision;
    dps_error error = DPS_ERR_UNAUTHORIZED;
    const char *problem = "The enrollment has no TPM";
    dps_request without = *request;
    without.sas = (dps_span){"", 0};
    bool ok = judge(service, peer, &without, false, &decision);
    if (decision.enrollment != NULL && decision.enrollment->attestation == DPS_ATTEST_TPM &&
        decision.enrollment->enabled) {
        ok = challenge(service, decision.enrollment, endorsement_key, storage_root_key, ret_challenge, &error,
                       &problem);
        if (!ok && problem == NULL)
            internal_error(service, "a TPM's nonce cannot be made", ret_response);
        else if (!ok)
            decide_again(&decision, error, problem);
        if (!ok && problem != NULL)
            refuse(service, peer, request, &decision, ret_response);
    } else {
        if (ok)
            decide_again(&decision, error, problem);
        ok = false;
        refuse(service, peer, request, &decision, ret_response);
    }
    dps_decision_clear(&decision);
    return ok;
}

/* A registration without a token for a TPM enrollment, over a transport that has no handshake for it. */
static void answer_tpm(dps_service *service, const dps_peer *peer, const dps_request *request,
                       dps_response *ret_response)
{
    dps_register_body body;
    dps_error error;
    const char *problem = NULL;
    dps_blob blob = {0};
    if (!dps_json_parse_register(request->body, &body, &error, &problem)) {
        dps_service_reject(service, error, problem, ret_response);
        return;
    }
    if (dps_service_tpm_challenge(service, peer, request, &body.endorsement_key, &body.storage_root_key,
                                  &blob, ret_response))
        *ret_response = (dps_response){.status = 401, .body = dps_json_challenge(&blob)};
    dps_blob_clear(&blob);
    dps_register_body_clear(&body);
}

/* Fills in the key of the TPM for the hub. False: there is a response. */
static bool give_tpm_key(dps_service *service, const dps_request *request, const dps_decision *decision,
                         const dps_register_body *body, dps_registration *r, dps_response *ret_response)
{
    const dps_enrollment *e = decision->enrollment;
    dps_blob remembered = {0};
    const dps_blob *root = body->storage_root_key.len > 0 ? &body->storage_root_key : &e->secondary;
    const char *problem =
        check_tpm_keys(e, body->endorsement_key.len > 0 ? &body->endorsement_key : &e->primary, root);
    if (problem != NULL) {
        dps_service_reject(service, DPS_ERR_UNAUTHORIZED, problem, ret_response);
        return false;
    }
    problem = "The storage root key is not known; send tpm.storageRootKey";
    if (root->len == 0 &&
        dps_store_tpm_root_get(service->store, request->registration_id.at, &remembered) == DPS_STORE_OK)
        root = &remembered;
    bool ok = root->len > 0 && dps_assignment_tpm_key(&service->assignment, e, root, r, &problem);
    dps_blob_clear(&remembered);
    if (!ok && problem != NULL)
        dps_service_reject(service, DPS_ERR_INVALID_ARGUMENT, problem, ret_response);
    else if (!ok)
        internal_error(service, "a key for a TPM cannot be made", ret_response);
    return ok;
}

/* The body of an authorized request, and what it becomes. */
static void register_device(dps_service *service, const dps_peer *peer, const dps_request *request,
                            dps_decision *decision, dps_response *ret_response)
{
    dps_register_body body;
    dps_error error;
    const char *problem = NULL;
    dps_registration registration;
    if (!dps_json_parse_register(request->body, &body, &error, &problem)) {
        dps_log(DPS_LOG_WARN, "%s: registration id \"%s\": %s", peer->address, request->registration_id.at,
                problem);
        dps_service_reject(service, error, problem, ret_response);
        return;
    }
    bool is_tpm = decision->enrollment->attestation == DPS_ATTEST_TPM;
    if (body.registration_id[0] != '\0' &&
        !dps_text_equal_nocase(body.registration_id, strlen(body.registration_id),
                               request->registration_id.at, request->registration_id.len)) {
        dps_service_reject(service, DPS_ERR_INVALID_ARGUMENT,
                           "registrationId in the body is not the one of the connection", ret_response);
    } else if (body.has_tpm && !is_tpm) {
        dps_service_reject(service, DPS_ERR_INVALID_ARGUMENT, "The enrollment is not for a TPM",
                           ret_response);
    } else if (!dps_assignment_prepare(&service->assignment, peer, request, decision, &registration)) {
        internal_error(service, "a registration cannot be prepared", ret_response);
    } else {
        fail_on_demand(service, &registration);
        registration.payload = body.payload;
        body.payload = NULL;
        if (!is_tpm || give_tpm_key(service, request, decision, &body, &registration, ret_response))
            commit(service, peer, &registration, ret_response);
        dps_registration_clear(&registration);
    }
    dps_register_body_clear(&body);
}

static bool wants_challenge(const dps_decision *decision, const dps_request *request)
{
    return decision->enrollment != NULL && decision->enrollment->enabled && request->sas.len == 0 &&
           decision->enrollment->attestation == DPS_ATTEST_TPM && strncmp(request->transport, "mqtt", 4) != 0;
}

static void answer_register(dps_service *service, const dps_peer *peer, const dps_request *request,
                            dps_response *ret_response)
{
    char id[DPS_ID_LEN];
    dps_decision decision;
    dps_request r = *request;
    if (judge(service, peer, request, true, &decision)) {
        dps_span_copy(id, sizeof(id), r.registration_id); /* with a NUL, for the store */
        r.registration_id = dps_span_of(id);
        register_device(service, peer, &r, &decision, ret_response);
    } else if (wants_challenge(&decision, request)) {
        answer_tpm(service, peer, request, ret_response);
    } else {
        refuse(service, peer, request, &decision, ret_response);
    }
    dps_decision_clear(&decision);
}

/* The registration as it is now, in the words of the service. */
static char *operation_body(const char *operation_id, const dps_registration *registration,
                            const dps_cert_info *signing)
{
    dps_cert_info leaf;
    X509 *cert = dps_x509_parse(registration->evidence.leaf.bytes, registration->evidence.leaf.len);
    bool has_leaf = cert != NULL && dps_cert_info_of(cert, &leaf);
    X509_free(cert);
    return dps_json_operation(operation_id, registration, has_leaf ? &leaf : NULL, signing);
}

static void answer_status(dps_service *service, const dps_peer *peer, const dps_request *request,
                          dps_response *ret_response)
{
    dps_decision decision;
    bool granted = judge(service, peer, request, true, &decision);
    if (!granted)
        refuse(service, peer, request, &decision, ret_response);
    const dps_cert_info *signing = decision.signing; /* the authorizer's, until its next call */
    dps_decision_clear(&decision);
    if (!granted)
        return;
    dps_operation operation;
    dps_store_result result = dps_store_operation_get(service->store, request->operation_id, &operation);
    /* Another device's operation is as unknown as one that never was. */
    if (result == DPS_STORE_NOT_FOUND ||
        (result == DPS_STORE_OK &&
         !dps_text_equal_nocase(operation.registration_id, strlen(operation.registration_id),
                                request->registration_id.at, request->registration_id.len))) {
        dps_service_reject(service, DPS_ERR_OPERATION_UNKNOWN, "Operation not found", ret_response);
        return;
    }
    dps_registration registration;
    if (result == DPS_STORE_OK)
        result = dps_store_registration_get(service->store, operation.registration_id, &registration);
    if (result == DPS_STORE_NOT_FOUND) {
        dps_service_reject(service, DPS_ERR_REGISTRATION_UNKNOWN, "Device registration not found",
                           ret_response);
        return;
    }
    if (result != DPS_STORE_OK) {
        internal_error(service, "an operation cannot be read", ret_response);
        return;
    }
    fail_on_demand(service, &registration);
    bool pending = registration.outcome == DPS_OUTCOME_PENDING;
    if (pending && !ask_webhook(service, &registration))
        dps_log(DPS_LOG_WARN, "the webhook for \"%s\" has to wait", registration.id);
    bool ready = dps_time_now_ms() >= operation.ready_ms && !service->plan.stuck && !pending;
    *ret_response = (dps_response){
        .status = ready ? 200 : 202,
        .retry_after_s = ready ? 0 : service->retry_after_s,
        .body =
            ready ? operation_body(operation.id, &registration, signing) : dps_json_assigning(operation.id),
    };
    if (!ready)
        memcpy(ret_response->operation_id, operation.id, sizeof(operation.id));
    dps_registration_clear(&registration);
}

/* Faults on demand, around everything that a device asks. */

static void reject_on_demand(const dps_fault_plan *plan, dps_response *ret_response)
{
    int code = plan->status == 429 ? dps_errors[DPS_ERR_THROTTLED].code : plan->status * 1000 + 1;
    *ret_response = (dps_response){
        .status = plan->status,
        .error_code = code,
        .retry_after_s = plan->retry_after_s,
        .body = dps_json_error(code, plan->message, dps_time_served_ms()),
    };
}

/* Picks the plan and sets the gate. False: answered. */
static bool begin_on_demand(dps_service *service, const dps_peer *peer, dps_fault_step step,
                            dps_span registration_id, dps_response *ret_response)
{
    dps_fault_plan *plan = &service->plan;
    dps_faults_pick(service->faults, step, registration_id, plan);
    if (peer->gate != NULL) {
        peer->gate->drop = peer->gate->drop || plan->drop_before || plan->drop_after;
        peer->gate->delay_ms += plan->delay_ms;
    }
    if (plan->drop_before && peer->gate != NULL) {
        dps_service_reject(service, DPS_ERR_INTERNAL, "Internal error", ret_response); /* nobody reads it */
        return false;
    }
    if (plan->status != 0) {
        reject_on_demand(plan, ret_response);
        return false;
    }
    return true;
}

static void end_on_demand(dps_service *service, dps_response *response)
{
    if (service->plan.malformed && response->body != NULL)
        response->body[strlen(response->body) / 2] = '\0';
    service->plan = (dps_fault_plan){0};
}

bool dps_service_admit(dps_service *service, const dps_peer *peer, const dps_request *request,
                       dps_response *ret_response)
{
    *ret_response = (dps_response){0};
    bool admitted = begin_on_demand(service, peer, DPS_STEP_ADMIT, request->registration_id, ret_response) &&
                    admit(service, peer, request, ret_response);
    end_on_demand(service, ret_response);
    return admitted;
}

void dps_service_register(dps_service *service, const dps_peer *peer, const dps_request *request,
                          dps_response *ret_response)
{
    if (begin_on_demand(service, peer, DPS_STEP_REGISTER, request->registration_id, ret_response))
        answer_register(service, peer, request, ret_response);
    end_on_demand(service, ret_response);
}

void dps_service_status(dps_service *service, const dps_peer *peer, const dps_request *request,
                        dps_response *ret_response)
{
    if (begin_on_demand(service, peer, DPS_STEP_STATUS, request->registration_id, ret_response))
        answer_status(service, peer, request, ret_response);
    end_on_demand(service, ret_response);
}
