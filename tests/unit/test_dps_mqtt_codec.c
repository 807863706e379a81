#include "dps_mqtt_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Heap copies of the exact size, so that AddressSanitizer sees a read past the end. */
static dps_mqtt_err feed_all(dps_mqtt_reader *reader, const uint8_t *bytes, size_t n, bool *ret_complete,
                             dps_mqtt_frame *ret_frame)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    size_t used = 0;
    dps_mqtt_err err = dps_mqtt_reader_feed(reader, copy, n, &used, ret_complete, ret_frame);
    assert_true(used <= n);
    free(copy);
    return err;
}

static const uint8_t connect_packet[] = {
    0x10, 0x3f, 0,   4,   'M', 'Q', 'T', 'T', 4,   0x82, 0,   180, 0,   4,   'd', 'e', 'v',
    '1',  0,    45,  '0', 'n', 'e', '1', '2', '3', '4',  '5', '6', '7', '8', '/', 'r', 'e',
    'g',  'i',  's', 't', 'r', 'a', 't', 'i', 'o', 'n',  's', '/', 'd', 'e', 'v', '1', '/',
    'a',  'p',  'i', '-', 'v', 'e', 'r', 's', 'i', 'o',  'n', '=', '1', '1',
};
static const uint8_t subscribe_packet[] = {0x82, 8, 0, 1, 0, 3, 'a', '/', '#', 2};
static const uint8_t unsubscribe_packet[] = {0xa2, 7, 0, 9, 0, 3, 'a', '/', '#'};
static const uint8_t publish0_packet[] = {0x30, 5, 0, 1, 't', 'h', 'i'};
static const uint8_t publish1_packet[] = {0x3b, 7, 0, 1, 't', 0x12, 0x34, 'h', 'i'};
static const uint8_t puback_packet[] = {0x40, 2, 0, 7};
static const uint8_t ping_packet[] = {0xc0, 0};
static const uint8_t disconnect_packet[] = {0xe0, 0};

static const struct sample {
    const uint8_t *bytes;
    size_t n;
} samples[] = {
    {connect_packet, sizeof(connect_packet)},
    {subscribe_packet, sizeof(subscribe_packet)},
    {unsubscribe_packet, sizeof(unsubscribe_packet)},
    {publish0_packet, sizeof(publish0_packet)},
    {publish1_packet, sizeof(publish1_packet)},
    {puback_packet, sizeof(puback_packet)},
    {ping_packet, sizeof(ping_packet)},
    {disconnect_packet, sizeof(disconnect_packet)},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static dps_mqtt_err parse_any(const dps_mqtt_frame *frame)
{
    dps_mqtt_connect connect;
    dps_mqtt_publish publish;
    dps_mqtt_filters filters;
    uint16_t id;
    switch (frame->type) {
    case DPS_MQTT_CONNECT:
        return dps_mqtt_parse_connect(frame, &connect);
    case DPS_MQTT_PUBLISH:
        return dps_mqtt_parse_publish(frame, &publish);
    case DPS_MQTT_PUBACK:
        return dps_mqtt_parse_puback(frame, &id);
    case DPS_MQTT_SUBSCRIBE:
    case DPS_MQTT_UNSUBSCRIBE:
        return dps_mqtt_parse_filters(frame, &filters);
    default:
        return dps_mqtt_parse_empty(frame);
    }
}

static void frame_of(dps_mqtt_reader *reader, const uint8_t *bytes, size_t n, dps_mqtt_frame *ret_frame)
{
    bool complete = false;
    assert_int_equal(feed_all(reader, bytes, n, &complete, ret_frame), DPS_MQTT_OK);
    assert_true(complete);
}

static void test_connect(void **state)
{
    (void)state;
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    dps_mqtt_connect connect;
    frame_of(&reader, connect_packet, sizeof(connect_packet), &frame);
    assert_int_equal(dps_mqtt_parse_connect(&frame, &connect), DPS_MQTT_OK);
    assert_true(dps_span_is(connect.client_id, "dev1"));
    assert_true(dps_span_is(connect.username, "0ne12345678/registrations/dev1/api-version=11"));
    assert_int_equal(connect.keepalive_s, 180);
    assert_true(connect.clean_session && connect.has_username && !connect.has_password);
    dps_mqtt_reader_free(&reader);
}

static void test_publish(void **state)
{
    (void)state;
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    dps_mqtt_publish publish;
    frame_of(&reader, publish1_packet, sizeof(publish1_packet), &frame);
    assert_int_equal(dps_mqtt_parse_publish(&frame, &publish), DPS_MQTT_OK);
    assert_true(dps_span_is(publish.topic, "t") && dps_span_is(publish.payload, "hi"));
    assert_int_equal(publish.packet_id, 0x1234);
    assert_int_equal(publish.qos, 1);
    assert_true(publish.dup && publish.retain);
    frame_of(&reader, publish0_packet, sizeof(publish0_packet), &frame);
    assert_int_equal(dps_mqtt_parse_publish(&frame, &publish), DPS_MQTT_OK);
    assert_true(publish.qos == 0 && publish.packet_id == 0);
    dps_mqtt_reader_free(&reader);
}

/* All packets in one stream, cut into chunks of every size. */
static void test_chunks(void **state)
{
    (void)state;
    uint8_t stream[512];
    size_t total = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        memcpy(stream + total, samples[i].bytes, samples[i].n);
        total += samples[i].n;
    }
    for (size_t chunk = 1; chunk <= total; chunk++) {
        dps_mqtt_reader reader = {0};
        size_t frames = 0;
        for (size_t at = 0; at < total;) {
            size_t used = 0;
            bool complete = false;
            dps_mqtt_frame frame;
            size_t n = total - at < chunk ? total - at : chunk;
            assert_int_equal(dps_mqtt_reader_feed(&reader, stream + at, n, &used, &complete, &frame),
                             DPS_MQTT_OK);
            assert_true(used > 0);
            at += used;
            if (complete) {
                assert_int_equal(parse_any(&frame), DPS_MQTT_OK);
                assert_int_equal(frame.type, samples[frames].bytes[0] >> 4);
                frames++;
            }
        }
        assert_int_equal(frames, SAMPLES);
        dps_mqtt_reader_free(&reader);
    }
}

