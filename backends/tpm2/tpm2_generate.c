/* Making a key below a storage key, keeping it at a handle or in a file, and removing it from its handle. */
#include "tpm2_key.h"

#include "kn_pin.h"
#include "tpm2_new_file.h"
#include "tpm2_primary.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXED (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH)

typedef struct making {
    tpm2_key *key;
    const kn_key_spec *spec;
    TPM2B_SENSITIVE_CREATE sensitive;
    ESYS_TR parent, object; /* a slot each until they are flushed */
    /* for a file: what the TPM made */
    tpm2_tss_key made;
    uint8_t public[sizeof(TPM2B_PUBLIC)];
    size_t public_length;
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

static TPM2B_PUBLIC template_of(const kn_key_spec *spec, bool protected)
{
    const kn_alg *alg = spec->alg;
    TPM2B_PUBLIC public = {.publicArea = {.nameAlg = TPM2_ALG_SHA256, .objectAttributes = FIXED}};
    TPMT_PUBLIC *area = &public.publicArea;
    if (!protected)
        area->objectAttributes |= TPMA_OBJECT_NODA;
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

static kn_err keep_made(tpm2_conn *conn, making *m, const TPM2B_PRIVATE *private, const TPM2B_PUBLIC *public)
{
    size_t offset = 0;
    kn_err err = tpm2_fail(conn->api->Tss2_MU_TPM2B_PUBLIC_Marshal(public, m->public, sizeof m->public, &offset),
                           "Tss2_MU_TPM2B_PUBLIC_Marshal");
    m->public_length = offset;
    m->made.private = *private;
    return err;
}

/* For a handle the new key is loaded at once, for a file it is kept in @m. */
static kn_err create(tpm2_conn *conn, making *m)
{
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    const TPM2B_PUBLIC template = template_of(m->spec, m->key->uri.protected);
    TPM2B_PRIVATE *private = NULL;
    TPM2B_PUBLIC *public = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_Create, m->parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &m->sensitive, &template, &outside,
              &pcrs, &private, &public, NULL, NULL, NULL);
    if (!kn_failed(err) && !m->key->uri.handle)
        err = keep_made(conn, m, private, public);
    else if (!kn_failed(err))
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

/* Also a key that could not be read when it was proved. */
static kn_err take_away(tpm2_conn *conn, tpm2_key *key)
{
    ESYS_TR object = ESYS_TR_NONE, gone = ESYS_TR_NONE;
    if (key->generation == conn->generation)
        tpm2_object_close(conn, key->uri.handle);
    key->generation = 0;
    kn_err err = tpm2_object_open(conn, key->uri.handle, &object, NULL);
    if (kn_failed(err))
        return err;
    err = evict(conn, key, object, &gone);
    tpm2_object_close(conn, key->uri.handle);
    return err;
}

/* Is the key, which the TPM has loaded, as it must be? */
static kn_err check(const making *m)
{
    kn_custody custody;
    char doubts[KN_CUSTODY_DOUBTS_MAX];
    tpm2_key_custody(m->key, &custody);
    kn_custody_doubts(&custody, doubts, sizeof doubts);
    return m->key->expected.alg != m->spec->alg || *doubts
               ? kn_fail(KN_E_CUSTODY, "a new %s key: %s", m->key->expected.alg->name, doubts)
               : kn_success();
}

/* Reads the new key back; one that is not as it must be, or cannot be read, is removed again. */
static kn_err prove(tpm2_conn *conn, making *m)
{
    char detail[KN_DETAIL_MAX];
    kn_err err = tpm2_key_find(conn, m->key);
    if (!kn_failed(err))
        err = check(m);
    if (!kn_failed(err))
        return err;
    (void)snprintf(detail, sizeof detail, "%s", kn_err_detail());
    bool stays = kn_failed(take_away(conn, m->key));
    return kn_fail(err.code, "%.900s%s", detail, stays ? "; the new key stays at its handle" : "");
}

static kn_err make_at_handle(tpm2_conn *conn, void *arg)
{
    making *m = arg;
    tpm2_handles handles;
    ESYS_TR kept = ESYS_TR_NONE;
    m->parent = m->object = ESYS_TR_NONE;
    kn_err err = tpm2_handles_read(conn, &handles);
    if (!kn_failed(err) && tpm2_handles_have(&handles, m->key->uri.handle))
        err = kn_fail(KN_E_EXISTS, "an object is at handle 0x%08x", m->key->uri.handle);
    if (!kn_failed(err))
        err = tpm2_parent_open(conn, m->made.parent, m->key->uri.owner_auth, &m->parent);
    if (!kn_failed(err))
        err = create(conn, m);
    tpm2_parent_close(conn, m->made.parent, &m->parent);
    if (!kn_failed(err))
        err = evict(conn, m->key, m->object, &kept);
    tpm2_flush(conn, &m->object);
    if (kept != ESYS_TR_NONE) /* ESYS counts references to this object otherwise than to one that was found */
        (void)conn->api->Esys_TR_Close(conn->esys, &kept);
    return kn_failed(err) ? err : prove(conn, m);
}

/* ---- into a file ---- */

static kn_err make_for_file(tpm2_conn *conn, void *arg)
{
    making *m = arg;
    m->parent = ESYS_TR_NONE;
    kn_err err = tpm2_parent_open(conn, m->made.parent, m->key->uri.owner_auth, &m->parent);
    if (!kn_failed(err))
        err = create(conn, m);
    tpm2_parent_close(conn, m->made.parent, &m->parent);
    return err;
}

static kn_err load_it(tpm2_conn *conn, void *arg)
{
    making *m = arg;
    kn_err err = tpm2_key_take(conn, m->key);
    if (kn_failed(err))
        return err;
    tpm2_key_give(conn, m->key);
    return check(m);
}

/* What was written is read back and loaded. */
static kn_err write_and_prove(making *m, tpm2_new_file *file)
{
    uint8_t *der = NULL;
    size_t length = 0;
    tpm2_tss_key again;
    const char *path = m->key->uri.file;
    kn_err err = tpm2_tss_key_to_der(&m->made, m->public, m->public_length, &der, &length);
    if (!kn_failed(err))
        err = tpm2_tss_key_write(file->fd, der, length);
    free(der);
    if (kn_failed(err))
        return kn_fail_within(err, "the key file %s", path);
    err = tpm2_tss_key_read_fd(file->fd, path, &again);
    if (!kn_failed(err))
        err = tpm2_key_set_blob(m->key, &again);
    return kn_failed(err) ? err : tpm2_conn_run(m->key->uri.tcti, load_it, m);
}

/* The file is open from the start, so that no key is made that cannot be kept. */
static kn_err make_file(making *m)
{
    tpm2_new_file file;
    kn_err err = tpm2_new_file_open(m->key->uri.file, &file);
    if (kn_failed(err))
        return err;
    err = tpm2_conn_run(m->key->uri.tcti, make_for_file, m);
    if (!kn_failed(err))
        err = write_and_prove(m, &file);
    if (!kn_failed(err))
        err = tpm2_new_file_keep(&file);
    tpm2_new_file_close(&file);
    return err;
}

/* ---- both ---- */

/* The authorization of the new key: what a program will send for it. */
static kn_err choose_auth(const tpm2_key *key, TPM2B_AUTH *ret_auth)
{
    const char *source = tpm2_key_auth_source(key);
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

/* What of the URI does not go together with making a key. */
static kn_err check_uri(const tpm2_key_uri *uri)
{
    if (uri->key)
        return kn_fail(KN_E_URI_MALFORMED, "key= is a key that exists; a new one is kept at handle= or in file=");
    if (uri->handle && uri->parent)
        return kn_fail(KN_E_URI_MALFORMED, "parent= is for keys in files; one at a handle does not need its parent again");
    return kn_success();
}

kn_err tpm2_key_generate(void *state, const char *uri, const kn_key_spec *spec, void **ret_key, kn_public *ret_public)
{
    void *key = NULL;
    making m = {.spec = spec};
    if (spec->alg->type != KN_KEY_EC && spec->alg->type != KN_KEY_RSA)
        return kn_fail(KN_E_KEY_USE, "keys of a TPM are EC and RSA keys, not %s", spec->alg->name);
    kn_err err = tpm2_key_new(state, uri, false, &m.key);
    if (kn_failed(err))
        return err;
    key = m.key;
    m.made.parent = m.key->uri.parent ? m.key->uri.parent : TPM2_TSS_KEY_OWNER;
    err = check_uri(&m.key->uri);
    if (!kn_failed(err))
        err = choose_auth(m.key, &m.sensitive.sensitive.userAuth);
    m.made.empty_auth = m.sensitive.sensitive.userAuth.size == 0;
    if (!kn_failed(err))
        err = m.key->uri.handle ? tpm2_conn_run(m.key->uri.tcti, make_at_handle, &m) : make_file(&m);
    OPENSSL_cleanse(&m.sensitive, sizeof m.sensitive);
    if (kn_failed(err)) {
        tpm2_key_free(key);
        return err;
    }
    *ret_public = m.key->expected;
    *ret_key = key;
    return err;
}

/* ---- removing ---- */

static kn_err delete_it(tpm2_conn *conn, void *arg)
{
    tpm2_key *key = arg;
    kn_err err = tpm2_key_find(conn, key);
    if (!kn_failed(err) && key->area.objectAttributes & TPMA_OBJECT_RESTRICTED)
        err = kn_fail(KN_E_KEY_USE, "%s is a storage or attestation key, on which others depend; tpm2_evictcontrol removes it", key->name);
    return kn_failed(err) ? err : take_away(conn, key);
}

kn_err tpm2_key_delete(void *arg)
{
    tpm2_key *key = arg;
    if (!key->uri.handle)
        return kn_fail(KN_E_TOKEN_CANNOT, "%s is not kept in the TPM: it is deleted with its file", key->name);
    return tpm2_conn_run(key->uri.tcti, delete_it, key);
}
