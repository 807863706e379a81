/* HTTP requests to keynym-dps: the same bytes in one piece and in pieces must be the same request. */
#include "fuzz_driver.h"

#include <stdlib.h>
#include <string.h>

#include "dps_http_codec.h"

static void check(int ok)
{
    if (!ok)
        abort();
}

static dps_http_err read_request(const uint8_t *data, size_t size, size_t piece, dps_http_reader *reader)
{
    size_t at = 0;
    dps_http_err err = DPS_HTTP_OK;
    while (at < size && err == DPS_HTTP_OK && reader->state != DPS_HTTP_COMPLETE) {
        size_t n = size - at < piece ? size - at : piece;
        size_t used = 0;
        bool wants_continue = false;
        err = dps_http_reader_feed(reader, data + at, n, &used, &wants_continue);
        check(used <= n && (used > 0 || err != DPS_HTTP_OK));
        check(reader->head_bytes.len <= DPS_HTTP_HEAD_MAX && reader->body.len <= DPS_HTTP_BODY_MAX);
        at += used;
    }
    return err;
}

static void look(const dps_http_head *head)
{
    char out[64];
    check(head->path.len > 0 && head->path.at[0] == '/' && head->field_count <= DPS_HTTP_FIELDS_MAX);
    check(head->content_length <= DPS_HTTP_BODY_MAX && !(head->chunked && head->content_length > 0));
    if (dps_http_decode(head->path, out, sizeof(out)))
        check(strlen(out) < sizeof(out));
    if (dps_http_query_get(head->query, "api-version", out, sizeof(out)))
        check(strlen(out) < sizeof(out));
    dps_span value = dps_http_field_get(head, "authorization");
    check(value.at != NULL);
    (void)dps_http_list_has(value, "x");
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    dps_http_reader whole = {0};
    dps_http_reader pieces = {0};
    dps_http_err err = read_request(data + 1, size - 1, size, &whole);
    check(err == read_request(data + 1, size - 1, data[0] == 0 ? 1 : data[0], &pieces));
    check(err < DPS_HTTP_OK + 11 && dps_http_err_info(err)->status >= 200);
    if (err == DPS_HTTP_OK && whole.state == DPS_HTTP_COMPLETE) {
        check(pieces.state == DPS_HTTP_COMPLETE && whole.body.len == pieces.body.len);
        if (whole.body.len > 0)
            check(memcmp(dps_buffer_bytes(&whole.body), dps_buffer_bytes(&pieces.body), whole.body.len) == 0);
        look(&whole.head);
    }
    dps_http_reader_free(&whole);
    dps_http_reader_free(&pieces);
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const char put[] =
        "\x07PUT /0ne1/registrations/d%2Fv/register?api-version=2019-03-31&a=%41 HTTP/1.1\r\n"
        "Host: x\r\nAuthorization: SharedAccessSignature sr=a&sig=b\r\nExpect: 100-continue\r\n"
        "Content-Length: 5\r\n\r\nhello";
    static const char chunked[] = "\x03POST /devices/d/messages/events HTTP/1.1\r\nHost: x\r\n"
                                  "Transfer-Encoding: chunked\r\nConnection: keep-alive, close\r\n\r\n"
                                  "3;a=b\r\nabc\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    add(put, sizeof(put) - 1);
    add(chunked, sizeof(chunked) - 1);
}
