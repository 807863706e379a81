#include "dps_http_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOST "Host: dps.test\r\n"

/* Feeds @text in pieces of @piece bytes until the request is complete, or to its end. */
static dps_http_err feed(dps_http_reader *reader, const char *text, size_t n, size_t piece, size_t *ret_used)
{
    size_t at = 0;
    dps_http_err err = DPS_HTTP_OK;
    while (at < n && err == DPS_HTTP_OK && reader->state != DPS_HTTP_COMPLETE) {
        size_t used = 0;
        bool wants_continue = false;
        err = dps_http_reader_feed(reader, (const uint8_t *)text + at, n - at < piece ? n - at : piece, &used,
                                   &wants_continue);
        at += used;
    }
    if (ret_used != NULL)
        *ret_used = at;
    return err;
}

static dps_http_err feed_text(const char *text)
{
    dps_http_reader reader = {0};
    dps_http_err err = feed(&reader, text, strlen(text), 4096, NULL);
    if (err == DPS_HTTP_OK && reader.state != DPS_HTTP_COMPLETE)
        fail_msg("not complete: %s", text);
    dps_http_reader_free(&reader);
    return err;
}

static void assert_span(dps_span span, const char *text)
{
    if (!dps_span_is(span, text))
        fail_msg("\"%.*s\" is not \"%s\"", (int)span.len, span.at, text);
}

static void test_head(void **state)
{
    (void)state;
    dps_http_head head;
    assert_int_equal(
        dps_http_parse_head(dps_span_of("PUT /s/registrations/a%2Fb/register?api-version=1&x HTTP/1.1\r\n"
                                        "hOsT: dps.test\r\nAccept:\t a, b \r\nX:\r\n"
                                        "Content-Length: 7\r\n\r\n"),
                            &head),
        DPS_HTTP_OK);
    assert_span(head.method, "PUT");
    assert_span(head.path, "/s/registrations/a%2Fb/register");
    assert_span(head.query, "api-version=1&x");
    assert_int_equal(head.field_count, 4);
    assert_span(dps_http_field_get(&head, "ACCEPT"), "a, b");
    assert_span(dps_http_field_get(&head, "x"), "");
    assert_span(dps_http_field_get(&head, "missing"), "");
    assert_int_equal(head.content_length, 7);
    assert_true(head.keep_alive && !head.chunked && !head.expects_continue);
    char value[8];
    assert_true(dps_http_query_get(head.query, "api-version", value, sizeof(value)));
    assert_string_equal(value, "1");
    assert_true(dps_http_query_get(head.query, "x", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_false(dps_http_query_get(head.query, "y", value, sizeof(value)));
}

static void test_two_fields_are_none(void **state)
{
    (void)state;
    dps_http_head head;
    assert_int_equal(
        dps_http_parse_head(dps_span_of("GET / HTTP/1.1\r\n" HOST "A: 1\r\nA: 2\r\n\r\n"), &head),
        DPS_HTTP_OK);
    assert_span(dps_http_field_get(&head, "a"), "");
}

static void test_connection(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET / HTTP/1.0\r\n" HOST "\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: x , close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_http_head head;
        assert_int_equal(dps_http_parse_head(dps_span_of(rows[i].text), &head), DPS_HTTP_OK);
        assert_int_equal(head.keep_alive, rows[i].keep_alive);
    }
}

/* One row per way to be wrong, each with its own status. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        dps_http_err err;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"G(T / HTTP/1.1\r\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET http://a/ HTTP/1.1\r\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET /\r\n" HOST "\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"\x16\x03\x01 x\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "Bad Name: x\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "A : x\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "A: x\r\n folded\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "A: \x01\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "A: a\rb\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", DPS_HTTP_E_VERSION, 505},
        {"GET / HTTP/1.1\r\n\r\n", DPS_HTTP_E_HOST, 400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", DPS_HTTP_E_HOST, 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", DPS_HTTP_E_LENGTH, 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", DPS_HTTP_E_LENGTH, 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", DPS_HTTP_E_LENGTH, 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 9999999999\r\n\r\n", DPS_HTTP_E_LENGTH, 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 327681\r\n\r\n", DPS_HTTP_E_BODY_LONG, 413},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         DPS_HTTP_E_LENGTH, 400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", DPS_HTTP_E_CODING, 501},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         DPS_HTTP_E_CODING, 501},
        {"GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", DPS_HTTP_E_EXPECT, 417},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n\r\n", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\na", DPS_HTTP_E_MALFORMED, 400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", DPS_HTTP_E_MALFORMED,
         400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n50001\r\n", DPS_HTTP_E_BODY_LONG, 413},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n00000000\r\n", DPS_HTTP_E_BODY_LONG,
         413},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dps_http_err err = feed_text(rows[i].text);
        if (err != rows[i].err)
            fail_msg("row %zu: %s", i, dps_http_err_info(err)->text);
        assert_int_equal(dps_http_err_info(err)->status, rows[i].status);
    }
}

static void test_caps(void **state)
{
    (void)state;
    char *text = malloc(64 * 1024);
    assert_non_null(text);
    dps_http_reader reader = {0};
    size_t used;

    size_t n = (size_t)sprintf(text, "GET /");
    memset(text + n, 'a', DPS_HTTP_TARGET_MAX);
    strcpy(text + n + DPS_HTTP_TARGET_MAX, " HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(feed_text(text), DPS_HTTP_E_TARGET_LONG);
    strcpy(text + n + DPS_HTTP_TARGET_MAX - 1, " HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(feed_text(text), DPS_HTTP_OK);

    memset(text, 'a', DPS_HTTP_HEAD_MAX + 1); /* never a line: no more than the cap is kept */
    assert_int_equal(feed(&reader, text, DPS_HTTP_HEAD_MAX + 1, 1000, &used), DPS_HTTP_E_HEAD_LONG);
    assert_true(reader.head_bytes.len <= DPS_HTTP_HEAD_MAX);
    dps_http_reader_free(&reader);

    n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < DPS_HTTP_FIELDS_MAX; i++)
        n += (size_t)sprintf(text + n, "A: b\r\n");
    strcpy(text + n, "\r\n");
    assert_int_equal(feed_text(text), DPS_HTTP_E_HEAD_LONG);

    n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n");
    for (int i = 0; i <= DPS_HTTP_TRAILERS_MAX; i++)
        n += (size_t)sprintf(text + n, "A: b\r\n");
    assert_int_equal(feed(&reader, text, n, 1000, &used), DPS_HTTP_E_HEAD_LONG);
    dps_http_reader_free(&reader);
    free(text);
}

