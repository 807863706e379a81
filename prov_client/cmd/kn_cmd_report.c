#include "kn_cmd.h"
#include "kn_cmd_terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static kn_exit fail(kn_exit status, const char *what, const char *next,
                                                          const char *detail, va_list args)
{
    static const char program[] = "keynym";
    bool has_program = strncmp(what, program, sizeof program - 1) == 0;

    kn_cmd_progress_end();
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s%s%s:%s ", kn_cmd_style(stderr, KN_STYLE_BAD), has_program ? "" : "keynym: ", what,
                  kn_cmd_style(stderr, KN_STYLE_END));
    (void)vfprintf(stderr, detail, args);
    (void)fputc('\n', stderr);
    if (next)
        (void)fprintf(stderr, "  next: %s\n", next);
    return status;
}

kn_exit kn_cmd_fail(kn_exit status, const char *what, const char *next, const char *detail, ...)
{
    va_list args;

    va_start(args, detail);
    status = fail(status, what, next, detail, args);
    va_end(args);
    return status;
}

kn_exit kn_cmd_fail_usage(const char *path, const char *detail, ...)
{
    char next[160];
    va_list args;
    kn_exit status;

    (void)snprintf(next, sizeof next, "%s --help", path);
    va_start(args, detail);
    status = fail(KN_EXIT_USAGE, path, next, detail, args);
    va_end(args);
    return status;
}

bool kn_cmd_json_text(cJSON *object, const char *name, const char *value)
{
    return !value || cJSON_AddStringToObject(object, name, value);
}

kn_exit kn_cmd_print_members(const char *name, ...)
{
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL;
    kn_exit status;
    va_list args;

    va_start(args, name);
    for (; good && name; name = va_arg(args, const char *))
        good = kn_cmd_json_text(object, name, va_arg(args, const char *));
    va_end(args);
    status = kn_cmd_print_json(good ? object : NULL);
    cJSON_Delete(object);
    return status;
}

kn_exit kn_cmd_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return kn_cmd_fail(KN_EXIT_FAILURE, "standard output",
                           "check the disk or the program behind the pipe", "cannot write: %s",
                           strerror(errno));
    return KN_EXIT_OK;
}

kn_exit kn_cmd_print_json(const cJSON *tree)
{
    char *text = kn_cmd_json_print(tree, true);

    if (!text)
        return kn_cmd_fail(KN_EXIT_FAILURE, "JSON output", NULL, "out of memory");
    (void)puts(text);
    free(text);
    return kn_cmd_flush();
}
