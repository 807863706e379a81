/* The grammar of tpm2: URIs: "tpm2:" and attributes with ';' between, each "name=value", percent-encoded where it holds ';' or
 * '%'. Which attributes there are depends on what is named (tpm2_attest_uri.h, tpm2_key_uri.h).
 *
 * Units: none. Ownership: as named. Errors: KN_E_URI_SCHEME, KN_E_URI_MALFORMED, KN_E_URI_ATTRIBUTE. Threads: pure functions.
 * Spec: docs/tpm-keys.md.
 */
#ifndef KN_TPM2_URI_H
#define KN_TPM2_URI_H

#include "kn_err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct tpm2_uri_grammar {
    const struct tpm2_uri_attribute {
        const char *name;
        kn_err (*set)(void *config, const char *value);
    } *attributes;
    size_t count;      /* at most 32 */
    const char *known; /* for the message about one that is not known */
} tpm2_uri_grammar;

/* Calls the setter of each attribute, in the order of the URI. */
KN_MUST_CHECK kn_err tpm2_uri_parse(const char *uri, const tpm2_uri_grammar *grammar, void *config);

/* A persistent handle, "0x81000001". */
KN_MUST_CHECK kn_err tpm2_uri_handle(const char *name, const char *value, uint32_t *ret_handle);

#endif
