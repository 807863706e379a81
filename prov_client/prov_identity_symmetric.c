/* Symmetric key attestation. A library that signs where the key is (keynym_hsm_sas.h) does so; from any other
 * the key is taken out, as the Azure SDK takes it, and signs in software. */
#include "prov_identity.h"

#include "../hsm_api/hsm_client_data.h"
#include "../hsm_api/keynym_hsm_sas.h"
#include "prov_base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The SDK checks the table and each member that it needs; so do we. */
static const HSM_CLIENT_KEY_INTERFACE *usable_interface(void)
{
    const HSM_CLIENT_KEY_INTERFACE *hsm = hsm_client_key_interface();

    if (!hsm || !hsm->hsm_client_key_create || !hsm->hsm_client_key_destroy ||
        !hsm->hsm_client_get_symm_key || !hsm->hsm_client_get_registration_name ||
        !hsm->hsm_client_set_symm_key_info)
        return NULL;
    return hsm;
}

static void wipe_text(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static void symmetric_close(prov_identity *identity)
{
    free(identity->registration_id);
    OPENSSL_cleanse(identity->key, sizeof identity->key);
    if (identity->hsm)
        usable_interface()->hsm_client_key_destroy(identity->hsm);
    *identity = (prov_identity){.hsm = NULL};
}

static kn_prov_code sign_in_software(const prov_identity *identity, const unsigned char *data, size_t size,
                                     unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    unsigned length = 0;

    if (HMAC(EVP_sha256(), identity->key, (int)identity->key_bytes, data, size, ret_mac, &length) &&
        length == PROV_MAC_BYTES)
        return KN_PROV_OK;
    return prov_fail(error, KN_PROV_E_IDENTITY, "OpenSSL does not compute HMAC-SHA256");
}

static kn_prov_code sign_in_library(const prov_identity *identity, const unsigned char *data, size_t size,
                                    unsigned char ret_mac[PROV_MAC_BYTES], prov_error *error)
{
    if (keynym_hsm_sign_sas(identity->hsm, data, size, ret_mac) == 0)
        return KN_PROV_OK;
    return prov_fail(error, KN_PROV_E_IDENTITY, "keynym_hsm_sign_sas failed");
}

_Static_assert(PROV_MAC_BYTES == KEYNYM_HSM_SAS_BYTES, "one size");

/* Base64 without line breaks, as the portal shows it. */
static bool decode_key(prov_identity *identity, const char *base64)
{
    return prov_base64_decode(base64, identity->key, sizeof identity->key, &identity->key_bytes);
}

static kn_prov_code take_key(prov_identity *identity, const HSM_CLIENT_KEY_INTERFACE *hsm, prov_error *error)
{
    char *base64 = hsm->hsm_client_get_symm_key(identity->hsm);
    const char *what = !base64                        ? "is NULL"
                       : decode_key(identity, base64) ? NULL
                                                      : "is not the Base64 of 1 to 256 bytes";

    wipe_text(base64);
    return what ? prov_fail(error, KN_PROV_E_IDENTITY, "what hsm_client_get_symm_key returned %s", what)
                : KN_PROV_OK;
}

static kn_prov_code symmetric_open(const char *registration_id, prov_identity *ret_identity,
                                   prov_error *error)
{
    const HSM_CLIENT_KEY_INTERFACE *hsm = usable_interface();
    prov_identity identity = {.sign = sign_in_software};
    kn_prov_code code = KN_PROV_OK;

    if (!hsm)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_key_interface has no or not all functions");
    identity.hsm = hsm->hsm_client_key_create();
    if (!identity.hsm)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_key_create returned NULL");
    /* As the SDK does when the application gave no key: 0 means that the library has one of its own. */
    if (hsm->hsm_client_set_symm_key_info(identity.hsm, NULL, NULL) != 0)
        code = prov_fail(error, KN_PROV_E_IDENTITY, "the HSM library has no symmetric key");
    if (code == KN_PROV_OK) {
        identity.registration_id =
            registration_id ? strdup(registration_id) : hsm->hsm_client_get_registration_name(identity.hsm);
        if (!identity.registration_id)
            code = prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_get_registration_name returned NULL");
    }
    if (code == KN_PROV_OK && keynym_hsm_sign_sas)
        identity.sign = sign_in_library;
    else if (code == KN_PROV_OK)
        code = take_key(&identity, hsm, error);
    if (code)
        symmetric_close(&identity);
    else
        *ret_identity = identity;
    return code;
}

const prov_attestation prov_attestation_symmetric = {
    .name = "symmetric-key",
    .kind = PROV_ATTESTATION_SYMMETRIC,
    .open = symmetric_open,
    .close = symmetric_close,
};
