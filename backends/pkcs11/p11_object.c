#include "p11_object.h"
#include "p11_mechanism.h"

#include "../kn_cert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kn_err failed(p11_call *call, const char *name, CK_RV rv)
{
    call->rv = rv;
    return p11_fail(name, call->token->label, rv);
}

/* Models whose C_FindObjects gives all that it has, so that no second call must ask whether there is more. */
static bool finds_whole(const p11_token *token)
{
    return !strcmp(token->model, "SoftHSM v2");
}

kn_err p11_search(p11_call *call, CK_ATTRIBUTE *template, CK_ULONG template_count, CK_ULONG max,
                  CK_OBJECT_HANDLE *ret_handles, CK_ULONG *ret_count)
{
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_RV rv = fn->C_FindObjectsInit(call->session, template, template_count);
    if (rv != CKR_OK)
        return failed(call, "C_FindObjectsInit", rv);
    CK_ULONG count = 0, more = 0, asked;
    bool whole = finds_whole(call->token);
    do { /* a module may answer in portions, so that only an empty answer is the end */
        more = 0;
        asked = max + 1 - count;
        rv = fn->C_FindObjects(call->session, ret_handles + count, asked, &more);
        if (rv == CKR_OK && more <= asked)
            count += more;
    } while (rv == CKR_OK && more && more <= asked && count <= max && !(whole && more < asked));
    CK_RV final = fn->C_FindObjectsFinal(call->session);
    if (rv != CKR_OK)
        return failed(call, "C_FindObjects", rv);
    if (final != CKR_OK)
        return failed(call, "C_FindObjectsFinal", final);
    if (more > asked)
        return kn_fail(KN_E_MODULE_BROKEN, "C_FindObjects on token '%s' returned %lu objects, asked for %lu",
                       call->token->label, more, asked);
    *ret_count = count;
    return kn_success();
}

/* The size that a call filled in: 0 for an attribute that is absent, sensitive or too long. */
static size_t filled(const CK_ATTRIBUTE *attribute, size_t room)
{
    return attribute->ulValueLen == CK_UNAVAILABLE_INFORMATION || attribute->ulValueLen > room
               ? 0
               : (size_t)attribute->ulValueLen;
}

/* These three mean "some attributes could not be had", and the others are valid (section 5.7.5). */
static bool partly_read(CK_RV rv)
{
    return rv == CKR_OK || rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
           rv == CKR_BUFFER_TOO_SMALL;
}

/* Is there a list, of nothing but PSS? */
static bool only_pss(const CK_MECHANISM_TYPE *allowed, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (allowed[i] != CKM_RSA_PKCS_PSS && !(allowed[i] >= CKM_SHA256_RSA_PKCS_PSS && allowed[i] <= CKM_SHA512_RSA_PKCS_PSS) &&
            allowed[i] != CKM_SHA1_RSA_PKCS_PSS && allowed[i] != CKM_SHA224_RSA_PKCS_PSS)
            return false;
    return count > 0;
}

kn_err p11_object_read(p11_call *call, CK_OBJECT_HANDLE handle, p11_object *ret_object)
{
    p11_object object = {.handle = handle, .class = CKO_VENDOR_DEFINED, .key_type = CKK_VENDOR_DEFINED};
    CK_BBOOL always = CK_FALSE;
    CK_MECHANISM_TYPE allowed[16];
    enum { CLASS, TYPE, ID, LABEL, PARAMS, POINT, MODULUS, EXPONENT, ALWAYS, ALLOWED, COUNT };
    CK_ATTRIBUTE t[COUNT] = {
        [CLASS] = {CKA_CLASS, &object.class, sizeof object.class},
        [TYPE] = {CKA_KEY_TYPE, &object.key_type, sizeof object.key_type},
        [ID] = {CKA_ID, object.id, sizeof object.id},
        [LABEL] = {CKA_LABEL, object.label, sizeof object.label},
        [PARAMS] = {CKA_EC_PARAMS, object.ec_params, sizeof object.ec_params},
        [POINT] = {CKA_EC_POINT, object.ec_point, sizeof object.ec_point},
        [MODULUS] = {CKA_MODULUS, object.modulus, sizeof object.modulus},
        [EXPONENT] = {CKA_PUBLIC_EXPONENT, object.exponent, sizeof object.exponent},
        [ALWAYS] = {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always},
        [ALLOWED] = {CKA_ALLOWED_MECHANISMS, allowed, sizeof allowed},
    };
    CK_RV rv = call->token->module->fn->C_GetAttributeValue(call->session, handle, t, COUNT);
    if (!partly_read(rv))
        return failed(call, "C_GetAttributeValue", rv);
    if (filled(&t[CLASS], sizeof object.class) != sizeof object.class)
        return kn_fail(KN_E_MODULE_BROKEN, "an object of token '%s' has no class", call->token->label);
    if (filled(&t[TYPE], sizeof object.key_type) != sizeof object.key_type)
        object.key_type = CKK_VENDOR_DEFINED;
    object.id_length = filled(&t[ID], sizeof object.id);
    object.label_length = filled(&t[LABEL], sizeof object.label);
    object.ec_params_length = filled(&t[PARAMS], sizeof object.ec_params);
    object.ec_point_length = filled(&t[POINT], sizeof object.ec_point);
    object.modulus_length = filled(&t[MODULUS], sizeof object.modulus);
    object.exponent_length = filled(&t[EXPONENT], sizeof object.exponent);
    object.always_authenticate = filled(&t[ALWAYS], sizeof always) == sizeof always && always;
    object.pss_only = only_pss(allowed, filled(&t[ALLOWED], sizeof allowed) / sizeof *allowed);
    *ret_object = object;
    return kn_success();
}

