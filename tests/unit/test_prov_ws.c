/* WebSocket: the upgrade, and frames of every kind that a server may send, cut anywhere. */
#include "prov_ws.h"

#include "../support/memory_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static memory_peer peer;
static uint8_t input[2 * PROV_WS_ANSWER_MAX];
static const uint8_t *frames;
static size_t frames_size;
static const char *answer_text; /* "@" stands for Sec-WebSocket-Accept */

#define GOOD                                                                                                 \
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"          \
    "Sec-WebSocket-Accept: @\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

static void answer(memory_peer *p)
{
    char key[64] = "", accept[PROV_WS_ACCEPT_MAX];
    const char *field = strstr((const char *)p->sent, "Sec-WebSocket-Key: ");
    size_t at, size = strlen(answer_text);

    assert_non_null(field);
    assert_int_equal(sscanf(field, "Sec-WebSocket-Key: %63[^\r]", key), 1);
    assert_int_equal(strlen(key), 24);
    assert_true(prov_ws_accept_of(key, accept));
    at = strcspn(answer_text, "@");
    memcpy(input, answer_text, at);
    if (answer_text[at]) {
        memcpy(input + at, accept, strlen(accept));
        memcpy(input + at + strlen(accept), answer_text + at + 1, strlen(answer_text + at + 1));
        size = at + strlen(accept) + strlen(answer_text + at + 1);
    }
    memcpy(input + size, frames, frames_size);
    p->input = input;
    p->input_size = size + frames_size;
}

static prov_deadline soon(void)
{
    static prov_limits limits;

    limits = prov_limits_start(60000, 60000, NULL);
    return prov_deadline_of_step(&limits, "the test");
}

/* Opens a WebSocket on a server that sends @bytes as its frames. */
static kn_prov_code open_ws(const char *text, const void *bytes, size_t size, size_t chunk,
                            prov_stream **ret_ws, prov_error *error)
{
    static const prov_endpoint endpoint = {.host = "dps.test", .port = 443};
    prov_deadline deadline = soon();

    answer_text = text;
    frames = bytes;
    frames_size = size;
    peer = (memory_peer){.chunk = chunk, .before_input = answer};
    error->detail[0] = '\0';
    return prov_ws_open(memory_stream_new(&peer), &endpoint, "mqtt", &deadline, ret_ws, error);
}

static void test_request(void **state)
{
    static const char *const lines[] = {
        "GET /$iothub/websocket HTTP/1.1\r\n",
        "Host: dps.test:443\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Protocol: mqtt\r\n",
    };
    prov_stream *ws = NULL;
    prov_error error;

    (void)state;
    assert_int_equal(open_ws(GOOD, "", 0, 0, &ws, &error), KN_PROV_OK);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr((const char *)peer.sent, lines[i]));
    prov_stream_close(&ws);
    assert_int_equal(peer.closed, 1);
}

