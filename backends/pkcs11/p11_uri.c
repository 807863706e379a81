#include "p11_uri.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum part { PATH, QUERY };

static const struct {
    const char *name;
    enum part part;
} attributes[] = {
    {"token", PATH},
    {"manufacturer", PATH},
    {"serial", PATH},
    {"model", PATH},
    {"library-manufacturer", PATH},
    {"library-version", PATH},
    {"library-description", PATH},
    {"slot-manufacturer", PATH},
    {"slot-description", PATH},
    {"slot-id", PATH},
    {"id", PATH},
    {"object", PATH},
    {"type", PATH},
    {"pin-source", QUERY},
    {"pin-value", QUERY},
    {"module-name", QUERY},
    {"module-path", QUERY},
};
#define ATTRIBUTE_COUNT (sizeof attributes / sizeof *attributes)

/* Marks the attribute NAME=VALUE that starts at @text in @seen. */
static kn_err check_attribute(const char *text, size_t length, enum part part, unsigned *seen)
{
    const char *equals = memchr(text, '=', length);
    if (!equals) { /* show no more than a name: the rest may be a PIN */
        size_t shown = strspn(text, "abcdefghijklmnopqrstuvwxyz-");
        if (shown > length)
            shown = length;
        return kn_fail(KN_E_URI_MALFORMED, "'%.*s' has no '='", (int)(shown > 40 ? 40 : shown), text);
    }
    if (part == QUERY && memmem(equals, length - (size_t)(equals - text), "%00", 3))
        return kn_fail(KN_E_URI_MALFORMED, "a value in its query holds a NUL");
    int name_length = (int)(equals - text);
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (strlen(attributes[i].name) != (size_t)name_length ||
            strncmp(attributes[i].name, text, (size_t)name_length) || attributes[i].part != part)
            continue;
        if (*seen & 1u << i)
            return kn_fail(KN_E_URI_MALFORMED, "attribute '%s' comes twice", attributes[i].name);
        *seen |= 1u << i;
        return kn_success();
    }
    return kn_fail(KN_E_URI_ATTRIBUTE, "'%.*s' in the %s of the URI", name_length > 40 ? 40 : name_length, text,
                   part == PATH ? "path" : "query");
}

static kn_err check_part(const char *text, size_t length, enum part part, unsigned *seen)
{
    char separator = part == PATH ? ';' : '&';
    while (length) {
        const char *end = memchr(text, separator, length);
        size_t one = end ? (size_t)(end - text) : length;
        kn_err err = check_attribute(text, one, part, seen);
        if (kn_failed(err))
            return err;
        if (!end)
            break;
        text += one + 1;
        length -= one + 1;
        if (!length)
            return kn_fail(KN_E_URI_MALFORMED, "it ends in '%c'", separator);
    }
    return kn_success();
}

static bool saw(unsigned seen, const char *name)
{
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if (!strcmp(attributes[i].name, name))
            return seen & 1u << i;
    return false;
}

static kn_err check_text(const char *text, unsigned *ret_seen)
{
    *ret_seen = 0;
    for (const char *p = text; *p; p++) /* p11-kit passes over white space, and would look for another name */
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return kn_fail(KN_E_URI_MALFORMED, "it holds a space or control character: write it as %%%02x",
                           (unsigned)*p);
    const char *path = strchr(text, ':');
    path = path ? path + 1 : text;
    const char *query = strchr(path, '?');
    kn_err err = check_part(path, query ? (size_t)(query - path) : strlen(path), PATH, ret_seen);
    if (!kn_failed(err) && query)
        err = check_part(query + 1, strlen(query + 1), QUERY, ret_seen);
    if (!kn_failed(err) && saw(*ret_seen, "pin-source") && saw(*ret_seen, "pin-value"))
        err = kn_fail(KN_E_URI_MALFORMED, "it has both pin-source and pin-value");
    return err;
}

