/* The progress line, as far as it needs no terminal (tests/whole/terminal.sh has one). */
#include "kn_cmd_terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_fit(void **state)
{
    static const struct {
        const char *text;
        unsigned columns;
        const char *line;
    } rows[] = {
        {"registering (3 s)", 80, "registering (3 s)"}, {"registering (3 s)", 18, "registering (3 s)"},
        {"registering (3 s)", 17, "registering (..."},  {"registering", 5, "r..."},
        {"registering", 4, "reg"},                      {"registering", 2, "r"},
        {"registering", 1, ""},                         {"registering", 0, ""},
        {"", 80, ""},
    };
    char line[64], small[8];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kn_cmd_progress_fit(rows[i].text, rows[i].columns, line, sizeof line);
        assert_string_equal(line, rows[i].line);
    }
    kn_cmd_progress_fit("registering", 80, small, sizeof small);
    assert_string_equal(small, "regi...");
}

/* Standard error of a test is no terminal: nothing is drawn, and nothing goes wrong. */
static void test_no_terminal(void **state)
{
    const kn_cmd_args args = {.path = "keynym"};

    (void)state;
    assert_false(kn_cmd_progress_begin(&args, "working"));
    kn_cmd_progress("on it");
    kn_cmd_progress_hide();
    kn_cmd_progress_show();
    kn_cmd_progress_end();
    assert_string_equal(kn_cmd_style(stderr, KN_STYLE_BAD), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fit), cmocka_unit_test(test_no_terminal)};

    return freopen("/dev/null", "w", stderr) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
