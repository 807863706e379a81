/* The Azure IoT C SDK as its HSM library sees it: the same calls in the same order, legacy ones of OpenSSL included, and
 * free() of everything. Written from what was observed; no code of the SDK is in here.
 *
 * Units: none. Ownership: arguments are borrowed; sdk_device_close() releases what sdk_device_open() made.
 * Errors: false. Threads: each device in one thread, any number of them.
 */
#ifndef TEST_SDK_H
#define TEST_SDK_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* PEM_read_bio_PrivateKey() without a callback; RSA keys as RSA structures, others as they are; the key first, then the
 * certificate, then the rest of the chain. */
bool sdk_add_credentials(SSL_CTX *ctx, const char *key_pem, const char *certificate_pem);

/* What prov_dev_security_init() and prov_dev_security_deinit() call for X.509. */
bool sdk_security_init(void);
void sdk_security_deinit(void);

#endif
