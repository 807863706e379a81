/* Signing: which mechanism, and the two calls. */
#include "p11_key.h"
#include "p11_mechanism.h"

#include <stdio.h>
#include <string.h>

typedef struct signing {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_PSS_PARAMS pss;
    char parameters[80]; /* for a message */
    const uint8_t *data;
    size_t length;
    uint8_t prefixed[KN_DIGEST_INFO_MAX + KN_DIGEST_MAX];
    uint8_t *signature;
    size_t room, *ret_length;
} signing;

kn_err p11_key_authenticate(p11_key *key, p11_call *call)
{
    return key->always_authenticate ? p11_login_for_operation(call->token, key->uri, call->session) : kn_success();
}

static p11_step too_long(const p11_call *call, const char *name, CK_ULONG length, size_t room)
{
    return (p11_step){.err = kn_fail(KN_E_MODULE_BROKEN, "%s on token '%s' returned %lu bytes, room was %zu", name,
                                     call->token->label, length, room)};
}

static p11_step sign_step(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    signing *s = arg;
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_RV rv = fn->C_SignInit(call->session, &s->mechanism, handle);
    if (p11_mechanism_refused(rv))
        return (p11_step){.err = p11_mechanism_fail(call->token, s->mechanism.mechanism, CKF_SIGN, "C_SignInit", rv,
                                                    s->parameters)};
    if (rv != CKR_OK)
        return (p11_step){.call = "C_SignInit", .rv = rv};
    kn_err err = p11_key_authenticate(key, call);
    if (kn_failed(err))
        return (p11_step){.err = err};
    CK_ULONG length = s->room;
    rv = fn->C_Sign(call->session, (CK_BYTE *)(uintptr_t)s->data, s->length, s->signature, &length);
    if (rv != CKR_OK)
        return (p11_step){.call = "C_Sign", .rv = rv, .begun = true};
    if (length > s->room)
        return too_long(call, "C_Sign", length, s->room);
    *s->ret_length = length;
    return (p11_step){.call = NULL};
}

/* Chooses the mechanism and brings the input into its form. */
static void prepare(signing *s, const kn_alg *alg, const kn_sign_how *how)
{
    switch (how->scheme) {
    case KN_ECDSA:
        s->mechanism.mechanism = CKM_ECDSA;
        s->room = 2 * alg->coord_bytes;
        /* FIPS 186-4 section 6.4: the leftmost bits of a digest that is longer than the order; tokens differ in
         * whether they cut it themselves. */
        if (s->length > alg->coord_bytes)
            s->length = alg->coord_bytes;
        break;
    case KN_RSA_PKCS1:
        s->mechanism.mechanism = CKM_RSA_PKCS;
        s->room = alg->coord_bytes;
        if (how->digest) {
            memcpy(s->prefixed, how->digest->info, how->digest->info_length);
            memcpy(s->prefixed + how->digest->info_length, s->data, s->length);
            s->data = s->prefixed;
            s->length += how->digest->info_length;
        }
        break;
    case KN_RSA_PSS:
        s->pss = (CK_RSA_PKCS_PSS_PARAMS){p11_digest_of(how->digest)->hash, p11_digest_of(how->mgf1)->mgf1,
                                          how->salt_bytes};
        (void)snprintf(s->parameters, sizeof s->parameters, "with %s, MGF1 of %s, a salt of %zu bytes",
                       how->digest->name, how->mgf1->name, how->salt_bytes);
        s->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &s->pss, sizeof s->pss};
        s->room = alg->coord_bytes;
        break;
    case KN_EDDSA:
        s->mechanism.mechanism = CKM_EDDSA;
        s->room = alg->signature_max;
        break;
    }
}

kn_err p11_key_sign(void *arg, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                    size_t *ret_length, unsigned *ret_binding)
{
    const p11_key *key = arg;
    signing s = {.data = data, .length = length, .signature = ret_signature, .ret_length = ret_length};
    if (how->scheme == KN_RSA_PSS && !p11_digest_of(how->mgf1)->mgf1)
        return kn_fail(KN_E_TOKEN_CANNOT, "PKCS#11 has no name for MGF1 of %s", how->mgf1->name);
    prepare(&s, key->expected.alg, how);
    return p11_key_run_signing(arg, sign_step, &s, ret_binding);
}
