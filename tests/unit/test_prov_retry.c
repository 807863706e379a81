/* The back-off that outlives the process: its numbers, and the file with what may be wrong about it. */
#include "prov_retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1764120000

static void test_growth(void **state)
{
    static const unsigned pauses_s[] = {2, 4, 8, 16, 32, 64, 128, 256, 300, 300};
    prov_retry retry = {.failures = 0};

    (void)state;
    for (unsigned i = 0; i < sizeof pauses_s / sizeof *pauses_s; i++) {
        retry.not_before_s = 0;
        prov_retry_count(&retry, NOW, 0);
        assert_int_equal(retry.failures, i + 1);
        assert_int_equal(prov_retry_pause_ms(&retry, NOW), pauses_s[i] * 1000);
    }
    retry.failures = PROV_RETRY_FAILURES_MAX;
    prov_retry_count(&retry, NOW, 65535);
    assert_int_equal(retry.failures, PROV_RETRY_FAILURES_MAX);
    assert_in_range(prov_retry_pause_ms(&retry, NOW), 440 * 1000, PROV_RETRY_PAUSE_MAX_S * 1000);
}

/* A thousand devices whose third attempt failed at once: they come back over many seconds. */
static void test_jitter_spreads(void **state)
{
    unsigned seen[400] = {0}, distinct = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        prov_retry retry = {.failures = 7};

        prov_retry_count(&retry, NOW, i * 65);
        seen[prov_retry_pause_ms(&retry, NOW) / 1000]++;
    }
    for (unsigned s = 0; s < 400; s++)
        distinct += seen[s] > 0;
    assert_in_range(distinct, 120, 129);
}

static void test_clock(void **state)
{
    prov_retry retry = {.failures = 3, .saved_s = NOW, .not_before_s = NOW + 60};

    (void)state;
    assert_int_equal(prov_retry_pause_ms(&retry, NOW), 60000);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + 59), 1000);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + 60), 0);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + INT64_C(1000000000)), 0);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW - 1), 60000); /* set back: all of it again, no more */
    assert_int_equal(prov_retry_pause_ms(&retry, 0), 60000);
}

static void test_retry_after(void **state)
{
    prov_retry retry = {.failures = 1, .saved_s = NOW, .not_before_s = NOW + 3};

    (void)state;
    prov_retry_not_before(&retry, NOW + 1, 120);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + 1), 120000);
    prov_retry_not_before(&retry, NOW + 2, 5); /* what is longer stays */
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + 2), 119000);
    prov_retry_not_before(&retry, NOW + 2, UINT32_MAX);
    assert_int_equal(prov_retry_pause_ms(&retry, NOW + 2), PROV_RETRY_PAUSE_MAX_S * 1000);
}

static void test_parse(void **state)
{
    static const char *const wrong[] = {
        "",
        "\n",
        "keynym-retry",
        "keynym-retry 1 3 1764120000 176412006", /* cut */
        "keynym-retry 1 3 1764120000 1764120060",
        "keynym-retry 2 3 1764120000 1764120060\n",
        "keynym-retry 1 0 1764120000 1764120060\n",
        "keynym-retry 1 -3 1764120000 1764120060\n",
        "keynym-retry 1 03 1764120000 1764120060\n",
        "keynym-retry 1  3 1764120000 1764120060\n",
        "keynym-retry 1 1000001 1764120000 1764120060\n",
        "keynym-retry 1 99999999999999999999 1764120000 1764120060\n",
        "keynym-retry 1 3 -1 60\n",
        "keynym-retry 1 3 1764120000 1764120451\n", /* longer than any pause */
        "keynym-retry 1 3 1764120000 1764119999\n",
        "keynym-retry 1 3 1764120000 999999999999999999\n",
        "keynym-retry 1 3 1764120000 9999999999999999999999\n",
        "keynym-retry 1 3 1764120000 1764120060\nmore\n",
        "keynym-retry 1 3 1764120000 1764120060\n                                                        ",
    };
    static const char good[] = "keynym-retry 1 3 1764120000 1764120060\n";
    prov_retry retry = {.failures = 77};
    prov_error error;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(prov_retry_parse(wrong[i], strlen(wrong[i]), &retry, &error), KN_PROV_E_ARGUMENT);
        assert_int_equal(retry.failures, 77);
        assert_true(strlen(error.detail) > 0);
    }
    for (size_t size = 0; size < strlen(good); size++)
        assert_int_equal(prov_retry_parse(good, size, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_int_equal(prov_retry_parse("keynym-retry 1 3 \0 1 2\n", 23, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_int_equal(prov_retry_parse(good, strlen(good), &retry, &error), KN_PROV_OK);
    assert_int_equal(retry.failures, 3);
    assert_int_equal(retry.saved_s, NOW);
    assert_int_equal(retry.not_before_s, NOW + 60);
}

static void test_files(void **state)
{
    char directory[] = "/tmp/kn-retry-XXXXXX", path[64];
    prov_retry retry = {.failures = 9};
    prov_error error;

    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/retry", directory);
    assert_int_equal(prov_retry_load(path, &retry, &error), KN_PROV_OK); /* there is none */
    assert_int_equal(retry.failures, 0);
    prov_retry_count(&retry, NOW, 0);
    assert_int_equal(prov_retry_save(path, &retry, &error), KN_PROV_OK);
    retry = (prov_retry){.failures = 0};
    assert_int_equal(prov_retry_load(path, &retry, &error), KN_PROV_OK);
    assert_int_equal(retry.failures, 1);
    assert_int_equal(retry.not_before_s, NOW + 2);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(prov_retry_load(path, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_int_equal(retry.failures, 0);
    assert_non_null(strstr(error.detail, path));
    assert_int_equal(prov_retry_save(path, &retry, &error), KN_PROV_OK); /* no failures: no file */
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(mkfifo(path, 0600), 0); /* does not stop anybody */
    assert_int_equal(prov_retry_load(path, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(prov_retry_load(directory, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_int_equal(rmdir(directory), 0);
    retry.failures = 1;
    assert_int_equal(prov_retry_save(path, &retry, &error), KN_PROV_E_ARGUMENT);
    assert_non_null(strstr(error.detail, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth),      cmocka_unit_test(test_jitter_spreads),
        cmocka_unit_test(test_clock),       cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
