/* The provider's section of openssl.cnf.
 *
 * Units: none. Ownership: what is filled in lives as long as the provider: the core owns the values. Errors: KN_E_CONFIG.
 * Threads: none; at the provider's start. Spec: provider-base(7) (core_get_params), config(5ssl); docs/configuration.md.
 */
#ifndef KN_OSSL_CONFIG_H
#define KN_OSSL_CONFIG_H

#include "kn_ctx.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>

KN_MUST_CHECK kn_err kn_ossl_configure(OSSL_FUNC_core_get_params_fn *get_params, const OSSL_CORE_HANDLE *core,
                                       kn_config *config);

#endif
