/* A TCTI between tpm2-tss and another one: counts the commands, remembers their codes, and answers in the TPM's place on demand.
 * Named as "/PATH/kn_test_tcti.so:INNER". Whoever opens the same file finds the variables below. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>

#define EXPORT __attribute__((visibility("default")))
#define CODES_MAX 256

EXPORT unsigned tcti_shim_count;
EXPORT uint32_t tcti_shim_codes[CODES_MAX];
EXPORT unsigned tcti_shim_fail_at; /* this command, from 1, is not sent; 0: none */
EXPORT unsigned tcti_shim_fail_times;
EXPORT uint32_t tcti_shim_rc; /* the answer; of the TCTI layer: sending fails */
EXPORT uint32_t tcti_shim_change_code; /* one byte of the TPM's answers to this command is changed; 0: none */
EXPORT size_t tcti_shim_change_at, tcti_shim_size; /* where; how long the last answer to it was */

typedef struct shim {
    TSS2_TCTI_CONTEXT_COMMON_V1 common;
    TSS2_TCTI_CONTEXT *inner;
    uint32_t code;
    bool answers;
} shim;

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    shim *s = (shim *)context;
    unsigned n = ++tcti_shim_count;
    s->code = size < 10 ? 0 : (uint32_t)command[6] << 24 | (uint32_t)command[7] << 16 | (uint32_t)command[8] << 8 | command[9];
    if (n <= CODES_MAX)
        tcti_shim_codes[n - 1] = s->code;
    s->answers = tcti_shim_fail_at && n >= tcti_shim_fail_at && n < tcti_shim_fail_at + tcti_shim_fail_times;
    if (!s->answers)
        return Tss2_Tcti_Transmit(s->inner, size, command);
    return (tcti_shim_rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER ? tcti_shim_rc : TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    shim *s = (shim *)context;
    const uint8_t answer[] = {0x80, 1, 0, 0, 0, 10, (uint8_t)(tcti_shim_rc >> 24), (uint8_t)(tcti_shim_rc >> 16),
                              (uint8_t)(tcti_shim_rc >> 8), (uint8_t)tcti_shim_rc};
    if (!s->answers) {
        TSS2_RC rc = Tss2_Tcti_Receive(s->inner, size, response, timeout);
        if (rc == TSS2_RC_SUCCESS && response && tcti_shim_change_code && s->code == tcti_shim_change_code) {
            tcti_shim_size = *size;
            if (tcti_shim_change_at < *size)
                response[tcti_shim_change_at] ^= 1;
        }
        return rc;
    }
    if (response)
        memcpy(response, answer, sizeof answer);
    *size = sizeof answer;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    Tss2_TctiLdr_Finalize(&((shim *)context)->inner);
}

static TSS2_RC init(TSS2_TCTI_CONTEXT *context, size_t *size, const char *config)
{
    shim *s = (shim *)context;
    if (!context) {
        *size = sizeof *s;
        return TSS2_RC_SUCCESS;
    }
    *s = (shim){.common = {.magic = 0x6b6e7368696d3131, .version = 1, .transmit = transmit, .receive = receive, .finalize = finalize}};
    return Tss2_TctiLdr_Initialize(config, &s->inner);
}

EXPORT const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
    static const TSS2_TCTI_INFO info = {.version = 1, .name = "shim", .description = "for tests", .config_help = "TCTI", .init = init};
    return &info;
}
