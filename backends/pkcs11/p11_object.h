/* Objects of a token: searching, and reading what describes a key.
 *
 * Units: bytes. Ownership: plain data. Errors: those of the CKR table, with the call and the token.
 * Threads: one session per thread. Spec: PKCS#11 v3.0 sections 4.7 to 4.9, 5.7.
 */
#ifndef KN_P11_OBJECT_H
#define KN_P11_OBJECT_H

#include "../kn_public.h"
#include "p11_session.h"

#define P11_MATCHES_MAX 16 /* objects that one search looks at; more mean that the URI is too wide */

typedef struct p11_object {
    CK_OBJECT_HANDLE handle;
    CK_OBJECT_CLASS class;
    CK_KEY_TYPE key_type;
    CK_BYTE id[128], label[128];
    size_t id_length, label_length;
    CK_BYTE ec_params[32], ec_point[160];
    size_t ec_params_length, ec_point_length;
    CK_BYTE modulus[KN_RSA_MAX + 1], exponent[KN_RSA_EXPONENT_MAX + 1]; /* one leading zero is allowed */
    size_t modulus_length, exponent_length;
    bool always_authenticate;
    bool pss_only; /* CKA_ALLOWED_MECHANISMS names only mechanisms of RSA-PSS */
} p11_object;

/* What every call on a session needs: for short argument lists and whole messages. */
typedef struct p11_call {
    p11_token *token;
    CK_SESSION_HANDLE session;
    CK_RV rv; /* of the last call that failed */
} p11_call;

/* Handles of at most @max objects that match; *ret_count may be @max + 1, which means "more". @ret_handles has
 * room for @max + 1. */
KN_MUST_CHECK kn_err p11_search(p11_call *call, CK_ATTRIBUTE *template, CK_ULONG template_count, CK_ULONG max,
                                CK_OBJECT_HANDLE *ret_handles, CK_ULONG *ret_count);

/* Reads class, key type, id, label and the public values; what an object has not is left empty. */
KN_MUST_CHECK kn_err p11_object_read(p11_call *call, CK_OBJECT_HANDLE handle, p11_object *ret_object);

/* Reads one attribute. *length is the room on entry, the size on return; KN_E_TOKEN_CANNOT when absent. */
KN_MUST_CHECK kn_err p11_read(p11_call *call, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type, void *ret_value,
                              CK_ULONG *length);

/* The public key that a private, public or certificate object tells. KN_E_NO_PUBLIC when it tells none. */
KN_MUST_CHECK kn_err p11_object_public(p11_call *call, const p11_object *object, kn_public *ret_public);

/* Has the object the public values itself? RSA private keys do, and the EC keys of some tokens. */
bool p11_object_tells_public(const p11_object *object);

/* "label 'x', id 01ab" */
void p11_object_show(const p11_object *object, char *ret_text, size_t size);
void p11_hex(const CK_BYTE *bytes, size_t length, char *ret_text, size_t size);

static inline CK_ATTRIBUTE p11_attribute(CK_ATTRIBUTE_TYPE type, const void *value, size_t length)
{
    return (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, length};
}

#endif
