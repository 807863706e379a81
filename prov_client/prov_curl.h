/* What every use of libcurl here shares: a handle on the one TLS path, whose failures are told apart.
 *
 * Units: milliseconds. Ownership: prov_curl_init() fills a struct of the caller's, prov_curl_clear() empties
 * it; the configuration is borrowed in between. Errors: KN_PROV_E_RESOLVE, UNREACHABLE, PROXY, TLS, TLS_VERSION,
 * SERVER_UNTRUSTED, SERVER_NAME, CERTIFICATE_REFUSED, CA_FILE, KEY, CERTIFICATE, KEY_MISMATCH, CLOSED,
 * TIMEOUT, CANCELLED; the detail has OpenSSL's words. Threads: one handle, one thread; many handles at once.
 * The process never gets SIGPIPE from one. Spec: TLS 1.2 (RFC 5246) and 1.3 (RFC 8446); server identity as in
 * RFC 6125. Chain and host name are always verified.
 */
#ifndef PROV_CURL_H
#define PROV_CURL_H

#include "prov_tls.h"

#include <curl/curl.h>
#include <signal.h>

#define PROV_CURL_PATH_MAX 1024U /* bytes of path and query */

typedef struct prov_curl {
    CURL *handle;
    CURLM *multi; /* holds the handle, and the connection */
    const prov_tls_config *config;
    const prov_deadline *deadline; /* while a call of libcurl runs */
    int alert;                     /* number of the last fatal alert from the server, 0: none */
    char alert_text[80];
    bool version_refused; /* by this side: an older one than TLS 1.2, say */
    bool handshake_done;
    char description[96];       /* "TLSv1.3, TLS_AES_256_GCM_SHA384" */
    char text[CURL_ERROR_SIZE]; /* libcurl writes here, OpenSSL's words included */
    kn_prov_code failure;       /* of a callback; KN_PROV_OK: none */
    prov_error failure_error;
} prov_curl;

/* A handle for https://host:port@path with TLS, proxy and callbacks set. Nothing is held after a failure. */
KN_PROV_MUST_CHECK kn_prov_code prov_curl_init(prov_curl *curl, const prov_tls_config *config,
                                               const char *path, prov_error *error);

/* A transfer until @deadline at most; a cancellation is noticed within PROV_SLICE_MS in each of its steps. */
KN_PROV_MUST_CHECK kn_prov_code prov_curl_perform(prov_curl *curl, const prov_deadline *deadline,
                                                  prov_error *error);

/* The failure @result of a transfer that had been set up; @doing says in which step. */
kn_prov_code prov_curl_fail(const prov_curl *curl, const char *doing, CURLcode result, prov_error *error);

/* Accepts a zeroed struct. */
void prov_curl_clear(prov_curl *curl);

/* SIGPIPE is blocked for the thread around calls that may write, and taken back if one became pending. */
typedef struct prov_sigpipe {
    sigset_t before;
    bool was_pending;
} prov_sigpipe;

prov_sigpipe prov_sigpipe_block(void);
void prov_sigpipe_restore(const prov_sigpipe *guard);

#endif
