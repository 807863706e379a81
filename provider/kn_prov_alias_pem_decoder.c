/* From a PEM file with our label to a key. For every other PEM file this reads one line and is done. */
#include "kn_prov_key.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define LINES_BEFORE   200 /* lines of text that may stand before the block ("Bag Attributes" and the like) */

typedef struct decoder {
    kn_prov *prov;
} decoder;

static void *decoder_newctx(void *provctx)
{
    decoder *ctx = calloc(1, sizeof *ctx);
    if (ctx)
        ctx->prov = provctx;
    return ctx;
}

static void decoder_freectx(void *ctx)
{
    free(ctx);
}

/* Without this, every certificate that a program parses would pass through here. */
static int decoder_does_selection(void *provctx, int selection)
{
    (void)provctx;
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY);
}

/* Skips to the first block; is it ours? */
static bool find_our_block(const kn_prov *prov, OSSL_CORE_BIO *in)
{
    static const char begin[] = "-----BEGIN ", ours[] = KN_ALIAS_PEM_LABEL "-----";
    char line[LINE_MAX_BYTES];
    for (int i = 0; i < LINES_BEFORE && kn_prov_gets(prov, in, line, sizeof line) > 0; i++)
        if (!strncmp(line, begin, sizeof begin - 1))
            return !strncmp(line + sizeof begin - 1, ours, sizeof ours - 1);
    return false;
}

/* The block, with the line that was read already put in front again. */
static kn_err read_block(const kn_prov *prov, OSSL_CORE_BIO *in, kn_alias **ret_alias)
{
    static const char begin[] = "-----BEGIN " KN_ALIAS_PEM_LABEL "-----\n";
    static const char end[] = "-----END ";
    char text[KN_ALIAS_PEM_MAX + 1], line[LINE_MAX_BYTES];
    size_t length = sizeof begin - 1;
    memcpy(text, begin, length);
    int n;
    while ((n = kn_prov_gets(prov, in, line, sizeof line)) > 0) {
        if (length + (size_t)n > KN_ALIAS_PEM_MAX)
            return kn_fail(KN_E_ALIAS_MALFORMED, "more than %d bytes of PEM", KN_ALIAS_PEM_MAX);
        memcpy(text + length, line, (size_t)n);
        length += (size_t)n;
        if (!strncmp(line, end, sizeof end - 1))
            return kn_alias_from_pem(text, length, ret_alias);
    }
    return kn_fail(KN_E_ALIAS_MALFORMED, "the PEM block has no END line");
}

static int decoder_decode(void *arg, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback, void *callback_arg,
                          OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    decoder *ctx = arg;
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)passphrase, (void)passphrase_arg;
    if (!decoder_does_selection(ctx->prov, selection) || !find_our_block(ctx->prov, in))
        return 1; /* not for us: OpenSSL goes on with other decoders */
    kn_err err = read_block(ctx->prov, in, &alias);
    if (!kn_failed(err))
        err = kn_key_open(kn_prov_backends(ctx->prov), alias, &key);
    kn_alias_free(&alias);
    if (kn_failed(err))
        return kn_prov_raise(ctx->prov, err);
    kn_prov_key *object = kn_prov_key_new(ctx->prov, key);
    return object ? kn_prov_key_deliver(object, callback, callback_arg) : 0;
}

/* OpenSSL calls this when it has chosen another provider's key management, and 3.0 calls it through NULL when
 * it is missing. */
static int decoder_export_object(void *ctx, const void *reference, size_t size, OSSL_CALLBACK *callback, void *arg)
{
    (void)ctx, (void)reference, (void)size, (void)callback, (void)arg;
    return 0;
}

const OSSL_DISPATCH kn_prov_alias_pem_decoder[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))decoder_does_selection},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decoder_decode},
    {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))decoder_export_object},
    {0, NULL},
};
