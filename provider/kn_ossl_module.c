/* The entry point of keynym.so. */
#include "kn_ossl.h"

__attribute__((visibility("default"))) OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                       void **provctx)
{
    return keynym_provider_init(core, in, out, provctx);
}
