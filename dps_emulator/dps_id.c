#include "dps_id.h"

#include <string.h>

#include <arpa/inet.h>

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

dps_id_verdict dps_id_check(dps_span id)
{
    if (id.len == 0)
        return DPS_ID_EMPTY;
    if (id.len > DPS_ID_MAX)
        return DPS_ID_TOO_LONG;
    for (size_t i = 0; i < id.len; i++) {
        if (!is_alnum(id.at[i]) && (id.at[i] == '\0' || strchr("-._:", id.at[i]) == NULL))
            return DPS_ID_BAD_CHARACTER;
    }
    char last = id.at[id.len - 1];
    return is_alnum(last) || last == '-' ? DPS_ID_OK : DPS_ID_BAD_END;
}

const char *dps_id_verdict_text(dps_id_verdict verdict)
{
    switch (verdict) {
    case DPS_ID_OK:
        return "valid";
    case DPS_ID_EMPTY:
        return "it is empty";
    case DPS_ID_TOO_LONG:
        return "it is longer than 128 characters";
    case DPS_ID_BAD_CHARACTER:
        return "it has a character other than letters, digits, '-', '.', '_' and ':'";
    case DPS_ID_BAD_END:
        return "its last character must be a letter, a digit or a dash";
    }
    return "invalid";
}

static bool port_valid(const char *port)
{
    size_t n = strlen(port);
    return n >= 1 && n <= 5 && strspn(port, "0123456789") == n;
}

bool dps_host_valid(const char *host, bool port_allowed)
{
    unsigned char address[16];
    if (inet_pton(AF_INET6, host, address) == 1)
        return true;
    size_t n = strlen(host);
    const char *colon = strchr(host, ':');
    if (colon != NULL) {
        if (!port_allowed || !port_valid(colon + 1))
            return false;
        n = (size_t)(colon - host);
    }
    if (n == 0 || n > 253 || host[0] == '.' || host[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_alnum(host[i]) && host[i] != '-' && host[i] != '.')
            return false;
    }
    return true;
}
