#include "prov_mqtt_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t buffer[PROV_MQTT_PACKET_MAX];

/* Reads from a copy of exactly @size bytes, so that a sanitizer sees any access beyond. */
static kn_prov_code read_exactly(const uint8_t *data, size_t size, prov_mqtt_packet *ret_packet)
{
    uint8_t *copy = malloc(size ? size : 1);
    prov_error error = {.detail = ""};
    kn_prov_code code;

    assert_non_null(copy);
    if (size)
        memcpy(copy, data, size);
    code = prov_mqtt_read(copy, size, ret_packet, &error);
    if (code)
        assert_true(strlen(error.detail) > 0);
    free(copy);
    return code;
}

static void test_connect(void **state)
{
    static const uint8_t expected[] = {0x10, 18,  0, 4, 'M', 'Q', 'T', 'T', 4,   0x82,
                                       0,    180, 0, 2, 'i', 'd', 0,   2,   'u', 'n'};
    static const uint8_t with_password[] = {0x10, 21, 0,   4,   'M', 'Q', 'T', 'T', 4, 0xc2, 0,  180,
                                            0,    2,  'i', 'd', 0,   2,   'u', 'n', 0, 1,    'p'};
    prov_mqtt_connect connect = {.client_id = "id", .user_name = "un", .keep_alive_s = 180};

    (void)state;
    assert_int_equal(prov_mqtt_write_connect(&connect, buffer, sizeof buffer), sizeof expected);
    assert_memory_equal(buffer, expected, sizeof expected);
    connect.password = "p";
    assert_int_equal(prov_mqtt_write_connect(&connect, buffer, sizeof buffer), sizeof with_password);
    assert_memory_equal(buffer, with_password, sizeof with_password);
}

static void test_small_writers(void **state)
{
    static const uint8_t subscribe[] = {0x82, 8, 0, 1, 0, 3, 'a', '/', '#', 1};
    static const uint8_t publish[] = {0x32, 7, 0, 1, 't', 1, 2, 'h', 'i'};
    static const uint8_t puback[] = {0x40, 2, 0x12, 0x34};
    static const uint8_t pingreq[] = {0xc0, 0};
    static const uint8_t disconnect[] = {0xe0, 0};
    prov_mqtt_publish p = {.topic = "t",
                           .topic_size = 1,
                           .payload = (const uint8_t *)"hi",
                           .payload_size = 2,
                           .qos = 1,
                           .packet_id = 0x0102};

    (void)state;
    assert_int_equal(prov_mqtt_write_subscribe(1, "a/#", 1, buffer, sizeof buffer), sizeof subscribe);
    assert_memory_equal(buffer, subscribe, sizeof subscribe);
    assert_int_equal(prov_mqtt_write_publish(&p, buffer, sizeof buffer), sizeof publish);
    assert_memory_equal(buffer, publish, sizeof publish);
    assert_int_equal(prov_mqtt_write_puback(0x1234, buffer, sizeof buffer), sizeof puback);
    assert_memory_equal(buffer, puback, sizeof puback);
    assert_int_equal(prov_mqtt_write_pingreq(buffer, sizeof buffer), sizeof pingreq);
    assert_memory_equal(buffer, pingreq, sizeof pingreq);
    assert_int_equal(prov_mqtt_write_disconnect(buffer, sizeof buffer), sizeof disconnect);
    assert_memory_equal(buffer, disconnect, sizeof disconnect);
}

/* Every capacity below the packet's size gives 0 and writes nothing beyond. */
static void test_writers_without_room(void **state)
{
    prov_mqtt_connect connect = {.client_id = "id", .user_name = "un"};
    size_t whole = prov_mqtt_write_connect(&connect, buffer, sizeof buffer);

    (void)state;
    for (size_t capacity = 0; capacity < whole; capacity++) {
        uint8_t *small = malloc(capacity ? capacity : 1);

        assert_non_null(small);
        assert_int_equal(prov_mqtt_write_connect(&connect, small, capacity), 0);
        free(small);
    }
}

