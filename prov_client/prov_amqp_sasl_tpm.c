#include "prov_amqp_sasl_tpm.h"

#include "prov_sas.h"

#include <openssl/crypto.h>
#include <string.h>

#define CONTROL_SEGMENT  0x80U
#define CONTROL_LAST     0x40U
#define CONTROL_SEQUENCE 0x03U

static bool put(prov_sasl_tpm *tpm, const void *bytes, size_t size)
{
    if (size > sizeof tpm->answer - tpm->answer_size)
        return false;
    if (size)
        memcpy(tpm->answer + tpm->answer_size, bytes, size);
    tpm->answer_size += size;
    return true;
}

static void begin(prov_sasl_tpm *tpm)
{
    tpm->answer[0] = 0;
    tpm->answer_size = 1;
}

static kn_prov_code too_long(const char *what, prov_error *error)
{
    return prov_fail(error, KN_PROV_E_IDENTITY, "%s does not fit into a SASL message of %u bytes; use https", what,
                     PROV_SASL_TPM_MESSAGE_MAX);
}

kn_prov_code prov_sasl_tpm_start(prov_sasl_tpm *tpm, prov_error *error)
{
    const prov_identity *identity = tpm->session->identity;
    const char *scope = tpm->session->id_scope, *id = identity->registration_id;

    begin(tpm);
    if (!put(tpm, scope, strlen(scope) + 1) || !put(tpm, id, strlen(id) + 1) ||
        !put(tpm, identity->endorsement_key, identity->endorsement_key_bytes))
        return too_long("the endorsement key with the registration ID", error);
    tpm->state = PROV_SASL_TPM_KEYS;
    return KN_PROV_OK;
}

static kn_prov_code answer_keys(prov_sasl_tpm *tpm, const unsigned char *said, size_t size, prov_error *error)
{
    const prov_identity *identity = tpm->session->identity;

    if (size != 1 || said[0] != 0)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "SASL TPM: the service does not ask for the storage root key");
    begin(tpm);
    if (!put(tpm, identity->storage_root_key, identity->storage_root_key_bytes))
        return too_long("the storage root key", error);
    tpm->state = PROV_SASL_TPM_SEGMENTS;
    return KN_PROV_OK;
}

static kn_prov_code answer_last(prov_sasl_tpm *tpm, prov_error *error)
{
    const prov_session *session = tpm->session;
    char *token = NULL;
    kn_prov_code code;

    prov_trace(session, "the service asks the TPM for proof");
    code = session->identity->activate(session->identity, tpm->blob, tpm->blob_size, error);
    if (code == KN_PROV_OK)
        code = prov_session_token(session, &token, error);
    if (code == KN_PROV_OK) {
        begin(tpm);
        if (!put(tpm, token, strlen(token)))
            code = too_long("the SAS token", error);
    }
    prov_sas_free(&token);
    tpm->state = PROV_SASL_TPM_DONE;
    return code;
}

static kn_prov_code answer_segment(prov_sasl_tpm *tpm, const unsigned char *said, size_t size,
                                   prov_error *error)
{
    unsigned control = size ? said[0] : 0, expected = CONTROL_SEGMENT | (tpm->segments & CONTROL_SEQUENCE);

    if ((control & ~CONTROL_LAST) != expected || size < 2)
        return prov_fail(error, KN_PROV_E_PROTOCOL,
                         "SASL TPM: a segment of %zu bytes with control byte 0x%02x, where 0x%02x is due", size, control,
                         expected);
    if (size - 1 > sizeof tpm->blob - tpm->blob_size)
        return prov_fail(error, KN_PROV_E_PROTOCOL, "SASL TPM: a key of more than %zu bytes", sizeof tpm->blob);
    memcpy(tpm->blob + tpm->blob_size, said + 1, size - 1);
    tpm->blob_size += size - 1;
    tpm->segments++;
    if (control & CONTROL_LAST)
        return answer_last(tpm, error);
    begin(tpm);
    return KN_PROV_OK;
}

kn_prov_code prov_sasl_tpm_next(prov_sasl_tpm *tpm, const unsigned char *said, size_t size, prov_error *error)
{
    switch (tpm->state) {
    case PROV_SASL_TPM_KEYS:
        return answer_keys(tpm, said, size, error);
    case PROV_SASL_TPM_SEGMENTS:
        return answer_segment(tpm, said, size, error);
    case PROV_SASL_TPM_START:
    case PROV_SASL_TPM_DONE:
        break;
    }
    return prov_fail(error, KN_PROV_E_PROTOCOL, "SASL TPM: a challenge out of turn");
}

void prov_sasl_tpm_clear(prov_sasl_tpm *tpm)
{
    OPENSSL_cleanse(tpm, sizeof *tpm);
}
