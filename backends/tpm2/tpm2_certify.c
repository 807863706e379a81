/* TPM2_Certify: the TPM says, signed by an attestation key, that the key with this public area is one of its own. What it gives
 * is verified here as the one who asks would: signature, form, nonce and name. */
#include "tpm2_key.h"

#include "../kn_crypto.h"
#include "../kn_ecdsa.h"

#include <string.h>

#define ATTESTS (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_SENSITIVEDATAORIGIN)

typedef struct certifying {
    tpm2_key *key, *by;
    TPM2B_DATA nonce;
    bool key_sent, by_sent; /* authorizations that were not taken before */
    bool key_refused;       /* the key's authorization, not the attestation key's */
    TPMI_ALG_SIG_SCHEME scheme;
    kn_certification *out;
} certifying;

static kn_err certify_once(tpm2_conn *conn, certifying *c, TPM2B_ATTEST **ret_statement, TPMT_SIGNATURE **ret_signature)
{
    static const TPMT_SIG_SCHEME its_own = {.scheme = TPM2_ALG_NULL};
    unsigned waited_ms = 0;
    TSS2_RC rc;
    do
        rc = conn->api->Esys_Certify(conn->esys, c->key->object, c->by->object, ESYS_TR_PASSWORD, ESYS_TR_PASSWORD, ESYS_TR_NONE, &c->nonce,
                                     &its_own, ret_statement, ret_signature);
    while (tpm2_busy(rc, &waited_ms));
    kn_err err = tpm2_fail(rc, "Esys_Certify");
    c->key_refused = err.code == KN_E_TPM_AUTH && (rc & TPM2_RC_N_MASK) == (TPM2_RC_S | TPM2_RC_1);
    return err;
}

/* ---- what was given ---- */

static kn_err doubt(const certifying *c, const char *what)
{
    return kn_fail(KN_E_CERTIFICATION, "%s, certified by %s: %s", c->key->name, c->by->name, what);
}

static kn_err name_key(tpm2_conn *conn, certifying *c)
{
    kn_certification *out = c->out;
    const TPMT_PUBLIC *area = &c->key->area;
    const kn_digest *digest = tpm2_digest_of(area->nameAlg);
    size_t length = 0;
    if (!digest)
        return kn_fail(KN_E_KEY_TYPE, "%s is named with the hash 0x%04x", c->key->name, area->nameAlg);
    kn_err err = tpm2_fail(conn->api->Tss2_MU_TPMT_PUBLIC_Marshal(area, out->area, sizeof out->area, &length), "Tss2_MU_TPMT_PUBLIC_Marshal");
    if (kn_failed(err))
        return err;
    out->area_length = length;
    out->name[0] = (uint8_t)(area->nameAlg >> 8);
    out->name[1] = (uint8_t)area->nameAlg;
    out->name_length = 2 + digest->bytes;
    return kn_crypto_hash(digest, out->area, length, out->name + 2) ? kn_success() : kn_fail(KN_E_CRYPTO, "the name of a key");
}

static kn_err check_signature(const certifying *c)
{
    const kn_certification *out = c->out;
    uint8_t digest[KN_DIGEST_MAX];
    if (!kn_crypto_hash(out->how.digest, out->statement, out->statement_length, digest))
        return kn_fail(KN_E_CRYPTO, "the digest of a statement");
    return kn_crypto_verify(&c->by->expected, &out->how, digest, out->how.digest->bytes, out->signature, out->signature_length)
               ? kn_success()
               : doubt(c, "the signature is not good");
}

static bool equals(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
    return a_length == b_length && memcmp(a, b, b_length) == 0;
}

static kn_err check_statement(tpm2_conn *conn, const certifying *c)
{
    const kn_certification *out = c->out;
    TPMS_ATTEST said = {.magic = 0};
    size_t used = 0;
    TSS2_RC rc = conn->api->Tss2_MU_TPMS_ATTEST_Unmarshal(out->statement, out->statement_length, &used, &said);
    const TPM2B_NAME *name = &said.attested.certify.name;
    if (rc != TSS2_RC_SUCCESS || used != out->statement_length || said.magic != TPM2_GENERATED_VALUE || said.type != TPM2_ST_ATTEST_CERTIFY)
        return doubt(c, "the statement is none of TPM2_Certify");
    if (!equals(said.extraData.buffer, said.extraData.size, c->nonce.buffer, c->nonce.size))
        return doubt(c, "the statement has another nonce");
    return equals(name->name, name->size, out->name, out->name_length) ? kn_success() : doubt(c, "the statement is about another key");
}

static kn_err take_signature(certifying *c, const TPMT_SIGNATURE *made)
{
    uint8_t raw[KN_SIGNATURE_MAX];
    size_t length = 0;
    kn_certification *out = c->out;
    kn_err err = tpm2_signature_of(made, &c->by->expected, c->scheme, raw, &length);
    if (kn_failed(err))
        return err;
    if (made->signature.any.hashAlg != tpm2_hash_of(out->how.digest))
        return doubt(c, "the signature is over another digest");
    if (c->scheme == TPM2_ALG_ECDSA)
        return kn_ecdsa_to_der(raw, length, out->signature, &out->signature_length);
    memcpy(out->signature, raw, length);
    out->signature_length = length;
    return err;
}