/* A packet cut short is incomplete; a body cut short under a matching length is an error. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        for (size_t n = 0; n < samples[i].n; n++) {
            dps_mqtt_reader reader = {0};
            dps_mqtt_frame frame;
            bool complete = false;
            assert_int_equal(feed_all(&reader, samples[i].bytes, n, &complete, &frame), DPS_MQTT_OK);
            assert_false(complete);
            dps_mqtt_reader_free(&reader);
        }
        for (size_t body = 0; body + 2 < samples[i].n; body++) {
            uint8_t cut[128];
            dps_mqtt_reader reader = {0};
            dps_mqtt_frame frame;
            memcpy(cut, samples[i].bytes, samples[i].n);
            cut[1] = (uint8_t)body;
            frame_of(&reader, cut, 2 + body, &frame);
            bool still_whole =
                frame.type == DPS_MQTT_PUBLISH && body >= (frame.flags & 2 ? 5 : 3); /* shorter payload */
            assert_int_equal(parse_any(&frame) == DPS_MQTT_OK, still_whole);
            dps_mqtt_reader_free(&reader);
        }
    }
}

static void test_trailing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t longer[128];
        dps_mqtt_reader reader = {0};
        dps_mqtt_frame frame;
        memcpy(longer, samples[i].bytes, samples[i].n);
        longer[samples[i].n] = 'x';
        longer[1]++;
        frame_of(&reader, longer, samples[i].n + 1, &frame);
        bool payload = frame.type == DPS_MQTT_PUBLISH;
        assert_int_equal(parse_any(&frame) == DPS_MQTT_OK, payload);
        dps_mqtt_reader_free(&reader);
    }
}

static void expect_feed(const uint8_t *bytes, size_t n, dps_mqtt_err expected)
{
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    bool complete = false;
    assert_int_equal(feed_all(&reader, bytes, n, &complete, &frame), expected);
    assert_false(complete);
    dps_mqtt_reader_free(&reader);
}

