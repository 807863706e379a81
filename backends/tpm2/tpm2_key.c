#include "tpm2_key.h"

#include "../kn_crypto.h"
#include "tpm2_primary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- public areas ---- */

static const struct {
    TPM2_ECC_CURVE curve;
    const char *name;
} curves[] = {
    {TPM2_ECC_NIST_P256, "EC:P-256"},
    {TPM2_ECC_NIST_P384, "EC:P-384"},
    {TPM2_ECC_NIST_P521, "EC:P-521"},
};

static kn_err ec_of(const TPMT_PUBLIC *area, kn_public *ret_public)
{
    const TPM2B_ECC_PARAMETER *x = &area->unique.ecc.x, *y = &area->unique.ecc.y;
    const kn_alg *alg = NULL;
    uint8_t point[KN_EC_POINT_MAX] = {4};
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (curves[i].curve == area->parameters.eccDetail.curveID)
            alg = kn_alg_by_name(curves[i].name);
    if (!alg)
        return kn_fail(KN_E_KEY_TYPE, "curve 0x%04x", area->parameters.eccDetail.curveID);
    size_t bytes = alg->coord_bytes;
    if (x->size > bytes || y->size > bytes)
        return kn_fail(KN_E_KEY_TYPE, "a point of %u and %u bytes on %s", x->size, y->size, alg->name);
    memcpy(point + 1 + bytes - x->size, x->buffer, x->size); /* the TPM leaves leading zeros out, or not */
    memcpy(point + 1 + 2 * bytes - y->size, y->buffer, y->size);
    return kn_public_from_ec_point(alg, point, 1 + 2 * bytes, ret_public);
}

kn_err tpm2_public_of(const TPMT_PUBLIC *area, kn_public *ret_public)
{
    if (area->type == TPM2_ALG_ECC)
        return ec_of(area, ret_public);
    if (area->type != TPM2_ALG_RSA)
        return kn_fail(KN_E_KEY_TYPE, "an object of type 0x%04x, which is neither RSA nor ECC", area->type);
    UINT32 e = area->parameters.rsaDetail.exponent ? area->parameters.rsaDetail.exponent : 65537;
    const uint8_t exponent[] = {(uint8_t)(e >> 24), (uint8_t)(e >> 16), (uint8_t)(e >> 8), (uint8_t)e};
    return kn_public_from_rsa(area->unique.rsa.buffer, area->unique.rsa.size, exponent, sizeof exponent, ret_public);
}

/* ---- finding ---- */

/* Does a TPM2B_PUBLIC that is named so end the bytes? Part 1, 16: a name is the algorithm and the digest of the public area. */
static bool ends_with_public(const uint8_t *bytes, size_t length, const TPM2B_NAME *name, TPM2B_PUBLIC *ret_public)
{
    uint8_t digest[32];
    if (name->size != 2 + sizeof digest || name->name[0] != TPM2_ALG_SHA256 >> 8 || name->name[1] != (TPM2_ALG_SHA256 & 0xff))
        return false;
    for (size_t at = 0; at + 2 < length; at++) {
        size_t size = length - at - 2;
        if ((size_t)(bytes[at] << 8 | bytes[at + 1]) == size && kn_crypto_digest(NULL, 0, bytes + at + 2, size, digest) &&
            !memcmp(digest, name->name + 2, sizeof digest))
            return !kn_failed(tpm2_tss_key_public(bytes + at, size + 2, ret_public));
    }
    return false;
}

/* ESYS has read the public area when it opened the object, and gives it out in its serialized form only. What that looks like
 * besides is not documented; the name tells whether it was found. */
static bool known_public(tpm2_conn *conn, ESYS_TR object, TPM2B_PUBLIC *ret_public)
{
    TPM2B_NAME *name = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;
    bool found = conn->api->Esys_TR_GetName(conn->esys, object, &name) == TSS2_RC_SUCCESS &&
                 conn->api->Esys_TR_Serialize(conn->esys, object, &bytes, &length) == TSS2_RC_SUCCESS &&
                 ends_with_public(bytes, length, name, ret_public);
    conn->api->Esys_Free(name);
    conn->api->Esys_Free(bytes);
    return found;
}

static kn_err read_public(tpm2_conn *conn, ESYS_TR object, TPM2B_PUBLIC *ret_public)
{
    TPM2B_PUBLIC *public = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_ReadPublic, object, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL, NULL);
    if (!kn_failed(err))
        *ret_public = *public;
    conn->api->Esys_Free(public);
    return err;
}

