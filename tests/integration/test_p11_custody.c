/* The proof that a key never was outside, and that weaker keys do not pass it. */
#include "kn_key.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"
#include "module_leaks.h"

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

static test_token *token;

static int make_token(void **state)
{
    (void)state;
    keep_modules();
    token = test_token_new("custody");
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    test_token_free(&token);
    return 0;
}

static kn_custody facts_of(const char *label)
{
    kn_ctx *ctx = test_token_context(token);
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    kn_custody facts;
    assert_ok(kn_alias_new(test_token_uri(token, label), NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    assert_ok(kn_key_inspect(key, &facts));
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
    return facts;
}

static void test_generated_keys_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < kn_alg_count; i++) {
        kn_ctx *ctx = test_token_context(token);
        kn_key *key = NULL;
        char uri[96];
        (void)snprintf(uri, sizeof uri, "pkcs11:token=custody;object=made-%zu;id=%%0a%%0%zu", i, i);
        assert_ok(kn_key_generate(ctx, uri, &kn_algs[i], &key));
        kn_custody facts;
        assert_ok(kn_key_inspect(key, &facts));
        assert_true(kn_custody_holds(&facts));
        assert_int_equal(facts.sensitive, KN_FACT_YES);
        assert_int_equal(facts.extractable, KN_FACT_NO);
        assert_int_equal(facts.always_sensitive, KN_FACT_YES);
        assert_int_equal(facts.never_extractable, KN_FACT_YES);
        assert_int_equal(facts.local, KN_FACT_YES);
        assert_int_equal(facts.generated_here, KN_FACT_YES);
        static const char *const mechanism[] = {[KN_KEY_EC] = "EC_KEY_PAIR_GEN",
                                                [KN_KEY_RSA] = "RSA_PKCS_KEY_PAIR_GEN",
                                                [KN_KEY_ED25519] = "EC_EDWARDS_KEY_PAIR_GEN",
                                                [KN_KEY_ED448] = "EC_EDWARDS_KEY_PAIR_GEN",
                                                [KN_KEY_X25519] = "EC_MONTGOMERY_KEY_PAIR_GEN",
                                                [KN_KEY_X448] = "EC_MONTGOMERY_KEY_PAIR_GEN"};
        /* SoftHSM 2.6 makes those of Montgomery curves with the mechanism of Edwards curves. */
        if (strcmp(facts.mechanism, "EC_EDWARDS_KEY_PAIR_GEN") || kn_algs[i].uses != KN_USE_DERIVE)
            assert_string_equal(facts.mechanism, mechanism[kn_algs[i].type]);
        assert_string_equal(facts.token, "custody");
        assert_string_equal(facts.model, "SoftHSM v2");
        assert_true(*facts.serial);
        (void)snprintf(uri, sizeof uri, "0a0%zu", i);
        assert_string_equal(facts.id, uri);
        (void)snprintf(uri, sizeof uri, "made-%zu", i);
        assert_string_equal(facts.label, uri);
        kn_key_unref(&key);
        kn_ctx_unref(&ctx);
    }
}

