/* The encoders of keys of every type. OpenSSL collects them when a program writes a key, and at no other time.
 * Spec: provider-encoder(7). Contracts as in kn_ossl.h. */
#ifndef KN_OSSL_ENCODER_H
#define KN_OSSL_ENCODER_H

#include "kn_ossl.h"

extern const OSSL_ALGORITHM kn_ossl_encoders[];

#endif
