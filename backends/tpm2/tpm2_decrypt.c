/* Decryption and key agreement with one command of the TPM, which takes the padding off itself: it never hands out a raw
 * decryption. */
#include "tpm2_key.h"

#include <openssl/crypto.h>
#include <string.h>

/* ---- RSA ---- */

typedef struct decryption {
    tpm2_key *key;
    const kn_decrypt_how *how;
    TPM2B_PUBLIC_KEY_RSA data;
    TPM2B_DATA label;
    TPMT_RSA_DECRYPT scheme;
    uint8_t *plain;
    size_t *ret_length;
    bool *ret_good;
    bool sent;
} decryption;

/* Part 3, 14.3.1: a label ends with a NUL, or is empty. */
static kn_err prepare_oaep(decryption *d)
{
    const kn_decrypt_how *how = d->how;
    TPM2_ALG_ID hash = tpm2_hash_of(how->digest);
    if (hash == TPM2_ALG_NULL || how->mgf1 != how->digest)
        return kn_fail(KN_E_TOKEN_CANNOT, "OAEP with %s and MGF1 of %s: TPMs have SHA-1, SHA-2 from 256 bits on and SHA-3, and MGF1 of the same",
                       how->digest->name, how->mgf1->name);
    if (how->label_length > sizeof d->label.buffer || (how->label_length && how->label[how->label_length - 1] != 0))
        return kn_fail(KN_E_TOKEN_CANNOT, "OAEP with a label of %zu bytes: TPMs take labels that end with a zero, of at most %zu bytes",
                       how->label_length, sizeof d->label.buffer);
    d->label.size = (UINT16)how->label_length;
    if (how->label_length)
        memcpy(d->label.buffer, how->label, how->label_length);
    d->scheme.scheme = TPM2_ALG_OAEP;
    d->scheme.details.oaep.hashAlg = hash;
    return kn_success();
}

static kn_err prepare(decryption *d)
{
    const TPMT_RSA_SCHEME *bound = &d->key->area.parameters.rsaDetail.scheme;
    kn_err err = kn_success();
    if (d->how->padding == KN_PAD_OAEP)
        err = prepare_oaep(d);
    else
        d->scheme.scheme = TPM2_ALG_RSAES;
    if (!kn_failed(err) && bound->scheme != TPM2_ALG_NULL &&
        (bound->scheme != d->scheme.scheme ||
         (bound->scheme == TPM2_ALG_OAEP && bound->details.oaep.hashAlg != d->scheme.details.oaep.hashAlg)))
        err = kn_fail(KN_E_KEY_USE, "the key is for the scheme 0x%04x only", bound->scheme);
    return err;
}

/* Of a padding that is wrong TPMs say VALUE, of what is inside and too long SIZE (part 3, 14.3), and libtpms says FAILURE. That one
 * is also said by a TPM that has failed; to ask which it is would take a command more, and tell who sent the ciphertext. */
static bool says_padding(TSS2_RC rc)
{
    TSS2_RC base = tpm2_base_of(rc);
    return rc != TSS2_RC_SUCCESS && (base == TPM2_RC_VALUE || base == TPM2_RC_SIZE || base == TPM2_RC_FAILURE);
}

static kn_err decrypt_once(tpm2_conn *conn, void *arg)
{
    decryption *d = arg;
    TPM2B_PUBLIC_KEY_RSA *plain = NULL;
    unsigned waited_ms = 0;
    TSS2_RC rc;
    do
        rc = conn->api->Esys_RSA_Decrypt(conn->esys, d->key->object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &d->data, &d->scheme,
                                         &d->label, &plain);
    while (tpm2_busy(rc, &waited_ms));
    kn_err err = says_padding(rc) ? kn_success() : tpm2_fail(rc, "Esys_RSA_Decrypt");
    if (rc == TSS2_RC_SUCCESS) {
        memcpy(d->plain, plain->buffer, plain->size);
        *d->ret_length = plain->size;
        OPENSSL_cleanse(plain, sizeof *plain);
    } else {
        *d->ret_length = 0;
    }
    *d->ret_good = rc == TSS2_RC_SUCCESS;
    conn->api->Esys_Free(plain);
    return err;
}

