#include "dps_ws_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct seen {
    uint8_t data[256];
    size_t len;
    unsigned controls;
    dps_ws_opcode last;
    size_t last_len;
} seen;

static dps_ws_err feed(const char *bytes, size_t n, size_t piece, seen *ret)
{
    dps_ws_reader reader = {0};
    uint8_t scratch[256];
    *ret = (seen){.len = 0};
    for (size_t at = 0; at < n;) {
        size_t used = 0;
        dps_ws_event event;
        dps_ws_err err = dps_ws_reader_feed(&reader, (const uint8_t *)bytes + at,
                                            n - at < piece ? n - at : piece, scratch, &used, &event);
        if (err != DPS_WS_OK)
            return err;
        assert_true(used > 0);
        at += used;
        if (event.kind == DPS_WS_DATA) {
            assert_true(ret->len + event.len <= sizeof(ret->data));
            memcpy(ret->data + ret->len, event.bytes, event.len);
            ret->len += event.len;
        } else if (event.kind == DPS_WS_CONTROL) {
            ret->controls++;
            ret->last = event.opcode;
            ret->last_len = event.len;
        }
    }
    return DPS_WS_OK;
}

/* The masked "Hello" of RFC 6455, 5.7 as a binary message; in two fragments with a ping between; an empty
 * one. */
static void test_messages(void **state)
{
    (void)state;
    static const char one[] = "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    static const char two[] =
        "\x02\x82\x37\xfa\x21\x3d\x7f\x9f\x89\x81\0\0\0\0x\x80\x83\x37\xfa\x21\x3d\x5b\x96\x4e"
        "\x82\x80\1\2\3\4";
    seen s;
    for (size_t piece = 1; piece <= sizeof(two); piece++) {
        assert_int_equal(feed(one, sizeof(one) - 1, piece, &s), DPS_WS_OK);
        assert_int_equal(s.len, 5);
        assert_memory_equal(s.data, "Hello", 5);
        assert_int_equal(s.controls, 0);
        assert_int_equal(feed(two, sizeof(two) - 1, piece, &s), DPS_WS_OK);
        assert_int_equal(s.len, 5);
        assert_memory_equal(s.data, "Hello", 2);
        assert_memory_equal(s.data + 2, "llo", 3);
        assert_int_equal(s.controls, 1);
        assert_int_equal(s.last, DPS_WS_PING);
        assert_int_equal(s.last_len, 1);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        dps_ws_err err;
        uint16_t code;
    } rows[] = {
        {"\xc2\x80", 2, DPS_WS_E_RESERVED, 1002},
        {"\x83\x80", 2, DPS_WS_E_RESERVED, 1002},
        {"\x8b\x80", 2, DPS_WS_E_RESERVED, 1002},
        {"\x82\x05", 2, DPS_WS_E_UNMASKED, 1002},
        {"\x09\x80", 2, DPS_WS_E_CONTROL, 1002},
        {"\x89\xfe", 2, DPS_WS_E_CONTROL, 1002},
        {"\x80\x80", 2, DPS_WS_E_SEQUENCE, 1002},
        {"\x02\x80\0\0\0\0\x82\x80", 8, DPS_WS_E_SEQUENCE, 1002},
        {"\x81\x80", 2, DPS_WS_E_TEXT, 1003},
        {"\x82\xff\0\0\0\0\0\x10\0\1\0\0\0\0", 14, DPS_WS_E_TOO_LARGE, 1009},
        {"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14, DPS_WS_E_TOO_LARGE, 1009},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        seen s;
        dps_ws_err err = feed(rows[i].bytes, rows[i].n, 1, &s);
        if (err != rows[i].err)
            fail_msg("row %zu: %s", i, dps_ws_err_info(err)->text);
        assert_int_equal(dps_ws_err_info(err)->code, rows[i].code);
    }
}

static void test_headers(void **state)
{
    (void)state;
    uint8_t out[DPS_WS_HEADER_MAX];
    assert_int_equal(dps_ws_put_header(out, DPS_WS_BINARY, 125), 2);
    assert_memory_equal(out, "\x82\x7d", 2);
    assert_int_equal(dps_ws_put_header(out, DPS_WS_PONG, 126), 4);
    assert_memory_equal(out, "\x8a\x7e\0\x7e", 4);
    assert_int_equal(dps_ws_put_header(out, DPS_WS_BINARY, 65536), 10);
    assert_memory_equal(out, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
}

static void test_accept(void **state)
{
    (void)state;
    char accept[DPS_WS_ACCEPT_LEN];
    assert_true(dps_ws_accept(dps_span_of("dGhlIHNhbXBsZSBub25jZQ=="), accept));
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_false(dps_ws_accept(dps_span_of(""), accept));
    assert_false(dps_ws_accept(dps_span_of("dGhlIHNhbXBsZSBub25jZQ="), accept));
    assert_false(dps_ws_accept(dps_span_of("dGhlIHNhbXBsZSBub25jZWE="), accept));
    assert_false(dps_ws_accept(dps_span_of("dGhlIHNh\r\nhsZSBub25jZQ=="), accept));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
