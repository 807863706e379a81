/* Everything that keynym-dps reads from a device before it knows who that is: packets, user name, topics,
 * bodies.
 *
 * Without libFuzzer the main() below replays mutations of good packets, the same ones at every run, so that
 * it can be an ordinary test. With it:
 *   clang -DKN_LIBFUZZER -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Idps_emulator
 * tests/fuzz/fuzz_dps_mqtt.c \ dps_emulator/dps_{mqtt_codec,topic,text,json,id}.c $(pkg-config --cflags
 * --libs libcjson openssl sqlite3) */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_id.h"
#include "dps_json.h"
#include "dps_mqtt_codec.h"
#include "dps_topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A result that is wrong, though nothing crashed. */
static void check(int ok)
{
    if (!ok)
        abort();
}

static void read_publish(const dps_mqtt_frame *frame)
{
    dps_mqtt_publish publish;
    if (dps_mqtt_parse_publish(frame, &publish) != DPS_MQTT_OK)
        return;
    check(publish.topic.len > 0 && publish.qos <= 2 && (publish.qos == 0) == (publish.packet_id == 0));
    dps_topic topic;
    dps_topic_err err = dps_topic_parse(publish.topic, &topic);
    if (err != DPS_TOPIC_E_UNKNOWN && err != DPS_TOPIC_E_LENGTH) {
        char response[DPS_RES_TOPIC_LEN];
        check(topic.rid.len <= DPS_RID_MAX && strlen(topic.operation_id) < sizeof(topic.operation_id));
        dps_topic_response(response, 202, topic.rid, 300);
        check(strlen(response) < sizeof(response) && strstr(response, "retry-after=300") != NULL);
    }
    dps_register_body body;
    dps_error error;
    const char *problem = NULL;
    if (dps_json_parse_register(publish.payload, &body, &error, &problem))
        dps_register_body_clear(&body);
    else
        check(problem != NULL && error < DPS_ERR_COUNT);
}

static void read_frame(const dps_mqtt_frame *frame)
{
    dps_mqtt_connect connect;
    dps_mqtt_filters filters;
    dps_username user;
    uint16_t id;
    check(frame->body_len <= DPS_MQTT_PACKET_MAX);
    switch (frame->type) { /* four bits of a packet, not an enum */
    case DPS_MQTT_CONNECT:
        if (dps_mqtt_parse_connect(frame, &connect) == DPS_MQTT_OK &&
            dps_username_parse(connect.username, &user) == DPS_TOPIC_OK)
            check(dps_id_verdict_text(dps_id_check(user.registration_id)) != NULL);
        break;
    case DPS_MQTT_PUBLISH:
        read_publish(frame);
        break;
    case DPS_MQTT_PUBACK:
        check(dps_mqtt_parse_puback(frame, &id) != DPS_MQTT_OK || frame->body_len == 2);
        break;
    case DPS_MQTT_SUBSCRIBE:
    case DPS_MQTT_UNSUBSCRIBE:
        if (dps_mqtt_parse_filters(frame, &filters) == DPS_MQTT_OK)
            check(filters.count >= 1 && filters.count <= DPS_MQTT_FILTERS_MAX && filters.packet_id != 0);
        break;
    default:
        check(dps_mqtt_parse_empty(frame) != DPS_MQTT_OK || frame->body_len == 0);
        break;
    }
}