static void test_headers(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        uint8_t byte = (uint8_t)first;
        unsigned type = first >> 4;
        unsigned flags = first & 15;
        dps_mqtt_err expected = DPS_MQTT_OK;
        if (type == 0 || type == 2 || type == 5 || type == 6 || type == 7 || type == 9 || type == 11 ||
            type == 13 || type == 15)
            expected = DPS_MQTT_E_TYPE;
        else if (type == DPS_MQTT_PUBLISH)
            expected = (flags & 6) == 6 ? DPS_MQTT_E_FLAGS : DPS_MQTT_OK;
        else if (type == DPS_MQTT_SUBSCRIBE || type == DPS_MQTT_UNSUBSCRIBE)
            expected = flags == 2 ? DPS_MQTT_OK : DPS_MQTT_E_FLAGS;
        else
            expected = flags == 0 ? DPS_MQTT_OK : DPS_MQTT_E_FLAGS;
        expect_feed(&byte, 1, expected);
    }
    static const uint8_t five[] = {0x30, 0x80, 0x80, 0x80, 0x80};
    expect_feed(five, sizeof(five), DPS_MQTT_E_LENGTH);
    static const uint8_t over[] = {0x30, 0x81, 0x80, 0x01}; /* 16385 */
    expect_feed(over, sizeof(over), DPS_MQTT_E_TOO_LARGE);
    static const uint8_t huge[] = {0x30, 0xff, 0xff, 0xff, 0x7f};
    expect_feed(huge, sizeof(huge), DPS_MQTT_E_TOO_LARGE);
    static const uint8_t largest[] = {0x30, 0x80, 0x80, 0x01}; /* 16384 */
    expect_feed(largest, sizeof(largest), DPS_MQTT_OK);
}

/* One change to a good packet, and what it must give. */
static void expect_change(const struct sample *sample, size_t at, uint8_t value, dps_mqtt_err expected)
{
    uint8_t changed[128];
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    memcpy(changed, sample->bytes, sample->n);
    changed[at] = value;
    frame_of(&reader, changed, sample->n, &frame);
    assert_int_equal(parse_any(&frame), expected);
    dps_mqtt_reader_free(&reader);
}

static void test_fields(void **state)
{
    (void)state;
    const struct sample *connect = &samples[0];
    expect_change(connect, 4, 'X', DPS_MQTT_E_PROTOCOL_NAME);
    expect_change(connect, 4, 0xff, DPS_MQTT_E_UTF8);
    expect_change(connect, 8, 5, DPS_MQTT_E_PROTOCOL_LEVEL);
    expect_change(connect, 8, 3, DPS_MQTT_E_PROTOCOL_LEVEL);
    expect_change(connect, 9, 0x83, DPS_MQTT_E_FLAGS);  /* reserved */
    expect_change(connect, 9, 0x42, DPS_MQTT_E_FLAGS);  /* password without user name */
    expect_change(connect, 9, 0x92, DPS_MQTT_E_FLAGS);  /* will QoS without will */
    expect_change(connect, 9, 0xa2, DPS_MQTT_E_FLAGS);  /* will retain without will */
    expect_change(connect, 9, 0x9e, DPS_MQTT_E_FLAGS);  /* will QoS 3 */
    expect_change(connect, 9, 0xc2, DPS_MQTT_E_LENGTH); /* a password that is not there */
    expect_change(connect, 9, 0x86, DPS_MQTT_E_LENGTH); /* a will that is not there */
    expect_change(connect, 14, 0, DPS_MQTT_E_UTF8);     /* U+0000 in the client id */
    expect_change(connect, 14, 0x80, DPS_MQTT_E_UTF8);
    expect_change(connect, 20, 0xc0, DPS_MQTT_E_UTF8);
    expect_change(connect, 12, 1, DPS_MQTT_E_LENGTH); /* client id of 260 bytes */
    const struct sample *subscribe = &samples[1];
    expect_change(subscribe, 3, 0, DPS_MQTT_E_PACKET_ID);
    expect_change(subscribe, 9, 3, DPS_MQTT_E_FLAGS);
    expect_change(subscribe, 9, 0x10, DPS_MQTT_E_FLAGS);
    expect_change(subscribe, 6, 0, DPS_MQTT_E_UTF8);
    expect_change(&samples[2], 3, 0, DPS_MQTT_E_PACKET_ID); /* 9 becomes 0 */
    const struct sample *publish = &samples[3];
    expect_change(publish, 4, '#', DPS_MQTT_E_TOPIC);
    expect_change(publish, 4, '+', DPS_MQTT_E_TOPIC);
    expect_change(publish, 3, 0, DPS_MQTT_E_TOPIC); /* empty */
    expect_change(publish, 3, 9, DPS_MQTT_E_LENGTH);
    static const uint8_t id0[] = {0x32, 5, 0, 1, 't', 0, 0};
    expect_change(&(struct sample){id0, sizeof(id0)}, 0, 0x32, DPS_MQTT_E_PACKET_ID);
}

