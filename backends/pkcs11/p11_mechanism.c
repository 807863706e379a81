#include "p11_mechanism.h"

/* P11_MECHANISMS_MAX is their number: a token has room for what is known of each. */
static const p11_mechanism rows[] = {
    {CKM_RSA_PKCS_KEY_PAIR_GEN, "RSA_PKCS_KEY_PAIR_GEN", true},
    {CKM_RSA_X9_31_KEY_PAIR_GEN, "RSA_X9_31_KEY_PAIR_GEN", true},
    {CKM_EC_KEY_PAIR_GEN, "EC_KEY_PAIR_GEN", true},
    {CKM_EC_EDWARDS_KEY_PAIR_GEN, "EC_EDWARDS_KEY_PAIR_GEN", true},
    {CKM_EC_MONTGOMERY_KEY_PAIR_GEN, "EC_MONTGOMERY_KEY_PAIR_GEN", true},
    {CKM_RSA_PKCS, "RSA_PKCS", false},
    {CKM_RSA_PKCS_PSS, "RSA_PKCS_PSS", false},
    {CKM_RSA_PKCS_OAEP, "RSA_PKCS_OAEP", false},
    {CKM_ECDSA, "ECDSA", false},
    {CKM_EDDSA, "EDDSA", false},
    {CKM_ECDH1_DERIVE, "ECDH1_DERIVE", false},
    {CKM_GENERIC_SECRET_KEY_GEN, "GENERIC_SECRET_KEY_GEN", true},
    {CKM_SHA256_HMAC, "SHA256_HMAC", false},
};
_Static_assert(sizeof rows / sizeof *rows == P11_MECHANISMS_MAX, "a place for each row");

/* With numbers where p11-kit's header has no name: SHA-3 (PKCS#11 v3.0). */
static const p11_digest digests[KN_DIGEST_COUNT] = {
    [KN_SHA1] = {CKM_SHA_1, CKG_MGF1_SHA1},
    [KN_SHA224] = {CKM_SHA224, CKG_MGF1_SHA224},
    [KN_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256},
    [KN_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384},
    [KN_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512},
    [KN_SHA512_224] = {CKM_SHA512_224, 0},
    [KN_SHA512_256] = {CKM_SHA512_256, 0},
    [KN_SHA3_224] = {0x2b5, 6},
    [KN_SHA3_256] = {0x2b0, 7},
    [KN_SHA3_384] = {0x2c0, 8},
    [KN_SHA3_512] = {0x2d0, 9},
};

const p11_digest *p11_digest_of(const kn_digest *digest)
{
    return &digests[digest->id];
}

/* Sign, encrypt and all the other uses: the bits from CKF_ENCRYPT to CKF_DERIVE. */
#define ANY_USE (CKF_ENCRYPT | CKF_DECRYPT | CKF_SIGN | CKF_VERIFY | CKF_GENERATE_KEY_PAIR | CKF_WRAP | CKF_UNWRAP | CKF_DERIVE)

const p11_mechanism *p11_mechanism_row(CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < P11_MECHANISMS_MAX; i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

/* What the token says; false when it says nothing. */
static bool ask(p11_token *token, CK_MECHANISM_TYPE type, p11_offer *ret_offer)
{
    const p11_mechanism *row = p11_mechanism_row(type);
    if (!row)
        return false;
    (void)pthread_mutex_lock(&token->lock);
    CK_SLOT_ID slot = token->slot;
    *ret_offer = token->offers[row - rows];
    (void)pthread_mutex_unlock(&token->lock);
    if (ret_offer->asked)
        return true;
    CK_MECHANISM_INFO info = {0};
    CK_RV rv = token->module->fn->C_GetMechanismInfo(slot, type, &info);
    if (rv != CKR_OK && rv != CKR_MECHANISM_INVALID)
        return false;
    *ret_offer = (p11_offer){.asked = true, .offered = rv == CKR_OK, .flags = info.flags};
    (void)pthread_mutex_lock(&token->lock);
    token->offers[row - rows] = *ret_offer;
    (void)pthread_mutex_unlock(&token->lock);
    return true;
}

bool p11_mechanism_offered(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need)
{
    p11_offer offer;
    if (!ask(token, type, &offer))
        return true;
    return offer.offered && (!(offer.flags & ANY_USE) || (offer.flags & need));
}

static const char *name_of(CK_MECHANISM_TYPE type)
{
    const p11_mechanism *row = p11_mechanism_row(type);
    return row ? row->name : "?";
}

static const char *use_of(CK_FLAGS need)
{
    switch (need) {
    case CKF_SIGN:
        return "to sign";
    case CKF_DECRYPT:
        return "to decrypt";
    case CKF_DERIVE:
        return "to derive";
    default: /* flags are a set: the one that is left */
        return "to make keys";
    }
}

kn_err p11_mechanism_check(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need)
{
    if (p11_mechanism_offered(token, type, need))
        return kn_success();
    return kn_fail(KN_E_TOKEN_CANNOT, "token '%s' does not offer CKM_%s %s", token->label, name_of(type), use_of(need));
}

bool p11_mechanism_refused(CK_RV rv)
{
    return rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID || rv == CKR_ARGUMENTS_BAD;
}

kn_err p11_mechanism_fail(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need, const char *call, CK_RV rv,
                          const char *parameters)
{
    kn_err err = p11_mechanism_check(token, type, need);
    if (kn_failed(err))
        return err;
    return kn_fail(KN_E_TOKEN_CANNOT, "%s on token '%s': %s (0x%lx): it does not take CKM_%s%s%s with this key", call,
                   token->label, p11_ckr_row(rv)->name, rv, name_of(type), *parameters ? " " : "", parameters);
}
