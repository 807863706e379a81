/* Signatures of a TPM (swtpm): commands, counted, and rates, as ratios to a raw Esys_Sign loop.
 *
 *   bench_tpm                  the commands of Keynym's signatures only, and three restarts; also an ordinary test
 *   bench_tpm rate [ROUNDS]    all contenders, timed too
 *   bench_tpm restart [ROUNDS] how long a key that is in use takes to sign again when its TPM was restarted
 *
 * Contenders sign in turn, a few signatures each, many times in a round, so that what else the machine does meets all of
 * them. A ratio is made within one round; the table has minimum, median and maximum of all rounds. */
#include "bench_tpm.h"
#include "bench_stats.h"

#include "support/swtpm.h"

#include <string.h>
#include <time.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#define CONTENDERS_MAX 7
#define COUNTED        10 /* signatures whose commands are counted */
#define IN_A_ROW       5  /* of one contender, until it is the next one's turn */
#define LEAST          0.97
#define MARGIN         0.05
#define AFTER_RESTART_MS 100

static const bench_tpm_key keys[] = {
    {"P-256 in a file", "EC:P-256", NULL, "ec.pem"},
    {"RSA 2048 in a file", "RSA:2048", NULL, "rsa.pem"},
    {"P-256 at a handle", "EC:P-256", "0x81000200", NULL},
    {"RSA 2048 at a handle", "RSA:2048", "0x81000201", NULL},
};
#define KEYS (sizeof keys / sizeof keys[0])

enum { RAW, FACE, PROVIDER, OWN }; /* places in the list of contenders; OWN: the first that only "rate" opens */

typedef struct measured {
    bench_values rate, ratio;
} measured;

/* @ret_c gets them in the order in which they are listed. */
static unsigned open_all(const bench_tpm_key *key, bool everybody, bench_tpm_contender *ret_c)
{
    unsigned count = OWN;
    ret_c[RAW] = bench_tpm_raw(key);
    ret_c[FACE] = bench_tpm_face(key);
    ret_c[PROVIDER] = bench_tpm_provider(key);
    for (unsigned i = 0; i < OWN; i++) /* loads the key, for which the TPM needs a slot more than later */
        ret_c[i].sign(&ret_c[i]);
    if (!everybody)
        return count;
    if (!key->handle)
        ret_c[count++] = bench_tpm_raw_context(key);
    ret_c[count++] = bench_tpm_openssl(key);
    ret_c[count] = bench_tpm_openssl_digest(&ret_c[count - 1]);
    count++;
    if (key->handle) /* its keys are in files of its own; another one that is loaded would be one too many for three slots */
        ret_c[count++] = bench_tpm_pkcs11(key);
    return count;
}

/* Exact, and the same each time. */
static bool commands(const bench_tpm_key *key, bench_tpm_contender *c, unsigned exact)
{
    if (c->missing)
        return true;
    c->sign(c); /* the first one finds, or loads, the key */
    swtpm_arm(0, 0, 0);
    for (unsigned i = 0; i < COUNTED; i++)
        c->sign(c);
    double each = (double)*swtpm_count / COUNTED;
    if (exact)
        printf("| %s: %s, commands per signature | %.2f | %u |\n", key->name, c->name, each, exact);
    else
        printf("| %s: %s, commands per signature | %.2f | - |\n", key->name, c->name, each);
    if (!exact || *swtpm_count == exact * COUNTED)
        return true;
    (void)fprintf(stderr, "bench_tpm: %s: %s: %.2f commands per signature, not %u\n", key->name, c->name, each, exact);
    return false;
}