static void test_filters(void **state)
{
    (void)state;
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    dps_mqtt_filters filters;
    static const uint8_t none[] = {0x82, 2, 0, 1};
    frame_of(&reader, none, sizeof(none), &frame);
    assert_int_equal(dps_mqtt_parse_filters(&frame, &filters), DPS_MQTT_E_FILTERS);
    uint8_t many[2 + 2 + 17 * 4] = {0x82, 2 + 17 * 4, 0, 1};
    for (size_t i = 0; i < 17; i++)
        memcpy(many + 4 + 4 * i, (const uint8_t[]){0, 1, 'a', 1}, 4);
    frame_of(&reader, many, sizeof(many), &frame);
    assert_int_equal(dps_mqtt_parse_filters(&frame, &filters), DPS_MQTT_E_FILTERS);
    many[1] = 2 + 16 * 4;
    frame_of(&reader, many, sizeof(many) - 4, &frame);
    assert_int_equal(dps_mqtt_parse_filters(&frame, &filters), DPS_MQTT_OK);
    assert_int_equal(filters.count, 16);
    dps_mqtt_reader_free(&reader);
}

static void test_mqtt31(void **state)
{
    (void)state;
    static const uint8_t old[] = {0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 1, 'a'};
    dps_mqtt_reader reader = {0};
    dps_mqtt_frame frame;
    dps_mqtt_connect connect;
    frame_of(&reader, old, sizeof(old), &frame);
    assert_int_equal(dps_mqtt_parse_connect(&frame, &connect), DPS_MQTT_E_PROTOCOL_LEVEL);
    dps_mqtt_reader_free(&reader);
}

static void test_encoders(void **state)
{
    (void)state;
    uint8_t out[64];
    assert_int_equal(dps_mqtt_put_connack(out, sizeof(out), 5), 4);
    assert_memory_equal(out, ((const uint8_t[]){0x20, 2, 0, 5}), 4);
    assert_int_equal(dps_mqtt_put_puback(out, sizeof(out), 0x1234), 4);
    assert_memory_equal(out, ((const uint8_t[]){0x40, 2, 0x12, 0x34}), 4);
    assert_int_equal(dps_mqtt_put_unsuback(out, sizeof(out), 2), 4);
    assert_memory_equal(out, ((const uint8_t[]){0xb0, 2, 0, 2}), 4);
    assert_int_equal(dps_mqtt_put_pingresp(out, sizeof(out)), 2);
    assert_memory_equal(out, ((const uint8_t[]){0xd0, 0}), 2);
    assert_int_equal(dps_mqtt_put_suback(out, sizeof(out), 3, (const uint8_t[]){1, 0x80}, 2), 6);
    assert_memory_equal(out, ((const uint8_t[]){0x90, 4, 0, 3, 1, 0x80}), 6);
    dps_mqtt_publish publish = {
        .topic = dps_span_of("t"), .payload = dps_span_of("hi"), .qos = 1, .packet_id = 0x102};
    assert_int_equal(dps_mqtt_put_publish(out, sizeof(out), &publish), 9);
    assert_memory_equal(out, ((const uint8_t[]){0x32, 7, 0, 1, 't', 1, 2, 'h', 'i'}), 9);
    for (size_t cap = 0; cap < 9; cap++)
        assert_int_equal(dps_mqtt_put_publish(out, cap, &publish), 0);
    assert_int_equal(dps_mqtt_put_connack(out, 3, 0), 0);
    assert_int_equal(dps_mqtt_put_puback(out, 3, 1), 0);
    assert_int_equal(dps_mqtt_put_pingresp(out, 1), 0);
    assert_int_equal(dps_mqtt_put_suback(out, 5, 3, (const uint8_t[]){1, 0x80}, 2), 0);
}

static void test_long_publish(void **state)
{
    (void)state;
    static char body[1000];
    static uint8_t out[1100];
    memset(body, 'b', sizeof(body));
    dps_mqtt_publish publish = {.topic = dps_span_of("t"), .payload = {body, sizeof(body)}};
    assert_int_equal(dps_mqtt_put_publish(out, sizeof(out), &publish), 1 + 2 + 3 + 1000);
    assert_int_equal(out[1], 0x80 | (1003 & 127));
    assert_int_equal(out[2], 1003 >> 7);
}

static void test_error_texts(void **state)
{
    (void)state;
    for (int i = DPS_MQTT_OK; i <= DPS_MQTT_E_MEMORY; i++)
        assert_string_not_equal(dps_mqtt_err_text((dps_mqtt_err)i), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),      cmocka_unit_test(test_publish),
        cmocka_unit_test(test_chunks),       cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_trailing),     cmocka_unit_test(test_headers),
        cmocka_unit_test(test_fields),       cmocka_unit_test(test_filters),
        cmocka_unit_test(test_mqtt31),       cmocka_unit_test(test_encoders),
        cmocka_unit_test(test_long_publish), cmocka_unit_test(test_error_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
