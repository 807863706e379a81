/* Units:     none.
 * Ownership: borrows the store for its life; a decision's pointers live until the authorizer's next call or
 * dps_decision_clear().
 * Errors:    a refusal is a message for the device plus its dps_error.
 * Threads:   one authorizer is for one thread.
 * Spec:      attestation. An individual enrollment for the registration id decides alone. Without one, a SAS
 * token is tried against the keys of the groups, and a certificate against their CA certificates; the CA
 * certificate nearest to the device's decides. */
#ifndef DPS_AUTHORIZE_H
#define DPS_AUTHORIZE_H

#include "dps_error.h"
#include "dps_peer.h"
#include "dps_store.h"
#include "dps_x509.h"

typedef struct dps_authorizer dps_authorizer;

/* What a device brings as evidence. */
typedef struct dps_claim {
    const dps_peer *peer;
    dps_span id_scope;
    dps_span registration_id; /* has passed dps_id_check() */
    dps_span sas;             /* token; empty: none */
} dps_claim;

typedef struct dps_decision {
    bool granted;
    dps_error error; /* when it is not */
    char message[DPS_MESSAGE_LEN];
    const dps_enrollment *enrollment; /* NULL when none was found */
    const dps_cert_info *signing;     /* X.509 groups: the CA certificate that decided; else NULL */
    dps_blob keys[DPS_DEVICE_KEYS];   /* symmetric: the device's own keys */
    dps_enrollment own;               /* what @enrollment points to, when it is an individual one */
} dps_decision;

DPS_MUST_CHECK dps_authorizer *dps_authorizer_new(dps_store *store);
void dps_authorizer_free(dps_authorizer **authorizer);

/* Judges from scratch at every request, so that disabling an enrollment stops the connections that are
 * already open. The caller clears the decision, whatever it is. */
void dps_authorize(dps_authorizer *authorizer, const dps_claim *claim, dps_decision *ret_decision);
void dps_decision_clear(dps_decision *decision);

#endif
