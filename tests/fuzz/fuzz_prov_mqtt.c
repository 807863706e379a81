/* Fuzz target of what the client reads from the network: MQTT packets, response topics, JSON bodies.
 *
 * Built as it is, main() drives it with a fixed pseudo-random sequence of mutated good inputs: quick, and the
 * same on every run. With libFuzzer: clang -fsanitize=fuzzer,address -DKN_LIBFUZZER ...
 */
#include "prov_mqtt_codec.h"
#include "prov_mqtt_topic.h"
#include "prov_register.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "fuzz_prov_mqtt: %s\n", what);
        abort();
    }
}

static void feed_machine(int status, const uint8_t *body, size_t size)
{
    prov_register machine = PROV_REGISTER_INIT;
    prov_reply reply = {.status = status, .body_size = size};
    prov_action action;
    prov_error error;

    reply.body = malloc(size ? size : 1);
    require(reply.body != NULL, "out of memory");
    memcpy(reply.body, body, size);
    if (prov_register_next(&machine, &reply, 1, &action, &error) == KN_PROV_OK &&
        action.kind == PROV_ACTION_DONE)
        require(machine.response.assigned_hub && machine.response.device_id,
                "assigned without hub or device");
    prov_register_clear(&machine);
    free(reply.body);
}

static void read_packets(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at <= size;) {
        prov_mqtt_packet packet;
        prov_mqtt_topic topic;
        prov_error error;

        if (prov_mqtt_read(data + at, size - at, &packet, &error) != KN_PROV_OK || packet.size == 0)
            return;
        require(packet.size <= size - at, "packet larger than its bytes");
        if (packet.type == PROV_MQTT_PUBLISH &&
            prov_mqtt_topic_parse(packet.publish.topic, packet.publish.topic_size, &topic, &error) ==
                KN_PROV_OK)
            feed_machine(topic.status, packet.publish.payload, packet.publish.payload_size);
        at += packet.size;
    }
}

/* The bytes as packets, and also as a body and as a topic of their own, so that each parser is reached. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prov_mqtt_topic topic;
    prov_error error;

    read_packets(data, size);
    feed_machine(200, data, size);
    feed_machine(401, data, size);
    if (prov_mqtt_topic_parse((const char *)data, size, &topic, &error) == KN_PROV_OK)
        require(topic.status >= 100 && topic.status <= 599, "status out of range");
    return 0;
}

#ifndef KN_LIBFUZZER

#define ROUNDS    300000
#define INPUT_MAX 2048

static uint64_t random_state = 0x9e3779b97f4a7c15U;

static uint32_t next_random(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % below;
}

static const char assigned[] = "{\"operationId\":\"5.1.2\",\"status\":\"assigned\",\"registrationState\":{"
                               "\"assignedHub\":\"h.example:1\","
                               "\"deviceId\":\"d\",\"substatus\":\"initialAssignment\",\"payload\":{\"a\":[1,"
                               "-2.5e3,null,true,\"\\u00e9\"]}}}";
static const char *const bodies[] = {
    assigned,
    "{\"operationId\":\"5.1.2\",\"status\":\"assigning\"}",
    "{\"status\":\"failed\",\"registrationState\":{\"errorCode\":400208,\"errorMessage\":\"no\"}}",
    "{\"errorCode\":401002,\"trackingId\":\"t\",\"message\":\"m\"}",
};
static const char *const topics[] = {
    "$dps/registrations/res/202/?$rid=1&retry-after=3",
    "$dps/registrations/res/200/?$rid=2",
    "$dps/registrations/res/401/?$rid=2",
};

static size_t make_seed(uint8_t *input)
{
    const char *body = bodies[next_random(sizeof bodies / sizeof bodies[0])];
    const char *topic = topics[next_random(sizeof topics / sizeof topics[0])];
    prov_mqtt_publish publish = {
        .topic = topic,
        .topic_size = strlen(topic),
        .payload = (const uint8_t *)body,
        .payload_size = strlen(body),
        .qos = (uint8_t)next_random(2),
        .packet_id = 7,
    };

    switch (next_random(4)) {
    case 0:
        memcpy(input, body, strlen(body));
        return strlen(body);
    case 1:
        memcpy(input, topic, strlen(topic));
        return strlen(topic);
    default:
        return prov_mqtt_write_publish(&publish, input, INPUT_MAX);
    }
}

static size_t mutate(uint8_t *input, size_t size)
{
    static const char special[] = "{}[]\"\\:,$&=?/u0\0\xff\x80";
    uint32_t at = next_random((uint32_t)size);

    switch (next_random(5)) {
    case 0:
        input[at] = (uint8_t)next_random(256);
        return size;
    case 1:
        input[at] = (uint8_t)special[next_random(sizeof special)];
        return size;
    case 2:
        return at ? at : 1;
    case 3:
        memmove(input + at, input + at + 1, size - at - 1);
        return size > 1 ? size - 1 : size;
    default:
        if (size * 2 > INPUT_MAX)
            return size;
        memcpy(input + size, input, size);
        return size * 2;
    }
}

int main(void)
{
    static uint8_t input[INPUT_MAX];

    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t size = make_seed(input);
        uint8_t *exact;

        for (uint32_t i = next_random(6); i > 0; i--)
            size = mutate(input, size);
        exact = malloc(size); /* its own block, so that a sanitizer sees any access beyond */
        require(exact != NULL, "out of memory");
        memcpy(exact, input, size);
        (void)LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    (void)printf("fuzz_prov_mqtt: %d inputs\n", ROUNDS);
    return 0;
}

#endif
