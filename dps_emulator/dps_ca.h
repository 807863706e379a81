/* Units:     none.
 * Ownership: a dps_ca owns its certificate; dps_ca_clear() of dps_store.h returns it.
 * Errors:    a constant sentence.
 * Threads:   pure functions.
 * Spec:      CA certificates and the proof of possession of their keys: the owner asks for a verification
 * code, and signs a certificate with it as its common name. */
#ifndef DPS_CA_H
#define DPS_CA_H

#include "dps_store.h"

/* A new entry, not verified. NULL, or what is wrong. */
DPS_MUST_CHECK const char *dps_ca_new(const char *name, const void *certificate, size_t len, dps_ca *ret_ca);
/* A fresh code; whatever was proved before is void. False when there are no random numbers. */
DPS_MUST_CHECK bool dps_ca_new_code(dps_ca *ca);
/* Judges the proof: a certificate that the CA's key signed and whose common name is the code. NULL: it is
 * verified now, and the code is used up. */
DPS_MUST_CHECK const char *dps_ca_verify(dps_ca *ca, const void *proof, size_t len);

#endif
