#include "prov_curl.h"

#include "prov_tls_credentials.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- SIGPIPE ---- */

static bool sigpipe_is_pending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

prov_sigpipe prov_sigpipe_block(void)
{
    prov_sigpipe guard = {.was_pending = sigpipe_is_pending()};
    sigset_t pipe_only;

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &guard.before);
    return guard;
}

void prov_sigpipe_restore(const prov_sigpipe *guard)
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
    prov_curl *curl = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);

    if (!curl)
        return;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value >> 8) == SSL3_AL_FATAL) {
        curl->alert = value & 0xff;
        (void)snprintf(curl->alert_text, sizeof curl->alert_text, "%s", SSL_alert_desc_string_long(value));
    }
    if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && (value & 0xff) == SSL_AD_PROTOCOL_VERSION)
        curl->version_refused = true;
    if (where & SSL_CB_HANDSHAKE_DONE) {
        curl->handshake_done = true;
        (void)snprintf(curl->description, sizeof curl->description, "%s, %s", SSL_get_version(ssl),
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

static CURLcode set_up_ctx(CURL *handle, void *ssl_ctx, void *context)
{
    prov_curl *curl = context;
    SSL_CTX *ctx = ssl_ctx;

    (void)handle;
    (void)pthread_once(&index_once, make_index);
    if (ctx_index < 0 || SSL_CTX_set_ex_data(ctx, ctx_index, curl) != 1 || !keep_system_maximum(ctx)) {
        curl->failure = prov_fail(&curl->failure_error, KN_PROV_E_MEMORY, "no memory for the TLS context");
        return CURLE_OUT_OF_MEMORY;
    }
    SSL_CTX_set_info_callback(ctx, note_alert);
    if (!curl->config->certificate_pem)
        return CURLE_OK;
    curl->failure = prov_tls_use_credentials(ctx, curl->config->certificate_pem, curl->config->key_pem,
                                             &curl->failure_error);
    return curl->failure ? CURLE_SSL_CERTPROBLEM : CURLE_OK;
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

static const char *words(const prov_curl *curl, CURLcode result)
{
    return curl->text[0] ? curl->text : curl_easy_strerror(result);
}

/* libcurl has taken the errors off OpenSSL's queue and into its text by now. */
static kn_prov_code fail_as_alert(const prov_curl *curl, prov_error *error)
{
    kn_prov_code code = is_about_certificate(curl->alert)          ? KN_PROV_E_CERTIFICATE_REFUSED
                        : curl->alert == SSL_AD_PROTOCOL_VERSION ? KN_PROV_E_TLS_VERSION
                                                                 : KN_PROV_E_TLS;

    return prov_fail(error, code, "TLS alert %d from the service, \"%s\"", curl->alert, curl->alert_text);
}

/* Of a header line over 100 KiB: CURLE_OUT_OF_MEMORY once, CURLE_TOO_LARGE (100) from curl 8.6 on. */
static bool is_too_large(CURLcode result)
{
    return result == CURLE_OUT_OF_MEMORY || (int)result == 100;
}

kn_prov_code prov_curl_fail(const prov_curl *curl, const char *doing, CURLcode result, prov_error *error)
{
    ERR_clear_error();
    if (curl->alert)
        return fail_as_alert(curl, error);
    if (is_too_large(result))
        return prov_fail(error, KN_PROV_E_RESPONSE, "%s: a header line beyond libcurl's limit, or no memory: %s", doing,
                         words(curl, result));
    return prov_fail(error, KN_PROV_E_CLOSED, "%s: %s", doing, words(curl, result));
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

static kn_prov_code fail_to_connect(const prov_curl *curl, CURLcode result, prov_error *error)
{
    const prov_endpoint *endpoint = curl->config->endpoint;
    kn_prov_code code = KN_PROV_E_TLS;
    long verify = X509_V_OK, os_error = 0, proxy_status = 0;

    /* OpenSSL verifies the chain in the handshake (or after it, from curl 8.17 on), libcurl compares the name after that. */
    (void)curl_easy_getinfo(curl->handle, CURLINFO_SSL_VERIFYRESULT, &verify);
    const bool chain_refused = verify != X509_V_OK && verify != X509_V_ERR_UNSPECIFIED; /* the latter is libcurl's for a name */
    if (result == CURLE_PEER_FAILED_VERIFICATION && (!curl->handshake_done || chain_refused))
        return prov_fail(error, KN_PROV_E_SERVER_UNTRUSTED, "%s:%u: %s (X509 error %ld; roots: %.200s)",
                         endpoint->host, endpoint->port, X509_verify_cert_error_string(verify), verify,
                         curl->config->ca_file ? curl->config->ca_file : "the system store");
    for (size_t i = 0; i < sizeof curl_rows / sizeof curl_rows[0]; i++) {
        if (curl_rows[i].result == result)
            code = curl_rows[i].code;
    }
    if (curl->version_refused)
        code = KN_PROV_E_TLS_VERSION;
    /* the proxy's refusal: CURLE_RECV_ERROR once, CURLE_COULDNT_CONNECT from curl 8.17 on */
    (void)curl_easy_getinfo(curl->handle, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    if (code == KN_PROV_E_UNREACHABLE && proxy_status >= 300)
        code = KN_PROV_E_PROXY;
    if (code == KN_PROV_E_TIMEOUT)
        return prov_fail(error, code, "no connection with %s:%u within %u.%03u s: %s", endpoint->host,
                         endpoint->port, curl->deadline->limit_ms / 1000, curl->deadline->limit_ms % 1000,
                         words(curl, result));
    if (code == KN_PROV_E_UNREACHABLE)
        (void)curl_easy_getinfo(curl->handle, CURLINFO_OS_ERRNO, &os_error);
    return prov_fail(error, code, "%s:%u: %s%s%s", endpoint->host, endpoint->port, words(curl, result),
                     os_error ? ": " : "", os_error ? strerrordesc_np((int)os_error) : "");
}

/* ---- The handle ---- */

static bool set_options(prov_curl *curl, const char *url)
{
    CURL *handle = curl->handle;
    const prov_tls_config *config = curl->config;
    bool ok = curl_easy_setopt(handle, CURLOPT_URL, url) == CURLE_OK;

    ok &= curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, curl->text) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_CTX_FUNCTION, set_up_ctx) == CURLE_OK;
    ok &= curl_easy_setopt(handle, CURLOPT_SSL_CTX_DATA, curl) == CURLE_OK;
    if (config->ca_file) {
        /* Without the second line libcurl's built-in directory would be trusted as well. */
        ok &= curl_easy_setopt(handle, CURLOPT_CAINFO, config->ca_file) == CURLE_OK;
        ok &= curl_easy_setopt(handle, CURLOPT_CAPATH, NULL) == CURLE_OK;
    }
    if (config->proxy) {
        ok &= curl_easy_setopt(handle, CURLOPT_PROXY, config->proxy) == CURLE_OK;
        ok &= curl_easy_setopt(handle, CURLOPT_NOPROXY, "") == CURLE_OK; /* the environment's is for the environment's */
    }
    if (config->proxy_user) {
        ok &= curl_easy_setopt(handle, CURLOPT_PROXYUSERNAME, config->proxy_user) == CURLE_OK;
        ok &= curl_easy_setopt(handle, CURLOPT_PROXYPASSWORD,
                               config->proxy_password ? config->proxy_password : "") == CURLE_OK;
        ok &= curl_easy_setopt(handle, CURLOPT_PROXYAUTH, (long)CURLAUTH_ANY) == CURLE_OK;
    }
    return ok;
}

kn_prov_code prov_curl_init(prov_curl *curl, const prov_tls_config *config, const char *path,
                            prov_error *error)
{
    char url[PROV_HOST_MAX + PROV_CURL_PATH_MAX + 24];
    int length =
        snprintf(url, sizeof url, "https://%s:%u%s", config->endpoint->host, config->endpoint->port, path);

    *curl = (prov_curl){.config = config};
    if (length < 0 || (size_t)length >= sizeof url)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "a path of more than %u bytes", PROV_CURL_PATH_MAX);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return prov_fail(error, KN_PROV_E_TLS, "libcurl cannot be initialised");
    curl->handle = curl_easy_init();
    curl->multi = curl_multi_init();
    if (curl->handle && curl->multi && set_options(curl, url))
        return KN_PROV_OK;
    if (curl->handle || curl->multi)
        prov_curl_clear(curl);
    else
        curl_global_cleanup();
    return prov_fail(error, KN_PROV_E_TLS, "libcurl %s lacks a TLS option that is needed",
                     curl_version_info(CURLVERSION_NOW)->version);
}

static kn_prov_code fail_to_perform(const prov_curl *curl, CURLcode result, prov_error *error)
{
    if (curl->failure) {
        *error = curl->failure_error;
        return curl->failure;
    }
    if (curl->alert)
        return fail_as_alert(curl, error);
    /* A name that does not fit is found after the handshake. */
    if (curl->handshake_done && result != CURLE_PEER_FAILED_VERIFICATION &&
        result != CURLE_OPERATION_TIMEDOUT)
        return prov_curl_fail(curl, curl->deadline->step, result, error);
    return fail_to_connect(curl, result, error);
}

/* curl_easy_perform() with the deadline looked at in every slice: from curl 8.17 on its own progress callback is not
 * called while it connects. CONNECT_ONLY's connection belongs to the multi handle, so that lives as long as the easy one. */
static CURLcode perform(prov_curl *curl)
{
    CURLcode result = CURLE_OK;
    int running = 1, left;
    CURLMsg *message;

    if (curl_multi_add_handle(curl->multi, curl->handle) != CURLM_OK)
        return CURLE_FAILED_INIT;
    for (;;) {
        int64_t left_ms = prov_deadline_left_ms(curl->deadline);

        if (curl_multi_perform(curl->multi, &running) != CURLM_OK) {
            result = CURLE_FAILED_INIT;
            break;
        }
        if (!running)
            break;
        if (curl->failure == KN_PROV_OK)
            curl->failure = prov_deadline_check(curl->deadline, &curl->failure_error);
        if (curl->failure) {
            result = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        (void)curl_multi_poll(curl->multi, NULL, 0, left_ms < PROV_SLICE_MS ? (int)left_ms : PROV_SLICE_MS, NULL);
    }
    while ((message = curl_multi_info_read(curl->multi, &left)))
        if (message->msg == CURLMSG_DONE && result == CURLE_OK)
            result = message->data.result;
    return result;
}

kn_prov_code prov_curl_perform(prov_curl *curl, const prov_deadline *deadline, prov_error *error)
{
    kn_prov_code code = prov_deadline_check(deadline, error);
    long timeout_ms = (long)prov_deadline_left_ms(deadline);
    prov_sigpipe guard;
    CURLcode result;

    if (code)
        return code;
    curl->deadline = deadline;
    curl->failure = KN_PROV_OK;
    curl->text[0] = '\0';
    (void)curl_easy_setopt(curl->handle, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms > 0 ? timeout_ms : 1L);
    guard = prov_sigpipe_block();
    (void)curl_multi_remove_handle(curl->multi, curl->handle); /* of the transfer before */
    result = perform(curl);
    prov_sigpipe_restore(&guard);
    ERR_clear_error();
    if (result != CURLE_OK)
        code = fail_to_perform(curl, result, error);
    curl->deadline = NULL;
    return code;
}

void prov_curl_clear(prov_curl *curl)
{
    if (curl->handle || curl->multi) {
        prov_sigpipe guard = prov_sigpipe_block();

        if (curl->handle && curl->multi)
            (void)curl_multi_remove_handle(curl->multi, curl->handle);
        curl_easy_cleanup(curl->handle);
        (void)curl_multi_cleanup(curl->multi);
        prov_sigpipe_restore(&guard);
        ERR_clear_error();
        curl_global_cleanup(); /* counted by libcurl */
    }
    *curl = (prov_curl){.handle = NULL};
}
