/* What the SDK's adapter of this name defines; the rest of the interface is the HSM library's. */
#include <keynym/hsm_client_data.h>

int initialize_hsm_system(void);
void deinitialize_hsm_system(void);

int initialize_hsm_system(void)
{
    return hsm_client_x509_init() || hsm_client_tpm_init();
}

void deinitialize_hsm_system(void)
{
    hsm_client_x509_deinit();
    hsm_client_tpm_deinit();
}