/* The first byte is the size of the chunks in which the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    dps_mqtt_reader reader = {0};
    size_t chunk = data[0] == 0 ? size : data[0];
    dps_mqtt_err err = DPS_MQTT_OK;
    for (size_t at = 1; at < size && err == DPS_MQTT_OK;) {
        size_t n = size - at < chunk ? size - at : chunk;
        size_t used = 0;
        bool complete = false;
        dps_mqtt_frame frame;
        err = dps_mqtt_reader_feed(&reader, data + at, n, &used, &complete, &frame);
        check(used > 0 && used <= n);
        at += used;
        if (err == DPS_MQTT_OK && complete)
            read_frame(&frame);
    }
    dps_mqtt_reader_free(&reader);
    return 0;
}

#ifndef KN_LIBFUZZER

enum { ITERATIONS = 150000, INPUT_MAX = 1024 };

#define PUT  "$dps/registrations/PUT/iotdps-register/?$rid=1"
#define GET  "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=5.ab%2ecd"
#define USER "0ne12345678/registrations/dev1/api-version=2019-03-31&ClientVersion=a%2F1"
#define BODY "{\"registrationId\":\"dev1\",\"payload\":{\"a\":[1,2,\"\\u0041\\\\\"]}}"

static uint32_t seed = 2463534242u;

static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static size_t put_text(uint8_t *out, const char *text)
{
    size_t n = strlen(text);
    out[0] = (uint8_t)(n >> 8);
    out[1] = (uint8_t)n;
    memcpy(out + 2, text, n);
    return n + 2;
}

/* Appends fixed header and body. */
static size_t put_packet(uint8_t *out, uint8_t first, const uint8_t *body, size_t n)
{
    size_t at = 0;
    out[at++] = first;
    if (n > 127)
        out[at++] = (uint8_t)(0x80 | (n & 0x7f));
    out[at++] = (uint8_t)(n > 127 ? n >> 7 : n);
    memcpy(out + at, body, n);
    return at + n;
}

/* A good conversation of a device. */
static size_t make_seed(uint8_t *out)
{
    static const uint8_t connect_head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 180};
    uint8_t body[512];
    size_t at = 1, n;
    out[0] = 0;
    memcpy(body, connect_head, sizeof(connect_head));
    n = sizeof(connect_head);
    n += put_text(body + n, "dev1");
    n += put_text(body + n, USER);
    at += put_packet(out + at, 0x10, body, n);
    body[0] = 0;
    body[1] = 1;
    n = 2 + put_text(body + 2, DPS_TOPIC_RES_FILTER);
    body[n++] = 1;
    at += put_packet(out + at, 0x82, body, n);
    n = put_text(body, PUT);
    body[n++] = 0;
    body[n++] = 2;
    memcpy(body + n, BODY, sizeof(BODY) - 1);
    at += put_packet(out + at, 0x32, body, n + sizeof(BODY) - 1);
    n = put_text(body, GET);
    body[n++] = ' ';
    at += put_packet(out + at, 0x30, body, n);
    static const uint8_t rest[] = {0x40, 2, 0, 1, 0xc0, 0, 0xe0, 0};
    memcpy(out + at, rest, sizeof(rest));
    return at + sizeof(rest);
}

static size_t mutate(uint8_t *bytes, size_t n)
{
    static const uint8_t interesting[] = {0,   1,   0x7f, 0x80, 0xff, '%',  '&',
                                          '=', '?', '/',  '{',  '"',  '\\', '#'};
    for (uint32_t changes = 1 + next_random() % 4; changes > 0 && n > 1; changes--) {
        size_t at = next_random() % n;
        switch (next_random() % 5) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << next_random() % 8);
            break;
        case 1:
            bytes[at] = interesting[next_random() % sizeof(interesting)];
            break;
        case 2: /* cut out */
            memmove(bytes + at, bytes + at + 1, n - at - 1);
            n--;
            break;
        case 3: /* double */
            if (n < INPUT_MAX) {
                memmove(bytes + at + 1, bytes + at, n - at);
                n++;
            }
            break;
        default: /* cut off */
            if (next_random() % 8 == 0)
                n = at + 1;
            break;
        }
    }
    return n;
}

int main(void)
{
    uint8_t good[INPUT_MAX];
    size_t good_len = make_seed(good);
    LLVMFuzzerTestOneInput(good, good_len);
    for (int i = 0; i < ITERATIONS; i++) {
        uint8_t changed[INPUT_MAX + 8];
        memcpy(changed, good, good_len);
        changed[0] = (uint8_t)next_random();
        size_t n = mutate(changed, good_len);
        uint8_t *exact = malloc(n); /* of its exact size, for AddressSanitizer */
        if (exact == NULL)
            return 1;
        memcpy(exact, changed, n);
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    printf("%d inputs\n", ITERATIONS);
    return 0;
}

#endif
