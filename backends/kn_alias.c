#include "kn_alias.h"

#include "kn_backend.h"

#include <errno.h>
#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIAS_VERSION 1

struct kn_alias {
    char *uri;
    bool has_public;
    kn_public public;
};

/* KeynymAlias ::= SEQUENCE { version INTEGER, uri UTF8String, publicKey [0] EXPLICIT SubjectPublicKeyInfo
 * OPTIONAL }. The public key is kept as bytes: see KN_SPKI in kn_public.c for why. */
typedef struct {
    int32_t version;
    ASN1_UTF8STRING *uri;
    ASN1_STRING *public_key;
} KN_ALIAS;

DECLARE_ASN1_FUNCTIONS(KN_ALIAS)
ASN1_SEQUENCE(KN_ALIAS) = {
    ASN1_EMBED(KN_ALIAS, version, INT32),
    ASN1_SIMPLE(KN_ALIAS, uri, ASN1_UTF8STRING),
    ASN1_EXP_OPT(KN_ALIAS, public_key, ASN1_SEQUENCE, 0),
} ASN1_SEQUENCE_END(KN_ALIAS)
IMPLEMENT_ASN1_FUNCTIONS(KN_ALIAS)

/* pkcs11-provider's: SEQUENCE { description VisibleString, uri UTF8String } */
#define FOREIGN_DESCRIPTION "PKCS#11 Provider URI v1.0"

typedef struct {
    ASN1_VISIBLESTRING *description;
    ASN1_UTF8STRING *uri;
} KN_FOREIGN;

DECLARE_ASN1_FUNCTIONS(KN_FOREIGN)
ASN1_SEQUENCE(KN_FOREIGN) = {
    ASN1_SIMPLE(KN_FOREIGN, description, ASN1_VISIBLESTRING),
    ASN1_SIMPLE(KN_FOREIGN, uri, ASN1_UTF8STRING),
} ASN1_SEQUENCE_END(KN_FOREIGN)
IMPLEMENT_ASN1_FUNCTIONS(KN_FOREIGN)

kn_err kn_alias_new(const char *uri, const kn_public *public, kn_alias **ret_alias)
{
    if (strnlen(uri, KN_ALIAS_URI_MAX + 1) > KN_ALIAS_URI_MAX)
        return kn_fail(KN_E_URI_MALFORMED, "longer than %d bytes", KN_ALIAS_URI_MAX);
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (!kn_failed(err))
        err = backend->uri_check(uri);
    if (kn_failed(err))
        return err;
    kn_alias *alias = calloc(1, sizeof *alias);
    if (alias)
        alias->uri = strdup(uri);
    if (!alias || !alias->uri) {
        kn_alias_free(&alias);
        return kn_fail(KN_E_NO_MEMORY, "an alias");
    }
    alias->has_public = public != NULL;
    if (public)
        alias->public = *public;
    *ret_alias = alias;
    return kn_success();
}

/* d2i accepts BER; what does not come out again as the same bytes was not DER. */
static bool is_der(const KN_ALIAS *asn1, const uint8_t *der, size_t length)
{
    uint8_t *again = NULL;
    int again_length = i2d_KN_ALIAS(asn1, &again);
    bool same = again_length > 0 && (size_t)again_length == length && !memcmp(again, der, length);
    OPENSSL_free(again);
    return same;
}

static kn_err from_uri(const ASN1_STRING *string, const kn_public *public, kn_alias **ret_alias)
{
    const char *uri = (const char *)ASN1_STRING_get0_data(string);
    size_t length = (size_t)ASN1_STRING_length(string);
    char text[KN_ALIAS_URI_MAX + 1];
    if (length == 0 || length > KN_ALIAS_URI_MAX || memchr(uri, 0, length))
        return kn_fail(KN_E_ALIAS_MALFORMED, "its URI is empty, too long, or holds a NUL");
    memcpy(text, uri, length);
    text[length] = '\0';
    if (kn_uri_has_pin(text)) {
        explicit_bzero(text, sizeof text);
        return kn_fail(KN_E_ALIAS_SECRET, "its URI has pin-value");
    }
    return kn_alias_new(text, public, ret_alias);
}