/* Facts 1 and 2 of the imported and of the locked key are those of a good one. */
static void test_weak_keys_do_not_pass(void **state)
{
    (void)state;
    EVP_PKEY *pkey = test_key_new("P-256");
    X509 *certificate = test_cert_new("imported", pkey, NULL, pkey, false);
    raw r = raw_open(token);
    (void)raw_generate(&r, &(raw_key){.label = "extractable", .id = "1", .sensitive = true, .extractable = true});
    (void)raw_generate(&r, &(raw_key){.label = "plain", .id = "2"});
    CK_OBJECT_HANDLE locked =
        raw_generate(&r, &(raw_key){.label = "locked", .id = "3", .sensitive = false, .extractable = true});
    raw_set_bool(&r, locked, CKA_SENSITIVE, true);
    raw_set_bool(&r, locked, CKA_EXTRACTABLE, false);
    (void)raw_import(&r, &(raw_key){.label = "imported", .id = "4", .sensitive = true}, pkey);
    raw_certificate(&r, "imported", "4", certificate);
    (void)raw_generate(&r, &(raw_key){.label = "good", .id = "5", .sensitive = true}); /* the same maker can do it */
    raw_close(&r);
    X509_free(certificate);
    EVP_PKEY_free(pkey);

    kn_custody facts = facts_of("good");
    assert_true(kn_custody_holds(&facts));
    facts = facts_of("extractable");
    assert_int_equal(facts.extractable, KN_FACT_YES);
    assert_false(kn_custody_holds(&facts));
    facts = facts_of("plain");
    assert_int_equal(facts.sensitive, KN_FACT_NO);
    assert_false(kn_custody_holds(&facts));
    facts = facts_of("locked");
    assert_int_equal(facts.sensitive, KN_FACT_YES);
    assert_int_equal(facts.extractable, KN_FACT_NO);
    assert_int_equal(facts.always_sensitive, KN_FACT_NO);
    assert_int_equal(facts.never_extractable, KN_FACT_NO);
    assert_int_equal(facts.local, KN_FACT_YES);
    assert_false(kn_custody_holds(&facts));
    facts = facts_of("imported");
    assert_int_equal(facts.sensitive, KN_FACT_YES);
    assert_int_equal(facts.extractable, KN_FACT_NO);
    assert_int_equal(facts.local, KN_FACT_NO);
    assert_int_equal(facts.generated_here, KN_FACT_NO);
    assert_string_equal(facts.mechanism, "unavailable");
    assert_false(kn_custody_holds(&facts));
}

static void test_each_fact_is_needed(void **state)
{
    static const kn_custody good = {.sensitive = KN_FACT_YES,
                                    .extractable = KN_FACT_NO,
                                    .always_sensitive = KN_FACT_YES,
                                    .never_extractable = KN_FACT_YES,
                                    .local = KN_FACT_YES,
                                    .generated_here = KN_FACT_YES,
                                    .mechanism = "M"};
    static const char *const names[] = {"CKA_SENSITIVE",         "CKA_EXTRACTABLE", "CKA_ALWAYS_SENSITIVE",
                                        "CKA_NEVER_EXTRACTABLE", "CKA_LOCAL",       "CKA_KEY_GEN_MECHANISM is M"};
    char doubts[KN_CUSTODY_DOUBTS_MAX];
    kn_custody nothing = {.mechanism = "unavailable"};
    (void)state;
    assert_true(kn_custody_holds(&good));
    kn_custody_doubts(&good, doubts, sizeof doubts);
    assert_string_equal(doubts, "");
    kn_custody_doubts(&nothing, doubts, sizeof doubts);
    for (size_t i = 0; i + 1 < COUNT_OF(names); i++)
        assert_non_null(strstr(doubts, names[i]));
    assert_non_null(strstr(doubts, "CKA_KEY_GEN_MECHANISM is unavailable"));
    for (int value = KN_FACT_UNKNOWN; value <= KN_FACT_YES; value++)
        for (int i = 0; i < 6; i++) {
            kn_custody facts = good;
            kn_fact *fact[] = {&facts.sensitive,         &facts.extractable, &facts.always_sensitive,
                               &facts.never_extractable, &facts.local,       &facts.generated_here};
            if (*fact[i] == (kn_fact)value)
                continue;
            *fact[i] = (kn_fact)value;
            assert_false(kn_custody_holds(&facts));
            kn_custody_doubts(&facts, doubts, sizeof doubts);
            assert_int_equal(strncmp(doubts, names[i], strlen(names[i])), 0);
            assert_null(strchr(doubts, ','));
        }
}

static void generate_refused(kn_ctx *ctx, kn_code code, const char *uri)
{
    kn_key *key = (kn_key *)8;
    kn_check_code(kn_key_generate(ctx, uri, kn_alg_by_name("EC:P-256"), &key), code, uri, __FILE__, __LINE__);
    assert_ptr_equal(key, (kn_key *)8);
}

static unsigned count(const char *label)
{
    raw r = raw_open(token);
    unsigned n = raw_count(&r, CKO_PRIVATE_KEY, label) + raw_count(&r, CKO_PUBLIC_KEY, label);
    raw_close(&r);
    return n;
}