/* The same request in every cut; two of them in a row. */
static void test_bodies_in_pieces(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "GET /a HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world",
        "\r\nPOST /b HTTP/1.1\r\n" HOST
        "Transfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n"
        "Trailer: x\r\n\r\n",
    };
    for (size_t t = 0; t < 2; t++) {
        size_t n = strlen(texts[t]);
        char twice[1024];
        snprintf(twice, sizeof(twice), "%s%s", texts[t], texts[t]);
        for (size_t piece = 1; piece <= 2 * n; piece++) {
            dps_http_reader reader = {0};
            size_t used = 0;
            assert_int_equal(feed(&reader, twice, 2 * n, piece, &used), DPS_HTTP_OK);
            assert_int_equal(reader.state, DPS_HTTP_COMPLETE);
            assert_int_equal(used, n); /* what follows is the next request's */
            assert_int_equal(reader.body.len, 11);
            assert_memory_equal(dps_buffer_bytes(&reader.body), "hello world", 11);
            dps_http_reader_free(&reader);
        }
    }
}

static void test_continue_is_said_once(void **state)
{
    (void)state;
    static const char head[] = "PUT / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    dps_http_reader reader = {0};
    size_t used = 0;
    bool wants = false;
    assert_int_equal(dps_http_reader_feed(&reader, (const uint8_t *)head, sizeof(head) - 1, &used, &wants),
                     DPS_HTTP_OK);
    assert_true(wants);
    assert_int_equal(dps_http_reader_feed(&reader, (const uint8_t *)"a", 1, &used, &wants), DPS_HTTP_OK);
    assert_false(wants);
    dps_http_reader_free(&reader);
}

static void test_decode(void **state)
{
    (void)state;
    char out[8];
    assert_true(dps_http_decode(dps_span_of("a%2fB%20"), out, sizeof(out)));
    assert_string_equal(out, "a/B ");
    static const char *const bad[] = {"%", "%2", "%2g", "%00", "12345678", "a%"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(dps_http_decode(dps_span_of(bad[i]), out, sizeof(out)));
    assert_false(dps_http_query_get(dps_span_of("a=1&a=2"), "a", out, sizeof(out)));
    assert_false(dps_http_query_get(dps_span_of("a=%zz"), "a", out, sizeof(out)));
    assert_true(dps_http_query_get(dps_span_of("&&b&a=%31"), "a", out, sizeof(out)));
    assert_string_equal(out, "1");
}

static void test_lists(void **state)
{
    (void)state;
    assert_true(dps_http_list_has(dps_span_of("a, B ,c"), "b"));
    assert_false(dps_http_list_has(dps_span_of("ab,"), "b"));
    assert_false(dps_http_list_has(dps_span_of(""), "b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_two_fields_are_none),
        cmocka_unit_test(test_connection),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_bodies_in_pieces),
        cmocka_unit_test(test_continue_is_said_once),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
