/* A TLS server that no client of ours may talk to, and how far one came: it counts the handshakes that were
 * completed and the bytes of application data.
 *
 * Units: bytes. Ownership: the script is borrowed by tls_refuser_start() only; tls_refuser_stop() ends its
 * threads and releases it. Errors: a set-up that fails ends the test program. Threads: its own, one for each
 * connection. Spec: RFC 5246, RFC 8446; RFC 4346 (TLS 1.1) for the answer that is written by hand.
 */
#ifndef TEST_TLS_REFUSER_H
#define TEST_TLS_REFUSER_H

#include "fake_dps.h"

typedef struct tls_refuser_script {
    fake_server_cert certificate;
    int tls_version;            /* TLS1_1_VERSION, ...: this one only, security level 0; 0: 1.2 and later */
    bool raw_tls_1_1;           /* a ServerHello of TLS 1.1 by hand, whatever the client offers */
    const char *device_ca_file; /* wants a certificate of this CA from the client; NULL: of anybody, or none */
    const char *answer; /* to the first bytes of a client, before the end; lives until tls_refuser_stop(); NULL: none */
} tls_refuser_script;

typedef struct tls_refuser_seen {
    unsigned connections;
    unsigned handshakes;       /* that the server completed */
    unsigned application_size; /* bytes that the client sent inside of TLS */
    unsigned version_alerts;   /* by which a client refused the ServerHello by hand */
} tls_refuser_seen;

typedef struct tls_refuser tls_refuser;

/* On a free port of 127.0.0.1. */
tls_refuser *tls_refuser_start(const fake_pki *pki, const tls_refuser_script *script);
int tls_refuser_port(const tls_refuser *server);
/* Ends the server when every connection is closed, and tells what it saw of them all. */
tls_refuser_seen tls_refuser_stop(tls_refuser *server);

#endif
