/* The provider's context: what one instance of keynym in one OSSL_LIB_CTX needs.
 *
 * Units: none. Ownership: keynym_provider_init() makes it, teardown releases it; it outlives every key.
 * Errors: kn_ossl_raise() puts a backend's failure on OpenSSL's error queue. Threads: any.
 * Spec: provider-base(7), provider(7).
 */
#ifndef KN_OSSL_H
#define KN_OSSL_H

#include "kn_ctx.h"
#include "kn_digest.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>

#define KN_OSSL_NAME       "keynym"
#define KN_OSSL_PROPERTIES "provider=keynym"
#define KN_OSSL_STRUCTURE  "KeynymAlias" /* OpenSSL's word for what a DER value is */

typedef struct kn_ossl kn_ossl;

/* The provider's entry point under a name of its own. Reads its settings from openssl.cnf. */
OSSL_provider_init_fn keynym_provider_init;

/* The same on a context that exists, for OSSL_PROVIDER_add_builtin(): the provider then shares its sessions and its
 * login. Adds a reference to @backends. */
int keynym_provider_init_on(kn_ctx *backends, const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
                            const OSSL_DISPATCH **out, void **provctx);

/* From now on on @backends, which must live as long as the process does. For a built-in provider that OpenSSL keeps after
 * OSSL_PROVIDER_unload(), before it is loaded again. */
void keynym_provider_use(void *provctx, kn_ctx *backends);

kn_ctx *kn_ossl_backends(const kn_ossl *prov);
/* The same, before a token is used: sees to it that we are not the only provider of the default library context. */
kn_ctx *kn_ossl_backends_ready(kn_ossl *prov);

/* A child of the application's library context: its own providers, so that its choice (FIPS, say) holds. NULL: out of
 * memory. */
OSSL_LIB_CTX *kn_ossl_child(kn_ossl *prov);

/* A digest of the application's own providers (kn_ossl_digest.h), and its row in kn_digests or NULL. Release with
 * EVP_MD_free(). NULL: not there. */
EVP_MD *kn_ossl_digest(kn_ossl *prov, const char *name, const char *properties, const kn_digest **ret_row);

/* Raises @err, with this thread's detail text, on the application's error queue. Always returns 0. */
int kn_ossl_raise_at(const kn_ossl *prov, kn_err err, const char *file, int line, const char *function);
/* The same for an error that OpenSSL meets at every signature and takes off the queue again: the code's sentence alone, and
 * it is not logged. */
int kn_ossl_raise_code(const kn_ossl *prov, kn_code code);
#define kn_ossl_raise(prov, err) kn_ossl_raise_at(prov, err, __FILE__, __LINE__, __func__)

/* Around a call into the application: what it leaves on its error queue is taken off again. */
void kn_ossl_mark_errors(const kn_ossl *prov);
void kn_ossl_drop_errors(const kn_ossl *prov);

/* Reading from a BIO of the application; as BIO_gets(). */
int kn_ossl_gets(const kn_ossl *prov, OSSL_CORE_BIO *bio, char *line, int size);
/* As BIO_read_ex(). */
int kn_ossl_read(const kn_ossl *prov, OSSL_CORE_BIO *bio, void *data, size_t size, size_t *ret_length);
/* All of @data. Returns 1, or 0 with an entry on the error queue. */
int kn_ossl_write(const kn_ossl *prov, OSSL_CORE_BIO *bio, const void *data, size_t size);

extern const OSSL_DISPATCH kn_ossl_ec_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_rsa_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_rsa_pss_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_ed25519_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_ed448_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_x25519_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_x448_keymgmt[];
extern const OSSL_DISPATCH kn_ossl_ecdsa[];
extern const OSSL_DISPATCH kn_ossl_rsa_signature[];
extern const OSSL_DISPATCH kn_ossl_eddsa[];
extern const OSSL_DISPATCH kn_ossl_cipher[];
extern const OSSL_DISPATCH kn_ossl_exchange[];
extern const OSSL_DISPATCH kn_ossl_store[];

#endif
