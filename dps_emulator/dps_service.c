#include "dps_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_authorize.h"
#include "dps_json.h"
#include "dps_log.h"

struct dps_service {
    dps_store *store;
    dps_authorizer *authorizer;
    char id_scope[DPS_SCOPE_LEN];
    char default_hub[DPS_HUB_LEN];
    unsigned retry_after_s;
    unsigned assign_after_s;
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
    service->assign_after_s = config->assign_after_s;
    snprintf(service->default_hub, sizeof(service->default_hub), "%s", config->default_hub);
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
        .body = dps_json_error(dps_errors[error].code, message, dps_time_now_ms()),
    };
}

/* Cuts what is too long, but never inside a character. */
static void copy_span(char *out, size_t cap, dps_span span)
{
    size_t n = span.len < cap ? span.len : cap - 1;
    while (n > 0 && n < span.len && ((unsigned char)span.at[n] & 0xc0) == 0x80)
        n--;
    memcpy(out, span.at, n);
    out[n] = '\0';
}

static bool fill_evidence(const dps_peer *peer, const dps_request *request, dps_evidence *ret)
{
    dps_evidence evidence = {0};
    if (peer->leaf != NULL) {
        unsigned char *der = NULL;
        int n = i2d_X509(peer->leaf, &der);
        if (n <= 0 || (evidence.leaf.bytes = malloc((size_t)n)) == NULL) {
            OPENSSL_free(der);
            return false;
        }
        memcpy(evidence.leaf.bytes, der, (size_t)n);
        evidence.leaf.len = (size_t)n;
        OPENSSL_free(der);
    }
    memcpy(evidence.tls_version, peer->tls_version, sizeof(evidence.tls_version));
    memcpy(evidence.tls_cipher, peer->tls_cipher, sizeof(evidence.tls_cipher));
    memcpy(evidence.tls_signature, peer->tls_signature, sizeof(evidence.tls_signature));
    copy_span(evidence.api_version, sizeof(evidence.api_version), request->api_version);
    copy_span(evidence.client_version, sizeof(evidence.client_version), request->client_version);
    snprintf(evidence.transport, sizeof(evidence.transport), "%s", request->transport);
    *ret = evidence;
    return true;
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
    copy_span(refusal.registration_id, sizeof(refusal.registration_id), request->registration_id);
    memcpy(refusal.message, decision->message, sizeof(refusal.message));
    if (!fill_evidence(peer, request, &refusal.evidence) ||
        dps_store_refusal_save(service->store, &refusal) != DPS_STORE_OK)
        dps_log(DPS_LOG_ERROR, "a refusal cannot be written: %s", dps_store_message(service->store));
    dps_refusal_clear(&refusal);
}

