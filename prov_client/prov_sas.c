#include "prov_sas.h"

#include "prov_names.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

kn_prov_code prov_sas_make_until(const prov_identity *identity, const char *resource, const char *policy,
                                 int64_t expiry_s, char **ret_token, prov_error *error)
{
    char encoded[3 * 400 + 1], text[sizeof encoded + 24], name[3 * 128 + 1] = "";
    unsigned char mac[PROV_MAC_BYTES];
    char base64[4 * ((PROV_MAC_BYTES + 2) / 3) + 1], signature[3 * sizeof base64];
    kn_prov_code code;
    int length;

    if (!prov_percent_encode(resource, encoded, sizeof encoded))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the resource of the SAS token is too long");
    if (policy && !prov_percent_encode(policy, name, sizeof name))
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the policy of the SAS token is too long");
    length = snprintf(text, sizeof text, "%s\n%" PRId64, encoded, expiry_s);
    if ((code = identity->sign(identity, (const unsigned char *)text, (size_t)length, mac, error)))
        return code;
    (void)EVP_EncodeBlock((unsigned char *)base64, mac, sizeof mac);
    if (!prov_percent_encode(base64, signature, sizeof signature)) /* there is room for any Base64 */
        signature[0] = '\0';
    length = asprintf(ret_token, "SharedAccessSignature sr=%s&sig=%s&se=%" PRId64 "%s%s", encoded, signature,
                      expiry_s, policy ? "&skn=" : "", name);
    OPENSSL_cleanse(mac, sizeof mac);
    OPENSSL_cleanse(base64, sizeof base64);
    OPENSSL_cleanse(signature, sizeof signature);
    if (length < 0) {
        *ret_token = NULL;
        return prov_fail(error, KN_PROV_E_MEMORY, "no memory for the SAS token");
    }
    if ((size_t)length >= PROV_SAS_TOKEN_MAX) {
        prov_sas_free(ret_token);
        return prov_fail(error, KN_PROV_E_ARGUMENT, "the SAS token would have %d bytes, at most %u", length, PROV_SAS_TOKEN_MAX - 1);
    }
    return KN_PROV_OK;
}

kn_prov_code prov_sas_make(const prov_identity *identity, const char *resource, const char *policy,
                           uint32_t lifetime_s, char **ret_token, prov_error *error)
{
    return prov_sas_make_until(identity, resource, policy, (int64_t)time(NULL) + lifetime_s, ret_token,
                               error);
}

void prov_sas_free(char **token)
{
    if (*token)
        OPENSSL_cleanse(*token, strlen(*token));
    free(*token);
    *token = NULL;
}
