#include "dps_http_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_log.h"
#include "dps_ws.h"

typedef struct session {
    const dps_transport_host *host;
    const dps_peer *peer;
    dps_http_reader reader;
    dps_buffer out;
    dps_stream upgraded; /* WebSocket, once it was asked for; from then on everything is for it */
    bool closed;
    bool progress;
} session;

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "Status"; /* RFC 9112, 4: the words mean nothing to a client */
}

static void end(session *s, const char *why)
{
    if (!s->closed)
        dps_log(DPS_LOG_WARN, "%s: connection closed: %s", s->peer->address, why);
    s->closed = true;
}

static void put(session *s, const void *bytes, size_t n)
{
    if (!s->closed && !dps_buffer_append(&s->out, bytes, n, DPS_HTTP_OUTPUT_MAX))
        end(s, "the peer does not read its answers, or there is no memory for them");
}

static void put_text(session *s, const char *text)
{
    put(s, text, strlen(text));
}

/* A handler's value must not end its field: what has a control character is left out. */
static bool printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

static void put_response(session *s, const dps_http_response *response, bool has_body, bool keep_alive)
{
    char line[256];
    snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", response->status, reason_of(response->status));
    put_text(s, line);
    if (response->body != NULL) {
        const char *type = response->content_type;
        snprintf(line, sizeof(line), "Content-Type: %s\r\n",
                 type != NULL ? type : "application/json; charset=utf-8");
        put_text(s, line);
    }
    if (response->status != 204 && response->status != 101) { /* RFC 9110, 8.6 */
        snprintf(line, sizeof(line), "Content-Length: %zu\r\n", response->body_len);
        put_text(s, line);
    }
    for (size_t i = 0; i < response->extra_count; i++) {
        if (!printable(response->extra[i].value))
            continue;
        put_text(s, response->extra[i].name);
        put_text(s, ": ");
        put_text(s, response->extra[i].value);
        put_text(s, "\r\n");
    }
    put_text(s, keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (response->body != NULL && has_body)
        put(s, response->body, response->body_len);
}

static bool asks_for_websocket(const dps_http_head *head)
{
    char path[sizeof(DPS_WS_PATH)];
    return dps_http_decode(head->path, path, sizeof(path)) && strcmp(path, DPS_WS_PATH) == 0;
}

static void upgrade(session *s, const dps_http_request *request, dps_http_response *response)
{
    if (!dps_ws_upgrade(request, response, &s->upgraded))
        s->upgraded = (dps_stream){0};
}

static void on_request(session *s)
{
    const dps_http_head *head = &s->reader.head;
    dps_http_response response = {0};
    dps_http_request *request = calloc(1, sizeof(*request));
    if (request != NULL) {
        request->host = s->host;
        request->peer = s->peer;
        request->head = head;
        request->body = (dps_span){(const char *)dps_buffer_bytes(&s->reader.body), s->reader.body.len};
        if (request->body.at == NULL)
            request->body.at = "";
        if (asks_for_websocket(head))
            upgrade(s, request, &response);
        else
            dps_http_dispatch(request, &response);
    }
    free(request);
    if (response.status == 0)
        dps_http_answer_error(&response, DPS_ERR_INTERNAL, "Internal error");
    dps_log(DPS_LOG_DEBUG, "%s: %.*s %.*s: %d", s->peer->address, (int)head->method.len, head->method.at,
            (int)head->path.len, head->path.at, response.status);
    put_response(s, &response, !dps_span_is(head->method, "HEAD"), head->keep_alive);
    dps_http_response_clear(&response);
    if (s->upgraded.kind != NULL)
        return; /* the time to connect goes on until the inner protocol has connected */
    s->progress = true;
    if (!head->keep_alive)
        s->closed = true;
}

static void refuse(session *s, dps_http_err err)
{
    const dps_http_err_row *row = dps_http_err_info(err);
    dps_http_response response = {0};
    dps_http_answer_code(&response, row->status, row->status * 1000, row->text);
    put_response(s, &response, true, false);
    dps_http_response_clear(&response);
    end(s, row->text);
}

static void input(void *self, const uint8_t *bytes, size_t n)
{
    session *s = self;
    while (n > 0 && !s->closed) {
        if (s->upgraded.kind != NULL) {
            s->upgraded.kind->input(s->upgraded.self, bytes, n);
            return;
        }
        size_t used = 0;
        bool wants_continue = false;
        dps_http_err err = dps_http_reader_feed(&s->reader, bytes, n, &used, &wants_continue);
        if (err != DPS_HTTP_OK) {
            refuse(s, err);
            return;
        }
        bytes += used;
        n -= used;
        if (wants_continue)
            put_text(s, "HTTP/1.1 100 Continue\r\n\r\n");
        if (s->reader.state == DPS_HTTP_COMPLETE) {
            on_request(s);
            dps_http_reader_free(&s->reader);
        }
    }
}

static const uint8_t *output(void *self, size_t *ret_n)
{
    session *s = self;
    if (s->out.len == 0 && s->upgraded.kind != NULL)
        return s->upgraded.kind->output(s->upgraded.self, ret_n);
    *ret_n = s->out.len;
    return s->out.len > 0 ? dps_buffer_bytes(&s->out) : NULL;
}

static void sent(void *self, size_t n)
{
    session *s = self;
    if (s->out.len == 0 && s->upgraded.kind != NULL)
        s->upgraded.kind->sent(s->upgraded.self, n);
    else
        dps_buffer_take(&s->out, n);
}

static bool is_open(const void *self)
{
    const session *s = self;
    return !s->closed && (s->upgraded.kind == NULL || s->upgraded.kind->open(s->upgraded.self));
}

static bool progress(void *self)
{
    session *s = self;
    if (s->upgraded.kind != NULL)
        return s->upgraded.kind->progress(s->upgraded.self);
    bool was = s->progress;
    s->progress = false;
    return was;
}

static unsigned timeout_s(const void *self)
{
    const session *s = self;
    return s->upgraded.kind != NULL ? s->upgraded.kind->timeout_s(s->upgraded.self) : DPS_HTTP_IDLE_TIMEOUT_S;
}

static unsigned tick_ms(void *self)
{
    session *s = self;
    return s->upgraded.kind != NULL ? s->upgraded.kind->tick_ms(s->upgraded.self) : 0;
}

static void wake(void *self)
{
    session *s = self;
    if (s->upgraded.kind != NULL)
        s->upgraded.kind->wake(s->upgraded.self);
}

static void free_session(void *self)
{
    session *s = self;
    dps_http_reader_free(&s->reader);
    dps_stream_free(&s->upgraded);
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

bool dps_http_session_new(const dps_transport_host *host, const dps_peer *peer, dps_stream *ret_stream)
{
    session *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return false;
    s->host = host;
    s->peer = peer;
    *ret_stream = (dps_stream){&kind, s};
    return true;
}