static void test_lengths(void **state)
{
    static const size_t sizes[] = {0, 122, 123, 16376, 16377, 65536};
    static uint8_t payload[PROV_MQTT_PACKET_MAX];
    prov_mqtt_publish publish = {.topic = "t", .topic_size = 1, .payload = payload, .qos = 1, .packet_id = 9};
    prov_mqtt_packet packet;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t written;

        publish.payload_size = sizes[i];
        written = prov_mqtt_write_publish(&publish, buffer, sizeof buffer);
        assert_true(written > sizes[i]);
        assert_int_equal(read_exactly(buffer, written, &packet), KN_PROV_OK);
        assert_int_equal(packet.size, written);
        assert_int_equal(packet.publish.payload_size, sizes[i]);
        assert_int_equal(packet.publish.packet_id, 9);
    }
    publish.payload_size = PROV_MQTT_PACKET_MAX;
    assert_int_equal(prov_mqtt_write_publish(&publish, buffer, sizeof buffer), 0);
}

static const uint8_t connack[] = {0x20, 2, 0, 5};
static const uint8_t suback[] = {0x90, 3, 0, 1, 1};
static const uint8_t puback_in[] = {0x40, 2, 0, 7};
static const uint8_t pingresp[] = {0xd0, 0};
static const uint8_t publish_in[] = {0x3b, 9, 0, 3, 'a', '/', 'b', 0, 8, '{', '}'};
static const struct {
    const uint8_t *data;
    size_t size;
} stream[] = {
    {connack, sizeof connack},   {suback, sizeof suback},         {puback_in, sizeof puback_in},
    {pingresp, sizeof pingresp}, {publish_in, sizeof publish_in},
};

static void test_read(void **state)
{
    prov_mqtt_packet packet;
    prov_error error;

    (void)state;
    assert_int_equal(read_exactly(connack, sizeof connack, &packet), KN_PROV_OK);
    assert_int_equal(packet.type, PROV_MQTT_CONNACK);
    assert_int_equal(packet.return_code, 5);
    assert_int_equal(read_exactly(suback, sizeof suback, &packet), KN_PROV_OK);
    assert_int_equal(packet.packet_id, 1);
    assert_int_equal(packet.return_code, 1);
    assert_int_equal(read_exactly(puback_in, sizeof puback_in, &packet), KN_PROV_OK);
    assert_int_equal(packet.packet_id, 7);
    assert_int_equal(read_exactly(pingresp, sizeof pingresp, &packet), KN_PROV_OK);
    assert_int_equal(packet.type, PROV_MQTT_PINGRESP);
    assert_int_equal(prov_mqtt_read(publish_in, sizeof publish_in, &packet, &error), KN_PROV_OK);
    assert_true(packet.publish.dup && packet.publish.retain && packet.publish.qos == 1);
    assert_int_equal(packet.publish.topic_size, 3);
    assert_memory_equal(packet.publish.topic, "a/b", 3);
    assert_int_equal(packet.publish.packet_id, 8);
    assert_int_equal(packet.publish.payload_size, 2);
    assert_memory_equal(packet.publish.payload, "{}", 2);
}

static void test_all_truncations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stream / sizeof stream[0]; i++) {
        for (size_t size = 0; size < stream[i].size; size++) {
            prov_mqtt_packet packet = {.size = 99};

            assert_int_equal(read_exactly(stream[i].data, size, &packet), KN_PROV_OK);
            assert_int_equal(packet.size, 0);
        }
    }
}

