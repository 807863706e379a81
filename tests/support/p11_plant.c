#include "p11_plant.h"

#include <string.h>

#define TEMPLATE_MAX 40
#define PARTS_MAX    8192 /* bytes of an RSA key's numbers */

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void set(CK_ATTRIBUTE *template, CK_ULONG *count, CK_ATTRIBUTE_TYPE type, void *value, CK_ULONG length)
{
    CK_ULONG i = 0;
    while (i < *count && template[i].type != type)
        i++;
    template[i] = (CK_ATTRIBUTE){type, value, length};
    if (i == *count)
        (*count)++;
}

static void set_flag(CK_ATTRIBUTE *template, CK_ULONG *count, CK_ATTRIBUTE_TYPE type, CK_BBOOL value)
{
    set(template, count, type, value ? &yes : &no, sizeof yes);
}

static CK_RV lock(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_ATTRIBUTE sensitive = {CKA_SENSITIVE, &yes, sizeof yes}, extractable = {CKA_EXTRACTABLE, &no, sizeof no};
    CK_RV rv = real->C_SetAttributeValue(session, key, &sensitive, 1);
    return rv == CKR_OK ? real->C_SetAttributeValue(session, key, &extractable, 1) : rv;
}

/* Reads the numbers of a readable key, and makes another object of them. @private is the template that was asked for. */
static CK_RV import(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE from, CK_ATTRIBUTE *private,
                    CK_ULONG count, CK_OBJECT_HANDLE *ret_key)
{
    static const CK_ATTRIBUTE_TYPE rsa[] = {CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT, CKA_PRIME_1,
                                            CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT};
    static const CK_ATTRIBUTE_TYPE ec[] = {CKA_EC_PARAMS, CKA_VALUE};
    CK_ATTRIBUTE template[TEMPLATE_MAX];
    CK_BYTE parts[PARTS_MAX];
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type;
    CK_ATTRIBUTE type_of = {CKA_KEY_TYPE, &type, sizeof type};
    size_t used = 0;
    CK_RV rv = real->C_GetAttributeValue(session, from, &type_of, 1);
    const CK_ATTRIBUTE_TYPE *wanted = type == CKK_RSA ? rsa : ec;
    size_t wanted_count = type == CKK_RSA ? sizeof rsa / sizeof *rsa : sizeof ec / sizeof *ec;
    memcpy(template, private, count * sizeof *private);
    set(template, &count, CKA_CLASS, &class, sizeof class);
    set(template, &count, CKA_KEY_TYPE, &type, sizeof type);
    for (size_t i = 0; rv == CKR_OK && i < wanted_count; i++) {
        CK_ATTRIBUTE one = {wanted[i], parts + used, sizeof parts - used};
        rv = real->C_GetAttributeValue(session, from, &one, 1);
        set(template, &count, one.type, one.pValue, one.ulValueLen);
        used += one.ulValueLen;
    }
    if (rv == CKR_OK)
        rv = real->C_DestroyObject(session, from);
    return rv == CKR_OK ? real->C_CreateObject(session, template, count, ret_key) : rv;
}

CK_RV plant_pair(CK_FUNCTION_LIST *real, plant_kind what, CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                 CK_ATTRIBUTE *public, CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                 CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    CK_ATTRIBUTE template[TEMPLATE_MAX];
    CK_ULONG count = private_count;
    if (private_count + 10 > TEMPLATE_MAX)
        return CKR_TEMPLATE_INCONSISTENT;
    memcpy(template, private, count * sizeof *private);
    if (what == PLANT_EXTRACTABLE || what == PLANT_LOCKED_LATER || what == PLANT_IMPORTED)
        set_flag(template, &count, CKA_EXTRACTABLE, CK_TRUE);
    if (what == PLANT_NOT_SENSITIVE || what == PLANT_LOCKED_LATER || what == PLANT_IMPORTED)
        set_flag(template, &count, CKA_SENSITIVE, CK_FALSE);
    for (int i = 0; what == PLANT_ALL_USES && i < 4; i++)
        set_flag(template, &count, (CK_ATTRIBUTE_TYPE[]){CKA_SIGN, CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE}[i], CK_TRUE);
    CK_RV rv = real->C_GenerateKeyPair(session, mechanism, public, public_count, template, count, public_key, private_key);
    if (rv == CKR_OK && what == PLANT_LOCKED_LATER)
        rv = lock(real, session, *private_key);
    if (rv == CKR_OK && what == PLANT_IMPORTED)
        rv = import(real, session, *private_key, private, private_count, private_key);
    return rv;
}
