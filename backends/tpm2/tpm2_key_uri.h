/* The URI of a key in a TPM (tpm2_uri.h has the grammar):
 *
 *   handle=0x81......  persistent handle of the key
 *   file=PATH          or the file that the TPM wrapped it into, PEM with the label TSS2 PRIVATE KEY
 *   key=BASE64         or what is in such a file, in DER: what a file that was read becomes
 *   tcti=CONF          how to reach the TPM, as tpm2-tss names it; absent: KEYNYM_TCTI, or the kernel's resource manager
 *   pin-source=SOURCE  where the key's authorization is (kn_pin.h); absent: what the configuration says, else it is empty
 *   owner-auth=SOURCE  where the owner hierarchy's authorization is, for making a key, and for the parent of one in a file; absent:
 *                      it is empty
 *   parent=0x81......  for making a key into a file: below the storage key at this handle; absent: below the owner hierarchy's, which
 *                      is made anew each time
 *   da=yes|no          for making a key: shall the TPM's lockout protect it? absent: no
 *
 * Units: none. Ownership: tpm2_key_uri_clear() releases. Errors: KN_E_URI_MALFORMED, KN_E_URI_ATTRIBUTE,
 * KN_E_TPM_FILE for key=. Threads: pure
 * functions. Spec: docs/tpm-keys.md.
 */
#ifndef KN_TPM2_KEY_URI_H
#define KN_TPM2_KEY_URI_H

#include "kn_err.h"

#include <stdint.h>

typedef struct tpm2_key_uri {
    uint32_t handle; /* 0: not said. Without file and key, too: the TPM, and none of its keys */
    uint32_t parent; /* 0: not said */
    bool protected;
    char *file, *key, *tcti, *pin_source, *owner_auth; /* NULL: not said */
} tpm2_key_uri;

KN_MUST_CHECK kn_err tpm2_key_uri_parse(const char *uri, tpm2_key_uri *ret_uri);
void tpm2_key_uri_clear(tpm2_key_uri *uri);

/* The text of a URI that is parsed to the same; for free(). */
KN_MUST_CHECK kn_err tpm2_key_uri_to_text(const tpm2_key_uri *uri, char **ret_text);

#endif
