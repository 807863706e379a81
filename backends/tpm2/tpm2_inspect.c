#include "tpm2_inspect.h"

#include "../kn_log.h"
#include "tpm2_attest_uri.h"
#include "tpm2_conn.h"
#include "tpm2_key_uri.h"
#include "tpm2_primary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct inspection {
    uint32_t ek, srk;
    kn_tpm_info *info;
} inspection;

/* ---- properties ---- */

typedef struct properties {
    TPMS_TAGGED_PROPERTY row[2 * TPM2_MAX_TPM_PROPERTIES];
    size_t count;
} properties;

static kn_err read_group(tpm2_conn *conn, UINT32 first, properties *p)
{
    TPMI_YES_NO more = TPM2_YES;
    kn_err err = kn_success();
    for (UINT32 from = first; more && !kn_failed(err) && from < first + TPM2_PT_GROUP;) {
        TPMS_CAPABILITY_DATA *data = NULL;
        TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES, from,
                  TPM2_MAX_TPM_PROPERTIES, &more, &data);
        UINT32 count = kn_failed(err) ? 0 : data->data.tpmProperties.count;
        for (UINT32 i = 0; i < count && p->count < sizeof p->row / sizeof *p->row; i++)
            p->row[p->count++] = data->data.tpmProperties.tpmProperty[i];
        if (count)
            from = data->data.tpmProperties.tpmProperty[count - 1].property + 1;
        else
            more = TPM2_NO;
        conn->api->Esys_Free(data);
    }
    return err;
}

static UINT32 value_of(const properties *p, UINT32 property)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->row[i].property == property)
            return p->row[i].value;
    return 0;
}

/* Four characters; what is not printable ends the text. */
static void add_four(char *text, UINT32 four)
{
    size_t n = strlen(text);
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned char c = (unsigned char)(four >> shift);
        if (c < 0x20 || c > 0x7e)
            break;
        text[n++] = (char)c;
    }
    while (n && text[n - 1] == ' ')
        n--;
    text[n] = '\0';
}

static void take_properties(const properties *p, kn_tpm_info *info)
{
    UINT32 permanent = value_of(p, TPM2_PT_PERMANENT);
    add_four(info->manufacturer, value_of(p, TPM2_PT_MANUFACTURER));
    for (UINT32 i = 0; i < 4; i++)
        add_four(info->vendor, value_of(p, TPM2_PT_VENDOR_STRING_1 + i));
    info->firmware[0] = value_of(p, TPM2_PT_FIRMWARE_VERSION_1);
    info->firmware[1] = value_of(p, TPM2_PT_FIRMWARE_VERSION_2);
    info->revision = value_of(p, TPM2_PT_REVISION);
    info->year = value_of(p, TPM2_PT_YEAR);
    info->tries_spent = value_of(p, TPM2_PT_LOCKOUT_COUNTER);
    info->tries_max = value_of(p, TPM2_PT_MAX_AUTH_FAIL);
    info->gives_back_s = value_of(p, TPM2_PT_LOCKOUT_INTERVAL);
    info->in_lockout = permanent & TPMA_PERMANENT_INLOCKOUT;
    info->owner_auth = permanent & TPMA_PERMANENT_OWNERAUTHSET;
    info->endorsement_auth = permanent & TPMA_PERMANENT_ENDORSEMENTAUTHSET;
    info->lockout_auth = permanent & TPMA_PERMANENT_LOCKOUTAUTHSET;
    info->slots_free = value_of(p, TPM2_PT_HR_TRANSIENT_AVAIL);
    info->sessions_free = value_of(p, TPM2_PT_HR_LOADED_AVAIL);
    info->persistent = value_of(p, TPM2_PT_HR_PERSISTENT);
    info->persistent_free = value_of(p, TPM2_PT_HR_PERSISTENT_AVAIL);
}

/* ---- algorithms ---- */

static kn_err read_curves(tpm2_conn *conn, kn_tpm_info *info)
{
    TPMI_YES_NO more = TPM2_NO;
    TPMS_CAPABILITY_DATA *data = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_ECC_CURVES, 0, TPM2_MAX_ECC_CURVES, &more,
              &data);
    for (UINT32 i = 0; !kn_failed(err) && i < data->data.eccCurves.count; i++) {
        info->p256 |= data->data.eccCurves.eccCurves[i] == TPM2_ECC_NIST_P256;
        info->p384 |= data->data.eccCurves.eccCurves[i] == TPM2_ECC_NIST_P384;
    }
    conn->api->Esys_Free(data);
    return err;
}

/* TPM2_TestParms makes nothing. */
static kn_err test_rsa(tpm2_conn *conn, TPMI_RSA_KEY_BITS bits, bool *ret_has)
{
    const TPMT_PUBLIC_PARMS parameters = {.type = TPM2_ALG_RSA,
                                          .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                                                   .scheme.scheme = TPM2_ALG_NULL,
                                                                   .keyBits = bits}};
    kn_err err;
    TPM2_CALL(err, conn, Esys_TestParms, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &parameters);
    *ret_has = !kn_failed(err);
    return err.code == KN_E_TPM_FAILED ? kn_success() : err;
}

/* ---- the keys of attestation ---- */

#define STORES (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)

