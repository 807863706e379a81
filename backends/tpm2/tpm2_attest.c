#include "tpm2_attest.h"

#include "tpm2_blob.h"
#include "tpm2_primary.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define HMAC_AT_ONCE 1024u /* bytes: every TPM's input buffer (TPM_PT_INPUT_BUFFER) has at least that */

typedef struct device {
    tpm2_attest_config config;
} device;

/* That the connection is open proves that a TPM, or its manager, is there; no command is sent. */
static kn_err nothing(tpm2_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    return kn_success();
}

static kn_err attest_open(void *state, const char *uri, void **ret_device)
{
    (void)state;
    device *d = calloc(1, sizeof *d);
    kn_err err = d ? tpm2_attest_config_parse(uri, &d->config) : kn_fail(KN_E_NO_MEMORY, "a TPM");
    if (!kn_failed(err))
        err = tpm2_conn_run(d->config.tcti, nothing, NULL);
    if (kn_failed(err) && d)
        tpm2_attest_config_clear(&d->config);
    if (kn_failed(err))
        free(d);
    else
        *ret_device = d;
    return err;
}

static void attest_free(void *arg)
{
    device *d = arg;
    tpm2_attest_config_clear(&d->config);
    free(d);
}

static void close_object(tpm2_conn *conn, ESYS_TR *object)
{
    if (*object != ESYS_TR_NONE)
        (void)conn->api->Esys_TR_Close(conn->esys, object);
    *object = ESYS_TR_NONE;
}

static void flush_object(tpm2_conn *conn, ESYS_TR *object)
{
    if (*object != ESYS_TR_NONE)
        (void)conn->api->Esys_FlushContext(conn->esys, *object);
    *object = ESYS_TR_NONE;
}

/* ---- public keys ---- */

typedef kn_err find_key(tpm2_conn *conn, const tpm2_attest_config *config, const tpm2_handles *handles, ESYS_TR *ret_object,
                        TPM2B_PUBLIC *ret_public);

typedef struct key_job {
    const device *d;
    find_key *find;
    uint8_t *bytes;
    size_t length;
} key_job;

static kn_err read_key(tpm2_conn *conn, void *arg)
{
    key_job *job = arg;
    tpm2_handles handles;
    TPM2B_PUBLIC public;
    ESYS_TR object = ESYS_TR_NONE;
    kn_err err = tpm2_handles_read(conn, &handles);
    if (!kn_failed(err))
        err = job->find(conn, &job->d->config, &handles, &object, &public);
    close_object(conn, &object);
    if (kn_failed(err))
        return err;
    job->length = 0;
    return tpm2_fail(conn->api->Tss2_MU_TPM2B_PUBLIC_Marshal(&public, job->bytes, KN_ATTEST_KEY_MAX, &job->length),
                     "Tss2_MU_TPM2B_PUBLIC_Marshal");
}

static kn_err key_bytes(const device *d, find_key *find, uint8_t **ret_key, size_t *ret_length)
{
    key_job job = {.d = d, .find = find, .bytes = malloc(KN_ATTEST_KEY_MAX)};
    kn_err err = job.bytes ? tpm2_conn_run(d->config.tcti, read_key, &job) : kn_fail(KN_E_NO_MEMORY, "a public key");
    if (kn_failed(err)) {
        free(job.bytes);
        return err;
    }
    *ret_key = job.bytes;
    *ret_length = job.length;
    return err;
}

static kn_err attest_endorsement_key(void *arg, uint8_t **ret_key, size_t *ret_length)
{
    return key_bytes(arg, tpm2_endorsement_key, ret_key, ret_length);
}

static kn_err attest_storage_root_key(void *arg, uint8_t **ret_key, size_t *ret_length)
{
    return key_bytes(arg, tpm2_storage_root_key, ret_key, ret_length);
}

/* ---- activation ---- */

typedef struct activation {
    const device *d;
    const tpm2_blob *blob;
    tpm2_handles handles;
    ESYS_TR ek, srk, session, key; /* the last two take a slot each until they are flushed */
    TPM2B_PUBLIC public;
    TPM2B_DATA inner_key;
} activation;

