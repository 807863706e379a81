#include "prov_tls.h"

#include "prov_tls_credentials.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct tls_stream {
    prov_stream stream; /* first */
    CURL *curl;
    curl_socket_t fd;
    int alert; /* number of the last fatal alert from the server, 0: none */
    char alert_text[80];
    bool handshake_done;
    char description[96];
    char curl_text[CURL_ERROR_SIZE]; /* libcurl writes here, OpenSSL's words included */
    const prov_tls_config *config;   /* only while opening, as the next two */
    const prov_deadline *deadline;
    kn_prov_code failure; /* of a callback; KN_PROV_OK: none */
    prov_error failure_error;
} tls_stream;

/* ---- SIGPIPE: blocked for the thread around calls that write, and taken back if one became pending ---- */

typedef struct sigpipe_guard {
    sigset_t before;
    bool was_pending;
} sigpipe_guard;

static bool sigpipe_is_pending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

static sigpipe_guard sigpipe_block(void)
{
    sigpipe_guard guard = {.was_pending = sigpipe_is_pending()};
    sigset_t pipe_only;

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &guard.before);
    return guard;
}

static void sigpipe_restore(const sigpipe_guard *guard)
{
    static const struct timespec now = {.tv_sec = 0};
    sigset_t pipe_only;

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    if (!guard->was_pending && sigpipe_is_pending())
        (void)sigtimedwait(&pipe_only, NULL, &now);
    (void)pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

/* ---- Hooks into the SSL_CTX that libcurl makes ---- */

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int ctx_index = -1;

static void make_index(void)
{
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* Remembers the alert that the server sent: in TLS 1.3 a refused client certificate shows only as an alert
 * at the first read, and libcurl's text does not always name it. */
static void note_alert(const SSL *ssl, int where, int value)
{
    tls_stream *tls = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);

    if (!tls)
        return;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value >> 8) == SSL3_AL_FATAL) {
        tls->alert = value & 0xff;
        (void)snprintf(tls->alert_text, sizeof tls->alert_text, "%s", SSL_alert_desc_string_long(value));
    }
    if (where & SSL_CB_HANDSHAKE_DONE) {
        tls->handshake_done = true;
        (void)snprintf(tls->description, sizeof tls->description, "%s, %s", SSL_get_version(ssl),
                       SSL_get_cipher_name(ssl));
    }
}

/* libcurl sets the newest version to "any"; a machine whose openssl.cnf has a lower MaxProtocol means it. */
static bool keep_system_maximum(SSL_CTX *ctx)
{
    SSL_CTX *fresh = SSL_CTX_new(TLS_client_method());
    long maximum = fresh ? SSL_CTX_get_max_proto_version(fresh) : 0;
    bool ok = fresh && SSL_CTX_set_max_proto_version(ctx, maximum) == 1;

    SSL_CTX_free(fresh);
    return ok;
}

static CURLcode set_up_ctx(CURL *curl, void *ssl_ctx, void *context)
{
    tls_stream *tls = context;
    SSL_CTX *ctx = ssl_ctx;

    (void)curl;
    (void)pthread_once(&index_once, make_index);
    if (ctx_index < 0 || SSL_CTX_set_ex_data(ctx, ctx_index, tls) != 1 || !keep_system_maximum(ctx)) {
        tls->failure = prov_fail(&tls->failure_error, KN_PROV_E_MEMORY, "no memory for the TLS context");
        return CURLE_OUT_OF_MEMORY;
    }
    SSL_CTX_set_info_callback(ctx, note_alert);
    if (!tls->config->certificate_pem)
        return CURLE_OK;
    tls->failure = prov_tls_use_credentials(ctx, tls->config->certificate_pem, tls->config->key_pem,
                                            &tls->failure_error);
    return tls->failure ? CURLE_SSL_CERTPROBLEM : CURLE_OK;
}

/* libcurl calls this at least once a second, and after a signal. */
static int look_for_cancel(void *context, curl_off_t total_down, curl_off_t down, curl_off_t total_up,
                           curl_off_t up)
{
    tls_stream *tls = context;

    (void)total_down, (void)down, (void)total_up, (void)up;
    if (tls->failure == KN_PROV_OK) /* the first failure is the cause */
        tls->failure = prov_deadline_check(tls->deadline, &tls->failure_error);
    return tls->failure != KN_PROV_OK;
}

/* ---- Errors ---- */

