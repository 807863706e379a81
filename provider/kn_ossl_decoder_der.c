/* From the DER of an alias to a key. */
#include "kn_ossl_key.h"
#include "kn_ossl_pin.h"

#include <string.h>

static void *decoder_newctx(void *provctx)
{
    return provctx; /* no state of its own */
}

static void decoder_freectx(void *ctx)
{
    (void)ctx;
}

/* Without this, every certificate that a program parses would pass through here. */
static int decoder_does_selection(void *provctx, int selection)
{
    (void)provctx;
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY);
}

/* Reads to the end, at most KN_ALIAS_DER_MAX + 1 bytes. */
static size_t read_all(const kn_ossl *prov, OSSL_CORE_BIO *in, uint8_t der[KN_ALIAS_DER_MAX + 1])
{
    size_t length = 0, got = 0;
    while (length <= KN_ALIAS_DER_MAX &&
           kn_ossl_read(prov, in, der + length, KN_ALIAS_DER_MAX + 1 - length, &got) && got > 0)
        length += got;
    return length;
}

static int decoder_decode(void *ctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback, void *callback_arg,
                          OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    kn_ossl *prov = ctx;
    uint8_t der[KN_ALIAS_DER_MAX + 1];
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    if (!decoder_does_selection(ctx, selection))
        return 1;
    size_t length = read_all(prov, in, der);
    if (!kn_alias_looks_like_der(der, length))
        return 1; /* not for us: OpenSSL goes on with other decoders */
    kn_err err = kn_alias_from_der(der, length, &alias);
    if (!kn_failed(err))
        err = kn_ossl_ask_pin(prov, alias, false, passphrase, passphrase_arg);
    if (!kn_failed(err))
        err = kn_key_open(kn_ossl_backends_ready(prov), alias, &key);
    kn_alias_free(&alias);
    if (kn_failed(err))
        return kn_ossl_raise(prov, err);
    kn_ossl_key *object = kn_ossl_key_new(prov, key);
    return object ? kn_ossl_key_deliver(object, callback, callback_arg) : 0;
}

/* OpenSSL calls this when it has chosen another provider's key management, and 3.0 calls it through NULL when
 * it is missing. */
static int decoder_export_object(void *ctx, const void *reference, size_t size, OSSL_CALLBACK *callback, void *arg)
{
    (void)ctx, (void)reference, (void)size, (void)callback, (void)arg;
    return 0;
}

const OSSL_DISPATCH kn_ossl_decoder_der[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))decoder_does_selection},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decoder_decode},
    {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))decoder_export_object},
    {0, NULL},
};
