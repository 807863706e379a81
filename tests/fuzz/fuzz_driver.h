/* What a fuzz target gives its driver.
 *
 * Without libFuzzer, main() of fuzz_driver.c feeds the seeds, every truncation of them, and a fixed pseudo-random
 * sequence of mutations: a few seconds, and the same on every run. With libFuzzer, only the targets are built:
 * clang -fsanitize=fuzzer,address fuzz_kn_alias.c ...
 */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_INPUT_MAX 9000 /* bytes */
#define FUZZ_SEEDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Good inputs: calls @add for each. */
void fuzz_seeds(void (*add)(const void *data, size_t size));

#endif
