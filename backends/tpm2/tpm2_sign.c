/* Signing with one command of the TPM: the scheme, and the digest in the form that TPM2_Sign takes. */
#include "tpm2_key.h"

#include "../kn_crypto.h"

#include <string.h>

static const struct {
    kn_digest_id id;
    TPM2_ALG_ID hash;
} hashes[] = {
    {KN_SHA1, TPM2_ALG_SHA1},         {KN_SHA256, TPM2_ALG_SHA256},     {KN_SHA384, TPM2_ALG_SHA384},     {KN_SHA512, TPM2_ALG_SHA512},
    {KN_SHA3_256, TPM2_ALG_SHA3_256}, {KN_SHA3_384, TPM2_ALG_SHA3_384}, {KN_SHA3_512, TPM2_ALG_SHA3_512},
};

typedef struct signing {
    tpm2_key *key;
    const kn_sign_how *how;
    const uint8_t *data;
    size_t length;
    TPMT_SIG_SCHEME scheme;
    TPM2B_DIGEST digest;
    uint8_t *signature;
    size_t *ret_length;
    bool sent; /* an authorization that was not taken before */
} signing;

TPM2_ALG_ID tpm2_hash_of(const kn_digest *digest)
{
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++)
        if (kn_digests[hashes[i].id].id == digest->id)
            return hashes[i].hash;
    return TPM2_ALG_NULL;
}

const kn_digest *tpm2_digest_of(TPM2_ALG_ID hash)
{
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++)
        if (hashes[i].hash == hash)
            return &kn_digests[hashes[i].id];
    return NULL;
}

static size_t bytes_of(TPM2_ALG_ID hash)
{
    const kn_digest *digest = tpm2_digest_of(hash);
    return digest ? digest->bytes : 0;
}

/* FIPS 186-4, 6.4: ECDSA takes a digest as a number, of which the leftmost bits of the order's length count. The same number
 * can be handed over as a digest of the scheme's length, whatever made it: the TPM needs to know one hash for each curve. */
static kn_err prepare_ecdsa(signing *s)
{
    const TPMT_ECC_SCHEME *bound = &s->key->area.parameters.eccDetail.scheme;
    size_t coord = s->key->expected.alg->coord_bytes, length = s->length < coord ? s->length : coord;
    TPM2_ALG_ID hash = coord <= 32 ? TPM2_ALG_SHA256 : coord <= 48 ? TPM2_ALG_SHA384 : TPM2_ALG_SHA512;
    if (bound->scheme != TPM2_ALG_NULL && bound->scheme != TPM2_ALG_ECDSA)
        return kn_fail(KN_E_KEY_USE, "the key is for the scheme 0x%04x, not ECDSA", bound->scheme);
    if (bound->scheme == TPM2_ALG_ECDSA)
        hash = bound->details.ecdsa.hashAlg;
    size_t bytes = bytes_of(hash);
    if (bytes == s->length)
        length = bytes; /* the TPM itself takes the leftmost bits */
    else if (bytes < length || bytes > coord)
        return kn_fail(KN_E_DIGEST, "the key signs digests of %zu bytes only, not of %zu", bytes, s->length);
    s->digest.size = (UINT16)bytes;
    memset(s->digest.buffer, 0, bytes - length);
    memcpy(s->digest.buffer + bytes - length, s->data, length);
    s->scheme.scheme = TPM2_ALG_ECDSA;
    s->scheme.details.ecdsa.hashAlg = hash;
    return kn_success();
}

/* The digest inside a whole DigestInfo. */
static const kn_digest *inside(const uint8_t *info, size_t length)
{
    for (size_t i = 0; i < KN_DIGEST_COUNT; i++)
        if (length == kn_digests[i].info_length + kn_digests[i].bytes && !memcmp(info, kn_digests[i].info, kn_digests[i].info_length))
            return &kn_digests[i];
    return NULL;
}

