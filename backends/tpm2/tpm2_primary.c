#include "tpm2_primary.h"

#include "kn_pin.h"

#include <openssl/crypto.h>
#include <string.h>

#define FIRST_PERSISTENT 0x81000000u /* tpm2-tss has it as a shift of an int into its sign */
#define BASE_ATTRIBUTES (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)

static const BYTE ek_policy[] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
                                 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};

typedef struct primary {
    const char *what;
    uint32_t handle;
    ESYS_TR hierarchy;
    const char *auth; /* of the hierarchy */
    TPMA_OBJECT attributes;
    bool has_policy, unique_empty;
} primary;

/* ---- handles ---- */

kn_err tpm2_handles_read(tpm2_conn *conn, tpm2_handles *ret_handles)
{
    TPMI_YES_NO more = TPM2_NO;
    TPMS_CAPABILITY_DATA *data = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, FIRST_PERSISTENT,
              TPM2_HANDLES_MAX, &more, &data);
    if (kn_failed(err))
        return err;
    *ret_handles = (tpm2_handles){.count = 0};
    for (UINT32 i = 0; i < data->data.handles.count && i < TPM2_HANDLES_MAX; i++)
        ret_handles->handle[ret_handles->count++] = data->data.handles.handle[i];
    conn->api->Esys_Free(data);
    return err;
}

bool tpm2_handles_have(const tpm2_handles *handles, uint32_t handle)
{
    for (size_t i = 0; i < handles->count; i++)
        if (handles->handle[i] == handle)
            return true;
    return false;
}

static kn_err read_public(tpm2_conn *conn, ESYS_TR object, TPM2B_PUBLIC *ret_public)
{
    TPM2B_PUBLIC *public = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_ReadPublic, object, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL, NULL);
    if (!kn_failed(err))
        *ret_public = *public;
    conn->api->Esys_Free(public);
    return err;
}

/* ---- authorizations ---- */

kn_err tpm2_hierarchy_open(tpm2_conn *conn, ESYS_TR hierarchy, const char *source)
{
    TPM2B_AUTH auth = {.size = 0};
    kn_secret *secret = NULL;
    kn_err err = source ? kn_pin_read(source, &secret) : kn_success();
    if (kn_failed(err))
        return err;
    if (secret && kn_secret_length(secret) > sizeof auth.buffer) {
        err = kn_fail(KN_E_DATA_SIZE, "the authorization in '%s' has %zu bytes, at most %zu are", source, kn_secret_length(secret),
                      sizeof auth.buffer);
    } else if (secret) {
        auth.size = (UINT16)kn_secret_length(secret);
        memcpy(auth.buffer, kn_secret_data(secret), auth.size);
    }
    if (!kn_failed(err))
        err = tpm2_fail(conn->api->Esys_TR_SetAuth(conn->esys, hierarchy, &auth), "Esys_TR_SetAuth");
    OPENSSL_cleanse(&auth, sizeof auth);
    kn_secret_free(&secret);
    return err;
}

void tpm2_hierarchy_close(tpm2_conn *conn, ESYS_TR hierarchy)
{
    TPM2B_AUTH none;
    memset(&none, 0, sizeof none); /* all of the value that ESYS keeps is overwritten */
    (void)conn->api->Esys_TR_SetAuth(conn->esys, hierarchy, &none);
}

/* ---- keys ---- */

static void flush(tpm2_conn *conn, ESYS_TR object)
{
    (void)conn->api->Esys_FlushContext(conn->esys, object);
}

static const char *type_name(TPMI_ALG_PUBLIC type)
{
    return type == TPM2_ALG_RSA ? "RSA" : type == TPM2_ALG_ECC ? "ECC" : type == TPM2_ALG_KEYEDHASH ? "KEYEDHASH" : "another";
}

/* What the service, and the import of its keys, need. */
static kn_err check(const primary *want, const TPMT_PUBLIC *found)
{
    const TPMS_RSA_PARMS *rsa = &found->parameters.rsaDetail;
    if (found->type != TPM2_ALG_RSA)
        return kn_fail(KN_E_TPM_HANDLE,
                       "the key at 0x%08x is of type %s, and the %s must be RSA%s", want->handle, type_name(found->type), want->what,
                       want->hierarchy == ESYS_TR_RH_OWNER
                           ? "; tpm2-pkcs11 puts its own primary key there: choose another handle with srk-handle="
                           : "; choose another handle with ek-handle=");
    if (rsa->keyBits != 2048 || found->nameAlg != TPM2_ALG_SHA256 || rsa->symmetric.algorithm != TPM2_ALG_AES ||
        rsa->symmetric.keyBits.aes != 128 || rsa->symmetric.mode.aes != TPM2_ALG_CFB)
        return kn_fail(KN_E_TPM_HANDLE, "the key at 0x%08x is not RSA 2048 with AES-128-CFB and SHA-256, as the %s must be", want->handle,
                       want->what);
    if ((found->objectAttributes & BASE_ATTRIBUTES) != BASE_ATTRIBUTES || found->objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT)
        return kn_fail(KN_E_TPM_HANDLE, "the key at 0x%08x has attributes 0x%08x: it is no restricted decryption key of this TPM, as the "
                                        "%s must be", want->handle, (unsigned)found->objectAttributes, want->what);
    return kn_success();
}

