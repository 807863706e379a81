#include "kn_err.h"

#include "support/kn_check.h"

#include <pthread.h>
#include <stdlib.h>

static void test_every_row_has_name_sentence_and_remedy(void **state)
{
    (void)state;
    for (int i = 1; i < KN_CODE_COUNT; i++) {
        kn_code code = (kn_code)i;
        assert_int_equal(strncmp(kn_code_name(code), "KN_E_", 5), 0);
        assert_true(strlen(kn_code_name(code)) > 5);
        assert_true(strlen(kn_code_sentence(code)) > 5);
        assert_true(strlen(kn_code_remedy(code)) > 5);
        for (int other = 1; other < i; other++) {
            assert_string_not_equal(kn_code_name(code), kn_code_name((kn_code)other));
            assert_string_not_equal(kn_code_sentence(code), kn_code_sentence((kn_code)other));
        }
    }
    assert_string_equal(kn_code_name(KN_OK), "KN_OK");
    assert_string_equal(kn_code_name(KN_E_NO_TOKEN), "KN_E_NO_TOKEN");
}

static void test_a_code_beyond_the_list_has_texts_too(void **state)
{
    (void)state;
    assert_string_equal(kn_code_name((kn_code)(KN_CODE_COUNT + 7)), "KN_E_UNKNOWN");
    assert_non_null(kn_code_sentence((kn_code)(KN_CODE_COUNT + 7)));
    assert_non_null(kn_code_remedy((kn_code)(KN_CODE_COUNT + 7)));
}

static void test_detail(void **state)
{
    (void)state;
    kn_err err = kn_fail(KN_E_NO_TOKEN, "label '%s', slot %d", "bench", 7);
    assert_int_equal(err.code, KN_E_NO_TOKEN);
    assert_true(kn_failed(err));
    assert_false(kn_failed(kn_success()));
    assert_string_equal(kn_err_detail(), "label 'bench', slot 7");
}

static void test_detail_of_itself(void **state)
{
    (void)state;
    (void)kn_fail(KN_E_IO, "first");
    (void)kn_fail(KN_E_IO, "second after %s", kn_err_detail());
    assert_string_equal(kn_err_detail(), "second after first");
    (void)kn_fail_within((kn_err){KN_E_IO}, "around %s", kn_err_detail());
    assert_string_equal(kn_err_detail(), "around second after first: second after first");
}

static void test_nesting(void **state)
{
    (void)state;
    kn_err err = kn_fail(KN_E_IO, "no such file");
    err = kn_fail_within(err, "file %d", 2);
    err = kn_fail_within(err, "alias");
    assert_int_equal(err.code, KN_E_IO);
    assert_string_equal(kn_err_detail(), "alias: file 2: no such file");
}

static void test_truncation(void **state)
{
    (void)state;
    char *much = malloc(5000);
    assert_non_null(much);
    memset(much, 'x', 4999);
    much[4999] = '\0';
    (void)kn_fail(KN_E_IO, "%s", much);
    assert_int_equal(strlen(kn_err_detail()), KN_DETAIL_MAX - 1);
    (void)kn_fail_within((kn_err){KN_E_IO}, "in");
    assert_int_equal(strlen(kn_err_detail()), KN_DETAIL_MAX - 1);
    assert_int_equal(strncmp(kn_err_detail(), "in: xxx", 7), 0);
    (void)kn_fail(KN_E_IO, "reason");
    (void)kn_fail_within((kn_err){KN_E_IO}, "%s", much); /* the reason is not pushed out by a long context */
    assert_text(kn_err_detail(), ": reason");
    free(much);
}

static void test_text_is_cut_to_fit(void **state)
{
    char text[64];
    (void)state;
    kn_err err = kn_fail(KN_E_NO_PIN, "token 'a'");
    char whole[512];
    kn_err_text(err, whole, sizeof whole);
    assert_text(whole, kn_code_sentence(KN_E_NO_PIN));
    assert_text(whole, ": token 'a' (next step: ");
    assert_text(whole, kn_code_remedy(KN_E_NO_PIN));
    memset(text, 'z', sizeof text);
    kn_err_text(err, text, 20);
    assert_int_equal(strlen(text), 19);
    assert_int_equal(text[20], 'z');
}

static void *fail_elsewhere(void *arg)
{
    bool *empty = arg;
    *empty = *kn_err_detail() == '\0';
    (void)kn_fail(KN_E_IO, "of the other thread");
    return NULL;
}

/* Names come from tokens, and end on terminals and in log files. */
static void test_control_characters_are_replaced(void **state)
{
    (void)state;
    (void)kn_fail(KN_E_NO_KEY, "'%s'", "a\x1b[2J\nb\x7f\xc2\x9b" "c\td");
    assert_string_equal(kn_err_detail(), "'a?[2J?b???c?d'");
    (void)kn_fail_within((kn_err){KN_E_NO_KEY}, "token '%s'", "x\ry");
    assert_string_equal(kn_err_detail(), "token 'x?y': 'a?[2J?b???c?d'");
    (void)kn_fail(KN_E_NO_KEY, "Schl\xc3\xbc" "ssel \xc2\xa7 \xe2\x82\xac"); /* and nothing else */
    assert_string_equal(kn_err_detail(), "Schl\xc3\xbc" "ssel \xc2\xa7 \xe2\x82\xac");
    (void)kn_fail(KN_E_NO_KEY, "cut \xc2");
    assert_string_equal(kn_err_detail(), "cut \xc2");
}

static void test_each_thread_has_its_own_detail(void **state)
{
    pthread_t thread;
    bool empty = false;
    (void)state;
    (void)kn_fail(KN_E_IO, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &empty), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(empty);
    assert_string_equal(kn_err_detail(), "of this thread");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_has_name_sentence_and_remedy),
        cmocka_unit_test(test_a_code_beyond_the_list_has_texts_too),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_detail_of_itself),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_text_is_cut_to_fit),
        cmocka_unit_test(test_control_characters_are_replaced),
        cmocka_unit_test(test_each_thread_has_its_own_detail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
