#include "p11_cert.h"

#include "p11_key.h"

#include "../kn_crypto.h"
#include "../kn_ecdsa.h"

#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

/* What one operation is about. */
typedef struct chain {
    p11_uri *uri;
    kn_certs *read;
    const kn_certs *write;
    void (*row)(const kn_object_info *info, void *arg); /* of a list */
    void *row_arg;
    bool listed; /* a row was shown: the list is not begun again */
} chain;

static const CK_OBJECT_CLASS certificate_class = CKO_CERTIFICATE;

/* The DER parts of a certificate that PKCS#11 keeps as attributes. */
typedef struct parts {
    X509 *x509;
    uint8_t *subject, *issuer, *serial;
    int subject_length, issuer_length, serial_length;
} parts;

static void parts_free(parts *p)
{
    OPENSSL_free(p->subject);
    OPENSSL_free(p->issuer);
    OPENSSL_free(p->serial);
    X509_free(p->x509);
    *p = (parts){0};
}

static kn_err parts_of(const uint8_t *der, size_t length, parts *ret_parts)
{
    parts p = {.x509 = kn_crypto_certificate(der, length)};
    if (!p.x509)
        return kn_fail(KN_E_DATA_SIZE, "a certificate is not valid DER");
    p.subject_length = i2d_X509_NAME(X509_get_subject_name(p.x509), &p.subject);
    p.issuer_length = i2d_X509_NAME(X509_get_issuer_name(p.x509), &p.issuer);
    p.serial_length = i2d_ASN1_INTEGER(X509_get0_serialNumber(p.x509), &p.serial);
    if (p.subject_length <= 0 || p.issuer_length <= 0 || p.serial_length <= 0) {
        parts_free(&p);
        return kn_fail(KN_E_CRYPTO, "reading the names of a certificate");
    }
    *ret_parts = p;
    return kn_success();
}

static bool is_self_issued(const parts *p)
{
    return p->subject_length == p->issuer_length && !memcmp(p->subject, p->issuer, (size_t)p->subject_length);
}

static kn_err read_value(p11_call *call, CK_OBJECT_HANDLE handle, kn_certs *certs)
{
    CK_ULONG length = KN_CERT_MAX;
    uint8_t *der = malloc(length);
    if (!der)
        return kn_fail(KN_E_NO_MEMORY, "a certificate");
    kn_err err = p11_read(call, handle, CKA_VALUE, der, &length);
    if (!kn_failed(err))
        err = kn_certs_add(certs, der, length);
    free(der);
    return err;
}

static kn_err find_leaf(p11_call *call, const p11_uri *uri, CK_OBJECT_HANDLE *ret_handle)
{
    CK_ATTRIBUTE template[4] = {p11_attribute(CKA_CLASS, &certificate_class, sizeof certificate_class)};
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG n = 1, count;
    char wanted[200];
    p11_uri_show(uri, wanted, sizeof wanted);
    if (uri->id.pValue)
        template[n++] = uri->id;
    if (uri->label.pValue)
        template[n++] = uri->label;
    kn_err err = p11_search(call, template, n, 1, handles, &count);
    if (kn_failed(err))
        return err;
    if (count == 0)
        return kn_fail(KN_E_NO_CERTIFICATE, "%s on token '%s'", wanted, call->token->label);
    if (count > 1)
        return kn_fail(KN_E_AMBIGUOUS, "%s matches more than one certificate on token '%s'", wanted,
                       call->token->label);
    *ret_handle = handles[0];
    return kn_success();
}

