/* Fuzz target of the client's AMQP: what a peer says from the protocol header on, to a client that authenticates,
 * attaches a sender and a receiver, sends and receives.
 *
 * The first byte says whether there is a SASL layer. Each read gets one frame, as a peer would send it. */
#include "fuzz_driver.h"

#include "prov_amqp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WITH_SASL 1

typedef struct fuzz_stream {
    prov_stream stream; /* first */
    const uint8_t *input;
    size_t left;
} fuzz_stream;

static kn_prov_code swallow(prov_stream *stream, const uint8_t *data, size_t size, const prov_deadline *deadline,
                            prov_error *error)
{
    (void)stream, (void)data, (void)size, (void)deadline, (void)error;
    return KN_PROV_OK;
}

static size_t next_size(const fuzz_stream *s)
{
    size_t size;

    if (s->left < 8 || memcmp(s->input, "AMQP", 4) == 0)
        return s->left < 8 ? s->left : 8;
    size = (size_t)s->input[0] << 24 | (size_t)s->input[1] << 16 | (size_t)s->input[2] << 8 | s->input[3];
    return size < 8 || size > s->left ? s->left : size;
}

static kn_prov_code feed(prov_stream *stream, uint8_t *buffer, size_t capacity, const prov_deadline *deadline,
                         size_t *ret_size, prov_error *error)
{
    fuzz_stream *s = (fuzz_stream *)stream;
    size_t size = next_size(s);

    (void)deadline;
    if (size == 0)
        return prov_fail(error, KN_PROV_E_CLOSED, "the end of the input");
    if (size > capacity)
        size = capacity;
    memcpy(buffer, s->input, size);
    s->input += size;
    s->left -= size;
    *ret_size = size;
    return KN_PROV_OK;
}

static void close_stream(prov_stream *stream)
{
    free(stream);
}

static const prov_stream_ops ops = {.send = swallow, .recv = feed, .close = close_stream};

static void read_values(pn_message_t *message)
{
    char text[64];

    (void)prov_amqp_number(pn_message_properties(message), "retry-after");
    if (prov_amqp_text(pn_message_body(message), text, sizeof text) && strlen(text) >= sizeof text)
        abort();
}

static void converse(prov_amqp *amqp, const prov_deadline *deadline)
{
    static const prov_amqp_property properties[] = {{"com.microsoft:api-version", "2021-06-01"}, {NULL, NULL}};
    pn_message_t *message = pn_message();
    pn_link_t *sender, *receiver;
    prov_amqp_outcome outcome;
    prov_error error;

    if (!message)
        abort();
    if (prov_amqp_attach(amqp, "s", "/a", 0, properties, deadline, &sender, &error) == KN_PROV_OK &&
        prov_amqp_attach(amqp, "r", "/a", 10, properties, deadline, &receiver, &error) == KN_PROV_OK &&
        prov_amqp_send(amqp, sender, message, deadline, &outcome, &error) == KN_PROV_OK)
        while (prov_amqp_receive(amqp, receiver, deadline, message, &error) == KN_PROV_OK)
            read_values(message);
    pn_message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prov_limits limits = prov_limits_start(60000, 60000, NULL);
    prov_deadline deadline = prov_deadline_of_step(&limits, "the fuzzing");
    prov_amqp_config config = {.container = "c", .host = "dps.test"};
    fuzz_stream *stream = calloc(1, sizeof *stream);
    prov_amqp *amqp = NULL;
    prov_error error;

    if (size < 1 || size > FUZZ_INPUT_MAX || !stream) {
        free(stream);
        return 0;
    }
    *stream = (fuzz_stream){.stream = {.ops = &ops}, .input = data + 1, .left = size - 1};
    if (*data & WITH_SASL)
        config.mechanism = PROV_AMQP_MSSBCBS;
    if (prov_amqp_open(&stream->stream, &config, &deadline, &amqp, &error) == KN_PROV_OK)
        converse(amqp, &deadline);
    prov_amqp_close(&amqp);
    return 0;
}

#ifndef KN_LIBFUZZER

/* ---- a whole conversation, as keynym-dps and the service have it: OASIS AMQP 1.0 parts 2 and 5 ---- */

static uint8_t seed[1024];
static size_t seed_size;

static void put(const void *bytes, size_t size)
{
    memcpy(seed + seed_size, bytes, size);
    seed_size += size;
}

/* A frame of @type on channel 0: the performative @code with a list of @count values, and a payload. */
static void frame(uint8_t type, uint8_t code, uint8_t count, const char *values, size_t size, const char *payload,
                  size_t payload_size)
{
    const uint8_t head[] = {0,    0,    0,    (uint8_t)(14 + size + payload_size), 2, type, 0, 0, 0, 0x53,
                            code, 0xc0, (uint8_t)(size + 1), count};

    put(head, sizeof head);
    put(values, size);
    put(payload, payload_size);
}

#define FRAME(type, code, count, values) frame(type, code, count, values, sizeof values - 1, "", 0)

static void put_connection(void)
{
    put("AMQP\0\1\0\0", 8);
    FRAME(0, 0x10, 1, "\xa1\1s");                                     /* open */
    FRAME(0, 0x11, 4, "\x60\0\0\x43\x70\0\0\x08\0\x70\0\0\x08\0");    /* begin */
}

/* The peer's ends of the links "s" and "r". */
static void put_links(void)
{
    FRAME(0, 0x12, 7, "\xa1\1s\x43\x41\x40\x40\0\x53\x28\x45\0\x53\x29\x45");
    FRAME(0, 0x12, 10, "\xa1\1r\x52\1\x42\x40\x40\0\x53\x28\x45\0\x53\x29\x45\x40\x40\x43");
    FRAME(0, 0x13, 7, "\x43\x70\0\0\x08\0\x43\x70\0\0\x08\0\x43\x43\x52\x0a"); /* flow: credit */
}

static void put_message(void)
{
    static const char values[] = "\x52\1\x43\xa0\1\0\x43\x42";
    static const char message[] = "\0\x53\x74\xc1\x0f\2\xa1\x0bretry-after\x54\3\0\x53\x77\xa1\2{}";

    frame(0, 0x14, 5, values, sizeof values - 1, message, sizeof message - 1);
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    for (int kind = 0; kind < 5; kind++) {
        seed[0] = kind == 1 ? WITH_SASL : 0;
        seed_size = 1;
        if (kind == 1) {
            put("AMQP\3\1\0\0", 8);
            FRAME(1, 0x40, 1, "\xa3\7MSSBCBS"); /* mechanisms */
            FRAME(1, 0x44, 1, "\x50\0");        /* outcome: ok */
        }
        put_connection();
        put_links();
        if (kind == 2) /* rejected, with a condition */
            FRAME(0, 0x15, 5, "\x41\x43\x40\x41\0\x53\x25\xc0\x15\1\0\x53\x1d\xc0\x0f\2\xa3\x0e" "amqp:not-found\xa1\0");
        else
            FRAME(0, 0x15, 5, "\x41\x43\x40\x41\0\x53\x24\x45"); /* accepted */
        put_message();
        if (kind == 3) /* detach */
            FRAME(0, 0x16, 2, "\x52\1\x41");
        if (kind == 4) /* close */
            FRAME(0, 0x18, 0, "");
        add(seed, seed_size);
    }
}

#endif
