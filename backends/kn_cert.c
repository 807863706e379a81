#include "kn_cert.h"

#include "kn_backend.h"
#include "kn_proc.h"

#include <stdlib.h>
#include <string.h>

kn_err kn_certs_add(kn_certs *certs, const uint8_t *der, size_t length)
{
    if (certs->count == KN_CHAIN_MAX)
        return kn_fail(KN_E_DATA_SIZE, "more than %d certificates in the chain", KN_CHAIN_MAX);
    if (length == 0 || length > KN_CERT_MAX)
        return kn_fail(KN_E_DATA_SIZE, "a certificate of %zu bytes", length);
    uint8_t *copy = malloc(length);
    if (!copy)
        return kn_fail(KN_E_NO_MEMORY, "a certificate");
    memcpy(copy, der, length);
    certs->cert[certs->count].der = copy;
    certs->cert[certs->count++].length = length;
    return kn_success();
}

void kn_certs_free(kn_certs *certs)
{
    while (certs->count)
        free(certs->cert[--certs->count].der);
}

kn_err kn_cert_read_chain(kn_ctx *ctx, const char *uri, kn_certs *ret_certs)
{
    const kn_backend *backend;
    kn_certs certs = {.count = 0};
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->cert_read_chain(kn_ctx_state(ctx, backend), uri, &certs);
    kn_proc_leave();
    if (kn_failed(err))
        kn_certs_free(&certs);
    else
        *ret_certs = certs;
    return err;
}

kn_err kn_cert_search(kn_ctx *ctx, const char *uri, const kn_cert_query *query, kn_cert_list *ret_list)
{
    const kn_backend *backend;
    kn_cert_list list = {.count = 0};
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_proc_enter();
    err = backend->cert_search(kn_ctx_state(ctx, backend), uri, query, &list);
    kn_proc_leave();
    if (kn_failed(err))
        kn_cert_list_free(&list);
    else
        *ret_list = list;
    return err;
}

void kn_cert_list_free(kn_cert_list *list)
{
    while (list->count)
        free(list->cert[--list->count].der);
    free(list->cert);
    list->cert = NULL;
}

kn_err kn_cert_write_chain(kn_ctx *ctx, const char *uri, const kn_certs *certs)
{
    const kn_backend *backend;
    kn_err err = kn_backend_for_uri(uri, &backend);
    if (kn_failed(err))
        return err;
    if (certs->count == 0)
        return kn_fail(KN_E_NO_CERTIFICATE, "an empty chain");
    kn_proc_enter();
    err = backend->cert_write_chain(kn_ctx_state(ctx, backend), uri, certs);
    kn_proc_leave();
    return err;
}