/* The one certificate among those with the right subject whose key verifies @child. */
static kn_err add_issuer(p11_call *call, const parts *child, kn_certs *certs, bool *ret_found)
{
    CK_ATTRIBUTE template[] = {
        p11_attribute(CKA_CLASS, &certificate_class, sizeof certificate_class),
        p11_attribute(CKA_SUBJECT, child->issuer, (size_t)child->issuer_length),
    };
    CK_OBJECT_HANDLE handles[P11_MATCHES_MAX + 1];
    CK_ULONG count;
    *ret_found = false;
    kn_err err = p11_search(call, template, 2, P11_MATCHES_MAX, handles, &count);
    for (CK_ULONG i = 0; !kn_failed(err) && !*ret_found && i < count; i++) {
        kn_certs one = {.count = 0};
        parts p = {0};
        err = read_value(call, handles[i], &one);
        if (!kn_failed(err))
            err = parts_of(one.cert[0].der, one.cert[0].length, &p);
        if (!kn_failed(err) && kn_crypto_issued(p.x509, child->x509)) {
            *ret_found = true;
            err = kn_certs_add(certs, one.cert[0].der, one.cert[0].length);
        }
        parts_free(&p);
        kn_certs_free(&one);
    }
    return err;
}

static kn_err follow_issuers(p11_call *call, kn_certs *certs)
{
    kn_err err = kn_success();
    bool more = true;
    while (more && !kn_failed(err) && certs->count < KN_CHAIN_MAX) {
        parts p = {0};
        more = false;
        err = parts_of(certs->cert[certs->count - 1].der, certs->cert[certs->count - 1].length, &p);
        if (!kn_failed(err) && !is_self_issued(&p))
            err = add_issuer(call, &p, certs, &more);
        parts_free(&p);
    }
    return err;
}

/* One operation of a certificate's: @step on the token of @text. */
static kn_err run_on_token(void *state, const char *text, bool read_write,
                           p11_step (*step)(p11_call *call, unsigned generation, void *arg), chain *c)
{
    p11_token *token = NULL;
    kn_err err = p11_uri_new(text, &c->uri);
    if (!kn_failed(err))
        err = p11_token_find(state, c->uri, &token);
    const p11_task task = {.uri = c->uri, .read_write = read_write, .step = step, .arg = c};
    if (!kn_failed(err))
        err = p11_run(token, &task);
    p11_uri_free(&c->uri);
    return err;
}

static p11_step read_step(p11_call *call, unsigned generation, void *arg)
{
    chain *c = arg;
    CK_OBJECT_HANDLE leaf = 0;
    (void)generation;
    kn_certs_free(c->read); /* of a try that failed half-way */
    kn_err err = find_leaf(call, c->uri, &leaf);
    if (!kn_failed(err))
        err = read_value(call, leaf, c->read);
    if (!kn_failed(err))
        err = follow_issuers(call, c->read);
    return (p11_step){.err = err, .rv = kn_failed(err) ? call->rv : CKR_OK, .idle = call->rv == CKR_OK};
}

kn_err p11_cert_read_chain(void *state, const char *text, kn_certs *ret_certs)
{
    chain c = {.read = ret_certs};
    return run_on_token(state, text, false, read_step, &c);
}

/* Is the certificate on the token, under @id when that is not empty? Compares the whole DER. */
static kn_err is_stored(p11_call *call, const uint8_t *der, size_t length, const CK_ATTRIBUTE *id, bool *ret_stored)
{
    CK_ATTRIBUTE template[] = {
        p11_attribute(CKA_CLASS, &certificate_class, sizeof certificate_class),
        p11_attribute(CKA_VALUE, der, length),
        *id,
    };
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG count;
    kn_err err = p11_search(call, template, id->ulValueLen ? 3 : 2, 1, handles, &count);
    if (!kn_failed(err))
        *ret_stored = count != 0;
    return err;
}

static kn_err store(p11_call *call, const uint8_t *der, size_t length, const CK_ATTRIBUTE *id,
                    const CK_ATTRIBUTE *label)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static const CK_CERTIFICATE_TYPE x509 = CKC_X_509;
    parts p = {0};
    kn_err err = parts_of(der, length, &p);
    if (kn_failed(err))
        return err;
    CK_ATTRIBUTE template[] = {
        p11_attribute(CKA_CLASS, &certificate_class, sizeof certificate_class),
        p11_attribute(CKA_CERTIFICATE_TYPE, &x509, sizeof x509),
        p11_attribute(CKA_TOKEN, &yes, sizeof yes),
        p11_attribute(CKA_PRIVATE, &no, sizeof no),
        p11_attribute(CKA_SUBJECT, p.subject, (size_t)p.subject_length),
        p11_attribute(CKA_ISSUER, p.issuer, (size_t)p.issuer_length),
        p11_attribute(CKA_SERIAL_NUMBER, p.serial, (size_t)p.serial_length),
        p11_attribute(CKA_VALUE, der, length),
        *label,
        *id,
    };
    CK_ULONG count = sizeof template / sizeof *template - (id->ulValueLen ? 0 : 1);
    CK_OBJECT_HANDLE handle;
    CK_RV rv = call->token->module->fn->C_CreateObject(call->session, template, count, &handle);
    parts_free(&p);
    return rv == CKR_OK ? kn_success() : p11_fail("C_CreateObject", call->token->label, rv);
}

