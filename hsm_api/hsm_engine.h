/* The key for applications that set the SDK's Engine option: a URI that libp11's engine `pkcs11` takes.
 *
 * Units: none. Ownership: @ret_uri is for free(). Errors: KN_E_CONFIG. Threads: any.
 * Spec: RFC 7512; libp11 0.4.12 (eng_parse.c knows fewer attributes and refuses the others).
 */
#ifndef KN_HSM_ENGINE_H
#define KN_HSM_ENGINE_H

#include "kn_err.h"

/* What the engine understands of @uri: token, manufacturer, serial, model, object, id, type and a pin-source that is a file. The
 * module is named elsewhere: in openssl.cnf, or by PKCS11_MODULE_PATH. */
KN_MUST_CHECK kn_err hsm_engine_uri(const char *uri, char **ret_uri);

#endif
