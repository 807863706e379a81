#include "dps_ws_codec.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

static const dps_ws_err_row err_rows[] = {
    [DPS_WS_OK] = {1000, "ok"},
    [DPS_WS_E_RESERVED] = {1002, "a WebSocket frame with a reserved bit or opcode"},
    [DPS_WS_E_UNMASKED] = {1002, "a WebSocket frame that is not masked"},
    [DPS_WS_E_CONTROL] = {1002, "a WebSocket control frame that is long or in fragments"},
    [DPS_WS_E_SEQUENCE] = {1002, "WebSocket fragments out of sequence"},
    [DPS_WS_E_TEXT] = {1003, "a WebSocket text message, where only binary ones are spoken"},
    [DPS_WS_E_TOO_LARGE] = {1009, "a WebSocket frame of more than 1048576 bytes"},
};

enum {
    BIT_FIN = 0x80,
    BITS_RESERVED = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_MASK = 0x80,
    BITS_LENGTH = 0x7f,
    BIT_CONTROL = 0x08,
    MASK_LEN = 4,
};

const dps_ws_err_row *dps_ws_err_info(dps_ws_err err)
{
    return &err_rows[err];
}

/* Bytes of a client's header, as far as the first two tell. */
static size_t header_size(const dps_ws_reader *r)
{
    if (r->header_len < 2)
        return 2;
    unsigned length = r->header[1] & BITS_LENGTH;
    return 2 + (length == 126 ? 2u : length == 127 ? 8u : 0u) + MASK_LEN;
}

static dps_ws_err check_start(const dps_ws_reader *r)
{
    unsigned opcode = r->header[0] & BITS_OPCODE;
    bool fin = (r->header[0] & BIT_FIN) != 0;
    if ((r->header[0] & BITS_RESERVED) != 0 || (opcode > DPS_WS_BINARY && opcode < DPS_WS_CLOSE) ||
        opcode > DPS_WS_PONG)
        return DPS_WS_E_RESERVED;
    if ((r->header[1] & BIT_MASK) == 0)
        return DPS_WS_E_UNMASKED;
    if ((opcode & BIT_CONTROL) != 0)
        return fin && (r->header[1] & BITS_LENGTH) <= DPS_WS_CONTROL_MAX ? DPS_WS_OK : DPS_WS_E_CONTROL;
    if (opcode == DPS_WS_TEXT)
        return DPS_WS_E_TEXT;
    return (opcode == DPS_WS_CONTINUATION) == r->in_message ? DPS_WS_OK : DPS_WS_E_SEQUENCE;
}

/* The header is complete. */
static dps_ws_err begin_payload(dps_ws_reader *r)
{
    uint64_t length = r->header[1] & BITS_LENGTH;
    size_t at = 2;
    if (length >= 126) {
        size_t bytes = length == 126 ? 2 : 8;
        length = 0;
        for (; at < 2 + bytes; at++)
            length = length << 8 | r->header[at];
    }
    if (length > DPS_WS_FRAME_MAX)
        return DPS_WS_E_TOO_LARGE;
    r->left = length;
    r->mask_at = 0;
    r->control_len = 0;
    r->in_payload = true;
    if ((r->header[0] & BIT_CONTROL) == 0)
        r->in_message = (r->header[0] & BIT_FIN) == 0;
    return DPS_WS_OK;
}

static dps_ws_err feed_header(dps_ws_reader *r, const uint8_t *bytes, size_t n, size_t *used)
{
    while (*used < n && !r->in_payload) {
        r->header[r->header_len++] = bytes[(*used)++];
        dps_ws_err err = r->header_len == 2 ? check_start(r) : DPS_WS_OK;
        if (err == DPS_WS_OK && r->header_len > 2 && r->header_len == header_size(r))
            err = begin_payload(r);
        if (err != DPS_WS_OK)
            return err;
    }
    return DPS_WS_OK;
}

dps_ws_err dps_ws_reader_feed(dps_ws_reader *reader, const uint8_t *bytes, size_t n, uint8_t *scratch,
                              size_t *ret_used, dps_ws_event *ret_event)
{
    dps_ws_reader *r = reader;
    *ret_used = 0;
    *ret_event = (dps_ws_event){.kind = DPS_WS_NOTHING};
    dps_ws_err err = feed_header(r, bytes, n, ret_used);
    if (err != DPS_WS_OK || !r->in_payload)
        return err;
    bool control = (r->header[0] & BIT_CONTROL) != 0;
    size_t piece = n - *ret_used < r->left ? n - *ret_used : (size_t)r->left;
    uint8_t *out = control ? r->control + r->control_len : scratch;
    const uint8_t *mask = r->header + header_size(r) - MASK_LEN;
    for (size_t i = 0; i < piece; i++)
        out[i] = bytes[*ret_used + i] ^ mask[r->mask_at++ % MASK_LEN];
    *ret_used += piece;
    r->left -= piece;
    if (control)
        r->control_len += piece;
    if (r->left == 0) {
        r->in_payload = false;
        r->header_len = 0;
    }
    if (control && r->left == 0)
        *ret_event = (dps_ws_event){DPS_WS_CONTROL, r->header[0] & BITS_OPCODE, r->control, r->control_len};
    else if (!control && piece > 0)
        *ret_event = (dps_ws_event){.kind = DPS_WS_DATA, .bytes = scratch, .len = piece};
    return DPS_WS_OK;
}

size_t dps_ws_put_header(uint8_t out[DPS_WS_HEADER_MAX], dps_ws_opcode opcode, size_t payload)
{
    size_t n = 2;
    out[0] = (uint8_t)(BIT_FIN | opcode);
    if (payload < 126) {
        out[1] = (uint8_t)payload;
    } else if (payload <= 0xffff) {
        out[1] = 126;
        out[n++] = (uint8_t)(payload >> 8);
        out[n++] = (uint8_t)payload;
    } else {
        out[1] = 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            out[n++] = (uint8_t)((uint64_t)payload >> shift);
    }
    return n;
}

bool dps_ws_accept(dps_span key, char ret_accept[DPS_WS_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[24 + sizeof(guid)];
    unsigned char decoded[24], digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (key.len != 24 || key.at[22] != '=' || key.at[23] != '=' ||
        EVP_DecodeBlock(decoded, (const unsigned char *)key.at, 24) != 18)
        return false;
    snprintf(text, sizeof(text), "%.24s%s", key.at, guid);
    if (EVP_Digest(text, strlen(text), digest, &n, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)ret_accept, digest, 20);
    return true;
}
