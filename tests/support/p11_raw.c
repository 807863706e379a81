#include "p11_raw.h"

#include "kn_alg.h"

#include <dlfcn.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, const void *value, size_t length)
{
    return (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, length};
}

static CK_ATTRIBUTE text(CK_ATTRIBUTE_TYPE type, const char *value)
{
    return attribute(type, value, strlen(value));
}

static CK_ATTRIBUTE flag(CK_ATTRIBUTE_TYPE type, bool value)
{
    return attribute(type, value ? &yes : &no, sizeof yes);
}

static CK_FUNCTION_LIST *functions(void)
{
    void *module = dlopen(test_module, RTLD_NOW | RTLD_LOCAL); /* never closed: the process has it anyway */
    CK_C_GetFunctionList get;
    CK_FUNCTION_LIST *fn = NULL;
    MUST(module);
    *(void **)&get = dlsym(module, "C_GetFunctionList");
    MUST(get && get(&fn) == CKR_OK);
    return fn;
}

static CK_SLOT_ID slot_of(CK_FUNCTION_LIST *fn, const char *label)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    MUST(fn->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (fn->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, label, strlen(label)) &&
            info.label[strlen(label)] == ' ')
            return slots[i];
    }
    (void)fprintf(stderr, "token '%s' is not there\n", label);
    abort();
}

raw raw_open(const test_token *token)
{
    raw r = {.fn = functions()};
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    CK_RV rv = r.fn->C_Initialize(&args);
    MUST(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
    r.finalize = rv == CKR_OK;
    r.slot = slot_of(r.fn, token->label);
    MUST(r.fn->C_OpenSession(r.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &r.session) == CKR_OK);
    rv = r.fn->C_Login(r.session, CKU_USER, (CK_UTF8CHAR *)(uintptr_t)token->pin, strlen(token->pin));
    MUST(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    return r;
}

void raw_close(raw *r)
{
    (void)r->fn->C_CloseSession(r->session);
    if (r->finalize)
        (void)r->fn->C_Finalize(NULL);
    memset(r, 0, sizeof *r);
}

CK_OBJECT_HANDLE raw_generate(raw *r, const raw_key *key)
{
    const kn_alg *alg = kn_alg_by_name("EC:P-256");
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE public[] = {
        flag(CKA_TOKEN, true),
        attribute(CKA_EC_PARAMS, alg->oid, alg->oid_length),
        text(CKA_LABEL, key->label),
        text(CKA_ID, key->id),
    };
    CK_ATTRIBUTE private[] = {
        flag(CKA_TOKEN, true),        flag(CKA_PRIVATE, true),
        flag(CKA_SIGN, true),         flag(CKA_SENSITIVE, key->sensitive),
        flag(CKA_EXTRACTABLE, key->extractable), flag(CKA_ALWAYS_AUTHENTICATE, key->always_authenticate),
        text(CKA_LABEL, key->label),  text(CKA_ID, key->id),
    };
    CK_OBJECT_HANDLE public_handle, handle;
    CK_ULONG with_id = *key->id ? 0 : 1;
    MUST(r->fn->C_GenerateKeyPair(r->session, &mechanism, public, 4 - with_id, private, 8 - with_id, &public_handle,
                                  &handle) == CKR_OK);
    return handle;
}

CK_OBJECT_HANDLE raw_import(raw *r, const raw_key *key, EVP_PKEY *pkey)
{
    static const CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    static const CK_KEY_TYPE type = CKK_EC;
    const kn_alg *alg = kn_alg_by_name("EC:P-256");
    uint8_t value[32];
    BIGNUM *number = NULL;
    MUST(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number));
    MUST(BN_bn2binpad(number, value, sizeof value) == sizeof value);
    BN_clear_free(number);
    CK_ATTRIBUTE template[] = {
        attribute(CKA_CLASS, &class, sizeof class),
        attribute(CKA_KEY_TYPE, &type, sizeof type),
        attribute(CKA_EC_PARAMS, alg->oid, alg->oid_length),
        attribute(CKA_VALUE, value, sizeof value),
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, true),
        flag(CKA_SIGN, true),
        flag(CKA_SENSITIVE, key->sensitive),
        flag(CKA_EXTRACTABLE, key->extractable),
        text(CKA_LABEL, key->label),
        text(CKA_ID, key->id),
    };
    CK_OBJECT_HANDLE handle;
    MUST(r->fn->C_CreateObject(r->session, template, sizeof template / sizeof *template, &handle) == CKR_OK);
    return handle;
}