/* What the TPM cannot open was made for another TPM, or changed on its way. */
static kn_err not_for_us(kn_err err)
{
    return err.code == KN_E_TPM_FAILED ? kn_fail_within((kn_err){KN_E_TPM_BLOB}, "the TPM does not open it") : err;
}

static kn_err satisfy_ek_policy(tpm2_conn *conn, activation *a)
{
    static const TPMT_SYM_DEF none = {.algorithm = TPM2_ALG_NULL};
    kn_err err;
    TPM2_CALL(err, conn, Esys_StartAuthSession, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
              TPM2_SE_POLICY, &none, TPM2_ALG_SHA256, &a->session);
    if (!kn_failed(err))
        err = tpm2_hierarchy_open(conn, ESYS_TR_RH_ENDORSEMENT, a->d->config.endorsement_auth);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_PolicySecret, ESYS_TR_RH_ENDORSEMENT, a->session, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
                  NULL, NULL, 0, NULL, NULL);
    tpm2_hierarchy_close(conn, ESYS_TR_RH_ENDORSEMENT);
    return err;
}

static kn_err open_credential(tpm2_conn *conn, activation *a)
{
    TPM2B_ID_OBJECT credential = {.size = (UINT16)a->blob->credential.length};
    TPM2B_ENCRYPTED_SECRET secret = {.size = (UINT16)a->blob->secret.length};
    TPM2B_DIGEST *inner = NULL;
    kn_err err = satisfy_ek_policy(conn, a);
    if (kn_failed(err))
        return err;
    memcpy(credential.credential, a->blob->credential.at, credential.size);
    memcpy(secret.secret, a->blob->secret.at, secret.size);
    TPM2_CALL(err, conn, Esys_ActivateCredential, a->srk, a->ek, ESYS_TR_PASSWORD, a->session, ESYS_TR_NONE, &credential, &secret,
              &inner);
    if (!kn_failed(err) && inner->size != a->blob->inner_key_length)
        err = kn_fail(KN_E_TPM_BLOB, "the credential holds %u bytes, not %zu", inner->size, a->blob->inner_key_length);
    if (!kn_failed(err)) {
        a->inner_key.size = inner->size;
        memcpy(a->inner_key.buffer, inner->buffer, inner->size);
    }
    if (inner)
        OPENSSL_cleanse(inner, sizeof *inner);
    conn->api->Esys_Free(inner);
    return not_for_us(err);
}

static void fill_public(const tpm2_blob *blob, TPM2B_PUBLIC *ret_public)
{
    TPMT_PUBLIC *area = &ret_public->publicArea;
    *ret_public = (TPM2B_PUBLIC){.size = 0};
    area->type = TPM2_ALG_KEYEDHASH;
    area->nameAlg = TPM2_ALG_SHA256;
    area->objectAttributes = TPM2_BLOB_ATTRIBUTES;
    area->parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_HMAC;
    area->parameters.keyedHashDetail.scheme.details.hmac.hashAlg = TPM2_ALG_SHA256;
    area->authPolicy.size = (UINT16)blob->policy.length;
    if (blob->policy.length)
        memcpy(area->authPolicy.buffer, blob->policy.at, blob->policy.length);
    area->unique.keyedHash.size = (UINT16)blob->unique.length;
    memcpy(area->unique.keyedHash.buffer, blob->unique.at, blob->unique.length);
}

/* TPM2_Import, TPM2_Load: the key is in a slot, and nothing is kept yet. */
static kn_err load_key(tpm2_conn *conn, activation *a)
{
    TPM2B_PRIVATE duplicate = {.size = (UINT16)a->blob->duplicate.length}, *ours = NULL;
    TPM2B_ENCRYPTED_SECRET seed = {.size = (UINT16)a->blob->seed.length};
    TPMT_SYM_DEF_OBJECT aes = {.algorithm = TPM2_ALG_AES, .mode = {.aes = TPM2_ALG_CFB}};
    kn_err err;
    aes.keyBits.aes = (TPMI_AES_KEY_BITS)(a->inner_key.size * 8);
    memcpy(duplicate.buffer, a->blob->duplicate.at, duplicate.size);
    memcpy(seed.secret, a->blob->seed.at, seed.size);
    fill_public(a->blob, &a->public);
    TPM2_CALL(err, conn, Esys_Import, a->srk, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &a->inner_key, &a->public, &duplicate,
              &seed, &aes, &ours);
    if (!kn_failed(err))
        TPM2_CALL(err, conn, Esys_Load, a->srk, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, ours, &a->public, &a->key);
    conn->api->Esys_Free(ours);
    return not_for_us(err);
}

