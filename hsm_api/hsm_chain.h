/* The certificate chain of an identity, and what DPS reads from it.
 *
 * Units: none. Ownership: kn_certs_free(), free(). Errors: KN_E_CERTIFICATE, KN_E_NO_CERTIFICATE, KN_E_IO, KN_E_CONFIG and
 * those of reading from a token. Threads: any. Spec: RFC 5280; DPS documentation, "registration ID".
 */
#ifndef KN_HSM_CHAIN_H
#define KN_HSM_CHAIN_H

#include "hsm_config.h"
#include "kn_cert.h"

/* From the file or URI of the setting; without one, the certificate that stands beside the key on its token. */
KN_MUST_CHECK kn_err hsm_chain_read(const hsm_settings *settings, kn_certs *ret_certs);

/* PEM, leaf first. */
KN_MUST_CHECK kn_err hsm_chain_pem(const kn_certs *certs, char **ret_pem);

/* One warning for each certificate that has expired or is not valid yet. */
void hsm_chain_warn(const kn_certs *certs);

/* The common name of the leaf, when it can be a registration id. */
KN_MUST_CHECK kn_err hsm_chain_name(const kn_certs *certs, char **ret_name);

/* 1 to 128 letters, digits and - . _ : of which the last is a letter, a digit or - */
#define HSM_REGISTRATION_ID_MAX 128 /* characters */
bool hsm_is_registration_id(const char *id, size_t length);

#endif