void raw_certificate(raw *r, const char *label, const char *id, X509 *certificate)
{
    static const CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    static const CK_CERTIFICATE_TYPE type = CKC_X_509;
    uint8_t *der = NULL, *subject = NULL, *issuer = NULL, *serial = NULL;
    int length = i2d_X509(certificate, &der);
    int subject_length = i2d_X509_NAME(X509_get_subject_name(certificate), &subject);
    int issuer_length = i2d_X509_NAME(X509_get_issuer_name(certificate), &issuer);
    int serial_length = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &serial);
    CK_ATTRIBUTE template[] = {
        attribute(CKA_CLASS, &class, sizeof class),
        attribute(CKA_CERTIFICATE_TYPE, &type, sizeof type),
        flag(CKA_TOKEN, true),
        flag(CKA_PRIVATE, false),
        attribute(CKA_SUBJECT, subject, (size_t)subject_length),
        attribute(CKA_ISSUER, issuer, (size_t)issuer_length),
        attribute(CKA_SERIAL_NUMBER, serial, (size_t)serial_length),
        attribute(CKA_VALUE, der, (size_t)length),
        text(CKA_LABEL, label),
        text(CKA_ID, id ? id : ""),
    };
    CK_ULONG count = sizeof template / sizeof *template - (id ? 0 : 1);
    CK_OBJECT_HANDLE handle;
    MUST(r->fn->C_CreateObject(r->session, template, count, &handle) == CKR_OK);
    OPENSSL_free(der);
    OPENSSL_free(subject);
    OPENSSL_free(issuer);
    OPENSSL_free(serial);
}

void raw_set_bool(raw *r, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_ATTRIBUTE template = flag(type, value);
    MUST(r->fn->C_SetAttributeValue(r->session, object, &template, 1) == CKR_OK);
}

static CK_ULONG find(raw *r, CK_OBJECT_CLASS class, const char *label, CK_OBJECT_HANDLE *handles, CK_ULONG max)
{
    CK_ATTRIBUTE template[] = {attribute(CKA_CLASS, &class, sizeof class), text(CKA_LABEL, label ? label : "")};
    CK_ULONG count = 0;
    MUST(r->fn->C_FindObjectsInit(r->session, template, label ? 2 : 1) == CKR_OK);
    MUST(r->fn->C_FindObjects(r->session, handles, max, &count) == CKR_OK);
    MUST(r->fn->C_FindObjectsFinal(r->session) == CKR_OK);
    return count;
}

unsigned raw_count(raw *r, CK_OBJECT_CLASS class, const char *label)
{
    CK_OBJECT_HANDLE handles[64];
    return (unsigned)find(r, class, label, handles, 64);
}

void raw_delete(raw *r, CK_OBJECT_CLASS class, const char *label)
{
    CK_OBJECT_HANDLE handles[64];
    CK_ULONG count = find(r, class, label, handles, 64);
    MUST(count > 0);
    for (CK_ULONG i = 0; i < count; i++)
        MUST(r->fn->C_DestroyObject(r->session, handles[i]) == CKR_OK);
}

void raw_close_all_sessions(const test_token *token)
{
    CK_FUNCTION_LIST *fn = functions();
    MUST(fn->C_CloseAllSessions(slot_of(fn, token->label)) == CKR_OK);
}

void raw_logout(raw *r)
{
    MUST(r->fn->C_Logout(r->session) == CKR_OK);
}

void raw_expect_login_to_sign(raw *r, const char *label)
{
    CK_OBJECT_HANDLE handle;
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE digest[32] = {1}, signature[64];
    CK_ULONG length = sizeof signature;
    MUST(find(r, CKO_PRIVATE_KEY, label, &handle, 1) == 1);
    MUST(r->fn->C_SignInit(r->session, &mechanism, handle) == CKR_OK);
    MUST(r->fn->C_Sign(r->session, digest, sizeof digest, signature, &length) == CKR_USER_NOT_LOGGED_IN);
}
