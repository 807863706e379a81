#include "dps_cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const dps_cmd *const dps_cmds[] = {
    &dps_cmd_serve,
    &dps_cmd_enrollment_create,
    &dps_cmd_enrollment_list,
    &dps_cmd_enrollment_show,
    &dps_cmd_enrollment_delete,
    &dps_cmd_enrollment_enable,
    &dps_cmd_enrollment_disable,
    &dps_cmd_enrollment_key,
    &dps_cmd_group_create,
    &dps_cmd_group_list,
    &dps_cmd_group_show,
    &dps_cmd_group_delete,
    &dps_cmd_group_enable,
    &dps_cmd_group_disable,
    &dps_cmd_group_key,
    &dps_cmd_certificate_add,
    &dps_cmd_certificate_list,
    &dps_cmd_certificate_delete,
    &dps_cmd_certificate_code,
    &dps_cmd_certificate_verify,
    &dps_cmd_connection_string,
    &dps_cmd_registrations,
    &dps_cmd_events,
    &dps_cmd_send,
    &dps_cmd_twin_show,
    &dps_cmd_twin_update,
    &dps_cmd_fault_add,
    &dps_cmd_fault_list,
    &dps_cmd_fault_clear,
    NULL,
};

static void print_overview(FILE *out)
{
    fputs("Usage: keynym-dps COMMAND [OPTION]...\n"
          "\n"
          "An offline Azure Device Provisioning Service for the bench, for CI and for demonstrations.\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; dps_cmds[i] != NULL; i++)
        fprintf(out, "  %-19s %s\n", dps_cmds[i]->name, dps_cmds[i]->summary);
    fputs("\n"
          "  --help              this text; \"keynym-dps COMMAND --help\" tells about one command\n"
          "  --version           the version\n"
          "\n"
          "Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 4 conflict with what exists.\n",
          out);
}

void dps_cmd_help(const dps_cmd *cmd)
{
    printf("Usage: keynym-dps %s", cmd->help);
}

int dps_cmd_failed(const dps_cmd *cmd, const dps_fail *fail)
{
    fprintf(stderr, "keynym-dps %s: %s\n", cmd->name, fail->text);
    return (int)fail->exit_code;
}

int dps_cmd_usage(const dps_cmd *cmd, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "keynym-dps %s: ", cmd->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; \"keynym-dps %s --help\" shows the options\n", cmd->name);
    return DPS_EXIT_USAGE;
}

static const dps_opt *find_option(const dps_opt *opts, const char *name, size_t len)
{
    for (; opts->name != NULL; opts++) {
        if (strlen(opts->name) == len && memcmp(opts->name, name, len) == 0)
            return opts;
    }
    return NULL;
}

/* Stores one option; returns false with a complaint printed. */
static bool take_option(const dps_cmd *cmd, const dps_opt *opt, const char *value)
{
    if (opt->flag != NULL) {
        if (value != NULL) {
            dps_cmd_usage(cmd, "--%s takes no value", opt->name);
            return false;
        }
        *opt->flag = true;
        return true;
    }
    if (value == NULL || value[0] == '\0') {
        dps_cmd_usage(cmd, "--%s needs a value", opt->name);
        return false;
    }
    if (opt->values != NULL) {
        if (*opt->values_count == opt->values_max) {
            dps_cmd_usage(cmd, "--%s may be given at most %zu times", opt->name, opt->values_max);
            return false;
        }
        opt->values[(*opt->values_count)++] = value;
        return true;
    }
    *opt->value = value;
    return true;
}

bool dps_cmd_options(const dps_cmd *cmd, int argc, char **argv, const dps_opt *opts, int *ret_exit)
{
    *ret_exit = DPS_EXIT_USAGE;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            dps_cmd_help(cmd);
            *ret_exit = DPS_EXIT_OK;
            return false;
        }
        size_t len = strcspn(word, "=");
        const dps_opt *opt = strncmp(word, "--", 2) == 0 ? find_option(opts, word + 2, len - 2) : NULL;
        if (opt == NULL) {
            dps_cmd_usage(cmd, "\"%s\" is not known here", word);
            return false;
        }
        const char *value = word[len] == '=' ? word + len + 1 : NULL;
        if (value == NULL && opt->flag == NULL && i + 1 < argc)
            value = argv[++i];
        if (!take_option(cmd, opt, value))
            return false;
    }
    for (; opts->name != NULL; opts++) {
        if (opts->required && *opts->value == NULL) {
            dps_cmd_usage(cmd, "--%s is missing", opts->name);
            return false;
        }
    }
    return true;
}

bool dps_cmd_number(const char *text, long min, long max, long *ret_number)
{
    long number = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 9 || strspn(text, "0123456789") != n)
        return false;
    for (size_t i = 0; i < n; i++)
        number = number * 10 + (text[i] - '0');
    if (number < min || number > max)
        return false;
    *ret_number = number;
    return true;
}

/* "group create" is two words; how many of argv a name takes, or 0 when it is another command. */
static int matches(const char *name, int argc, char **argv)
{
    const char *space = strchr(name, ' ');
    if (space == NULL)
        return strcmp(argv[1], name) == 0 ? 1 : 0;
    size_t first = (size_t)(space - name);
    if (argc < 3 || strlen(argv[1]) != first || memcmp(argv[1], name, first) != 0)
        return 0;
    return strcmp(argv[2], space + 1) == 0 ? 2 : 0;
}

/* Whether there are commands of two words with this first one. */
static bool has_commands(const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; dps_cmds[i] != NULL; i++) {
        if (strncmp(dps_cmds[i]->name, word, n) == 0 && dps_cmds[i]->name[n] == ' ')
            return true;
    }
    return false;
}

int dps_cmd_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return DPS_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_overview(stdout);
        return DPS_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("keynym-dps " KN_VERSION);
        return DPS_EXIT_OK;
    }
    for (size_t i = 0; dps_cmds[i] != NULL; i++) {
        int words = matches(dps_cmds[i]->name, argc, argv);
        if (words > 0)
            return dps_cmds[i]->run(dps_cmds[i], argc - words, argv + words);
    }
    bool family = has_commands(argv[1]);
    if (family && (argc < 3 || strcmp(argv[2], "--help") == 0)) {
        print_overview(argc < 3 ? stderr : stdout);
        return argc < 3 ? DPS_EXIT_USAGE : DPS_EXIT_OK;
    }
    fprintf(stderr, "keynym-dps: there is no command \"%s%s%s\"; \"keynym-dps --help\" lists the commands\n", argv[1],
            family ? " " : "", family ? argv[2] : "");
    return DPS_EXIT_USAGE;
}
