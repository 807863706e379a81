#include "dps_http_codec.h"

#include <string.h>

#include <openssl/crypto.h>

static const dps_http_err_row err_rows[] = {
    [DPS_HTTP_OK] = {200, "ok"},
    [DPS_HTTP_E_MALFORMED] = {400, "the request cannot be parsed"},
    [DPS_HTTP_E_VERSION] = {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"},
    [DPS_HTTP_E_TARGET_LONG] = {414, "path and query are longer than 4096 bytes"},
    [DPS_HTTP_E_HEAD_LONG] = {431, "more than 16384 bytes or 64 fields of header"},
    [DPS_HTTP_E_BODY_LONG] = {413, "the body is longer than 327680 bytes"},
    [DPS_HTTP_E_LENGTH] = {400, "Content-Length is not one number, or comes with Transfer-Encoding"},
    [DPS_HTTP_E_CODING] = {501, "the only Transfer-Encoding known here is chunked"},
    [DPS_HTTP_E_HOST] = {400, "there is not exactly one Host field"},
    [DPS_HTTP_E_EXPECT] = {417, "the only expectation known here is 100-continue"},
    [DPS_HTTP_E_MEMORY] = {503, "out of memory"},
};

const dps_http_err_row *dps_http_err_info(dps_http_err err)
{
    return &err_rows[err];
}

static bool span_is_nocase(dps_span span, const char *text)
{
    return dps_text_equal_nocase(span.at, span.len, text, strlen(text));
}

/* RFC 9110, 5.6.2 */
static bool is_token(dps_span span)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < span.len; i++) {
        char c = span.at[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return span.len > 0;
}

static bool is_visible(dps_span span)
{
    for (size_t i = 0; i < span.len; i++) {
        if (span.at[i] <= ' ' || span.at[i] == 0x7f)
            return false;
    }
    return span.len > 0;
}

/* Field values may have spaces, tabs and bytes above 0x7f, but no other control characters. */
static bool is_value(dps_span span)
{
    for (size_t i = 0; i < span.len; i++) {
        unsigned char c = (unsigned char)span.at[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static dps_span trim(dps_span span)
{
    while (span.len > 0 && (span.at[0] == ' ' || span.at[0] == '\t')) {
        span.at++;
        span.len--;
    }
    while (span.len > 0 && (span.at[span.len - 1] == ' ' || span.at[span.len - 1] == '\t'))
        span.len--;
    return span;
}

/* The next line without its CRLF; false when there is none. */
static bool next_line(dps_span *rest, dps_span *ret_line)
{
    const char *end = rest->len > 0 ? memchr(rest->at, '\n', rest->len) : NULL;
    if (end == NULL || end == rest->at || end[-1] != '\r')
        return false;
    *ret_line = (dps_span){rest->at, (size_t)(end - rest->at) - 1};
    rest->len -= (size_t)(end - rest->at) + 1;
    rest->at = end + 1;
    return true;
}

/* "PUT /path?query HTTP/1.1" (RFC 9112, 3) */
static dps_http_err parse_request_line(dps_span line, dps_http_head *head, bool *ret_old)
{
    const char *first = line.len > 0 ? memchr(line.at, ' ', line.len) : NULL;
    if (first == NULL)
        return DPS_HTTP_E_MALFORMED;
    head->method = (dps_span){line.at, (size_t)(first - line.at)};
    dps_span rest = {first + 1, line.len - head->method.len - 1};
    const char *second = rest.len > 0 ? memchr(rest.at, ' ', rest.len) : NULL;
    if (second == NULL)
        return DPS_HTTP_E_MALFORMED;
    dps_span target = {rest.at, (size_t)(second - rest.at)};
    dps_span version = {second + 1, rest.len - target.len - 1};
    if (!is_token(head->method) || !is_visible(target) || target.at[0] != '/')
        return DPS_HTTP_E_MALFORMED;
    if (target.len > DPS_HTTP_TARGET_MAX)
        return DPS_HTTP_E_TARGET_LONG;
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0)
        return DPS_HTTP_E_MALFORMED;
    if (!dps_span_is(version, "HTTP/1.1") && !dps_span_is(version, "HTTP/1.0"))
        return DPS_HTTP_E_VERSION;
    *ret_old = dps_span_is(version, "HTTP/1.0");
    const char *mark = memchr(target.at, '?', target.len);
    head->path = (dps_span){target.at, mark != NULL ? (size_t)(mark - target.at) : target.len};
    head->query = (dps_span){"", 0};
    if (mark != NULL)
        head->query = (dps_span){mark + 1, target.len - head->path.len - 1};
    return DPS_HTTP_OK;
}

static dps_http_err parse_field(dps_span line, dps_http_head *head)
{
    const char *colon = line.len > 0 ? memchr(line.at, ':', line.len) : NULL;
    if (colon == NULL)
        return DPS_HTTP_E_MALFORMED; /* also a folded line, which RFC 9112, 5.2 forbids */
    dps_http_field field = {.name = {line.at, (size_t)(colon - line.at)}};
    field.value = trim((dps_span){colon + 1, line.len - field.name.len - 1});
    if (!is_token(field.name) || !is_value(field.value))
        return DPS_HTTP_E_MALFORMED;
    if (head->field_count == DPS_HTTP_FIELDS_MAX)
        return DPS_HTTP_E_HEAD_LONG;
    head->fields[head->field_count++] = field;
    return DPS_HTTP_OK;
}

static size_t count_fields(const dps_http_head *head, const char *name, dps_span *ret_value)
{
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        if (span_is_nocase(head->fields[i].name, name)) {
            *ret_value = head->fields[i].value;
            count++;
        }
    }
    return count;
}

dps_span dps_http_field_get(const dps_http_head *head, const char *name)
{
    dps_span value = {"", 0};
    return count_fields(head, name, &value) == 1 ? value : (dps_span){"", 0};
}

bool dps_http_list_has(dps_span value, const char *token)
{
    while (value.len > 0) {
        const char *comma = memchr(value.at, ',', value.len);
        size_t n = comma != NULL ? (size_t)(comma - value.at) : value.len;
        if (span_is_nocase(trim((dps_span){value.at, n}), token))
            return true;
        size_t skip = comma != NULL ? n + 1 : n;
        value = (dps_span){value.at + skip, value.len - skip};
    }
    return false;
}

static bool parse_size(dps_span text, size_t max, size_t *ret_size)
{
    size_t size = 0;
    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        size = size * 10 + (size_t)(text.at[i] - '0');
    }
    *ret_size = size > max ? max + 1 : size;
    return true;
}

/* How the body comes (RFC 9112, 6). Two ways at once is how requests are smuggled. */
static dps_http_err parse_framing(dps_http_head *head)
{
    dps_span coding = {"", 0};
    dps_span length = {"", 0};
    size_t codings = count_fields(head, "transfer-encoding", &coding);
    size_t lengths = count_fields(head, "content-length", &length);
    if (codings > 0 && lengths > 0)
        return DPS_HTTP_E_LENGTH;
    if (codings > 0) {
        if (codings > 1 || !span_is_nocase(coding, "chunked"))
            return DPS_HTTP_E_CODING;
        head->chunked = true;
    }
    if (lengths > 1 || (lengths == 1 && !parse_size(length, DPS_HTTP_BODY_MAX, &head->content_length)))
        return DPS_HTTP_E_LENGTH;
    return head->content_length > DPS_HTTP_BODY_MAX ? DPS_HTTP_E_BODY_LONG : DPS_HTTP_OK;
}

static dps_http_err parse_connection(dps_http_head *head, bool old)
{
    dps_span value = {"", 0};
    if (count_fields(head, "host", &value) != 1)
        return DPS_HTTP_E_HOST;
    head->keep_alive = !old;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!span_is_nocase(head->fields[i].name, "connection"))
            continue;
        if (dps_http_list_has(head->fields[i].value, "close"))
            head->keep_alive = false;
    }
    size_t expectations = count_fields(head, "expect", &value);
    if (expectations > 1 || (expectations == 1 && !span_is_nocase(value, "100-continue")))
        return DPS_HTTP_E_EXPECT;
    head->expects_continue = expectations == 1 && !old;
    return DPS_HTTP_OK;
}

