/* A TLS server of OpenSSL's own command in a process of its own, which wants a certificate of prov.h's CA from the client
 * and sends back each line reversed.
 *
 * Units: none. Ownership: tls_server_stop() ends it. Errors: a failure ends the test. Threads: any may connect.
 */
#ifndef TEST_TLS_SERVER_H
#define TEST_TLS_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* Returns its port on 127.0.0.1. One server for one process. */
int tls_server_start(void);
void tls_server_stop(void);

/* A whole connection: handshake with @client, whose server chain is verified, one line there and back. */
bool tls_server_serves(SSL_CTX *client, int port);

#endif
