/* Units:     lengths in bytes, times in seconds.
 * Ownership: borrows host and peer for its life.
 * Errors:    what is no HTTP is answered with its status, then the connection is closed.
 * Threads:   belongs to one connection.
 * Spec:      HTTP/1.1 with keep-alive and pipelining as a dps_stream. */
#ifndef DPS_HTTP_SESSION_H
#define DPS_HTTP_SESSION_H

#include "dps_http.h"
#include "dps_stream.h"

enum {
    DPS_HTTP_OUTPUT_MAX = 2 * 1024 * 1024, /* unread answers; a peer that does not read is closed */
    DPS_HTTP_IDLE_TIMEOUT_S = 120,         /* between requests, and for one request to come in */
};

DPS_MUST_CHECK bool dps_http_session_new(const dps_transport_host *host, const dps_peer *peer,
                                         dps_stream *ret_stream);

#endif
