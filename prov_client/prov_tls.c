#include "prov_tls.h"

#include "prov_curl.h"

#include <poll.h>
#include <stdlib.h>

typedef struct tls_stream {
    prov_stream stream; /* first */
    prov_curl curl;
    curl_socket_t fd;
} tls_stream;

static kn_prov_code tls_send(prov_stream *stream, const uint8_t *data, size_t size,
                             const prov_deadline *deadline, prov_error *error)
{
    tls_stream *tls = (tls_stream *)stream;
    kn_prov_code code;

    while (size > 0) {
        size_t sent = 0;
        prov_sigpipe guard = prov_sigpipe_block();
        CURLcode result = curl_easy_send(tls->curl.handle, data, size, &sent);

        prov_sigpipe_restore(&guard);
        if (result == CURLE_OK) {
            data += sent;
            size -= sent;
            continue;
        }
        if (result != CURLE_AGAIN)
            return prov_curl_fail(&tls->curl, deadline->step, result, error);
        if ((code = prov_deadline_check(deadline, error)))
            return code;
        prov_deadline_poll(deadline, tls->fd, POLLOUT);
    }
    return KN_PROV_OK;
}

/* Reads before it polls: TLS may hold decrypted bytes that poll() does not know of. */
static kn_prov_code tls_recv(prov_stream *stream, uint8_t *buffer, size_t capacity,
                             const prov_deadline *deadline, size_t *ret_size, prov_error *error)
{
    tls_stream *tls = (tls_stream *)stream;
    kn_prov_code code;

    for (;;) {
        size_t received = 0;
        prov_sigpipe guard = prov_sigpipe_block(); /* a key update is answered with a write */
        CURLcode result = curl_easy_recv(tls->curl.handle, buffer, capacity, &received);

        prov_sigpipe_restore(&guard);
        if (result == CURLE_OK && received > 0) {
            *ret_size = received;
            return KN_PROV_OK;
        }
        if (result == CURLE_OK)
            return prov_fail(error, KN_PROV_E_CLOSED, "%s: end of stream", deadline->step);
        if (result != CURLE_AGAIN)
            return prov_curl_fail(&tls->curl, deadline->step, result, error);
        if ((code = prov_deadline_check(deadline, error)))
            return code;
        prov_deadline_poll(deadline, tls->fd, POLLIN);
    }
}

static void tls_close(prov_stream *stream)
{
    tls_stream *tls = (tls_stream *)stream;

    prov_curl_clear(&tls->curl);
    free(tls);
}

static const prov_stream_ops tls_ops = {.send = tls_send, .recv = tls_recv, .close = tls_close};

kn_prov_code prov_tls_open(const prov_tls_config *config, const prov_deadline *deadline,
                           prov_stream **ret_stream, prov_error *error)
{
    tls_stream *tls = calloc(1, sizeof *tls);
    kn_prov_code code;

    if (!tls)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the connection");
    tls->stream.ops = &tls_ops;
    code = prov_curl_init(&tls->curl, config, "/", error);
    if (code == KN_PROV_OK && curl_easy_setopt(tls->curl.handle, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK)
        code = prov_fail(error, KN_PROV_E_TLS, "libcurl refuses CURLOPT_CONNECT_ONLY");
    if (code == KN_PROV_OK)
        code = prov_curl_perform(&tls->curl, deadline, error);
    if (code == KN_PROV_OK &&
        (curl_easy_getinfo(tls->curl.handle, CURLINFO_ACTIVESOCKET, &tls->fd) != CURLE_OK ||
         tls->fd == CURL_SOCKET_BAD))
        code = prov_fail(error, KN_PROV_E_TLS, "libcurl gave no socket");
    tls->curl.config = NULL;
    if (code)
        tls_close(&tls->stream);
    else
        *ret_stream = &tls->stream;
    return code;
}

const char *prov_tls_description(const prov_stream *stream)
{
    return ((const tls_stream *)stream)->curl.description;
}
