/* Units:     lengths in bytes.
 * Ownership: a dps_blob owns its bytes; dps_blob_clear() wipes and frees them.
 * Errors:    false only when out of memory, or for text that is not what it should be.
 * Threads:   no shared state.
 * Spec:      RFC 4648 section 4 (base64 with padding), RFC 2104 (HMAC). Some blobs are keys: all are wiped.
 */
#ifndef DPS_BLOB_H
#define DPS_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"
#include "dps_text.h"

enum { DPS_HMAC_SIZE = 32 }; /* bytes of HMAC-SHA256 */

typedef struct dps_blob {
    uint8_t *bytes;
    size_t len;
} dps_blob;

void dps_blob_clear(dps_blob *blob);
/* Copies; @ret_blob is untouched on failure. No bytes make an empty blob. */
DPS_MUST_CHECK bool dps_blob_copy(const void *bytes, size_t len, dps_blob *ret_blob);
/* Equal length and bytes, in a time that depends on the length alone. */
DPS_MUST_CHECK bool dps_blob_equal(const dps_blob *a, const dps_blob *b);

/* Strict: the alphabet of section 4, padding, no white space, no bits left over. At most @max bytes come out.
 */
DPS_MUST_CHECK bool dps_base64_decode(dps_span text, size_t max, dps_blob *ret_blob);
/* The caller wipes where that matters, and frees. NULL when out of memory. */
DPS_MUST_CHECK char *dps_base64_encode(const void *bytes, size_t len);

DPS_MUST_CHECK bool dps_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                                    uint8_t ret_mac[DPS_HMAC_SIZE]);

#endif
