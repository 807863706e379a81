/* Units:     validity in days.
 * Ownership: fills the caller's paths; the files belong to the state folder.
 * Errors:    a dps_fail with the file and the next step.
 * Threads:   one thread, before the server starts.
 * Spec:      the server's side of TLS: a throw-away root (ca.pem, ca.key) and a server certificate signed by
 * it (server.pem, server.key), EC P-256; and the settings of every listener's SSL_CTX. */
#ifndef DPS_TLS_H
#define DPS_TLS_H

#include <stddef.h>

#include <openssl/ssl.h>

#include "dps_faults.h"
#include "dps_state.h"

enum {
    DPS_TLS_NAMES_MAX = 32,
    DPS_TLS_CA_DAYS = 3650,
    DPS_TLS_SERVER_DAYS = 397,
    DPS_TLS_RENEW_DAYS = 1, /* a certificate with less than this left counts as expired */
};

typedef struct dps_tls_files {
    char ca[DPS_PATH_LEN]; /* empty when the certificate is the user's own */
    char cert[DPS_PATH_LEN];
    char key[DPS_PATH_LEN];
} dps_tls_files;

/* Makes what is missing, expired, not for these names, or not of one piece; keeps the rest. @names are host
 * names and addresses besides the ones that every server has, at most DPS_TLS_NAMES_MAX, those of the hubs
 * and one more. Each has passed dps_host_valid(). */
DPS_MUST_CHECK bool dps_tls_prepare(const dps_state *state, const char *const *names, size_t count,
                                    dps_tls_files *ret_files, dps_fail *fail);

/* The user's own certificate and key: checks that they can be read and belong together. */
DPS_MUST_CHECK bool dps_tls_check_own(const char *cert, const char *key, dps_tls_files *ret_files,
                                      dps_fail *fail);

/* Certificates for the fault "wrong-certificate"; borrows @faults. NULL when out of memory. */
typedef struct dps_tls_wrong dps_tls_wrong;
DPS_MUST_CHECK dps_tls_wrong *dps_tls_wrong_new(const dps_state *state, dps_faults *faults);
void dps_tls_wrong_free(dps_tls_wrong **wrong);

/* @wrong may be NULL; it is borrowed for the life of @ctx. TLS 1.2 or newer; asks for a client certificate
 * and takes any or none, as the service judges it later; no resumption, because a resumed session has the
 * device's certificate but not its chain. */
DPS_MUST_CHECK bool dps_tls_configure(SSL_CTX *ctx, dps_tls_wrong *wrong);

#endif
