/* TPM attestation. The TPM proves itself by opening keys that the service wrapped for it, and signs tokens with them; it is
 * reached only through the SDK's TPM interface. */
#include "prov_identity.h"

#include "../hsm_api/hsm_client_data.h"
#include "prov_base64.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The SDK checks the table and each member that it needs; so do we. */
static const HSM_CLIENT_TPM_INTERFACE *usable_interface(void)
{
    const HSM_CLIENT_TPM_INTERFACE *hsm = hsm_client_tpm_interface();

    if (!hsm || !hsm->hsm_client_tpm_create || !hsm->hsm_client_tpm_destroy ||
        !hsm->hsm_client_sign_with_identity)
        return NULL;
    return hsm;
}

static void tpm_close(prov_identity *identity)
{
    free(identity->registration_id);
    free(identity->endorsement_key);
    free(identity->storage_root_key);
    if (identity->hsm)
        usable_interface()->hsm_client_tpm_destroy(identity->hsm);
    *identity = (prov_identity){.hsm = NULL};
}

static kn_prov_code tpm_sign(const prov_identity *identity, const unsigned char *data, size_t size,
                             unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    unsigned char *mac = NULL;
    size_t length = 0;
    kn_prov_code code = KN_PROV_OK;

    if (usable_interface()->hsm_client_sign_with_identity(identity->hsm, data, size, &mac, &length) != 0)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_sign_with_identity failed");
    if (mac && length == PROV_MAC_BYTES)
        memcpy(ret_mac, mac, PROV_MAC_BYTES);
    else
        code = prov_fail(error, KN_PROV_E_IDENTITY,
                         "what hsm_client_sign_with_identity returned has %zu bytes, not %u", length, PROV_MAC_BYTES);
    free(mac);
    return code;
}

static kn_prov_code tpm_activate(const prov_identity *identity, const unsigned char *blob, size_t size,
                                 prov_error *error)
{
    if (usable_interface()->hsm_client_activate_identity_key(identity->hsm, blob, size) == 0)
        return KN_PROV_OK;
    return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_activate_identity_key failed: the TPM does not open the key");
}

static kn_prov_code tpm_open(const char *registration_id, prov_identity *ret_identity, prov_error *error)
{
    const HSM_CLIENT_TPM_INTERFACE *hsm = usable_interface();
    prov_identity identity = {.sign = tpm_sign};

    if (!hsm)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_tpm_interface has no or not all functions");
    if (hsm_client_tpm_init() != 0)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_tpm_init failed");
    if (registration_id && !(identity.registration_id = strdup(registration_id)))
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the registration ID");
    identity.hsm = hsm->hsm_client_tpm_create();
    if (!identity.hsm) {
        tpm_close(&identity);
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_tpm_create returned NULL");
    }
    *ret_identity = identity;
    return KN_PROV_OK;
}

/* ---- what a registration needs ---- */

/* A TPM2B_PUBLIC begins with the number of the bytes that follow. */
static bool is_public_key(const unsigned char *key, size_t bytes)
{
    return key && bytes > 2 && bytes <= PROV_TPM_KEY_MAX && (size_t)(key[0] << 8 | key[1]) == bytes - 2;
}

static kn_prov_code read_key(const prov_identity *identity, HSM_CLIENT_GET_ENDORSEMENT_KEY get, const char *name,
                             unsigned char **ret_key, size_t *ret_bytes, prov_error *error)
{
    unsigned char *key = NULL;
    size_t bytes = 0;

    if (get(identity->hsm, &key, &bytes) != 0)
        return prov_fail(error, KN_PROV_E_IDENTITY, "%s failed", name);
    if (!is_public_key(key, bytes)) {
        free(key);
        return prov_fail(error, KN_PROV_E_IDENTITY, "what %s returned is not a TPM2B_PUBLIC", name);
    }
    *ret_key = key;
    *ret_bytes = bytes;
    return KN_PROV_OK;
}

/* The lower-case Base32 of the endorsement key's digest, without padding: RFC 4648 section 6. */
static char *make_registration_id(const prov_identity *identity)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char digest[SHA256_DIGEST_LENGTH + 1] = {0};
    char *id = calloc(1, (SHA256_DIGEST_LENGTH * 8 + 4) / 5 + 1);

    if (!id || !SHA256(identity->endorsement_key, identity->endorsement_key_bytes, digest)) {
        free(id);
        return NULL;
    }
    for (size_t bit = 0, at = 0; bit < SHA256_DIGEST_LENGTH * 8; bit += 5)
        id[at++] = digits[((digest[bit / 8] << 8 | digest[bit / 8 + 1]) >> (11 - bit % 8)) & 31];
    return id;
}

static kn_prov_code tpm_prepare(prov_identity *identity, prov_error *error)
{
    const HSM_CLIENT_TPM_INTERFACE *hsm = usable_interface();
    kn_prov_code code;

    if (!hsm->hsm_client_get_ek || !hsm->hsm_client_get_srk || !hsm->hsm_client_activate_identity_key)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_tpm_interface has not all functions");
    if ((code = read_key(identity, hsm->hsm_client_get_ek, "hsm_client_get_ek", &identity->endorsement_key,
                         &identity->endorsement_key_bytes, error)) ||
        (code = read_key(identity, hsm->hsm_client_get_srk, "hsm_client_get_srk", &identity->storage_root_key,
                         &identity->storage_root_key_bytes, error)))
        return code;
    identity->activate = tpm_activate;
    if (!identity->registration_id && !(identity->registration_id = make_registration_id(identity)))
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the registration ID");
    return KN_PROV_OK;
}

kn_prov_code prov_identity_take_key(const prov_identity *identity, const char *base64, prov_error *error)
{
    unsigned char blob[PROV_TPM_BLOB_MAX];
    size_t size = 0;

    if (!prov_base64_decode(base64, blob, sizeof blob, &size))
        return prov_fail(error, KN_PROV_E_RESPONSE, "the authenticationKey is not the Base64 of 1 to %u bytes",
                         PROV_TPM_BLOB_MAX);
    return identity->activate(identity, blob, size, error);
}

bool prov_tpm_member(const prov_identity *identity, char **ret_text)
{
    char *endorsement = prov_base64_encode(identity->endorsement_key, identity->endorsement_key_bytes);
    char *storage = prov_base64_encode(identity->storage_root_key, identity->storage_root_key_bytes);
    int length = -1;

    if (endorsement && storage)
        length = asprintf(ret_text, ",\"tpm\":{\"endorsementKey\":\"%s\",\"storageRootKey\":\"%s\"}", endorsement, storage);
    free(endorsement);
    free(storage);
    if (length < 0)
        *ret_text = NULL;
    return length >= 0;
}

const prov_attestation prov_attestation_tpm = {
    .name = "tpm",
    .kind = PROV_ATTESTATION_TPM,
    .open = tpm_open,
    .prepare = tpm_prepare,
    .close = tpm_close,
};
