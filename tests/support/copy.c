/* A plug-in that has the static HSM library in it, and calls it so that the linker takes it in. */
#include "hsm_client_data.h"

__attribute__((visibility("default"))) int copy_init(void);

int copy_init(void)
{
    return hsm_client_x509_init();
}
