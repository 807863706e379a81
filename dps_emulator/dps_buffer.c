#include "dps_buffer.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

enum { SIZE_MIN = 256 }; /* bytes; doubles */

/* To the front when half of the memory is free there, else to larger memory: either is rare, so that a peer
 * which takes its answers byte by byte does not have them copied each time. */
static bool make_room(dps_buffer *buffer, size_t n)
{
    if (buffer->start >= buffer->size / 2 && buffer->len + n <= buffer->size) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->len);
        buffer->start = 0;
        return true;
    }
    size_t size = buffer->size > 0 ? 2 * buffer->size : SIZE_MIN;
    while (size < buffer->len + n)
        size *= 2;
    uint8_t *moved = malloc(size);
    if (moved == NULL)
        return false;
    if (buffer->len > 0)
        memcpy(moved, buffer->bytes + buffer->start, buffer->len);
    if (buffer->bytes != NULL) /* tokens travel through here */
        OPENSSL_cleanse(buffer->bytes, buffer->size);
    free(buffer->bytes);
    buffer->bytes = moved;
    buffer->start = 0;
    buffer->size = size;
    return true;
}

bool dps_buffer_append(dps_buffer *buffer, const void *bytes, size_t n, size_t cap)
{
    if (n == 0)
        return true;
    if (n > cap || buffer->len > cap - n)
        return false;
    if (buffer->start + buffer->len + n > buffer->size && !make_room(buffer, n))
        return false;
    memcpy(buffer->bytes + buffer->start + buffer->len, bytes, n);
    buffer->len += n;
    return true;
}

const uint8_t *dps_buffer_bytes(const dps_buffer *buffer)
{
    return buffer->bytes != NULL ? buffer->bytes + buffer->start : NULL;
}

void dps_buffer_take(dps_buffer *buffer, size_t n)
{
    if (n >= buffer->len) {
        dps_buffer_free(buffer);
        return;
    }
    buffer->start += n;
    buffer->len -= n;
}

void dps_buffer_free(dps_buffer *buffer)
{
    if (buffer->bytes != NULL)
        OPENSSL_cleanse(buffer->bytes, buffer->size);
    free(buffer->bytes);
    *buffer = (dps_buffer){0};
}
