/* Units:     times in seconds or milliseconds, as the name says; lengths in bytes.
 * Ownership: a stream owns its object; dps_stream_free() returns it.
 * Errors:    a violation of the protocol is logged by the stream, which is then no longer open.
 * Threads:   belongs to one connection.
 * Spec:      the seam between protocols and what carries them: bytes in, bytes out. TLS carries MQTT, AMQP
 * and HTTP; WebSocket frames carry MQTT and AMQP. Both call the same nine functions. */
#ifndef DPS_STREAM_H
#define DPS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"

typedef struct dps_stream_kind {
    void (*input)(void *self, const uint8_t *bytes, size_t n);
    /* What is to be sent, valid until the next call; NULL when there is nothing. */
    const uint8_t *(*output)(void *self, size_t *ret_n);
    void (*sent)(void *self, size_t n);
    /* False: close the connection once the output is sent. */
    bool (*open)(const void *self);
    /* Whether the peer has come so far since the last call that its time starts anew. */
    bool (*progress)(void *self);
    /* How long a peer may take after that; before the first progress the server's time to connect counts. */
    unsigned (*timeout_s)(const void *self);
    /* Does what is due; returns the milliseconds until there is more, or 0. NULL: there never is. */
    unsigned (*tick_ms)(void *self);
    /* Something may have been put aside for this device: look. NULL: there never is. */
    void (*wake)(void *self);
    void (*free)(void *self);
} dps_stream_kind;

/* Zero-initialised: no stream. */
typedef struct dps_stream {
    const dps_stream_kind *kind;
    void *self;
} dps_stream;

static inline void dps_stream_free(dps_stream *stream)
{
    if (stream->kind != NULL)
        stream->kind->free(stream->self);
    *stream = (dps_stream){0};
}

#endif
