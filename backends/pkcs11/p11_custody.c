/* Reading what a token says of a private key. */
#include "p11_key.h"
#include "p11_mechanism.h"

#include <stdio.h>
#include <string.h>

static kn_fact fact_of(p11_call *call, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type)
{
    CK_BBOOL value;
    CK_ULONG length = sizeof value;
    if (kn_failed(p11_read(call, handle, type, &value, &length)) || length != sizeof value)
        return KN_FACT_UNKNOWN;
    return value ? KN_FACT_YES : KN_FACT_NO;
}

static void read_mechanism(p11_call *call, CK_OBJECT_HANDLE handle, kn_custody *out)
{
    CK_MECHANISM_TYPE type;
    CK_ULONG length = sizeof type;
    if (kn_failed(p11_read(call, handle, CKA_KEY_GEN_MECHANISM, &type, &length)) || length != sizeof type) {
        (void)snprintf(out->mechanism, sizeof out->mechanism, "unknown");
        out->generated_here = KN_FACT_UNKNOWN;
        return;
    }
    out->generated_here = KN_FACT_NO;
    if (type == CK_UNAVAILABLE_INFORMATION) {
        (void)snprintf(out->mechanism, sizeof out->mechanism, "unavailable");
        return;
    }
    (void)snprintf(out->mechanism, sizeof out->mechanism, "0x%lx", type);
    const p11_mechanism *row = p11_mechanism_row(type);
    if (row)
        (void)snprintf(out->mechanism, sizeof out->mechanism, "%s", row->name);
    if (row && row->generates)
        out->generated_here = KN_FACT_YES;
}

kn_err p11_custody_read(p11_call *call, CK_OBJECT_HANDLE handle, kn_custody *ret_custody)
{
    p11_object object;
    kn_err err = p11_object_read(call, handle, &object);
    if (kn_failed(err))
        return err;
    kn_custody out = {
        .sensitive = fact_of(call, handle, CKA_SENSITIVE),
        .extractable = fact_of(call, handle, CKA_EXTRACTABLE),
        .always_sensitive = fact_of(call, handle, CKA_ALWAYS_SENSITIVE),
        .never_extractable = fact_of(call, handle, CKA_NEVER_EXTRACTABLE),
        .local = fact_of(call, handle, CKA_LOCAL),
        .may_sign = fact_of(call, handle, CKA_SIGN),
        .may_decrypt = fact_of(call, handle, CKA_DECRYPT),
        .may_unwrap = fact_of(call, handle, CKA_UNWRAP),
        .may_derive = fact_of(call, handle, CKA_DERIVE),
    };
    read_mechanism(call, handle, &out);
    const p11_token *token = call->token;
    memcpy(out.token, token->label, sizeof out.token);
    memcpy(out.serial, token->serial, sizeof out.serial);
    memcpy(out.model, token->model, sizeof out.model);
    memcpy(out.manufacturer, token->manufacturer, sizeof out.manufacturer);
    p11_hex(object.id, object.id_length > 64 ? 64 : object.id_length, out.id, sizeof out.id);
    memcpy(out.label, object.label, object.label_length);
    *ret_custody = out;
    return kn_success();
}
