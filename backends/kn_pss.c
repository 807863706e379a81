#include "kn_pss.h"

#include <openssl/asn1t.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static X509_ALGOR *digest_identifier(const kn_digest *digest)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();
    if (algorithm && X509_ALGOR_set0(algorithm, OBJ_txt2obj(digest->name, 0), V_ASN1_NULL, NULL))
        return algorithm;
    X509_ALGOR_free(algorithm);
    return NULL;
}

static RSA_PSS_PARAMS *make_parameters(const kn_digest *digest, const kn_digest *mgf1, size_t salt_bytes)
{
    RSA_PSS_PARAMS *pss = RSA_PSS_PARAMS_new();
    bool ok = pss != NULL;
    if (ok && digest->id != KN_SHA1)
        ok = (pss->hashAlgorithm = digest_identifier(digest)) != NULL;
    if (ok && mgf1->id != KN_SHA1) {
        X509_ALGOR *hash = digest_identifier(mgf1);
        ASN1_STRING *packed = hash ? ASN1_item_pack(hash, ASN1_ITEM_rptr(X509_ALGOR), NULL) : NULL;
        X509_ALGOR_free(hash);
        pss->maskGenAlgorithm = X509_ALGOR_new();
        ok = packed && pss->maskGenAlgorithm &&
             X509_ALGOR_set0(pss->maskGenAlgorithm, OBJ_nid2obj(NID_mgf1), V_ASN1_SEQUENCE, packed);
        if (!ok)
            ASN1_STRING_free(packed);
    }
    if (ok && salt_bytes != 20) {
        pss->saltLength = ASN1_INTEGER_new();
        ok = pss->saltLength && ASN1_INTEGER_set(pss->saltLength, (long)salt_bytes);
    }
    if (ok)
        return pss;
    RSA_PSS_PARAMS_free(pss);
    return NULL;
}

bool kn_pss_set(X509_ALGOR *algorithm, const kn_digest *digest, const kn_digest *mgf1, size_t salt_bytes)
{
    RSA_PSS_PARAMS *pss = make_parameters(digest, mgf1, salt_bytes);
    ASN1_STRING *packed = pss ? ASN1_item_pack(pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS), NULL) : NULL;
    RSA_PSS_PARAMS_free(pss);
    if (packed && X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsassaPss), V_ASN1_SEQUENCE, packed))
        return true;
    ASN1_STRING_free(packed);
    return false;
}

/* @algorithm NULL: SHA1, the DEFAULT. */
static const kn_digest *digest_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *oid;
    if (!algorithm)
        return &kn_digests[KN_SHA1];
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    for (size_t i = 0; i < KN_DIGEST_COUNT; i++)
        if (OBJ_obj2nid(oid) == OBJ_txt2nid(kn_digests[i].name))
            return &kn_digests[i];
    return NULL;
}

static const kn_digest *mgf1_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *oid;
    int type;
    const void *parameters;
    if (!algorithm)
        return &kn_digests[KN_SHA1];
    X509_ALGOR_get0(&oid, &type, &parameters, algorithm);
    if (OBJ_obj2nid(oid) != NID_mgf1 || type != V_ASN1_SEQUENCE)
        return NULL;
    X509_ALGOR *hash = ASN1_item_unpack(parameters, ASN1_ITEM_rptr(X509_ALGOR));
    const kn_digest *digest = hash ? digest_of(hash) : NULL;
    X509_ALGOR_free(hash);
    return digest;
}

kn_err kn_pss_get(int type, const void *parameters, const kn_digest **ret_digest, const kn_digest **ret_mgf1,
                  size_t *ret_salt_bytes)
{
    RSA_PSS_PARAMS *pss =
        type == V_ASN1_SEQUENCE ? ASN1_item_unpack(parameters, ASN1_ITEM_rptr(RSA_PSS_PARAMS)) : NULL;
    if (!pss)
        return kn_fail(KN_E_KEY_TYPE, "an RSA-PSS key whose parameters are not valid DER");
    const kn_digest *digest = digest_of(pss->hashAlgorithm), *mgf1 = mgf1_of(pss->maskGenAlgorithm);
    long salt = pss->saltLength ? ASN1_INTEGER_get(pss->saltLength) : 20;
    bool trailer = !pss->trailerField || ASN1_INTEGER_get(pss->trailerField) == 1;
    RSA_PSS_PARAMS_free(pss);
    if (!digest || !mgf1 || salt < 0 || salt > 512 || !trailer)
        return kn_fail(KN_E_KEY_TYPE, "an RSA-PSS key with restrictions that are not supported");
    *ret_digest = digest;
    *ret_mgf1 = mgf1;
    *ret_salt_bytes = (size_t)salt;
    return kn_success();
}
