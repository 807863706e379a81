/* Fuzz target of the client's WebSocket: the answer to its upgrade request, and the frames behind a good one.
 *
 * The first byte says which of the two the rest is, and how many bytes come at a time. */
#include "fuzz_driver.h"

#include "../support/memory_stream.h"
#include "prov_ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IS_ANSWER  0x80
#define CHUNK_MASK 0x0f /* 0: all at once */

static const char good[] = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

static const uint8_t *rest;
static size_t rest_size;
static uint8_t input[FUZZ_INPUT_MAX + 512];

static void answer_well(memory_peer *peer)
{
    char key[64] = "", accept[PROV_WS_ACCEPT_MAX];
    const char *field = memmem(peer->sent, peer->sent_size, "Sec-WebSocket-Key: ", 19);
    int size;

    if (!field || sscanf(field, "Sec-WebSocket-Key: %63[^\r]", key) != 1 || !prov_ws_accept_of(key, accept))
        abort();
    size = snprintf((char *)input, 512, good, accept);
    memcpy(input + size, rest, rest_size);
    peer->input = input;
    peer->input_size = (size_t)size + rest_size;
}

static void read_frames(prov_stream *ws, const prov_deadline *deadline)
{
    uint8_t buffer[1000];
    prov_error error;
    size_t got;

    while (prov_stream_recv(ws, buffer, sizeof buffer, deadline, &got, &error) == KN_PROV_OK)
        if (got == 0 || got > sizeof buffer ||
            prov_stream_send(ws, buffer, got > 8 ? 8 : got, deadline, &error) != KN_PROV_OK)
            break;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const prov_endpoint endpoint = {.host = "dps.test", .port = 443};
    static memory_peer peer;
    prov_limits limits = prov_limits_start(60000, 60000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the fuzzing");
    prov_stream *ws = NULL;
    prov_error error;

    if (size < 1 || size > FUZZ_INPUT_MAX)
        return 0;
    rest = data + 1;
    rest_size = size - 1;
    memset(&peer, 0, offsetof(memory_peer, sent));
    peer.sent_size = 0;
    peer.closed = 0;
    peer.chunk = *data & CHUNK_MASK;
    peer.before_input = *data & IS_ANSWER ? NULL : answer_well;
    peer.input = rest;
    peer.input_size = *data & IS_ANSWER ? rest_size : 0;
    if (prov_ws_open(memory_stream_new(&peer), &endpoint, "mqtt", &deadline, &ws, &error) == KN_PROV_OK) {
        read_frames(ws, &deadline);
        prov_stream_close(&ws);
    }
    if (peer.closed != 1)
        abort();
    return 0;
}

#ifndef KN_LIBFUZZER

/* Frames as the service sends them: RFC 6455 section 5.2, without masks. */
void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char connack[] = "\0\x82\x04\x20\x02\0\0", ping[] = "\0\x89\x02hi\x82\x02\x90\x03",
                      parts[] = "\x03\x02\x03\x90\x03\0\x80\x02\x01\x01", closing[] = "\0\x88\x04\x03\xe8ok",
                      text[] = "\0\x81\x02{}", long_one[] = "\0\x82\x7e\x00\x80 and so on, of 128 bytes",
                      huge[] = "\0\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", reserved[] = "\0\xc2\x01x",
                      masked[] = "\0\x82\x81\1\2\3\4x";
    static const char answer[] =
        "\x80HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                      refused[] = "\x80HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

    add(connack, sizeof connack - 1);
    add(ping, sizeof ping - 1);
    add(parts, sizeof parts - 1);
    add(closing, sizeof closing - 1);
    add(text, sizeof text - 1);
    add(long_one, sizeof long_one - 1);
    add(huge, sizeof huge - 1);
    add(reserved, sizeof reserved - 1);
    add(masked, sizeof masked - 1);
    add(answer, sizeof answer - 1);
    add(refused, sizeof refused - 1);
}

#endif
