#include "tpm2_attest_uri.h"

#include "kn_pin.h"
#include "tpm2_uri.h"

#include <stdlib.h>
#include <string.h>

static kn_err copy(const char *value, char **ret_text)
{
    *ret_text = strdup(value);
    return *ret_text ? kn_success() : kn_fail(KN_E_NO_MEMORY, "a TPM's URI");
}

static kn_err set_tcti(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    return copy(value, &config->tcti);
}

static kn_err set_source(const char *name, const char *value, char **ret_source)
{
    return kn_pin_is_source(value) && !kn_pin_is_ask(value)
               ? copy(value, ret_source)
               : kn_fail(KN_E_URI_MALFORMED, "%s= names no file, credential or descriptor that holds the authorization", name);
}

static kn_err set_owner_auth(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    return set_source("owner-auth", value, &config->owner_auth);
}

static kn_err set_endorsement_auth(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    return set_source("endorsement-auth", value, &config->endorsement_auth);
}

static kn_err set_ek_handle(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    return tpm2_uri_handle("ek-handle", value, &config->ek_handle);
}

static kn_err set_srk_handle(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    return tpm2_uri_handle("srk-handle", value, &config->srk_handle);
}

static kn_err set_ek_unique(void *arg, const char *value)
{
    tpm2_attest_config *config = arg;
    config->ek_unique_empty = strcmp(value, "empty") == 0;
    return config->ek_unique_empty || strcmp(value, "zeros") == 0
               ? kn_success()
               : kn_fail(KN_E_URI_MALFORMED, "ek-unique=%.40s is neither zeros nor empty", value);
}

static const struct tpm2_uri_attribute attributes[] = {
    {"tcti", set_tcti},           {"owner-auth", set_owner_auth}, {"endorsement-auth", set_endorsement_auth},
    {"ek-handle", set_ek_handle}, {"srk-handle", set_srk_handle}, {"ek-unique", set_ek_unique},
};
static const tpm2_uri_grammar grammar = {
    attributes, sizeof attributes / sizeof attributes[0],
    "a TPM that attests has tcti, owner-auth, endorsement-auth, ek-handle, srk-handle, ek-unique"};

kn_err tpm2_attest_config_parse(const char *uri, tpm2_attest_config *ret_config)
{
    tpm2_attest_config config = {.ek_handle = TPM2_EK_HANDLE, .srk_handle = TPM2_SRK_HANDLE};
    kn_err err = tpm2_uri_parse(uri ? uri : "tpm2:", &grammar, &config);
    if (!kn_failed(err) && config.ek_handle == config.srk_handle)
        err = kn_fail(KN_E_URI_MALFORMED, "ek-handle and srk-handle are the same");
    if (kn_failed(err))
        tpm2_attest_config_clear(&config);
    else
        *ret_config = config;
    return err;
}

void tpm2_attest_config_clear(tpm2_attest_config *config)
{
    free(config->tcti);
    free(config->owner_auth);
    free(config->endorsement_auth);
    *config = (tpm2_attest_config){.tcti = NULL};
}