static kn_err decrypt_it(tpm2_conn *conn, void *arg)
{
    decryption *d = arg;
    kn_err err = tpm2_key_find(conn, d->key);
    if (!kn_failed(err))
        err = tpm2_key_may(d->key, TPMA_OBJECT_DECRYPT);
    if (!kn_failed(err))
        err = prepare(d);
    return kn_failed(err) ? err : tpm2_auth_run(conn, d->key, &d->sent, decrypt_once, d);
}

kn_err tpm2_key_decrypt(void *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                        size_t *ret_length, bool *ret_good)
{
    decryption d = {.key = key, .how = how, .plain = ret_plain, .ret_length = ret_length, .ret_good = ret_good};
    if (length > sizeof d.data.buffer)
        return kn_fail(KN_E_DATA_SIZE, "a ciphertext of %zu bytes", length);
    d.data.size = (UINT16)length;
    memcpy(d.data.buffer, data, length);
    return tpm2_conn_run(d.key->uri.tcti, decrypt_it, &d);
}

/* ---- ECDH ---- */

typedef struct agreement {
    tpm2_key *key;
    TPM2B_ECC_POINT peer;
    uint8_t *secret;
    size_t *ret_length;
    bool sent;
} agreement;

static kn_err derive_once(tpm2_conn *conn, void *arg)
{
    agreement *a = arg;
    size_t bytes = a->key->expected.alg->coord_bytes;
    TPM2B_ECC_POINT *made = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_ECDH_ZGen, a->key->object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &a->peer, &made);
    if (kn_failed(err))
        return err;
    const TPM2B_ECC_PARAMETER *x = &made->point.x;
    if (x->size > bytes) {
        err = kn_fail(KN_E_TPM_FAILED, "Esys_ECDH_ZGen gave %u bytes", x->size);
    } else {
        memset(a->secret, 0, bytes - x->size);
        memcpy(a->secret + bytes - x->size, x->buffer, x->size);
        *a->ret_length = bytes;
    }
    OPENSSL_cleanse(made, sizeof *made);
    conn->api->Esys_Free(made);
    return err;
}

static kn_err derive_it(tpm2_conn *conn, void *arg)
{
    agreement *a = arg;
    kn_err err = tpm2_key_find(conn, a->key);
    if (!kn_failed(err))
        err = tpm2_key_may(a->key, TPMA_OBJECT_DECRYPT);
    if (!kn_failed(err) && a->key->area.parameters.eccDetail.scheme.scheme != TPM2_ALG_NULL &&
        a->key->area.parameters.eccDetail.scheme.scheme != TPM2_ALG_ECDH)
        err = kn_fail(KN_E_KEY_USE, "the key is for the scheme 0x%04x only", a->key->area.parameters.eccDetail.scheme.scheme);
    return kn_failed(err) ? err : tpm2_auth_run(conn, a->key, &a->sent, derive_once, a);
}

kn_err tpm2_key_derive(void *key, const uint8_t *point, size_t length, uint8_t *ret_secret, size_t *ret_length, unsigned *ret_binding)
{
    agreement a = {.key = key, .secret = ret_secret, .ret_length = ret_length};
    size_t bytes = (length - 1) / 2; /* an uncompressed point: the face has checked it */
    a.peer.point.x.size = a.peer.point.y.size = (UINT16)bytes;
    memcpy(a.peer.point.x.buffer, point + 1, bytes);
    memcpy(a.peer.point.y.buffer, point + 1 + bytes, bytes);
    *ret_binding = 0; /* the public key was compared */
    return tpm2_conn_run(a.key->uri.tcti, derive_it, &a);
}
