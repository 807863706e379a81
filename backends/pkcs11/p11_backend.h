/* Keys in PKCS#11 tokens: the row of the table of backends. */
#ifndef KN_P11_BACKEND_H
#define KN_P11_BACKEND_H

#include "../kn_backend.h"

extern const kn_backend kn_p11_backend;

#endif
