/* WebSocket framing, client side, as a byte stream on top of another: the messages of MQTT and AMQP over
 * WebSocket are cut anywhere, so their borders mean nothing.
 *
 * Units: bytes. Ownership: prov_ws_open() takes the stream below, and closes it when it fails as well.
 * Errors: those of the stream below; KN_PROV_E_PROTOCOL for a broken frame, a text message, a message over
 *   PROV_WS_MESSAGE_MAX or an answer that is no upgrade; KN_PROV_E_CONNECT_REFUSED for HTTP status 401 and
 * 403; KN_PROV_E_CLOSED with the server's code and reason. Threads: one stream, one thread. Spec: RFC 6455;
 * framing by wslay. No extension is offered.
 */
#ifndef PROV_WS_H
#define PROV_WS_H

#include "prov_names.h"
#include "prov_stream.h"

#define PROV_WS_PATH        "/$iothub/websocket"
#define PROV_WS_MESSAGE_MAX (256U * 1024U)
#define PROV_WS_ANSWER_MAX  8192U /* bytes of the answer to the upgrade request */
#define PROV_WS_ACCEPT_MAX  32U   /* bytes of a Sec-WebSocket-Accept with its NUL: 28 and one */

/* Asks @endpoint for an upgrade to @protocol ("mqtt", "AMQPWSB10"). */
KN_PROV_MUST_CHECK kn_prov_code prov_ws_open(prov_stream *below, const prov_endpoint *endpoint,
                                             const char *protocol, const prov_deadline *deadline,
                                             prov_stream **ret_stream, prov_error *error);

/* Pure. What the server must answer to @key (section 4.2.2). False when @key is too long or SHA-1 is not
 * there. */
KN_PROV_MUST_CHECK bool prov_ws_accept_of(const char *key, char ret_accept[PROV_WS_ACCEPT_MAX]);

/* Pure. Is the answer, up to and with its empty line, an upgrade to @protocol that fits @accept? */
KN_PROV_MUST_CHECK kn_prov_code prov_ws_check_answer(const char *answer, size_t size, const char *accept,
                                                     const char *protocol, prov_error *error);

#endif
