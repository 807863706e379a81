/* Units:     serial numbers and thumbprints are upper-case hex; times are UTC, RFC 3339.
 * Ownership: borrows every X509 and chain; a dps_anchors holds its own references.
 * Errors:    a dps_chain_result says what is wrong and at which depth (0 = the device's certificate).
 * Threads:   a dps_anchors is for one thread at a time.
 * Spec:      RFC 5280 path validation by X509_verify_cert(); the trust anchors are the certificates of the
 * enrollment groups, roots or intermediates alike (X509_V_FLAG_PARTIAL_CHAIN). */
#ifndef DPS_X509_H
#define DPS_X509_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

#include "dps_fail.h"
#include "dps_id.h"

enum {
    DPS_NAME_LEN = 512,  /* bytes of a distinguished name and its NUL; longer ones are cut */
    DPS_SERIAL_LEN = 64, /* 20 octets are the most that RFC 5280 allows */
    DPS_SHA1_LEN = 41,
    DPS_SHA256_LEN = 65,
    DPS_PEM_MAX = 64 * 1024, /* bytes of a certificate file */
    DPS_CHAIN_DEPTH_MAX = 8, /* intermediates */
};

typedef struct dps_cert_info {
    char subject[DPS_NAME_LEN];
    char issuer[DPS_NAME_LEN];
    char sha1[DPS_SHA1_LEN];
    char sha256[DPS_SHA256_LEN];
    char serial[DPS_SERIAL_LEN];
    char not_before[DPS_TIME_LEN];
    char not_after[DPS_TIME_LEN];
    long version; /* 3, not 2 as it is encoded */
} dps_cert_info;

DPS_MUST_CHECK bool dps_cert_info_of(X509 *cert, dps_cert_info *ret_info);

/* Reads a certificate in PEM or DER. NULL when it is none. */
DPS_MUST_CHECK X509 *dps_x509_parse(const void *bytes, size_t len);

/* Reads the first certificate of a PEM file. Returns it; the caller frees it. NULL fills @fail. */
DPS_MUST_CHECK X509 *dps_x509_read_pem(const char *path, dps_fail *fail);

/* Whether @cert can be what an enrollment group trusts: a CA certificate that may sign certificates. */
bool dps_x509_is_ca(X509 *cert);

typedef enum dps_cn_verdict {
    DPS_CN_OK,
    DPS_CN_MISSING,
    DPS_CN_SEVERAL,
    DPS_CN_INVALID, /* not representable, has a NUL, or longer than a registration id may be */
} dps_cn_verdict;

dps_cn_verdict dps_x509_common_name(X509 *cert, char ret_cn[DPS_ID_LEN]);

typedef struct dps_anchors dps_anchors;

/* NULL when out of memory. */
DPS_MUST_CHECK dps_anchors *dps_anchors_new(void);
void dps_anchors_free(dps_anchors **anchors);
/* The first one added has index 0. */
DPS_MUST_CHECK bool dps_anchors_add(dps_anchors *anchors, X509 *cert);

typedef enum dps_chain_verdict {
    DPS_CHAIN_OK,
    DPS_CHAIN_UNKNOWN_CA, /* no path to any group's certificate */
    DPS_CHAIN_EXPIRED,
    DPS_CHAIN_NOT_YET_VALID,
    DPS_CHAIN_WRONG_PURPOSE, /* not for client authentication, or an issuer that is no CA */
    DPS_CHAIN_REJECTED,      /* anything else: bad signature, weak key, constraints */
    DPS_CHAIN_FAILED,        /* out of memory: not the device's fault */
} dps_chain_verdict;

typedef struct dps_chain_result {
    dps_chain_verdict verdict;
    int x509_error; /* X509_V_ERR_... */
    int depth;
    size_t anchor; /* index of the group's certificate when the verdict is OK */
} dps_chain_result;

/* An individual enrollment's own certificate: its validity and its purpose, not who signed it. */
dps_chain_result dps_x509_check_leaf(X509 *leaf);

/* @untrusted: what the device sent besides @leaf; may be NULL. The anchor nearest to the leaf wins. */
dps_chain_result dps_x509_verify(const dps_anchors *anchors, X509 *leaf, STACK_OF(X509) * untrusted);

#endif
