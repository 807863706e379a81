#include "tpm2_key_uri.h"

#include "kn_pin.h"
#include "tpm2_tss_key.h"
#include "tpm2_uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kn_err copy(const char *value, char **ret_text)
{
    *ret_text = strdup(value);
    return *ret_text ? kn_success() : kn_fail(KN_E_NO_MEMORY, "the URI of a key");
}

static kn_err set_handle(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return tpm2_uri_handle("handle", value, &uri->handle);
}

static kn_err set_parent(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return tpm2_uri_handle("parent", value, &uri->parent);
}

static kn_err set_file(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return copy(value, &uri->file);
}

static kn_err set_key(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    tpm2_tss_key key;
    kn_err err = tpm2_tss_key_from_base64(value, &key);
    return kn_failed(err) ? kn_fail_within(err, "key") : copy(value, &uri->key);
}

static kn_err set_da(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    uri->protected = strcmp(value, "yes") == 0;
    return uri->protected || strcmp(value, "no") == 0 ? kn_success() : kn_fail(KN_E_URI_MALFORMED, "da= is yes or no");
}

static kn_err set_tcti(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return copy(value, &uri->tcti);
}

static kn_err set_source(const char *name, const char *value, char **ret_source)
{
    return kn_pin_is_source(value) && !kn_pin_is_ask(value)
               ? copy(value, ret_source)
               : kn_fail(KN_E_URI_MALFORMED, "%s= names no file, credential or descriptor that holds the authorization", name);
}

static kn_err set_pin_source(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return set_source("pin-source", value, &uri->pin_source);
}

static kn_err set_owner_auth(void *arg, const char *value)
{
    tpm2_key_uri *uri = arg;
    return set_source("owner-auth", value, &uri->owner_auth);
}

static const struct tpm2_uri_attribute attributes[] = {
    {"handle", set_handle},
    {"file", set_file},
    {"key", set_key},
    {"parent", set_parent},
    {"da", set_da},
    {"tcti", set_tcti},
    {"pin-source", set_pin_source},
    {"owner-auth", set_owner_auth},
};
static const tpm2_uri_grammar grammar = {attributes, sizeof attributes / sizeof attributes[0],
                                         "a key in a TPM has handle, file, key, tcti, pin-source, owner-auth, parent, da"};

kn_err tpm2_key_uri_parse(const char *uri, tpm2_key_uri *ret_uri)
{
    tpm2_key_uri parsed = {.handle = 0};
    kn_err err = tpm2_uri_parse(uri, &grammar, &parsed);
    if (!kn_failed(err) && (parsed.handle != 0) + !!parsed.file + !!parsed.key > 1)
        err = kn_fail(KN_E_URI_MALFORMED, "a key in a TPM is named by one of handle, file and key");
    if (kn_failed(err))
        tpm2_key_uri_clear(&parsed);
    else
        *ret_uri = parsed;
    return err;
}

void tpm2_key_uri_clear(tpm2_key_uri *uri)
{
    free(uri->file);
    free(uri->key);
    free(uri->tcti);
    free(uri->pin_source);
    free(uri->owner_auth);
    *uri = (tpm2_key_uri){.handle = 0};
}

static void put_text(FILE *out, const char *name, const char *value)
{
    if (!value)
        return;
    (void)fprintf(out, "%s=", name);
    for (const char *at = value; *at; at++)
        (void)fprintf(out, strchr(";%", *at) ? "%%%02x" : "%c", (unsigned char)*at);
    (void)fputc(';', out);
}

static void put_handle(FILE *out, const char *name, uint32_t handle)
{
    if (handle)
        (void)fprintf(out, "%s=0x%08x;", name, (unsigned)handle);
}

kn_err tpm2_key_uri_to_text(const tpm2_key_uri *uri, char **ret_text)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return kn_fail(KN_E_NO_MEMORY, "a URI");
    (void)fputs("tpm2:", out);
    put_handle(out, "handle", uri->handle);
    put_text(out, "file", uri->file);
    put_text(out, "key", uri->key);
    put_text(out, "tcti", uri->tcti);
    put_text(out, "pin-source", uri->pin_source);
    put_text(out, "owner-auth", uri->owner_auth);
    put_handle(out, "parent", uri->parent);
    put_text(out, "da", uri->protected ? "yes" : NULL);
    if (fclose(out) != 0) {
        free(text);
        return kn_fail(KN_E_NO_MEMORY, "a URI");
    }
    if (text[length - 1] == ';')
        text[length - 1] = '\0';
    *ret_text = text;
    return kn_success();
}
