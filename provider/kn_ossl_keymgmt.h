/* What the key managers of all types share. Spec: provider-keymgmt(7). Contracts as in kn_ossl_key.h. */
#ifndef KN_OSSL_KEYMGMT_H
#define KN_OSSL_KEYMGMT_H

#include "kn_ossl_gen.h"
#include "kn_ossl_key.h"

void *kn_ossl_keymgmt_new(void *provctx, const kn_ossl_kind *kind);
void *kn_ossl_keymgmt_dup(const void *from, int selection);
int kn_ossl_keymgmt_has(const void *key, int selection);
int kn_ossl_keymgmt_match(const void *a, const void *b, int selection);
int kn_ossl_keymgmt_validate(const void *key, int selection, int check_type);

/* Takes the key that a decoder or a store hands over by reference, when it is of @kind. */
void *kn_ossl_keymgmt_load(const void *reference, size_t size, const kn_ossl_kind *kind);

/* The parameters that keys of every type have: bits, security bits, largest signature, digests. */
int kn_ossl_keymgmt_get_common(const kn_public *public, OSSL_PARAM params[]);

/* A big-endian number as a parameter. */
int kn_ossl_keymgmt_set_number(OSSL_PARAM *p, const uint8_t *bytes, size_t length);

/* The public part of @key when @selection may be exported, else NULL. Refused when the private part of a key that has one is
 * asked for, also as part of "everything": OpenSSL would go on with the public half in another provider, and fail late with
 * "missing private key". */
const kn_public *kn_ossl_keymgmt_exportable(const kn_ossl_key *key, int selection);

/* Puts @public into an object that OpenSSL made for an import. Raises what @err says. */
int kn_ossl_keymgmt_imported(kn_ossl_key *key, kn_err err, const kn_public *public);

/* Does @params hold a private part? Then an error was raised: keys are made in a token, not brought there. */
bool kn_ossl_keymgmt_has_private(const kn_ossl_key *key, const OSSL_PARAM params[]);

/* Lends the bytes of an octet string parameter; NULL: it is not there. */
const uint8_t *kn_ossl_keymgmt_octets(const OSSL_PARAM params[], const char *name, size_t *ret_length);

/* The functions that OpenSSL calls without telling the kind. */
#define KN_OSSL_KIND_FUNCTIONS(prefix, kind)                                                                          \
    static void *prefix##_new(void *provctx)                                                                          \
    {                                                                                                                 \
        return kn_ossl_keymgmt_new(provctx, kind);                                                                    \
    }                                                                                                                 \
    static void *prefix##_load(const void *reference, size_t size)                                                    \
    {                                                                                                                 \
        return kn_ossl_keymgmt_load(reference, size, kind);                                                           \
    }                                                                                                                 \
    static void *prefix##_gen_init(void *provctx, int selection, const OSSL_PARAM params[])                           \
    {                                                                                                                 \
        return kn_ossl_gen_init(provctx, selection, params, kind);                                                    \
    }                                                                                                                 \
    static const char *prefix##_query_operation_name(int operation)                                                   \
    {                                                                                                                 \
        return kn_ossl_keymgmt_operation(kind, operation);                                                            \
    }

const char *kn_ossl_keymgmt_operation(const kn_ossl_kind *kind, int operation);

/* Their rows, and those of the functions that are the same for all. */
#define KN_OSSL_KIND_ROWS(prefix)                                                                                     \
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))prefix##_new}, {OSSL_FUNC_KEYMGMT_LOAD, (void (*)(void))prefix##_load},   \
        {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))kn_ossl_key_free},                                                   \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))kn_ossl_keymgmt_dup},                                                 \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))kn_ossl_keymgmt_has},                                                 \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))kn_ossl_keymgmt_match},                                             \
        {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))kn_ossl_keymgmt_validate},                                       \
        {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))prefix##_gen_init},                                              \
        {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))kn_ossl_gen_set_params},                                   \
        {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))kn_ossl_gen_settable},                                \
        {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))kn_ossl_gen_run},                                                     \
        {OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))kn_ossl_gen_cleanup},                                         \
        {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))prefix##_query_operation_name}

#endif
