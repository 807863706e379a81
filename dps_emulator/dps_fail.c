#include "dps_fail.h"

#include <stdarg.h>
#include <stdio.h>

bool dps_fail_set(dps_fail *fail, enum dps_exit exit_code, const char *fmt, ...)
{
    if (fail != NULL) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(fail->text, sizeof(fail->text), fmt, ap);
        va_end(ap);
        fail->exit_code = exit_code;
    }
    return false;
}
