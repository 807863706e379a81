/* A module that answers with CKR_OK and with nonsense: nothing is believed that can be checked, nothing is written past its
 * room, and what it cannot get away with is named. */
#include "fault/fault.h"

#include "support/certs.h"

#include <openssl/x509.h>
#include <stdio.h>

static kn_ctx *ctx;

static int calm(void **state)
{
    (void)fault_calm(state);
    ctx = shim_context(fault_token->pin_file);
    return 0;
}

static int end(void **state)
{
    shim_calm(fault_shim);
    kn_ctx_unref(&ctx);
    return fault_end(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, calm, end)

static void lie(CK_ATTRIBUTE_TYPE type, const void *value, size_t length)
{
    memset(fault_shim->lie, 0xff, sizeof fault_shim->lie);
    if (value)
        memcpy(fault_shim->lie, value, length);
    atomic_store(&fault_shim->lie_type, type);
    atomic_store(&fault_shim->lie_length, length);
}

static void refused(kn_code code, const char *detail)
{
    kn_key *key = NULL;
    assert_error(code, fault_open_uri(ctx, FAULT_URI, &key));
    assert_detail(detail);
    assert_null(key);
}

static void in_order_again(void)
{
    shim_calm(fault_shim);
    kn_key *key = fault_open(ctx);
    fault_works(key);
    kn_key_unref(&key);
}

/* "Exactly one", also when the second one comes in a later answer. */
static void test_portions(void **state)
{
    kn_key *key = NULL;
    (void)state;
    raw r = raw_open(fault_token);
    (void)raw_generate(&r, &(raw_key){.label = "twin", .id = "1", .sensitive = true});
    (void)raw_generate(&r, &(raw_key){.label = "twin", .id = "2", .sensitive = true});
    raw_close(&r);
    atomic_store(&fault_shim->other_model, true); /* SoftHSM itself is known to answer as a whole */
    for (unsigned portion = 0; portion <= 4; portion++) {
        atomic_store(&fault_shim->portion, portion);
        assert_error(KN_E_AMBIGUOUS, fault_open_uri(ctx, "pkcs11:token=fault;object=twin", &key));
        assert_detail("2 private keys");
        assert_ok(fault_open_uri(ctx, FAULT_URI, &key));
        fault_works(key);
        kn_key_unref(&key);
    }
    fault_row("lies", "answers in portions of 1 to 4 objects", "the second match is found: `KN_E_AMBIGUOUS`");
}

static void test_finds_too_much(void **state)
{
    (void)state;
    atomic_store(&fault_shim->find_overflow, 1000);
    refused(KN_E_MODULE_BROKEN, "C_FindObjects on token 'fault'");
    in_order_again();
    atomic_store(&fault_shim->found_twice, true);
    refused(KN_E_AMBIGUOUS, "2 private keys");
    in_order_again();
    fault_row("lies", "finds more objects than asked for; finds one twice", "`KN_E_MODULE_BROKEN`; `KN_E_AMBIGUOUS`");
}

static kn_err open_and_sign(const kn_public *public)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length = 77;
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    memset(signature, 0x5a, sizeof signature);
    assert_ok(kn_alias_new("pkcs11:token=fault;object=lone", public, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    kn_err err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    if (kn_failed(err)) {
        assert_int_equal(length, 77);
        for (size_t i = 0; i < sizeof signature; i++)
            assert_int_equal(signature[i], 0x5a);
    }
    kn_key_unref(&key);
    kn_alias_free(&alias);
    return err;
}

/* The handle of another key in place of ours: no signature of it is handed out. */
static void test_swapped_handle(void **state)
{
    (void)state;
    EVP_PKEY *software = test_key_new("P-256");
    uint8_t *spki = NULL;
    kn_public public;
    int length = i2d_PUBKEY(software, &spki);
    assert_true(length > 0);
    assert_ok(kn_public_from_spki(spki, (size_t)length, &public));
    OPENSSL_free(spki);
    raw r = raw_open(fault_token);
    (void)raw_import(&r, &(raw_key){.label = "lone", .id = "l", .sensitive = true}, software);
    EVP_PKEY_free(software);
    CK_OBJECT_HANDLE other = raw_generate(&r, &(raw_key){.label = "other", .id = "o", .sensitive = true});
    assert_ok(open_and_sign(&public));
    atomic_store(&fault_shim->found_instead, other);
    assert_true(kn_failed(open_and_sign(&public))); /* nor is there a public key where one is found */
    raw_delete(&r, CKO_PUBLIC_KEY, "other");
    assert_error(KN_E_KEY_CHANGED, open_and_sign(&public)); /* it is not: its signature shows it */
    atomic_store(&fault_shim->found_instead, 0);
    assert_ok(open_and_sign(&public));
    raw_delete(&r, CKO_PRIVATE_KEY, "other");
    raw_delete(&r, CKO_PRIVATE_KEY, "lone");
    raw_close(&r);
    in_order_again();
    fault_row("lies", "another key's handle in place of the alias's", "`KN_E_KEY_CHANGED`; no signature is handed out");
}

static void test_public_values(void **state)
{
    static const uint8_t no_point[67] = {0x04, 65, 0x05}, short_point[] = {0x04, 3, 0x04, 1, 2},
                         curve[] = {0x06, 3, 0x2a, 3, 4};
    kn_key *key = NULL;
    (void)state;
    lie(CKA_EC_POINT, no_point, sizeof no_point);
    assert_true(kn_failed(fault_open_uri(ctx, FAULT_URI, &key)));
    lie(CKA_EC_POINT, short_point, sizeof short_point);
    assert_true(kn_failed(fault_open_uri(ctx, FAULT_URI, &key)));
    in_order_again();
    lie(CKA_EC_PARAMS, curve, sizeof curve);
    refused(KN_E_KEY_TYPE, "curve");
    in_order_again();
    fault_row("lies", "a point of another form or size; a curve that nobody knows", "a named error when the key is opened");
}

/* Every attribute that is read, in every length: the outcome is an error, or the truth. */
static void test_attributes_of_any_length(void **state)
{
    static const CK_ATTRIBUTE_TYPE types[] = {CKA_CLASS,    CKA_KEY_TYPE,  CKA_ID,
                                              CKA_LABEL,    CKA_EC_PARAMS, CKA_EC_POINT,
                                              CKA_MODULUS,  CKA_PUBLIC_EXPONENT, CKA_ALWAYS_AUTHENTICATE};
    static const size_t lengths[] = {1, 2, 7, 8, 9, 31, 32, 33, 64, 65, 127, 128, 129, 160, 161, 4096, 0x7fffffff, SIZE_MAX - 1};
    unsigned errors = 0;
    (void)state;
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t l = 0; l < COUNT_OF(lengths); l++) {
            kn_key *key = NULL;
            lie(types[t], NULL, lengths[l]);
            kn_err err = fault_open_uri(ctx, FAULT_URI, &key);
            atomic_store(&fault_shim->lie_length, 0);
            if (kn_failed(err)) {
                errors++;
                assert_null(key);
                assert_true(strlen(kn_err_detail()) > 5);
            } else {
                kn_err sign = fault_sign(key);
                if (kn_failed(sign)) /* one that asks for the PIN at each signature, of a key that does not */
                    assert_true(types[t] == CKA_ALWAYS_AUTHENTICATE || sign.code == KN_E_KEY_CHANGED);
                kn_key_unref(&key);
            }
        }
    assert_true(errors > 20);
    in_order_again();
    fault_row("lies", "each attribute in 18 lengths up to 2^64 - 2", "a named error or the truth; nothing is written past its room");
}

static void test_signatures_of_any_length(void **state)
{
    static const size_t lengths[] = {1, 32, 63, 65, 66, 128, 4096, 0x7fffffff, SIZE_MAX};
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    (void)state;
    kn_key *key = fault_open(ctx);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        size_t length = 77;
        memset(signature, 0x5a, sizeof signature);
        atomic_store(&fault_shim->signature_length, lengths[i]);
        kn_err err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
        assert_true(err.code == KN_E_MODULE_BROKEN || err.code == KN_E_KEY_CHANGED);
        assert_int_equal(length, 77);
        for (size_t n = 0; n < sizeof signature; n++)
            assert_int_equal(signature[n], 0x5a);
        atomic_store(&fault_shim->signature_length, 0);
        assert_ok(fault_sign(key));
    }
    kn_key_unref(&key);
    fault_row("lies", "a signature in 9 lengths up to 2^64 - 1", "a named error; outputs are untouched");
}

