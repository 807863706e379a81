#include "p11_hmac.h"

#include "../kn_crypto.h"
#include "../kn_hmac.h"
#include "p11_key.h"
#include "p11_mechanism.h"

#include <openssl/crypto.h>
#include <string.h>

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static const CK_OBJECT_CLASS secret_class = CKO_SECRET_KEY;

/* ---- finding ---- */

kn_err p11_hmac_locate(p11_call *call, const p11_uri *uri, p11_object *ret_object)
{
    CK_ATTRIBUTE template[3] = {p11_attribute(CKA_CLASS, &secret_class, sizeof secret_class)};
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG n = 1, count;
    char wanted[200];
    p11_uri_show(uri, wanted, sizeof wanted);
    if (uri->has_class && uri->class != CKO_SECRET_KEY)
        return kn_fail(KN_E_NO_KEY, "%s: its type= is not secret-key", wanted);
    if (uri->id.pValue)
        template[n++] = uri->id;
    if (uri->label.pValue)
        template[n++] = uri->label;
    kn_err err = p11_search(call, template, n, 1, handles, &count);
    if (kn_failed(err))
        return err;
    if (count == 0 && !p11_session_is_user(call->token, call->session)) {
        p11_session_logged_out(call->token); /* by somebody else in this process */
        call->rv = CKR_USER_NOT_LOGGED_IN;
        return p11_fail("C_FindObjects", call->token->label, call->rv);
    }
    if (count == 0)
        return kn_fail(KN_E_NO_KEY, "%s: no secret key on token '%s'", wanted, call->token->label);
    if (count > 1)
        return kn_fail(KN_E_AMBIGUOUS, "%s matches more than one secret key on token '%s'", wanted, call->token->label);
    return p11_object_read(call, handles[0], ret_object);
}

static kn_err new_handle(p11_state *state, const char *uri, p11_key **ret_key)
{
    kn_err err = p11_key_new(state, uri, ret_key);
    if (!kn_failed(err)) {
        (*ret_key)->uri->wants_secret = true;
        (*ret_key)->has_expected = true; /* there is no public part to compare */
    }
    return err;
}

static p11_step nothing(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    (void)key, (void)call, (void)handle, (void)arg;
    return (p11_step){.call = NULL};
}

static kn_err hmac_open(void *state, const char *uri, void **ret_key)
{
    p11_key *key = NULL;
    kn_err err = new_handle(state, uri, &key);
    if (!kn_failed(err))
        err = p11_key_run(key, nothing, NULL, NULL);
    if (!kn_failed(err))
        *ret_key = key;
    else if (key)
        p11_key_free(key);
    return err;
}

/* ---- signing ---- */

typedef struct signing {
    const uint8_t *data;
    size_t length;
    uint8_t *mac;
} signing;

static p11_step sign_in(p11_call *call, CK_OBJECT_HANDLE handle, const signing *s)
{
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_MECHANISM mechanism = {CKM_SHA256_HMAC, NULL, 0};
    CK_ULONG length = KN_HMAC_BYTES;
    CK_RV rv = fn->C_SignInit(call->session, &mechanism, handle);
    if (rv != CKR_OK)
        return (p11_step){.call = "C_SignInit", .rv = rv};
    rv = fn->C_Sign(call->session, (CK_BYTE *)(uintptr_t)s->data, s->length, s->mac, &length);
    if (rv != CKR_OK)
        return (p11_step){.call = "C_Sign", .rv = rv, .begun = true};
    if (length != KN_HMAC_BYTES)
        return (p11_step){.err = kn_fail(KN_E_MODULE_BROKEN, "C_Sign on token '%s' returned %lu bytes instead of %d",
                                         call->token->label, length, KN_HMAC_BYTES)};
    return (p11_step){.call = NULL};
}

static p11_step sign_step(p11_key *key, p11_call *call, CK_OBJECT_HANDLE handle, void *arg)
{
    (void)key;
    return sign_in(call, handle, arg);
}

static kn_err hmac_sign(void *key, const uint8_t *data, size_t length, uint8_t ret_mac[KN_HMAC_BYTES])
{
    signing s = {.data = data, .length = length, .mac = ret_mac};
    return p11_key_run(key, sign_step, &s, NULL);
}

/* ---- removing ---- */

