/* Keys in files: loading them below their parent for one command each. */
#include "tpm2_key.h"

#include "tpm2_primary.h"

#include <stdlib.h>
#include <string.h>

#define PRIMARY                                                                                                        \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |     \
     TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)

/* draft-bottomley-tpm2-keys, 3.1.5: ECC P-256, AES-128-CFB, SHA-256, and nothing in unique. The TPM makes the same key each time. */
static kn_err make_primary(tpm2_conn *conn, const char *owner_auth, ESYS_TR *ret_parent)
{
    static const TPM2B_SENSITIVE_CREATE nothing;
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_PUBLIC template = {.publicArea = {.type = TPM2_ALG_ECC, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = PRIMARY}};
    TPMS_ECC_PARMS *ecc = &template.publicArea.parameters.eccDetail;
    ecc->symmetric.algorithm = TPM2_ALG_AES;
    ecc->symmetric.keyBits.aes = 128;
    ecc->symmetric.mode.aes = TPM2_ALG_CFB;
    ecc->scheme.scheme = TPM2_ALG_NULL;
    ecc->kdf.scheme = TPM2_ALG_NULL;
    ecc->curveID = TPM2_ECC_NIST_P256;
    kn_err err = tpm2_hierarchy_open(conn, ESYS_TR_RH_OWNER, owner_auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_CreatePrimary, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &nothing, &template,
                  &outside, &pcrs, ret_parent, NULL, NULL, NULL, NULL);
    tpm2_hierarchy_close(conn, ESYS_TR_RH_OWNER);
    return kn_failed(err) ? kn_fail_within(err, "making the owner hierarchy's storage key") : err;
}

kn_err tpm2_parent_open(tpm2_conn *conn, uint32_t parent, const char *owner_auth, ESYS_TR *ret_parent)
{
    if (parent == TPM2_TSS_KEY_OWNER)
        return make_primary(conn, owner_auth, ret_parent);
    kn_err err = tpm2_object_open(conn, parent, ret_parent, NULL);
    return err.code == KN_E_TPM_HANDLE ? kn_fail(KN_E_TPM_FILE, "its parent, 0x%08x, is not in the TPM", (unsigned)parent) : err;
}

void tpm2_parent_close(tpm2_conn *conn, uint32_t parent, ESYS_TR *object)
{
    if (*object == ESYS_TR_NONE)
        return;
    if (parent == TPM2_TSS_KEY_OWNER)
        tpm2_flush(conn, object);
    else
        tpm2_object_close(conn, parent);
    *object = ESYS_TR_NONE;
}

/* The TPM refuses what it has not wrapped itself below this parent, and what was changed since. */
static kn_err load(tpm2_conn *conn, tpm2_key *key)
{
    const tpm2_tss_key *blob = key->blob;
    ESYS_TR parent = ESYS_TR_NONE;
    kn_err err = tpm2_parent_open(conn, blob->parent, key->uri.owner_auth, &parent);
    if (kn_failed(err))
        return err;
    TPM2_CALL(err, conn, Esys_Load, parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &blob->private, &blob->public, &key->object);
    tpm2_parent_close(conn, blob->parent, &parent);
    if (err.code == KN_E_TPM_BLOB)
        return kn_fail_within((kn_err){KN_E_TPM_FILE}, "made by another TPM or below another parent, or damaged");
    if (err.code == KN_E_TPM_AUTH)
        return kn_fail_within((kn_err){KN_E_TPM_FILE}, "its parent, 0x%08x, has an authorization, which is not supported",
                              (unsigned)blob->parent);
    if (err.code == KN_E_TPM_FAILED || err.code == KN_E_TPM_HANDLE)
        return kn_fail_within((kn_err){KN_E_TPM_FILE}, "the TPM does not load it below 0x%08x", (unsigned)blob->parent);
    return err;
}

/* Failing is no harm: the key is loaded from its file the next time. */
static void save(tpm2_conn *conn, tpm2_key *key)
{
    TPMS_CONTEXT *context = NULL;
    if (!key->saved && !(key->saved = malloc(sizeof *key->saved)))
        return;
    key->saved_generation = 0;
    if (conn->api->Esys_ContextSave(conn->esys, key->object, &context) == TSS2_RC_SUCCESS) {
        *key->saved = *context;
        key->saved_generation = conn->generation;
    }
    conn->api->Esys_Free(context);
}

/* Contexts are gone when the TPM is reset, which a resource manager or a proxy may hide from us. */
static kn_err load_saved(tpm2_conn *conn, tpm2_key *key, bool *ret_loaded)
{
    kn_err err = kn_success();
    *ret_loaded = false;
    if (key->saved_generation != conn->generation)
        return err;
    TPM2_CALL(err, conn, Esys_ContextLoad, key->saved, &key->object);
    *ret_loaded = !kn_failed(err);
    if (*ret_loaded || err.code == KN_E_NO_TPM || err.code == KN_E_TPM_SLOTS)
        return err;
    key->saved_generation = 0;
    return kn_success();
}

kn_err tpm2_key_take(tpm2_conn *conn, tpm2_key *key)
{
    bool loaded;
    if (!key->blob || key->generation == conn->generation)
        return kn_success();
    key->generation = 0;
    kn_err err = load_saved(conn, key, &loaded);
    if (!kn_failed(err) && !loaded) {
        err = load(conn, key);
        if (!kn_failed(err) && !conn->managed)
            save(conn, key);
    }
    if (kn_failed(err))
        return kn_fail_within(err, "%s", key->name);
    key->generation = conn->generation;
    return err;
}

void tpm2_key_give(tpm2_conn *conn, tpm2_key *key)
{
    if (!key->blob || conn->managed)
        return;
    tpm2_flush(conn, &key->object);
    key->generation = 0;
}
