/* The URI of a key in a TPM (tpm2_uri.h has the grammar):
 *
 *   handle=0x81......  persistent handle of the key
 *   tcti=CONF          how to reach the TPM, as tpm2-tss names it; absent: KEYNYM_TCTI, or the kernel's resource manager
 *   pin-source=SOURCE  where the key's authorization is (kn_pin.h); absent: what the configuration says, else it is empty
 *   owner-auth=SOURCE  where the owner hierarchy's authorization is, for making a key; absent: it is empty
 *
 * Units: none. Ownership: tpm2_key_uri_clear() releases. Errors: KN_E_URI_MALFORMED, KN_E_URI_ATTRIBUTE. Threads: pure
 * functions. Spec: docs/tpm-keys.md.
 */
#ifndef KN_TPM2_KEY_URI_H
#define KN_TPM2_KEY_URI_H

#include "kn_err.h"

#include <stdint.h>

typedef struct tpm2_key_uri {
    uint32_t handle; /* 0: the TPM, and none of its keys */
    char *tcti, *pin_source, *owner_auth; /* NULL: not said */
} tpm2_key_uri;

KN_MUST_CHECK kn_err tpm2_key_uri_parse(const char *uri, tpm2_key_uri *ret_uri);
void tpm2_key_uri_clear(tpm2_key_uri *uri);

#endif
