/* From the DER of an alias to a key. */
#include "kn_ossl_decoder.h"

#include <string.h>

/* Reads to the end, at most KN_ALIAS_DER_MAX + 1 bytes. */
static size_t read_all(const kn_ossl *prov, OSSL_CORE_BIO *in, uint8_t der[KN_ALIAS_DER_MAX + 1])
{
    size_t length = 0, got = 0;
    while (length <= KN_ALIAS_DER_MAX &&
           kn_ossl_read(prov, in, der + length, KN_ALIAS_DER_MAX + 1 - length, &got) && got > 0)
        length += got;
    return length;
}

static int decode(void *ctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback, void *callback_arg,
                  OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    uint8_t der[KN_ALIAS_DER_MAX + 1];
    if (selection && !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return 1;
    size_t length = read_all(ctx, in, der);
    if (!kn_alias_looks_like_der(der, length))
        return 1; /* not for us: OpenSSL goes on with other decoders */
    return kn_ossl_decoder_open(ctx, der, length, callback, callback_arg, passphrase, passphrase_arg);
}

const OSSL_DISPATCH kn_ossl_decoder_der[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))kn_ossl_decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))kn_ossl_decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))kn_ossl_decoder_private_only},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decode},
    {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))kn_ossl_decoder_export_object},
    {0, NULL},
};