/* Alerts by which a server says that it does not want the client's certificate. RFC 8446 section 6.2. */
static bool is_about_certificate(int alert)
{
    static const unsigned char alerts[] = {
        SSL_AD_BAD_CERTIFICATE,     SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED,
        SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_UNKNOWN,     SSL_AD_UNKNOWN_CA,
        SSL_AD_ACCESS_DENIED,       116 /* certificate_required */,
    };

    return alert != 0 && memchr(alerts, alert, sizeof alerts) != NULL;
}

static const char *curl_words(const tls_stream *tls, CURLcode result)
{
    return tls->curl_text[0] ? tls->curl_text : curl_easy_strerror(result);
}

/* libcurl has taken the errors off OpenSSL's queue and into its text by now. */
static kn_prov_code fail_as_alert(const tls_stream *tls, prov_error *error)
{
    return prov_fail(error, is_about_certificate(tls->alert) ? KN_PROV_E_CERTIFICATE_REFUSED : KN_PROV_E_TLS,
                     "TLS alert %d from the service, \"%s\"", tls->alert, tls->alert_text);
}

typedef struct curl_row {
    CURLcode result;
    kn_prov_code code;
} curl_row;

static const curl_row curl_rows[] = {
    {.result = CURLE_COULDNT_RESOLVE_HOST, .code = KN_PROV_E_RESOLVE},
    {.result = CURLE_COULDNT_CONNECT, .code = KN_PROV_E_UNREACHABLE},
    {.result = CURLE_COULDNT_RESOLVE_PROXY, .code = KN_PROV_E_PROXY},
    {.result = CURLE_PROXY, .code = KN_PROV_E_PROXY},
    {.result = CURLE_RECV_ERROR, .code = KN_PROV_E_PROXY}, /* its answer to CONNECT: TLS has code 35 */
    {.result = CURLE_SSL_CACERT_BADFILE, .code = KN_PROV_E_CA_FILE},
    {.result = CURLE_OUT_OF_MEMORY, .code = KN_PROV_E_MEMORY},
    {.result = CURLE_OPERATION_TIMEDOUT, .code = KN_PROV_E_TIMEOUT},
    {.result = CURLE_PEER_FAILED_VERIFICATION, .code = KN_PROV_E_SERVER_NAME},
};

static kn_prov_code fail_to_open(const tls_stream *tls, CURLcode result, prov_error *error)
{
    const prov_endpoint *endpoint = tls->config->endpoint;
    kn_prov_code code = KN_PROV_E_TLS;
    long verify = X509_V_OK, os_error = 0;

    if (tls->failure) {
        *error = tls->failure_error;
        return tls->failure;
    }
    if (tls->alert)
        return fail_as_alert(tls, error);
    /* OpenSSL verifies the chain in the handshake, libcurl compares the name after it. */
    (void)curl_easy_getinfo(tls->curl, CURLINFO_SSL_VERIFYRESULT, &verify);
    if (result == CURLE_PEER_FAILED_VERIFICATION && !tls->handshake_done)
        return prov_fail(error, KN_PROV_E_SERVER_UNTRUSTED, "%s:%u: %s (X509 error %ld; roots: %.200s)",
                         endpoint->host, endpoint->port, X509_verify_cert_error_string(verify), verify,
                         tls->config->ca_file ? tls->config->ca_file : "the system store");
    for (size_t i = 0; i < sizeof curl_rows / sizeof curl_rows[0]; i++) {
        if (curl_rows[i].result == result)
            code = curl_rows[i].code;
    }
    if (code == KN_PROV_E_TIMEOUT)
        return prov_fail(error, code, "no connection with %s:%u within %u.%03u s: %s", endpoint->host,
                         endpoint->port, tls->deadline->limit_ms / 1000, tls->deadline->limit_ms % 1000,
                         curl_words(tls, result));
    if (code == KN_PROV_E_UNREACHABLE)
        (void)curl_easy_getinfo(tls->curl, CURLINFO_OS_ERRNO, &os_error);
    return prov_fail(error, code, "%s:%u: %s%s%s", endpoint->host, endpoint->port, curl_words(tls, result),
                     os_error ? ": " : "", os_error ? strerrordesc_np((int)os_error) : "");
}

static kn_prov_code fail_in_stream(const tls_stream *tls, const char *doing, CURLcode result,
                                   prov_error *error)
{
    ERR_clear_error();
    if (tls->alert)
        return fail_as_alert(tls, error);
    return prov_fail(error, KN_PROV_E_CLOSED, "%s: %s", doing, curl_words(tls, result));
}

/* ---- The stream ---- */

