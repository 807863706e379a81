/* Keys that a TPM certifies, on swtpm: attestation keys of each kind, what is no attestation key, every byte of the answer, whose
 * authorization was wrong. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_crypto.h"
#include "kn_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CERTIFY 0x148u
#define AK      "restricted|sign|noda"

static kn_ctx *ctx;
static const uint8_t nonce[] = {1, 2, 3, 4, 5};

static kn_key *open_key(const char *what, const char *more)
{
    char uri[600];
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)snprintf(uri, sizeof uri, "tpm2:%s;tcti=%s%s", what, swtpm_tcti, more);
    assert_ok(kn_alias_new(uri, NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    kn_alias_free(&alias);
    return key;
}

static int set_up(void **state)
{
    char uri[600];
    kn_key *key = NULL;
    (void)state;
    swtpm_set_up();
    swtpm_make_key("0x81000200", "ecc256:ecdsa-sha256:null", AK, "");
    swtpm_make_key("0x81000201", "rsa2048:rsassa-sha256:null", AK, "");
    swtpm_make_key("0x81000202", "rsa2048:rsapss-sha256:null", AK, "");
    swtpm_make_key("0x81000203", "ecc384:ecdsa-sha384:null", AK, "");
    swtpm_make_key("0x81000204", "ecc256", "sign|noda", "");
    swtpm_make_key("0x81000205", "ecc256", "restricted|decrypt|noda", "");
    swtpm_make_key("0x81000206", "ecc256:ecdsa-sha256:null", "restricted|sign", "right");
    swtpm_make_key("0x81000207", "ecc256", "sign", "right");
    swtpm_make_key("0x81000208", "ecc256", "sign|noda|adminwithpolicy", "");
    assert_ok(kn_ctx_new(NULL, &ctx));
    (void)snprintf(uri, sizeof uri, "tpm2:file=%s/key;tcti=%s", swtpm_dir, swtpm_tcti);
    assert_ok(kn_key_generate(ctx, uri, kn_alg_by_name("RSA:2048"), &key));
    kn_key_unref(&key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
    return 0;
}

/* Checks what stands in the statement at its places (part 2, 10.12.12), without the code that made it. */
static void check(const kn_certification *c, const kn_key *by)
{
    uint8_t digest[KN_DIGEST_MAX];
    const uint8_t *s = c->statement;
    assert_true(c->statement_length > 8 && c->area_length > 10);
    assert_memory_equal(s, "\xff\x54\x43\x47\x80\x17", 6);
    size_t at = 6 + 2 + (size_t)(s[6] << 8 | s[7]);
    assert_memory_equal(s + at, "\x00\x05\x01\x02\x03\x04\x05", 7);
    at += 7 + 17 + 8;
    assert_int_equal(s[at] << 8 | s[at + 1], 34);
    assert_memory_equal(s + at + 2, "\x00\x0b", 2);
    assert_true(kn_crypto_hash(&kn_digests[KN_SHA256], c->area, c->area_length, digest));
    assert_memory_equal(s + at + 4, digest, 32);
    assert_int_equal(c->name_length, 34);
    assert_memory_equal(c->name, s + at + 2, 34);
    assert_true(kn_crypto_hash(c->how.digest, s, c->statement_length, digest));
    assert_true(kn_crypto_verify(kn_key_public(by), &c->how, digest, c->how.digest->bytes, c->signature, c->signature_length));
}

static void test_attestation_keys(void **state)
{
    static const char *const by_handles[] = {"handle=0x81000200", "handle=0x81000201", "handle=0x81000202", "handle=0x81000203"};
    char file[100];
    (void)state;
    (void)snprintf(file, sizeof file, "file=%s/key", swtpm_dir);
    const char *const keys[] = {"handle=0x81000204", "handle=0x81000205", file};
    for (size_t i = 0; i < COUNT_OF(by_handles); i++)
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            kn_certification made;
            kn_key *key = open_key(keys[k], ""), *by = open_key(by_handles[i], "");
            assert_ok(kn_key_certify(key, by, nonce, sizeof nonce, &made));
            check(&made, by);
            assert_ok(kn_key_certify(key, by, nonce, sizeof nonce, &made));
            kn_key_unref(&key);
            kn_key_unref(&by);
        }
    swtpm_check_clean();
}

static void test_refused(void **state)
{
    uint8_t much[KN_NONCE_MAX + 1] = {0};
    kn_certification made;
    kn_key *key = open_key("handle=0x81000204", ""), *storage = open_key("handle=0x81000205", ""), *by = open_key("handle=0x81000200", ""),
           *policy = open_key("handle=0x81000208", "");
    (void)state;
    assert_error(KN_E_KEY_USE, kn_key_certify(key, key, nonce, sizeof nonce, &made));
    assert_detail("attestation key");
    assert_error(KN_E_KEY_USE, kn_key_certify(key, storage, nonce, sizeof nonce, &made));
    assert_error(KN_E_KEY_USE, kn_key_certify(policy, by, nonce, sizeof nonce, &made));
    assert_detail("policy");
    assert_error(KN_E_DATA_SIZE, kn_key_certify(key, by, nonce, 0, &made));
    assert_error(KN_E_DATA_SIZE, kn_key_certify(key, by, much, sizeof much, &made));
    assert_ok(kn_key_certify(key, by, much, KN_NONCE_MAX, &made));
    kn_key_unref(&key);
    kn_key_unref(&storage);
    kn_key_unref(&by);
    kn_key_unref(&policy);
    swtpm_check_clean();
}