/* All packets one after the other, received in chunks of every size. */
static void test_chunks(void **state)
{
    uint8_t all[64], in[64];
    size_t total = 0;

    (void)state;
    for (size_t i = 0; i < sizeof stream / sizeof stream[0]; i++) {
        memcpy(all + total, stream[i].data, stream[i].size);
        total += stream[i].size;
    }
    for (size_t chunk = 1; chunk <= total; chunk++) {
        size_t used = 0, sent = 0, count = 0;

        while (count < sizeof stream / sizeof stream[0]) {
            prov_mqtt_packet packet;

            assert_int_equal(read_exactly(in, used, &packet), KN_PROV_OK);
            if (packet.size > 0) {
                assert_int_equal(packet.size, stream[count].size);
                used -= packet.size;
                memmove(in, in + packet.size, used);
                count++;
            } else {
                size_t part = total - sent < chunk ? total - sent : chunk;

                assert_true(part > 0);
                memcpy(in + used, all + sent, part);
                used += part;
                sent += part;
            }
        }
        assert_int_equal(used, 0);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *what;
        uint8_t data[16];
        size_t size;
    } rows[] = {
        {"CONNECT from a server", {0x10}, 1},
        {"type 0", {0x00}, 1},
        {"type 15", {0xf0}, 1},
        {"PUBREC", {0x50}, 1},
        {"CONNACK flags", {0x21}, 1},
        {"PUBACK flags", {0x42}, 1},
        {"QoS 2", {0x34}, 1},
        {"QoS 3", {0x36}, 1},
        {"DUP with QoS 0", {0x38}, 1},
        {"endless length", {0x30, 0x80, 0x80, 0x80, 0x80}, 5},
        {"oversized, seen from the header", {0x30, 0xff, 0xff, 0xff, 0x7f}, 5},
        {"just oversized", {0x30, 0xfc, 0x87, 0x04}, 4},
        {"long CONNACK", {0x20, 3, 0, 0, 0}, 5},
        {"short CONNACK", {0x20, 1, 0}, 3},
        {"session present", {0x20, 2, 1, 0}, 4},
        {"CONNACK reserved flags", {0x20, 2, 2, 0}, 4},
        {"short SUBACK", {0x90, 2, 0, 1}, 4},
        {"two SUBACK codes", {0x90, 4, 0, 1, 1, 1}, 6},
        {"long PINGRESP", {0xd0, 1, 0}, 3},
        {"empty PUBLISH", {0x30, 0}, 2},
        {"topic beyond packet", {0x30, 3, 0, 2, 'a'}, 5},
        {"empty topic", {0x30, 2, 0, 0}, 4},
        {"NUL in topic", {0x30, 4, 0, 2, 'a', 0}, 6},
        {"wildcard in topic", {0x30, 4, 0, 2, 'a', '#'}, 6},
        {"no packet id", {0x32, 4, 0, 1, 'a', 1}, 6},
        {"packet id 0", {0x32, 5, 0, 1, 'a', 0, 0}, 7},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        prov_mqtt_packet packet;

        if (read_exactly(rows[i].data, rows[i].size, &packet) != KN_PROV_E_PROTOCOL)
            fail_msg("%s was accepted", rows[i].what);
    }
}

static void test_topic_cap(void **state)
{
    static uint8_t data[PROV_MQTT_TOPIC_MAX + 8];
    prov_mqtt_packet packet;
    size_t topic_size = PROV_MQTT_TOPIC_MAX + 1, remaining = 2 + topic_size;

    (void)state;
    memset(data, 'a', sizeof data);
    data[0] = 0x30;
    data[1] = (uint8_t)((remaining & 127) | 128);
    data[2] = (uint8_t)(remaining >> 7);
    data[3] = (uint8_t)(topic_size >> 8);
    data[4] = (uint8_t)(topic_size & 255);
    assert_int_equal(read_exactly(data, 3 + remaining, &packet), KN_PROV_E_PROTOCOL);
}

static void test_connack_texts(void **state)
{
    (void)state;
    assert_string_equal(prov_mqtt_connack_text(5), "not authorized");
    for (unsigned code = 0; code < 256; code++)
        assert_non_null(prov_mqtt_connack_text((uint8_t)code));
    for (unsigned code = 0; code < 256; code++)
        assert_int_equal(prov_mqtt_connack_code((uint8_t)code), code == 0               ? KN_PROV_OK
                                                                : code == 3             ? KN_PROV_E_SERVICE
                                                                : code == 4 || code == 5 ? KN_PROV_E_UNAUTHORIZED
                                                                                        : KN_PROV_E_CONNECT_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_small_writers),
        cmocka_unit_test(test_writers_without_room),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_all_truncations),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_topic_cap),
        cmocka_unit_test(test_connack_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
