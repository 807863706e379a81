#include "fuzz_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 60000

static struct {
    uint8_t *data;
    size_t size;
} seeds[FUZZ_SEEDS_MAX];
static size_t seed_count;

static void add(const void *data, size_t size)
{
    if (seed_count == FUZZ_SEEDS_MAX || size > FUZZ_INPUT_MAX)
        abort();
    seeds[seed_count].data = malloc(size + 1);
    if (!seeds[seed_count].data)
        abort();
    memcpy(seeds[seed_count].data, data, size);
    seeds[seed_count++].size = size;
}

/* xorshift64*: the same numbers on every machine. */
static uint32_t number(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1du) >> 32);
}

/* From memory of exactly that size, so that a sanitizer sees each read behind it. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static size_t mutate(uint8_t *data, size_t size)
{
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff, '%', ';', '?', '&', '=', ':', '-', '\n', '0', 0x30, 0x02};
    size_t at = size ? number() % size : 0;
    switch (number() % 6) {
    case 0:
        if (size)
            data[at] ^= (uint8_t)(1u << number() % 8);
        return size;
    case 1:
        if (size)
            data[at] = special[number() % sizeof special];
        return size;
    case 2: /* insert */
        if (size < FUZZ_INPUT_MAX) {
            memmove(data + at + 1, data + at, size - at);
            data[at] = special[number() % sizeof special];
            return size + 1;
        }
        return size;
    case 3: /* remove a stretch */
        if (size) {
            size_t length = 1 + number() % 8;
            if (length > size - at)
                length = size - at;
            memmove(data + at, data + at + length, size - at - length);
            return size - length;
        }
        return size;
    case 4: { /* a stretch of another seed */
        size_t other = number() % seed_count;
        size_t from = seeds[other].size ? number() % seeds[other].size : 0;
        size_t length = seeds[other].size - from;
        if (length > 40)
            length = 40;
        if (length > FUZZ_INPUT_MAX - at)
            length = FUZZ_INPUT_MAX - at;
        memcpy(data + at, seeds[other].data + from, length);
        return at + length > size ? at + length : size;
    }
    default: /* cut */
        return at;
    }
}

int main(void)
{
    static uint8_t data[FUZZ_INPUT_MAX + 1];
    fuzz_seeds(add);
    for (size_t i = 0; i < seed_count; i++)
        for (size_t size = 0; size <= seeds[i].size; size++)
            feed(seeds[i].data, size);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t i = number() % seed_count, size = seeds[i].size;
        memcpy(data, seeds[i].data, size);
        for (unsigned n = 1 + number() % 4; n > 0; n--)
            size = mutate(data, size);
        feed(data, size);
    }
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].data);
    printf("%u inputs made from %zu seeds\n", ROUNDS, seed_count);
    return 0;
}
