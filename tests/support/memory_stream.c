#include "memory_stream.h"

#include <stdlib.h>
#include <string.h>

typedef struct memory_stream {
    prov_stream stream;
    memory_peer *peer;
} memory_stream;

static kn_prov_code memory_send(prov_stream *stream, const uint8_t *data, size_t size,
                                const prov_deadline *deadline, prov_error *error)
{
    memory_peer *peer = ((memory_stream *)stream)->peer;

    (void)deadline;
    if (size > sizeof peer->sent - peer->sent_size)
        return prov_fail(error, KN_PROV_E_CLOSED, "the test's peer takes no more");
    memcpy(peer->sent + peer->sent_size, data, size);
    peer->sent_size += size;
    return KN_PROV_OK;
}

static kn_prov_code memory_recv(prov_stream *stream, uint8_t *buffer, size_t capacity,
                                const prov_deadline *deadline, size_t *ret_size, prov_error *error)
{
    memory_peer *peer = ((memory_stream *)stream)->peer;
    size_t count;

    (void)deadline;
    if (peer->before_input) {
        peer->before_input(peer);
        peer->before_input = NULL;
    }
    count = peer->input_size - peer->input_at;
    if (count == 0)
        return prov_fail(error, peer->timeout_at_end ? KN_PROV_E_TIMEOUT : KN_PROV_E_CLOSED,
                         "the end of the test");
    if (peer->chunk && count > peer->chunk)
        count = peer->chunk;
    if (count > capacity)
        count = capacity;
    memcpy(buffer, peer->input + peer->input_at, count);
    peer->input_at += count;
    *ret_size = count;
    return KN_PROV_OK;
}

static void memory_close(prov_stream *stream)
{
    ((memory_stream *)stream)->peer->closed++;
    free(stream);
}

prov_stream *memory_stream_new(memory_peer *peer)
{
    static const prov_stream_ops ops = {.send = memory_send, .recv = memory_recv, .close = memory_close};
    memory_stream *memory = calloc(1, sizeof *memory);

    if (!memory)
        abort();
    memory->stream.ops = &ops;
    memory->peer = peer;
    return &memory->stream;
}
