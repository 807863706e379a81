#include "tpm2_backend.h"

#include "kn_pin.h"
#include "tpm2_attest.h"
#include "tpm2_inspect.h"
#include "tpm2_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Connections belong to the process: a context has only what its configuration says. */
static kn_err state_new(const kn_config *config, void **ret_state)
{
    tpm2_state *state = calloc(1, sizeof *state);
    if (state && config->pin_source)
        state->pin_source = strdup(config->pin_source);
    if (!state || (config->pin_source && !state->pin_source)) {
        free(state);
        return kn_fail(KN_E_NO_MEMORY, "a TPM's configuration");
    }
    *ret_state = state;
    return kn_success();
}

static void state_free(void *arg)
{
    tpm2_state *state = arg;
    free(state->pin_source);
    free(state);
}

static kn_err uri_check(const char *text)
{
    tpm2_key_uri uri;
    kn_err err = tpm2_key_uri_parse(text, &uri);
    if (!kn_failed(err))
        tpm2_key_uri_clear(&uri);
    return err;
}

/* Also the whole path of a file, which another program would look for elsewhere. */
static kn_err uri_complete(void *arg, const char *text, char **ret_uri)
{
    const tpm2_state *state = arg;
    tpm2_key_uri uri;
    kn_err err = tpm2_key_uri_parse(text, &uri);
    if (kn_failed(err))
        return err;
    bool names_key = uri.handle || uri.file || uri.key;
    if (names_key && !uri.pin_source && state->pin_source && kn_pin_is_source(state->pin_source) &&
        !(uri.pin_source = strdup(state->pin_source)))
        err = kn_fail(KN_E_NO_MEMORY, "a URI");
    if (!kn_failed(err) && uri.file && *uri.file != '/') {
        char *whole = realpath(uri.file, NULL);
        if (!whole)
            err = kn_fail(KN_E_IO, "the key file %s: %s", uri.file, strerror(errno));
        if (whole) {
            free(uri.file);
            uri.file = whole;
        }
    }
    if (!kn_failed(err))
        err = tpm2_key_uri_to_text(&uri, ret_uri);
    tpm2_key_uri_clear(&uri);
    return err;
}

/* Keys at handles and in files have no labels. */
static kn_err uri_with_label(const char *uri, const char *label, char **ret_uri)
{
    (void)uri, (void)label, (void)ret_uri;
    return kn_fail(KN_E_NO_KEY, "keys in a TPM have handles or files, and no labels");
}

/* ---- what this backend has not, by name ---- */

static kn_err cannot(const char *what)
{
    return kn_fail(KN_E_TOKEN_CANNOT, "%s with a tpm2: URI; docs/tpm-keys.md says how it is done", what);
}

/* The public key comes with the private one. */
static kn_err public_find(void *state, const char *uri, kn_public *ret_public)
{
    (void)state, (void)uri, (void)ret_public;
    return kn_fail(KN_E_NO_KEY, "a TPM keeps no public keys of their own");
}

static kn_err cert_read_chain(void *state, const char *uri, kn_certs *ret_certs)
{
    (void)state, (void)uri, (void)ret_certs;
    return kn_fail(KN_E_NO_CERTIFICATE, "a TPM keeps no certificates here");
}

static kn_err cert_write_chain(void *state, const char *uri, const kn_certs *certs)
{
    (void)state, (void)uri, (void)certs;
    return cannot("keeping certificates");
}

static kn_err cert_search(void *state, const char *uri, const kn_cert_query *query, kn_cert_list *ret_list)
{
    (void)state, (void)uri, (void)query;
    *ret_list = (kn_cert_list){.count = 0};
    return kn_success();
}

static kn_err token_init(void *state, const char *uri, const kn_secret *so_pin, const kn_secret *pin)
{
    (void)state, (void)uri, (void)so_pin, (void)pin;
    return cannot("initialising");
}

static kn_err token_wants_pin(void *state, const char *uri, bool unprompted, bool *ret_wants, char ret_label[33])
{
    (void)state, (void)uri, (void)unprompted, (void)ret_label;
    *ret_wants = false; /* nobody is asked: authorizations are of keys, and come from sources */
    return kn_success();
}

static kn_err token_login(void *state, const char *uri, const kn_secret *pin)
{
    (void)state, (void)uri, (void)pin;
    return cannot("logging in");
}

const kn_backend kn_tpm2_backend = {
    .scheme = "tpm2",
    .uri_check = uri_check,
    .uri_complete = uri_complete,
    .uri_with_label = uri_with_label,
    .state_new = state_new,
    .state_free = state_free,
    .key_open = tpm2_key_open,
    .key_generate = tpm2_key_generate,
    .key_free = tpm2_key_free,
    .public_find = public_find,
    .key_sign = tpm2_key_sign,
    .key_decrypt = tpm2_key_decrypt,
    .key_derive = tpm2_key_derive,
    .key_inspect = tpm2_key_inspect,
    .key_delete = tpm2_key_delete,
    .key_certify = tpm2_key_certify,
    .cert_read_chain = cert_read_chain,
    .cert_write_chain = cert_write_chain,
    .cert_search = cert_search,
    .token_list = tpm2_token_list,
    .token_init = token_init,
    .token_wants_pin = token_wants_pin,
    .token_login = token_login,
    .token_objects = tpm2_key_list,
    .tpm_inspect = tpm2_inspect,
    .key_file = &tpm2_key_file,
    .attest = &tpm2_attest_functions,
};
