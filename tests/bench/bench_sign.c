/* Signing, timed: CPU above the null provider, and ratios to a raw C_SignInit and C_Sign loop.
 *
 *   bench_sign cpu | softhsm | copy | slow [ROUNDS]
 *   bench_sign raw | keynym | null COUNT    so many signatures on SoftHSM2 by one of them, for callgrind
 *
 * Contenders are timed in turn, in many short rounds, so that what else the machine does meets all of them. A value is
 * made within one round; the table has minimum, median and maximum of all rounds. The process fails when a median is
 * beyond its limit by more than a margin that no neighbour's load explains. */
#include "bench_sign.h"
#include "bench_stats.h"

#include "p11_shim.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define CONTENDERS_MAX 8
#define SLOW_THREADS   64
#define SLOW_DELAY_US  2000

typedef struct timing {
    double cpu_us, wall_us; /* for one signature */
} timing;

typedef struct job {
    const bench_contender *c;
    unsigned count;
    pthread_barrier_t *ready;
    double cpu_us; /* of this thread: the clock of a process lags behind what its other threads do now */
    double from_us, to_us;
} job;

static double now_us(clockid_t clock)
{
    struct timespec at;
    (void)clock_gettime(clock, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static void *work(void *arg)
{
    job *j = arg;
    bench_thread thread = bench_thread_start(j->c);
    (void)pthread_barrier_wait(j->ready);
    double cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
    j->from_us = now_us(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < j->count; i++)
        bench_sign_once(j->c, &thread);
    j->to_us = now_us(CLOCK_MONOTONIC);
    j->cpu_us = now_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
    (void)pthread_barrier_wait(j->ready);
    bench_thread_end(j->c, &thread);
    return NULL;
}

/* @count signatures in each of @threads threads. */
static timing run(const bench_contender *c, unsigned threads, unsigned count)
{
    pthread_t thread[SLOW_THREADS];
    job jobs[SLOW_THREADS];
    pthread_barrier_t ready;
    timing t = {0};
    double from = now_us(CLOCK_MONOTONIC) + 3600e6, to = 0;
    (void)pthread_barrier_init(&ready, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (job){.c = c, .count = count, .ready = &ready};
        bench_need(pthread_create(&thread[i], NULL, work, &jobs[i]) == 0, "a thread");
    }
    (void)pthread_barrier_wait(&ready);
    (void)pthread_barrier_wait(&ready);
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL);
        t.cpu_us += jobs[i].cpu_us / (threads * count);
        from = jobs[i].from_us < from ? jobs[i].from_us : from;
        to = jobs[i].to_us > to ? jobs[i].to_us : to;
    }
    t.wall_us = (to - from) / (threads * count);
    (void)pthread_barrier_destroy(&ready);
    return t;
}

/* ---- CPU above the null provider, over a token that answers at once ---- */

enum { NULL_PROVIDER, RAW, KEYNYM, ENGINE_, PKCS11_PROVIDER_, CPU_COUNT };

static bool above_null(unsigned rounds, shim *s)
{
    const bench_target target = {.module = shim_module};
    bench_contender c[CPU_COUNT] = {
        [NULL_PROVIDER] = bench_null(),
        [RAW] = bench_raw(&target),
        [KEYNYM] = bench_keynym(&target),
        [ENGINE_] = bench_engine(&target),
        [PKCS11_PROVIDER_] = bench_pkcs11_provider(&target),
    };
    static bench_values values[CPU_COUNT], above;
    atomic_store(&s->instant, true);
    for (unsigned r = 0; r <= rounds; r++) {
        double cpu[CPU_COUNT] = {0};
        for (unsigned i = 0; i < CPU_COUNT; i++)
            if (!c[i].missing)
                cpu[i] = run(&c[i], 1, 2000).cpu_us;
        if (r == 0)
            continue; /* warm-up */
        for (unsigned i = 0; i < CPU_COUNT; i++)
            bench_add(&values[i], cpu[i]);
        bench_add(&above, cpu[KEYNYM] - cpu[NULL_PROVIDER]);
    }
    for (unsigned i = 0; i < CPU_COUNT; i++) {
        char what[160];
        (void)snprintf(what, sizeof what, "CPU us per EVP_DigestSign, token answers at once: %s", c[i].name);
        if (c[i].missing)
            printf("| %s | skipped: %s | - |\n", what, c[i].missing);
        else
            bench_row(what, &values[i], 2, "-");
    }
    bench_row("CPU us per EVP_DigestSign: keynym above the null provider", &above, 2, "<= 1");
    return bench_sum_up(&above).median <= 2;
}

/* ---- ratios ---- */

static void ratio_rows(const char *where, unsigned threads, const bench_contender *c, const bench_values *cpu,
                       const bench_values *wall, const char *limit)
{
    char what[200];
    (void)snprintf(what, sizeof what, "%s, %u thread%s: %s, rate as a ratio to the raw loop", where, threads,
                   threads > 1 ? "s" : "", c->name);
    bench_row(what, wall, 3, limit);
    (void)snprintf(what, sizeof what, "%s, %u thread%s: %s, the same of CPU time", where, threads,
                   threads > 1 ? "s" : "", c->name);
    bench_row(what, cpu, 3, limit);
}

