/* Units:     none.
 * Ownership: borrows the store for its life; a grant's group pointer lives until the next call.
 * Errors:    a refusal is a message for the device plus its dps_error.
 * Threads:   one authorizer is for one thread.
 * Spec:      X.509 group attestation: the chain leads to an enabled group, and the common name is the
 * registration id. */
#ifndef DPS_AUTHORIZE_H
#define DPS_AUTHORIZE_H

#include "dps_error.h"
#include "dps_peer.h"
#include "dps_store.h"
#include "dps_x509.h"

typedef struct dps_authorizer dps_authorizer;

typedef struct dps_authorized_group {
    char id[DPS_ID_LEN];
    char hub[DPS_HUB_LEN];
    bool enabled;
    dps_cert_info cert;
} dps_authorized_group;

typedef struct dps_decision {
    const dps_authorized_group *group; /* NULL: refused */
    dps_error error;
    char message[DPS_MESSAGE_LEN];
} dps_decision;

DPS_MUST_CHECK dps_authorizer *dps_authorizer_new(dps_store *store);
void dps_authorizer_free(dps_authorizer **authorizer);

/* Judges from scratch at every request, so that disabling a group stops the connections that are already
 * open. */
void dps_authorize(dps_authorizer *authorizer, const dps_peer *peer, dps_span registration_id,
                   dps_decision *ret_decision);

#endif
