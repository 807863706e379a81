/* A prov_stream whose peer is a text: what the client sends is kept, what it receives was laid down before.
 *
 * Units: bytes. Ownership: memory_stream_new() returns a stream that its close() releases; the struct of a
 * test outlives it. Errors: the end of the input is KN_PROV_E_CLOSED, or KN_PROV_E_TIMEOUT where asked for.
 * Threads: one. Spec: none.
 */
#ifndef MEMORY_STREAM_H
#define MEMORY_STREAM_H

#include "prov_stream.h"

typedef struct memory_peer {
    const uint8_t *input;
    size_t input_size, input_at;
    size_t chunk;        /* bytes per recv(); 0: as many as there are */
    bool timeout_at_end; /* instead of "closed" */
    uint8_t sent[65536];
    size_t sent_size;
    /* Called before the first byte is read; may set the input by what was sent. */
    void (*before_input)(struct memory_peer *peer);
    unsigned closed;
} memory_peer;

prov_stream *memory_stream_new(memory_peer *peer);

#endif
