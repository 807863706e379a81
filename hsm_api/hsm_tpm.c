/* The TPM interface. The SDK initialises it also when X.509 is used, so that must succeed without a TPM; this version
 * has no backend that offers attestation, and says so when a handle is asked for. */
#include "hsm_client_data.h"

#include "hsm_state.h"

static kn_err unavailable(void)
{
    return kn_fail(KN_E_TOKEN_CANNOT, "no backend of this library offers TPM attestation: use X.509 or a symmetric key");
}

static HSM_CLIENT_HANDLE tpm_create(void)
{
    hsm_report("hsm_client_tpm_create", unavailable());
    return NULL;
}

static void tpm_destroy(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
}

static int tpm_activate(HSM_CLIENT_HANDLE handle, const unsigned char *key, size_t length)
{
    (void)handle, (void)key, (void)length;
    hsm_report("hsm_client_activate_identity_key", unavailable());
    return 1;
}

static int tpm_get_ek(HSM_CLIENT_HANDLE handle, unsigned char **key, size_t *length)
{
    (void)handle, (void)key, (void)length;
    hsm_report("hsm_client_get_ek", unavailable());
    return 1;
}

static int tpm_get_srk(HSM_CLIENT_HANDLE handle, unsigned char **key, size_t *length)
{
    (void)handle, (void)key, (void)length;
    hsm_report("hsm_client_get_srk", unavailable());
    return 1;
}

static int tpm_sign(HSM_CLIENT_HANDLE handle, const unsigned char *data, size_t data_length, unsigned char **signature,
                    size_t *length)
{
    (void)handle, (void)data, (void)data_length, (void)signature, (void)length;
    hsm_report("hsm_client_sign_with_identity", unavailable());
    return 1;
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
