#include "hsm_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const known[] = {"token=", "manufacturer=", "serial=", "model=", "object=", "id=", "type="};

static bool starts_with(const char *text, const char *begin)
{
    return !strncmp(text, begin, strlen(begin));
}

static bool is_known(const char *attribute)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts_with(attribute, known[i]))
            return true;
    return false;
}

/* A PIN source that is a file, as both readers write it; percent-encoded or not. */
static kn_err check_pin_source(const char *attribute, size_t length)
{
    const char *value = attribute + strlen("pin-source=");
    if (*value == '/' || starts_with(value, "%2F") || starts_with(value, "%2f") || starts_with(value, "file:") ||
        starts_with(value, "file%3"))
        return kn_success();
    return kn_fail(KN_E_CONFIG, "%.*s: the pkcs11 engine takes its PIN from a file", (int)(length > 80 ? 80 : length),
                   attribute);
}

/* Cuts the text in place, attribute by attribute. */
kn_err hsm_engine_uri(const char *uri, char **ret_uri)
{
    kn_err err = kn_success();
    size_t path_length = strcspn(uri, "?");
    if (!starts_with(uri, "pkcs11:"))
        return kn_fail(KN_E_CONFIG, "key_form is uri, and only a pkcs11: URI is one that the engine takes");
    char *made = calloc(1, strlen(uri) + 1), *copy = strdup(uri), *next = NULL;
    if (!made || !copy) {
        free(made);
        free(copy);
        return kn_fail(KN_E_NO_MEMORY, "the URI of the key");
    }
    char *query = uri[path_length] ? copy + path_length + 1 : NULL;
    copy[path_length] = '\0';
    char *out = made + sprintf(made, "pkcs11:");
    for (char *one = strtok_r(copy + strlen("pkcs11:"), ";", &next); one; one = strtok_r(NULL, ";", &next))
        if (is_known(one))
            out += sprintf(out, "%s%s", out[-1] == ':' ? "" : ";", one);
    for (char *one = query ? strtok_r(query, "&", &next) : NULL; one && !kn_failed(err); one = strtok_r(NULL, "&", &next))
        if (starts_with(one, "pin-source=")) {
            err = check_pin_source(one, strlen(one));
            out += sprintf(out, "?%s", one);
        }
    free(copy);
    if (kn_failed(err))
        free(made);
    else
        *ret_uri = made;
    return err;
}