/* Names that steer a terminal. */
static void test_label_with_control_characters(void **state)
{
    kn_key *key = NULL;
    (void)state;
    raw r = raw_open(fault_token);
    (void)raw_generate(&r, &(raw_key){.label = "evil\x1b[2J\nname", .id = "e", .sensitive = true});
    (void)raw_generate(&r, &(raw_key){.label = "evil\x1b[2J\nname", .id = "f", .sensitive = true});
    raw_close(&r);
    assert_error(KN_E_AMBIGUOUS, fault_open_uri(ctx, "pkcs11:token=fault;object=evil%1b%5b2J%0aname", &key));
    assert_detail("2 private keys");
    assert_detail_lacks("\x1b");
    assert_detail_lacks("\n");
    fault_row("lies", "control characters in a label", "shown as `?` in error texts");
}

static void test_no_login_required(void **state)
{
    (void)state;
    atomic_store(&fault_shim->token_flags_off, CKF_LOGIN_REQUIRED);
    kn_key *key = NULL;
    assert_error(KN_E_NO_KEY, fault_open_uri(ctx, FAULT_URI, &key)); /* SoftHSM hides it, whatever its flags say */
    assert_int_equal(fault_calls(SHIM_C_Login), 0);
    kn_ctx_unref(&ctx);
    ctx = shim_context(fault_token->pin_file);
    in_order_again();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_portions),
        TEST(test_finds_too_much),
        TEST(test_swapped_handle),
        TEST(test_public_values),
        TEST(test_attributes_of_any_length),
        TEST(test_signatures_of_any_length),
        TEST(test_label_with_control_characters),
        TEST(test_no_login_required),
    };
    return cmocka_run_group_tests(tests, fault_setup, fault_teardown);
}