/* @fresh: ESYS has opened it just now. */
static kn_err read_area(tpm2_conn *conn, tpm2_key *key, bool fresh)
{
    TPM2B_PUBLIC public;
    kn_public found;
    kn_err err = fresh && known_public(conn, key->object, &public) ? kn_success() : read_public(conn, key->object, &public);
    if (!kn_failed(err))
        err = tpm2_public_of(&public.publicArea, &found);
    if (!kn_failed(err) && key->has_expected && !kn_public_equal(&found, &key->expected))
        err = kn_fail(KN_E_KEY_CHANGED, "the %s key there is another than the alias's", found.alg->name);
    if (kn_failed(err))
        return err;
    key->area = public.publicArea;
    key->expected = found;
    key->has_expected = true;
    return err;
}

kn_err tpm2_key_find(tpm2_conn *conn, tpm2_key *key)
{
    if (key->blob || key->generation == conn->generation)
        return kn_success();
    key->generation = 0;
    bool fresh;
    kn_err err = tpm2_object_open(conn, key->uri.handle, &key->object, &fresh);
    if (err.code == KN_E_TPM_HANDLE)
        return kn_fail(KN_E_NO_KEY, "nothing is at handle 0x%08x of the TPM", key->uri.handle);
    if (kn_failed(err))
        return err;
    err = read_area(conn, key, fresh);
    if (kn_failed(err)) {
        tpm2_object_close(conn, key->uri.handle);
        return kn_fail_within(err, "handle 0x%08x", key->uri.handle);
    }
    key->generation = conn->generation;
    return kn_success();
}

static kn_err find_it(tpm2_conn *conn, void *key)
{
    return tpm2_key_find(conn, key);
}

kn_err tpm2_key_set_blob(tpm2_key *key, const tpm2_tss_key *blob)
{
    kn_public found;
    kn_err err = tpm2_public_of(&blob->public.publicArea, &found);
    if (!kn_failed(err) && key->has_expected && !kn_public_equal(&found, &key->expected))
        err = kn_fail(KN_E_KEY_CHANGED, "%s is another %s key than the alias's", key->name, found.alg->name);
    if (!kn_failed(err) && !key->blob && !(key->blob = malloc(sizeof *key->blob)))
        err = kn_fail(KN_E_NO_MEMORY, "a key");
    if (kn_failed(err))
        return err;
    *key->blob = *blob;
    key->area = blob->public.publicArea;
    key->expected = found;
    key->has_expected = true;
    return err;
}

static kn_err read_blob(tpm2_key *key)
{
    tpm2_tss_key blob;
    kn_err err = key->uri.file ? tpm2_tss_key_read(key->uri.file, &blob) : tpm2_tss_key_from_base64(key->uri.key, &blob);
    return kn_failed(err) ? err : tpm2_key_set_blob(key, &blob);
}

static void set_name(tpm2_key *key)
{
    if (key->uri.handle)
        (void)snprintf(key->name, sizeof key->name, "the key at 0x%08x", (unsigned)key->uri.handle);
    else if (key->uri.file)
        (void)snprintf(key->name, sizeof key->name, "the key in %s", key->uri.file);
    else
        (void)snprintf(key->name, sizeof key->name, "the key of a " TPM2_TSS_KEY_PEM_LABEL);
}

static kn_err new_key(const tpm2_state *state, const char *uri, const kn_public *expected, bool read, tpm2_key **ret_key)
{
    tpm2_key *key = calloc(1, sizeof *key);
    if (!key)
        return kn_fail(KN_E_NO_MEMORY, "a key");
    key->state = state;
    if (expected) {
        key->expected = *expected;
        key->has_expected = true;
    }
    kn_err err = tpm2_key_uri_parse(uri, &key->uri);
    if (!kn_failed(err) && !key->uri.handle && !key->uri.file && !key->uri.key)
        err = kn_fail(KN_E_URI_MALFORMED, "a key in a TPM is named by its handle or its file: tpm2:handle=0x81......, tpm2:file=PATH");
    if (!kn_failed(err))
        set_name(key);
    if (!kn_failed(err) && read && !key->uri.handle)
        err = read_blob(key);
    if (kn_failed(err))
        tpm2_key_free(key);
    else
        *ret_key = key;
    return err;
}

