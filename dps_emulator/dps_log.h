/* Units:     one call is one line on stderr, at most DPS_LOG_LINE_MAX bytes.
 * Ownership: borrows its arguments.
 * Errors:    none; a line that cannot be written is lost.
 * Threads:   the level is set once at start; lines are written with one write each.
 * Spec:      none. Bytes from the network are printed with control characters replaced by '?'. */
#ifndef DPS_LOG_H
#define DPS_LOG_H

#include <stdbool.h>

#include "dps_fail.h"

enum { DPS_LOG_LINE_MAX = 1024 };

typedef enum dps_log_level {
    DPS_LOG_ERROR,
    DPS_LOG_WARN,
    DPS_LOG_INFO,
    DPS_LOG_DEBUG,
} dps_log_level;

void dps_log_set_level(dps_log_level level);
/* "error", "warn", "info", "debug". Returns false for another name, @ret_level untouched. */
DPS_MUST_CHECK bool dps_log_level_parse(const char *name, dps_log_level *ret_level);
void dps_log(dps_log_level level, const char *fmt, ...) DPS_PRINTF(2, 3);

#endif
