/* What a program may set in the null provider's module. Threads: set before the first signature. */
#ifndef BENCH_NULL_H
#define BENCH_NULL_H

typedef void bench_null_token_fn(const unsigned char digest[32]); /* signs, throws the signature away */

#define BENCH_NULL_TOKEN "bench_null_token" /* the symbol: a bench_null_token_fn *, NULL at first */

#endif
