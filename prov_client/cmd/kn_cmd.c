#include "kn_cmd.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_LENGTH 32
#define PATH_MAX_LENGTH 96

static const kn_cmd *find(const kn_cmd *const *commands, const char *name)
{
    for (; *commands; commands++) {
        if (strcmp((*commands)->name, name) == 0)
            return *commands;
    }
    return NULL;
}

/* Levenshtein distance; long names are just far away. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_LENGTH + 1];
    size_t a_size = strlen(a), b_size = strlen(b);

    if (a_size > NAME_MAX_LENGTH || b_size > NAME_MAX_LENGTH)
        return NAME_MAX_LENGTH;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

static kn_exit fail_unknown(const kn_cmd *const *commands, const char *path, const char *name)
{
    const char *nearest = NULL;
    size_t nearest_distance = 3; /* farther is no typing error */
    char next[2 * PATH_MAX_LENGTH];

    for (; *commands; commands++) {
        size_t d = distance(name, (*commands)->name);

        if (d < nearest_distance) {
            nearest_distance = d;
            nearest = (*commands)->name;
        }
    }
    if (!nearest)
        return kn_cmd_fail_usage(path, "unknown command \"%s\"", name);
    (void)snprintf(next, sizeof next, "%s %s", path, nearest);
    return kn_cmd_fail(KN_EXIT_USAGE, path, next, "unknown command \"%s\"; did you mean \"%s\"?", name,
                       nearest);
}

/* Only the program itself has a version, not its groups of commands. */
static bool commands_are_all(const char *path)
{
    return strchr(path, ' ') == NULL;
}

static kn_exit print_commands(const kn_cmd *const *commands, const char *path)
{
    (void)printf("Usage: %s COMMAND [options]\n\n", path);
    if (commands_are_all(path))
        (void)printf("Private keys that stay in a hardware token, and devices that register with them.\n\n");
    (void)printf("Commands:\n");
    for (; *commands; commands++)
        (void)printf("  %-12s %s\n", (*commands)->name, (*commands)->summary);
    (void)printf("  %-12s %s\n\n  %-12s show this text\n", "help", "show how to use a command", "--help");
    if (commands_are_all(path))
        (void)printf("  %-12s show the version\n", "--version");
    if (commands_are_all(path))
        (void)printf("\nEvery command takes --json.\n");
    (void)printf("\nMore: %s help COMMAND\n", path);
    return kn_cmd_flush();
}

static kn_exit print_help_of(const kn_cmd *cmd, const char *path)
{
    if (cmd->children)
        return print_commands(cmd->children, path);
    kn_cmd_print_help(cmd, path);
    return kn_cmd_flush();
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* "help", "help CMD", "help GROUP CMD" */
static kn_exit help(const kn_cmd *const *commands, const char *path, int argc, char **argv)
{
    char longer[PATH_MAX_LENGTH];
    const kn_cmd *cmd;

    if (argc < 1)
        return print_commands(commands, path);
    cmd = find(commands, argv[0]);
    if (!cmd)
        return fail_unknown(commands, path, argv[0]);
    (void)snprintf(longer, sizeof longer, "%s %s", path, cmd->name);
    if (cmd->children)
        return help(cmd->children, longer, argc - 1, argv + 1);
    return print_help_of(cmd, longer);
}

kn_exit kn_cmd_dispatch(const kn_cmd *const *commands, const char *path, int argc, char **argv)
{
    char longer[PATH_MAX_LENGTH];
    const kn_cmd *cmd;
    kn_cmd_args args;
    kn_exit status;

    if (argc < 2)
        return kn_cmd_fail_usage(path, "a command is missing");
    if (is_help(argv[1]))
        return help(commands, path, argc - 2, argv + 2);
    cmd = find(commands, argv[1]);
    if (!cmd)
        return fail_unknown(commands, path, argv[1]);
    (void)snprintf(longer, sizeof longer, "%s %s", path, cmd->name);
    if (cmd->children)
        return kn_cmd_dispatch(cmd->children, longer, argc - 1, argv + 1);
    status = kn_cmd_parse(cmd, longer, argc - 1, argv + 1, &args);
    if (status)
        return status;
    return args.value[KN_OPT_HELP] ? print_help_of(cmd, longer) : cmd->run(&args);
}

kn_exit kn_cmd_main(const kn_cmd *const *commands, int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        (void)puts("keynym " KN_VERSION);
        return kn_cmd_flush();
    }
    return kn_cmd_dispatch(commands, "keynym", argc, argv);
}
