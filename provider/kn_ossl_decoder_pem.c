/* From PEM with one of an alias's labels to a key, or to the DER inside. For every other PEM file this reads one line and is
 * done. To DER for OpenSSL's own loader of key files (openssl req -key FILE): a reference to a key would be loaded by the
 * default provider's key management there. */
#include "kn_ossl_decoder.h"

#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/params.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define LINES_BEFORE   200 /* lines of text that may stand before the block ("Bag Attributes" and the like) */

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

/* 1: the DER is there; 0: an error was raised; -1: not for us. */
static int read_pem(const kn_ossl *prov, OSSL_CORE_BIO *in, uint8_t ret_der[KN_ALIAS_DER_MAX], size_t *ret_length)
{
    char line[LINE_MAX_BYTES];
    if (!find_our_block(prov, in, line))
        return -1;
    kn_err err = read_block(prov, in, line, ret_der, ret_length);
    return kn_failed(err) ? kn_ossl_raise(prov, err) : 1;
}

/* Never taken by itself: OpenSSL puts it in front of others, and does not ask then. */
static int does_no_selection(void *provctx, int selection)
{
    (void)provctx, (void)selection;
    return 0;
}

static int give_der(const uint8_t *der, size_t length, OSSL_CALLBACK *callback, void *callback_arg)
{
    int object_type = OSSL_OBJECT_PKEY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type),
        OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE, (char *)(uintptr_t)KN_OSSL_STRUCTURE,
                                         sizeof KN_OSSL_STRUCTURE - 1),
        OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, (void *)(uintptr_t)der, length),
        OSSL_PARAM_construct_end(),
    };
    return callback(params, callback_arg);
}

static int decode(void *ctx, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback, void *callback_arg,
                  OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    uint8_t der[KN_ALIAS_DER_MAX];
    size_t length;
    if (selection && !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return 1;
    int got = read_pem(ctx, in, der, &length);
    if (got <= 0)
        return got < 0; /* not for us: OpenSSL goes on with other decoders */
    if (selection == 0) /* the store gives none */
        return give_der(der, length, callback, callback_arg);
    return kn_ossl_decoder_open(ctx, der, length, callback, callback_arg, passphrase, passphrase_arg);
}

const OSSL_DISPATCH kn_ossl_decoder_pem[] = {
    {OSSL_FUNC_DECODER_NEWCTX, (void (*)(void))kn_ossl_decoder_newctx},
    {OSSL_FUNC_DECODER_FREECTX, (void (*)(void))kn_ossl_decoder_freectx},
    {OSSL_FUNC_DECODER_DOES_SELECTION, (void (*)(void))does_no_selection},
    {OSSL_FUNC_DECODER_DECODE, (void (*)(void))decode},
    {OSSL_FUNC_DECODER_EXPORT_OBJECT, (void (*)(void))kn_ossl_decoder_export_object},
    {0, NULL},
};
