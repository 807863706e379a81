/* What the decoders share.
 *
 * Units: bytes. Ownership: as in provider-decoder(7). Errors: 0 with an entry on the error queue; "not for us" is 1.
 * Threads: any. Spec: provider-decoder(7).
 *
 * OpenSSL 3.0 makes a chain of decoders anew for each key or certificate that a program reads: it takes all that can make a
 * key of the selection (does_selection), and then compares the input of each that it took with the name of every decoder
 * there is, to find others to put in front. Programs that use other keys pay for each of ours.
 */
#ifndef KN_OSSL_DECODER_H
#define KN_OSSL_DECODER_H

#include "kn_ossl_key.h"

#include "kn_alias.h"

/* Those for the OpenSSL that loaded us. @core_version: as it names itself ("3.0.19"); NULL: not known. */
const OSSL_ALGORITHM *kn_ossl_decoders(const char *core_version);

/* Members of the decoders' tables. */
void *kn_ossl_decoder_newctx(void *provctx);
void kn_ossl_decoder_freectx(void *ctx);
int kn_ossl_decoder_private_only(void *provctx, int selection); /* does_selection: private keys, or whatever is there */
int kn_ossl_decoder_export_object(void *ctx, const void *reference, size_t size, OSSL_CALLBACK *callback, void *arg);

/* Opens the key of an alias and delivers it to @callback. */
int kn_ossl_decoder_open(kn_ossl *prov, const uint8_t *der, size_t length, OSSL_CALLBACK *callback, void *callback_arg,
                         OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_arg);

extern const OSSL_DISPATCH kn_ossl_decoder_der[]; /* DER to key */
extern const OSSL_DISPATCH kn_ossl_decoder_pem[]; /* PEM to key; without a selection, as in OpenSSL's store for files, to DER */

#endif
