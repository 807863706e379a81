#include "dps_ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_amqp.h"
#include "dps_log.h"
#include "dps_mqtt_session.h"
#include "dps_ws_codec.h"

enum {
    PIECE_MAX = 4 * 1024,   /* bytes that are unmasked at a time */
    FRAME_MAX = 16 * 1024,  /* bytes of payload of a frame that is sent */
    ANSWERS_MAX = 4 * 1024, /* bytes of pongs that the peer has not read */
};

typedef struct session {
    const dps_peer *peer;
    dps_stream inner;
    dps_ws_reader reader;
    dps_buffer out;
    bool closing; /* a close frame is in out, or was: nothing follows it */
} session;

/* The subprotocols; one row each. */
static const struct {
    const char *name; /* compared without case; the answer has the client's spelling */
    const char *transport;
    bool (*start)(const dps_transport_host *host, const dps_peer *peer, const char *transport,
                  dps_stream *ret_stream);
} protocols[] = {
    {"mqtt", "mqtt-ws", dps_mqtt_stream_new},
    {"AMQPWSB10", "amqp-ws", dps_amqp_stream_new},
};

static void put_frame(session *s, dps_ws_opcode opcode, const uint8_t *bytes, size_t n, size_t cap)
{
    uint8_t header[DPS_WS_HEADER_MAX];
    size_t header_len = dps_ws_put_header(header, opcode, n);
    if (s->out.len + header_len + n > cap || !dps_buffer_append(&s->out, header, header_len, cap) ||
        !dps_buffer_append(&s->out, bytes, n, cap)) {
        dps_log(DPS_LOG_WARN,
                "%s: connection closed: the peer does not read its answers, or there is no memory",
                s->peer->address);
        s->closing = true;
    }
}

static void put_close(session *s, uint16_t code)
{
    const uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (s->closing)
        return;
    put_frame(s, DPS_WS_CLOSE, payload, sizeof(payload), 2 * ANSWERS_MAX + FRAME_MAX);
    s->closing = true;
}

static void on_control(session *s, const dps_ws_event *event)
{
    switch (event->opcode) {
    case DPS_WS_PING:
        put_frame(s, DPS_WS_PONG, event->bytes, event->len, ANSWERS_MAX + FRAME_MAX);
        break;
    case DPS_WS_CLOSE:
        dps_log(DPS_LOG_DEBUG, "%s: WebSocket close", s->peer->address);
        put_close(s, 1000);
        break;
    case DPS_WS_PONG: /* unasked for, and allowed (5.5.3) */
    case DPS_WS_CONTINUATION:
    case DPS_WS_TEXT:
    case DPS_WS_BINARY:
        break;
    }
}

static void input(void *self, const uint8_t *bytes, size_t n)
{
    session *s = self;
    uint8_t scratch[PIECE_MAX];
    while (n > 0 && !s->closing && s->inner.kind->open(s->inner.self)) {
        size_t used = 0;
        dps_ws_event event;
        dps_ws_err err =
            dps_ws_reader_feed(&s->reader, bytes, n < PIECE_MAX ? n : PIECE_MAX, scratch, &used, &event);
        if (err != DPS_WS_OK) {
            dps_log(DPS_LOG_WARN, "%s: connection closed: %s", s->peer->address, dps_ws_err_info(err)->text);
            put_close(s, dps_ws_err_info(err)->code);
            return;
        }
        bytes += used;
        n -= used;
        if (event.kind == DPS_WS_DATA)
            s->inner.kind->input(s->inner.self, event.bytes, event.len);
        else if (event.kind == DPS_WS_CONTROL)
            on_control(s, &event);
    }
}

/* One frame at a time is taken over from what the inner stream has to say. */
static const uint8_t *output(void *self, size_t *ret_n)
{
    session *s = self;
    if (s->out.len == 0 && !s->closing) {
        size_t n = 0;
        const uint8_t *bytes = s->inner.kind->output(s->inner.self, &n);
        if (bytes != NULL) {
            size_t piece = n < FRAME_MAX ? n : FRAME_MAX;
            put_frame(s, DPS_WS_BINARY, bytes, piece, FRAME_MAX + DPS_WS_HEADER_MAX);
            s->inner.kind->sent(s->inner.self, piece);
        } else if (!s->inner.kind->open(s->inner.self)) {
            put_close(s, 1000);
        }
    }
    *ret_n = s->out.len;
    return s->out.len > 0 ? dps_buffer_bytes(&s->out) : NULL;
}