static p11_step delete_step(p11_call *call, unsigned generation, void *arg)
{
    const p11_key *key = arg;
    p11_object object;
    (void)generation;
    kn_err err = p11_hmac_locate(call, key->uri, &object);
    if (kn_failed(err))
        return (p11_step){.err = err, .rv = call->rv};
    CK_RV rv = call->token->module->fn->C_DestroyObject(call->session, object.handle);
    return rv == CKR_OK ? (p11_step){.begun = true} : (p11_step){.call = "C_DestroyObject", .rv = rv, .begun = true};
}

static kn_err hmac_remove(void *arg)
{
    p11_key *key = arg;
    const p11_task task = {.uri = key->uri, .read_write = true, .step = delete_step, .arg = key};
    p11_token *token = NULL;
    kn_err err = p11_token_find(key->state, key->uri, &token);
    return kn_failed(err) ? err : p11_run(token, &task);
}

/* ---- making ---- */

typedef struct making {
    const kn_secret *value; /* NULL: generate */
    CK_ULONG bytes;
    const CK_ATTRIBUTE *id, *label;
} making;

static CK_RV make(p11_call *call, const making *m, CK_KEY_TYPE type, bool say_unextractable, CK_OBJECT_HANDLE *ret_key)
{
    CK_FUNCTION_LIST *fn = call->token->module->fn;
    CK_MECHANISM mechanism = {CKM_GENERIC_SECRET_KEY_GEN, NULL, 0};
    CK_ATTRIBUTE template[16] = {
        p11_attribute(CKA_CLASS, &secret_class, sizeof secret_class),
        p11_attribute(CKA_KEY_TYPE, &type, sizeof type),
        p11_attribute(CKA_TOKEN, &yes, sizeof yes),
        p11_attribute(CKA_PRIVATE, &yes, sizeof yes),
        p11_attribute(CKA_SENSITIVE, &yes, sizeof yes),
        p11_attribute(CKA_SIGN, &yes, sizeof yes),
        p11_attribute(CKA_ENCRYPT, &no, sizeof no),
        p11_attribute(CKA_DECRYPT, &no, sizeof no),
        p11_attribute(CKA_WRAP, &no, sizeof no),
        p11_attribute(CKA_UNWRAP, &no, sizeof no),
        p11_attribute(CKA_DERIVE, &no, sizeof no),
        *m->id,
        *m->label,
    };
    CK_ULONG n = 13;
    if (m->value)
        template[n++] = p11_attribute(CKA_VALUE, kn_secret_data(m->value), kn_secret_length(m->value));
    else
        template[n++] = p11_attribute(CKA_VALUE_LEN, &m->bytes, sizeof m->bytes);
    if (say_unextractable)
        template[n++] = p11_attribute(CKA_EXTRACTABLE, &no, sizeof no);
    return m->value ? fn->C_CreateObject(call->session, template, n, ret_key)
                    : fn->C_GenerateKey(call->session, &mechanism, template, n, ret_key);
}

static bool refuses_attribute(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_VALUE_INVALID || rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_TEMPLATE_INCONSISTENT ||
           rv == CKR_ATTRIBUTE_READ_ONLY;
}

/* A generic secret; some tokens sign with keys only that are named for the mechanism. */
static kn_err make_either(p11_call *call, const making *m, CK_OBJECT_HANDLE *ret_key)
{
    static const CK_KEY_TYPE types[] = {CKK_GENERIC_SECRET, CKK_SHA256_HMAC};
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < 2; i++) {
        rv = make(call, m, types[i], true, ret_key);
        if (refuses_attribute(rv))
            rv = make(call, m, types[i], false, ret_key);
        if (!refuses_attribute(rv))
            break;
    }
    return rv == CKR_OK ? kn_success() : p11_fail(m->value ? "C_CreateObject" : "C_GenerateKey", call->token->label, rv);
}

/* It must not come out again, it must be what was asked for, and the token must compute with it. */
static kn_err prove(p11_call *call, const making *m, CK_OBJECT_HANDLE handle)
{
    kn_custody custody;
    uint8_t challenge[32], mac[KN_HMAC_BYTES], expected[KN_HMAC_BYTES];
    kn_err err = p11_custody_read(call, handle, &custody);
    if (kn_failed(err))
        return err;
    bool safe = m->value ? custody.sensitive == KN_FACT_YES && custody.extractable == KN_FACT_NO
                         : kn_custody_holds(&custody);
    if (!safe)
        return kn_fail(KN_E_CUSTODY, "token '%s' made a secret key that could be read", call->token->label);
    if (!kn_crypto_random(challenge, sizeof challenge))
        return kn_fail(KN_E_CRYPTO, "no random bytes for a test of the key");
    p11_step tried = sign_in(call, handle, &(signing){challenge, sizeof challenge, mac});
    if (tried.call)
        return p11_fail(tried.call, call->token->label, tried.rv);
    if (kn_failed(tried.err) || !m->value)
        return tried.err;
    err = kn_hmac_software(m->value, challenge, sizeof challenge, expected);
    if (!kn_failed(err) && CRYPTO_memcmp(mac, expected, sizeof mac))
        err = kn_fail(KN_E_MODULE_BROKEN, "token '%s' signs with another key than it was given", call->token->label);
    return err;
}

