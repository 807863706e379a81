/* What a token can do: each mechanism is asked for once and remembered.
 *
 * Units: none. Ownership: rows are constant. Errors: KN_E_TOKEN_CANNOT, which names token and mechanism.
 * Threads: any. Spec: PKCS#11 v3.0 section 5.5 (C_GetMechanismInfo).
 */
#ifndef KN_P11_MECHANISM_H
#define KN_P11_MECHANISM_H

#include "../kn_digest.h"
#include "p11_state.h"

/* Not in every version of p11-kit's header. */
#ifndef CKM_EC_MONTGOMERY_KEY_PAIR_GEN
#define CKM_EC_MONTGOMERY_KEY_PAIR_GEN 0x1056UL
#endif
#ifndef CKK_EC_MONTGOMERY
#define CKK_EC_MONTGOMERY 0x41UL
#endif

typedef struct p11_mechanism {
    CK_MECHANISM_TYPE type;
    const char *name; /* "EC_KEY_PAIR_GEN": the standard's without CKM_ */
    bool generates;   /* a key pair of a kind that we make */
} p11_mechanism;

/* NULL: not one that is used here. */
const p11_mechanism *p11_mechanism_row(CK_MECHANISM_TYPE type);

/* A digest as Cryptoki names it. */
typedef struct p11_digest {
    CK_MECHANISM_TYPE hash;
    CK_ULONG mgf1; /* 0: MGF1 of it has no name */
} p11_digest;

const p11_digest *p11_digest_of(const kn_digest *digest);

/* Does the token offer @type for @need (CKF_DECRYPT, CKF_DERIVE, ...)? Also true when it does not say. */
bool p11_mechanism_offered(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need);

/* The same as a result. */
KN_MUST_CHECK kn_err p11_mechanism_check(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need);

/* Does @rv, of a call that begins an operation, speak of the mechanism or its parameters? */
bool p11_mechanism_refused(CK_RV rv);

/* What is to be said then; @parameters, "" for none: how it was asked for. */
kn_err p11_mechanism_fail(p11_token *token, CK_MECHANISM_TYPE type, CK_FLAGS need, const char *call, CK_RV rv,
                          const char *parameters);

#endif
