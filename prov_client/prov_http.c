#include "prov_http.h"

#include "prov_curl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct prov_http {
    prov_curl curl;
    const prov_endpoint *endpoint;
    prov_http_answer answer; /* while it arrives */
    bool too_large, header_too_large, out_of_memory;
};

uint32_t prov_http_seconds(const char *text, size_t size)
{
    uint32_t seconds = 0;

    if (size == 0 || size > 6)
        return 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        seconds = seconds * 10 + (uint32_t)(text[i] - '0');
    }
    return seconds;
}

/* ---- what libcurl calls ---- */

/* The value of the header @name, without blanks around it; NULL when @line is another header. */
static const char *value_of(const char *line, size_t size, const char *name, size_t *ret_size)
{
    size_t length = strlen(name);

    if (size <= length || strncasecmp(line, name, length) != 0 || line[length] != ':')
        return NULL;
    line += length + 1;
    size -= length + 1;
    while (size > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        size--;
    }
    while (size > 0 && strchr(" \t\r\n", line[size - 1]))
        size--;
    *ret_size = size;
    return line;
}

/* False when the value has no room: a page's continuation that was lost would look like the last page. */
static bool keep(const char *line, size_t size, const char *name, char *ret_text)
{
    size_t length;
    const char *value = value_of(line, size, name, &length);

    if (!value)
        return true;
    if (length >= PROV_HTTP_HEADER_MAX)
        return false;
    memcpy(ret_text, value, length);
    ret_text[length] = '\0';
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    prov_http *http = context;
    size_t length, total = size * count;
    const char *value = value_of(line, total, "Retry-After", &length);

    if (total > 5 &&
        memcmp(line, "HTTP/", 5) == 0) { /* a new answer: the one before was "100 Continue" or a proxy's */
        http->answer.retry_after_s = 0;
        http->answer.etag[0] = http->answer.continuation[0] = '\0';
    }
    if (value)
        http->answer.retry_after_s = prov_http_seconds(value, length);
    if (!keep(line, total, "ETag", http->answer.etag) ||
        !keep(line, total, "x-ms-continuation", http->answer.continuation)) {
        http->header_too_large = true;
        return 0;
    }
    return total;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    prov_http *http = context;
    size_t total = size * count;
    char *grown;

    if (total > PROV_HTTP_BODY_MAX - http->answer.body_size) {
        http->too_large = true;
        return 0;
    }
    grown = realloc(http->answer.body, http->answer.body_size + total + 1);
    if (!grown) {
        http->out_of_memory = true;
        return 0;
    }
    memcpy(grown + http->answer.body_size, data, total);
    http->answer.body = grown;
    http->answer.body_size += total;
    grown[http->answer.body_size] = '\0';
    return total;
}

/* ---- calls ---- */

kn_prov_code prov_http_open(const prov_tls_config *config, prov_http **ret_http, prov_error *error)
{
    prov_http *http = calloc(1, sizeof *http);
    kn_prov_code code;
    CURL *handle;

    if (!http)
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the connection");
    http->endpoint = config->endpoint;
    if ((code = prov_curl_init(&http->curl, config, "/", error))) {
        free(http);
        return code;
    }
    handle = http->curl.handle;
    if (curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HEADERDATA, http) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, http) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) != CURLE_OK ||
        curl_easy_setopt(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) != CURLE_OK) {
        prov_http_close(&http);
        return prov_fail(error, KN_PROV_E_TLS, "libcurl lacks an HTTP option that is needed");
    }
    *ret_http = http;
    return KN_PROV_OK;
}

static bool set_request(prov_http *http, const prov_http_request *request, struct curl_slist *headers)
{
    CURL *handle = http->curl.handle;
    char url[PROV_HOST_MAX + PROV_CURL_PATH_MAX + 24];
    int length = snprintf(url, sizeof url, "https://%s:%u%s", http->endpoint->host, http->endpoint->port,
                          request->path);
    bool ok = length > 0 && (size_t)length < sizeof url;

    ok = ok && curl_easy_setopt(handle, CURLOPT_URL, url) == CURLE_OK;
    ok = ok && curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE,
                                request->body ? (long)request->body_size : -1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request->body) == CURLE_OK;
    if (!request->body)
        ok = ok && curl_easy_setopt(handle, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    return ok && curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
}

static struct curl_slist *make_headers(const prov_http_request *request)
{
    struct curl_slist *headers = NULL;

    for (size_t i = 0; i < PROV_HTTP_HEADERS_MAX && request->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(headers, request->headers[i]);

        if (!longer) {
            curl_slist_free_all(headers);
            return NULL;
        }
        headers = longer;
    }
    return headers;
}

kn_prov_code prov_http_exchange(prov_http *http, const prov_http_request *request,
                                const prov_deadline *deadline, prov_http_answer *ret_answer,
                                prov_error *error)
{
    struct curl_slist *headers = make_headers(request);
    kn_prov_code code = KN_PROV_OK;
    long status = 0;

    http->answer = (prov_http_answer){.status = 0};
    http->too_large = http->header_too_large = http->out_of_memory = false;
    if ((request->headers[0] && !headers) || !set_request(http, request, headers))
        code = prov_fail(error, KN_PROV_E_ARGUMENT, "the request cannot be made: %s", deadline->step);
    if (code == KN_PROV_OK)
        code = prov_curl_perform(&http->curl, deadline, error);
    (void)curl_easy_setopt(http->curl.handle, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (http->too_large)
        code = prov_fail(error, KN_PROV_E_RESPONSE, "an answer of more than %u bytes", PROV_HTTP_BODY_MAX);
    if (http->header_too_large)
        code = prov_fail(error, KN_PROV_E_RESPONSE, "a header field of %u bytes or more", PROV_HTTP_HEADER_MAX);
    if (http->out_of_memory)
        code = prov_fail(error, KN_PROV_E_MEMORY, "no memory for the answer");
    (void)curl_easy_getinfo(http->curl.handle, CURLINFO_RESPONSE_CODE, &status);
    http->answer.status = (int)status;
    if (code)
        prov_http_answer_clear(&http->answer);
    else
        *ret_answer = http->answer;
    http->answer = (prov_http_answer){.status = 0};
    return code;
}

const char *prov_http_description(const prov_http *http)
{
    return http->curl.description;
}

void prov_http_answer_clear(prov_http_answer *answer)
{
    free(answer->body);
    *answer = (prov_http_answer){.status = 0};
}

void prov_http_close(prov_http **http)
{
    if (!*http)
        return;
    prov_curl_clear(&(*http)->curl);
    free((*http)->answer.body);
    free(*http);
    *http = NULL;
}
