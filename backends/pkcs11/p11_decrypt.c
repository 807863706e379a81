/* Decrypting with an RSA key: PKCS#1 v1.5 and OAEP. Never CKM_RSA_X_509: with the padding taken off here, a fault would hand
 * out raw decryptions. */
#include "p11_key.h"
#include "p11_mechanism.h"

#include <stdio.h>

typedef struct decryption {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    char parameters[80]; /* for the message */
    const uint8_t *data;
    size_t length;
    uint8_t *plain;
    size_t *ret_length;
    bool *ret_good;
} decryption;

/* Return values of C_Decrypt by which modules say that the padding is wrong. SoftHSM says CKR_GENERAL_ERROR. The operation
 * has ended with each, so the session is as good as after success. */
static bool says_padding(CK_RV rv)
{
    return rv == CKR_ENCRYPTED_DATA_INVALID || rv == CKR_ENCRYPTED_DATA_LEN_RANGE || rv == CKR_DATA_INVALID ||
           rv == CKR_DATA_LEN_RANGE || rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED;
}

static p11_step decrypt_step(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    decryption *d = arg;
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    kn_err err = p11_mechanism_check(call->token, d->mechanism.mechanism, CKF_DECRYPT);
    if (kn_failed(err))
        return (p11_step){.err = err};
    CK_RV rv = fn->C_DecryptInit(call->session, &d->mechanism, handle);
    if (p11_mechanism_refused(rv))
        return (p11_step){.err = p11_mechanism_fail(call->token, d->mechanism.mechanism, CKF_DECRYPT, "C_DecryptInit",
                                                    rv, d->parameters)};
    if (rv != CKR_OK)
        return (p11_step){.call = "C_DecryptInit", .rv = rv};
    err = p11_key_authenticate(key, call);
    if (kn_failed(err))
        return (p11_step){.err = err};
    CK_ULONG length = KN_RSA_MAX;
    rv = fn->C_Decrypt(call->session, (CK_BYTE *)(uintptr_t)d->data, d->length, d->plain, &length);
    if (rv != CKR_OK && !says_padding(rv))
        return (p11_step){.call = "C_Decrypt", .rv = rv, .begun = true};
    if (rv == CKR_OK && length > KN_RSA_MAX)
        return (p11_step){.err = kn_fail(KN_E_MODULE_BROKEN, "C_Decrypt on token '%s' returned %lu bytes, room was %d",
                                         call->token->label, length, KN_RSA_MAX)};
    *d->ret_good = rv == CKR_OK;
    *d->ret_length = length;
    return (p11_step){.call = NULL};
}

kn_err p11_key_decrypt(void *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                       size_t *ret_length, bool *ret_good)
{
    decryption d = {.mechanism = {CKM_RSA_PKCS, NULL, 0},
                    .data = data,
                    .length = length,
                    .plain = ret_plain,
                    .ret_length = ret_length,
                    .ret_good = ret_good};
    if (how->padding == KN_PAD_OAEP) {
        const p11_digest *digest = p11_digest_of(how->digest), *mgf1 = p11_digest_of(how->mgf1);
        (void)snprintf(d.parameters, sizeof d.parameters, "with %s, MGF1 of %s%s", how->digest->name, how->mgf1->name,
                       how->label_length ? " and a label" : "");
        if (!mgf1->mgf1)
            return kn_fail(KN_E_TOKEN_CANNOT, "PKCS#11 has no name for MGF1 of %s", how->mgf1->name);
        d.oaep = (CK_RSA_PKCS_OAEP_PARAMS){digest->hash, mgf1->mgf1, CKZ_DATA_SPECIFIED,
                                           how->label_length ? (void *)(uintptr_t)how->label : NULL, how->label_length};
        d.mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &d.oaep, sizeof d.oaep};
    }
    return p11_key_run(key, decrypt_step, &d, NULL);
}
