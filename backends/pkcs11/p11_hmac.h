/* HMAC keys in tokens: the members of kn_hmac_functions (kn_hmac.h says what they promise). */
#ifndef KN_P11_HMAC_H
#define KN_P11_HMAC_H

#include "../kn_backend.h"
#include "p11_object.h"

extern const kn_hmac_functions kn_p11_hmac;

/* Finds the one secret key that @uri names, in an open session. */
KN_MUST_CHECK kn_err p11_hmac_locate(p11_call *call, const p11_uri *uri, p11_object *ret_object);

#endif
