#include "tpm2_backend.h"

#include "tpm2_attest.h"

/* Connections belong to the process: a context has nothing of its own. */
static kn_err state_new(const kn_config *config, void **ret_state)
{
    (void)config;
    *ret_state = NULL;
    return kn_success();
}

static void state_free(void *state)
{
    (void)state;
}

const kn_backend kn_tpm2_backend = {
    .scheme = "tpm2",
    .state_new = state_new,
    .state_free = state_free,
    .attest = &tpm2_attest_functions,
};
