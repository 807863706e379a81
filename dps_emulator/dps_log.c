#include "dps_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dps_text.h"

static const char *const level_names[] = {
    [DPS_LOG_ERROR] = "error",
    [DPS_LOG_WARN] = "warn",
    [DPS_LOG_INFO] = "info",
    [DPS_LOG_DEBUG] = "debug",
};

static dps_log_level threshold = DPS_LOG_INFO;

void dps_log_set_level(dps_log_level level)
{
    threshold = level;
}

bool dps_log_level_parse(const char *name, dps_log_level *ret_level)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (dps_log_level)i;
            return true;
        }
    }
    return false;
}

void dps_log(dps_log_level level, const char *fmt, ...)
{
    if (level > threshold)
        return;
    char line[DPS_LOG_LINE_MAX];
    char when[DPS_TIME_LEN];
    dps_time_format(dps_time_now_ms(), when);
    int head = snprintf(line, sizeof(line), "%s keynym-dps %-5s ", when, level_names[level]);
    if (head < 0)
        return;
    size_t used = (size_t)head;
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
    va_end(ap);
    if (body < 0)
        return;
    size_t room = sizeof(line) - used - 2;
    size_t end = used + ((size_t)body < room ? (size_t)body : room);
    for (size_t i = used; i < end; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f)
            line[i] = '?';
    }
    line[end++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, end);
    (void)written; /* there is nowhere left to report to */
}
