/* Private keys of a TPM: at persistent handles, and in files that the TPM has wrapped.
 *
 * A key at a handle is found with one command (ReadPublic), and each signature is one more (Sign): the hash is made in software,
 * the authorization goes along as a password, and no slot of the TPM is held. A key in a file is loaded once (tpm2_load.c), and
 * its context is kept here: each signature is ContextLoad, Sign and FlushContext, since one that stays loaded would take one of
 * the TPM's three slots from everybody. Where a resource manager shares the slots out it stays loaded, and a signature is one command. The first use of a key that the TPM protects against
 * guessing asks for its lockout counter before an authorization is sent.
 *
 *   state    | event                                  | next
 *   ---------+----------------------------------------+---------------------------------------------------
 *   unknown  | first use, or the connection is another| found; KN_E_KEY_CHANGED when it is not the expected key
 *   found    | the TPM takes the authorization        | proved: it is sent again when a connection dies
 *   found    | the TPM refuses the authorization      | found; the same one is not sent again
 *   any      | the connection dies                    | unknown
 *
 * Units, ownership, errors, threads: as in kn_backend.h. Spec: TPM 2.0 part 3, 20.2 (TPM2_Sign); part 1, 19.8 (lockout).
 */
#ifndef KN_TPM2_KEY_H
#define KN_TPM2_KEY_H

#include "../kn_backend.h"
#include "tpm2_conn.h"
#include "tpm2_key_uri.h"
#include "tpm2_tss_key.h"

typedef struct tpm2_state {
    char *pin_source; /* of the configuration; NULL: none */
} tpm2_state;

typedef struct tpm2_key {
    const tpm2_state *state;
    tpm2_key_uri uri;
    char name[128]; /* for messages */
    tpm2_tss_key *blob; /* what the file holds; NULL: the key is at a handle */
    bool has_expected; /* the alias carries the public key, or it was read when the key was opened */
    kn_public expected;

    /* guarded by the connection's lock */
    ESYS_TR object;
    unsigned generation; /* the connection's, when the object was found; 0: never, or a file's key that is not loaded now */
    TPMS_CONTEXT *saved; /* of a file's key, from the connection of saved_generation; NULL: none */
    unsigned saved_generation;
    TPMT_PUBLIC area;
    bool proved;    /* the TPM took this authorization */
    bool salt_seen; /* the TPM's PSS signatures have a salt as long as the digest */
} tpm2_key;

kn_err tpm2_key_open(void *state, const char *uri, const kn_public *expected, void **ret_key, kn_public *ret_public);
kn_err tpm2_key_generate(void *state, const char *uri, const kn_key_spec *spec, void **ret_key, kn_public *ret_public);
void tpm2_key_free(void *key);
kn_err tpm2_key_sign(void *key, const kn_sign_how *how, const uint8_t *data, size_t length, uint8_t *ret_signature,
                     size_t *ret_length, unsigned *ret_binding);
kn_err tpm2_key_decrypt(void *key, const kn_decrypt_how *how, const uint8_t *data, size_t length, uint8_t *ret_plain,
                        size_t *ret_length, bool *ret_good);
kn_err tpm2_key_derive(void *key, const uint8_t *point, size_t length, uint8_t *ret_secret, size_t *ret_length,
                       unsigned *ret_binding);
kn_err tpm2_key_inspect(void *key, kn_custody *ret_custody);
kn_err tpm2_key_delete(void *key);
kn_err tpm2_key_certify(void *key, void *attestation_key, const uint8_t *nonce, size_t nonce_length,
                        kn_certification *ret_certification);
kn_err tpm2_key_list(void *state, const char *uri, void (*row)(const kn_object_info *info, void *arg), void *arg);

/* A handle of ours for the key that @uri names, not yet looked for. A file is read only when @read. tpm2_key_free() releases it. */
KN_MUST_CHECK kn_err tpm2_key_new(const tpm2_state *state, const char *uri, bool read, tpm2_key **ret_key);

/* Makes @blob the key's. KN_E_KEY_CHANGED when it is not the expected one. */
KN_MUST_CHECK kn_err tpm2_key_set_blob(tpm2_key *key, const tpm2_tss_key *blob);

/* What the attributes of a key that was found say. */
void tpm2_key_custody(const tpm2_key *key, kn_custody *ret_custody);

/* Finds the key on this connection, once for each; of one in a file everything is known. Inside tpm2_conn_run(). */
KN_MUST_CHECK kn_err tpm2_key_find(tpm2_conn *conn, tpm2_key *key);

/* Has the object of a key that was found there for one command: loads one that is in a file. KN_E_TPM_FILE. */
KN_MUST_CHECK kn_err tpm2_key_take(tpm2_conn *conn, tpm2_key *key);
void tpm2_key_give(tpm2_conn *conn, tpm2_key *key);

/* The storage key below which keys in files are: that of the owner hierarchy, which is made, or the one at the handle @parent. */
KN_MUST_CHECK kn_err tpm2_parent_open(tpm2_conn *conn, uint32_t parent, const char *owner_auth, ESYS_TR *ret_parent);
void tpm2_parent_close(tpm2_conn *conn, uint32_t parent, ESYS_TR *object);

/* Where the key's authorization is; NULL: it is empty. */
const char *tpm2_key_auth_source(const tpm2_key *key);

/* Key files, as aliases. */
extern const kn_key_file_functions tpm2_key_file;

/* What a public area says of the key. KN_E_KEY_TYPE. */
KN_MUST_CHECK kn_err tpm2_public_of(const TPMT_PUBLIC *area, kn_public *ret_public);

/* Runs @command, which uses the key, with the key's authorization; *@sent, false at first, goes along through all the calls of one
 * operation. An authorization that the TPM did not take before is sent once in it, and one that it refused is not sent at all. */
KN_MUST_CHECK kn_err tpm2_auth_run(tpm2_conn *conn, tpm2_key *key, bool *sent, kn_err (*command)(tpm2_conn *conn, void *arg), void *arg);

/* May the key be used so? @use: TPMA_OBJECT_SIGN_ENCRYPT or TPMA_OBJECT_DECRYPT. KN_E_KEY_USE. */
KN_MUST_CHECK kn_err tpm2_key_may(const tpm2_key *key, TPMA_OBJECT use);

/* TPM2_ALG_NULL when TPM 2.0 has no name for it; NULL when it is none that we have. */
TPM2_ALG_ID tpm2_hash_of(const kn_digest *digest);
const kn_digest *tpm2_digest_of(TPM2_ALG_ID hash);

/* The signature that @scheme and a key with @public must give, as r | s for ECDSA. KN_E_TPM_FAILED when it is another. */
KN_MUST_CHECK kn_err tpm2_signature_of(const TPMT_SIGNATURE *made, const kn_public *public, TPMI_ALG_SIG_SCHEME scheme,
                                       uint8_t ret_signature[KN_SIGNATURE_MAX], size_t *ret_length);

#endif
