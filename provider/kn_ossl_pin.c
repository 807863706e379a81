#include "kn_ossl_pin.h"

#include "kn_log.h"
#include "kn_pin.h"
#include "kn_token.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>

/* What the program leaves on its error queue while it is asked is told in one sentence of ours. */
static bool answer(kn_ossl *prov, const char *label, OSSL_PASSPHRASE_CALLBACK *ask, void *ask_arg, kn_secret *pin)
{
    char info[64];
    size_t length = 0;
    (void)snprintf(info, sizeof info, "token '%s' (its PIN)", label);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PASSPHRASE_PARAM_INFO, info, strlen(info)),
        OSSL_PARAM_construct_end(),
    };
    kn_ossl_mark_errors(prov);
    bool ok = ask((char *)kn_secret_room(pin), KN_PIN_MAX, &length, params, ask_arg) && length && length <= KN_PIN_MAX;
    kn_ossl_drop_errors(prov);
    if (ok)
        kn_secret_set_length(pin, length);
    return ok;
}

kn_err kn_ossl_ask_pin(kn_ossl *prov, const kn_alias *alias, bool unprompted, OSSL_PASSPHRASE_CALLBACK *ask,
                       void *ask_arg)
{
    kn_ctx *ctx = kn_ossl_backends(prov);
    kn_secret *pin = NULL;
    bool wants = false;
    char label[33];
    if (!ask || kn_failed(kn_token_wants_pin(ctx, kn_alias_uri(alias), unprompted, &wants, label)) || !wants)
        return kn_success();
    kn_err err = kn_secret_new_empty(KN_PIN_MAX + 1, &pin); /* a program may end its answer with a NUL */
    if (!kn_failed(err) && !answer(prov, label, ask, ask_arg, pin))
        err = kn_fail(KN_E_NO_PIN, "token '%s': the program was asked for it and gave none", label);
    if (!kn_failed(err))
        err = kn_token_login(ctx, kn_alias_uri(alias), pin);
    kn_secret_free(&pin);
    return err;
}