static void sent(void *self, size_t n)
{
    session *s = self;
    dps_buffer_take(&s->out, n);
}

static bool is_open(const void *self)
{
    const session *s = self;
    return !s->closing;
}

static bool progress(void *self)
{
    session *s = self;
    return s->inner.kind->progress(s->inner.self);
}

static unsigned timeout_s(const void *self)
{
    const session *s = self;
    return s->inner.kind->timeout_s(s->inner.self);
}

static unsigned tick_ms(void *self)
{
    session *s = self;
    return s->inner.kind->tick_ms != NULL ? s->inner.kind->tick_ms(s->inner.self) : 0;
}

static void wake(void *self)
{
    session *s = self;
    if (s->inner.kind->wake != NULL)
        s->inner.kind->wake(s->inner.self);
}

static void free_session(void *self)
{
    session *s = self;
    dps_stream_free(&s->inner);
    dps_buffer_free(&s->out);
    free(s);
}

static const dps_stream_kind kind = {
    .input = input,
    .output = output,
    .sent = sent,
    .open = is_open,
    .progress = progress,
    .timeout_s = timeout_s,
    .tick_ms = tick_ms,
    .wake = wake,
    .free = free_session,
};

/* The first subprotocol of the client's list that is spoken here: its row, and its name as the client spells
 * it. The count of the rows when there is none. */
static size_t choose(dps_span list, char ret_name[DPS_WS_PROTOCOL_LEN])
{
    const size_t rows = sizeof(protocols) / sizeof(protocols[0]);
    while (list.len > 0) {
        size_t n = 0;
        while (n < list.len && list.at[n] != ',' && list.at[n] != ' ')
            n++;
        for (size_t i = 0; i < rows; i++) {
            if (!dps_text_equal_nocase(list.at, n, protocols[i].name, strlen(protocols[i].name)))
                continue;
            snprintf(ret_name, DPS_WS_PROTOCOL_LEN, "%.*s", (int)n, list.at);
            return i;
        }
        n += n < list.len ? 1 : 0;
        list = (dps_span){list.at + n, list.len - n};
    }
    return rows;
}

static bool refuse(dps_http_response *response, int status, const char *message)
{
    dps_http_answer_code(response, status, status * 1000, message);
    return false;
}

bool dps_ws_upgrade(const dps_http_request *request, dps_http_response *response, dps_stream *ret_stream)
{
    char accept[DPS_WS_ACCEPT_LEN], name[DPS_WS_PROTOCOL_LEN] = "";
    if (!dps_span_is(request->head->method, "GET") ||
        !dps_http_list_has(dps_http_header(request, "connection"), "upgrade") ||
        !dps_http_list_has(dps_http_header(request, "upgrade"), "websocket") ||
        !dps_ws_accept(dps_http_header(request, "sec-websocket-key"), accept))
        return refuse(response, 400,
                      "Here is a WebSocket: GET with Connection, Upgrade and Sec-WebSocket-Key");
    if (!dps_span_is(dps_http_header(request, "sec-websocket-version"), "13")) {
        refuse(response, 426, "Only version 13 of WebSocket is spoken here");
        dps_http_add_header(response, "Sec-WebSocket-Version", "13");
        return false;
    }
    size_t row = choose(dps_http_header(request, "sec-websocket-protocol"), name);
    if (row == sizeof(protocols) / sizeof(protocols[0]))
        return refuse(response, 400, "None of the subprotocols is spoken here");
    session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return false;
    s->peer = request->peer;
    if (!protocols[row].start(request->host, request->peer, protocols[row].transport, &s->inner)) {
        free(s);
        return false;
    }
    response->status = 101;
    dps_http_add_header(response, "Upgrade", "websocket");
    dps_http_add_header(response, "Connection", "Upgrade");
    dps_http_add_header(response, "Sec-WebSocket-Accept", accept);
    dps_http_add_header(response, "Sec-WebSocket-Protocol", name);
    *ret_stream = (dps_stream){&kind, s};
    return true;
}
