/* Units:     as in dps_store.h.
 * Ownership: a context borrows; a prepared registration is the caller's to clear.
 * Errors:    false when out of memory, or when the database or OpenSSL fails.
 * Threads:   one context is for one thread.
 * Spec:      what an authorized registration becomes: the device of its enrollment on a hub, as the
 * allocation and reprovisioning policies have it. */
#ifndef DPS_ASSIGNMENT_H
#define DPS_ASSIGNMENT_H

#include "dps_allocate.h"
#include "dps_authorize.h"
#include "dps_service.h"

typedef struct dps_assignment_context {
    dps_store *store;
    const char *id_scope;
    const dps_hubs *hubs;    /* linked to the service */
    unsigned assign_after_s; /* how long an operation stays "assigning" */
} dps_assignment_context;

/* How the device came: its certificate, its connection, its client. */
DPS_MUST_CHECK bool dps_evidence_of(const dps_peer *peer, const dps_request *request,
                                    dps_evidence *ret_evidence);

/* Takes the keys out of @decision. Where a webhook allocates, the outcome is DPS_OUTCOME_PENDING, and the hub
 * is that from before. @request->registration_id ends with a NUL. */
DPS_MUST_CHECK bool dps_assignment_prepare(const dps_assignment_context *context, const dps_peer *peer,
                                           const dps_request *request, dps_decision *decision,
                                           dps_registration *ret_registration);

/* Makes the key that the hub shares with the TPM, and the blob that brings it there. @ret_problem is NULL, or
 * a constant sentence for the device. */
DPS_MUST_CHECK bool dps_assignment_tpm_key(const dps_assignment_context *context,
                                           const dps_enrollment *enrollment, const dps_blob *storage_root_key,
                                           dps_registration *registration, const char **ret_problem);

#endif
