/* The names that a request carries, checked before anything is sent: endpoint, ID scope, registration ID.
 *
 * Units: bytes without the NUL. Ownership: inputs are borrowed, outputs are written into the caller's
 *   buffers. Errors: KN_PROV_E_ARGUMENT naming the value and the rule. Threads: pure functions.
 * Spec: DPS "registration ID": up to 128 of A-Z a-z 0-9 - . _ : and the last one alphanumeric or '-'; IoT Hub
 *   "device ID": up to 128 of A-Z a-z 0-9 - . _ ~ % : * ? ! ( ) , = @ ; $ ' (here without % ? and others that
 * a topic or path would need escaped); RFC 3986 section 2.3 for percent-encoding.
 */
#ifndef PROV_NAMES_H
#define PROV_NAMES_H

#include "prov_error.h"

#include <stdbool.h>

#define PROV_HOST_MAX            253U
#define PROV_ID_SCOPE_MAX        64U
#define PROV_REGISTRATION_ID_MAX 128U

typedef struct prov_endpoint {
    char host[PROV_HOST_MAX + 3]; /* an IPv6 address keeps its brackets */
    uint16_t port;
} prov_endpoint;

/* "host", "host:port", "[v6]", "[v6]:port"; no scheme, path or user. */
KN_PROV_MUST_CHECK kn_prov_code prov_endpoint_parse(const char *text, uint16_t default_port,
                                                    prov_endpoint *ret_endpoint, prov_error *error);

KN_PROV_MUST_CHECK kn_prov_code prov_registration_id_check(const char *id, prov_error *error);
KN_PROV_MUST_CHECK kn_prov_code prov_device_id_check(const char *id, prov_error *error);
KN_PROV_MUST_CHECK kn_prov_code prov_id_scope_check(const char *scope, prov_error *error);

/* Percent-encodes all of @text but the unreserved characters. False when @capacity bytes do not hold it. */
KN_PROV_MUST_CHECK bool prov_percent_encode(const char *text, char *ret_text, size_t capacity);
/* The other way. False for a broken escape, an encoded NUL, or too little room. */
KN_PROV_MUST_CHECK bool prov_percent_decode(const char *text, size_t size, char *ret_text, size_t capacity);

#endif
