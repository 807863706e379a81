/* A PKCS#11 module that passes every call on to a real one, counts them, and misbehaves where it is told to.
 *
 * The module finds the real one in KN_SHIM_MODULE and the file of this structure in KN_SHIM_STATE; all processes of a
 * test share that file. All zero: nothing but counting. Units: calls, unless the name says otherwise. Ownership:
 * shim_free() releases. Errors of the test's side end its process with a message. Threads and fork: any.
 */
#ifndef TEST_P11_SHIM_H
#define TEST_P11_SHIM_H

#include "p11_plant.h"
#include "token.h"

#include <stdatomic.h>

/* The calls that this project may use, and what the first argument of each is; the others are passed on as they are. */
#define SHIM_CALLS(X)                                                                                        \
    X(C_Initialize, LIBRARY)                                                                                 \
    X(C_Finalize, LIBRARY)                                                                                   \
    X(C_GetInfo, LIBRARY)                                                                                    \
    X(C_GetSlotList, LIBRARY)                                                                                \
    X(C_GetSlotInfo, SLOT)                                                                                   \
    X(C_GetTokenInfo, SLOT)                                                                                  \
    X(C_GetMechanismInfo, SLOT)                                                                              \
    X(C_InitToken, SLOT)                                                                                     \
    X(C_OpenSession, SLOT)                                                                                   \
    X(C_CloseAllSessions, SLOT)                                                                              \
    X(C_CloseSession, SESSION)                                                                               \
    X(C_GetSessionInfo, SESSION)                                                                             \
    X(C_InitPIN, SESSION)                                                                                    \
    X(C_Login, SESSION)                                                                                      \
    X(C_Logout, SESSION)                                                                                     \
    X(C_CreateObject, SESSION)                                                                               \
    X(C_CopyObject, SESSION)                                                                                 \
    X(C_DestroyObject, SESSION)                                                                              \
    X(C_GetAttributeValue, SESSION)                                                                          \
    X(C_SetAttributeValue, SESSION)                                                                          \
    X(C_FindObjectsInit, SESSION)                                                                            \
    X(C_FindObjects, SESSION)                                                                                \
    X(C_FindObjectsFinal, SESSION)                                                                           \
    X(C_SignInit, SESSION)                                                                                   \
    X(C_Sign, SESSION)                                                                                       \
    X(C_DecryptInit, SESSION)                                                                                \
    X(C_Decrypt, SESSION)                                                                                    \
    X(C_DeriveKey, SESSION)                                                                                  \
    X(C_GenerateKey, SESSION)                                                                                \
    X(C_GenerateKeyPair, SESSION)

typedef enum shim_call {
#define SHIM_ENUM(name, kind) SHIM_##name,
    SHIM_CALLS(SHIM_ENUM)
#undef SHIM_ENUM
    SHIM_CALL_COUNT
} shim_call;

/* What happens to the token when a rule fires. */
typedef enum shim_event {
    SHIM_NO_EVENT,
    SHIM_CLOSES_SESSIONS, /* all of this process */
    SHIM_LOGS_OUT,        /* somebody else in this process */
    SHIM_TAKES_OUT        /* the token: see token_out */
} shim_event;

/* For one call: what happens from the (@skip + 1)th time on, @times times. */
typedef struct shim_rule {
    atomic_uint skip, times;
    atomic_ulong rv;   /* CKR_OK: the call goes on */
    atomic_bool after; /* the real module does its work first, and the answer is lost */
    atomic_uint event;
} shim_rule;

#define SHIM_LIE_MAX 160

typedef struct shim {
    atomic_uint calls[SHIM_CALL_COUNT];
    atomic_uint done[SHIM_CALL_COUNT]; /* calls that the real module answered with CKR_OK */
    shim_rule rules[SHIM_CALL_COUNT];
    atomic_uint delay_us[SHIM_CALL_COUNT];
    atomic_uint inside; /* threads in the real module now */

    /* the token and its slot */
    atomic_bool token_out;           /* no slot holds a token, and its sessions are gone */
    atomic_uint closings;            /* grows: each process closes all its sessions before its next call */
    atomic_ulong slot_shift;         /* added to the number of each slot */
    atomic_ulong broken;             /* what every call returns until C_Finalize and C_Initialize; 0: nothing */
    atomic_ulong token_flags;        /* added in C_GetTokenInfo */
    atomic_ulong token_flags_off;    /* removed there */
    atomic_ulong told_session_count; /* ulMaxSessionCount in C_GetTokenInfo; 0: the real one */
    atomic_uint session_cap;         /* C_OpenSession beyond: CKR_SESSION_COUNT; 0: none */
    atomic_uint sessions;            /* open now */

    char keypad_pin[24];             /* what somebody types at the token: C_Login with NULL; "": nobody */

    /* lies */
    atomic_bool other_model;     /* the token's model is "shim", of which nothing is known */
    atomic_uint portion;         /* objects that one C_FindObjects returns at most; 0: as many as asked for */
    atomic_bool found_twice;     /* C_FindObjects returns each object twice */
    atomic_ulong found_instead;  /* it returns this object instead of the first one; 0: it does not */
    atomic_uint find_overflow;   /* added to the count that it returns */
    atomic_ulong lie_type;       /* with lie_length: what this attribute reads as, of every object */
    atomic_ulong lie_length;     /* 0: no lie; beyond the caller's room: only the length is written */
    unsigned char lie[SHIM_LIE_MAX];
    atomic_bool says_extractable;    /* CKA_EXTRACTABLE reads as true */
    atomic_bool refuses_extractable; /* C_GenerateKeyPair with CKA_EXTRACTABLE: CKR_ATTRIBUTE_VALUE_INVALID */
    atomic_bool fixed_uses;          /* C_GenerateKeyPair with a use that is false: CKR_GENERAL_ERROR */
    char told_library[33];           /* manufacturerID in C_GetInfo; "": the real one */
    atomic_uint plants;              /* of plant_kind: what C_GenerateKeyPair makes */
    atomic_bool long_signature;      /* C_Sign returns the largest numbers of the size */
    atomic_ulong signature_length;   /* what C_Sign says of its length; 0: the truth */
    atomic_ulong last_mechanism;     /* of C_SignInit */
    atomic_bool forks;               /* C_SignInit forks a child that ends at once */
    atomic_bool instant;             /* C_SignInit and C_Sign answer at once, without the real module: r = s = 0x0101...01 */
} shim;

/* Path of the module. */
extern const char *const shim_module;

/* "C_Sign" */
const char *shim_call_name(shim_call call);

/* Sets the environment of this process, for modules that are loaded from now on. */
shim *shim_new(const test_token *token);
void shim_free(shim **s);

/* As after shim_new(); the real sessions stay as they are. */
void shim_calm(shim *s);
void shim_reset_calls(shim *s);
unsigned shim_total(shim *s);
void shim_fail(shim *s, shim_call call, unsigned long rv, unsigned times);
/* Only the @nth call from now on, counted from 1. */
void shim_fail_nth(shim *s, shim_call call, unsigned nth, unsigned long rv, bool after);
void shim_happens(shim *s, shim_call call, unsigned nth, shim_event event);
void shim_close_sessions(shim *s);
void shim_take_out(shim *s);
void shim_put_in(shim *s, unsigned long slot_shift);

/* A context that loads the shim and takes the PIN from @pin_file (NULL: has none). */
kn_ctx *shim_context(const char *pin_file);

#endif
