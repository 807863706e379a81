/* Gives an SSL_CTX the device's certificate chain and private key.
 *
 * Units: none. Ownership: everything is borrowed; OpenSSL keeps its own references.
 * Errors: KN_PROV_E_CERTIFICATE, KN_PROV_E_KEY, KN_PROV_E_KEY_MISMATCH with OpenSSL's words; the calling
 *   thread's OpenSSL error queue is empty afterwards. Threads: one SSL_CTX, one thread.
 * Spec: PEM of RFC 7468. The key's PEM is opaque: any that a provider or OpenSSL itself decodes.
 */
#ifndef PROV_TLS_CREDENTIALS_H
#define PROV_TLS_CREDENTIALS_H

#include "prov_error.h"

#include <openssl/ssl.h>

KN_PROV_MUST_CHECK kn_prov_code prov_tls_use_credentials(SSL_CTX *ctx, const char *certificate_pem,
                                                         const char *key_pem, prov_error *error);

#endif
