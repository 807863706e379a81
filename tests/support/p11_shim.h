/* A PKCS#11 module that passes every call on to a real one, counts them, and misbehaves where it is told to.
 *
 * The module finds the real one in KN_SHIM_MODULE and the file of this structure in KN_SHIM_STATE; all processes of a
 * test share that file. Units: calls. Ownership: shim_free() releases. Errors of the test's side end its process with a
 * message. Threads and fork: any.
 */
#ifndef TEST_P11_SHIM_H
#define TEST_P11_SHIM_H

#include "token.h"

#include <stdatomic.h>

/* The calls that this project may use; the others are passed on uncounted. */
#define SHIM_CALLS(X)                                                                                        \
    X(C_Initialize)                                                                                          \
    X(C_Finalize)                                                                                            \
    X(C_GetInfo)                                                                                             \
    X(C_GetSlotList)                                                                                         \
    X(C_GetSlotInfo)                                                                                         \
    X(C_GetTokenInfo)                                                                                        \
    X(C_OpenSession)                                                                                         \
    X(C_CloseSession)                                                                                        \
    X(C_CloseAllSessions)                                                                                    \
    X(C_GetSessionInfo)                                                                                      \
    X(C_Login)                                                                                               \
    X(C_Logout)                                                                                              \
    X(C_CreateObject)                                                                                        \
    X(C_DestroyObject)                                                                                       \
    X(C_GetAttributeValue)                                                                                   \
    X(C_FindObjectsInit)                                                                                     \
    X(C_FindObjects)                                                                                         \
    X(C_FindObjectsFinal)                                                                                    \
    X(C_SignInit)                                                                                            \
    X(C_Sign)                                                                                                \
    X(C_GenerateKeyPair)

typedef enum shim_call {
#define SHIM_ENUM(name) SHIM_##name,
    SHIM_CALLS(SHIM_ENUM)
#undef SHIM_ENUM
    SHIM_CALL_COUNT
} shim_call;

typedef struct shim {
    atomic_uint calls[SHIM_CALL_COUNT];
    atomic_uint fail_times[SHIM_CALL_COUNT]; /* how often the call fails from now on, without reaching the real module */
    atomic_ulong fail_rv[SHIM_CALL_COUNT];
    atomic_ulong token_flags;        /* added in C_GetTokenInfo */
    atomic_ulong told_session_count; /* ulMaxSessionCount in C_GetTokenInfo; 0: the real one */
    atomic_uint session_cap;         /* C_OpenSession beyond: CKR_SESSION_COUNT; 0: none */
    atomic_uint sessions;            /* open now */
    atomic_bool says_extractable;    /* CKA_EXTRACTABLE reads as true */
    atomic_bool refuses_extractable; /* C_GenerateKeyPair with CKA_EXTRACTABLE: CKR_ATTRIBUTE_VALUE_INVALID */
    atomic_bool long_signature;      /* C_Sign returns the largest numbers of the size */
    atomic_bool forks;               /* C_SignInit forks a child that ends at once */
} shim;

/* Path of the module. */
extern const char *const shim_module;

/* Sets the environment of this process, for modules that are loaded from now on. */
shim *shim_new(const test_token *token);
void shim_free(shim **s);

void shim_reset_calls(shim *s);
unsigned shim_total(shim *s);
void shim_fail(shim *s, shim_call call, unsigned long rv, unsigned times);

/* A context that loads the shim and takes the PIN from @pin_file (NULL: has none). */
kn_ctx *shim_context(const char *pin_file);

#endif