kn_err tpm2_key_new(const tpm2_state *state, const char *uri, bool read, tpm2_key **ret_key)
{
    return new_key(state, uri, NULL, read, ret_key);
}

kn_err tpm2_key_open(void *state, const char *uri, const kn_public *expected, void **ret_key, kn_public *ret_public)
{
    tpm2_key *key = NULL;
    kn_err err = new_key(state, uri, expected, true, &key);
    if (!kn_failed(err) && !expected && !key->blob)
        err = tpm2_conn_run(key->uri.tcti, find_it, key);
    if (kn_failed(err)) {
        if (key)
            tpm2_key_free(key);
        return err;
    }
    if (!expected)
        *ret_public = key->expected;
    *ret_key = key;
    return err;
}

static void leave(tpm2_conn *conn, void *arg)
{
    tpm2_key *key = arg;
    if (key->blob)
        tpm2_flush(conn, &key->object);
    else
        tpm2_object_close(conn, key->uri.handle);
}

void tpm2_key_free(void *arg)
{
    tpm2_key *key = arg;
    if (key->generation)
        tpm2_conn_leave(key->uri.tcti, key->generation, leave, key);
    tpm2_key_uri_clear(&key->uri);
    free(key->blob);
    free(key->saved);
    free(key);
}

const char *tpm2_key_auth_source(const tpm2_key *key)
{
    if (key->uri.pin_source)
        return key->uri.pin_source;
    return key->blob && key->blob->empty_auth ? NULL : key->state->pin_source;
}

/* ---- key files ---- */

static kn_err to_uri(const uint8_t *der, size_t length, char **ret_uri, kn_public *ret_public)
{
    tpm2_tss_key key;
    char *text = NULL;
    kn_err err = tpm2_tss_key_parse(der, length, &key);
    if (!kn_failed(err))
        err = tpm2_public_of(&key.public.publicArea, ret_public);
    if (!kn_failed(err))
        err = tpm2_tss_key_base64(der, length, &text);
    char *uri = NULL;
    if (!kn_failed(err) && asprintf(&uri, "tpm2:key=%s", text) < 0)
        err = kn_fail(KN_E_NO_MEMORY, "a URI");
    free(text);
    if (!kn_failed(err))
        *ret_uri = uri;
    return err;
}

const kn_key_file_functions tpm2_key_file = {
    .pem_label = TPM2_TSS_KEY_PEM_LABEL,
    .looks_like = tpm2_tss_key_looks_like,
    .to_uri = to_uri,
};

kn_err tpm2_key_may(const tpm2_key *key, TPMA_OBJECT use)
{
    TPMA_OBJECT attributes = key->area.objectAttributes;
    if (!(attributes & use))
        return kn_fail(KN_E_KEY_USE, "the key is not for %s", use == TPMA_OBJECT_SIGN_ENCRYPT ? "signing" : "decryption or key agreement");
    if (attributes & TPMA_OBJECT_RESTRICTED)
        return kn_fail(KN_E_KEY_USE, "the key is restricted: it is used only for what the TPM itself has made");
    if (!(attributes & TPMA_OBJECT_USERWITHAUTH))
        return kn_fail(KN_E_KEY_USE, "the key wants a policy, and policies are not supported");
    return kn_success();
}

/* ---- custody ---- */

typedef struct inspection {
    tpm2_key *key;
    kn_custody *custody;
} inspection;

static kn_fact fact(const TPMT_PUBLIC *area, TPMA_OBJECT all)
{
    return (area->objectAttributes & all) == all ? KN_FACT_YES : KN_FACT_NO;
}

/* Attributes never change, and TPM2_Import and TPM2_LoadExternal take no private key whose fixedTPM is set (part 3, 13.3 and
 * 12.3): fixedTPM and sensitiveDataOrigin say that the TPM made the key and that it never was elsewhere. */
