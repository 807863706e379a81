/* The native TPM backend: its row of kn_backends.c. It attests, and makes and uses signing keys at persistent handles.
 *
 * Units, ownership, errors, threads: as in kn_backend.h.
 */
#ifndef KN_TPM2_BACKEND_H
#define KN_TPM2_BACKEND_H

#include "kn_backend.h"

extern const kn_backend kn_tpm2_backend;

#endif