/* Removes what is at @handle, or keeps @object there. */
static kn_err evict(tpm2_conn *conn, ESYS_TR object, uint32_t handle)
{
    ESYS_TR kept = ESYS_TR_NONE;
    kn_err err;
    TPM2_CALL(err, conn, Esys_EvictControl, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, handle, &kept);
    close_object(conn, &kept);
    return err;
}

static kn_err remove_at(tpm2_conn *conn, uint32_t handle)
{
    ESYS_TR old = ESYS_TR_NONE;
    kn_err err;
    TPM2_CALL(err, conn, Esys_TR_FromTPMPublic, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &old);
    if (!kn_failed(err))
        err = evict(conn, old, handle);
    close_object(conn, &old); /* ESYS remembers the name of what was at a handle, and refuses another one there */
    return err;
}

static kn_err keep_beside_old(tpm2_conn *conn, activation *a)
{
    kn_err err = kn_success();
    if (tpm2_handles_have(&a->handles, TPM2_IDENTITY_STAGE))
        err = remove_at(conn, TPM2_IDENTITY_STAGE);
    if (!kn_failed(err))
        err = evict(conn, a->key, TPM2_IDENTITY_STAGE);
    if (!kn_failed(err))
        err = remove_at(conn, TPM2_IDENTITY_HANDLE);
    /* from here on the new key is at TPM2_IDENTITY_STAGE, where sign() finds it, too */
    if (!kn_failed(err))
        err = evict(conn, a->key, TPM2_IDENTITY_HANDLE);
    return kn_failed(err) ? err : remove_at(conn, TPM2_IDENTITY_STAGE);
}

static kn_err keep_key(tpm2_conn *conn, activation *a)
{
    kn_err err = tpm2_hierarchy_open(conn, ESYS_TR_RH_OWNER, a->d->config.owner_auth);
    if (!kn_failed(err) && tpm2_handles_have(&a->handles, TPM2_IDENTITY_HANDLE))
        err = keep_beside_old(conn, a);
    else if (!kn_failed(err)) {
        err = evict(conn, a->key, TPM2_IDENTITY_HANDLE);
        if (!kn_failed(err) && tpm2_handles_have(&a->handles, TPM2_IDENTITY_STAGE))
            err = remove_at(conn, TPM2_IDENTITY_STAGE);
    }
    tpm2_hierarchy_close(conn, ESYS_TR_RH_OWNER);
    return kn_failed(err) ? kn_fail_within(err, "keeping the identity key at 0x%08x", TPM2_IDENTITY_HANDLE) : err;
}

static kn_err activate(tpm2_conn *conn, void *arg)
{
    activation *a = arg;
    TPM2B_PUBLIC public;
    a->ek = a->srk = a->session = a->key = ESYS_TR_NONE;
    kn_err err = tpm2_handles_read(conn, &a->handles);
    if (!kn_failed(err))
        err = tpm2_endorsement_key(conn, &a->d->config, &a->handles, &a->ek, &public);
    if (!kn_failed(err))
        err = tpm2_storage_root_key(conn, &a->d->config, &a->handles, &a->srk, &public);
    if (!kn_failed(err))
        err = open_credential(conn, a);
    flush_object(conn, &a->session); /* before the import, which needs the TPM's memory */
    if (!kn_failed(err))
        err = load_key(conn, a);
    OPENSSL_cleanse(&a->inner_key, sizeof a->inner_key);
    if (!kn_failed(err))
        err = keep_key(conn, a);
    flush_object(conn, &a->key);
    close_object(conn, &a->srk);
    close_object(conn, &a->ek);
    return err;
}

static kn_err attest_activate(void *arg, const uint8_t *bytes, size_t length)
{
    tpm2_blob blob;
    kn_err err = tpm2_blob_parse(bytes, length, &blob);
    if (kn_failed(err))
        return err;
    activation a = {.d = arg, .blob = &blob};
    return tpm2_conn_run(a.d->config.tcti, activate, &a);
}

