#include "dps_assignment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "dps_tpm.h"

bool dps_evidence_of(const dps_peer *peer, const dps_request *request, dps_evidence *ret)
{
    dps_evidence evidence = {0};
    if (peer->leaf != NULL) {
        unsigned char *der = NULL;
        int n = i2d_X509(peer->leaf, &der);
        bool ok = n > 0 && dps_blob_copy(der, (size_t)n, &evidence.leaf);
        OPENSSL_free(der);
        if (!ok)
            return false;
    }
    memcpy(evidence.tls_version, peer->tls_version, sizeof(evidence.tls_version));
    memcpy(evidence.tls_cipher, peer->tls_cipher, sizeof(evidence.tls_cipher));
    memcpy(evidence.tls_signature, peer->tls_signature, sizeof(evidence.tls_signature));
    dps_span_copy(evidence.api_version, sizeof(evidence.api_version), request->api_version);
    dps_span_copy(evidence.client_version, sizeof(evidence.client_version), request->client_version);
    snprintf(evidence.transport, sizeof(evidence.transport), "%s", request->transport);
    *ret = evidence;
    return true;
}

/* The key that the hub shares with the TPM, and the blob that brings it there. */
bool dps_assignment_tpm_key(const dps_assignment_context *context, const dps_enrollment *enrollment,
                            const dps_blob *storage_root_key, dps_registration *r, const char **ret_problem)
{
    dps_tpm_public ek, srk;
    uint8_t key[DPS_KEY_SIZE];
    char uri[DPS_TPM_URI_MAX];
    dps_blob challenge = {0};
    if ((*ret_problem = dps_tpm_parse_public(&enrollment->primary, &ek)) != NULL ||
        (*ret_problem = dps_tpm_parse_public(storage_root_key, &srk)) != NULL)
        return false;
    snprintf(uri, sizeof(uri), "%s/registrations/%s", context->id_scope, r->id);
    bool ok = RAND_bytes(key, sizeof(key)) == 1 &&
              dps_tpm_wrap(&ek, &srk, key, sizeof(key), uri, &challenge) &&
              dps_blob_copy(key, sizeof(key), &r->keys[0]) &&
              (r->tpm_key = dps_base64_encode(challenge.bytes, challenge.len)) != NULL;
    dps_blob_clear(&challenge);
    OPENSSL_cleanse(key, sizeof(key));
    return ok;
}

/* What was before decides what the policy of the enrollment does. */
static bool assign(const dps_assignment_context *context, const dps_enrollment *e,
                   const dps_registration *before, dps_registration *r)
{
    const char *twin = e->initial_twin;
    const char *substatus = "initialAssignment";
    if (before != NULL && !e->update_hub) {
        memcpy(r->hub, before->hub, sizeof(r->hub));
        substatus = before->substatus;
        twin = before->initial_twin;
    } else {
        switch (dps_allocate(e, context->hubs, r->id, r->hub)) {
        case DPS_ALLOCATED:
            if (before != NULL && strcmp(before->hub, r->hub) != 0) {
                substatus = e->migrate_data ? "deviceDataMigrated" : "deviceDataReset";
                twin = e->migrate_data ? before->initial_twin : e->initial_twin;
            }
            break;
        case DPS_ALLOCATED_BY_WEBHOOK:
            r->outcome = DPS_OUTCOME_PENDING;
            if (before != NULL) { /* what the webhook's answer is compared with */
                memcpy(r->hub, before->hub, sizeof(r->hub));
                twin = before->initial_twin;
            }
            break;
        case DPS_ALLOCATED_NOWHERE:
            r->outcome = DPS_OUTCOME_FAILED;
            r->error_code = DPS_FAILED_NO_HUB;
            snprintf(r->error_message, sizeof(r->error_message), "No IoT hub is linked to the enrollment");
            break;
        }
    }
    snprintf(r->substatus, sizeof(r->substatus), "%s", substatus);
    return twin == NULL || (r->initial_twin = strdup(twin)) != NULL;
}

static bool fill_registration(const dps_assignment_context *context, const dps_peer *peer,
                              const dps_request *request, dps_decision *decision,
                              const dps_registration *before, dps_registration *r)
{
    const dps_enrollment *e = decision->enrollment;
    r->attestation = e->attestation;
    if (e->is_group)
        memcpy(r->group_id, e->id, sizeof(r->group_id));
    memcpy(r->device_id, e->device_id[0] != '\0' ? e->device_id : r->id, sizeof(r->device_id));
    for (size_t i = 0; i < DPS_DEVICE_KEYS; i++) {
        r->keys[i] = decision->keys[i];
        decision->keys[i] = (dps_blob){0};
    }
    return dps_random_etag(r->etag) && dps_evidence_of(peer, request, &r->evidence) &&
           assign(context, e, before, r);
}

/* One that a webhook has not decided yet keeps the hub from before. */
static bool has_hub(const dps_registration *r)
{
    return r->outcome != DPS_OUTCOME_FAILED && r->hub[0] != '\0';
}

/* What this registration becomes: the same device when it was here before. */
bool dps_assignment_prepare(const dps_assignment_context *context, const dps_peer *peer,
                            const dps_request *request, dps_decision *decision, dps_registration *ret)
{
    dps_registration before;
    int64_t now = dps_time_now_ms();
    dps_registration r = {
        .created_ms = now,
        .updated_ms = now,
        .ready_ms = now + (int64_t)context->assign_after_s * 1000,
    };
    dps_store_result result =
        dps_store_registration_get(context->store, request->registration_id.at, &before);
    bool ok = false;
    if (result == DPS_STORE_OK) {
        memcpy(r.id, before.id, sizeof(r.id));
        r.created_ms = before.created_ms;
        ok = fill_registration(context, peer, request, decision, has_hub(&before) ? &before : NULL, &r);
        dps_registration_clear(&before);
    } else if (result == DPS_STORE_NOT_FOUND) {
        dps_span_copy(r.id, sizeof(r.id), request->registration_id);
        ok = fill_registration(context, peer, request, decision, NULL, &r);
    }
    if (!ok) {
        dps_registration_clear(&r);
        return false;
    }
    *ret = r;
    return true;
}
