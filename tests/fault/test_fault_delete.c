/* Deleting a key on a token that fails in between: success means that both objects are gone, a failure is named, and says so when the
 * private key is gone already. */
#include "fault/fault.h"

#include "kn_crypto.h"
#include "kn_hmac.h"

#include <stdio.h>

#define PAIR_URI "pkcs11:token=fault;object=goes"
#define HMAC_URI "pkcs11:token=fault;object=goes-too;type=secret-key"

static const unsigned long values[] = {CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_HOST_MEMORY, CKR_SESSION_HANDLE_INVALID,
                                       CKR_TOKEN_WRITE_PROTECTED, CKR_USER_NOT_LOGGED_IN, CKR_OBJECT_HANDLE_INVALID, CKR_FUNCTION_CANCELED};

static void works(kn_key *key)
{
    static const uint8_t digest[32] = {1};
    uint8_t signature[KN_ECDSA_DER_MAX];
    size_t length = 0;
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    assert_true(kn_crypto_verify(kn_key_public(key), &kn_sign_ecdsa, digest, sizeof digest, signature, length));
}

/* With a context that knows nothing yet, and without faults. */
static void look(bool *ret_private, bool *ret_public)
{
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    kn_key *key = NULL;
    kn_public public;
    kn_err err = fault_open_uri(ctx, PAIR_URI, &key);
    assert_true(!kn_failed(err) || err.code == KN_E_NO_KEY);
    *ret_private = !kn_failed(err);
    if (*ret_private)
        works(key);
    kn_key_unref(&key);
    err = kn_public_find(ctx, PAIR_URI, &public);
    assert_true(!kn_failed(err) || err.code == KN_E_NO_KEY);
    *ret_public = !kn_failed(err);
    kn_ctx_unref(&ctx);
}

static void remove_public(void)
{
    raw r = raw_open(fault_token);
    raw_delete(&r, CKO_PUBLIC_KEY, "goes");
    raw_close(&r);
}

static void judge(kn_err err, bool last_answer_lost, const char *what)
{
    bool private, public;
    char detail[400];
    (void)snprintf(detail, sizeof detail, "%s", kn_failed(err) ? kn_err_detail() : "");
    look(&private, &public);
    if (!kn_failed(err) && (private || public))
        fail_msg("%s: success, and %s is there", what, private ? "the private key" : "the public key");
    if (kn_failed(err) && !private && !last_answer_lost && !strstr(detail, "the private key is deleted"))
        fail_msg("%s: the private key is gone, which is not told: %s", what, detail);
    if (private && !public)
        fail_msg("%s: the public key went first", what);
    if (!private && public)
        remove_public();
}

/* One cell; false when the call does not come so often. */
static bool cell(shim_call call, unsigned nth, unsigned long rv, bool after)
{
    char what[120];
    kn_key *key = NULL;
    kn_ctx *ctx = shim_context(fault_token->pin_file);
    bool private, public;
    (void)snprintf(what, sizeof what, "%s %u: 0x%lx%s", shim_call_name(call), nth, rv, after ? ", afterwards" : "");
    look(&private, &public);
    if (!private)
        assert_ok(kn_key_generate(ctx, PAIR_URI, kn_alg_by_name("EC:P-256"), &key));
    else
        assert_ok(fault_open_uri(ctx, PAIR_URI, &key));
    works(key);
    shim_reset_calls(fault_shim);
    shim_fail_nth(fault_shim, call, nth, rv, after);
    kn_err err = kn_key_delete(key);
    bool came = fault_calls(call) >= nth;
    shim_calm(fault_shim);
    assert_true(fault_done(SHIM_C_DestroyObject) <= 2);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    judge(err, call == SHIM_C_DestroyObject && nth == 1 && after, what);
    return came;
}

static void test_pair(void **state)
{
    static const shim_call calls[] = {SHIM_C_OpenSession,      SHIM_C_FindObjectsInit, SHIM_C_FindObjects,
                                      SHIM_C_FindObjectsFinal, SHIM_C_GetAttributeValue, SHIM_C_DestroyObject};
    unsigned cells = 0;
    (void)state;
    for (size_t c = 0; c < COUNT_OF(calls); c++)
        for (unsigned nth = 1, more = 1; more; nth++) {
            more = 0;
            for (size_t v = 0; v < COUNT_OF(values); v++)
                for (int after = 0; after < 2; after++, cells++)
                    more |= cell(calls[c], nth, values[v], after);
        }
    assert_true(cells > 100);
}

static void test_symmetric(void **state)
{
    (void)state;
    for (size_t v = 0; v < COUNT_OF(values); v++) {
        kn_ctx *ctx = shim_context(fault_token->pin_file);
        kn_hmac *hmac = NULL;
        assert_ok(kn_hmac_generate(ctx, HMAC_URI, 64, &hmac));
        shim_reset_calls(fault_shim);
        shim_fail_nth(fault_shim, SHIM_C_DestroyObject, 1, values[v], false);
        kn_err err = kn_hmac_delete(hmac);
        shim_calm(fault_shim);
        if (kn_failed(err)) /* it is still there, and goes with the next try */
            assert_ok(kn_hmac_delete(hmac));
        kn_hmac_free(&hmac);
        assert_error(KN_E_NO_KEY, kn_hmac_open(ctx, HMAC_URI, &hmac));
        kn_ctx_unref(&ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {FAULT_TEST(test_pair), FAULT_TEST(test_symmetric)};
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
