/* The X.509 interface: certificate chain, alias key, common name. */
#include "hsm_client_data.h"

#include "hsm_chain.h"
#include "hsm_config.h"
#include "hsm_engine.h"
#include "hsm_report.h"
#include "hsm_rsa.h"
#include "hsm_state.h"
#include "kn_key.h"

#include <stdlib.h>
#include <string.h>

typedef struct hsm_x509 {
    hsm_settings settings;
} hsm_x509;

static HSM_CLIENT_HANDLE x509_create(void)
{
    hsm_x509 *handle = calloc(1, sizeof *handle);
    kn_err err = handle ? hsm_settings_get(&handle->settings) : kn_fail(KN_E_NO_MEMORY, "a handle");
    if (!kn_failed(err))
        err = hsm_handle_opened();
    if (kn_failed(err)) {
        hsm_report("hsm_client_x509_create", err);
        if (handle)
            hsm_settings_free(&handle->settings);
        free(handle);
        return NULL;
    }
    return handle;
}

static void x509_destroy(HSM_CLIENT_HANDLE arg)
{
    hsm_x509 *handle = arg;
    if (!handle)
        return;
    hsm_settings_free(&handle->settings);
    free(handle);
    hsm_handle_closed();
}

static kn_err read_chain(const hsm_x509 *handle, kn_certs *ret_certs)
{
    return handle ? hsm_chain_read(&handle->settings, ret_certs) : kn_fail(KN_E_ARGUMENT, "the handle is NULL");
}

static char *x509_get_cert(HSM_CLIENT_HANDLE arg)
{
    kn_certs certs = {.count = 0};
    char *text = NULL;
    kn_err err = read_chain(arg, &certs);
    if (!kn_failed(err)) {
        hsm_chain_warn(&certs);
        err = hsm_chain_pem(&certs, &text);
    }
    kn_certs_free(&certs);
    if (kn_failed(err))
        hsm_report("hsm_client_get_cert", err);
    return text;
}

/* ---- the alias key ---- */

/* OpenSSL drops a key that does not match the certificate and connects without either, so this must be said here. */
static kn_err check_match(const hsm_x509 *handle, const kn_key *key)
{
    kn_certs certs = {.count = 0};
    kn_public certified;
    kn_err err = read_chain(handle, &certs);
    if (!kn_failed(err))
        err = kn_public_from_certificate(certs.cert[0].der, certs.cert[0].length, &certified);
    if (!kn_failed(err) && !kn_public_equal(&certified, kn_key_public(key))) {
        char shown[256];
        kn_uri_redact(handle->settings.value[HSM_KEY], shown, sizeof shown);
        err = kn_fail(KN_E_MISMATCH, "the first certificate of the chain is of another key than %s", shown);
    }
    kn_certs_free(&certs);
    return err;
}

/* Opened by the URI alone, so that the token is asked now and an error is told here, not in a handshake. */
static kn_err open_key(kn_ctx *ctx, const kn_alias *given, kn_key **ret_key)
{
    kn_alias *bare = NULL;
    kn_key *key = NULL;
    kn_err err = kn_alias_new(kn_alias_uri(given), NULL, &bare);
    if (!kn_failed(err))
        err = kn_key_open(ctx, bare, &key);
    if (err.code == KN_E_NO_PUBLIC && kn_alias_public(given))
        err = kn_key_open(ctx, given, &key); /* a token that has the private key only */
    if (!kn_failed(err) && kn_alias_public(given) && !kn_public_equal(kn_alias_public(given), kn_key_public(key)))
        err = kn_fail(KN_E_KEY_CHANGED, "the alias carries another public key than the token");
    kn_alias_free(&bare);
    if (kn_failed(err))
        kn_key_unref(&key);
    else
        *ret_key = key;
    return err;
}

/* What the SDK gets: the alias in the form that OpenSSL, and what the SDK does with a key of this type, can take. */
static kn_err key_text(const kn_alias *alias, const char *form, char **ret_text)
{
    if (form && !strcmp(form, "uri"))
        return hsm_engine_uri(kn_alias_uri(alias), ret_text);
    return kn_alias_public(alias)->alg->type == KN_KEY_RSA ? hsm_rsa_pem(alias, ret_text)
                                                           : kn_alias_to_pem(alias, ret_text);
}

static kn_err make_key_text(const hsm_x509 *handle, char **ret_text)
{
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    const hsm_settings *s = &handle->settings;
    kn_alias *given = NULL, *alias = NULL;
    kn_key *key = NULL;
    if (!s->value[HSM_KEY])
        return kn_fail(KN_E_CONFIG, "no key is configured for the device");
    kn_err err = kn_alias_from_argument(s->value[HSM_KEY], &given);
    if (!kn_failed(err))
        err = open_key(s->ctx, given, &key);
    if (!kn_failed(err))
        err = check_match(handle, key);
    if (!kn_failed(err))
        err = kn_alias_complete(s->ctx, kn_alias_uri(given), kn_key_public(key), &alias);
    if (!kn_failed(err))
        err = key_text(alias, s->value[HSM_KEY_FORM], ret_text);
    kn_key_unref(&key);
    kn_alias_free(&given);
    kn_alias_free(&alias);
    return err;
}

static char *x509_get_key(HSM_CLIENT_HANDLE arg)
{
    char *text = NULL;
    kn_err err = make_key_text(arg, &text);
    if (kn_failed(err))
        hsm_report("hsm_client_get_key", err);
    return text;
}

/* ---- the common name ---- */

static kn_err registration_id(const hsm_x509 *handle, char **ret_name)
{
    kn_certs certs = {.count = 0};
    char *name = NULL;
    kn_err err = read_chain(handle, &certs);
    if (!kn_failed(err))
        err = hsm_chain_name(&certs, &name);
    kn_certs_free(&certs);
    if (kn_failed(err))
        return err;
    const char *configured = handle->settings.value[HSM_REGISTRATION_ID];
    if (configured && strcmp(configured, name))
        err = kn_fail(KN_E_CERTIFICATE, "registration_id is '%.128s', the common name of the device certificate '%s': the "
                                        "service wants them to be the same", configured, name);
    if (kn_failed(err))
        free(name);
    else
        *ret_name = name;
    return err;
}

static char *x509_get_common_name(HSM_CLIENT_HANDLE arg)
{
    char *name = NULL;
    kn_err err = registration_id(arg, &name);
    if (kn_failed(err))
        hsm_report("hsm_client_get_common_name", err);
    return name;
}

/* ---- the SDK's symbols ---- */

int hsm_client_x509_init(void)
{
    kn_err err = hsm_init();
    if (kn_failed(err))
        hsm_report("hsm_client_x509_init", err);
    return kn_failed(err) ? 1 : 0;
}

void hsm_client_x509_deinit(void)
{
    hsm_deinit();
}

const HSM_CLIENT_X509_INTERFACE *hsm_client_x509_interface(void)
{
    static const HSM_CLIENT_X509_INTERFACE table = {
        .hsm_client_x509_create = x509_create,
        .hsm_client_x509_destroy = x509_destroy,
        .hsm_client_get_cert = x509_get_cert,
        .hsm_client_get_key = x509_get_key,
        .hsm_client_get_common_name = x509_get_common_name,
    };
    return &table;
}
