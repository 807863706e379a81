/* Making a key: under the owner hierarchy's primary storage key, which is made anew and flushed, and kept at a handle. */
#include "tpm2_key.h"

#include "kn_pin.h"
#include "tpm2_primary.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define FIXED                                                                                                          \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |     \
     TPMA_OBJECT_NODA)

typedef struct making {
    tpm2_key *key;
    const kn_key_spec *spec;
    TPM2B_SENSITIVE_CREATE sensitive;
    ESYS_TR parent, object; /* a slot each until they are flushed */
} making;

static void fill_ecc(TPMT_PUBLIC *area, TPM2_ECC_CURVE curve)
{
    TPMS_ECC_PARMS *ecc = &area->parameters.eccDetail;
    area->type = TPM2_ALG_ECC;
    ecc->symmetric.algorithm = TPM2_ALG_NULL;
    ecc->scheme.scheme = TPM2_ALG_NULL;
    ecc->kdf.scheme = TPM2_ALG_NULL;
    ecc->curveID = curve;
}

static kn_err make_parent(tpm2_conn *conn, making *m)
{
    static const TPM2B_SENSITIVE_CREATE nothing;
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    TPM2B_PUBLIC template = {
        .publicArea = {.nameAlg = TPM2_ALG_SHA256, .objectAttributes = FIXED | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT}};
    fill_ecc(&template.publicArea, TPM2_ECC_NIST_P256);
    TPMT_SYM_DEF_OBJECT *symmetric = &template.publicArea.parameters.eccDetail.symmetric;
    symmetric->algorithm = TPM2_ALG_AES;
    symmetric->keyBits.aes = 128;
    symmetric->mode.aes = TPM2_ALG_CFB;
    kn_err err = tpm2_hierarchy_open(conn, ESYS_TR_RH_OWNER, m->key->uri.owner_auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_CreatePrimary, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &nothing, &template,
                  &outside, &pcrs, &m->parent, NULL, NULL, NULL, NULL);
    tpm2_hierarchy_close(conn, ESYS_TR_RH_OWNER);
    return kn_failed(err) ? kn_fail_within(err, "making the parent of the new key") : err;
}

static TPM2B_PUBLIC template_of(const kn_key_spec *spec)
{
    const kn_alg *alg = spec->alg;
    TPM2B_PUBLIC public = {
        .publicArea = {.nameAlg = TPM2_ALG_SHA256, .objectAttributes = FIXED}};
    TPMT_PUBLIC *area = &public.publicArea;
    if (spec->uses & KN_USE_SIGN)
        area->objectAttributes |= TPMA_OBJECT_SIGN_ENCRYPT;
    if (spec->uses & (KN_USE_DECRYPT | KN_USE_DERIVE))
        area->objectAttributes |= TPMA_OBJECT_DECRYPT;
    if (alg->type == KN_KEY_EC) {
        fill_ecc(area, alg->key_bits == 256 ? TPM2_ECC_NIST_P256 : alg->key_bits == 384 ? TPM2_ECC_NIST_P384 : TPM2_ECC_NIST_P521);
        return public;
    }
    area->type = TPM2_ALG_RSA;
    area->parameters.rsaDetail.symmetric.algorithm = TPM2_ALG_NULL;
    area->parameters.rsaDetail.scheme.scheme = TPM2_ALG_NULL;
    area->parameters.rsaDetail.keyBits = (TPMI_RSA_KEY_BITS)alg->key_bits;
    return public;
}

static kn_err create(tpm2_conn *conn, making *m)
{
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    const TPM2B_PUBLIC template = template_of(m->spec);
    TPM2B_PRIVATE *private = NULL;
    TPM2B_PUBLIC *public = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_Create, m->parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &m->sensitive, &template, &outside,
              &pcrs, &private, &public, NULL, NULL, NULL);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_Load, m->parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, private, public, &m->object);
    conn->api->Esys_Free(private);
    conn->api->Esys_Free(public);
    return kn_failed(err) ? kn_fail_within(err, "making a %s key", m->spec->alg->name) : err;
}

/* EvictControl with a loaded object keeps it; with a persistent one it removes that. */
static kn_err evict(tpm2_conn *conn, const tpm2_key *key, ESYS_TR object, ESYS_TR *ret_persistent)
{
    kn_err err = tpm2_hierarchy_open(conn, ESYS_TR_RH_OWNER, key->uri.owner_auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_EvictControl, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                  key->uri.handle, ret_persistent);
    tpm2_hierarchy_close(conn, ESYS_TR_RH_OWNER);
    return err;
}