static double now_s(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void round_of_all(bench_tpm_contender *c, unsigned count, unsigned turns, measured *values)
{
    double took[CONTENDERS_MAX] = {0};
    for (unsigned turn = 0; turn < turns; turn++)
        for (unsigned n = 0; n < count; n++) {
            unsigned i = (n + turn) % count;
            double from = now_s();
            for (unsigned s = 0; !c[i].missing && s < IN_A_ROW; s++)
                c[i].sign(&c[i]);
            took[i] += now_s() - from;
        }
    for (unsigned i = 0; values && i < count; i++) {
        bench_add(&values[i].rate, turns * IN_A_ROW / took[i]);
        bench_add(&values[i].ratio, took[RAW] / took[i]);
    }
}

static bool rates(const bench_tpm_key *key, bench_tpm_contender *c, unsigned count, unsigned rounds)
{
    static measured values[CONTENDERS_MAX];
    unsigned turns = c[RAW].rsa ? 8 : 20;
    bool good = true;
    char what[200];
    memset(values, 0, sizeof values);
    round_of_all(c, count, 1, NULL); /* warm-up */
    for (unsigned r = 0; r < rounds; r++)
        round_of_all(c, count, turns, values);
    (void)snprintf(what, sizeof what, "%s: %s, signatures per second", key->name, c[RAW].name);
    bench_row(what, &values[RAW].rate, 0, "-");
    for (unsigned i = 1; i < count; i++) {
        bool judged = key->handle && i < OWN;
        (void)snprintf(what, sizeof what, "%s: %s, rate as a ratio to the raw loop", key->name, c[i].name);
        if (c[i].missing)
            printf("| %s | skipped: %s | - |\n", what, c[i].missing);
        else
            bench_row(what, &values[i].ratio, 3, judged ? ">= 0.97" : "-");
        if (!judged || bench_sum_up(&values[i].ratio).median >= LEAST - MARGIN)
            continue;
        (void)fprintf(stderr, "bench_tpm: %s: beyond its limit by more than the margin\n", what);
        good = false;
    }
    return good;
}

/* Does the TPM answer? Asked by a connection that is nobody else's. */
static bool answers(void)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    TPM2B_DIGEST *random = NULL;
    char name[100];
    (void)snprintf(name, sizeof name, "swtpm:path=%s/s", swtpm_dir);
    bool good = Tss2_TctiLdr_Initialize(name, &tcti) == TSS2_RC_SUCCESS && Esys_Initialize(&esys, tcti, NULL) == TSS2_RC_SUCCESS &&
                Esys_GetRandom(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 8, &random) == TSS2_RC_SUCCESS;
    Esys_Free(random);
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
    return good;
}

/* From the first answer that somebody else gets to the signature of a key that was in use when the TPM went away, and was asked to
 * sign while there was none. */
static bool restarts(const bench_tpm_key *key, unsigned rounds)
{
    static bench_values ms;
    char what[200];
    bench_tpm_contender c = bench_tpm_face(key);
    c.sign(&c);
    ms.count = 0;
    for (unsigned r = 0; r < rounds; r++) {
        swtpm_stop();
        bench_tpm_need(!bench_tpm_signs(&c), "a signature without a TPM");
        swtpm_start();
        while (!answers())
            (void)usleep(1000);
        double from = now_s();
        c.sign(&c);
        bench_add(&ms, (now_s() - from) * 1000);
    }
    bench_tpm_close(&c);
    (void)snprintf(what, sizeof what, "%s: first signature after a restart of the TPM, ms after its first answer", key->name);
    bench_row(what, &ms, 1, "<= 100");
    if (bench_sum_up(&ms).max <= AFTER_RESTART_MS)
        return true;
    (void)fprintf(stderr, "bench_tpm: %s: beyond its limit\n", what);
    return false;
}

int main(int argc, char **argv)
{
    bool everybody = argc > 1 && !strcmp(argv[1], "rate"), restart = argc > 1 && !strcmp(argv[1], "restart"), good = true;
    int rounds = argc > 2 ? atoi(argv[2]) : 15;
    if ((argc > 1 && !everybody && !restart) || rounds < 1 || rounds > BENCH_ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: bench_tpm [rate|restart [ROUNDS]], 1 to %d rounds\n", BENCH_ROUNDS_MAX);
        return 2;
    }
    bench_tpm_set_up(keys, KEYS, everybody);
    for (unsigned k = 0; !everybody && k < KEYS; k++)
        good &= restarts(&keys[k], restart ? (unsigned)rounds : 3);
    for (unsigned k = 0; !restart && k < KEYS; k++) {
        bench_tpm_contender c[CONTENDERS_MAX];
        unsigned count = open_all(&keys[k], everybody, c);
        for (unsigned i = 0; i < count; i++)
            good &= commands(&keys[k], &c[i], i >= OWN ? 0 : keys[k].handle || i == RAW ? 1 : 3);
        if (everybody)
            good &= rates(&keys[k], c, count, (unsigned)rounds);
        while (count--) /* a borrower before whom it borrows from */
            bench_tpm_close(&c[count]);
    }
    bench_tpm_tear_down();
    (void)fflush(stdout);
    _exit(good ? 0 : 1); /* tpm2-tss and the modules are left as they are */
}