static kn_err from_asn1(const KN_ALIAS *asn1, kn_alias **ret_alias)
{
    kn_public public;
    if (asn1->version != ALIAS_VERSION)
        return kn_fail(KN_E_ALIAS_MALFORMED, "version %ld; this program knows version %d", (long)asn1->version,
                       ALIAS_VERSION);
    if (asn1->public_key) {
        kn_err err = kn_public_from_spki(ASN1_STRING_get0_data(asn1->public_key),
                                         (size_t)ASN1_STRING_length(asn1->public_key), &public);
        if (kn_failed(err))
            return err;
    }
    return from_uri(asn1->uri, asn1->public_key ? &public : NULL, ret_alias);
}

static kn_err from_foreign_der(const uint8_t *der, size_t length, kn_alias **ret_alias)
{
    const uint8_t *end = der;
    KN_FOREIGN *asn1 = d2i_KN_FOREIGN(NULL, &end, (long)length);
    kn_err err;
    if (!asn1)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "not the SEQUENCE of a " KN_ALIAS_PEM_LABEL_FOREIGN);
    else if (end != der + length)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "%zu bytes follow the SEQUENCE", (size_t)(der + length - end));
    else if (ASN1_STRING_length(asn1->description) != sizeof FOREIGN_DESCRIPTION - 1 ||
             memcmp(ASN1_STRING_get0_data(asn1->description), FOREIGN_DESCRIPTION, sizeof FOREIGN_DESCRIPTION - 1))
        err = kn_fail(KN_E_ALIAS_MALFORMED, "its description is not '" FOREIGN_DESCRIPTION "'");
    else
        err = from_uri(asn1->uri, NULL, ret_alias);
    KN_FOREIGN_free(asn1);
    return err;
}

/* Where the contents of a SEQUENCE begin; 0: it is none. */
static size_t contents_of(const uint8_t *der, size_t length)
{
    if (length < 2 || der[0] != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED))
        return 0;
    size_t header = der[1] < 0x80 ? 2 : 2 + (size_t)(der[1] & 0x7f);
    return header < length ? header : 0;
}

static bool is_foreign(const uint8_t *der, size_t length)
{
    size_t at = contents_of(der, length);
    return at && der[at] == V_ASN1_VISIBLESTRING;
}

/* The backend whose key file it looks like; NULL: none. */
static const kn_backend *key_file_of(const uint8_t *der, size_t length)
{
    for (size_t i = 0; kn_backends[i]; i++)
        if (kn_backends[i]->key_file && kn_backends[i]->key_file->looks_like(der, length))
            return kn_backends[i];
    return NULL;
}

static kn_err from_key_file(const kn_backend *backend, const uint8_t *der, size_t length, kn_alias **ret_alias)
{
    char *uri = NULL;
    kn_public public;
    kn_err err = backend->key_file->to_uri(der, length, &uri, &public);
    if (!kn_failed(err))
        err = kn_alias_new(uri, &public, ret_alias);
    free(uri);
    return err;
}

bool kn_alias_looks_like_der(const uint8_t *der, size_t length)
{
    size_t at = contents_of(der, length);
    bool ours = at && length > at + 3 && der[at] == V_ASN1_INTEGER && der[at + 1] == 1 &&
                der[at + 3] == V_ASN1_UTF8STRING;
    return ours || is_foreign(der, length) || key_file_of(der, length);
}

static kn_err from_own_der(const uint8_t *der, size_t length, kn_alias **ret_alias)
{
    const uint8_t *end = der;
    KN_ALIAS *asn1 = d2i_KN_ALIAS(NULL, &end, (long)length);
    kn_err err;
    if (!asn1)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "not the SEQUENCE of an alias");
    else if (end != der + length)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "%zu bytes follow the SEQUENCE", (size_t)(der + length - end));
    else if (!is_der(asn1, der, length))
        err = kn_fail(KN_E_ALIAS_MALFORMED, "BER, not DER");
    else
        err = from_asn1(asn1, ret_alias);
    KN_ALIAS_free(asn1);
    return err;
}

