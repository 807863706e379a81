/* Settings by name. */
#include "kn_config.h"

#include "support/kn_check.h"

static kn_err set(kn_config *config, const char *name, const char *value)
{
    const kn_setting *setting = kn_setting_by_name(name);
    assert_non_null(setting);
    return kn_config_set(config, setting, value);
}

static void test_good_values(void **state)
{
    kn_config config = {0};
    (void)state;
    assert_ok(set(&config, "module_path", "/usr/lib/a.so:/usr/lib/b.so"));
    assert_string_equal(config.module_path, "/usr/lib/a.so:/usr/lib/b.so");
    static const char *const sources[] = {"/etc/pin", "file:/etc/pin", "credential:pin", "fd:3", "ask:"};
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        assert_ok(set(&config, "pin_source", sources[i]));
        assert_string_equal(config.pin_source, sources[i]);
    }
    assert_ok(set(&config, "login", "never"));
    assert_int_equal(config.login, KN_LOGIN_NEVER);
    assert_ok(set(&config, "login", "always"));
    assert_int_equal(config.login, KN_LOGIN_ALWAYS);
    assert_ok(set(&config, "login", "when_needed"));
    assert_int_equal(config.login, KN_LOGIN_WHEN_NEEDED);
    assert_ok(set(&config, "sessions_max", "1"));
    assert_ok(set(&config, "sessions_max", "1024"));
    assert_int_equal(config.sessions_max, 1024);
    assert_false(config.token_copy);
    assert_ok(set(&config, "token_copy", "yes"));
    assert_true(config.token_copy);
    assert_ok(set(&config, "token_copy", "no"));
    assert_false(config.token_copy);
    assert_ok(set(&config, "session_wait_ms", "3600000"));
    assert_int_equal(config.session_wait_ms, 3600000);
    assert_ok(set(&config, "log_level", "warn"));
}

static void test_bad_values(void **state)
{
    static const struct {
        const char *name, *value;
    } rows[] = {
        {"module_path", "a.so"},          {"module_path", ""},
        {"token_copy", "on"},             {"token_copy", ""},
        {"module_path", "/a.so:b.so"},    {"module_path", "/a.so:"},
        {"login", "yes"},                 {"login", ""},
        {"login", "Never"},               {"sessions_max", "0"},
        {"sessions_max", "1025"},         {"sessions_max", "-1"},
        {"sessions_max", "many"},         {"sessions_max", "4 "},
        {"session_wait_ms", "0"},         {"session_wait_ms", "3600001"},
        {"session_wait_ms", "+5"},        {"session_wait_ms", "99999999999999999999"},
        {"session_wait_ms", "5s"},        {"log_level", "loud"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        kn_config config = {0};
        assert_error(KN_E_CONFIG, set(&config, rows[i].name, rows[i].value));
        assert_detail(rows[i].name);
        assert_detail("is expected");
    }
}

/* A PIN in the wrong place is not shown. */
static void test_a_pin_is_not_repeated(void **state)
{
    kn_config config = {0};
    (void)state;
    assert_error(KN_E_CONFIG, set(&config, "pin_source", "98761234"));
    assert_detail("pin_source");
    assert_detail_lacks("9876");
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_setting_count; i++)
        assert_ptr_equal(kn_setting_by_name(kn_settings[i].name), &kn_settings[i]);
    static const char *const unknown[] = {"", "module-path", "Login", "pin", "pin_value", "log_level "};
    for (size_t i = 0; i < COUNT_OF(unknown); i++)
        assert_null(kn_setting_by_name(unknown[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_a_pin_is_not_repeated),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
