/* HTTP/1.1 requests with JSON bodies on the one TLS path, over a connection that is kept alive.
 *
 * Units: bytes, seconds. Ownership: the configuration is borrowed until prov_http_close(); the body of an
 * answer is released with prov_http_answer_clear(). Errors: those of prov_curl.h; KN_PROV_E_RESPONSE for an
 * answer that is too large. An answer of any status is no error. Threads: one client, one thread. Spec: RFC
 * 9110, RFC 9112. No redirect is followed, no cookie is kept.
 */
#ifndef PROV_HTTP_H
#define PROV_HTTP_H

#include "prov_tls.h"

#define PROV_HTTP_BODY_MAX    (1024U * 1024U) /* bytes of an answer */
#define PROV_HTTP_HEADERS_MAX 12U
#define PROV_HTTP_HEADER_MAX  2048U /* bytes of a header field that is kept; a longer one is an error */

typedef struct prov_http prov_http;

typedef struct prov_http_request {
    const char *method;
    const char *path;                           /* with the query, encoded */
    const void *body; /* NULL: none */
    size_t body_size;
    const char *headers[PROV_HTTP_HEADERS_MAX]; /* "Name: value"; ends with NULL */
} prov_http_request;

typedef struct prov_http_answer {
    int status;
    uint32_t retry_after_s; /* 0: none, or not a number of seconds */
    char etag[PROV_HTTP_HEADER_MAX];
    char continuation[PROV_HTTP_HEADER_MAX]; /* x-ms-continuation */
    char *body;                              /* NUL-terminated; NULL when empty */
    size_t body_size;
} prov_http_answer;

/* Connects at the first exchange. */
KN_PROV_MUST_CHECK kn_prov_code prov_http_open(const prov_tls_config *config, prov_http **ret_http,
                                               prov_error *error);

KN_PROV_MUST_CHECK kn_prov_code prov_http_exchange(prov_http *http, const prov_http_request *request,
                                                   const prov_deadline *deadline,
                                                   prov_http_answer *ret_answer, prov_error *error);

/* "TLSv1.3, TLS_AES_256_GCM_SHA384"; "" before the first connection. */
const char *prov_http_description(const prov_http *http);

void prov_http_answer_clear(prov_http_answer *answer);

/* Accepts a pointer to NULL. Sets NULL. */
void prov_http_close(prov_http **http);

/* A number of seconds as Retry-After and retry-after carry it; 0 for anything else. */
uint32_t prov_http_seconds(const char *text, size_t size);

#endif