static TPM2B_PUBLIC template_of(const primary *want)
{
    TPM2B_PUBLIC public = {.publicArea = {.type = TPM2_ALG_RSA, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = want->attributes}};
    TPMS_RSA_PARMS *rsa = &public.publicArea.parameters.rsaDetail;
    if (want->has_policy) {
        public.publicArea.authPolicy.size = sizeof ek_policy;
        memcpy(public.publicArea.authPolicy.buffer, ek_policy, sizeof ek_policy);
    }
    rsa->symmetric.algorithm = TPM2_ALG_AES;
    rsa->symmetric.keyBits.aes = 128;
    rsa->symmetric.mode.aes = TPM2_ALG_CFB;
    rsa->scheme.scheme = TPM2_ALG_NULL;
    rsa->keyBits = 2048;
    public.publicArea.unique.rsa.size = want->unique_empty ? 0 : 256; /* of zeros, or none: that gives two different keys */
    return public;
}

static kn_err create(tpm2_conn *conn, const primary *want, ESYS_TR *ret_object)
{
    static const TPM2B_SENSITIVE_CREATE sensitive;
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_PUBLIC template = template_of(want);
    kn_err err = tpm2_hierarchy_open(conn, want->hierarchy, want->auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_CreatePrimary, want->hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template,
                  &outside, &pcrs, ret_object, NULL, NULL, NULL, NULL);
    tpm2_hierarchy_close(conn, want->hierarchy);
    return kn_failed(err) ? kn_fail_within(err, "making the %s", want->what) : err;
}

static kn_err make(tpm2_conn *conn, const primary *want, const char *owner_auth, ESYS_TR *ret_object)
{
    ESYS_TR made = ESYS_TR_NONE;
    kn_err err = create(conn, want, &made);
    if (kn_failed(err))
        return err;
    err = tpm2_hierarchy_open(conn, ESYS_TR_RH_OWNER, owner_auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_EvictControl, ESYS_TR_RH_OWNER, made, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, want->handle,
                  ret_object);
    tpm2_hierarchy_close(conn, ESYS_TR_RH_OWNER);
    flush(conn, made);
    return kn_failed(err) ? kn_fail_within(err, "keeping the %s at 0x%08x", want->what, want->handle) : err;
}

static kn_err find_or_make(tpm2_conn *conn, const primary *want, const char *owner_auth, const tpm2_handles *handles,
                           ESYS_TR *ret_object)
{
    kn_err err;
    if (!tpm2_handles_have(handles, want->handle))
        return make(conn, want, owner_auth, ret_object);
    TPM2_CALL(err, conn, Esys_TR_FromTPMPublic, want->handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ret_object);
    return err;
}

static kn_err find_checked(tpm2_conn *conn, const primary *want, const char *owner_auth, const tpm2_handles *handles,
                           ESYS_TR *ret_object, TPM2B_PUBLIC *ret_public)
{
    ESYS_TR object = ESYS_TR_NONE;
    kn_err err = find_or_make(conn, want, owner_auth, handles, &object);
    if (kn_failed(err))
        return err;
    err = read_public(conn, object, ret_public);
    if (!kn_failed(err))
        err = check(want, &ret_public->publicArea);
    if (kn_failed(err))
        (void)conn->api->Esys_TR_Close(conn->esys, &object);
    else
        *ret_object = object;
    return err;
}

kn_err tpm2_endorsement_key(tpm2_conn *conn, const tpm2_attest_config *config, const tpm2_handles *handles, ESYS_TR *ret_object,
                             TPM2B_PUBLIC *ret_public)
{
    const primary want = {
        .what = "endorsement key",
        .handle = config->ek_handle,
        .hierarchy = ESYS_TR_RH_ENDORSEMENT,
        .auth = config->endorsement_auth,
        .attributes = BASE_ATTRIBUTES | TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_SENSITIVEDATAORIGIN,
        .has_policy = true,
        .unique_empty = config->ek_unique_empty,
    };
    return find_checked(conn, &want, config->owner_auth, handles, ret_object, ret_public);
}

kn_err tpm2_storage_root_key(tpm2_conn *conn, const tpm2_attest_config *config, const tpm2_handles *handles, ESYS_TR *ret_object,
                             TPM2B_PUBLIC *ret_public)
{
    const primary want = {
        .what = "storage root key",
        .handle = config->srk_handle,
        .hierarchy = ESYS_TR_RH_OWNER,
        .auth = config->owner_auth,
        .attributes = BASE_ATTRIBUTES | TPMA_OBJECT_NODA | TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SENSITIVEDATAORIGIN,
    };
    return find_checked(conn, &want, config->owner_auth, handles, ret_object, ret_public);
}
