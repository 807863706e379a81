/* One call more than the Azure SDK's interface has: a shared access signature that is made where the symmetric key is. Through
 * hsm_client_get_symm_key() a key has to come out of the library; through this call it can stay in its token.
 *
 * Units: bytes. Ownership: arguments are borrowed until return. Errors: 0 for success; otherwise the library has logged the
 * cause. Threads: as the interface's calls: those on one handle are serialised by the caller. Spec: RFC 2104, SHA-256.
 *
 * The symbol is weak where this header is included: an application that is linked with another HSM library finds
 * keynym_hsm_sign_sas to be NULL, and then uses hsm_client_get_symm_key() and makes the signature itself:
 *
 *     if (keynym_hsm_sign_sas)
 *         failed = keynym_hsm_sign_sas(handle, text, length, signature);
 *     else
 *         ... interface->hsm_client_get_symm_key(handle) ...
 */
#ifndef KEYNYM_HSM_SAS_H
#define KEYNYM_HSM_SAS_H

#include "hsm_client_data.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEYNYM_HSM_SAS_BYTES 32

/* @handle: of hsm_client_key_interface(). @data: the text to sign, "{resource}\n{expiry}". */
#ifdef KEYNYM_HSM_SAS_IS_HERE /* the library itself */
__attribute__((visibility("default")))
#else
__attribute__((weak))
#endif
int keynym_hsm_sign_sas(HSM_CLIENT_HANDLE handle, const unsigned char *data, size_t data_length,
                        unsigned char ret_signature[KEYNYM_HSM_SAS_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
