#include "hsm_report.h"

#include "keynym_hsm.h"
#include "kn_log.h"

#include <stdio.h>

static _Thread_local char last_error[KN_DETAIL_MAX + 512];

void hsm_report(const char *call, kn_err err)
{
    char text[KN_DETAIL_MAX + 256];
    kn_err_text(err, text, sizeof text);
    (void)snprintf(last_error, sizeof last_error, "%s: %s", call, text);
    kn_log(KN_LOG_ERROR, "%s", last_error);
}

const char *keynym_hsm_last_error(void)
{
    return last_error;
}

const char *keynym_hsm_version(void)
{
    return KN_VERSION;
}

static void (*user_sink)(int level, const char *line); /* set before lines are written, like kn_log's own */

static void pass_line(kn_log_level level, const char *line)
{
    user_sink((int)level, line);
}

void keynym_hsm_set_log(void (*sink)(int level, const char *line))
{
    if (sink)
        user_sink = sink; /* never back to NULL: a thread may be on its way to it */
    kn_log_set_sink(sink ? pass_line : NULL);
}
