/* Units:     lengths in bytes.
 * Ownership: borrows the text; outputs are buffers of the caller.
 * Errors:    a value of dps_id_verdict; dps_id_verdict_text() says it in words.
 * Threads:   pure functions.
 * Spec:      facts of the service: registration ids and group ids are case-insensitive, at most 128
 * characters, alphanumeric plus '-', '.', '_', ':', the last one alphanumeric or a dash. */
#ifndef DPS_ID_H
#define DPS_ID_H

#include <stdbool.h>
#include <stddef.h>

#include "dps_text.h"

enum {
    DPS_ID_MAX = 128,             /* characters */
    DPS_ID_LEN = DPS_ID_MAX + 1,  /* and NUL */
    DPS_HUB_MAX = 255,            /* characters of a hub host name */
    DPS_HUB_LEN = DPS_HUB_MAX + 1 /* and NUL */
};

typedef enum dps_id_verdict {
    DPS_ID_OK,
    DPS_ID_EMPTY,
    DPS_ID_TOO_LONG,
    DPS_ID_BAD_CHARACTER,
    DPS_ID_BAD_END,
} dps_id_verdict;

dps_id_verdict dps_id_check(dps_span id);
const char *dps_id_verdict_text(dps_id_verdict verdict);

/* A host name, IPv4 or IPv6 address, as --name and --hub take it. @port_allowed accepts "host:port". */
bool dps_host_valid(const char *host, bool port_allowed);

#endif
