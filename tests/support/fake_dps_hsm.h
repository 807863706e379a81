/* An HSM library with a software key, to be linked where ours would be: the seven functions of
 * hsm_client_data.h, and those of keynym_hsm.h that the command calls.
 *
 * Units: none. Ownership: fake_hsm borrows its texts. Errors: a NULL text makes its getter fail.
 * Threads: set it up before any other thread uses it. Spec: hsm_client_data.h.
 */
#ifndef FAKE_DPS_HSM_H
#define FAKE_DPS_HSM_H

#include "soft_tpm.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct fake_hsm_settings {
    const char *common_name;
    const char *certificate;
    const char *key;
    const char *registration_name; /* of the symmetric key */
    const char *symmetric_key;     /* Base64; NULL: the library has no such interface */
    soft_tpm *tpm;                 /* NULL: the library has no such interface */
    unsigned activation_fails;     /* which one, from 1; 0: none */
    bool no_keys;                  /* hsm_client_get_ek fails */
    size_t srk_short_by;           /* bytes that are missing */
    size_t mac_short_by;
    bool no_own_key;
    bool init_fails;
    bool create_fails;
    bool lacks_a_function;
} fake_hsm_settings;

extern fake_hsm_settings fake_hsm;
extern _Thread_local const fake_hsm_settings *fake_hsm_mine; /* instead of it, in this thread; NULL: fake_hsm */
extern atomic_int fake_hsm_handles; /* that are open */

#endif
