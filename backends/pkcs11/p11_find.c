/* Finding exactly one private key, in as few calls as the token allows. */
#include "p11_key.h"

#include "p11_hmac.h"

#include <stdio.h>
#include <string.h>

typedef struct candidates {
    p11_object private, public, certificate;
    unsigned private_count, public_count, certificate_count;
    char shown[256]; /* the private keys, for the message */
} candidates;

/* The id and label of the URI, and @class unless it is ~0. */
static CK_ULONG fill_template(const p11_uri *uri, const CK_OBJECT_CLASS *class, CK_ATTRIBUTE *template)
{
    static const CK_BBOOL yes = CK_TRUE;
    CK_ULONG n = 0;
    template[n++] = p11_attribute(CKA_TOKEN, &yes, sizeof yes);
    if (class)
        template[n++] = p11_attribute(CKA_CLASS, class, sizeof *class);
    if (uri->id.pValue)
        template[n++] = uri->id;
    if (uri->label.pValue)
        template[n++] = uri->label;
    return n;
}

static void note_private(candidates *c, const p11_object *object)
{
    char one[96];
    p11_object_show(object, one, sizeof one);
    size_t used = strlen(c->shown);
    (void)snprintf(c->shown + used, sizeof c->shown - used, "%s%s", used ? "; " : "", one);
    if (c->private_count++ == 0)
        c->private = *object;
}

static kn_err sort_out(p11_call *call, const CK_OBJECT_HANDLE *handles, CK_ULONG count, candidates *c)
{
    for (CK_ULONG i = 0; i < count; i++) {
        p11_object object;
        kn_err err = p11_object_read(call, handles[i], &object);
        if (kn_failed(err))
            return err;
        if (object.class == CKO_PRIVATE_KEY)
            note_private(c, &object);
        else if (object.class == CKO_PUBLIC_KEY && c->public_count++ == 0)
            c->public = object;
        else if (object.class == CKO_CERTIFICATE && c->certificate_count++ == 0)
            c->certificate = object;
    }
    return kn_success();
}

static kn_err search_class(p11_call *call, const p11_uri *uri, const CK_OBJECT_CLASS *class, candidates *c,
                           bool *ret_too_many)
{
    CK_ATTRIBUTE template[4];
    CK_OBJECT_HANDLE handles[P11_MATCHES_MAX + 1];
    CK_ULONG count;
    kn_err err = p11_search(call, template, fill_template(uri, class, template), P11_MATCHES_MAX, handles, &count);
    if (kn_failed(err))
        return err;
    *ret_too_many = count > P11_MATCHES_MAX;
    return *ret_too_many ? kn_success() : sort_out(call, handles, count, c);
}

/* Is @object the public side of @private? By CKA_ID; by label where the private key has no id. */
static bool belongs(const p11_object *object, const p11_object *private)
{
    if (private->id_length)
        return object->id_length == private->id_length && !memcmp(object->id, private->id, private->id_length);
    return object->label_length == private->label_length &&
           !memcmp(object->label, private->label, private->label_length);
}

/* A search of its own for the public side, by the private key's id. */
static kn_err find_public(p11_call *call, const p11_object *private, CK_OBJECT_CLASS class, p11_object *ret_object,
                          bool *ret_found)
{
    CK_ATTRIBUTE template[] = {
        p11_attribute(CKA_CLASS, &class, sizeof class),
        p11_attribute(CKA_ID, private->id, private->id_length),
    };
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG count;
    *ret_found = false;
    if (private->id_length == 0)
        return kn_success();
    kn_err err = p11_search(call, template, 2, 1, handles, &count);
    if (kn_failed(err) || count == 0)
        return err;
    *ret_found = true;
    return p11_object_read(call, handles[0], ret_object);
}

static kn_err public_of(p11_call *call, candidates *c, kn_public *ret_public, bool *ret_has_public)
{
    bool have = p11_object_tells_public(&c->private);
    const p11_object *source = &c->private;
    kn_err err;
    if (!have && c->public_count && belongs(&c->public, &c->private)) {
        source = &c->public;
        have = true;
    }
    if (!have) {
        err = find_public(call, &c->private, CKO_PUBLIC_KEY, &c->public, &have);
        if (kn_failed(err))
            return err;
        source = &c->public;
    }
    if (!have && c->certificate_count && belongs(&c->certificate, &c->private)) {
        source = &c->certificate;
        have = true;
    }
    if (!have) {
        err = find_public(call, &c->private, CKO_CERTIFICATE, &c->certificate, &have);
        if (kn_failed(err))
            return err;
        source = &c->certificate;
    }
    *ret_has_public = have;
    return have ? p11_object_public(call, source, ret_public) : kn_success();
}

kn_err p11_key_locate(p11_call *call, const p11_uri *uri, p11_object *ret_object, kn_public *ret_public,
                      bool *ret_has_public)
{
    static const CK_OBJECT_CLASS private_class = CKO_PRIVATE_KEY;
    candidates c = {.private_count = 0};
    bool too_many = false;
    char wanted[200];
    p11_uri_show(uri, wanted, sizeof wanted);
    *ret_has_public = false;
    if (uri->wants_secret)
        return p11_hmac_locate(call, uri, ret_object);
    if (uri->has_class && uri->class != CKO_PRIVATE_KEY && uri->class != CKO_PUBLIC_KEY)
        return kn_fail(KN_E_NO_KEY, "%s: its type= is not that of a key", wanted);
    /* One search for the private key, its public key and its certificate: 3 calls instead of 6 or 9. */
    bool wide = !uri->id.pValue && !uri->label.pValue;
    kn_err err = search_class(call, uri, wide ? &private_class : NULL, &c, &too_many);
    if (!kn_failed(err) && too_many && !wide)
        err = search_class(call, uri, &private_class, &c, &too_many);
    if (kn_failed(err))
        return err;
    if (too_many)
        return kn_fail(KN_E_AMBIGUOUS, "%s matches more than %d keys on token '%s'", wanted, P11_MATCHES_MAX,
                       call->token->label);
    if (c.private_count == 0 && !p11_session_is_user(call->token, call->session)) {
        p11_session_logged_out(call->token); /* by somebody else in this process: private objects cannot be seen */
        call->rv = CKR_USER_NOT_LOGGED_IN;
        return p11_fail("C_FindObjects", call->token->label, call->rv);
    }
    if (c.private_count == 0)
        return kn_fail(KN_E_NO_KEY, "%s: no private key on token '%s'%s", wanted, call->token->label,
                       c.public_count        ? ", only a public key of that name"
                       : c.certificate_count ? ", only a certificate of that name"
                                             : "");
    if (c.private_count > 1)
        return kn_fail(KN_E_AMBIGUOUS, "%s matches %u private keys on token '%s': %s", wanted, c.private_count,
                       call->token->label, c.shown);
    err = public_of(call, &c, ret_public, ret_has_public);
    if (!kn_failed(err))
        *ret_object = c.private;
    return err;
}
