#include "prov_wire.h"

#include "prov_ws.h"

kn_prov_code prov_wire_open(const prov_session *session, const char *protocol, prov_stream **ret_stream,
                            prov_error *error)
{
    prov_deadline deadline = prov_deadline_of_step(&session->limits, "the TLS connection");
    prov_stream *tls = NULL;
    kn_prov_code code = prov_tls_open(&session->tls, &deadline, &tls, error);

    if (code)
        return code;
    prov_trace(session, "TLS connection with %s:%u: %s", session->endpoint.host, session->endpoint.port,
               prov_tls_description(tls));
    if (!protocol) {
        *ret_stream = tls;
        return KN_PROV_OK;
    }
    deadline = prov_deadline_of_step(&session->limits, "the WebSocket connection");
    return prov_ws_open(tls, &session->endpoint, protocol, &deadline, ret_stream, error);
}
