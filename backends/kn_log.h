/* Diagnostics for people: one line each, to stderr or to the host's own log. Never stdout, never a secret.
 *
 * Units: none. Ownership: arguments are borrowed. Errors: none are reported.
 * Threads: any; setting the level or the sink is meant for start-up. Fork: both stay as they are.
 */
#ifndef KN_LOG_H
#define KN_LOG_H

#include "kn_err.h"

typedef enum kn_log_level { KN_LOG_NONE, KN_LOG_ERROR, KN_LOG_WARN, KN_LOG_INFO, KN_LOG_DEBUG } kn_log_level;

typedef void (*kn_log_sink)(kn_log_level level, const char *line);

void kn_log(kn_log_level level, const char *format, ...) KN_PRINTF(2, 3);
bool kn_log_wants(kn_log_level level);

/* The start value is KN_LOG_WARN, or what the environment variable KEYNYM_LOG says. */
void kn_log_set_level(kn_log_level level);
void kn_log_set_sink(kn_log_sink sink); /* NULL: stderr, with "keynym: " in front */

/* "none", "error", "warn", "info" or "debug". Returns false, and nothing changes, for any other text. */
bool kn_log_level_parse(const char *text, kn_log_level *ret_level);

#endif
