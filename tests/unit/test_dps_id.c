#include "dps_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        dps_id_verdict verdict;
    } rows[] = {
        {"a", DPS_ID_OK},
        {"Device-1", DPS_ID_OK},
        {"a.b_c:d-e", DPS_ID_OK},
        {"-", DPS_ID_OK},
        {"a-", DPS_ID_OK},
        {"", DPS_ID_EMPTY},
        {"a.", DPS_ID_BAD_END},
        {"a_", DPS_ID_BAD_END},
        {"a:", DPS_ID_BAD_END},
        {"a b", DPS_ID_BAD_CHARACTER},
        {"a/b", DPS_ID_BAD_CHARACTER},
        {"\xc3\xa9", DPS_ID_BAD_CHARACTER},
        {"a\"", DPS_ID_BAD_CHARACTER},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(dps_id_check(dps_span_of(rows[i].id)), rows[i].verdict);
    assert_int_equal(dps_id_check((dps_span){"a\0b", 3}), DPS_ID_BAD_CHARACTER);
}

static void test_length(void **state)
{
    (void)state;
    char id[DPS_ID_MAX + 1];
    memset(id, 'x', sizeof(id));
    assert_int_equal(dps_id_check((dps_span){id, DPS_ID_MAX}), DPS_ID_OK);
    assert_int_equal(dps_id_check((dps_span){id, DPS_ID_MAX + 1}), DPS_ID_TOO_LONG);
}

static void test_texts(void **state)
{
    (void)state;
    for (int i = DPS_ID_OK; i <= DPS_ID_BAD_END; i++)
        assert_string_not_equal(dps_id_verdict_text((dps_id_verdict)i), "invalid");
}

static void test_hosts(void **state)
{
    (void)state;
    assert_true(dps_host_valid("localhost", false));
    assert_true(dps_host_valid("a-1.example", false));
    assert_true(dps_host_valid("10.0.0.1", false));
    assert_true(dps_host_valid("::1", false));
    assert_true(dps_host_valid("hub.example:8883", true));
    assert_false(dps_host_valid("hub.example:8883", false));
    assert_false(dps_host_valid("hub.example:", true));
    assert_false(dps_host_valid("hub.example:123456", true));
    assert_false(dps_host_valid("hub.example:1x", true));
    assert_false(dps_host_valid("", false));
    assert_false(dps_host_valid(":1", true));
    assert_false(dps_host_valid("a,DNS:b", false)); /* would be two names in the certificate */
    assert_false(dps_host_valid("a b", false));
    assert_false(dps_host_valid("-a", false));
    assert_false(dps_host_valid(".a", false));
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"plain", true},
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x80\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\x80", false},
        {"\xc3", false},
        {"\xe2\x82", false},
        {"\xf0\x9f\x98", false},
        {"\xff", false},
        {"\xe2\x28\xa1", false},
        {"\xf0\x9f\x28\x80", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(dps_utf8_valid((const uint8_t *)rows[i].text, strlen(rows[i].text)), rows[i].ok);
    assert_false(dps_utf8_valid((const uint8_t *)"a\0b", 3));
}

static void test_generated(void **state)
{
    (void)state;
    char scope[DPS_SCOPE_LEN], uuid[DPS_UUID_LEN], operation[DPS_OPERATION_LEN], etag[DPS_ETAG_LEN];
    assert_true(dps_random_id_scope(scope) && dps_random_uuid(uuid) && dps_random_operation_id(operation) &&
                dps_random_etag(etag));
    assert_int_equal(strlen(scope), 11);
    assert_memory_equal(scope, "0ne", 3);
    assert_int_equal(strspn(scope + 3, "0123456789ABCDEF"), 8);
    assert_int_equal(strlen(uuid), 36);
    assert_int_equal(uuid[14], '4');
    assert_int_equal(strlen(operation), 2 + 16 + 1 + 36);
    assert_memory_equal(operation, "5.", 2);
    assert_int_equal(strlen(etag), 24);
}

static void test_time(void **state)
{
    (void)state;
    char text[DPS_TIME_LEN];
    dps_time_format(1709210096789, text);
    assert_string_equal(text, "2024-02-29T12:34:56.789Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),   cmocka_unit_test(test_length), cmocka_unit_test(test_texts),
        cmocka_unit_test(test_hosts), cmocka_unit_test(test_utf8),   cmocka_unit_test(test_generated),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
