/* WebSocket frames to keynym-dps: the same bytes in one piece and in pieces must be the same data. */
#include "fuzz_driver.h"

#include <stdlib.h>
#include <string.h>

#include "dps_ws_codec.h"

static void check(int ok)
{
    if (!ok)
        abort();
}

static dps_ws_err read_frames(const uint8_t *data, size_t size, size_t piece, uint8_t *out, size_t *ret_len)
{
    dps_ws_reader reader = {0};
    uint8_t *scratch = malloc(piece);
    dps_ws_err err = DPS_WS_OK;
    check(scratch != NULL);
    *ret_len = 0;
    for (size_t at = 0; at < size && err == DPS_WS_OK;) {
        size_t n = size - at < piece ? size - at : piece;
        size_t used = 0;
        dps_ws_event event;
        err = dps_ws_reader_feed(&reader, data + at, n, scratch, &used, &event);
        check(used > 0 && used <= n);
        at += used;
        if (err != DPS_WS_OK || event.kind == DPS_WS_NOTHING)
            continue;
        check(event.len <= size && (event.kind == DPS_WS_DATA || event.len <= DPS_WS_CONTROL_MAX));
        memcpy(out + *ret_len, event.bytes, event.len);
        *ret_len += event.len;
    }
    free(scratch);
    return err;
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t whole[FUZZ_INPUT_MAX], pieces[FUZZ_INPUT_MAX];
    size_t whole_len = 0, pieces_len = 0;
    char accept[DPS_WS_ACCEPT_LEN];
    if (size < 2 || size > FUZZ_INPUT_MAX)
        return 0;
    dps_ws_err err = read_frames(data + 1, size - 1, size, whole, &whole_len);
    check(err == read_frames(data + 1, size - 1, data[0] == 0 ? 1 : data[0], pieces, &pieces_len));
    check(whole_len == pieces_len && memcmp(whole, pieces, whole_len) == 0);
    if (dps_ws_accept((dps_span){(const char *)data, size}, accept))
        check(strlen(accept) == 28);
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char frames[] =
        "\x03\x02\x82\x37\xfa\x21\x3d\x7f\x9f\x89\x81\0\0\0\0x\x80\x83\x37\xfa\x21\x3d\x5b"
        "\x96\x4e\x82\xfe\0\x7e\1\2\3\4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "\x82\xff\0\0\0\0\0\0\0\1\1\2\3\4x\x88\x82\0\0\0\0\x03\xe8";
    add(frames, sizeof(frames) - 1);
    add("dGhlIHNhbXBsZSBub25jZQ==", 24);
}
