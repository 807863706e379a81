/* A byte stream to the service. TLS is one; WebSocket framing is another that sits on top of the first.
 *
 * Units: bytes. Ownership: close() releases the stream and, for a stream on top, the one below.
 * Errors: KN_PROV_E_TIMEOUT, KN_PROV_E_CANCELLED, KN_PROV_E_CLOSED, KN_PROV_E_TLS and the like; after any
 *   of them except a time-out the stream can only be closed. Threads: one stream, one thread.
 * Spec: none. Signals do not interrupt a call, and the process never gets SIGPIPE from one.
 */
#ifndef PROV_STREAM_H
#define PROV_STREAM_H

#include "prov_deadline.h"

typedef struct prov_stream prov_stream;

typedef struct prov_stream_ops {
    /* Sends all of @data. */
    kn_prov_code (*send)(prov_stream *stream, const uint8_t *data, size_t size, const prov_deadline *deadline,
                         prov_error *error);
    /* Receives at least one byte and at most @capacity. The peer's orderly close is KN_PROV_E_CLOSED. */
    kn_prov_code (*recv)(prov_stream *stream, uint8_t *buffer, size_t capacity, const prov_deadline *deadline,
                         size_t *ret_size, prov_error *error);
    void (*close)(prov_stream *stream);
} prov_stream_ops;

/* The first member of every implementation. */
struct prov_stream {
    const prov_stream_ops *ops;
};

KN_PROV_MUST_CHECK static inline kn_prov_code prov_stream_send(prov_stream *stream, const uint8_t *data,
                                                               size_t size, const prov_deadline *deadline,
                                                               prov_error *error)
{
    return stream->ops->send(stream, data, size, deadline, error);
}

KN_PROV_MUST_CHECK static inline kn_prov_code prov_stream_recv(prov_stream *stream, uint8_t *buffer,
                                                               size_t capacity, const prov_deadline *deadline,
                                                               size_t *ret_size, prov_error *error)
{
    return stream->ops->recv(stream, buffer, capacity, deadline, ret_size, error);
}

/* Accepts a pointer to NULL. Sets NULL. */
static inline void prov_stream_close(prov_stream **stream)
{
    if (*stream)
        (*stream)->ops->close(*stream);
    *stream = NULL;
}

#endif