kn_err p11_read(p11_call *call, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type, void *ret_value, CK_ULONG *length)
{
    CK_ATTRIBUTE attribute = {type, ret_value, *length};
    CK_RV rv = call->token->module->fn->C_GetAttributeValue(call->session, handle, &attribute, 1);
    if (rv != CKR_OK)
        return failed(call, "C_GetAttributeValue", rv);
    if (attribute.ulValueLen > *length)
        return kn_fail(KN_E_MODULE_BROKEN, "attribute 0x%lx on token '%s' is longer than its buffer", type,
                       call->token->label);
    *length = attribute.ulValueLen;
    return kn_success();
}

static kn_err certificate_public(p11_call *call, CK_OBJECT_HANDLE handle, kn_public *ret_public)
{
    CK_ULONG length = KN_CERT_MAX;
    uint8_t *der = malloc(length);
    if (!der)
        return kn_fail(KN_E_NO_MEMORY, "a certificate");
    kn_err err = p11_read(call, handle, CKA_VALUE, der, &length);
    if (!kn_failed(err))
        err = kn_public_from_certificate(der, length, ret_public);
    free(der);
    return err;
}

kn_err p11_object_public(p11_call *call, const p11_object *object, kn_public *ret_public)
{
    if (object->class == CKO_CERTIFICATE)
        return certificate_public(call, object->handle, ret_public);
    if (object->key_type == CKK_RSA) {
        kn_err err = kn_public_from_rsa(object->modulus, object->modulus_length, object->exponent,
                                        object->exponent_length, ret_public);
        if (!kn_failed(err))
            ret_public->pss = object->pss_only;
        return err;
    }
    if (object->key_type != CKK_EC && object->key_type != CKK_EC_EDWARDS && object->key_type != CKK_EC_MONTGOMERY)
        return kn_fail(KN_E_KEY_TYPE, "CKA_KEY_TYPE 0x%lx on token '%s'", object->key_type, call->token->label);
    const kn_alg *alg = kn_alg_by_oid(object->ec_params, object->ec_params_length);
    if (!alg)
        return kn_fail(KN_E_KEY_TYPE, "an EC key on token '%s' is on a curve that is not supported",
                       call->token->label);
    if (object->ec_point_length == 0)
        return kn_fail(KN_E_NO_PUBLIC, "token '%s'", call->token->label);
    return kn_public_from_ec_point(alg, object->ec_point, object->ec_point_length, ret_public);
}

bool p11_object_tells_public(const p11_object *object)
{
    return object->ec_point_length || (object->modulus_length && object->exponent_length);
}

void p11_hex(const CK_BYTE *bytes, size_t length, char *ret_text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < length && n + 2 < size; i++) {
        ret_text[n++] = digits[bytes[i] >> 4];
        ret_text[n++] = digits[bytes[i] & 15];
    }
    ret_text[n] = '\0';
}

void p11_object_show(const p11_object *object, char *ret_text, size_t size)
{
    char id[41];
    p11_hex(object->id, object->id_length, id, sizeof id);
    (void)snprintf(ret_text, size, "label '%.*s' id %s", (int)(object->label_length > 40 ? 40 : object->label_length),
                   (const char *)object->label, *id ? id : "(none)");
}