kn_err kn_alias_from_der(const uint8_t *der, size_t length, kn_alias **ret_alias)
{
    if (length == 0 || length > KN_ALIAS_DER_MAX)
        return kn_fail(KN_E_ALIAS_MALFORMED, "%zu bytes of DER; 1 to %d are possible", length, KN_ALIAS_DER_MAX);
    const kn_backend *backend = key_file_of(der, length);
    if (backend)
        return from_key_file(backend, der, length, ret_alias);
    ERR_set_mark();
    kn_err err = is_foreign(der, length) ? from_foreign_der(der, length, ret_alias)
                                         : from_own_der(der, length, ret_alias);
    ERR_pop_to_mark();
    return err;
}

static bool is_label(const char *label, size_t length)
{
    static const char *const own[] = {KN_ALIAS_PEM_LABEL, KN_ALIAS_PEM_LABEL_FOREIGN};
    bool is = false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        is |= strlen(own[i]) == length && !memcmp(own[i], label, length);
    for (size_t i = 0; kn_backends[i]; i++) {
        const kn_key_file_functions *file = kn_backends[i]->key_file;
        is |= file && strlen(file->pem_label) == length && !memcmp(file->pem_label, label, length);
    }
    return is;
}

bool kn_alias_is_pem_begin(const char *line)
{
    static const char begin[] = "-----BEGIN ";
    const char *label = line + sizeof begin - 1;
    const char *end = strncmp(line, begin, sizeof begin - 1) ? NULL : strstr(label, "-----");
    return end && is_label(label, (size_t)(end - label));
}

kn_err kn_alias_pem_to_der(const char *pem, size_t length, uint8_t ret_der[KN_ALIAS_DER_MAX], size_t *ret_length)
{
    if (length > KN_ALIAS_PEM_MAX)
        return kn_fail(KN_E_ALIAS_MALFORMED, "more than %d bytes of PEM", KN_ALIAS_PEM_MAX);
    char *label = NULL, *header = NULL;
    uint8_t *der = NULL;
    long der_length = 0;
    kn_err err = kn_success();
    ERR_set_mark();
    BIO *bio = BIO_new_mem_buf(pem, (int)length);
    if (!bio)
        err = kn_fail(KN_E_NO_MEMORY, "the PEM of an alias");
    else if (!PEM_read_bio(bio, &label, &header, &der, &der_length))
        err = kn_fail(KN_E_ALIAS_MALFORMED, "not a PEM block: a line or the base64 is damaged");
    else if (!is_label(label, strlen(label)))
        err = kn_fail(KN_E_ALIAS_MALFORMED, "the PEM label is '%.60s'", label);
    else if (*header)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "the PEM block has headers, and an alias is never encrypted");
    else if (der_length > KN_ALIAS_DER_MAX)
        err = kn_fail(KN_E_ALIAS_MALFORMED, "more than %d bytes of DER", KN_ALIAS_DER_MAX);
    if (!kn_failed(err)) {
        memcpy(ret_der, der, (size_t)der_length);
        *ret_length = (size_t)der_length;
    }
    ERR_pop_to_mark();
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    return err;
}

kn_err kn_alias_from_pem(const char *pem, size_t length, kn_alias **ret_alias)
{
    uint8_t der[KN_ALIAS_DER_MAX];
    size_t der_length;
    kn_err err = kn_alias_pem_to_der(pem, length, der, &der_length);
    return kn_failed(err) ? err : kn_alias_from_der(der, der_length, ret_alias);
}

static kn_err from_file(const char *path, kn_alias **ret_alias)
{
    char shown[256]; /* a URI with a misspelt scheme is taken for a path, and may hold a PIN */
    kn_uri_redact(path, shown, sizeof shown);
    FILE *file = fopen(path, "re");
    if (!file)
        return kn_fail(KN_E_IO, "alias file %s: %s", shown, strerror(errno));
    char text[KN_ALIAS_PEM_MAX + 1];
    size_t length = fread(text, 1, sizeof text, file);
    kn_err err = ferror(file) ? kn_fail(KN_E_IO, "alias file %s: %s", shown, strerror(errno))
                              : kn_alias_from_pem(text, length, ret_alias);
    (void)fclose(file);
    return err.code == KN_E_ALIAS_MALFORMED ? kn_fail_within(err, "%s", shown) : err;
}

