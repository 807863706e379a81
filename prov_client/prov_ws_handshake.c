/* The pure half of prov_ws.h: what is asked and answered in HTTP. */
#include "prov_ws.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool prov_ws_accept_of(const char *key, char ret_accept[PROV_WS_ACCEPT_MAX])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* section 1.3 */
    char text[96];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    int length = snprintf(text, sizeof text, "%s%s", key, guid);

    if (length < 0 || (size_t)length >= sizeof text ||
        EVP_Digest(text, (size_t)length, digest, &digest_size, EVP_sha1(), NULL) != 1)
        return false;
    return EVP_EncodeBlock((unsigned char *)ret_accept, digest, (int)digest_size) > 0;
}

/* The next line of @text without its end, in @ret_line; returns what follows it. NULL: there is none. */
static const char *next_line(const char *text, const char *end, const char **ret_line, size_t *ret_size)
{
    const char *feed = text < end ? memchr(text, '\n', (size_t)(end - text)) : NULL;

    if (!feed)
        return NULL;
    *ret_line = text;
    *ret_size = (size_t)(feed - text);
    if (*ret_size > 0 && text[*ret_size - 1] == '\r')
        (*ret_size)--;
    return feed + 1;
}

/* The value of the header @name, blanks around it removed. False when it is missing or there twice. */
static bool header(const char *text, const char *end, const char *name, const char **ret_value,
                   size_t *ret_size)
{
    size_t name_size = strlen(name), size, found = 0;
    const char *line;

    while ((text = next_line(text, end, &line, &size)) && size > 0) {
        if (size <= name_size || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0)
            continue;
        line += name_size + 1;
        size -= name_size + 1;
        while (size > 0 && (*line == ' ' || *line == '\t')) {
            line++;
            size--;
        }
        while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t'))
            size--;
        *ret_value = line;
        *ret_size = size;
        found++;
    }
    return found == 1;
}

static bool is_text(const char *value, size_t size, const char *expected, bool any_case)
{
    return size == strlen(expected) &&
           (any_case ? strncasecmp(value, expected, size) : strncmp(value, expected, size)) == 0;
}

static bool has_token(const char *value, size_t size, const char *token)
{
    while (size > 0) {
        const char *comma = memchr(value, ',', size);
        size_t length = comma ? (size_t)(comma - value) : size;
        size_t from = 0, to = length;

        while (from < to && (value[from] == ' ' || value[from] == '\t'))
            from++;
        while (to > from && (value[to - 1] == ' ' || value[to - 1] == '\t'))
            to--;
        if (is_text(value + from, to - from, token, true))
            return true;
        length += comma != NULL;
        value += length;
        size -= length;
    }
    return false;
}

static kn_prov_code check_status(const char *line, size_t size, prov_error *error)
{
    int status = 0;

    if (size < 12 || strncmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the answer to the WebSocket request is not HTTP/1.1");
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return prov_fail(error, KN_PROV_E_PROTOCOL, "the answer to the WebSocket request has no status");
        status = status * 10 + (line[i] - '0');
    }
    if (status == 101)
        return KN_PROV_OK;
    return prov_fail(error, status == 401 || status == 403 ? KN_PROV_E_CONNECT_REFUSED : KN_PROV_E_PROTOCOL,
                     "HTTP status %d instead of 101 for the WebSocket %s", status, PROV_WS_PATH);
}

kn_prov_code prov_ws_check_answer(const char *answer, size_t size, const char *accept, const char *protocol,
                                  prov_error *error)
{
    const char *end = answer + size, *line, *value;
    const char *rest = next_line(answer, end, &line, &size);
    kn_prov_code code;
    size_t length;

    if (!rest)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "an empty answer to the WebSocket request");
    if ((code = check_status(line, size, error)))
        return code;
    if (!header(rest, end, "Upgrade", &value, &length) || !is_text(value, length, "websocket", true) ||
        !header(rest, end, "Connection", &value, &length) || !has_token(value, length, "upgrade"))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the server does not upgrade to WebSocket");
    if (!header(rest, end, "Sec-WebSocket-Accept", &value, &length) || !is_text(value, length, accept, false))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "Sec-WebSocket-Accept does not fit the request");
    if (header(rest, end, "Sec-WebSocket-Extensions", &value, &length))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "a WebSocket extension that was not offered");
    if (!header(rest, end, "Sec-WebSocket-Protocol", &value, &length) ||
        !is_text(value, length, protocol, true))
        return prov_fail(error, KN_PROV_E_PROTOCOL, "the WebSocket is not for the protocol %s", protocol);
    return KN_PROV_OK;
}
