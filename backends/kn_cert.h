/* Certificates that stand beside a key.
 *
 * Units: bytes. Ownership: kn_certs_free() releases a list. Errors: KN_E_NO_CERTIFICATE, KN_E_AMBIGUOUS,
 * and those of opening a key. Threads: any. Spec: RFC 5280; PKCS#11 v3.0 section 4.6.3 (CKO_CERTIFICATE).
 */
#ifndef KN_CERT_H
#define KN_CERT_H

#include "kn_ctx.h"

#include <stdint.h>

#define KN_CERT_MAX  (16 * 1024) /* bytes of one certificate in DER */
#define KN_CHAIN_MAX 10          /* certificates in a chain */
#define KN_CERT_SEARCH_MAX 2000  /* certificates that one search gives */

typedef struct kn_certs {
    struct {
        uint8_t *der;
        size_t length;
    } cert[KN_CHAIN_MAX];
    size_t count;
} kn_certs;

/* The certificate that @uri names (its id and object; the type is set), then those of its issuers that the token
 * has, up to the root. Exactly one certificate must match. */
KN_MUST_CHECK kn_err kn_cert_read_chain(kn_ctx *ctx, const char *uri, kn_certs *ret_certs);

/* Stores @certs on the token of @uri: the first, which must match the key of @uri, under that key's id and label;
 * the others, where the token has them not, under labels of their own. KN_E_EXISTS when another certificate
 * stands in the first's place; the same certificate is not an error. */
KN_MUST_CHECK kn_err kn_cert_write_chain(kn_ctx *ctx, const char *uri, const kn_certs *certs);

/* What is looked for, beside what a URI says. NULL: anything. Names are X.501 names in DER, compared byte by byte. */
typedef struct kn_cert_query {
    const uint8_t *subject, *issuer;
    size_t subject_length, issuer_length;
    bool login; /* also look for those that are seen only after a login */
} kn_cert_query;

typedef struct kn_cert_list {
    struct kn_cert_der {
        uint8_t *der;
        size_t length;
    } *cert;
    size_t count;
} kn_cert_list;

/* All certificates that the URI (its id and object) and @query allow, in the token's order; also none. More than
 * KN_CERT_SEARCH_MAX are KN_E_AMBIGUOUS. kn_cert_list_free() releases @ret_list. */
KN_MUST_CHECK kn_err kn_cert_search(kn_ctx *ctx, const char *uri, const kn_cert_query *query, kn_cert_list *ret_list);
void kn_cert_list_free(kn_cert_list *list); /* leaves an empty list */

/* Keeps a copy. */
KN_MUST_CHECK kn_err kn_certs_add(kn_certs *certs, const uint8_t *der, size_t length);
void kn_certs_free(kn_certs *certs); /* leaves an empty list */

#endif
