/* Fuzz target: activation blobs. What is accepted points into the blob and has the sizes that a TPM's structures have room for. */
#include "fuzz_driver.h"

#include "tpm2/tpm2_blob.h"

#include <stdlib.h>
#include <string.h>

static void must_lie_in(tpm2_span span, const uint8_t *data, size_t size, size_t max)
{
    if (span.length > max || (span.length && (span.at < data || span.at + span.length > data + size)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tpm2_blob blob;
    if (kn_failed(tpm2_blob_parse(data, size, &blob)))
        return 0;
    must_lie_in(blob.credential, data, size, 68);
    must_lie_in(blob.secret, data, size, 256);
    must_lie_in(blob.duplicate, data, size, 206);
    must_lie_in(blob.seed, data, size, 256);
    must_lie_in(blob.policy, data, size, 32);
    must_lie_in(blob.unique, data, size, 32);
    if (blob.unique.length != 32 || (blob.inner_key_length != 16 && blob.inner_key_length != 32))
        abort();
    return 0;
}

void fuzz_seeds(void (*add)(const void *data, size_t size))
{
    static const struct {
        size_t at;
        const char *bytes;
        size_t n;
    } parts[] = {{0, "\0\x34\0\x20", 4},  {54, "\1\0", 2},
                 {312, "\0\x8e\0\x20", 4}, {456, "\1\0", 2},
                 {714, "\0\x30\0\x08\0\x0b\0\4\4\x40\0\0\0\5\0\x0b\0\x20", 18}, {764, "\0\4text", 6}};
    uint8_t seed[770] = {0};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        memcpy(seed + parts[i].at, parts[i].bytes, parts[i].n);
    add(seed, sizeof seed);
    add(seed, 764);
}
