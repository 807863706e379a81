/* All certificates of a token that match. */
#include "p11_cert.h"

#include "../kn_crypto.h"
#include "../kn_log.h"
#include "p11_run.h"

#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

typedef struct search {
    const p11_uri *uri;
    const kn_cert_query *query;
    kn_cert_list *list;
} search;

static CK_ULONG fill_template(const search *s, CK_ATTRIBUTE *template)
{
    static const CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_ULONG n = 0;
    template[n++] = p11_attribute(CKA_CLASS, &class, sizeof class);
    if (s->uri->id.pValue)
        template[n++] = s->uri->id;
    if (s->uri->label.pValue)
        template[n++] = s->uri->label;
    if (s->query->subject)
        template[n++] = p11_attribute(CKA_SUBJECT, s->query->subject, s->query->subject_length);
    if (s->query->issuer)
        template[n++] = p11_attribute(CKA_ISSUER, s->query->issuer, s->query->issuer_length);
    return n;
}

/* Adds the certificate of @handle; what has no DER of its own, or is none of X.509, is passed over. */
static kn_err add(p11_call *call, CK_OBJECT_HANDLE handle, kn_cert_list *list)
{
    CK_ULONG length = KN_CERT_MAX;
    uint8_t *der = malloc(length);
    if (!der)
        return kn_fail(KN_E_NO_MEMORY, "a certificate");
    kn_err err = p11_read(call, handle, CKA_VALUE, der, &length);
    X509 *x509 = kn_failed(err) ? NULL : kn_crypto_certificate(der, length);
    if (x509) {
        list->cert[list->count].der = der;
        list->cert[list->count++].length = length;
        der = NULL;
    } else if (!kn_failed(err) || err.code == KN_E_TOKEN_CANNOT) {
        kn_log(KN_LOG_INFO, "token '%s': a certificate object without an X.509 certificate", call->token->label);
        err = kn_success();
        call->rv = CKR_OK;
    }
    X509_free(x509);
    free(der);
    return err;
}

static kn_err collect(p11_call *call, const search *s, CK_OBJECT_HANDLE *handles)
{
    CK_ATTRIBUTE template[5];
    CK_ULONG count = 0;
    kn_err err = p11_search(call, template, fill_template(s, template), KN_CERT_SEARCH_MAX, handles, &count);
    if (!kn_failed(err) && count > KN_CERT_SEARCH_MAX)
        err = kn_fail(KN_E_AMBIGUOUS, "more than %d certificates match on token '%s'", KN_CERT_SEARCH_MAX,
                      call->token->label);
    if (kn_failed(err) || count == 0)
        return err;
    s->list->cert = calloc(count, sizeof *s->list->cert);
    if (!s->list->cert)
        return kn_fail(KN_E_NO_MEMORY, "a list of certificates");
    for (CK_ULONG i = 0; !kn_failed(err) && i < count; i++)
        err = add(call, handles[i], s->list);
    return err;
}

/* May run again after a failure, and then starts anew. */
static p11_step search_step(p11_call *call, unsigned generation, void *arg)
{
    const search *s = arg;
    (void)generation;
    kn_cert_list_free(s->list);
    CK_OBJECT_HANDLE *handles = calloc(KN_CERT_SEARCH_MAX + 1, sizeof *handles);
    kn_err err = handles ? collect(call, s, handles) : kn_fail(KN_E_NO_MEMORY, "a list of certificates");
    free(handles);
    return (p11_step){.err = err, .rv = call->rv};
}

kn_err p11_cert_search(void *state, const char *text, const kn_cert_query *query, kn_cert_list *ret_list)
{
    p11_uri *uri = NULL;
    p11_token *token;
    kn_err err = p11_uri_new(text, &uri);
    if (!kn_failed(err))
        err = p11_token_find(state, uri, &token);
    if (!kn_failed(err)) {
        search s = {.uri = uri, .query = query, .list = ret_list};
        bool login = query->login || token->state->login == KN_LOGIN_ALWAYS;
        const p11_task task = {.uri = login ? uri : NULL, .step = search_step, .arg = &s};
        err = p11_run(token, &task);
    }
    p11_uri_free(&uri);
    return err;
}
