/* What was refused is known again: for its owner, this secret, and the last 32. */
#include "support/kn_check.h"

#include "kn_refused.h"

#include <stdio.h>

static kn_refused_mark mark_of(const char *owner, const char *secret)
{
    kn_secret *value = NULL;
    kn_refused_mark mark;
    if (secret)
        assert_ok(kn_secret_new(secret, strlen(secret), &value));
    assert_ok(kn_refused_mark_of(owner, strlen(owner), value, &mark));
    kn_secret_free(&value);
    return mark;
}

static void test_known(void **state)
{
    (void)state;
    const kn_refused_mark mark = mark_of("token", "1234");
    assert_false(kn_refused_known(&mark));
    kn_refused_remember(&mark);
    static const struct {
        const char *owner, *secret;
        bool known;
    } rows[] = {
        {"token", "1234", true}, {"token", "12345", false}, {"token", "123", false}, {"other", "1234", false},
        {"token1", "234", false}, {"toke", "n1234", false}, {"token", NULL, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const kn_refused_mark again = mark_of(rows[i].owner, rows[i].secret);
        assert_int_equal(kn_refused_known(&again), rows[i].known);
    }
}

static void test_empty(void **state)
{
    (void)state;
    const kn_refused_mark none = mark_of("key", NULL), empty = mark_of("key", "");
    kn_refused_remember(&none);
    assert_true(kn_refused_known(&empty));
}

static void test_the_last_32(void **state)
{
    char pin[8];
    (void)state;
    for (int i = 0; i < 33; i++) {
        (void)snprintf(pin, sizeof pin, "%04d", i);
        const kn_refused_mark mark = mark_of("many", pin);
        kn_refused_remember(&mark);
    }
    const kn_refused_mark first = mark_of("many", "0000"), second = mark_of("many", "0001"), last = mark_of("many", "0032");
    assert_false(kn_refused_known(&first));
    assert_true(kn_refused_known(&second));
    assert_true(kn_refused_known(&last));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_the_last_32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
