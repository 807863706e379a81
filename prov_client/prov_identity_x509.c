#include "prov_identity.h"

#include "../hsm_api/hsm_client_data.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* The SDK checks the table and each member that it needs; so do we. */
static const HSM_CLIENT_X509_INTERFACE *usable_interface(void)
{
    const HSM_CLIENT_X509_INTERFACE *hsm = hsm_client_x509_interface();

    if (!hsm || !hsm->hsm_client_x509_create || !hsm->hsm_client_x509_destroy || !hsm->hsm_client_get_cert ||
        !hsm->hsm_client_get_key || !hsm->hsm_client_get_common_name)
        return NULL;
    return hsm;
}

static void x509_close(prov_identity *identity)
{
    free(identity->registration_id);
    free(identity->certificate_pem);
    /* Another HSM library may return a PEM that holds a key; an alias holds none. */
    if (identity->key_pem)
        OPENSSL_cleanse(identity->key_pem, strlen(identity->key_pem));
    free(identity->key_pem);
    if (identity->hsm)
        usable_interface()->hsm_client_x509_destroy(identity->hsm);
    *identity = (prov_identity){.hsm = NULL};
}

static kn_prov_code x509_open(const char *registration_id, prov_identity *ret_identity, prov_error *error)
{
    prov_identity identity = {.hsm = NULL};
    const HSM_CLIENT_X509_INTERFACE *hsm;
    const char *call = "hsm_client_get_common_name";

    if (hsm_client_x509_init() != 0)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_x509_init failed");
    hsm = usable_interface();
    if (!hsm)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_x509_interface has no or not all functions");
    identity.hsm = hsm->hsm_client_x509_create();
    if (!identity.hsm)
        return prov_fail(error, KN_PROV_E_IDENTITY, "hsm_client_x509_create returned NULL");

    identity.registration_id =
        registration_id ? strdup(registration_id) : hsm->hsm_client_get_common_name(identity.hsm);
    if (identity.registration_id) {
        call = "hsm_client_get_cert";
        identity.certificate_pem = hsm->hsm_client_get_cert(identity.hsm);
    }
    if (identity.certificate_pem) {
        call = "hsm_client_get_key";
        identity.key_pem = hsm->hsm_client_get_key(identity.hsm);
    }
    if (!identity.key_pem) {
        x509_close(&identity);
        return prov_fail(error, KN_PROV_E_IDENTITY, "%s returned NULL", call);
    }
    *ret_identity = identity;
    return KN_PROV_OK;
}

const prov_attestation prov_attestation_x509 = {
    .name = "x509",
    .kind = PROV_ATTESTATION_X509,
    .open = x509_open,
    .close = x509_close,
};
