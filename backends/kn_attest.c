#include "kn_attest.h"

#include "kn_backend.h"
#include "kn_proc.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct kn_attest {
    kn_ctx *ctx;
    const kn_attest_functions *functions;
    void *device; /* the backend's */
};

static bool has_scheme(const char *uri, const char *scheme)
{
    size_t length = strlen(scheme);
    return !strncasecmp(uri, scheme, length) && uri[length] == ':';
}

static kn_err find(const char *uri, const kn_backend **ret_backend)
{
    const kn_backend *backend = NULL;
    kn_err err = kn_success();
    for (size_t i = 0; kn_backends[i] && !backend; i++)
        if (uri ? has_scheme(uri, kn_backends[i]->scheme) : kn_backends[i]->attest != NULL)
            backend = kn_backends[i];
    if (uri && !backend)
        return kn_fail(KN_E_URI_SCHEME, "'%.40s'", uri);
    if (!kn_failed(err) && (!backend || !backend->attest))
        err = kn_fail(KN_E_NO_ATTESTATION, "%s", backend ? backend->scheme : "no backend of this build has it");
    if (!kn_failed(err))
        *ret_backend = backend;
    return err;
}

kn_err kn_attest_open(kn_ctx *ctx, const char *uri, kn_attest **ret_attest)
{
    const kn_backend *backend = NULL;
    kn_err err = find(uri, &backend);
    if (kn_failed(err))
        return err;
    kn_attest *attest = calloc(1, sizeof *attest);
    if (!attest)
        return kn_fail(KN_E_NO_MEMORY, "a TPM handle");
    attest->ctx = kn_ctx_ref(ctx);
    attest->functions = backend->attest;
    kn_proc_enter();
    err = backend->attest->open(kn_ctx_state(ctx, backend), uri, &attest->device);
    kn_proc_leave();
    if (kn_failed(err))
        kn_attest_free(&attest);
    else
        *ret_attest = attest;
    return err;
}

typedef kn_err key_function(void *device, uint8_t **ret_key, size_t *ret_length);

static kn_err read_key(kn_attest *attest, key_function *function, uint8_t **ret_key, size_t *ret_length)
{
    uint8_t *key = NULL;
    size_t length = 0;
    kn_proc_enter();
    kn_err err = function(attest->device, &key, &length);
    kn_proc_leave();
    if (!kn_failed(err) && (length < 2 || length > KN_ATTEST_KEY_MAX))
        err = kn_fail(KN_E_MODULE_BROKEN, "a public key of %zu bytes", length);
    if (kn_failed(err)) {
        free(key);
        return err;
    }
    *ret_key = key;
    *ret_length = length;
    return err;
}

kn_err kn_attest_endorsement_key(kn_attest *attest, uint8_t **ret_key, size_t *ret_length)
{
    return read_key(attest, attest->functions->endorsement_key, ret_key, ret_length);
}

kn_err kn_attest_storage_root_key(kn_attest *attest, uint8_t **ret_key, size_t *ret_length)
{
    return read_key(attest, attest->functions->storage_root_key, ret_key, ret_length);
}

kn_err kn_attest_activate(kn_attest *attest, const uint8_t *blob, size_t length)
{
    if (length == 0 || length > KN_ATTEST_BLOB_MAX)
        return kn_fail(KN_E_DATA_SIZE, "an activation blob has 1 to %d bytes, not %zu", KN_ATTEST_BLOB_MAX, length);
    kn_proc_enter();
    kn_err err = attest->functions->activate(attest->device, blob, length);
    kn_proc_leave();
    return err;
}

kn_err kn_attest_sign(kn_attest *attest, const uint8_t *data, size_t length, uint8_t ret_signature[KN_ATTEST_BYTES])
{
    uint8_t signature[KN_ATTEST_BYTES];
    if (length > KN_ATTEST_DATA_MAX)
        return kn_fail(KN_E_DATA_SIZE, "%zu bytes to sign, at most %d are", length, KN_ATTEST_DATA_MAX);
    kn_proc_enter();
    kn_err err = attest->functions->sign(attest->device, data, length, signature);
    kn_proc_leave();
    if (!kn_failed(err))
        memcpy(ret_signature, signature, sizeof signature);
    return err;
}

void kn_attest_free(kn_attest **attest)
{
    kn_attest *old = *attest;
    *attest = NULL;
    if (!old)
        return;
    if (old->device) {
        kn_proc_enter();
        old->functions->free(old->device);
        kn_proc_leave();
    }
    kn_ctx_unref(&old->ctx);
    free(old);
}