static kn_err fill(p11_uri *uri, unsigned seen)
{
    CK_ATTRIBUTE *found = p11_kit_uri_get_attribute(uri->kit, CKA_ID);
    if (found)
        uri->id = *found;
    found = p11_kit_uri_get_attribute(uri->kit, CKA_LABEL);
    if (found)
        uri->label = *found;
    found = p11_kit_uri_get_attribute(uri->kit, CKA_CLASS);
    if (found && found->ulValueLen == sizeof uri->class) {
        uri->has_class = true;
        memcpy(&uri->class, found->pValue, sizeof uri->class);
    }
    uri->pin_source = p11_kit_uri_get_pin_source(uri->kit);
    uri->module_path = p11_kit_uri_get_module_path(uri->kit);
    uri->module_name = p11_kit_uri_get_module_name(uri->kit);
    uri->has_slot_info = saw(seen, "slot-description") || saw(seen, "slot-manufacturer");
    uri->has_library_info =
        saw(seen, "library-description") || saw(seen, "library-manufacturer") || saw(seen, "library-version");
    if (uri->module_path && *uri->module_path != '/')
        return kn_fail(KN_E_URI_MALFORMED, "module-path '%s' is not an absolute path", uri->module_path);
    if (uri->id.ulValueLen > 128 || uri->label.ulValueLen > 128)
        return kn_fail(KN_E_URI_MALFORMED, "id or object is longer than 128 bytes");
    const char *pin = p11_kit_uri_get_pin_value(uri->kit);
    return pin ? kn_secret_new(pin, strlen(pin), &uri->pin) : kn_success();
}

kn_err p11_uri_new(const char *text, p11_uri **ret_uri)
{
    unsigned seen;
    kn_err err = check_text(text, &seen);
    if (kn_failed(err))
        return err;
    p11_uri *uri = calloc(1, sizeof *uri);
    if (uri)
        uri->kit = p11_kit_uri_new();
    if (!uri || !uri->kit) {
        p11_uri_free(&uri);
        return kn_fail(KN_E_NO_MEMORY, "a URI");
    }
    int rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri->kit);
    if (rc != P11_KIT_URI_OK)
        err = kn_fail(KN_E_URI_MALFORMED, "%s", p11_kit_uri_message(rc));
    else if (p11_kit_uri_any_unrecognized(uri->kit))
        err = kn_fail(KN_E_URI_MALFORMED, "the value of an attribute is not known (type=, slot-id=)");
    else
        err = fill(uri, seen);
    if (kn_failed(err))
        p11_uri_free(&uri);
    else
        *ret_uri = uri;
    return err;
}

kn_err p11_uri_check(const char *text)
{
    p11_uri *uri = NULL;
    kn_err err = p11_uri_new(text, &uri);
    p11_uri_free(&uri);
    return err;
}

void p11_uri_free(p11_uri **uri)
{
    if (!*uri)
        return;
    if ((*uri)->kit) {
        const char *pin = p11_kit_uri_get_pin_value((*uri)->kit);
        if (pin) /* p11-kit's own copy, which it releases without wiping */
            explicit_bzero((char *)(uintptr_t)pin, strlen(pin));
        p11_kit_uri_free((*uri)->kit);
    }
    kn_secret_free(&(*uri)->pin);
    free(*uri);
    *uri = NULL;
}

void p11_uri_show(const p11_uri *uri, char *ret_text, size_t size)
{
    char *text = NULL;
    P11KitUriType path_only = P11_KIT_URI_FOR_OBJECT_ON_TOKEN;
    if (p11_kit_uri_format(uri->kit, path_only, &text) == P11_KIT_URI_OK && text) {
        (void)snprintf(ret_text, size, "%.*s", (int)strcspn(text, "?"), text);
    } else {
        (void)snprintf(ret_text, size, "pkcs11:");
    }
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* Writes @length bytes percent-encoded where RFC 7512 section 2.3 asks for it in a path; returns the end. */
static char *encode(char *to, const char *bytes, size_t length)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (size_t i = 0; i < length; i++)
        to += sprintf(to, bytes[i] && strchr(plain, bytes[i]) ? "%c" : "%%%02X", (unsigned char)bytes[i]);
    return to;
}

kn_err p11_uri_with_label(const char *text, const char *label, char **ret_text)
{
    p11_uri *uri = NULL;
    kn_err err = p11_uri_new(text, &uri);
    if (kn_failed(err))
        return err;
    size_t length = strlen(label);
    bool has = uri->label.pValue != NULL;
    bool same = has && uri->label.ulValueLen == length && !memcmp(uri->label.pValue, label, length);
    p11_uri_free(&uri);
    if (has && !same)
        return kn_fail(KN_E_NO_KEY, "the URI names another object than '%.60s'", label);
    char *copy = malloc(strlen(text) + 3 * length + sizeof ";object=");
    if (!copy)
        return kn_fail(KN_E_NO_MEMORY, "a URI");
    size_t path = strcspn(text, "?");
    char *end = copy + path;
    memcpy(copy, text, path);
    if (!has) {
        end += sprintf(end, "%sobject=", text[path - 1] == ':' ? "" : ";");
        end = encode(end, label, length);
    }
    memcpy(end, text + path, strlen(text + path) + 1);
    *ret_text = copy;
    return kn_success();
}
