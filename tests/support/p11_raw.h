/* The token as another program sees it: Cryptoki without any code of ours, to plant and to remove objects.
 *
 * Units: bytes. Ownership: raw_close() releases. Errors: end the test process with a message. Threads: one.
 * SoftHSM keeps login and sessions for the process as a whole: what is done here is also what "somebody else in the
 * process" does.
 */
#ifndef TEST_P11_RAW_H
#define TEST_P11_RAW_H

#include "token.h"

#include <openssl/types.h>
#include <p11-kit/pkcs11.h>

typedef struct raw {
    CK_FUNCTION_LIST *fn;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session; /* read-write, logged in */
    bool finalize;
} raw;

typedef struct raw_key {
    const char *label;
    const char *id; /* text; "" for none */
    bool sensitive, extractable;
    bool always_authenticate; /* raw_generate() only */
} raw_key;

raw raw_open(const test_token *token);
void raw_close(raw *r);

/* Makes a P-256 pair; returns the handle of the private key. */
CK_OBJECT_HANDLE raw_generate(raw *r, const raw_key *key);

/* Imports the private key of @pkey, which is on P-256. */
CK_OBJECT_HANDLE raw_import(raw *r, const raw_key *key, EVP_PKEY *pkey);

/* @id NULL: none. */
void raw_certificate(raw *r, const char *label, const char *id, X509 *certificate);

void raw_set_bool(raw *r, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool value);

/* Objects of @class; @label NULL: any. */
unsigned raw_count(raw *r, CK_OBJECT_CLASS class, const char *label);
void raw_delete(raw *r, CK_OBJECT_CLASS class, const char *label);

/* C_CloseAllSessions on the token's slot: also the sessions of everybody else in the process. */
void raw_close_all_sessions(const test_token *token);
void raw_logout(raw *r);

/* Fails the test process unless signing with the key says CKR_USER_NOT_LOGGED_IN. */
void raw_expect_login_to_sign(raw *r, const char *label);

#endif
