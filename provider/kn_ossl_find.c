#include "kn_ossl_find.h"

#include "kn_crypto.h"
#include "kn_ossl_digest.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <string.h>

const OSSL_PARAM kn_ossl_find_settable[] = {
    OSSL_PARAM_int(OSSL_STORE_PARAM_EXPECT, NULL),
    OSSL_PARAM_octet_string(OSSL_STORE_PARAM_SUBJECT, NULL, 0),
    OSSL_PARAM_octet_string(OSSL_STORE_PARAM_ISSUER, NULL, 0),
    OSSL_PARAM_BN(OSSL_STORE_PARAM_SERIAL, NULL, 0),
    OSSL_PARAM_utf8_string(OSSL_STORE_PARAM_DIGEST, NULL, 0),
    OSSL_PARAM_octet_string(OSSL_STORE_PARAM_FINGERPRINT, NULL, 0),
    OSSL_PARAM_utf8_string(OSSL_STORE_PARAM_ALIAS, NULL, 0),
    OSSL_PARAM_END,
};

static bool set_bytes(const OSSL_PARAM params[], const char *name, uint8_t **ret_bytes, size_t *ret_length)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
    void *bytes = NULL;
    if (!p)
        return true;
    if (p->data_size > KN_OSSL_FIND_MAX || !OSSL_PARAM_get_octet_string(p, &bytes, 0, ret_length))
        return false;
    OPENSSL_free(*ret_bytes);
    *ret_bytes = bytes;
    return true;
}

static bool set_text(const OSSL_PARAM params[], const char *name, char **ret_text)
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
    char *text = NULL;
    if (!p)
        return true;
    if (p->data_size > KN_OSSL_FIND_MAX || !OSSL_PARAM_get_utf8_string(p, &text, 0))
        return false;
    OPENSSL_free(*ret_text);
    *ret_text = text;
    return true;
}

int kn_ossl_find_set(const kn_ossl *prov, kn_ossl_find *find, const OSSL_PARAM params[])
{
    const OSSL_PARAM *serial = OSSL_PARAM_locate_const(params, OSSL_STORE_PARAM_SERIAL);
    if (set_bytes(params, OSSL_STORE_PARAM_SUBJECT, &find->subject, &find->subject_length) &&
        set_bytes(params, OSSL_STORE_PARAM_ISSUER, &find->issuer, &find->issuer_length) &&
        set_bytes(params, OSSL_STORE_PARAM_FINGERPRINT, &find->fingerprint, &find->fingerprint_length) &&
        set_text(params, OSSL_STORE_PARAM_DIGEST, &find->digest) &&
        set_text(params, OSSL_STORE_PARAM_ALIAS, &find->label) &&
        (!serial || (serial->data_size <= KN_OSSL_FIND_MAX && OSSL_PARAM_get_BN(serial, &find->serial))))
        return 1;
    return kn_ossl_raise(prov, kn_fail(KN_E_ARGUMENT, "a search with a value that is too long or of another type"));
}

void kn_ossl_find_clear(kn_ossl_find *find)
{
    OPENSSL_free(find->subject);
    OPENSSL_free(find->issuer);
    OPENSSL_free(find->fingerprint);
    OPENSSL_free(find->digest);
    OPENSSL_free(find->label);
    BN_free(find->serial);
    *find = (kn_ossl_find){.subject = NULL};
}

bool kn_ossl_find_is_set(const kn_ossl_find *find)
{
    return find->subject || find->issuer || find->fingerprint || find->label;
}

bool kn_ossl_find_names_keys(const kn_ossl_find *find)
{
    return !find->subject && !find->issuer;
}

static bool is_name(const uint8_t *der, size_t length, const X509_NAME *other)
{
    X509_NAME *name = d2i_X509_NAME(NULL, &der, (long)length);
    bool same = name && !X509_NAME_cmp(name, other);
    X509_NAME_free(name);
    return same;
}

static bool is_serial(const BIGNUM *serial, const ASN1_INTEGER *other)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(other, NULL);
    bool same = number && !BN_cmp(serial, number);
    BN_free(number);
    return same;
}

static bool has_digest(kn_ossl *prov, const kn_ossl_find *find, const uint8_t *data, size_t length)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD *md = EVP_MD_fetch(kn_ossl_child(prov), find->digest ? find->digest : "SHA256", NULL);
    bool same = md && EVP_Digest(data, length, digest, &size, md, NULL) && size == find->fingerprint_length &&
                !memcmp(digest, find->fingerprint, size);
    EVP_MD_free(md);
    return same;
}

bool kn_ossl_find_takes_cert(kn_ossl *prov, const kn_ossl_find *find, const uint8_t *der, size_t length)
{
    X509 *cert = kn_crypto_certificate(der, length);
    uint8_t *spki = NULL;
    bool takes = cert != NULL;
    if (takes && find->subject)
        takes = is_name(find->subject, find->subject_length, X509_get_subject_name(cert));
    if (takes && find->issuer)
        takes = is_name(find->issuer, find->issuer_length, X509_get_issuer_name(cert));
    if (takes && find->serial)
        takes = is_serial(find->serial, X509_get0_serialNumber(cert));
    if (takes && find->fingerprint && !has_digest(prov, find, der, length)) {
        int spki_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
        takes = spki_length > 0 && has_digest(prov, find, spki, (size_t)spki_length);
    }
    OPENSSL_free(spki);
    X509_free(cert);
    return takes;
}

bool kn_ossl_find_takes_key(kn_ossl *prov, const kn_ossl_find *find, const kn_public *public)
{
    uint8_t spki[KN_SPKI_MAX];
    size_t length;
    if (!find->fingerprint)
        return true;
    return !kn_failed(kn_public_to_spki(public, spki, &length)) && has_digest(prov, find, spki, length);
}
