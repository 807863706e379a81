/* A certificate chain in PEM, as people and enrollments want to see it.
 *
 * Units: bytes. Ownership: kn_cmd_chain_free() releases. Errors: named. Threads: none.
 * Spec: RFC 5280; thumbprints as the Azure portal shows them: upper-case hexadecimal of the digest of the DER.
 */
#ifndef KN_CMD_CHAIN_H
#define KN_CMD_CHAIN_H

#include "kn_cmd.h"

#include <openssl/x509.h>

#define KN_CMD_CHAIN_MAX 16 /* certificates */

typedef struct kn_cmd_chain {
    X509 *cert[KN_CMD_CHAIN_MAX];
    size_t count;
} kn_cmd_chain;

/* False when it is not 1 to KN_CMD_CHAIN_MAX whole certificates. */
bool kn_cmd_chain_parse(const char *pem, kn_cmd_chain *ret_chain);
void kn_cmd_chain_free(kn_cmd_chain *chain);

void kn_cmd_chain_print(const kn_cmd_chain *chain);
/* An array; NULL when memory is out. */
cJSON *kn_cmd_chain_json(const kn_cmd_chain *chain);

/* "CN=device-01" (RFC 2253). @ret_text is cut to fit. */
void kn_cmd_subject(const X509 *cert, char *ret_text, size_t size);

/* "2026-11-25T19:06:26Z" */
void kn_cmd_time(const ASN1_TIME *time, char *ret_text, size_t size);

#endif
