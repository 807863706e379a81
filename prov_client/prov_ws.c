#include "prov_ws.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

typedef struct ws_stream {
    prov_stream stream; /* first */
    prov_stream *below;
    wslay_event_context_ptr frames;
    /* bytes from below that were not looked at */
    uint8_t in[PROV_WS_ANSWER_MAX];
    size_t in_at, in_used;
    /* payload that was not handed out */
    uint8_t *ready;
    size_t ready_at, ready_used;
    bool may_read; /* the next empty read may wait for bytes from below */
    bool text_seen, out_of_memory;
    /* of the call that runs */
    const prov_deadline *deadline;
    prov_error *error;
    kn_prov_code failure;
} ws_stream;

/* ---- what wslay calls ---- */

static ssize_t on_recv(wslay_event_context_ptr frames, uint8_t *buffer, size_t size, int flags, void *context)
{
    ws_stream *ws = context;
    size_t count;

    (void)flags;
    if (ws->in_at == ws->in_used) {
        if (!ws->may_read) {
            wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
            return -1;
        }
        ws->may_read = false;
        ws->in_at = ws->in_used = 0;
        ws->failure =
            prov_stream_recv(ws->below, ws->in, sizeof ws->in, ws->deadline, &ws->in_used, ws->error);
        if (ws->failure) { /* a time-out among them: to wslay just nothing yet, so that it can go on later */
            wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
            return -1;
        }
    }
    count = ws->in_used - ws->in_at < size ? ws->in_used - ws->in_at : size;
    memcpy(buffer, ws->in + ws->in_at, count);
    ws->in_at += count;
    return (ssize_t)count;
}

static ssize_t on_send(wslay_event_context_ptr frames, const uint8_t *data, size_t size, int flags,
                       void *context)
{
    ws_stream *ws = context;

    (void)flags;
    ws->failure = prov_stream_send(ws->below, data, size, ws->deadline, ws->error);
    if (ws->failure == KN_PROV_OK)
        return (ssize_t)size;
    wslay_event_set_error(frames, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static int on_mask(wslay_event_context_ptr frames, uint8_t *buffer, size_t size, void *context)
{
    (void)frames;
    (void)context;
    return RAND_bytes(buffer, (int)size) == 1 ? 0 : -1;
}

static void on_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *message,
                       void *context)
{
    ws_stream *ws = context;
    size_t left = ws->ready_used - ws->ready_at;
    uint8_t *grown;

    (void)frames;
    if (message->opcode == WSLAY_TEXT_FRAME)
        ws->text_seen = true;
    if (message->opcode != WSLAY_BINARY_FRAME || message->msg_length == 0)
        return;
    grown = malloc(left + message->msg_length);
    if (!grown) {
        ws->out_of_memory = true;
        return;
    }
    if (left)
        memcpy(grown, ws->ready + ws->ready_at, left);
    memcpy(grown + left, message->msg, message->msg_length);
    free(ws->ready);
    ws->ready = grown;
    ws->ready_at = 0;
    ws->ready_used = left + message->msg_length;
}

/* ---- the stream ---- */

static void begin(ws_stream *ws, const prov_deadline *deadline, prov_error *error)
{
    ws->deadline = deadline;
    ws->error = error;
    ws->failure = KN_PROV_OK;
}

static kn_prov_code broken(const ws_stream *ws, int result, prov_error *error)
{
    if (ws->failure)
        return ws->failure; /* @error was written by the stream below */
    return prov_fail(error, result == WSLAY_ERR_NOMEM ? KN_PROV_E_MEMORY : KN_PROV_E_PROTOCOL,
                     "%s: WebSocket framing failed (wslay %d)", ws->deadline->step, result);
}

static kn_prov_code flush(ws_stream *ws, prov_error *error)
{
    int result = wslay_event_send(ws->frames);

    return result ? broken(ws, result, error) : KN_PROV_OK;
}

static kn_prov_code ws_send(prov_stream *stream, const uint8_t *data, size_t size,
                            const prov_deadline *deadline, prov_error *error)
{
    ws_stream *ws = (ws_stream *)stream;
    const struct wslay_event_msg message = {.opcode = WSLAY_BINARY_FRAME, .msg = data, .msg_length = size};
    int result;

    begin(ws, deadline, error);
    if ((result = wslay_event_queue_msg(ws->frames, &message)))
        return broken(ws, result, error);
    return flush(ws, error);
}

/* Handles what has come: payload, pings, a close. wslay itself queues pongs and the answer to a close. */
static kn_prov_code take_frames(ws_stream *ws, prov_error *error)
{
    int result;
    kn_prov_code code;

    ws->may_read = ws->in_at == ws->in_used; /* what is here comes first, and may be enough */
    result = wslay_event_recv(ws->frames);
    if (result || ws->failure)
        return broken(ws, result, error);
    if (ws->out_of_memory)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for a WebSocket message");
    if (ws->text_seen)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "%s: a WebSocket text message", ws->deadline->step);
    if (wslay_event_want_write(ws->frames) && (code = flush(ws, error)))
        return code;
    return KN_PROV_OK;
}

