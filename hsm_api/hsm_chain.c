#include "hsm_chain.h"

#include "kn_alias.h"
#include "kn_log.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- reading ---- */

/* Without what stands behind a certificate: the trust settings of a TRUSTED CERTIFICATE. */
static kn_err add_certificate(kn_certs *certs, const unsigned char *der, long length)
{
    const unsigned char *end = der;
    X509 *cert = d2i_X509(NULL, &end, length);
    if (!cert)
        return kn_fail(KN_E_CERTIFICATE, "certificate %zu is not valid DER", certs->count + 1);
    X509_free(cert);
    return kn_certs_add(certs, der, (size_t)(end - der));
}

/* A damaged block is an error, also behind a good one: the SDK would go on with half a chain and say nothing. */
static kn_err add_pem(BIO *in, kn_certs *certs)
{
    kn_err err = kn_success();
    while (!kn_failed(err)) {
        char *label = NULL, *header = NULL;
        unsigned char *der = NULL;
        long length = 0;
        if (!PEM_read_bio(in, &label, &header, &der, &length)) {
            if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                err = kn_fail(KN_E_CERTIFICATE, "the PEM block after certificate %zu is damaged", certs->count);
            else if (certs->count == 0)
                err = kn_fail(KN_E_NO_CERTIFICATE, "it has no PEM certificate");
            break;
        }
        if (!strcmp(label, PEM_STRING_X509) || !strcmp(label, PEM_STRING_X509_TRUSTED))
            err = add_certificate(certs, der, length);
        OPENSSL_free(label);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)length); /* a software key may stand in the same file */
    }
    return err;
}

static kn_err chain_from_file(const char *path, kn_certs *ret_certs)
{
    BIO *in = BIO_new_file(path, "r");
    if (!in)
        return kn_fail(KN_E_IO, "certificate file %s: %s", path, strerror(errno));
    kn_certs certs = {.count = 0};
    kn_err err = add_pem(in, &certs);
    BIO_free(in);
    if (kn_failed(err)) {
        kn_certs_free(&certs);
        return kn_fail_within(err, "certificate file %s", path);
    }
    *ret_certs = certs;
    return err;
}

kn_err hsm_chain_read(const hsm_settings *s, kn_certs *ret_certs)
{
    const char *certificate = s->value[HSM_CERTIFICATE], *key = s->value[HSM_KEY];
    kn_err err;
    ERR_set_mark();
    if (certificate && strncasecmp(certificate, "pkcs11:", 7)) {
        err = chain_from_file(certificate, ret_certs);
    } else if (certificate) {
        err = kn_cert_read_chain(s->ctx, certificate, ret_certs);
    } else if (key) {
        kn_alias *alias = NULL;
        err = kn_alias_from_argument(key, &alias);
        if (!kn_failed(err))
            err = kn_cert_read_chain(s->ctx, kn_alias_uri(alias), ret_certs);
        kn_alias_free(&alias);
    } else {
        err = kn_fail(KN_E_CONFIG, "neither a key nor a certificate is configured for the device");
    }
    ERR_pop_to_mark();
    return err;
}

kn_err hsm_chain_pem(const kn_certs *certs, char **ret_pem)
{
    char *bytes, *text = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    bool good = out != NULL;
    for (size_t i = 0; good && i < certs->count; i++)
        good = PEM_write_bio(out, PEM_STRING_X509, "", certs->cert[i].der, (long)certs->cert[i].length) > 0;
    if (good) {
        long length = BIO_get_mem_data(out, &bytes);
        text = strndup(bytes, (size_t)length); /* the SDK releases it with free() */
    }
    BIO_free(out);
    if (!text)
        return kn_fail(KN_E_NO_MEMORY, "the certificate chain");
    *ret_pem = text;
    return kn_success();
}

/* ---- looking at it ---- */

static X509 *parse(const kn_certs *certs, size_t index)
{
    const unsigned char *der = certs->cert[index].der;
    ERR_set_mark();
    X509 *cert = d2i_X509(NULL, &der, (long)certs->cert[index].length);
    ERR_pop_to_mark();
    return cert;
}

void hsm_chain_warn(const kn_certs *certs)
{
    static const char *const whose[] = {"the device certificate", "a certificate of the chain (an issuer)"};
    for (size_t i = 0; i < certs->count; i++) {
        X509 *cert = parse(certs, i);
        if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
            kn_log(KN_LOG_WARN, "%s has expired: the service will refuse it; renew it", whose[i > 0]);
        else if (cert && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
            kn_log(KN_LOG_WARN, "%s is not valid yet: check the clock of this machine", whose[i > 0]);
        X509_free(cert);
    }
}

bool hsm_is_registration_id(const char *id, size_t length)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:";
    if (length == 0 || length > HSM_REGISTRATION_ID_MAX || strspn(id, allowed) != length)
        return false;
    return !strchr("._:", id[length - 1]);
}

static kn_err common_name(const X509 *leaf, char **ret_name)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return kn_fail(KN_E_CERTIFICATE, "the device certificate has no common name");
    unsigned char *utf8 = NULL;
    int length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    kn_err err = kn_success();
    if (length < 0 || !hsm_is_registration_id((const char *)utf8, (size_t)length))
        err = kn_fail(KN_E_CERTIFICATE,
                      "the common name of the device certificate cannot be a registration id, which is 1 to %d "
                      "letters, digits and - . _ :, the last a letter, a digit or -: a certificate with another name "
                      "is needed",
                      HSM_REGISTRATION_ID_MAX);
    else if (!(*ret_name = strndup((const char *)utf8, (size_t)length)))
        err = kn_fail(KN_E_NO_MEMORY, "the common name");
    OPENSSL_free(utf8);
    return err;
}

kn_err hsm_chain_name(const kn_certs *certs, char **ret_name)
{
    X509 *leaf = parse(certs, 0);
    kn_err err = leaf ? common_name(leaf, ret_name)
                      : kn_fail(KN_E_CERTIFICATE, "the first certificate is not valid DER");
    X509_free(leaf);
    return err;
}
