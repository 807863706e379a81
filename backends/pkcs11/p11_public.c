/* Public key objects, which tokens show without a login. */
#include "p11_key.h"
#include "p11_run.h"

typedef struct search {
    const p11_uri *uri;
    kn_public *public;
} search;

static kn_err find(p11_call *call, const search *s)
{
    static const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[3] = {p11_attribute(CKA_CLASS, &class, sizeof class)};
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG n = 1, count;
    char wanted[200];
    p11_object object;
    p11_uri_show(s->uri, wanted, sizeof wanted);
    if (s->uri->id.pValue)
        template[n++] = s->uri->id;
    if (s->uri->label.pValue)
        template[n++] = s->uri->label;
    kn_err err = p11_search(call, template, n, 1, handles, &count);
    if (kn_failed(err))
        return err;
    if (count == 0)
        return kn_fail(KN_E_NO_KEY, "%s: no public key on token '%s'", wanted, call->token->label);
    if (count > 1)
        return kn_fail(KN_E_AMBIGUOUS, "%s matches more than one public key on token '%s'", wanted, call->token->label);
    err = p11_object_read(call, handles[0], &object);
    return kn_failed(err) ? err : p11_object_public(call, &object, s->public);
}

static p11_step find_step(p11_call *call, unsigned generation, void *arg)
{
    (void)generation;
    kn_err err = find(call, arg);
    return (p11_step){.err = err, .rv = call->rv, .idle = err.code == KN_E_NO_KEY || err.code == KN_E_AMBIGUOUS};
}

kn_err p11_public_find(void *state, const char *text, kn_public *ret_public)
{
    p11_uri *uri = NULL;
    p11_token *token;
    kn_err err = p11_uri_new(text, &uri);
    if (!kn_failed(err))
        err = p11_token_find(state, uri, &token);
    if (!kn_failed(err)) {
        search s = {.uri = uri, .public = ret_public};
        const p11_task task = {
            .uri = token->state->login == KN_LOGIN_ALWAYS ? uri : NULL, .step = find_step, .arg = &s};
        err = p11_run(token, &task);
    }
    p11_uri_free(&uri);
    return err;
}
