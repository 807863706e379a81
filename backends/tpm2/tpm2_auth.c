/* Authorizations of keys. A wrong one costs one of the TPM's few tries, for all of its users: it is sent once. */
#include "tpm2_key.h"

#include "kn_pin.h"
#include "kn_refused.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

typedef struct lockout {
    UINT32 counter, max, interval_s;
} lockout;

static kn_err read_lockout(tpm2_conn *conn, lockout *ret_lockout)
{
    TPMI_YES_NO more = TPM2_NO;
    TPMS_CAPABILITY_DATA *data = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES,
              TPM2_PT_LOCKOUT_COUNTER, 3, &more, &data);
    *ret_lockout = (lockout){.counter = 0};
    for (UINT32 i = 0; !kn_failed(err) && i < data->data.tpmProperties.count; i++) {
        const TPMS_TAGGED_PROPERTY *p = &data->data.tpmProperties.tpmProperty[i];
        if (p->property == TPM2_PT_LOCKOUT_COUNTER)
            ret_lockout->counter = p->value;
        else if (p->property == TPM2_PT_MAX_AUTH_FAIL)
            ret_lockout->max = p->value;
        else if (p->property == TPM2_PT_LOCKOUT_INTERVAL)
            ret_lockout->interval_s = p->value;
    }
    conn->api->Esys_Free(data);
    return err;
}

static kn_err in_lockout(const lockout *l)
{
    return kn_fail(KN_E_TPM_LOCKOUT, "%u of %u tries are spent; the TPM gives one back within %u s", l->counter, l->max, l->interval_s);
}

/* Whoever has opened it: the public key says which key it is, and the handle which of two that were made from one template. */
static kn_err mark_of(const tpm2_key *key, const kn_secret *auth, kn_refused_mark *ret_mark)
{
    uint8_t owner[KN_SPKI_MAX + sizeof key->uri.handle];
    size_t length = 0;
    kn_err err = kn_public_to_spki(&key->expected, owner, &length);
    if (kn_failed(err))
        return err;
    memcpy(owner + length, &key->uri.handle, sizeof key->uri.handle);
    return kn_refused_mark_of(owner, length + sizeof key->uri.handle, auth, ret_mark);
}

/* May an authorization be sent that was not taken before? */
static kn_err may_try(tpm2_conn *conn, const tpm2_key *key, const kn_secret *auth)
{
    lockout l;
    kn_refused_mark mark;
    kn_err err = mark_of(key, auth, &mark);
    if (kn_failed(err))
        return err;
    if (kn_refused_known(&mark))
        return auth ? kn_fail(KN_E_PIN_INCORRECT, "%s: this authorization was refused before and is not sent again", key->name)
                    : kn_fail(KN_E_NO_PIN, "%s has an authorization", key->name);
    if (key->area.objectAttributes & TPMA_OBJECT_NODA)
        return kn_success();
    err = read_lockout(conn, &l);
    if (!kn_failed(err) && l.max && l.counter >= l.max)
        return in_lockout(&l);
    if (!kn_failed(err) && l.max && l.counter + 1 >= l.max)
        err = kn_fail(KN_E_PIN_LAST_TRY, "the TPM, %u of %u tries are spent; it gives one back within %u s", l.counter, l.max,
                      l.interval_s);
    return err;
}

static kn_err set_auth(tpm2_conn *conn, const tpm2_key *key, const kn_secret *secret)
{
    TPM2B_AUTH auth = {.size = 0};
    size_t length = secret ? kn_secret_length(secret) : 0;
    if (length > sizeof auth.buffer)
        return kn_fail(KN_E_PIN_SOURCE, "an authorization has at most %zu bytes, not %zu", sizeof auth.buffer, length);
    auth.size = (UINT16)length;
    if (secret)
        memcpy(auth.buffer, kn_secret_data(secret), length);
    kn_err err = tpm2_fail(conn->api->Esys_TR_SetAuth(conn->esys, key->object, &auth), "Esys_TR_SetAuth");
    OPENSSL_cleanse(&auth, sizeof auth);
    return err;
}

/* *@ret_auth, NULL for an empty one, is for end(). */
static kn_err begin(tpm2_conn *conn, tpm2_key *key, kn_secret **ret_auth)
{
    const char *source = tpm2_key_auth_source(key);
    kn_secret *auth = NULL;
    kn_err err = source ? kn_pin_read(source, &auth) : kn_success();
    if (!kn_failed(err) && !key->proved)
        err = may_try(conn, key, auth);
    if (!kn_failed(err))
        err = set_auth(conn, key, auth);
    if (kn_failed(err))
        kn_secret_free(&auth);
    else
        *ret_auth = auth;
    return err;
}

static kn_err refused(tpm2_key *key, const kn_secret *auth)
{
    char detail[KN_DETAIL_MAX];
    kn_refused_mark mark;
    (void)snprintf(detail, sizeof detail, "%s", kn_err_detail());
    key->proved = false;
    kn_err err = mark_of(key, auth, &mark);
    if (kn_failed(err))
        return err;
    kn_refused_remember(&mark);
    return auth ? kn_fail(KN_E_PIN_INCORRECT, "%s: %.800s", key->name, detail) : kn_fail(KN_E_NO_PIN, "%s has an authorization", key->name);
}

/* Takes the authorization away again, and keeps what became of it. */
static kn_err end(tpm2_conn *conn, tpm2_key *key, kn_secret *auth, kn_err result)
{
    TPM2B_AUTH none;
    lockout l;
    memset(&none, 0, sizeof none); /* all of the value that ESYS keeps is overwritten */
    if (result.code != KN_E_NO_TPM)
        (void)conn->api->Esys_TR_SetAuth(conn->esys, key->object, &none);
    if (result.code == KN_E_TPM_AUTH)
        result = refused(key, auth);
    kn_secret_free(&auth);
    if (!kn_failed(result))
        key->proved = true;
    if (result.code == KN_E_TPM_LOCKOUT && !kn_failed(read_lockout(conn, &l)))
        return in_lockout(&l);
    return result;
}

kn_err tpm2_auth_run(tpm2_conn *conn, tpm2_key *key, bool *sent, kn_err (*command)(tpm2_conn *conn, void *arg), void *arg)
{
    kn_secret *auth = NULL;
    bool held = key->blob && key->generation == conn->generation;
    if (*sent)
        return kn_fail(KN_E_NO_TPM, "the connection died while the key's authorization was tried, which is not repeated");
    kn_err err = tpm2_key_take(conn, key);
    if (kn_failed(err))
        return err;
    err = begin(conn, key, &auth);
    if (!kn_failed(err)) {
        *sent = !key->proved;
        err = end(conn, key, auth, command(conn, arg));
        if (err.code == KN_E_TPM_SLOTS) /* not looked at, or taken: a wrong one is told first */
            *sent = false;
    }
    tpm2_key_give(conn, key);
    if (held && err.code == KN_E_TPM_HANDLE)
        return kn_fail_within((kn_err){KN_E_NO_TPM}, "what was loaded is gone: the TPM was reset behind its resource manager");
    return err;
}