/* c[0] is what the others are compared with, c[1] is keynym. */
static bool ratios(const char *where, bench_contender *c, unsigned count, unsigned threads, unsigned signatures,
                   unsigned rounds, double least)
{
    static bench_values cpu[CONTENDERS_MAX], wall[CONTENDERS_MAX];
    char limit[16];
    memset(cpu, 0, sizeof cpu);
    memset(wall, 0, sizeof wall);
    for (unsigned r = 0; r <= rounds; r++) {
        timing t[CONTENDERS_MAX] = {{0}};
        for (unsigned i = 0; i < count; i++) {
            unsigned turn = (i + r) % count;
            if (!c[turn].missing)
                t[turn] = run(&c[turn], threads, signatures / threads);
        }
        for (unsigned i = 1; i < count && r > 0; i++)
            if (!c[i].missing) {
                bench_add(&cpu[i], t[0].cpu_us / t[i].cpu_us);
                bench_add(&wall[i], t[0].wall_us / t[i].wall_us);
            }
    }
    (void)snprintf(limit, sizeof limit, ">= %.2f", least);
    for (unsigned i = 1; i < count; i++)
        if (c[i].missing)
            printf("| %s: %s | skipped: %s | - |\n", where, c[i].name, c[i].missing);
        else
            ratio_rows(where, threads, &c[i], &cpu[i], &wall[i], i == 1 ? limit : "-");
    double best = bench_sum_up(&wall[1]).median;
    if (threads < SLOW_THREADS && bench_sum_up(&cpu[1]).median > best)
        best = bench_sum_up(&cpu[1]).median;
    return best >= least - 0.2;
}

static bool on_softhsm(unsigned rounds)
{
    const bench_target target = {.module = test_module};
    bench_contender c[] = {bench_raw(&target), bench_keynym(&target), bench_engine(&target),
                           bench_pkcs11_provider(&target), bench_null_over_raw(&target)};
    bool good = true;
    for (unsigned threads = 1; threads <= 4; threads *= 2)
        good &= ratios("P-256 on SoftHSM2", c, 5, threads, 400, rounds, 0.94);
    return good;
}

static bool with_copy(unsigned rounds)
{
    const bench_target target = {.module = test_module, .copy = true}, plain = {.module = test_module};
    bench_contender c[] = {bench_raw(&target), bench_keynym(&target), bench_raw(&plain), bench_keynym(&plain),
                           bench_null_over_raw(&target)};
    bool good = true;
    for (unsigned threads = 1; threads <= 4; threads *= 2)
        good &= ratios("P-256 on SoftHSM2, to a raw loop on a session copy", c, 5, threads, 400, rounds, 0.94);
    return good;
}

static bool over_slow_token(unsigned rounds, shim *s)
{
    const bench_target target = {.module = shim_module};
    bench_contender c[] = {bench_raw(&target), bench_keynym(&target), bench_engine(&target),
                           bench_pkcs11_provider(&target)};
    atomic_store(&s->instant, true);
    atomic_store(&s->delay_us[SHIM_C_Sign], SLOW_DELAY_US);
    return ratios("a token that takes 2 ms", c, 4, SLOW_THREADS, 64 * SLOW_THREADS, rounds, 0.97);
}

/* False when @who is none of them. */
static bool one_of_them(const char *who, unsigned count)
{
    const bench_target target = {.module = test_module};
    bench_contender c = {.name = NULL};
    if (!strcmp(who, "raw"))
        c = bench_raw(&target);
    else if (!strcmp(who, "keynym"))
        c = bench_keynym(&target);
    else if (!strcmp(who, "null"))
        c = bench_null_over_raw(&target);
    if (c.name)
        (void)run(&c, 1, count);
    return c.name != NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 15;
    bool good = false;
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX) {
        (void)fprintf(stderr, "bench_sign: 1 to %d rounds or signatures\n", BENCH_ROUNDS_MAX);
        return 2;
    }
    (void)prov_group_setup(NULL);
    shim *s = shim_new(prov_token);
    if (!strcmp(mode, "cpu"))
        good = above_null(rounds, s);
    else if (!strcmp(mode, "softhsm"))
        good = on_softhsm(rounds);
    else if (!strcmp(mode, "copy"))
        good = with_copy(rounds);
    else if (!strcmp(mode, "slow"))
        good = over_slow_token(rounds, s);
    else if (!(good = one_of_them(mode, rounds)))
        (void)fprintf(stderr, "usage: bench_sign cpu|softhsm|copy|slow [ROUNDS], or raw|keynym|null COUNT\n");
    if (!good)
        (void)fprintf(stderr, "bench_sign: '%s' is beyond its limit by more than the margin\n", mode);
    (void)fflush(stdout);
    (void)prov_group_teardown(NULL);
    _exit(good ? 0 : 1); /* contenders are left open: the engine's own clean-up is not what is measured */
}