/* RFC 6455 section 1.3. */
static void test_accept(void **state)
{
    char accept[PROV_WS_ACCEPT_MAX], long_key[200];

    (void)state;
    assert_true(prov_ws_accept_of("dGhlIHNhbXBsZSBub25jZQ==", accept));
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    memset(long_key, 'a', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    assert_false(prov_ws_accept_of(long_key, accept));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text;
        kn_prov_code code;
    } rows[] = {
        {"HTTP/1.1 401 Unauthorized\r\nX: @\r\n\r\n", KN_PROV_E_CONNECT_REFUSED},
        {"HTTP/1.1 404 Not Found\r\nX: @\r\n\r\n", KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 abc\r\nX: @\r\n\r\n", KN_PROV_E_PROTOCOL},
        {"SSH-2.0-x@\r\n\r\n", KN_PROV_E_PROTOCOL},
        {"\r\n\r\n", KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\nSec-WebSocket-Protocol: "
         "mqtt\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: @\r\nSec-WebSocket-Protocol: "
         "mqtt\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x@\r\n"
         "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\n"
         "Sec-WebSocket-Protocol: AMQPWSB10\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\n"
         "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: @\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
         KN_PROV_E_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nX: @\r\n", KN_PROV_E_CLOSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prov_stream *ws = NULL;
        prov_error error;

        assert_int_equal(open_ws(rows[i].text, "", 0, 3, &ws, &error), rows[i].code);
        assert_null(ws);
        assert_true(strlen(error.detail) > 0);
        assert_int_equal(peer.closed, 1);
    }
}

static void test_long_answer(void **state)
{
    static char text[PROV_WS_ANSWER_MAX];
    prov_stream *ws = NULL;
    prov_error error;

    (void)state;
    memset(text, 'a', sizeof text - 1);
    assert_int_equal(open_ws(text, "aaaaaaaa", 8, 0, &ws, &error), KN_PROV_E_PROTOCOL);
    assert_non_null(strstr(error.detail, "over"));
}

/* Reads everything that comes, in pieces of 2 bytes, until it fails. */
static kn_prov_code read_all(prov_stream *ws, char *text, size_t capacity, prov_error *error)
{
    size_t used = 0, received;
    prov_deadline deadline = soon();
    kn_prov_code code;

    while (used + 2 < capacity && (code = prov_stream_recv(ws, (uint8_t *)text + used, 2, &deadline,
                                                           &received, error)) == KN_PROV_OK)
        used += received;
    text[used] = '\0';
    return code;
}

#define S(text) (text), (sizeof(text) - 1)

static void test_frames(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
        kn_prov_code end;
    } rows[] = {
        {S("\x82\x02\x68\x69\x82\x01\x21"), "hi!", KN_PROV_E_CLOSED},
        {S("\x02\x01\x61\x80\x01\x62"), "ab", KN_PROV_E_CLOSED},                     /* in fragments */
        {S("\x02\x01\x61\x89\x01\x70\x80\x01\x62"), "ab", KN_PROV_E_CLOSED},         /* a ping in between */
        {S("\x82\x00\x82\x01\x78"), "x", KN_PROV_E_CLOSED},                          /* an empty message */
        {S("\x88\x02\x03\xe8"), "", KN_PROV_E_CLOSED},                               /* a close */
        {S("\x82\x01\x78\x88\x00"), "x", KN_PROV_E_CLOSED},                          /* without a code */
        {S("\x81\x01\x78"), "", KN_PROV_E_PROTOCOL},                                 /* text */
        {S("\x82\x81\x01\x02\x03\x04\x78"), "", KN_PROV_E_PROTOCOL},                 /* masked by a server */
        {S("\xc2\x01\x78"), "", KN_PROV_E_PROTOCOL},                                 /* a reserved bit */
        {S("\x83\x01\x78"), "", KN_PROV_E_PROTOCOL},                                 /* an unknown opcode */
        {S("\x80\x01\x78"), "", KN_PROV_E_PROTOCOL},                                 /* nothing to continue */
        {S("\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00\x78"), "", KN_PROV_E_PROTOCOL}, /* 4 GiB */
        {S("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00\x78"), "", KN_PROV_E_PROTOCOL}, /* a negative length */
        {S("\x82\x05\x68\x61"), "", KN_PROV_E_CLOSED},                               /* the end in a frame */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t chunk = 0; chunk < 4; chunk++) {
            prov_stream *ws = NULL;
            prov_error error;
            char text[64];

            assert_int_equal(open_ws(GOOD, rows[i].bytes, rows[i].size, chunk, &ws, &error), KN_PROV_OK);
            assert_int_equal(read_all(ws, text, sizeof text, &error), rows[i].end);
            assert_string_equal(text, rows[i].text);
            assert_true(strlen(error.detail) > 0);
            prov_stream_close(&ws);
            assert_int_equal(peer.closed, 1);
        }
    }
}

/* A frame of at most 125 bytes that a client sent; its payload without the mask. Returns the bytes of the
 * frame. */
static size_t read_frame(const uint8_t *bytes, uint8_t *ret_opcode, char *ret_text)
{
    size_t size = bytes[1] & 0x7f;

    assert_int_equal(bytes[0] & 0xf0, 0x80);
    assert_int_equal(bytes[1] & 0x80, 0x80); /* masked */
    for (size_t i = 0; i < size; i++)
        ret_text[i] = (char)(bytes[6 + i] ^ bytes[2 + i % 4]);
    ret_text[size] = '\0';
    *ret_opcode = bytes[0] & 0x0f;
    return 6 + size;
}

static void test_what_is_sent(void **state)
{
    prov_stream *ws = NULL;
    prov_error error;
    prov_deadline deadline = soon();
    uint8_t opcode, byte;
    size_t at, received;
    char text[130];

    (void)state;
    assert_int_equal(open_ws(GOOD, S("\x89\x02\x70\x71\x82\x01\x78"), 0, &ws, &error), KN_PROV_OK);
    at = peer.sent_size;
    assert_int_equal(prov_stream_send(ws, (const uint8_t *)"hello", 5, &deadline, &error), KN_PROV_OK);
    assert_int_equal(prov_stream_recv(ws, &byte, 1, &deadline, &received, &error), KN_PROV_OK);
    prov_stream_close(&ws);
    at += read_frame(peer.sent + at, &opcode, text);
    assert_int_equal(opcode, 2);
    assert_string_equal(text, "hello");
    at += read_frame(peer.sent + at, &opcode, text);
    assert_int_equal(opcode, 10); /* pong, with the ping's payload */
    assert_string_equal(text, "pq");
    at += read_frame(peer.sent + at, &opcode, text);
    assert_int_equal(opcode, 8); /* close */
    assert_int_equal(at, peer.sent_size);
}

/* Waiting in vain does not break the stream. */
static void test_goes_on_after_a_timeout(void **state)
{
    prov_stream *ws = NULL;
    prov_error error;
    prov_deadline deadline = soon();
    uint8_t byte = 0;
    size_t received;

    (void)state;
    assert_int_equal(open_ws(GOOD, S("\x82\x01"), 0, &ws, &error), KN_PROV_OK); /* the payload is late */
    peer.timeout_at_end = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(prov_stream_recv(ws, &byte, 1, &deadline, &received, &error), KN_PROV_E_TIMEOUT);
    peer.input = (const uint8_t *)"x";
    peer.input_size = 1;
    peer.input_at = 0;
    assert_int_equal(prov_stream_recv(ws, &byte, 1, &deadline, &received, &error), KN_PROV_OK);
    assert_int_equal(byte, 'x');
    prov_stream_close(&ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_answer),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_goes_on_after_a_timeout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