static void decide(dps_decision *decision, dps_error error, const char *message)
{
    decision->group = NULL;
    decision->error = error;
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

/* Everything that both requests have in common. Returns the group, or NULL with a response. */
static const dps_authorized_group *authorize(dps_service *service, const dps_peer *peer,
                                             const dps_request *request, dps_response *ret_response)
{
    dps_decision decision = {0};
    dps_id_verdict verdict = dps_id_check(request->registration_id);
    if (verdict != DPS_ID_OK) {
        char message[DPS_MESSAGE_LEN];
        snprintf(message, sizeof(message), "Invalid registration id: %s", dps_id_verdict_text(verdict));
        decide(&decision, DPS_ERR_INVALID_ARGUMENT, message);
    } else if (!api_version_known(request->api_version)) {
        decide(&decision, DPS_ERR_API_VERSION,
               "Unsupported api-version; 2019-03-31, 2021-06-01 and 2021-10-01 are known");
    } else if (!dps_span_is(request->id_scope, service->id_scope)) {
        decide(&decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: the ID scope is not the one of this service");
    } else if (request->sas.len > 0) {
        decide(&decision, DPS_ERR_UNAUTHORIZED, "Unauthorized: no enrollment takes a SAS token");
    } else {
        dps_authorize(service->authorizer, peer, request->registration_id, &decision);
    }
    if (decision.group == NULL)
        refuse(service, peer, request, &decision, ret_response);
    return decision.group;
}

bool dps_service_admit(dps_service *service, const dps_peer *peer, const dps_request *request,
                       dps_response *ret_response)
{
    return authorize(service, peer, request, ret_response) != NULL;
}

static void internal_error(dps_service *service, const char *what, dps_response *ret_response)
{
    dps_log(DPS_LOG_ERROR, "%s: %s", what, dps_store_message(service->store));
    dps_service_reject(service, DPS_ERR_INTERNAL, "Internal error", ret_response);
}

/* What this registration becomes: the same device on the same hub when it was here before. */
static bool build_registration(dps_service *service, const dps_peer *peer, const dps_request *request,
                               const dps_authorized_group *group, dps_register_body *body,
                               dps_registration *ret)
{
    dps_registration before;
    int64_t now = dps_time_now_ms();
    dps_registration r = {
        .created_ms = now,
        .updated_ms = now,
        .ready_ms = now + (int64_t)service->assign_after_s * 1000,
    };
    const char *substatus = "initialAssignment";
    memcpy(r.hub, group->hub[0] != '\0' ? group->hub : service->default_hub, sizeof(r.hub));
    memcpy(r.group_id, group->id, sizeof(r.group_id));
    dps_store_result result =
        dps_store_registration_get(service->store, request->registration_id.at, &before);
    if (result == DPS_STORE_OK) {
        memcpy(r.id, before.id, sizeof(r.id));
        r.created_ms = before.created_ms;
        if (strcmp(before.hub, r.hub) != 0)
            substatus = "deviceDataMigrated"; /* the service's default policy when the assignment changes */
        dps_registration_clear(&before);
    } else if (result == DPS_STORE_NOT_FOUND) {
        copy_span(r.id, sizeof(r.id), request->registration_id);
    } else {
        return false;
    }
    snprintf(r.substatus, sizeof(r.substatus), "%s", substatus);
    if (!dps_random_etag(r.etag) || !fill_evidence(peer, request, &r.evidence))
        return false;
    r.payload = body->payload;
    body->payload = NULL;
    *ret = r;
    return true;
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
    dps_log(DPS_LOG_INFO, "%s: registration id \"%s\" accepted by group \"%s\", hub %s (%s, %s)",
            peer->address, registration->id, registration->group_id, registration->hub, peer->tls_version,
            registration->evidence.tls_signature);
    *ret_response = (dps_response){
        .status = 202,
        .retry_after_s = service->retry_after_s,
        .body = dps_json_assigning(operation.id),
    };
    memcpy(ret_response->operation_id, operation.id, sizeof(operation.id));
}

void dps_service_register(dps_service *service, const dps_peer *peer, const dps_request *request,
                          dps_response *ret_response)
{
    char id[DPS_ID_LEN];
    dps_request r = *request;
    const dps_authorized_group *group = authorize(service, peer, &r, ret_response);
    if (group == NULL)
        return;
    copy_span(id, sizeof(id), r.registration_id); /* with a NUL, for the store */
    r.registration_id = dps_span_of(id);

    dps_register_body body;
    dps_error error;
    const char *problem = NULL;
    if (!dps_json_parse_register(r.body, &body, &error, &problem)) {
        dps_log(DPS_LOG_WARN, "%s: registration id \"%s\": %s", peer->address, id, problem);
        dps_service_reject(service, error, problem, ret_response);
        return;
    }
    if (body.registration_id[0] != '\0' &&
        !dps_text_equal_nocase(body.registration_id, strlen(body.registration_id), id, strlen(id))) {
        free(body.payload);
        dps_service_reject(service, DPS_ERR_INVALID_ARGUMENT,
                           "registrationId in the body is not the one of the connection", ret_response);
        return;
    }
    dps_registration registration;
    if (build_registration(service, peer, &r, group, &body, &registration)) {
        commit(service, peer, &registration, ret_response);
        dps_registration_clear(&registration);
    } else {
        internal_error(service, "a registration cannot be prepared", ret_response);
    }
    free(body.payload);
}

/* The registration as it is now, in the words of the service. */
static char *assigned_body(const char *operation_id, const dps_registration *registration,
                           const dps_authorized_group *group)
{
    dps_cert_info leaf;
    const unsigned char *der = registration->evidence.leaf.bytes;
    X509 *cert = d2i_X509(NULL, &der, (long)registration->evidence.leaf.len);
    char *body = NULL;
    if (cert != NULL && dps_cert_info_of(cert, &leaf))
        body = dps_json_assigned(operation_id, registration, &leaf, &group->cert);
    X509_free(cert);
    return body;
}

void dps_service_status(dps_service *service, const dps_peer *peer, const dps_request *request,
                        dps_response *ret_response)
{
    const dps_authorized_group *group = authorize(service, peer, request, ret_response);
    if (group == NULL)
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
    bool ready = dps_time_now_ms() >= operation.ready_ms;
    *ret_response = (dps_response){
        .status = ready ? 200 : 202,
        .retry_after_s = ready ? 0 : service->retry_after_s,
        .body = ready ? assigned_body(operation.id, &registration, group) : dps_json_assigning(operation.id),
    };
    if (!ready)
        memcpy(ret_response->operation_id, operation.id, sizeof(operation.id));
    dps_registration_clear(&registration);
}