kn_err kn_alias_from_argument(const char *uri_or_path, kn_alias **ret_alias)
{
    const kn_backend *backend;
    if (strchr(uri_or_path, ':') && !kn_failed(kn_backend_for_uri(uri_or_path, &backend)))
        return kn_alias_new(uri_or_path, NULL, ret_alias);
    return from_file(uri_or_path, ret_alias);
}

kn_err kn_alias_complete(kn_ctx *ctx, const char *uri, const kn_public *public, kn_alias **ret_alias)
{
    const kn_backend *backend;
    char *complete = NULL;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (!kn_failed(err) && kn_uri_has_pin(uri))
        err = kn_fail(KN_E_ALIAS_SECRET, "its URI has pin-value");
    if (!kn_failed(err))
        err = backend->uri_complete(kn_ctx_state(ctx, backend), uri, &complete);
    if (!kn_failed(err))
        err = kn_alias_new(complete, public, ret_alias);
    free(complete);
    return err;
}

kn_err kn_alias_with_label(const kn_alias *alias, const char *label, kn_alias **ret_alias)
{
    const kn_backend *backend;
    char *uri = NULL;
    kn_err err = kn_backend_for_uri(alias->uri, &backend);
    if (!kn_failed(err))
        err = backend->uri_with_label(alias->uri, label, &uri);
    if (!kn_failed(err))
        err = kn_alias_new(uri, NULL, ret_alias);
    if (uri)
        explicit_bzero(uri, strlen(uri)); /* may hold pin-value */
    free(uri);
    return err;
}

kn_err kn_alias_to_der(const kn_alias *alias, uint8_t **ret_der, size_t *ret_length)
{
    if (kn_uri_has_pin(alias->uri))
        return kn_fail(KN_E_ALIAS_SECRET, "its URI has pin-value");
    kn_err err = kn_fail(KN_E_NO_MEMORY, "the DER of an alias");
    uint8_t *der = NULL, *copy = NULL;
    KN_ALIAS *asn1 = KN_ALIAS_new();
    if (!asn1 || !ASN1_STRING_set(asn1->uri, alias->uri, -1))
        goto out;
    asn1->version = ALIAS_VERSION;
    if (alias->has_public) {
        uint8_t spki[KN_SPKI_MAX];
        size_t spki_length;
        err = kn_public_to_spki(&alias->public, spki, &spki_length);
        if (kn_failed(err))
            goto out;
        err = kn_fail(KN_E_NO_MEMORY, "the DER of an alias");
        asn1->public_key = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
        if (!asn1->public_key || !ASN1_STRING_set(asn1->public_key, spki, (int)spki_length))
            goto out;
    }
    int length = i2d_KN_ALIAS(asn1, &der);
    copy = length > 0 ? malloc((size_t)length) : NULL;
    if (!copy)
        goto out;
    memcpy(copy, der, (size_t)length);
    *ret_der = copy;
    *ret_length = (size_t)length;
    err = kn_success();
out:
    OPENSSL_free(der);
    KN_ALIAS_free(asn1);
    return err;
}

kn_err kn_alias_to_pem(const kn_alias *alias, char **ret_pem)
{
    uint8_t *der = NULL;
    size_t der_length;
    kn_err err = kn_alias_to_der(alias, &der, &der_length);
    if (kn_failed(err))
        return err;
    char *text, *copy = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && PEM_write_bio(bio, KN_ALIAS_PEM_LABEL, "", der, (long)der_length)) {
        long length = BIO_get_mem_data(bio, &text);
        copy = strndup(text, (size_t)length);
    }
    BIO_free(bio);
    free(der);
    if (!copy)
        return kn_fail(KN_E_NO_MEMORY, "the PEM of an alias");
    *ret_pem = copy;
    return kn_success();
}

const char *kn_alias_uri(const kn_alias *alias)
{
    return alias->uri;
}

const kn_public *kn_alias_public(const kn_alias *alias)
{
    return alias->has_public ? &alias->public : NULL;
}

void kn_alias_free(kn_alias **alias)
{
    if (!*alias)
        return;
    if ((*alias)->uri) {
        explicit_bzero((*alias)->uri, strlen((*alias)->uri)); /* a URI that was typed may hold pin-value */
        free((*alias)->uri);
    }
    free(*alias);
    *alias = NULL;
}
