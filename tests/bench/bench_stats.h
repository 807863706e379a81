/* Values of several rounds, and rows of the table that run.sh puts together.
 *
 * Units: the caller's. Ownership: none. Errors: none. Threads: one.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define BENCH_ROUNDS_MAX 1000

typedef struct bench_values {
    double value[BENCH_ROUNDS_MAX];
    unsigned count;
} bench_values;

typedef struct bench_summary {
    double min, median, max;
} bench_summary;

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static inline void bench_add(bench_values *v, double value)
{
    if (v->count < BENCH_ROUNDS_MAX)
        v->value[v->count++] = value;
}

static inline bench_summary bench_sum_up(const bench_values *v)
{
    bench_values sorted = *v;
    qsort(sorted.value, sorted.count, sizeof *sorted.value, bench_compare);
    if (sorted.count == 0)
        return (bench_summary){0, 0, 0};
    return (bench_summary){sorted.value[0], sorted.value[sorted.count / 2], sorted.value[sorted.count - 1]};
}

/* "| what | min / median / max | limit |". */
static inline void bench_row(const char *what, const bench_values *v, int digits, const char *limit)
{
    bench_summary s = bench_sum_up(v);
    printf("| %s | %.*f / **%.*f** / %.*f | %s |\n", what, digits, s.min, digits, s.median, digits, s.max, limit);
}

#endif
