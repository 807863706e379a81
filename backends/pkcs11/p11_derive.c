/* Key agreement: the token computes the secret, which is read from a session object and destroyed at once. */
#include "p11_key.h"
#include "p11_mechanism.h"

typedef struct derivation {
    const uint8_t *point; /* the peer's */
    size_t length;
    uint8_t *secret;
    size_t *ret_length;
} derivation;

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

/* The secret is not a key of ours that stays: the program is to have it. */
static CK_RV derive(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, const derivation *d,
                    CK_OBJECT_HANDLE *ret_secret)
{
    const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    const CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    const CK_ULONG bytes = key->expected.alg->coord_bytes;
    /* The point is bare, as section 2.3.17 allows and modules agree on. */
    CK_ECDH1_DERIVE_PARAMS parameters = {CKD_NULL, 0, NULL, d->length, (CK_BYTE *)(uintptr_t)d->point};
    CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &parameters, sizeof parameters};
    CK_ATTRIBUTE template[] = {
        p11_attribute(CKA_CLASS, &class, sizeof class),    p11_attribute(CKA_KEY_TYPE, &type, sizeof type),
        p11_attribute(CKA_TOKEN, &no, sizeof no),          p11_attribute(CKA_SENSITIVE, &no, sizeof no),
        p11_attribute(CKA_EXTRACTABLE, &yes, sizeof yes),  p11_attribute(CKA_VALUE_LEN, &bytes, sizeof bytes),
    };
    return call->token->module->fn->C_DeriveKey(call->session, &mechanism, handle, template,
                                                sizeof template / sizeof *template, ret_secret);
}

/* CKA_ALWAYS_AUTHENTICATE does not concern C_DeriveKey: it is one call, and has no place for a login inside. */
static p11_step derive_step(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    const derivation *d = arg;
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_OBJECT_HANDLE secret;
    CK_ULONG length = KN_EC_COORD_MAX;
    kn_err err = p11_mechanism_check(call->token, CKM_ECDH1_DERIVE, CKF_DERIVE);
    if (kn_failed(err))
        return (p11_step){.err = err};
    CK_RV rv = derive(key, call, handle, d, &secret);
    if (rv == CKR_MECHANISM_INVALID)
        return (p11_step){.err = p11_mechanism_fail(call->token, CKM_ECDH1_DERIVE, CKF_DERIVE, "C_DeriveKey", rv, "")};
    if (rv != CKR_OK)
        return (p11_step){.call = "C_DeriveKey", .rv = rv, .begun = true};
    err = p11_read(call, secret, CKA_VALUE, d->secret, &length);
    rv = fn->C_DestroyObject(call->session, secret);
    if (kn_failed(err))
        return (p11_step){.err = err};
    if (rv != CKR_OK) /* without a value, by which the derivation would be repeated */
        return (p11_step){.err = p11_fail("C_DestroyObject", call->token->label, rv)};
    *d->ret_length = length;
    return (p11_step){.call = NULL};
}

kn_err p11_key_derive(void *key, const uint8_t *point, size_t length, uint8_t *ret_secret, size_t *ret_length,
                      unsigned *ret_binding)
{
    derivation d = {.point = point, .length = length, .secret = ret_secret, .ret_length = ret_length};
    return p11_key_run(key, derive_step, &d, ret_binding);
}
