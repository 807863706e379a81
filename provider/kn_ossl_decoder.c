#include "kn_ossl_decoder.h"

#include "kn_ossl_pin.h"

#include <string.h>

/* OpenSSL's store for files (openssl req -key FILE) takes along only decoders named DER, MSBLOB or PVK. What they give goes to
 * the store first, and only if that has no use for it to a decoder of that input. So the name decides where else a decoder
 * is looked at: DER for every key and certificate that is read, and some thirty times; PVK once, and for private keys only.
 * Later releases than 3.0 do not look at PVK at all when they read a private key in PEM (seen with 3.5). */
#define DER_ROW                                                                                                        \
    {"EC", KN_OSSL_PROPERTIES ",input=der,structure=" KN_OSSL_STRUCTURE, kn_ossl_decoder_der, "Keynym aliases"}
#define PEM_ROW(name)                                                                                                  \
    {name, KN_OSSL_PROPERTIES ",input=pem", kn_ossl_decoder_pem, "Keynym alias PEM"}

const OSSL_ALGORITHM *kn_ossl_decoders(const char *core_version)
{
    static const OSSL_ALGORITHM of_3_0[] = {DER_ROW, PEM_ROW("PVK"), {NULL, NULL, NULL, NULL}};
    static const OSSL_ALGORITHM of_later[] = {DER_ROW, PEM_ROW("DER"), {NULL, NULL, NULL, NULL}};
    return core_version && !strncmp(core_version, "3.0.", 4) ? of_3_0 : of_later;
}

void *kn_ossl_decoder_newctx(void *provctx)
{
    return provctx; /* no state of its own */
}

void kn_ossl_decoder_freectx(void *ctx)
{
    (void)ctx;
}

int kn_ossl_decoder_private_only(void *provctx, int selection)
{
    (void)provctx;
    return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY);
}

int kn_ossl_decoder_open(kn_ossl *prov, const uint8_t *der, size_t length, OSSL_CALLBACK *callback, void *callback_arg,
                         OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
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
int kn_ossl_decoder_export_object(void *ctx, const void *reference, size_t size, OSSL_CALLBACK *callback, void *arg)
{
    (void)ctx, (void)reference, (void)size, (void)callback, (void)arg;
    return 0;
}
