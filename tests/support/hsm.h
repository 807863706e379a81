/* What the tests of libkeynym_hsm share: every test in a process of its own, because the library's settings
 * are the process's, and what the library said.
 *
 * Units: none. Ownership: texts are static. Errors: a failure ends the test. Threads: the log may be written
 * by any.
 */
#ifndef TEST_HSM_H
#define TEST_HSM_H

#include "prov.h"

#include "hsm_client_data.h"
#include "keynym_hsm.h"

/* Runs each test in a child of its own: this program again, with the name of the test. Each has the token and
 * files of prov.h. For main(). */
int hsm_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

/* Key and certificate (NULL: the one on the token) with PIN file and module; lines go to the functions below.
 */
void hsm_configure(const char *key, const char *certificate);

/* Only listens. */
void hsm_listen(void);

/* Since the last hsm_expect_*(), there was no line of error or warning. */
void hsm_expect_quiet(void);

/* There was exactly one line; it is an error of @call, has all of the NULL-terminated texts and a next step,
 * is keynym_hsm_last_error(), and holds no PIN. */
void hsm_expect_failure(const char *call, ...);

/* There was exactly one line; it is a warning with @text. */
void hsm_expect_warning(const char *text);

/* As the SDK does: TLS_method(), the default OSSL_LIB_CTX, sdk_add_credentials(). NULL: one of them was refused. */
SSL_CTX *hsm_sdk_ssl_ctx(const char *key_pem, const char *certificate_pem, int version);

/* The handshake of the SDK's client with a software server. */
bool hsm_sdk_connects(const char *key_pem, const char *certificate_pem, int version);

/* PEM_read_bio_PrivateKey() in the default OSSL_LIB_CTX. */
EVP_PKEY *hsm_decode(const char *key_pem);

/* Signs, and checks the signature with @alg's public key in software. */
bool hsm_signs(EVP_PKEY *pkey, const kn_alg *alg);

#endif
