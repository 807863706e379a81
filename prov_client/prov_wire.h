/* The byte stream that a transport speaks on: TLS, or WebSocket on TLS.
 *
 * Units: none. Ownership: the stream is closed with prov_stream_close(). Errors: those of prov_tls.h and
 * prov_ws.h. Threads: one stream, one thread. Spec: none.
 */
#ifndef PROV_WIRE_H
#define PROV_WIRE_H

#include "prov_transport.h"

/* @protocol: the WebSocket's; NULL: plain TLS. */
KN_PROV_MUST_CHECK kn_prov_code prov_wire_open(const prov_session *session, const char *protocol,
                                               prov_stream **ret_stream, prov_error *error);

#endif