static kn_err must_be_free(p11_call *call, const p11_uri *uri)
{
    const CK_ATTRIBUTE *names[] = {&uri->label, &uri->id};
    for (size_t i = 0; i < 2; i++) {
        CK_ATTRIBUTE template[] = {p11_attribute(CKA_CLASS, &secret_class, sizeof secret_class), *names[i]};
        CK_OBJECT_HANDLE handles[2];
        CK_ULONG count = 0;
        kn_err err = names[i]->pValue ? p11_search(call, template, 2, 1, handles, &count) : kn_success();
        if (kn_failed(err))
            return err;
        if (count)
            return kn_fail(KN_E_EXISTS, "token '%s' has a secret key with that %s", call->token->label,
                           i == 0 ? "label" : "id");
    }
    return kn_success();
}

static kn_err make_in(p11_call *call, const p11_uri *uri, making *m)
{
    uint8_t random_id[16];
    CK_ATTRIBUTE id = uri->id, label = uri->label;
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    kn_err err = p11_mechanism_check(call->token, CKM_SHA256_HMAC, CKF_SIGN);
    if (!kn_failed(err))
        err = must_be_free(call, uri);
    if (kn_failed(err))
        return err;
    if (!id.pValue) {
        if (!kn_crypto_random(random_id, sizeof random_id))
            return kn_fail(KN_E_CRYPTO, "no random bytes for the key's id");
        id = p11_attribute(CKA_ID, random_id, sizeof random_id);
    }
    if (!label.pValue)
        label = p11_attribute(CKA_LABEL, "", 0);
    m->id = &id;
    m->label = &label;
    err = make_either(call, m, &made);
    if (kn_failed(err))
        return err;
    err = prove(call, m, made);
    if (kn_failed(err)) {
        CK_RV gone = call->token->module->fn->C_DestroyObject(call->session, made);
        if (gone != CKR_OK)
            return kn_fail_within(err, "and it could NOT be destroyed (%s)", p11_ckr_row(gone)->name);
    }
    return err;
}

static kn_err make_key(p11_state *state, const char *uri, making *m, void **ret_key)
{
    p11_key *key = NULL;
    p11_token *token;
    p11_session session;
    kn_err err = new_handle(state, uri, &key);
    if (kn_failed(err))
        return err;
    if (!key->uri->label.pValue && !key->uri->id.pValue)
        err = kn_fail(KN_E_URI_MALFORMED, "a new key needs a name: object= or id=");
    if (!kn_failed(err) && key->uri->has_class && key->uri->class != CKO_SECRET_KEY)
        err = kn_fail(KN_E_URI_MALFORMED, "type= is not secret-key");
    if (!kn_failed(err))
        err = p11_token_find(state, key->uri, &token);
    if (!kn_failed(err))
        err = p11_session_take(token, key->uri, true, &session);
    if (!kn_failed(err)) {
        p11_call call = {.token = token, .session = session.handle};
        err = make_in(&call, key->uri, m);
        p11_session_give(token, &session, !kn_failed(err));
    }
    if (kn_failed(err)) {
        p11_key_free(key);
        return err;
    }
    p11_key_use(key, token);
    *ret_key = key;
    return kn_success();
}

static kn_err hmac_generate(void *state, const char *uri, size_t key_bytes, void **ret_key)
{
    return make_key(state, uri, &(making){.bytes = key_bytes}, ret_key);
}

static kn_err hmac_import(void *state, const char *uri, const kn_secret *value, void **ret_key)
{
    return make_key(state, uri, &(making){.value = value}, ret_key);
}

const kn_hmac_functions kn_p11_hmac = {
    .open = hmac_open,
    .generate = hmac_generate,
    .import = hmac_import,
    .sign = hmac_sign,
    .inspect = p11_key_inspect,
    .remove = hmac_remove,
    .free = p11_key_free,
};
