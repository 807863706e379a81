#include "prov_names.h"

#include <string.h>

/* The C library's isalnum() depends on the locale. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_made_of(const char *text, size_t size, const char *others)
{
    for (size_t i = 0; i < size; i++) {
        if (!is_alnum(text[i]) && (text[i] == '\0' || !strchr(others, text[i])))
            return false;
    }
    return true;
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t size = strlen(text);

    if (size == 0 || size > 5)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!is_digit(text[i]))
            return false;
        port = port * 10 + (unsigned long)(text[i] - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

kn_prov_code prov_endpoint_parse(const char *text, uint16_t default_port, prov_endpoint *ret_endpoint,
                                 prov_error *error)
{
    prov_endpoint endpoint = {.port = default_port};
    bool bracketed = text[0] == '[';
    const char *end = bracketed ? strchr(text, ']') : NULL;
    size_t host_size = bracketed ? (end ? (size_t)(end - text) + 1 : 0) : strcspn(text, ":");
    const char *rest = text + host_size;

    if (host_size == 0 || host_size >= sizeof endpoint.host || (bracketed && host_size < 4))
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "endpoint \"%.300s\" has no host name, or one over %u bytes", text, PROV_HOST_MAX);
    if (bracketed ? !is_made_of(text + 1, host_size - 2, ":.") : !is_made_of(text, host_size, "-._"))
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "endpoint \"%.300s\" is not HOST[:PORT] (no scheme and no path)", text);
    if (*rest != '\0' && (*rest != ':' || !parse_port(rest + 1, &endpoint.port)))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "endpoint \"%.300s\" has no port from 1 to 65535", text);
    memcpy(endpoint.host, text, host_size);
    *ret_endpoint = endpoint;
    return KN_PROV_OK;
}

kn_prov_code prov_registration_id_check(const char *id, prov_error *error)
{
    size_t size = strlen(id);

    if (size == 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the registration ID is empty");
    if (size > PROV_REGISTRATION_ID_MAX)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the registration ID has %zu characters, %u are allowed",
                         size, PROV_REGISTRATION_ID_MAX);
    if (!is_made_of(id, size, "-._:"))
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "registration ID \"%s\" has a character that is none of A-Z a-z 0-9 - . _ :", id);
    if (!is_alnum(id[size - 1]) && id[size - 1] != '-')
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "registration ID \"%s\" must end with a letter, a digit or '-'", id);
    return KN_PROV_OK;
}

kn_prov_code prov_device_id_check(const char *id, prov_error *error)
{
    size_t size = strlen(id);

    if (size == 0 || size > PROV_REGISTRATION_ID_MAX || !is_made_of(id, size, "-._:~*!(),=@;$'"))
        return prov_fail(error, KN_PROV_E_ARGUMENT,
                         "device ID \"%.140s\" is not 1 to %u of A-Z a-z 0-9 - . _ : and others", id,
                         PROV_REGISTRATION_ID_MAX);
    return KN_PROV_OK;
}

kn_prov_code prov_id_scope_check(const char *scope, prov_error *error)
{
    size_t size = scope ? strlen(scope) : 0;

    if (size == 0)
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the ID scope is missing");
    if (size > PROV_ID_SCOPE_MAX || !is_made_of(scope, size, "-_"))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "ID scope \"%.80s\" is not up to %u of A-Z a-z 0-9 - _",
                         scope, PROV_ID_SCOPE_MAX);
    return KN_PROV_OK;
}

bool prov_percent_encode(const char *text, char *ret_text, size_t capacity)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t used = 0;

    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = is_alnum(*p) || strchr("-._~", *p);

        if (capacity - used <= (plain ? 1U : 3U))
            return false;
        if (plain) {
            ret_text[used++] = *p;
        } else {
            ret_text[used++] = '%';
            ret_text[used++] = hex[c >> 4];
            ret_text[used++] = hex[c & 15];
        }
    }
    if (used >= capacity)
        return false;
    ret_text[used] = '\0';
    return true;
}

static int hex_value(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool prov_percent_decode(const char *text, size_t size, char *ret_text, size_t capacity)
{
    size_t used = 0;

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (c == '%') {
            int high = size - i > 2 ? hex_value(text[i + 1]) : -1,
                low = size - i > 2 ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (used + 1 >= capacity)
            return false;
        ret_text[used++] = c;
    }
    if (used >= capacity)
        return false;
    ret_text[used] = '\0';
    return true;
}
