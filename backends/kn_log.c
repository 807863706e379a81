#include "kn_log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1536

static atomic_int level_now = -1; /* -1: the environment was not read yet */
static _Atomic(kn_log_sink) sink_now;

static int level_get(void)
{
    int level = atomic_load_explicit(&level_now, memory_order_relaxed);
    if (level >= 0)
        return level;
    kn_log_level parsed = KN_LOG_WARN;
    const char *text = getenv("KEYNYM_LOG");
    if (text)
        (void)kn_log_level_parse(text, &parsed);
    atomic_store_explicit(&level_now, (int)parsed, memory_order_relaxed);
    return (int)parsed;
}

bool kn_log_wants(kn_log_level level)
{
    return (int)level <= level_get();
}

void kn_log_set_level(kn_log_level level)
{
    atomic_store(&level_now, (int)level);
}

void kn_log_set_sink(kn_log_sink sink)
{
    atomic_store(&sink_now, sink);
}

bool kn_log_level_parse(const char *text, kn_log_level *ret_level)
{
    static const char *const names[] = {"none", "error", "warn", "info", "debug"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            *ret_level = (kn_log_level)i;
            return true;
        }
    return false;
}

void kn_log(kn_log_level level, const char *format, ...)
{
    if (!kn_log_wants(level))
        return;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' '; /* a label from a token must not write lines of its own */
    kn_log_sink sink = atomic_load(&sink_now);
    if (sink)
        sink(level, line);
    else
        fprintf(stderr, "keynym: %s\n", line);
}
