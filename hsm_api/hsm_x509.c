/* The X.509 interface: certificate chain, alias key, common name. */
#include "hsm_client_data.h"

#include "hsm_rsa.h"
#include "hsm_state.h"
#include "kn_cert.h"
#include "kn_key.h"
#include "kn_log.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REGISTRATION_ID_MAX 128 /* characters; DPS documentation, "registration ID" */

typedef struct hsm_x509 {
    hsm_x509_settings settings;
} hsm_x509;

static HSM_CLIENT_HANDLE x509_create(void)
{
    hsm_x509 *handle = calloc(1, sizeof *handle);
    kn_err err = handle ? hsm_handle_opened(&handle->settings) : kn_fail(KN_E_NO_MEMORY, "a handle");
    if (kn_failed(err)) {
        hsm_report("hsm_client_x509_create", err);
        free(handle);
        return NULL;
    }
    return handle;
}

static void x509_destroy(HSM_CLIENT_HANDLE arg)
{
    hsm_x509 *handle = arg;
    if (!handle)
        return;
    hsm_settings_free(&handle->settings);
    free(handle);
    hsm_handle_closed();
}

/* ---- the certificate chain ---- */

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

/* From the file or URI of the setting; without one, the certificate that stands beside the key on its token. */
static kn_err read_chain(const hsm_x509 *handle, kn_certs *ret_certs)
{
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    const hsm_x509_settings *s = &handle->settings;
    kn_err err;
    ERR_set_mark();
    if (s->certificate && strncasecmp(s->certificate, "pkcs11:", 7)) {
        err = chain_from_file(s->certificate, ret_certs);
    } else if (s->certificate) {
        err = kn_cert_read_chain(s->ctx, s->certificate, ret_certs);
    } else if (s->key) {
        kn_alias *alias = NULL;
        err = kn_alias_from_argument(s->key, &alias);
        if (!kn_failed(err))
            err = kn_cert_read_chain(s->ctx, kn_alias_uri(alias), ret_certs);
        kn_alias_free(&alias);
    } else {
        err = kn_fail(KN_E_CONFIG, "neither a key nor a certificate is configured for the device");
    }
    ERR_pop_to_mark();
    return err;
}

static kn_err leaf_of(const kn_certs *certs, X509 **ret_leaf)
{
    const unsigned char *der = certs->cert[0].der;
    ERR_set_mark();
    *ret_leaf = d2i_X509(NULL, &der, (long)certs->cert[0].length);
    ERR_pop_to_mark();
    return *ret_leaf ? kn_success() : kn_fail(KN_E_MISMATCH, "the first certificate is not valid DER");
}

static void warn_of_validity(const X509 *cert)
{
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        kn_log(KN_LOG_WARN, "the device certificate has expired: the service will refuse it; renew it");
    else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        kn_log(KN_LOG_WARN, "the device certificate is not valid yet: check the clock of this machine");
}

static char *x509_get_cert(HSM_CLIENT_HANDLE arg)
{
    kn_certs certs = {.count = 0};
    X509 *leaf = NULL;
    char *text = NULL;
    BIO *out = NULL;
    kn_err err = read_chain(arg, &certs);
    if (!kn_failed(err))
        err = leaf_of(&certs, &leaf);
    if (kn_failed(err))
        goto out;
    warn_of_validity(leaf);
    err = kn_fail(KN_E_NO_MEMORY, "the certificate chain");
    out = BIO_new(BIO_s_mem());
    for (size_t i = 0; i < certs.count; i++)
        if (!out || !PEM_write_bio(out, PEM_STRING_X509, "", certs.cert[i].der, (long)certs.cert[i].length))
            goto out;
    char *bytes;
    long length = BIO_get_mem_data(out, &bytes);
    text = strndup(bytes, (size_t)length); /* the SDK releases it with free() */
    if (text)
        err = kn_success();
out:
    BIO_free(out);
    X509_free(leaf);
    kn_certs_free(&certs);
    if (kn_failed(err))
        hsm_report("hsm_client_get_cert", err);
    return text;
}

/* ---- the alias key ---- */

/* OpenSSL drops a key that does not match the certificate and connects without either, so this must be said here. */
static kn_err check_match(const hsm_x509 *handle, const kn_key *key)
{
    kn_certs certs = {.count = 0};
    kn_public certified;
    kn_err err = read_chain(handle, &certs);
    if (!kn_failed(err))
        err = kn_public_from_certificate(certs.cert[0].der, certs.cert[0].length, &certified);
    if (!kn_failed(err) && !kn_public_equal(&certified, kn_key_public(key))) {
        char shown[256];
        kn_uri_redact(handle->settings.key, shown, sizeof shown);
        err = kn_fail(KN_E_MISMATCH, "the first certificate of the chain is of another key than %s", shown);
    }
    kn_certs_free(&certs);
    return err;
}