static void test_names_that_are_taken(void **state)
{
    (void)state;
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = NULL;
    assert_ok(kn_key_generate(ctx, "pkcs11:token=custody;object=taken;id=%aa%bb", kn_alg_by_name("EC:P-256"), &key));
    kn_key_unref(&key);
    generate_refused(ctx, KN_E_EXISTS, "pkcs11:token=custody;object=taken");
    assert_detail("label");
    generate_refused(ctx, KN_E_EXISTS, "pkcs11:token=custody;object=taken;id=%01");
    generate_refused(ctx, KN_E_EXISTS, "pkcs11:token=custody;object=free;id=%aa%bb");
    assert_detail("id");
    generate_refused(ctx, KN_E_EXISTS, "pkcs11:token=custody;id=%aa%bb");
    generate_refused(ctx, KN_E_URI_MALFORMED, "pkcs11:token=custody");
    generate_refused(ctx, KN_E_NO_TOKEN, "pkcs11:token=nowhere;object=free");
    assert_int_equal(count("taken"), 2);
    assert_int_equal(count("free"), 0);
    raw r = raw_open(token); /* logged out by somebody else, the key cannot be seen, but is there */
    raw_logout(&r);
    generate_refused(ctx, KN_E_EXISTS, "pkcs11:token=custody;object=taken");
    raw_close(&r);
    kn_ctx_unref(&ctx);
}

