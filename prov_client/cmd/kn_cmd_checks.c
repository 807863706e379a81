#include "kn_cmd_checks.h"
#include "kn_cmd_terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 2048

kn_checks kn_checks_begin(bool json)
{
    kn_checks checks = {.array = json ? cJSON_CreateArray() : NULL};
    checks.out_of_memory = json && !checks.array;
    return checks;
}

static void add(kn_checks *checks, const char *status, const char *what, const char *detail, const char *next)
{
    if (!checks->array) {
        kn_style style = strcmp(status, "OK") == 0 ? KN_STYLE_GOOD : strcmp(status, "FAIL") == 0 ? KN_STYLE_BAD : KN_STYLE_DOUBT;
        printf("%s%-5s%s %-16s %s\n", kn_cmd_style(stdout, style), status, kn_cmd_style(stdout, KN_STYLE_END), what, detail);
        if (next)
            printf("      next: %s\n", next);
        (void)fflush(stdout); /* a step may take its time */
        return;
    }
    cJSON *one = cJSON_CreateObject();
    if (one && kn_cmd_json_text(one, "check", what) && kn_cmd_json_text(one, "status", status) &&
        kn_cmd_json_text(one, "detail", detail) && kn_cmd_json_text(one, "next", next) &&
        cJSON_AddItemToArray(checks->array, one))
        return;
    cJSON_Delete(one);
    checks->out_of_memory = true;
}

void kn_check_ok(kn_checks *checks, const char *what, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add(checks, "OK", what, text, NULL);
}

void kn_check_skip(kn_checks *checks, const char *what, const char *why)
{
    add(checks, "-", what, why, NULL);
}

void kn_check_fail(kn_checks *checks, const char *what, const char *next, const char *format, ...)
{
    static const char mark[] = " (next step: ";
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *inside = next ? NULL : strstr(text, mark);
    if (inside) {
        *inside = '\0';
        inside += strlen(mark);
        inside[strcspn(inside, ")")] = '\0';
        next = inside;
    }
    checks->failed = true;
    add(checks, "FAIL", what, text, next);
}

kn_exit kn_checks_end(kn_checks *checks)
{
    kn_exit status = KN_EXIT_OK;
    cJSON *tree = checks->array ? cJSON_CreateObject() : NULL;
    if (checks->array) {
        bool good = tree && !checks->out_of_memory && cJSON_AddBoolToObject(tree, "ok", !checks->failed) &&
                    cJSON_AddItemToObject(tree, "checks", checks->array);
        if (good)
            checks->array = NULL; /* the tree's */
        status = kn_cmd_print_json(good ? tree : NULL);
    }
    cJSON_Delete(tree);
    cJSON_Delete(checks->array);
    if (status == KN_EXIT_OK)
        status = kn_cmd_flush();
    return status == KN_EXIT_OK && checks->failed ? KN_EXIT_FAILURE : status;
}
