#include "p11_quirk.h"

#include <string.h>

static const p11_quirk quirks[] = {
    /* tpm2-pkcs11 1.9.0: EC keys are made for signing and decryption, RSA keys for both. CKA_DECRYPT or CKA_ENCRYPT false in
     * a template is CKR_GENERAL_ERROR, and the failure leaves objects in the TPM that nobody can flush. */
    {.library = "tpm2-software.github.io", .fixed_uses = true},
    /* A login holds one of the TPM's three sessions, and each key that was used one of its three slots, until C_Logout; what is taken
     * is CKR_GENERAL_ERROR for everybody else, and what a program that ends leaves stays taken where no resource manager is. */
    {.library = "tpm2-software.github.io", .scarce = true},
};
#define QUIRK_COUNT (sizeof quirks / sizeof *quirks)

p11_quirk p11_quirk_of(const p11_token *token)
{
    p11_quirk all = {0};
    CK_INFO info;
    char library[sizeof info.manufacturerID + 1];
    if (token->module->fn->C_GetInfo(&info) != CKR_OK)
        return all;
    p11_text(info.manufacturerID, sizeof info.manufacturerID, library);
    for (size_t i = 0; i < QUIRK_COUNT; i++)
        if (!strcmp(quirks[i].library, library) && (!quirks[i].model || !strcmp(quirks[i].model, token->model))) {
            all.fixed_uses |= quirks[i].fixed_uses;
            all.scarce |= quirks[i].scarce;
        }
    return all;
}

bool p11_quirk_scarce(const p11_token *token)
{
    return strstr(token->module->name, "tpm2") && p11_quirk_of(token).scarce;
}

const p11_quirk *p11_quirk_table(size_t *ret_count)
{
    *ret_count = QUIRK_COUNT;
    return quirks;
}