/* ---- signing ---- */

typedef struct sign_job {
    const device *d;
    const uint8_t *data;
    size_t length;
    uint8_t *signature;
} sign_job;

static kn_err take_mac(tpm2_conn *conn, TPM2B_DIGEST *mac, const sign_job *job)
{
    kn_err err = mac->size == KN_ATTEST_BYTES ? kn_success() : kn_fail(KN_E_TPM_FAILED, "an HMAC of %u bytes", mac->size);
    if (!kn_failed(err))
        memcpy(job->signature, mac->buffer, KN_ATTEST_BYTES);
    conn->api->Esys_Free(mac);
    return err;
}

static kn_err sign_at_once(tpm2_conn *conn, ESYS_TR key, const sign_job *job)
{
    TPM2B_MAX_BUFFER data = {.size = (UINT16)job->length};
    TPM2B_DIGEST *mac = NULL;
    kn_err err;
    memcpy(data.buffer, job->data, job->length);
    TPM2_CALL(err, conn, Esys_HMAC, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data, TPM2_ALG_SHA256, &mac);
    return kn_failed(err) ? err : take_mac(conn, mac, job);
}

static kn_err sign_in_parts(tpm2_conn *conn, ESYS_TR key, const sign_job *job)
{
    static const TPM2B_AUTH none;
    TPM2B_MAX_BUFFER part = {.size = HMAC_AT_ONCE};
    TPM2B_DIGEST *mac = NULL;
    ESYS_TR sequence = ESYS_TR_NONE;
    size_t done = 0;
    kn_err err;
    TPM2_CALL(err, conn, Esys_HMAC_Start, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &none, TPM2_ALG_SHA256, &sequence);
    for (; !kn_failed(err) && job->length - done > HMAC_AT_ONCE; done += HMAC_AT_ONCE) {
        memcpy(part.buffer, job->data + done, HMAC_AT_ONCE);
        TPM2_CALL(err, conn, Esys_SequenceUpdate, sequence, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &part);
    }
    if (!kn_failed(err)) {
        part.size = (UINT16)(job->length - done);
        memcpy(part.buffer, job->data + done, part.size);
        TPM2_CALL(err, conn, Esys_SequenceComplete, sequence, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &part, ESYS_TR_RH_NULL,
                  &mac, NULL);
    }
    if (!kn_failed(err))
        return take_mac(conn, mac, job); /* the TPM has let the sequence go */
    flush_object(conn, &sequence);
    return err;
}

static kn_err open_identity(tpm2_conn *conn, ESYS_TR *ret_key)
{
    tpm2_handles handles;
    kn_err err = tpm2_handles_read(conn, &handles);
    if (kn_failed(err))
        return err;
    uint32_t handle = tpm2_handles_have(&handles, TPM2_IDENTITY_HANDLE) ? TPM2_IDENTITY_HANDLE : TPM2_IDENTITY_STAGE;
    if (!tpm2_handles_have(&handles, handle))
        return kn_fail(KN_E_NO_IDENTITY, "nothing is at 0x%08x", TPM2_IDENTITY_HANDLE);
    TPM2_CALL(err, conn, Esys_TR_FromTPMPublic, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ret_key);
    return err;
}

static kn_err sign(tpm2_conn *conn, void *arg)
{
    const sign_job *job = arg;
    ESYS_TR key = ESYS_TR_NONE;
    kn_err err = open_identity(conn, &key);
    if (!kn_failed(err))
        err = job->length <= HMAC_AT_ONCE ? sign_at_once(conn, key, job) : sign_in_parts(conn, key, job);
    close_object(conn, &key);
    return err;
}

static kn_err attest_sign(void *arg, const uint8_t *data, size_t length, uint8_t ret_signature[KN_ATTEST_BYTES])
{
    sign_job job = {.d = arg, .data = data, .length = length, .signature = ret_signature};
    return tpm2_conn_run(job.d->config.tcti, sign, &job);
}

const kn_attest_functions tpm2_attest_functions = {
    .open = attest_open,
    .endorsement_key = attest_endorsement_key,
    .storage_root_key = attest_storage_root_key,
    .activate = attest_activate,
    .sign = attest_sign,
    .free = attest_free,
};