static void test_token_that_lies(void **state)
{
    kn_key *key = NULL;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    atomic_store(&s->says_extractable, true);
    generate_refused(ctx, KN_E_CUSTODY, "pkcs11:token=custody;object=liar");
    assert_detail("'custody'");
    assert_detail_lacks("could NOT");
    assert_int_equal(count("liar"), 0);
    shim_fail(s, SHIM_C_DestroyObject, CKR_ACTION_PROHIBITED, 2); /* the session may have been the reason: once more */
    generate_refused(ctx, KN_E_CUSTODY, "pkcs11:token=custody;object=slippery");
    assert_detail_lacks("could NOT");
    assert_int_equal(count("slippery"), 0);
    shim_fail(s, SHIM_C_DestroyObject, CKR_ACTION_PROHIBITED, 1000);
    generate_refused(ctx, KN_E_CUSTODY, "pkcs11:token=custody;object=stuck");
    assert_detail("could NOT be destroyed");
    assert_int_equal(count("stuck"), 2);
    shim_fail(s, SHIM_C_DestroyObject, CKR_OK, 0);
    atomic_store(&s->says_extractable, false);
    assert_ok(kn_key_generate(ctx, "pkcs11:token=custody;object=liar", kn_alg_by_name("EC:P-256"), &key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

/* As a YubiKey does; SoftHSM's own value of CKA_EXTRACTABLE is false too. */
static void test_token_that_refuses_the_attribute(void **state)
{
    kn_key *key = NULL;
    kn_custody facts;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    atomic_store(&s->refuses_extractable, true);
    assert_ok(kn_key_generate(ctx, "pkcs11:token=custody;object=stubborn", kn_alg_by_name("EC:P-256"), &key));
    assert_int_equal(atomic_load(&s->calls[SHIM_C_GenerateKeyPair]), 2);
    assert_ok(kn_key_inspect(key, &facts));
    assert_true(kn_custody_holds(&facts));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void test_generation_that_fails(void **state)
{
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    shim_fail(s, SHIM_C_GenerateKeyPair, CKR_DEVICE_ERROR, 100);
    generate_refused(ctx, KN_E_TOKEN_FAILED, "pkcs11:token=custody;object=failed");
    assert_detail("C_GenerateKeyPair");
    assert_detail("CKR_DEVICE_ERROR");
    assert_int_equal(atomic_load(&s->calls[SHIM_C_GenerateKeyPair]), 1); /* the token may have made one */
    assert_int_equal(count("failed"), 0);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

static void test_uses(void **state)
{
    const kn_custody all = {
        .may_sign = KN_FACT_YES, .may_decrypt = KN_FACT_YES, .may_unwrap = KN_FACT_NO, .may_derive = KN_FACT_YES};
    const kn_custody unwraps = {.may_sign = KN_FACT_NO, .may_unwrap = KN_FACT_YES, .may_derive = KN_FACT_UNKNOWN};
    const kn_alg *ec = kn_alg_by_name("EC:P-256"), *rsa = kn_alg_by_name("RSA:2048"), *ed = kn_alg_by_name("ED25519");
    (void)state;
    assert_int_equal(kn_custody_uses(&all, ec), KN_USE_SIGN | KN_USE_DERIVE);
    assert_int_equal(kn_custody_uses(&all, rsa), KN_USE_SIGN | KN_USE_DECRYPT);
    assert_int_equal(kn_custody_uses(&all, ed), KN_USE_SIGN);
    assert_int_equal(kn_custody_uses(&unwraps, rsa), KN_USE_DECRYPT);
    assert_int_equal(kn_custody_uses(&unwraps, ec), 0);
}

/* What the token makes instead of what was asked for, for each kind of key and each plant: refused N of N, gone, and named. */
static void test_planted_keys_are_refused(void **state)
{
    static const char *const algs[] = {"EC:P-256", "RSA:2048", "ED25519"};
    unsigned planted = 0, refused = 0, good = 0;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    for (size_t a = 0; a < COUNT_OF(algs); a++)
        for (unsigned what = PLANT_NOTHING; what < PLANT_COUNT; what++) {
            kn_key *key = NULL;
            char uri[96], label[40];
            const kn_alg *alg = kn_alg_by_name(algs[a]);
            if (what == PLANT_ALL_USES && alg->uses == KN_USE_SIGN)
                continue; /* this kind of key can do nothing else */
            (void)snprintf(label, sizeof label, "plant-%zu-%u", a, what);
            (void)snprintf(uri, sizeof uri, "pkcs11:token=custody;object=%s", label);
            atomic_store(&s->plants, what);
            kn_err err = kn_key_generate(ctx, uri, alg, &key);
            if (what == PLANT_NOTHING) { /* the same module can do it */
                assert_ok(err);
                good++;
            } else {
                planted++;
                refused += err.code == KN_E_CUSTODY;
                assert_error(KN_E_CUSTODY, err);
                assert_detail(label);
                assert_detail("'custody'");
                assert_int_equal(count(label), 0);
            }
            kn_key_unref(&key);
        }
    print_message("planted keys refused: %u of %u; good ones made: %u\n", refused, planted, good);
    assert_int_equal(planted, 14);
    assert_int_equal(refused, planted);
    assert_int_equal(good, 3);
    /* all uses are no weakness where they were asked for */
    const kn_key_spec both = {.alg = kn_alg_by_name("RSA:2048"), .uses = KN_USE_SIGN | KN_USE_DECRYPT};
    kn_key *key = NULL;
    atomic_store(&s->plants, PLANT_ALL_USES);
    assert_ok(kn_key_make(ctx, "pkcs11:token=custody;object=both", &both, &key));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

/* As tpm2-pkcs11: what a new key may do is not for the template to deny. */
static void test_token_with_fixed_uses(void **state)
{
    kn_key *key = NULL;
    (void)state;
    shim *s = shim_new(token);
    kn_ctx *ctx = shim_context(token->pin_file);
    atomic_store(&s->fixed_uses, true);
    generate_refused(ctx, KN_E_TOKEN_FAILED, "pkcs11:token=custody;object=fixed"); /* a module that nobody knows to be so */
    (void)snprintf(s->told_library, sizeof s->told_library, "tpm2-software.github.io");
    assert_ok(kn_key_generate(ctx, "pkcs11:token=custody;object=fixed", kn_alg_by_name("EC:P-256"), &key));
    kn_key_unref(&key);
    atomic_store(&s->plants, PLANT_ALL_USES); /* and what it chooses is read back all the same */
    generate_refused(ctx, KN_E_CUSTODY, "pkcs11:token=custody;object=fixed-weak");
    assert_detail("derive");
    assert_int_equal(count("fixed-weak"), 0);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generated_keys_pass),
        cmocka_unit_test(test_weak_keys_do_not_pass),
        cmocka_unit_test(test_each_fact_is_needed),
        cmocka_unit_test(test_names_that_are_taken),
        cmocka_unit_test(test_token_that_lies),
        cmocka_unit_test(test_token_that_refuses_the_attribute),
        cmocka_unit_test(test_generation_that_fails),
        cmocka_unit_test(test_uses),
        cmocka_unit_test(test_planted_keys_are_refused),
        cmocka_unit_test(test_token_with_fixed_uses),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
