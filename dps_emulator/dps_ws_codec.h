/* Units:     lengths in bytes; DPS_WS_FRAME_MAX is what one frame may announce.
 * Ownership: an event points into the caller's scratch or into the reader, until the next call.
 * Errors:    a value of dps_ws_err; each has the code of the close frame that answers it.
 * Threads:   pure functions (bytes in, struct out); a reader belongs to one connection.
 * Spec:      WebSocket (RFC 6455), server side, without extensions. Payloads are handed on as they come, so
 * that a frame is never held as a whole. */
#ifndef DPS_WS_CODEC_H
#define DPS_WS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dps_fail.h"
#include "dps_text.h"

enum {
    DPS_WS_FRAME_MAX = 1024 * 1024, /* bytes of payload */
    DPS_WS_CONTROL_MAX = 125,       /* bytes of payload (5.5) */
    DPS_WS_HEADER_MAX = 10,         /* bytes, of a server's frame */
    DPS_WS_ACCEPT_LEN = 29,         /* base64 of 20 bytes and NUL */
};

typedef enum dps_ws_opcode {
    DPS_WS_CONTINUATION = 0,
    DPS_WS_TEXT = 1,
    DPS_WS_BINARY = 2,
    DPS_WS_CLOSE = 8,
    DPS_WS_PING = 9,
    DPS_WS_PONG = 10,
} dps_ws_opcode;

typedef enum dps_ws_err {
    DPS_WS_OK,
    DPS_WS_E_RESERVED, /* a reserved bit or opcode */
    DPS_WS_E_UNMASKED, /* a client must mask (5.1) */
    DPS_WS_E_CONTROL,  /* a control frame that is long or fragmented */
    DPS_WS_E_SEQUENCE, /* a continuation of nothing, or a message within a message */
    DPS_WS_E_TEXT,     /* MQTT and AMQP are binary */
    DPS_WS_E_TOO_LARGE,
} dps_ws_err;

typedef struct dps_ws_err_row {
    uint16_t code; /* 7.4.1 */
    const char *text;
} dps_ws_err_row;

const dps_ws_err_row *dps_ws_err_info(dps_ws_err err);

typedef enum dps_ws_event_kind {
    DPS_WS_NOTHING, /* more bytes are needed */
    DPS_WS_DATA,
    DPS_WS_CONTROL, /* a whole control frame */
} dps_ws_event_kind;

typedef struct dps_ws_event {
    dps_ws_event_kind kind;
    dps_ws_opcode opcode; /* of a control frame */
    const uint8_t *bytes;
    size_t len;
} dps_ws_event;

/* Zero-initialise. */
typedef struct dps_ws_reader {
    uint8_t header[14];
    size_t header_len;
    uint64_t left; /* of the payload */
    size_t mask_at;
    uint8_t control[DPS_WS_CONTROL_MAX];
    size_t control_len;
    bool in_payload;
    bool in_message; /* between the first frame of a message and its last */
} dps_ws_reader;

/* Reads until there is an event or the bytes are used up. @scratch has room for @n bytes. */
DPS_MUST_CHECK dps_ws_err dps_ws_reader_feed(dps_ws_reader *reader, const uint8_t *bytes, size_t n,
                                             uint8_t *scratch, size_t *ret_used, dps_ws_event *ret_event);

/* The header of an unmasked, final frame; returns its length. */
size_t dps_ws_put_header(uint8_t out[DPS_WS_HEADER_MAX], dps_ws_opcode opcode, size_t payload);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key (4.2.2). False when @key is not base64 of 16 bytes. */
DPS_MUST_CHECK bool dps_ws_accept(dps_span key, char ret_accept[DPS_WS_ACCEPT_LEN]);

#endif
