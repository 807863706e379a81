/* Units:     none.
 * Ownership: a dps_peer holds references to its certificates; dps_peer_clear() gives them back.
 * Errors:    dps_peer_from_ssl() returns false only when out of memory; a missing certificate is not an
 * error. Threads:   belongs to one connection. Spec:      the evidence that a transport has about who is at
 * the other end; the service judges it. */
#ifndef DPS_PEER_H
#define DPS_PEER_H

#include <stdbool.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "dps_fail.h"

enum {
    DPS_TLS_TEXT_LEN = 64,
    DPS_ADDRESS_LEN = 64,
};

/* What a fault on demand does to a connection, whatever it carries. Whoever answers sets it, and whoever
 * carries obeys. */
typedef struct dps_gate {
    bool drop;         /* close at once, send nothing more */
    unsigned delay_ms; /* send nothing for so long; the carrier takes it over and sets it to 0 */
} dps_gate;

/* Zero-initialise. Other kinds of attestation (symmetric key, TPM) add their evidence next to the
 * certificates. */
typedef struct dps_peer {
    X509 *leaf;                 /* NULL: the device sent no certificate */
    STACK_OF(X509) * untrusted; /* what it sent besides; may be NULL */
    char tls_version[DPS_TLS_TEXT_LEN];
    char tls_cipher[DPS_TLS_TEXT_LEN];
    char tls_signature[DPS_TLS_TEXT_LEN]; /* of the client's CertificateVerify, e.g. "ECDSA-SHA256"; ""
                                             without one */
    char address[DPS_ADDRESS_LEN];
    dps_gate *gate; /* belongs to the connection; may be NULL */
} dps_peer;

/* @ssl has finished its handshake. @address is kept. Call it before anything else happens to @ret_peer. */
DPS_MUST_CHECK bool dps_peer_from_ssl(SSL *ssl, const char *address, dps_peer *ret_peer);
void dps_peer_clear(dps_peer *peer);

#endif