static kn_err store_leaf(p11_call *call, const p11_object *key, const uint8_t *der, size_t length)
{
    bool stored = false;
    CK_ATTRIBUTE id = p11_attribute(CKA_ID, key->id, key->id_length);
    CK_ATTRIBUTE label = p11_attribute(CKA_LABEL, key->label, key->label_length);
    CK_ATTRIBUTE template[] = {p11_attribute(CKA_CLASS, &certificate_class, sizeof certificate_class), id};
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG count = 0;
    kn_err err = is_stored(call, der, length, &id, &stored);
    if (kn_failed(err) || stored)
        return err;
    if (key->id_length)
        err = p11_search(call, template, 2, 1, handles, &count);
    if (!kn_failed(err) && count)
        err = kn_fail(KN_E_EXISTS, "token '%s' has another certificate with the key's id", call->token->label);
    return kn_failed(err) ? err : store(call, der, length, &id, &label);
}

/* An issuer's label is its common name, or its whole subject where it has none. */
static kn_err store_issuer(p11_call *call, const uint8_t *der, size_t length)
{
    bool stored = false;
    char name[128];
    parts p = {0};
    CK_ATTRIBUTE no_id = p11_attribute(CKA_ID, NULL, 0);
    kn_err err = is_stored(call, der, length, &no_id, &stored);
    if (kn_failed(err) || stored)
        return err;
    err = parts_of(der, length, &p);
    if (kn_failed(err))
        return err;
    X509_NAME *subject = X509_get_subject_name(p.x509);
    if (X509_NAME_get_text_by_NID(subject, NID_commonName, name, sizeof name) < 0)
        (void)X509_NAME_oneline(subject, name, sizeof name);
    parts_free(&p);
    CK_ATTRIBUTE label = p11_attribute(CKA_LABEL, name, strlen(name));
    return store(call, der, length, &no_id, &label);
}

/* For a token that does not tell the public key: does a signature of the EC key @key verify with @public? */
static bool signs_for(p11_call *call, const p11_uri *uri, const p11_object *key, const kn_public *public)
{
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    uint8_t digest[32], raw[2 * KN_EC_COORD_MAX], der[KN_ECDSA_DER_MAX];
    CK_ULONG raw_length = sizeof raw;
    size_t length;
    return kn_crypto_random(digest, sizeof digest) &&
           fn->C_SignInit(call->session, &mechanism, key->handle) == CKR_OK &&
           (!key->always_authenticate || !kn_failed(p11_login_for_operation(call->token, uri, call->session))) &&
           fn->C_Sign(call->session, digest, sizeof digest, raw, &raw_length) == CKR_OK &&
           raw_length == 2 * public->alg->coord_bytes && !kn_failed(kn_ecdsa_to_der(raw, raw_length, der, &length)) &&
           kn_crypto_verify(public, &kn_sign_ecdsa, digest, sizeof digest, der, length);
}