static kn_err prepare_rsa(signing *s)
{
    const TPMT_RSA_SCHEME *bound = &s->key->area.parameters.rsaDetail.scheme;
    bool pss = s->how->scheme == KN_RSA_PSS;
    const kn_digest *digest = s->how->digest ? s->how->digest : inside(s->data, s->length);
    TPM2_ALG_ID hash = digest ? tpm2_hash_of(digest) : TPM2_ALG_NULL, scheme = pss ? TPM2_ALG_RSAPSS : TPM2_ALG_RSASSA;
    if (hash == TPM2_ALG_NULL)
        return kn_fail(KN_E_TOKEN_CANNOT, "TPM2_Sign has no scheme for %s", digest ? digest->name : "what is not one digest (TLS 1.0, 1.1)");
    if (pss && (s->how->mgf1 != digest || s->how->salt_bytes != digest->bytes))
        return kn_fail(KN_E_TOKEN_CANNOT, "PSS with %s, MGF1 of %s and a salt of %zu bytes: TPMs have MGF1 and salt of the digest only",
                       digest->name, s->how->mgf1->name, s->how->salt_bytes);
    if (bound->scheme != TPM2_ALG_NULL && (bound->scheme != scheme || bound->details.anySig.hashAlg != hash))
        return kn_fail(KN_E_KEY_USE, "the key is for the scheme 0x%04x with the digest 0x%04x only", bound->scheme,
                       bound->details.anySig.hashAlg);
    s->digest.size = (UINT16)digest->bytes;
    memcpy(s->digest.buffer, s->data + s->length - digest->bytes, digest->bytes);
    s->scheme.scheme = scheme;
    s->scheme.details.any.hashAlg = hash;
    return kn_success();
}

static bool put(const BYTE *number, size_t size, uint8_t *ret_field, size_t field)
{
    if (size > field)
        return false;
    memset(ret_field, 0, field - size);
    memcpy(ret_field + field - size, number, size);
    return true;
}

kn_err tpm2_signature_of(const TPMT_SIGNATURE *made, const kn_public *public, TPMI_ALG_SIG_SCHEME scheme,
                         uint8_t ret_signature[KN_SIGNATURE_MAX], size_t *ret_length)
{
    size_t bytes = public->alg->coord_bytes;
    const TPMS_SIGNATURE_ECC *ec = &made->signature.ecdsa;
    const TPM2B_PUBLIC_KEY_RSA *rsa = &made->signature.rsassa.sig; /* PSS: at the same place */
    bool is_ec = scheme == TPM2_ALG_ECDSA, ok = made->sigAlg == scheme && is_ec == (public->alg->type == KN_KEY_EC);
    if (is_ec)
        ok = ok && put(ec->signatureR.buffer, ec->signatureR.size, ret_signature, bytes) &&
             put(ec->signatureS.buffer, ec->signatureS.size, ret_signature + bytes, bytes);
    else
        ok = ok && put(rsa->buffer, rsa->size, ret_signature, bytes);
    *ret_length = is_ec ? 2 * bytes : bytes;
    return ok ? kn_success() : kn_fail(KN_E_TPM_FAILED, "the TPM gave a signature of another form");
}

/* Older TPMs make the salt as long as it fits. */
static kn_err check_salt(const signing *s)
{
    tpm2_key *key = s->key;
    if (s->how->scheme != KN_RSA_PSS || key->salt_seen)
        return kn_success();
    kn_verdict verdict = kn_crypto_judge(&key->expected, s->how, s->data, s->length, s->signature, *s->ret_length);
    key->salt_seen = verdict == KN_VERDICT_GOOD;
    if (verdict == KN_VERDICT_NONE)
        return kn_fail(KN_E_CRYPTO, "the first PSS signature of a key could not be verified");
    return verdict == KN_VERDICT_GOOD
               ? kn_success()
               : kn_fail(KN_E_TOKEN_CANNOT, "PSS with a salt of %zu bytes: this TPM makes another", s->how->salt_bytes);
}

static kn_err sign_once(tpm2_conn *conn, void *arg)
{
    static const TPMT_TK_HASHCHECK no_ticket = {.tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL};
    signing *s = arg;
    TPMT_SIGNATURE *made = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_Sign, s->key->object, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &s->digest, &s->scheme, &no_ticket,
              &made);
    if (!kn_failed(err))
        err = tpm2_signature_of(made, &s->key->expected, s->scheme.scheme, s->signature, s->ret_length);
    conn->api->Esys_Free(made);
    return err;
}

static kn_err sign_it(tpm2_conn *conn, void *arg)
{
    signing *s = arg;
    kn_err err = tpm2_key_find(conn, s->key);
    if (!kn_failed(err))
        err = tpm2_key_may(s->key, TPMA_OBJECT_SIGN_ENCRYPT);
    if (!kn_failed(err))
        err = s->how->scheme == KN_ECDSA ? prepare_ecdsa(s) : prepare_rsa(s);
    if (!kn_failed(err))
        err = tpm2_auth_run(conn, s->key, &s->sent, sign_once, s);
    return kn_failed(err) ? err : check_salt(s);
}

kn_err tpm2_key_sign(void *key, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                     size_t *ret_length, unsigned *ret_binding)
{
    signing s = {.key = key, .how = how, .data = data, .length = length, .signature = ret_signature, .ret_length = ret_length};
    *ret_binding = 0; /* the public key was compared */
    return tpm2_conn_run(s.key->uri.tcti, sign_it, &s);
}
