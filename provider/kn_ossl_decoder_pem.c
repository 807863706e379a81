/* From PEM with one of an alias's labels to the DER inside. For every other PEM file this reads one line and is done.
 *
 * A decoder to DER, and not straight to a key, because OpenSSL's own loader of key files takes only those along. It does
 * not look into the DER: kn_ossl_decoder_der.c does. */
#include "kn_ossl.h"

#include "kn_alias.h"

#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define LINES_BEFORE   200 /* lines of text that may stand before the block ("Bag Attributes" and the like) */

static void *decoder_newctx(void *provctx)
{
    return provctx; /* no state of its own */
}

static void decoder_freectx(void *ctx)
{
    (void)ctx;
}

/* Without this, every public key that a program reads would pass through here. */
static int decoder_does_selection(void *provctx, int selection)
{
    (void)provctx;
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY);
}

/* Skips to the first block, whose BEGIN line is left in @line; is it ours? */
static bool find_our_block(const kn_ossl *prov, OSSL_CORE_BIO *in, char line[LINE_MAX_BYTES])
{
    static const char begin[] = "-----BEGIN ";
    for (int i = 0; i < LINES_BEFORE && kn_ossl_gets(prov, in, line, LINE_MAX_BYTES) > 0; i++)
        if (!strncmp(line, begin, sizeof begin - 1))
            return kn_alias_is_pem_begin(line);
    return false;
}

/* The block that begins with @line, which is overwritten. */
static kn_err read_block(const kn_ossl *prov, OSSL_CORE_BIO *in, char line[LINE_MAX_BYTES],
                         uint8_t ret_der[KN_ALIAS_DER_MAX], size_t *ret_length)
{
    static const char end[] = "-----END ";
    char text[KN_ALIAS_PEM_MAX + 1];
    size_t length = 0;
    int n = (int)strlen(line);
    do {
        if (length + (size_t)n > KN_ALIAS_PEM_MAX)
            return kn_fail(KN_E_ALIAS_MALFORMED, "more than %d bytes of PEM", KN_ALIAS_PEM_MAX);
        memcpy(text + length, line, (size_t)n);
        length += (size_t)n;
        if (!strncmp(line, end, sizeof end - 1))
            return kn_alias_pem_to_der(text, length, ret_der, ret_length);
    } while ((n = kn_ossl_gets(prov, in, line, LINE_MAX_BYTES)) > 0);
    return kn_fail(KN_E_ALIAS_MALFORMED, "the PEM block has no END line");
}

static int decoder_decode(void *ctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback, void *callback_arg,
                          OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    const kn_ossl *prov = ctx;
    int object_type = OSSL_OBJECT_PKEY;
    uint8_t der[KN_ALIAS_DER_MAX];
    char line[LINE_MAX_BYTES];
    size_t length;
    (void)passphrase, (void)passphrase_arg;
    if (!decoder_does_selection(ctx, selection) || !find_our_block(prov, in, line))
        return 1; /* not for us: OpenSSL goes on with other decoders */
    kn_err err = read_block(prov, in, line, der, &length);
    if (kn_failed(err))
        return kn_ossl_raise(prov, err);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, (char *)(uintptr_t)KN_OSSL_STRUCTURE,
                                         sizeof KN_OSSL_STRUCTURE - 1),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, length),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, callback_arg);
}

const OSSL_DISPATCH kn_ossl_decoder_pem[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))decoder_does_selection},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decoder_decode},
    {0, NULL},
};
