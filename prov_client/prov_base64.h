/* Base64 without line breaks (RFC 4648 section 4), decoded strictly.
 *
 * Units: bytes. Ownership: prov_base64_encode() returns memory for free(). Errors: false. Threads: pure
 * functions.
 */
#ifndef PROV_BASE64_H
#define PROV_BASE64_H

#include "prov_error.h"

#include <stdbool.h>

/* 1 to @capacity bytes into @ret_bytes. False for anything that is not the Base64 of that. */
KN_PROV_MUST_CHECK bool prov_base64_decode(const char *text, unsigned char *ret_bytes, size_t capacity,
                                           size_t *ret_size);

/* NULL when memory is out. */
char *prov_base64_encode(const unsigned char *bytes, size_t size);

#endif
