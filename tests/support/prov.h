/* What the tests of keynym.so share: a token with one key for each row of kn_algs, certificates of a software
 * CA, an OSSL_LIB_CTX of each test's own with keynym and default in either order, and TLS handshakes in
 * memory.
 *
 * Units: bytes. Ownership: as OpenSSL's own functions; texts are static. Errors: a failure ends the test
 * process with a message, unless a function says otherwise. Threads: none.
 */
#ifndef TEST_PROV_H
#define TEST_PROV_H

#include "token.h"

#include "kn_key.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef enum prov_order { PROV_KEYNYM_FIRST, PROV_DEFAULT_FIRST, PROV_WITHOUT_KEYNYM } prov_order;

typedef struct prov {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *keynym, *def;
    prov_order order;
} prov;

/* The token that all tests of a process use. Key i is named kn_algs[i].group, and there are these files in
 * the token's directory: GROUP.alias.pem (with the public key), GROUP.bare.pem (the URI alone), GROUP.crt (of
 * the CA, CN=GROUP). The first key's certificate stands on the token, too. ca.key and ca.crt are the CA's. */
extern test_token *prov_token;

/* cmocka's group functions. */
int prov_group_setup(void **state);
int prov_group_teardown(void **state);

/* One context. prov_close() fails the test when something is left on the error queue. */
void prov_open(prov *p, prov_order order);
void prov_close(prov *p);

/* cmocka's functions for one test: *state is a prov *. */
int prov_setup_keynym_first(void **state);
int prov_setup_default_first(void **state);
int prov_teardown(void **state);

/* Two rows of a table of tests: @test in both load orders. */
#define PROV_TEST(test)                                                                                      \
    {#test ", keynym first", test, prov_setup_keynym_first, prov_teardown, NULL},                            \
    {                                                                                                        \
#test ", default first", test, prov_setup_default_first, prov_teardown, NULL                         \
    }

/* "GROUP" and an ending, in the token's directory. */
const char *prov_file(const kn_alg *alg, const char *ending);

/* A whole file as a string, for free(). */
char *prov_read(const char *path);

/* The first private key or certificate of an OSSL_STORE URI, or NULL. */
EVP_PKEY *prov_load(const prov *p, const char *uri);
EVP_PKEY *prov_key(const prov *p, const kn_alg *alg); /* of the token, by its URI; never NULL */
EVP_PKEY *prov_read_key(const prov *p, const char *path);
EVP_PKEY *prov_read_key_text(const prov *p, const char *pem); /* PEM_read_bio_PrivateKey_ex; may be NULL */
X509 *prov_certificate(const prov *p, const char *path);

/* The public key of the token's key as the default provider holds it: from the certificate's bytes in a
 * context that knows no keynym. */
EVP_PKEY *prov_software_public(const kn_alg *alg);

/* A certificate of the CA for @public, as PEM in @path. Times are seconds from now. */
void prov_issue(EVP_PKEY *public, const char *common_name, long not_before, long not_after, const char *path);

/* Makes one more key on the token, with LABEL.alias.pem and LABEL.bare.pem, and gives its public part as an
 * EVP_PKEY of the default provider. */
EVP_PKEY *prov_generate(const char *label, const kn_alg *alg);
EVP_PKEY *prov_make(const char *label, const kn_key_spec *spec);
/* The key of LABEL.alias.pem. Never NULL. */
EVP_PKEY *prov_alias(const prov *p, const char *label);

/* Stores the certificate of a PEM file beside the key @label. */
void prov_store_certificate(const char *label, const char *path);

/* The name of the provider that holds a key. */
const char *prov_of(const EVP_PKEY *pkey);

/* Takes the whole error queue as text, a line for each entry: "LIBRARY|REASON|DETAIL". Fails the test when a
 * PIN of the token is in it. */
const char *prov_errors(void);

/* The queue has an entry of keynym, whose text has all of the NULL-terminated @texts and a next step. */
void prov_expect_error(const char *text, ...);

/* A context for one side of a connection that trusts the CA and demands a certificate of the other side.
 * @libctx NULL: one that knows no keynym. */
SSL_CTX *prov_ssl_ctx(OSSL_LIB_CTX *libctx, const SSL_METHOD *method, int version);

/* A handshake in memory, and one line in each direction. Returns true when both sides finished; the
 * certificate that each saw of the other is checked by OpenSSL. Errors stay on the queue. */
bool prov_handshake(SSL_CTX *client, SSL_CTX *server);

/* A side whose key and certificate are in software, of the CA. @alg chooses the curve. */
void prov_use_software(SSL_CTX *ctx, const kn_alg *alg);

#endif