static kn_err write_in(p11_call *call, const p11_uri *uri, const kn_certs *certs)
{
    p11_object key;
    kn_public public, certified;
    bool has_public;
    kn_err err = p11_key_locate(call, uri, &key, &public, &has_public);
    if (!kn_failed(err))
        err = kn_public_from_certificate(certs->cert[0].der, certs->cert[0].length, &certified);
    if (!kn_failed(err) && !has_public && certified.alg->type != KN_KEY_EC)
        err = kn_fail(KN_E_NO_PUBLIC, "token '%s'", call->token->label);
    if (!kn_failed(err) && (has_public ? !kn_public_equal(&public, &certified)
                                       : !signs_for(call, uri, &key, &certified)))
        err = kn_fail(KN_E_MISMATCH, "the first certificate is of another key than the one on token '%s'",
                      call->token->label);
    if (!kn_failed(err))
        err = store_leaf(call, &key, certs->cert[0].der, certs->cert[0].length);
    for (size_t i = 1; !kn_failed(err) && i < certs->count; i++)
        err = store_issuer(call, certs->cert[i].der, certs->cert[i].length);
    return err;
}

/* May be repeated: what was stored is not stored again. */
static p11_step write_step(p11_call *call, unsigned generation, void *arg)
{
    chain *c = arg;
    (void)generation;
    kn_err err = write_in(call, c->uri, c->write);
    return (p11_step){.err = err, .rv = kn_failed(err) ? call->rv : CKR_OK};
}

kn_err p11_cert_write_chain(void *state, const char *text, const kn_certs *certs)
{
    chain c = {.write = certs};
    return run_on_token(state, text, true, write_step, &c);
}

static const char *kind_of(const p11_object *object)
{
    if (object->class == CKO_CERTIFICATE)
        return "X.509";
    if (object->class == CKO_SECRET_KEY)
        return object->key_type == CKK_GENERIC_SECRET || object->key_type == CKK_SHA256_HMAC ? "HMAC" : "secret";
    if (object->key_type == CKK_RSA) {
        kn_public public;
        bool known = !kn_failed(kn_public_from_rsa(object->modulus, object->modulus_length, object->exponent,
                                                   object->exponent_length, &public));
        return known ? public.alg->name : "RSA";
    }
    const kn_alg *alg = kn_alg_by_oid(object->ec_params, object->ec_params_length);
    return alg ? alg->name : "unknown";
}

static kn_err list_class(p11_call *call, CK_OBJECT_CLASS class, chain *c)
{
    enum { LIST_MAX = 10000 };
    CK_ATTRIBUTE template = p11_attribute(CKA_CLASS, &class, sizeof class);
    CK_OBJECT_HANDLE *handles = calloc(LIST_MAX + 1, sizeof *handles);
    CK_ULONG count = 0;
    if (!handles)
        return kn_fail(KN_E_NO_MEMORY, "a list of objects");
    kn_err err = p11_search(call, &template, 1, LIST_MAX, handles, &count);
    for (CK_ULONG i = 0; !kn_failed(err) && i < count; i++) {
        p11_object object;
        err = p11_object_read(call, handles[i], &object);
        if (kn_failed(err))
            break;
        kn_object_info info = {.is_key = class != CKO_CERTIFICATE, .kind = kind_of(&object)};
        memcpy(info.label, object.label, object.label_length);
        p11_hex(object.id, object.id_length, info.id, sizeof info.id);
        c->row(&info, c->row_arg);
        c->listed = true;
    }
    free(handles);
    return err;
}

static p11_step list_step(p11_call *call, unsigned generation, void *arg)
{
    chain *c = arg;
    (void)generation;
    kn_err err = kn_success();
    if (!p11_session_is_user(call->token, call->session)) { /* a list without the keys would be a wrong one */
        call->rv = CKR_USER_NOT_LOGGED_IN;
        err = p11_fail("C_GetSessionInfo", call->token->label, call->rv);
    }
    if (!kn_failed(err))
        err = list_class(call, CKO_PRIVATE_KEY, c);
    if (!kn_failed(err))
        err = list_class(call, CKO_SECRET_KEY, c);
    if (!kn_failed(err))
        err = list_class(call, CKO_CERTIFICATE, c);
    return (p11_step){.err = err, .rv = kn_failed(err) && !c->listed ? call->rv : CKR_OK};
}

kn_err p11_token_objects(void *state, const char *text, void (*row)(const kn_object_info *info, void *arg), void *arg)
{
    chain c = {.row = row, .row_arg = arg};
    return run_on_token(state, text, false, list_step, &c);
}