void tpm2_key_custody(const tpm2_key *key, kn_custody *out)
{
    const TPMT_PUBLIC *area = &key->area;
    bool fixed = fact(area, TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT) == KN_FACT_YES;
    *out = (kn_custody){
        .sensitive = KN_FACT_YES, /* no command reads a private part in clear */
        .always_sensitive = fixed ? KN_FACT_YES : KN_FACT_NO,
        .extractable = fixed ? KN_FACT_NO : KN_FACT_YES,
        .never_extractable = fixed ? KN_FACT_YES : KN_FACT_NO,
        .local = fact(area, TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_SENSITIVEDATAORIGIN),
        .generated_here = fact(area, TPMA_OBJECT_SENSITIVEDATAORIGIN),
        .may_sign = fact(area, TPMA_OBJECT_SIGN_ENCRYPT),
        .may_decrypt = area->type == TPM2_ALG_RSA ? fact(area, TPMA_OBJECT_DECRYPT) : KN_FACT_NO,
        .may_unwrap = KN_FACT_NO,
        .may_derive = area->type == TPM2_ALG_ECC ? fact(area, TPMA_OBJECT_DECRYPT) : KN_FACT_NO,
        .token = "TPM",
        .model = "TPM 2.0",
        .serial = "none",
    };
    (void)snprintf(out->mechanism, sizeof out->mechanism, "attributes 0x%08x", (unsigned)area->objectAttributes);
    if (key->uri.handle)
        (void)snprintf(out->id, sizeof out->id, "%08x", (unsigned)key->uri.handle);
}

static kn_err read_manufacturer(tpm2_conn *conn, kn_custody *out)
{
    TPMI_YES_NO more = TPM2_NO;
    TPMS_CAPABILITY_DATA *data = NULL;
    kn_err err;
    TPM2_CALL(err, conn, Esys_GetCapability, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES, TPM2_PT_MANUFACTURER,
              1, &more, &data);
    if (!kn_failed(err) && data->data.tpmProperties.count == 1) {
        UINT32 four = data->data.tpmProperties.tpmProperty[0].value;
        for (int i = 0; i < 4; i++) {
            unsigned char c = (unsigned char)(four >> (24 - 8 * i));
            out->manufacturer[i] = (char)(c > 0x20 && c < 0x7f ? c : '\0');
        }
    }
    conn->api->Esys_Free(data);
    return err;
}

static kn_err inspect_it(tpm2_conn *conn, void *arg)
{
    inspection *in = arg;
    tpm2_key *key = in->key;
    if (key->generation == conn->generation)
        leave(conn, key);
    key->generation = 0; /* what the TPM says now */
    kn_err err = tpm2_key_find(conn, key);
    if (!kn_failed(err))
        err = tpm2_key_take(conn, key); /* the TPM loads what belongs together only: a file's attributes are its key's */
    if (kn_failed(err))
        return err;
    tpm2_key_give(conn, key);
    tpm2_key_custody(in->key, in->custody);
    return read_manufacturer(conn, in->custody);
}

kn_err tpm2_key_inspect(void *arg, kn_custody *ret_custody)
{
    tpm2_key *key = arg;
    kn_custody custody;
    kn_err err = tpm2_conn_run(key->uri.tcti, inspect_it, &(inspection){key, &custody});
    if (!kn_failed(err))
        *ret_custody = custody;
    return err;
}

/* ---- listing ---- */

typedef struct listing {
    kn_object_info found[TPM2_HANDLES_MAX];
    size_t count;
} listing;

static kn_err list_them(tpm2_conn *conn, void *arg)
{
    listing *l = arg;
    tpm2_handles handles;
    kn_err err = tpm2_handles_read(conn, &handles);
    l->count = 0;
    for (size_t i = 0; !kn_failed(err) && i < handles.count; i++) {
        tpm2_key key = {.uri = {.handle = handles.handle[i]}};
        kn_object_info *info = &l->found[l->count++];
        err = tpm2_key_find(conn, &key);
        *info = (kn_object_info){.is_key = true, .kind = kn_failed(err) ? "unknown" : key.expected.alg->name};
        (void)snprintf(info->id, sizeof info->id, "%08x", handles.handle[i]);
        if (!kn_failed(err))
            tpm2_object_close(conn, key.uri.handle);
        if (err.code == KN_E_KEY_TYPE)
            err = kn_success();
    }
    return err;
}

kn_err tpm2_key_list(void *state, const char *text, void (*row)(const kn_object_info *info, void *arg), void *arg)
{
    tpm2_key_uri uri;
    listing *l = calloc(1, sizeof *l);
    (void)state;
    if (!l)
        return kn_fail(KN_E_NO_MEMORY, "a list of a TPM's keys");
    kn_err err = tpm2_key_uri_parse(text, &uri);
    if (!kn_failed(err)) {
        err = tpm2_conn_run(uri.tcti, list_them, l);
        tpm2_key_uri_clear(&uri);
    }
    for (size_t i = 0; !kn_failed(err) && i < l->count; i++)
        row(&l->found[i], arg);
    free(l);
    return err;
}
