/* SASL mechanisms for proton's client, which has only those of its own build: MSSBCBS, a single message, by which a
 * hub takes connections that will prove themselves with a token, and TPM.
 *
 * Units: none. Ownership: @mechanism is constant. Errors: none; the outcome is pn_sasl_outcome()'s.
 * Threads: as the transport. Spec: OASIS AMQP 1.0 section 5.3; RFC 4422.
 */
#ifndef PROV_AMQP_SASL_H
#define PROV_AMQP_SASL_H

#include "prov_amqp_sasl_tpm.h"

#include <proton/transport.h>

/* @transport answers the offer of @mechanism with an empty response. Before pn_transport_bind(). */
void prov_amqp_sasl_empty(pn_transport_t *transport, const char *mechanism);

/* @transport proves itself with the mechanism TPM. @tpm is borrowed until the outcome is there; it then holds the cause when
 * this side gave up. Before pn_transport_bind(). */
void prov_amqp_sasl_tpm(pn_transport_t *transport, prov_sasl_tpm *tpm);

#endif
