/* Units:     lengths in bytes.
 * Ownership: takes the stream that it carries.
 * Errors:    a frame that breaks RFC 6455 is answered with a close frame, then the connection is closed.
 * Threads:   belongs to one connection.
 * Spec:      a dps_stream whose bytes travel in binary WebSocket frames (RFC 6455), after the upgrade. */
#ifndef DPS_WS_H
#define DPS_WS_H

#include "dps_http.h"
#include "dps_stream.h"

#define DPS_WS_PATH "/$iothub/websocket"

enum { DPS_WS_PROTOCOL_LEN = 16 };

/* Judges an upgrade at DPS_WS_PATH. On success @ret_stream speaks frames, and @response is the 101. Otherwise
 * @response is the refusal. */
DPS_MUST_CHECK bool dps_ws_upgrade(const dps_http_request *request, dps_http_response *response,
                                   dps_stream *ret_stream);

#endif
