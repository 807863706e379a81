/* Units:     lengths in bytes.
 * Ownership: a buffer owns its bytes; dps_buffer_free() wipes and returns them.
 * Errors:    dps_buffer_append() returns false above the cap or when out of memory; the buffer is unchanged.
 * Threads:   belongs to one connection.
 * Spec:      a queue of bytes with a cap: what a peer sent and is not yet read, what it has to be sent. */
#ifndef DPS_BUFFER_H
#define DPS_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"

/* Zero-initialise. */
typedef struct dps_buffer {
    uint8_t *bytes;
    size_t start; /* of what is not yet taken */
    size_t len;
    size_t size; /* allocated */
} dps_buffer;

DPS_MUST_CHECK bool dps_buffer_append(dps_buffer *buffer, const void *bytes, size_t n, size_t cap);
/* What is in it; valid until the buffer changes. */
const uint8_t *dps_buffer_bytes(const dps_buffer *buffer);
/* Forgets the first @n bytes. An empty buffer keeps no memory. */
void dps_buffer_take(dps_buffer *buffer, size_t n);
void dps_buffer_free(dps_buffer *buffer);

#endif