dps_http_err dps_http_parse_head(dps_span text, dps_http_head *ret_head)
{
    dps_http_head head = {.field_count = 0};
    dps_span line;
    bool old = false;
    if (text.len > DPS_HTTP_HEAD_MAX)
        return DPS_HTTP_E_HEAD_LONG;
    if (!next_line(&text, &line))
        return DPS_HTTP_E_MALFORMED;
    dps_http_err err = parse_request_line(line, &head, &old);
    for (;;) {
        if (err != DPS_HTTP_OK)
            return err;
        if (!next_line(&text, &line))
            return DPS_HTTP_E_MALFORMED;
        if (line.len == 0)
            break;
        err = parse_field(line, &head);
    }
    if (text.len > 0)
        return DPS_HTTP_E_MALFORMED;
    err = parse_framing(&head);
    if (err == DPS_HTTP_OK)
        err = parse_connection(&head, old);
    if (err == DPS_HTTP_OK)
        *ret_head = head;
    return err;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool dps_http_decode(dps_span text, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int high = text.len - i >= 3 ? hex_digit(text.at[i + 1]) : -1;
            int low = text.len - i >= 3 ? hex_digit(text.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0' || n + 1 >= cap)
            return false;
        out[n++] = c;
    }
    if (cap == 0)
        return false;
    out[n] = '\0';
    return true;
}

bool dps_http_query_get(dps_span query, const char *name, char *out, size_t cap)
{
    bool seen = false;
    while (query.len > 0) {
        const char *end = memchr(query.at, '&', query.len);
        dps_span pair = {query.at, end != NULL ? (size_t)(end - query.at) : query.len};
        size_t skip = end != NULL ? pair.len + 1 : pair.len;
        query = (dps_span){query.at + skip, query.len - skip};
        const char *equals = pair.len > 0 ? memchr(pair.at, '=', pair.len) : NULL;
        dps_span key = {pair.at, equals != NULL ? (size_t)(equals - pair.at) : pair.len};
        if (!dps_span_is(key, name))
            continue;
        dps_span value = {"", 0};
        if (equals != NULL)
            value = (dps_span){equals + 1, pair.len - key.len - 1};
        if (seen || !dps_http_decode(value, out, cap))
            return false;
        seen = true;
    }
    return seen;
}

/* Takes bytes up to and with the empty line that ends the head. */
static dps_http_err feed_head(dps_http_reader *r, const uint8_t *bytes, size_t n, size_t *ret_used)
{
    size_t used = 0;
    while (used < n) {
        const uint8_t *end = memchr(bytes + used, '\n', n - used);
        size_t piece = end != NULL ? (size_t)(end - (bytes + used)) + 1 : n - used;
        if (r->head_bytes.len + piece > DPS_HTTP_HEAD_MAX)
            return DPS_HTTP_E_HEAD_LONG;
        if (!dps_buffer_append(&r->head_bytes, bytes + used, piece, DPS_HTTP_HEAD_MAX))
            return DPS_HTTP_E_MEMORY;
        used += piece;
        const uint8_t *head = dps_buffer_bytes(&r->head_bytes);
        size_t len = r->head_bytes.len;
        if (len == 2 && memcmp(head, "\r\n", 2) == 0) {
            dps_buffer_take(&r->head_bytes, 2); /* RFC 9112, 2.2: an empty line before the request */
            continue;
        }
        if (end == NULL || len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0)
            continue;
        *ret_used = used;
        dps_http_err err = dps_http_parse_head((dps_span){(const char *)head, len}, &r->head);
        if (err != DPS_HTTP_OK)
            return err;
        r->wanted = r->head.content_length;
        r->state = r->head.chunked ? DPS_HTTP_IN_CHUNK_SIZE
                   : r->wanted > 0 ? DPS_HTTP_IN_BODY
                                   : DPS_HTTP_COMPLETE;
        return DPS_HTTP_OK;
    }
    *ret_used = used;
    return DPS_HTTP_OK;
}

static dps_http_err feed_body(dps_http_reader *r, const uint8_t *bytes, size_t n, size_t *ret_used)
{
    size_t piece = n < r->wanted ? n : r->wanted;
    if (r->body.len + piece > DPS_HTTP_BODY_MAX)
        return DPS_HTTP_E_BODY_LONG;
    if (!dps_buffer_append(&r->body, bytes, piece, DPS_HTTP_BODY_MAX))
        return DPS_HTTP_E_MEMORY;
    r->wanted -= piece;
    *ret_used = piece;
    if (r->wanted == 0)
        r->state = r->state == DPS_HTTP_IN_BODY ? DPS_HTTP_COMPLETE : DPS_HTTP_IN_CHUNK_END;
    return DPS_HTTP_OK;
}

/* "1a3[;extension]" (RFC 9112, 7.1) */
static dps_http_err chunk_size(dps_http_reader *r)
{
    size_t size = 0;
    size_t i = 0;
    for (; i < r->line_len && hex_digit(r->line[i]) >= 0; i++) {
        if (i == 7)
            return DPS_HTTP_E_BODY_LONG;
        size = size << 4 | (size_t)hex_digit(r->line[i]);
    }
    dps_span rest = trim((dps_span){r->line + i, r->line_len - i});
    if (i == 0 || (rest.len > 0 && rest.at[0] != ';') || !is_value(rest))
        return DPS_HTTP_E_MALFORMED;
    if (size > DPS_HTTP_BODY_MAX - r->body.len)
        return DPS_HTTP_E_BODY_LONG;
    r->wanted = size;
    r->state = size > 0 ? DPS_HTTP_IN_CHUNK : DPS_HTTP_IN_TRAILER;
    return DPS_HTTP_OK;
}

static dps_http_err end_of_line(dps_http_reader *r)
{
    if (r->line_len == 0 || r->line[r->line_len - 1] != '\r')
        return DPS_HTTP_E_MALFORMED;
    r->line_len--;
    dps_http_err err = DPS_HTTP_OK;
    if (r->state == DPS_HTTP_IN_CHUNK_SIZE) {
        err = chunk_size(r);
    } else if (r->state == DPS_HTTP_IN_CHUNK_END) {
        err = r->line_len == 0 ? DPS_HTTP_OK : DPS_HTTP_E_MALFORMED;
        r->state = DPS_HTTP_IN_CHUNK_SIZE;
    } else if (r->line_len == 0) {
        r->state = DPS_HTTP_COMPLETE;
    } else if (++r->trailers > DPS_HTTP_TRAILERS_MAX) {
        err = DPS_HTTP_E_HEAD_LONG; /* what is in trailers is not looked at */
    }
    r->line_len = 0;
    return err;
}

static dps_http_err feed_line(dps_http_reader *r, const uint8_t *bytes, size_t n, size_t *ret_used)
{
    for (size_t i = 0; i < n; i++) {
        *ret_used = i + 1;
        if (bytes[i] == '\n')
            return end_of_line(r);
        if (r->line_len == sizeof(r->line))
            return DPS_HTTP_E_HEAD_LONG;
        r->line[r->line_len++] = (char)bytes[i];
    }
    return DPS_HTTP_OK;
}

dps_http_err dps_http_reader_feed(dps_http_reader *reader, const uint8_t *bytes, size_t n, size_t *ret_used,
                                  bool *ret_continue)
{
    *ret_used = 0;
    *ret_continue = false;
    while (*ret_used < n && reader->state != DPS_HTTP_COMPLETE) {
        size_t used = 0;
        dps_http_err err = DPS_HTTP_OK;
        switch (reader->state) {
        case DPS_HTTP_IN_HEAD:
            err = feed_head(reader, bytes + *ret_used, n - *ret_used, &used);
            break;
        case DPS_HTTP_IN_BODY:
        case DPS_HTTP_IN_CHUNK:
            err = feed_body(reader, bytes + *ret_used, n - *ret_used, &used);
            break;
        case DPS_HTTP_IN_CHUNK_SIZE:
        case DPS_HTTP_IN_CHUNK_END:
        case DPS_HTTP_IN_TRAILER:
            err = feed_line(reader, bytes + *ret_used, n - *ret_used, &used);
            break;
        case DPS_HTTP_COMPLETE:
            break;
        }
        *ret_used += used;
        if (err != DPS_HTTP_OK)
            return err;
    }
    *ret_continue = reader->state > DPS_HTTP_IN_HEAD && reader->state < DPS_HTTP_COMPLETE &&
                    reader->head.expects_continue && reader->body.len == 0;
    if (*ret_continue)
        reader->head.expects_continue = false; /* once */
    return DPS_HTTP_OK;
}

void dps_http_reader_free(dps_http_reader *reader)
{
    dps_buffer_free(&reader->head_bytes);
    dps_buffer_free(&reader->body);
    OPENSSL_cleanse(reader, sizeof(*reader)); /* the line may be what a client took for a body */
    *reader = (dps_http_reader){0};
}
