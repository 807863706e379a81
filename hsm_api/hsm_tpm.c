/* The TPM interface. The SDK initialises it also when X.509 is used, so that must succeed without a TPM; whether there is
 * one is asked when a handle is created. */
#include "hsm_client_data.h"

#include "hsm_config.h"
#include "hsm_report.h"
#include "kn_attest.h"

#include <stdlib.h>
#include <string.h>

typedef struct hsm_tpm {
    kn_attest *attest;
} hsm_tpm;

static HSM_CLIENT_HANDLE tpm_create(void)
{
    hsm_settings settings = {.ctx = NULL};
    hsm_tpm *handle = calloc(1, sizeof *handle);
    kn_err err = handle ? hsm_settings_get(&settings) : kn_fail(KN_E_NO_MEMORY, "a handle");
    if (!kn_failed(err))
        err = kn_attest_open(settings.ctx, settings.value[HSM_TPM], &handle->attest);
    hsm_settings_free(&settings);
    if (kn_failed(err)) {
        hsm_report("hsm_client_tpm_create", err);
        free(handle);
        return NULL;
    }
    return handle;
}

static void tpm_destroy(HSM_CLIENT_HANDLE arg)
{
    hsm_tpm *handle = arg;
    if (!handle)
        return;
    kn_attest_free(&handle->attest);
    free(handle);
}

static int finish(const char *call, kn_err err)
{
    if (kn_failed(err))
        hsm_report(call, err);
    return kn_failed(err) ? 1 : 0;
}

static kn_err check(const hsm_tpm *handle, const void *one, const void *two)
{
    return handle && one && two ? kn_success() : kn_fail(KN_E_ARGUMENT, "the handle or an argument is NULL");
}

static int tpm_activate(HSM_CLIENT_HANDLE arg, const unsigned char *blob, size_t length)
{
    const hsm_tpm *handle = arg;
    kn_err err = check(handle, blob, blob);
    if (!kn_failed(err))
        err = kn_attest_activate(handle->attest, blob, length);
    return finish("hsm_client_activate_identity_key", err);
}

static int tpm_get_ek(HSM_CLIENT_HANDLE arg, unsigned char **key, size_t *length)
{
    const hsm_tpm *handle = arg;
    kn_err err = check(handle, key, length);
    if (!kn_failed(err))
        err = kn_attest_endorsement_key(handle->attest, key, length);
    return finish("hsm_client_get_ek", err);
}

static int tpm_get_srk(HSM_CLIENT_HANDLE arg, unsigned char **key, size_t *length)
{
    const hsm_tpm *handle = arg;
    kn_err err = check(handle, key, length);
    if (!kn_failed(err))
        err = kn_attest_storage_root_key(handle->attest, key, length);
    return finish("hsm_client_get_srk", err);
}

static kn_err sign(const hsm_tpm *handle, const unsigned char *data, size_t data_length, unsigned char **signature,
                   size_t *length)
{
    unsigned char *made = malloc(KN_ATTEST_BYTES); /* the SDK releases it with free() */
    kn_err err = made ? kn_attest_sign(handle->attest, data, data_length, made) : kn_fail(KN_E_NO_MEMORY, "a signature");
    if (kn_failed(err)) {
        free(made);
        return err;
    }
    *signature = made;
    *length = KN_ATTEST_BYTES;
    return err;
}

static int tpm_sign(HSM_CLIENT_HANDLE arg, const unsigned char *data, size_t data_length, unsigned char **signature,
                    size_t *length)
{
    const hsm_tpm *handle = arg;
    kn_err err = check(handle, signature, length);
    if (!kn_failed(err))
        err = check(handle, data, data);
    if (!kn_failed(err))
        err = sign(handle, data, data_length, signature, length);
    return finish("hsm_client_sign_with_identity", err);
}

int hsm_client_tpm_init(void)
{
    return 0;
}

void hsm_client_tpm_deinit(void)
{
}

const HSM_CLIENT_TPM_INTERFACE *hsm_client_tpm_interface(void)
{
    static const HSM_CLIENT_TPM_INTERFACE table = {
        .hsm_client_tpm_create = tpm_create,
        .hsm_client_tpm_destroy = tpm_destroy,
        .hsm_client_activate_identity_key = tpm_activate,
        .hsm_client_get_ek = tpm_get_ek,
        .hsm_client_get_srk = tpm_get_srk,
        .hsm_client_sign_with_identity = tpm_sign,
    };
    return &table;
}
