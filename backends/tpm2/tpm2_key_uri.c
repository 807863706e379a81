#include "tpm2_key_uri.h"

#include "kn_pin.h"
#include "tpm2_uri.h"

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
    {"tcti", set_tcti},
    {"pin-source", set_pin_source},
    {"owner-auth", set_owner_auth},
};
static const tpm2_uri_grammar grammar = {attributes, sizeof attributes / sizeof attributes[0],
                                         "a key in a TPM has handle, tcti, pin-source, owner-auth"};

kn_err tpm2_key_uri_parse(const char *uri, tpm2_key_uri *ret_uri)
{
    tpm2_key_uri parsed = {.handle = 0};
    kn_err err = tpm2_uri_parse(uri, &grammar, &parsed);
    if (kn_failed(err))
        tpm2_key_uri_clear(&parsed);
    else
        *ret_uri = parsed;
    return err;
}

void tpm2_key_uri_clear(tpm2_key_uri *uri)
{
    free(uri->tcti);
    free(uri->pin_source);
    free(uri->owner_auth);
    *uri = (tpm2_key_uri){.handle = 0};
}
