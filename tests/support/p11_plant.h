/* Weak keys that a token makes instead of the good one that was asked for. For the pass-through module.
 *
 * Units: none. Ownership: none. Errors: those of the real module. Threads: any.
 */
#ifndef TEST_P11_PLANT_H
#define TEST_P11_PLANT_H

#include <p11-kit/pkcs11.h>

typedef enum plant_kind {
    PLANT_NOTHING,
    PLANT_EXTRACTABLE,
    PLANT_NOT_SENSITIVE,
    PLANT_LOCKED_LATER, /* made extractable and readable, locked afterwards */
    PLANT_IMPORTED,     /* made outside, then sensitive and not extractable */
    PLANT_ALL_USES,     /* whatever a key can do, it may */
    PLANT_COUNT
} plant_kind;

/* As C_GenerateKeyPair, with the private key of @what. */
CK_RV plant_pair(CK_FUNCTION_LIST *real, plant_kind what, CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                 CK_ATTRIBUTE *public, CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                 CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key);

#endif
