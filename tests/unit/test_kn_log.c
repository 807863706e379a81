#include "kn_log.h"

#include "support/kn_check.h"
#include "../support/self.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char last_line[4096];
static kn_log_level last_level;
static unsigned lines;

static void sink(kn_log_level level, const char *line)
{
    (void)snprintf(last_line, sizeof last_line, "%s", line);
    last_level = level;
    lines++;
}

static int set_up(void **state)
{
    (void)state;
    kn_log_set_sink(sink);
    kn_log_set_level(KN_LOG_WARN);
    lines = 0;
    *last_line = '\0';
    return 0;
}

static void test_levels(void **state)
{
    static const kn_log_level levels[] = {KN_LOG_ERROR, KN_LOG_WARN, KN_LOG_INFO, KN_LOG_DEBUG};
    (void)state;
    for (size_t set = 0; set < COUNT_OF(levels); set++)
        for (size_t i = 0; i < COUNT_OF(levels); i++) {
            kn_log_set_level(levels[set]);
            lines = 0;
            kn_log(levels[i], "line %d", 1);
            assert_int_equal(lines, i <= set);
            assert_int_equal(kn_log_wants(levels[i]), i <= set);
        }
    kn_log_set_level(KN_LOG_NONE);
    lines = 0;
    kn_log(KN_LOG_ERROR, "nobody hears this");
    assert_int_equal(lines, 0);
}

static void test_sink_gets_level_and_text(void **state)
{
    (void)state;
    kn_log(KN_LOG_ERROR, "token '%s'", "bench");
    assert_int_equal(last_level, KN_LOG_ERROR);
    assert_string_equal(last_line, "token 'bench'");
}

static void test_control_characters_are_replaced(void **state)
{
    char text[33 + 1 + 1];
    (void)state;
    for (int i = 0; i < 31; i++)
        text[i] = (char)(i + 1);
    text[31] = 0x7f;
    text[32] = 'x';
    text[33] = '\0';
    kn_log(KN_LOG_WARN, "%s", text);
    for (int i = 0; i < 32; i++)
        assert_int_equal(last_line[i], ' ');
    assert_string_equal(last_line + 32, "x");
    kn_log(KN_LOG_WARN, "\xc3\xa4"); /* UTF-8 stays */
    assert_string_equal(last_line, "\xc3\xa4");
}

static void test_a_long_line_is_cut(void **state)
{
    char *much = malloc(5000);
    (void)state;
    assert_non_null(much);
    memset(much, 'x', 4999);
    much[4999] = '\0';
    kn_log(KN_LOG_WARN, "%s", much);
    assert_int_equal(lines, 1);
    assert_in_range(strlen(last_line), 1024, 2048);
    free(much);
}

static void test_parse(void **state)
{
    static const char *const names[] = {"none", "error", "warn", "info", "debug"};
    static const char *const bad[] = {"", "Warn", "warning", "3", " warn", "warn "};
    kn_log_level level;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        level = (kn_log_level)99;
        assert_true(kn_log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        level = (kn_log_level)99;
        assert_false(kn_log_level_parse(bad[i], &level));
        assert_int_equal(level, 99);
    }
}

/* Logs one line of each level in a new process image; the first line that was written comes back. */
static void run_self(const char *setting, char *out, size_t size)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)dup2(ends[1], STDOUT_FILENO);
        if (setting)
            (void)setenv("KEYNYM_LOG", setting, 1);
        else
            (void)unsetenv("KEYNYM_LOG");
        (void)execl(test_self(), "test_kn_log", "child", (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used < size - 1 && (n = read(ends[0], out + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    out[used] = '\0';
    (void)close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_start_level_and_stderr(void **state)
{
    char out[512];
    (void)state;
    run_self(NULL, out, sizeof out);
    assert_string_equal(out, "keynym: an error\nkeynym: a warning\n");
    run_self("debug", out, sizeof out);
    assert_text(out, "keynym: details\n");
    run_self("none", out, sizeof out);
    assert_string_equal(out, "");
    run_self("nonsense", out, sizeof out);
    assert_string_equal(out, "keynym: an error\nkeynym: a warning\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_levels, set_up),
        cmocka_unit_test_setup(test_sink_gets_level_and_text, set_up),
        cmocka_unit_test_setup(test_control_characters_are_replaced, set_up),
        cmocka_unit_test_setup(test_a_long_line_is_cut, set_up),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_start_level_and_stderr),
    };
    (void)argv;
    if (argc > 1) {
        kn_log(KN_LOG_ERROR, "an error");
        kn_log(KN_LOG_WARN, "a warning");
        kn_log(KN_LOG_INFO, "news");
        kn_log(KN_LOG_DEBUG, "details");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