/* An attestation key that was made outside signs for whoever made it: fixedTPM is not set. */
static void test_imported(void **state)
{
    char command[900];
    kn_certification made;
    (void)state;
    (void)snprintf(command, sizeof command,
                   "export TPM2TOOLS_TCTI=swtpm:path=%s/s; cd %s && openssl ecparam -name prime256v1 -genkey -noout -out out.pem 2>err && "
                   "tpm2_createprimary -Q -C o -G ecc -c p.ctx && "
                   "tpm2_import -Q -C p.ctx -G ecc256:ecdsa-sha256 -i out.pem -u i.pub -r i.priv -a 'userwithauth|sign|noda' && "
                   "tpm2_flushcontext -t && tpm2_load -Q -C p.ctx -u i.pub -r i.priv -c i.ctx && "
                   "tpm2_flushcontext -t && tpm2_evictcontrol -Q -C o -c i.ctx 0x81000209 && tpm2_flushcontext -t && tpm2_flushcontext -l",
                   swtpm_dir, swtpm_dir);
    assert_int_equal(system(command), 0);
    kn_key *key = open_key("handle=0x81000204", ""), *by = open_key("handle=0x81000209", ""), *good = open_key("handle=0x81000200", "");
    assert_error(KN_E_KEY_USE, kn_key_certify(key, by, nonce, sizeof nonce, &made));
    assert_ok(kn_key_certify(by, good, nonce, sizeof nonce, &made)); /* it is certified, with the attributes that it has */
    kn_custody custody;
    assert_ok(kn_key_inspect(by, &custody));
    assert_false(kn_custody_holds(&custody));
    kn_key_unref(&key);
    kn_key_unref(&by);
    kn_key_unref(&good);
    swtpm_check_clean();
}

/* Both authorizations go along in one command. Each costs one try, and the right key is told of. */
static void test_wrong_authorizations(void **state)
{
    char more[100];
    kn_certification made;
    (void)state;
    (void)snprintf(more, sizeof more, ";pin-source=%s", swtpm_pin_path);
    kn_key *key = open_key("handle=0x81000207", more), *by = open_key("handle=0x81000200", "");
    swtpm_write_pin("wrong");
    assert_error(KN_E_PIN_INCORRECT, kn_key_certify(key, by, nonce, sizeof nonce, &made));
    assert_detail("0x81000207");
    assert_error(KN_E_PIN_INCORRECT, kn_key_certify(key, by, nonce, sizeof nonce, &made)); /* not sent again */
    assert_int_equal(swtpm_tries_spent(), 1);
    swtpm_write_pin("right");
    assert_ok(kn_key_certify(key, by, nonce, sizeof nonce, &made));
    kn_key_unref(&by);
    kn_key_unref(&key);

    key = open_key("handle=0x81000204", ""), by = open_key("handle=0x81000206", more);
    swtpm_write_pin("wrong");
    assert_error(KN_E_PIN_INCORRECT, kn_key_certify(key, by, nonce, sizeof nonce, &made));
    assert_detail("0x81000206");
    assert_error(KN_E_PIN_INCORRECT, kn_key_certify(key, by, nonce, sizeof nonce, &made));
    assert_int_equal(swtpm_tries_spent(), 2);
    kn_key_unref(&by);
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* Before the statement is a header, whose sizes ESYS overlooks; behind the signature are the parts of the two sessions, which say
 * nothing with passwords. */
static void test_every_byte(void **state)
{
    kn_certification made;
    kn_key *key = open_key("handle=0x81000204", ""), *by = open_key("handle=0x81000200", "");
    (void)state;
    swtpm_change(CERTIFY, SIZE_MAX);
    assert_ok(kn_key_certify(key, by, nonce, sizeof nonce, &made));
    size_t size = swtpm_changed_size();
    assert_true(size > 150);
    for (size_t at = 14; at < size - 10; at++) {
        swtpm_change(CERTIFY, at);
        if (!kn_failed(kn_key_certify(key, by, nonce, sizeof nonce, &made)))
            fail_msg("byte %zu of %zu is not looked at", at, size);
    }
    swtpm_change(0, 0);
    assert_ok(kn_key_certify(key, by, nonce, sizeof nonce, &made));
    kn_key_unref(&key);
    kn_key_unref(&by);
    swtpm_check_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attestation_keys), cmocka_unit_test(test_refused),    cmocka_unit_test(test_imported),
        cmocka_unit_test(test_every_byte),       cmocka_unit_test(test_wrong_authorizations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