static void flush(tpm2_conn *conn, ESYS_TR *object)
{
    for (int i = 0; *object != ESYS_TR_NONE && i < 2; i++) /* a slot that stays taken is missed by everybody */
        if (conn->api->Esys_FlushContext(conn->esys, *object) == TSS2_RC_SUCCESS)
            break;
    *object = ESYS_TR_NONE;
}

/* Also a key that could not be read when it was proved. */
static kn_err take_away(tpm2_conn *conn, tpm2_key *key)
{
    ESYS_TR object = ESYS_TR_NONE, gone = ESYS_TR_NONE;
    if (key->generation == conn->generation)
        tpm2_object_close(conn, key->uri.handle);
    key->generation = 0;
    kn_err err = tpm2_object_open(conn, key->uri.handle, &object);
    if (kn_failed(err))
        return err;
    err = evict(conn, key, object, &gone);
    tpm2_object_close(conn, key->uri.handle);
    return err;
}

/* Reads the new key back; one that is not as it must be, or cannot be read, is removed again. */
static kn_err prove(tpm2_conn *conn, making *m)
{
    kn_custody custody;
    char doubts[KN_CUSTODY_DOUBTS_MAX], detail[KN_DETAIL_MAX];
    kn_err err = tpm2_key_find(conn, m->key);
    if (!kn_failed(err)) {
        tpm2_key_custody(m->key, &custody);
        kn_custody_doubts(&custody, doubts, sizeof doubts);
        if (m->key->expected.alg != m->spec->alg || *doubts)
            err = kn_fail(KN_E_CUSTODY, "a new %s key: %s", m->key->expected.alg->name, doubts);
    }
    if (!kn_failed(err))
        return err;
    (void)snprintf(detail, sizeof detail, "%s", kn_err_detail());
    bool stays = kn_failed(take_away(conn, m->key));
    return kn_fail(err.code, "%.900s%s", detail, stays ? "; the new key stays at its handle" : "");
}

static kn_err make_it(tpm2_conn *conn, void *arg)
{
    making *m = arg;
    tpm2_handles handles;
    ESYS_TR kept = ESYS_TR_NONE;
    m->parent = m->object = ESYS_TR_NONE;
    kn_err err = tpm2_handles_read(conn, &handles);
    if (!kn_failed(err) && tpm2_handles_have(&handles, m->key->uri.handle))
        err = kn_fail(KN_E_EXISTS, "an object is at handle 0x%08x", m->key->uri.handle);
    if (!kn_failed(err))
        err = make_parent(conn, m);
    if (!kn_failed(err))
        err = create(conn, m);
    flush(conn, &m->parent);
    if (!kn_failed(err))
        err = evict(conn, m->key, m->object, &kept);
    flush(conn, &m->object);
    if (kept != ESYS_TR_NONE) /* ESYS counts references to this object otherwise than to one that was found */
        (void)conn->api->Esys_TR_Close(conn->esys, &kept);
    return kn_failed(err) ? err : prove(conn, m);
}

/* The authorization of the new key: what a program will send for it. */
static kn_err choose_auth(const tpm2_key *key, TPM2B_AUTH *ret_auth)
{
    const char *source = key->uri.pin_source ? key->uri.pin_source : key->state->pin_source;
    kn_secret *secret = NULL;
    kn_err err = source ? kn_pin_read(source, &secret) : kn_success();
    if (kn_failed(err) || !secret)
        return err;
    size_t length = kn_secret_length(secret);
    if (length > 32) /* as long as the digest of the key's name: part 2, 12.3.2 */
        err = kn_fail(KN_E_PIN_SOURCE, "the authorization of a key has at most 32 bytes, not %zu", length);
    else
        memcpy(ret_auth->buffer, kn_secret_data(secret), ret_auth->size = (UINT16)length);
    kn_secret_free(&secret);
    return err;
}

kn_err tpm2_key_generate(void *state, const char *uri, const kn_key_spec *spec, void **ret_key, kn_public *ret_public)
{
    void *key = NULL;
    making m = {.spec = spec};
    if (spec->alg->type != KN_KEY_EC && spec->alg->type != KN_KEY_RSA)
        return kn_fail(KN_E_KEY_USE, "keys of a TPM are EC and RSA keys, not %s", spec->alg->name);
    kn_err err = tpm2_key_new(state, uri, &m.key);
    if (kn_failed(err))
        return err;
    key = m.key;
    err = choose_auth(m.key, &m.sensitive.sensitive.userAuth);
    if (!kn_failed(err))
        err = tpm2_conn_run(m.key->uri.tcti, make_it, &m);
    OPENSSL_cleanse(&m.sensitive, sizeof m.sensitive);
    if (kn_failed(err)) {
        tpm2_key_free(key);
        return err;
    }
    *ret_public = m.key->expected;
    *ret_key = key;
    return err;
}