static void describe(const TPMT_PUBLIC *area, kn_tpm_object *object)
{
    bool is_rsa = area->type == TPM2_ALG_RSA;
    const char *type = is_rsa ? "RSA" : area->type == TPM2_ALG_ECC ? "ECC" : area->type == TPM2_ALG_KEYEDHASH ? "HMAC or data" : "another";
    char bits[16] = "";
    if (is_rsa)
        (void)snprintf(bits, sizeof bits, " %u", area->parameters.rsaDetail.keyBits);
    (void)snprintf(object->kind, sizeof object->kind, "%s%s, attributes 0x%08x", type, bits, (unsigned)area->objectAttributes);
    object->fits = is_rsa && area->parameters.rsaDetail.keyBits == 2048 && (area->objectAttributes & STORES) == STORES &&
                   !(area->objectAttributes & TPMA_OBJECT_SIGN_ENCRYPT);
}

static kn_err look_at(tpm2_conn *conn, const tpm2_handles *handles, uint32_t handle, kn_tpm_object *ret_object)
{
    ESYS_TR object = ESYS_TR_NONE;
    TPM2B_PUBLIC *public = NULL;
    *ret_object = (kn_tpm_object){.handle = handle, .present = tpm2_handles_have(handles, handle)};
    if (!ret_object->present)
        return kn_success();
    kn_err err = tpm2_object_open(conn, handle, &object, NULL);
    if (kn_failed(err))
        return err;
    TPM2_CALL(err, conn, Esys_ReadPublic, object, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL, NULL);
    if (!kn_failed(err))
        describe(&public->publicArea, ret_object);
    conn->api->Esys_Free(public);
    tpm2_object_close(conn, handle);
    return err;
}

/* ---- all of it ---- */

static kn_err inspect_it(tpm2_conn *conn, void *arg)
{
    inspection *in = arg;
    kn_tpm_info *info = in->info;
    properties p = {.count = 0};
    tpm2_handles handles;
    *info = (kn_tpm_info){.managed = conn->managed};
    kn_err err = read_group(conn, TPM2_PT_FIXED, &p);
    if (!kn_failed(err))
        err = read_group(conn, TPM2_PT_VAR, &p);
    if (!kn_failed(err)) {
        take_properties(&p, info);
        err = read_curves(conn, info);
    }
    if (!kn_failed(err))
        err = test_rsa(conn, 2048, &info->rsa2048);
    if (!kn_failed(err))
        err = test_rsa(conn, 3072, &info->rsa3072);
    if (!kn_failed(err))
        err = tpm2_handles_read(conn, &handles);
    if (!kn_failed(err))
        err = look_at(conn, &handles, in->ek, &info->ek);
    return kn_failed(err) ? err : look_at(conn, &handles, in->srk, &info->srk);
}

static kn_err inspect(const char *tcti, uint32_t ek, uint32_t srk, kn_tpm_info *ret_info)
{
    kn_tpm_info info;
    kn_err err = tpm2_conn_run(tcti, inspect_it, &(inspection){ek, srk, &info});
    if (kn_failed(err))
        return err;
    (void)snprintf(info.tcti, sizeof info.tcti, "%s", tpm2_conn_name(tcti));
    *ret_info = info;
    return err;
}

/* A URI of a key has attributes that one of attestation has not, and the other way round. */
kn_err tpm2_inspect(void *state, const char *uri, kn_tpm_info *ret_info)
{
    tpm2_attest_config config, usual;
    tpm2_key_uri key;
    (void)state;
    kn_err err = tpm2_attest_config_parse(uri, &config);
    if (!kn_failed(err)) {
        err = inspect(config.tcti, config.ek_handle, config.srk_handle, ret_info);
        tpm2_attest_config_clear(&config);
        return err;
    }
    if (kn_failed(tpm2_key_uri_parse(uri, &key)))
        return tpm2_attest_config_parse(uri, &config); /* its error */
    err = tpm2_attest_config_parse(NULL, &usual);
    if (!kn_failed(err)) {
        err = inspect(key.tcti, usual.ek_handle, usual.srk_handle, ret_info);
        tpm2_attest_config_clear(&usual);
    }
    tpm2_key_uri_clear(&key);
    return err;
}

kn_err tpm2_token_list(void *state, void (*row)(const kn_token_info *info, void *arg), void *arg)
{
    kn_tpm_info tpm;
    bool named = tpm2_conn_is_named();
    if (!named && access(TPM2_DEFAULT_DEVICE, F_OK) != 0)
        return kn_success();
    kn_err err = tpm2_inspect(state, NULL, &tpm);
    if (kn_failed(err) && named)
        return err;
    if (kn_failed(err)) {
        kn_log(KN_LOG_WARN, "the TPM at " TPM2_DEFAULT_DEVICE " is left out: %s", kn_err_detail());
        return kn_success();
    }
    kn_token_info info = {.label = "TPM", .module = tpm.tcti, .initialised = true, .pin_locked = tpm.in_lockout};
    (void)snprintf(info.manufacturer, sizeof info.manufacturer, "%s", tpm.manufacturer);
    (void)snprintf(info.model, sizeof info.model, "%s", *tpm.vendor ? tpm.vendor : "TPM 2.0");
    row(&info, arg);
    return err;
}