static kn_err make_alias_pem(const hsm_x509 *handle, char **ret_pem)
{
    if (!handle)
        return kn_fail(KN_E_ARGUMENT, "the handle is NULL");
    const hsm_x509_settings *s = &handle->settings;
    kn_alias *given = NULL, *alias = NULL, *bare = NULL;
    kn_key *key = NULL;
    if (!s->key)
        return kn_fail(KN_E_CONFIG, "no key is configured for the device");
    kn_err err = kn_alias_from_argument(s->key, &given);
    /* Opened by the URI alone, so that the token is asked now and an error is told here, not in a handshake. */
    if (!kn_failed(err))
        err = kn_alias_new(kn_alias_uri(given), NULL, &bare);
    if (!kn_failed(err))
        err = kn_key_open(s->ctx, bare, &key);
    if (err.code == KN_E_NO_PUBLIC && kn_alias_public(given))
        err = kn_key_open(s->ctx, given, &key); /* a token that has the private key only */
    if (!kn_failed(err) && kn_alias_public(given) && !kn_public_equal(kn_alias_public(given), kn_key_public(key)))
        err = kn_fail(KN_E_KEY_CHANGED, "the alias carries another public key than the token");
    if (!kn_failed(err))
        err = check_match(handle, key);
    if (!kn_failed(err))
        err = kn_alias_complete(s->ctx, kn_alias_uri(given), kn_key_public(key), &alias);
    if (!kn_failed(err) && kn_key_public(key)->alg->type == KN_KEY_RSA)
        err = hsm_rsa_pem(alias, ret_pem);
    else if (!kn_failed(err))
        err = kn_alias_to_pem(alias, ret_pem);
    kn_key_unref(&key);
    kn_alias_free(&bare);
    kn_alias_free(&given);
    kn_alias_free(&alias);
    return err;
}

static char *x509_get_key(HSM_CLIENT_HANDLE arg)
{
    char *pem = NULL;
    kn_err err = make_alias_pem(arg, &pem);
    if (kn_failed(err))
        hsm_report("hsm_client_get_key", err);
    return pem;
}

/* ---- the common name ---- */

static bool is_registration_id(const char *id, size_t length)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:";
    if (length == 0 || length > REGISTRATION_ID_MAX || strspn(id, allowed) != length)
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
    if (length < 0 || !is_registration_id((const char *)utf8, (size_t)length))
        err = kn_fail(KN_E_CERTIFICATE,
                      "the common name of the device certificate cannot be a registration id, which is 1 to %d "
                      "letters, digits and - . _ :, the last a letter, a digit or -: a certificate with another name "
                      "is needed",
                      REGISTRATION_ID_MAX);
    else if (!(*ret_name = strndup((const char *)utf8, (size_t)length)))
        err = kn_fail(KN_E_NO_MEMORY, "the common name");
    OPENSSL_free(utf8);
    return err;
}

static char *x509_get_common_name(HSM_CLIENT_HANDLE arg)
{
    kn_certs certs = {.count = 0};
    X509 *leaf = NULL;
    char *name = NULL;
    kn_err err = read_chain(arg, &certs);
    if (!kn_failed(err))
        err = leaf_of(&certs, &leaf);
    if (!kn_failed(err))
        err = common_name(leaf, &name);
    X509_free(leaf);
    kn_certs_free(&certs);
    if (kn_failed(err))
        hsm_report("hsm_client_get_common_name", err);
    return name;
}

/* ---- the SDK's symbols ---- */

int hsm_client_x509_init(void)
{
    kn_err err = hsm_init();
    if (kn_failed(err))
        hsm_report("hsm_client_x509_init", err);
    return kn_failed(err) ? 1 : 0;
}

void hsm_client_x509_deinit(void)
{
    hsm_deinit();
}

const HSM_CLIENT_X509_INTERFACE *hsm_client_x509_interface(void)
{
    static const HSM_CLIENT_X509_INTERFACE table = {
        .hsm_client_x509_create = x509_create,
        .hsm_client_x509_destroy = x509_destroy,
        .hsm_client_get_cert = x509_get_cert,
        .hsm_client_get_key = x509_get_key,
        .hsm_client_get_common_name = x509_get_common_name,
    };
    return &table;
}
