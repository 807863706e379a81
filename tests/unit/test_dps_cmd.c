/* The command table: every row has a help text, and the manual page knows every option of it. */
#include "dps_cmd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The manual page without its backslashes: "\-\-dir" becomes "--dir". */
static char *read_manual(void)
{
    FILE *file = fopen(DPS_MANUAL, "r");
    assert_non_null(file);
    char *text = malloc(256 * 1024);
    assert_non_null(text);
    size_t n = 0;
    for (int c = fgetc(file); c != EOF && n < 256 * 1024 - 1; c = fgetc(file)) {
        if (c != '\\')
            text[n++] = (char)c;
    }
    text[n] = '\0';
    fclose(file);
    return text;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; dps_cmds[i] != NULL; i++) {
        const dps_cmd *cmd = dps_cmds[i];
        size_t n = strlen(cmd->name);
        assert_memory_equal(cmd->help, cmd->name, n); /* "serve --dir ..." */
        assert_int_equal(cmd->help[n], ' ');
        assert_true(strlen(cmd->summary) > 0);
        assert_non_null(cmd->run);
        assert_non_null(strstr(cmd->help, "  --help"));
        assert_int_equal(cmd->help[strlen(cmd->help) - 1], '\n');
    }
}

static void test_help_lines_fit(void **state)
{
    (void)state;
    for (size_t i = 0; dps_cmds[i] != NULL; i++) {
        for (const char *line = dps_cmds[i]->help; *line != '\0';) {
            size_t n = strcspn(line, "\n");
            assert_true(n <= 120);
            line += n + 1;
        }
    }
}

static void test_manual_agrees(void **state)
{
    (void)state;
    char *manual = read_manual();
    for (size_t i = 0; dps_cmds[i] != NULL; i++) {
        const dps_cmd *cmd = dps_cmds[i];
        if (strstr(manual, cmd->name) == NULL)
            fail_msg("the manual page does not know \"%s\"", cmd->name);
        for (const char *at = strstr(cmd->help, "--"); at != NULL; at = strstr(at + 2, "--")) {
            char option[64];
            size_t n = 2 + strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
            assert_true(n < sizeof(option));
            memcpy(option, at, n);
            option[n] = '\0';
            if (strstr(manual, option) == NULL)
                fail_msg("the manual page does not know \"%s\" of \"%s\"", option, cmd->name);
        }
    }
    free(manual);
}

static void test_numbers(void **state)
{
    (void)state;
    long n = 7;
    assert_true(dps_cmd_number("0", 0, 10, &n) && n == 0);
    assert_true(dps_cmd_number("10", 0, 10, &n) && n == 10);
    assert_false(dps_cmd_number("11", 0, 10, &n));
    assert_false(dps_cmd_number("", 0, 10, &n));
    assert_false(dps_cmd_number("-1", 0, 10, &n));
    assert_false(dps_cmd_number("1x", 0, 10, &n));
    assert_false(dps_cmd_number("99999999999999999999", 0, 10, &n));
    assert_int_equal(n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_help_lines_fit),
        cmocka_unit_test(test_manual_agrees),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