static kn_prov_code tls_send(prov_stream *stream, const uint8_t *data, size_t size,
                             const prov_deadline *deadline, prov_error *error)
{
    tls_stream *tls = (tls_stream *)stream;
    kn_prov_code code;

    while (size > 0) {
        size_t sent = 0;
        sigpipe_guard guard = sigpipe_block();
        CURLcode result = curl_easy_send(tls->curl, data, size, &sent);

        sigpipe_restore(&guard);
        if (result == CURLE_OK) {
            data += sent;
            size -= sent;
            continue;
        }
        if (result != CURLE_AGAIN)
            return fail_in_stream(tls, deadline->step, result, error);
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
        sigpipe_guard guard = sigpipe_block(); /* a key update is answered with a write */
        CURLcode result = curl_easy_recv(tls->curl, buffer, capacity, &received);

        sigpipe_restore(&guard);
        if (result == CURLE_OK && received > 0) {
            *ret_size = received;
            return KN_PROV_OK;
        }
        if (result == CURLE_OK)
            return prov_fail(error, KN_PROV_E_CLOSED, "%s: end of stream", deadline->step);
        if (result != CURLE_AGAIN)
            return fail_in_stream(tls, deadline->step, result, error);
        if ((code = prov_deadline_check(deadline, error)))
            return code;
        prov_deadline_poll(deadline, tls->fd, POLLIN);
    }
}

static void tls_close(prov_stream *stream)
{
    tls_stream *tls = (tls_stream *)stream;
    sigpipe_guard guard = sigpipe_block();

    if (tls->curl)
        curl_easy_cleanup(tls->curl);
    sigpipe_restore(&guard);
    ERR_clear_error();
    free(tls);
    curl_global_cleanup(); /* counted by libcurl */
}

static const prov_stream_ops tls_ops = {.send = tls_send, .recv = tls_recv, .close = tls_close};

/* ---- Opening ---- */

static bool set_options(tls_stream *tls, const char *url)
{
    CURL *curl = tls->curl;
    long timeout_ms = (long)prov_deadline_left_ms(tls->deadline);
    bool ok = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;

    ok &= curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, tls->curl_text) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, set_up_ctx) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, tls) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_for_cancel) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_XFERINFODATA, tls) == CURLE_OK;
    ok &= curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms > 0 ? timeout_ms : 1L) == CURLE_OK;
    if (tls->config->ca_file) {
        /* Without the second line libcurl's built-in directory would be trusted as well. */
        ok &= curl_easy_setopt(curl, CURLOPT_CAINFO, tls->config->ca_file) == CURLE_OK;
        ok &= curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK;
    }
    return ok;
}

static kn_prov_code connect_stream(tls_stream *tls, prov_error *error)
{
    char url[PROV_HOST_MAX + 24];
    sigpipe_guard guard;
    CURLcode result;

    (void)snprintf(url, sizeof url, "https://%s:%u/", tls->config->endpoint->host,
                   tls->config->endpoint->port);
    tls->curl = curl_easy_init();
    if (!tls->curl || !set_options(tls, url))
        return prov_fail(error, KN_PROV_E_TLS, "libcurl %s lacks a TLS option that is needed",
                         curl_version_info(CURLVERSION_NOW)->version);
    guard = sigpipe_block();
    result = curl_easy_perform(tls->curl);
    sigpipe_restore(&guard);
    ERR_clear_error();
    if (result != CURLE_OK)
        return fail_to_open(tls, result, error);
    if (curl_easy_getinfo(tls->curl, CURLINFO_ACTIVESOCKET, &tls->fd) != CURLE_OK ||
        tls->fd == CURL_SOCKET_BAD)
        return prov_fail(error, KN_PROV_E_TLS, "libcurl gave no socket");
    return KN_PROV_OK;
}

kn_prov_code prov_tls_open(const prov_tls_config *config, const prov_deadline *deadline,
                           prov_stream **ret_stream, prov_error *error)
{
    tls_stream *tls;
    kn_prov_code code = prov_deadline_check(deadline, error);

    if (code)
        return code;
    tls = calloc(1, sizeof *tls);
    if (!tls)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the connection");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(tls);
        return prov_fail(error, KN_PROV_E_TLS, "libcurl cannot be initialised");
    }
    *tls = (tls_stream){
        .stream = {.ops = &tls_ops}, .fd = CURL_SOCKET_BAD, .config = config, .deadline = deadline};
    code = connect_stream(tls, error);
    tls->config = NULL;
    tls->deadline = NULL;
    if (code)
        tls_close(&tls->stream);
    else
        *ret_stream = &tls->stream;
    return code;
}

const char *prov_tls_description(const prov_stream *stream)
{
    return ((const tls_stream *)stream)->description;
}
