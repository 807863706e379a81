#include "dps_allocate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const dps_hubs linked = {.names = {"h1", "h2", "h3", "h4"}, .count = 4};

static void expect(dps_enrollment *e, const char *id, const char *hub)
{
    char got[DPS_HUB_LEN] = "";
    assert_int_equal(dps_allocate(e, &linked, id, got), DPS_ALLOCATED);
    assert_string_equal(got, hub);
}

static void test_static(void **state)
{
    (void)state;
    char list[] = "x y";
    dps_enrollment e = {.allocation = DPS_ALLOCATE_STATIC};
    expect(&e, "any", "h1");
    e.hubs = list;
    expect(&e, "any", "x");
    snprintf(e.hub, sizeof(e.hub), "fixed");
    expect(&e, "any", "fixed");
    e.allocation = DPS_ALLOCATE_DEFAULT;
    expect(&e, "any", "fixed");
}

/* Evenly, always the same, whatever the case. */
static void test_hashed(void **state)
{
    (void)state;
    static const dps_allocation policies[] = {DPS_ALLOCATE_DEFAULT, DPS_ALLOCATE_HASHED,
                                              DPS_ALLOCATE_GEO_LATENCY};
    for (size_t p = 0; p < 3; p++) {
        dps_enrollment e = {.allocation = policies[p]};
        int seen[4] = {0};
        for (int i = 0; i < 4000; i++) {
            char id[16], upper[16], hub[DPS_HUB_LEN], again[DPS_HUB_LEN];
            snprintf(id, sizeof(id), "dev-%d", i);
            snprintf(upper, sizeof(upper), "DEV-%d", i);
            assert_int_equal(dps_allocate(&e, &linked, id, hub), DPS_ALLOCATED);
            assert_int_equal(dps_allocate(&e, &linked, upper, again), DPS_ALLOCATED);
            assert_string_equal(hub, again);
            seen[hub[1] - '1']++;
        }
        for (int i = 0; i < 4; i++)
            assert_in_range(seen[i], 850, 1150);
    }
}

static void test_subset(void **state)
{
    (void)state;
    char list[] = "b a";
    int a = 0;
    dps_enrollment e = {.allocation = DPS_ALLOCATE_HASHED, .hubs = list};
    for (int i = 0; i < 100; i++) {
        char id[16], hub[DPS_HUB_LEN];
        snprintf(id, sizeof(id), "dev-%d", i);
        assert_int_equal(dps_allocate(&e, &linked, id, hub), DPS_ALLOCATED);
        assert_true(strcmp(hub, "a") == 0 || strcmp(hub, "b") == 0);
        a += hub[0] == 'a';
    }
    assert_in_range(a, 20, 80);
}

static void test_others(void **state)
{
    (void)state;
    char hub[DPS_HUB_LEN] = "untouched";
    dps_enrollment e = {.allocation = DPS_ALLOCATE_CUSTOM};
    assert_int_equal(dps_allocate(&e, &linked, "d", hub), DPS_ALLOCATED_BY_WEBHOOK);
    const dps_hubs none = {.count = 0};
    e.allocation = DPS_ALLOCATE_HASHED;
    assert_int_equal(dps_allocate(&e, &none, "d", hub), DPS_ALLOCATED_NOWHERE);
    assert_string_equal(hub, "untouched");
}

static void test_lists(void **state)
{
    (void)state;
    dps_hubs hubs;
    char many[4 * DPS_HUBS_MAX] = "";
    assert_true(dps_hubs_split("", &hubs) && hubs.count == 0);
    assert_true(dps_hubs_split("one two", &hubs) && hubs.count == 2);
    assert_true(dps_hubs_has(&hubs, "TWO") && !dps_hubs_has(&hubs, "three"));
    assert_false(dps_hubs_split("one  two", &hubs));
    for (int i = 0; i <= DPS_HUBS_MAX; i++)
        strcat(many, i > 0 ? " h" : "h");
    assert_false(dps_hubs_split(many, &hubs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static), cmocka_unit_test(test_hashed), cmocka_unit_test(test_subset),
        cmocka_unit_test(test_others), cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