static kn_err take(tpm2_conn *conn, certifying *c, const TPM2B_ATTEST *statement, const TPMT_SIGNATURE *signature)
{
    kn_certification *out = c->out;
    if (statement->size > sizeof out->statement)
        return doubt(c, "the statement is too long");
    memcpy(out->statement, statement->attestationData, statement->size);
    out->statement_length = statement->size;
    kn_err err = take_signature(c, signature);
    if (!kn_failed(err))
        err = name_key(conn, c);
    if (!kn_failed(err))
        err = check_signature(c);
    return kn_failed(err) ? err : check_statement(conn, c);
}

/* ---- asking ---- */

/* A restricted key signs what the TPM says, and nothing that looks like it; one that was elsewhere may be used there for anything. */
static kn_err check_attestation_key(certifying *c)
{
    const TPMT_PUBLIC *area = &c->by->area;
    const TPMT_ASYM_SCHEME *scheme = &area->parameters.asymDetail.scheme;
    const kn_digest *digest = tpm2_digest_of(scheme->details.anySig.hashAlg);
    bool is_ec = area->type == TPM2_ALG_ECC;
    if ((area->objectAttributes & ATTESTS) != ATTESTS)
        return kn_fail(KN_E_KEY_USE, "%s has attributes 0x%08x: an attestation key is a restricted signing key that its TPM has made (tpm2_createak)",
                       c->by->name, (unsigned)area->objectAttributes);
    if (!(area->objectAttributes & TPMA_OBJECT_USERWITHAUTH))
        return kn_fail(KN_E_KEY_USE, "%s wants a policy, and policies are not supported", c->by->name);
    if (!digest || !(is_ec ? scheme->scheme == TPM2_ALG_ECDSA : scheme->scheme == TPM2_ALG_RSASSA || scheme->scheme == TPM2_ALG_RSAPSS))
        return kn_fail(KN_E_KEY_USE, "%s signs with the scheme 0x%04x and the hash 0x%04x; ECDSA and RSA are served", c->by->name, scheme->scheme,
                       scheme->details.anySig.hashAlg);
    c->scheme = scheme->scheme;
    c->out->how = (kn_sign_how){.scheme = is_ec ? KN_ECDSA : c->scheme == TPM2_ALG_RSAPSS ? KN_RSA_PSS : KN_RSA_PKCS1,
                                .digest = digest,
                                .mgf1 = digest,
                                .salt_bytes = KN_SALT_ANY};
    return kn_success();
}

static kn_err run_by(tpm2_conn *conn, void *arg)
{
    certifying *c = arg;
    TPM2B_ATTEST *statement = NULL;
    TPMT_SIGNATURE *signature = NULL;
    kn_err err = certify_once(conn, c, &statement, &signature);
    if (!kn_failed(err))
        err = take(conn, c, statement, signature);
    else if (c->key_refused)
        err = kn_fail(KN_E_TPM_FAILED, "the other key's authorization"); /* nothing is known of this one's */
    conn->api->Esys_Free(statement);
    conn->api->Esys_Free(signature);
    return err;
}

static kn_err run_key(tpm2_conn *conn, void *arg)
{
    certifying *c = arg;
    kn_err err = tpm2_auth_run(conn, c->by, &c->by_sent, run_by, c);
    return c->key_refused ? kn_fail(KN_E_TPM_AUTH, "Esys_Certify") : err;
}

static kn_err certify_it(tpm2_conn *conn, void *arg)
{
    certifying *c = arg;
    c->key_refused = false;
    kn_err err = tpm2_key_find(conn, c->key);
    if (!kn_failed(err))
        err = tpm2_key_find(conn, c->by);
    if (!kn_failed(err))
        err = check_attestation_key(c);
    if (!kn_failed(err) && c->key->area.objectAttributes & TPMA_OBJECT_ADMINWITHPOLICY)
        err = kn_fail(KN_E_KEY_USE, "%s is certified with a policy only, and policies are not supported", c->key->name);
    return kn_failed(err) ? err : tpm2_auth_run(conn, c->key, &c->key_sent, run_key, c);
}

kn_err tpm2_key_certify(void *key, void *attestation_key, const uint8_t *nonce, size_t nonce_length,
                        kn_certification *ret_certification)
{
    kn_certification made = {.statement_length = 0};
    certifying c = {.key = key, .by = attestation_key, .nonce = {.size = (UINT16)nonce_length}, .out = &made};
    if (!tpm2_conn_same(c.key->uri.tcti, c.by->uri.tcti))
        return kn_fail(KN_E_TOKEN_CANNOT, "%s and %s are of two TPMs, by their tcti=; a TPM certifies its own keys only", c.key->name, c.by->name);
    memcpy(c.nonce.buffer, nonce, nonce_length);
    kn_err err = tpm2_conn_run(c.key->uri.tcti, certify_it, &c);
    if (!kn_failed(err))
        *ret_certification = made;
    return err;
}