static kn_prov_code ws_recv(prov_stream *stream, uint8_t *buffer, size_t capacity,
                            const prov_deadline *deadline, size_t *ret_size, prov_error *error)
{
    ws_stream *ws = (ws_stream *)stream;
    kn_prov_code code;
    size_t count;

    begin(ws, deadline, error);
    while (ws->ready_at == ws->ready_used) {
        if (wslay_event_get_close_received(ws->frames) || !wslay_event_get_read_enabled(ws->frames))
            return prov_fail(
                error, wslay_event_get_close_received(ws->frames) ? KN_PROV_E_CLOSED : KN_PROV_E_PROTOCOL,
                "%s: the WebSocket was closed with code %u", deadline->step,
                wslay_event_get_close_received(ws->frames) ? wslay_event_get_status_code_received(ws->frames)
                                                           : wslay_event_get_status_code_sent(ws->frames));
        if ((code = take_frames(ws, error)))
            return code;
    }
    count = ws->ready_used - ws->ready_at < capacity ? ws->ready_used - ws->ready_at : capacity;
    memcpy(buffer, ws->ready + ws->ready_at, count);
    ws->ready_at += count;
    *ret_size = count;
    return KN_PROV_OK;
}

static void ws_free(ws_stream *ws)
{
    if (ws->frames)
        wslay_event_context_free(ws->frames);
    prov_stream_close(&ws->below);
    free(ws->ready);
    free(ws);
}

/* Says goodbye for at most a second (section 7.1.1): whoever closes has what it wants. */
static void ws_close(prov_stream *stream)
{
    ws_stream *ws = (ws_stream *)stream;
    prov_limits limits = prov_limits_start(1000, 1000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the WebSocket farewell");
    prov_error ignored;

    begin(ws, &deadline, &ignored);
    if (!wslay_event_get_close_sent(ws->frames) &&
        wslay_event_queue_close(ws->frames, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0) == 0)
        (void)wslay_event_send(ws->frames);
    ws_free(ws);
}

static const prov_stream_ops ws_ops = {.send = ws_send, .recv = ws_recv, .close = ws_close};

/* ---- opening ---- */

static kn_prov_code ask(ws_stream *ws, const prov_endpoint *endpoint, const char *protocol, const char *key,
                        const prov_deadline *deadline, prov_error *error)
{
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET " PROV_WS_PATH " HTTP/1.1\r\n"
                          "Host: %s:%u\r\n"
                          "Upgrade: websocket\r\n"
                          "Connection: Upgrade\r\n"
                          "Sec-WebSocket-Key: %s\r\n"
                          "Sec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Protocol: %s\r\n"
                          "User-Agent: keynym/" KN_VERSION "\r\n"
                          "\r\n",
                          endpoint->host, endpoint->port, key, protocol);

    if (length < 0 || (size_t)length >= sizeof request)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the WebSocket request is too long");
    return prov_stream_send(ws->below, (const uint8_t *)request, (size_t)length, deadline, error);
}

/* Reads to the empty line; what follows it stays in @in for the frames. */
static kn_prov_code listen_to_answer(ws_stream *ws, const char *accept, const char *protocol,
                                     const prov_deadline *deadline, prov_error *error)
{
    const uint8_t *end = NULL;
    kn_prov_code code;

    while (!end) {
        size_t received = 0;

        if (ws->in_used == sizeof ws->in)
            return prov_fail(error, KN_PROV_E_PROTOCOL, "an answer to the WebSocket request of over %u bytes",
                             PROV_WS_ANSWER_MAX);
        code = prov_stream_recv(ws->below, ws->in + ws->in_used, sizeof ws->in - ws->in_used, deadline,
                                &received, error);
        if (code)
            return code;
        ws->in_used += received;
        end = memmem(ws->in, ws->in_used, "\r\n\r\n", 4);
    }
    ws->in_at = (size_t)(end - ws->in) + 4;
    return prov_ws_check_answer((const char *)ws->in, ws->in_at, accept, protocol, error);
}

static kn_prov_code upgrade(ws_stream *ws, const prov_endpoint *endpoint, const char *protocol,
                            const prov_deadline *deadline, prov_error *error)
{
    unsigned char nonce[16];
    char key[32], accept[PROV_WS_ACCEPT_MAX];
    kn_prov_code code;

    if (RAND_bytes(nonce, sizeof nonce) != 1)
        return prov_fail(error, KN_PROV_E_TLS, "OpenSSL has no random numbers");
    (void)EVP_EncodeBlock((unsigned char *)key, nonce, sizeof nonce);
    if (!prov_ws_accept_of(key, accept))
        return prov_fail(error, KN_PROV_E_TLS, "OpenSSL has no SHA-1, which WebSocket needs");
    if ((code = ask(ws, endpoint, protocol, key, deadline, error)))
        return code;
    return listen_to_answer(ws, accept, protocol, deadline, error);
}

kn_prov_code prov_ws_open(prov_stream *below, const prov_endpoint *endpoint, const char *protocol,
                          const prov_deadline *deadline, prov_stream **ret_stream, prov_error *error)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .genmask_callback = on_mask,
        .on_msg_recv_callback = on_message,
    };
    ws_stream *ws = calloc(1, sizeof *ws);
    kn_prov_code code;

    if (!ws || wslay_event_context_client_init(&ws->frames, &callbacks, ws) != 0) {
        free(ws);
        prov_stream_close(&below);
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the WebSocket");
    }
    wslay_event_config_set_max_recv_msg_length(ws->frames, PROV_WS_MESSAGE_MAX);
    ws->stream.ops = &ws_ops;
    ws->below = below;
    code = upgrade(ws, endpoint, protocol, deadline, error);
    if (code)
        ws_free(ws);
    else
        *ret_stream = &ws->stream;
    return code;
}
