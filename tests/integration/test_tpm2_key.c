/* Keys at persistent handles of a TPM, on swtpm: commands counted, wrong authorizations, lost connections, fork and threads. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_crypto.h"
#include "kn_token.h"
#include "tpm2/tpm2_conn.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIGN  0x15du
#define NO_DA "|noda"

static kn_ctx *ctx;

static void remove_key(const char *handle)
{
    char command[100];
    (void)snprintf(command, sizeof command, "tpm2_evictcontrol -Q -C o -c %s", handle);
    swtpm_tools(command);
}

static kn_err open_key(const char *handle, const char *more, const kn_public *expected, kn_key **ret_key)
{
    char uri[600];
    kn_alias *alias = NULL;
    (void)snprintf(uri, sizeof uri, "tpm2:handle=%s;tcti=%s%s", handle, swtpm_tcti, more);
    assert_ok(kn_alias_new(uri, expected, &alias));
    kn_err err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

static kn_err sign(kn_key *key)
{
    static const uint8_t digest[32] = {1, 2, 3};
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t length = 0;
    kn_err err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    if (!kn_failed(err))
        assert_true(kn_crypto_verify(kn_key_public(key), &kn_sign_ecdsa, digest, sizeof digest, signature, length));
    return err;
}

static unsigned signatures_asked(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < *swtpm_count; i++)
        n += swtpm_codes[i] == SIGN;
    return n;
}

static int set_up(void **state)
{
    (void)state;
    swtpm_set_up();
    swtpm_make_key("0x81000200", "ecc256", "sign" NO_DA, "");
    swtpm_make_key("0x81000201", "rsa2048", "sign" NO_DA, "");
    swtpm_make_key("0x81000202", "ecc384", "sign" NO_DA, "");
    swtpm_make_key("0x81000203", "ecc256", "sign", "right"); /* protected against guessing */
    swtpm_make_key("0x81000204", "ecc256", "restricted|decrypt" NO_DA, "");
    swtpm_make_key("0x81000205", "ecc256:ecdsa-sha256", "sign" NO_DA, "");
    assert_ok(kn_ctx_new(NULL, &ctx));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
    return 0;
}

static void test_ecdsa(void **state)
{
    static const char *const handles[] = {"0x81000200", "0x81000202"};
    static const size_t lengths[] = {20, 28, 32, 48, 64};
    uint8_t digest[64], signature[KN_SIGNATURE_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof digest; i++)
        digest[i] = (uint8_t)(255 - i);
    for (size_t h = 0; h < COUNT_OF(handles); h++) {
        kn_key *key = NULL;
        assert_ok(open_key(handles[h], "", NULL, &key));
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
            size_t length = 0;
            assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, lengths[i], signature, &length));
            assert_true(kn_crypto_verify(kn_key_public(key), &kn_sign_ecdsa, digest, lengths[i], signature, length));
        }
        kn_key_unref(&key);
    }
    swtpm_check_clean();
}

static void test_bound_scheme(void **state)
{
    uint8_t digest[64] = {7}, signature[KN_SIGNATURE_MAX];
    size_t length = 0;
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("0x81000205", "", NULL, &key));
    for (size_t n = 32; n <= 64; n += 16) {
        assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, n, signature, &length));
        assert_true(kn_crypto_verify(kn_key_public(key), &kn_sign_ecdsa, digest, n, signature, length));
    }
    kn_key_unref(&key);
}

static void rsa_signs(kn_key *key, const kn_sign_how *how, const uint8_t *data, size_t length)
{
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t made = 0;
    assert_ok(kn_key_sign(key, how, data, length, signature, &made));
    assert_true(kn_crypto_verify(kn_key_public(key), how, data, length, signature, made));
}

static void test_rsa(void **state)
{
    static const kn_digest_id ids[] = {KN_SHA1, KN_SHA256, KN_SHA384, KN_SHA512};
    uint8_t data[KN_DIGEST_INFO_MAX + KN_DIGEST_MAX], signature[KN_SIGNATURE_MAX];
    size_t length = 0;
    kn_key *key = NULL;
    (void)state;
    memset(data, 0x5a, sizeof data);
    assert_ok(open_key("0x81000201", "", NULL, &key));
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        const kn_digest *d = &kn_digests[ids[i]];
        rsa_signs(key, &(kn_sign_how){.scheme = KN_RSA_PKCS1, .digest = d}, data, d->bytes);
        rsa_signs(key, &(kn_sign_how){.scheme = KN_RSA_PSS, .digest = d, .mgf1 = d, .salt_bytes = d->bytes}, data, d->bytes);
        const kn_sign_how no_salt = {.scheme = KN_RSA_PSS, .digest = d, .mgf1 = d};
        assert_error(KN_E_TOKEN_CANNOT, kn_key_sign(key, &no_salt, data, d->bytes, signature, &length));
        memcpy(data, d->info, d->info_length);
        rsa_signs(key, &(kn_sign_how){.scheme = KN_RSA_PKCS1}, data, d->info_length + d->bytes);
    }
    const kn_sign_how other = {.scheme = KN_RSA_PSS, .digest = &kn_digests[KN_SHA256], .mgf1 = &kn_digests[KN_SHA1], .salt_bytes = 32};
    const kn_sign_how short_digest = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA224]}, bare = {.scheme = KN_RSA_PKCS1};
    assert_error(KN_E_TOKEN_CANNOT, kn_key_sign(key, &other, data, 32, signature, &length));
    assert_error(KN_E_TOKEN_CANNOT, kn_key_sign(key, &short_digest, data, 28, signature, &length));
    assert_error(KN_E_TOKEN_CANNOT, kn_key_sign(key, &bare, data, 36, signature, &length));
    kn_key_unref(&key);
    swtpm_check_clean();
}

static void test_commands(void **state)
{
    kn_key *key = NULL, *again = NULL;
    (void)state;
    swtpm_arm(0, 0, 0);
    assert_ok(open_key("0x81000200", "", NULL, &key));
    assert_ok(sign(key));
    assert_int_equal(*swtpm_count, 2); /* cold start: ReadPublic, Sign */
    for (int i = 0; i < 10; i++)
        assert_ok(sign(key));
    assert_int_equal(*swtpm_count, 12);
    assert_int_equal(signatures_asked(), 11);
    swtpm_arm(0, 0, 0);
    assert_ok(open_key("0x81000200", "", kn_key_public(key), &again));
    assert_int_equal(*swtpm_count, 0); /* an alias with its public key is taken at its word */
    assert_ok(sign(again));
    kn_key_unref(&again);
    assert_ok(sign(key)); /* two handles of ours for one key do not disturb each other */
    kn_key_unref(&key);
}

/* A key that the lockout protects costs one more, to ask how many tries are left. */
static void test_commands_protected(void **state)
{
    static const uint32_t first[] = {TPM2_CC_ReadPublic, TPM2_CC_GetCapability, TPM2_CC_Sign};
    char more[100];
    kn_key *key = NULL;
    (void)state;
    (void)snprintf(more, sizeof more, ";pin-source=%s", swtpm_pin_path);
    swtpm_write_pin("right");
    assert_ok(open_key("0x81000203", more, NULL, &key));
    assert_ok(sign(key)); /* the first one after a start is answered by RETRY: libtpms writes down that such keys are in use */
    kn_key_unref(&key);
    swtpm_arm(0, 0, 0);
    assert_ok(open_key("0x81000203", more, NULL, &key));
    assert_ok(sign(key));
    assert_int_equal(*swtpm_count, COUNT_OF(first));
    assert_memory_equal(swtpm_codes, first, sizeof first);
    assert_ok(sign(key));
    assert_int_equal(*swtpm_count, COUNT_OF(first) + 1);
    kn_key_unref(&key);
}

/* A public area that is not found in what ESYS has, since its name is no SHA-256 digest, is asked for. */
static void test_other_name(void **state)
{
    char command[500];
    kn_key *key = NULL;
    (void)state;
    (void)snprintf(command, sizeof command,
                   "export TPM2TOOLS_TCTI=swtpm:path=%s/s; cd %s && tpm2_createprimary -Q -C o -g sha384 -G ecc256 -a "
                   "'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign" NO_DA "' -c k.ctx && "
                   "tpm2_evictcontrol -Q -C o -c k.ctx 0x81000212 && tpm2_flushcontext -t",
                   swtpm_dir, swtpm_dir);
    assert_int_equal(system(command), 0);
    swtpm_arm(0, 0, 0);
    assert_ok(open_key("0x81000212", "", NULL, &key));
    assert_ok(sign(key));
    assert_int_equal(*swtpm_count, 3); /* ReadPublic twice */
    kn_key_unref(&key);
    remove_key("0x81000212");
}

static void test_wrong_authorization(void **state)
{
    char more[100];
    kn_key *key = NULL, *second = NULL;
    (void)state;
    (void)snprintf(more, sizeof more, ";pin-source=%s", swtpm_pin_path);
    swtpm_write_pin("wrong");
    assert_int_equal(swtpm_tries_spent(), 0);
    assert_ok(open_key("0x81000203", more, NULL, &key));
    assert_error(KN_E_PIN_INCORRECT, sign(key));
    assert_int_equal(swtpm_tries_spent(), 1);
    swtpm_arm(0, 0, 0);
    assert_error(KN_E_PIN_INCORRECT, sign(key));
    assert_int_equal(signatures_asked(), 0);
    assert_ok(open_key("0x81000203", more, NULL, &second)); /* nor by another handle of ours for the same key */
    assert_error(KN_E_PIN_INCORRECT, sign(second));
    kn_key_unref(&second);
    assert_int_equal(signatures_asked(), 0);
    assert_int_equal(swtpm_tries_spent(), 1);
    swtpm_write_pin("right");
    assert_ok(sign(key));
    swtpm_write_pin("wrong again"); /* the key was proved, the authorization is read anew */
    assert_error(KN_E_PIN_INCORRECT, sign(key));
    assert_int_equal(swtpm_tries_spent(), 2);
    swtpm_write_pin("right"); /* but nobody knows before it is sent, and it would be the last of three */
    swtpm_arm(0, 0, 0);
    assert_error(KN_E_PIN_LAST_TRY, sign(key));
    assert_int_equal(signatures_asked(), 0);
    kn_key_unref(&key);
    assert_ok(open_key("0x81000203", "", NULL, &key));
    assert_error(KN_E_PIN_LAST_TRY, sign(key));
    assert_int_equal(swtpm_tries_spent(), 2);
    kn_key_unref(&key);
    assert_ok(open_key("0x81000200", "", NULL, &key)); /* keys that are not protected go on */
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* A TPM that others have driven into lockout: the right authorization does not help, which is told with the seconds until it does. */
static void test_lockout(void **state)
{
    char more[100];
    kn_key *proved = NULL, *fresh = NULL;
    time_t from = 0;
    kn_err err = {KN_OK};
    (void)state;
    swtpm_tools("tpm2_dictionarylockout --clear-lockout && tpm2_dictionarylockout -s -n 3 -t 2 -l 2");
    (void)snprintf(more, sizeof more, ";pin-source=%s", swtpm_pin_path);
    swtpm_write_pin("right");
    assert_ok(open_key("0x81000203", more, NULL, &proved));
    assert_ok(sign(proved));
    assert_ok(open_key("0x81000203", more, NULL, &fresh));
    swtpm_tools("for i in 1 2 3; do ! tpm2_sign -Q -c 0x81000203 -p bad -g sha256 -o sig pin 2>/dev/null; done");
    assert_int_equal(swtpm_tries_spent(), 3);
    swtpm_arm(0, 0, 0);
    assert_error(KN_E_TPM_LOCKOUT, sign(fresh)); /* which was never taken: it is not even sent */
    assert_detail("3 of 3 tries are spent; the TPM gives one back within 2 s");
    assert_int_equal(signatures_asked(), 0);
    assert_error(KN_E_TPM_LOCKOUT, sign(proved));
    assert_detail("3 of 3 tries are spent; the TPM gives one back within 2 s");
    assert_int_equal(signatures_asked(), 1); /* and not again */
    (void)time(&from);
    while (kn_failed(err = sign(proved)) && time(NULL) - from < 5) {
        assert_int_equal(err.code, KN_E_TPM_LOCKOUT);
        (void)usleep(50000);
    }
    assert_ok(err);
    kn_key_unref(&proved);
    kn_key_unref(&fresh);
    swtpm_tools("tpm2_dictionarylockout --clear-lockout");
    swtpm_check_clean();
}

/* Without a source the empty one is tried, once. */
static void test_no_authorization(void **state)
{
    kn_key *key = NULL;
    (void)state;
    swtpm_make_key("0x81000211", "ecc256", "sign" NO_DA, "right");
    assert_ok(open_key("0x81000211", "", NULL, &key));
    assert_error(KN_E_NO_PIN, sign(key));
    swtpm_arm(0, 0, 0);
    assert_error(KN_E_NO_PIN, sign(key));
    assert_int_equal(signatures_asked(), 0);
    kn_key_unref(&key);
    remove_key("0x81000211");
    swtpm_check_clean();
}

static void test_wrong_keys(void **state)
{
    kn_key *key = NULL, *ec = NULL;
    (void)state;
    assert_error(KN_E_NO_KEY, open_key("0x81000999", "", NULL, &key));
    assert_ok(open_key("0x81000204", "", NULL, &key));
    assert_error(KN_E_KEY_USE, sign(key));
    kn_key_unref(&key);
    assert_ok(open_key("0x81000200", "", NULL, &ec));
    assert_ok(open_key("0x81000205", "", kn_key_public(ec), &key));
    assert_error(KN_E_KEY_CHANGED, sign(key));
    kn_key_unref(&key);
    assert_ok(open_key("0x81000209", "", kn_key_public(ec), &key));
    assert_error(KN_E_NO_KEY, sign(key));
    swtpm_make_key("0x81000209", "ecc256", "sign" NO_DA, "");
    assert_ok(sign(key)); /* the same key: the template's, and its hierarchy's */
    remove_key("0x81000209");
    kn_key_unref(&key);
    kn_key_unref(&ec);
}

static void test_faults(void **state)
{
    static const struct {
        uint32_t rc;
        unsigned times;
        int code;
    } rows[] = {
        {TPM2_RC_RETRY, 20, KN_OK},           {TPM2_RC_YIELDED, 20, KN_OK},
        {TPM2_RC_TESTING, 20, KN_OK},         {TSS2_TCTI_RC_IO_ERROR, 1, KN_OK},
        {TPM2_RC_FAILURE, 1, KN_E_TPM_FAILED}, {TPM2_RC_OBJECT_MEMORY, 1000, KN_E_TPM_SLOTS},
        {TPM2_RC_OBJECT_MEMORY, 5, KN_OK},    {TPM2_RC_SESSION_MEMORY, 5, KN_OK},
        {TPM2_RC_LOCKOUT, 1, KN_E_TPM_LOCKOUT}, {TSS2_TCTI_RC_IO_ERROR, 1000, KN_E_NO_TPM},
    };
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("0x81000200", "", NULL, &key));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_ok(sign(key));
        swtpm_arm(1, rows[i].times, rows[i].rc);
        assert_int_equal(sign(key).code, rows[i].code);
        swtpm_arm(0, 0, 0);
        assert_ok(sign(key));
        swtpm_check_clean();
    }
    swtpm_stop();
    assert_error(KN_E_NO_TPM, sign(key));
    swtpm_start();
    assert_ok(sign(key));
    kn_key_unref(&key);
}

/* The connection dies when the first authorization of a key has been sent: it may have cost a try, and is not sent again. */
static void test_lost_first_authorization(void **state)
{
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("0x81000200", "", NULL, &key));
    swtpm_arm(1, 1, TSS2_TCTI_RC_IO_ERROR);
    assert_error(KN_E_NO_TPM, sign(key));
    assert_int_equal(signatures_asked(), 1);
    swtpm_arm(0, 0, 0);
    assert_ok(sign(key));
    kn_key_unref(&key);
}

static void *sign_often(void *key)
{
    for (int i = 0; i < 50; i++)
        assert_ok(sign(key));
    return NULL;
}

static void test_threads_and_fork(void **state)
{
    pthread_t threads[4];
    kn_key *key = NULL;
    int status = 0;
    (void)state;
    assert_ok(open_key("0x81000200", "", NULL, &key));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, key), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(kn_failed(sign(key)) ? 1 : 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* A key at a handle holds nothing in the TPM, in whatever moment its program is killed. */
static void test_killed(void **state)
{
    int status = 0;
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            kn_key *key = NULL;
            while (!kn_failed(open_key("0x81000200", "", NULL, &key)) && !kn_failed(sign(key)))
                kn_key_unref(&key);
            _exit(1);
        }
        (void)usleep(10000 + i * 700);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        swtpm_check_clean();
    }
}

static kn_err generate(const char *handle, const char *alg, const char *more, kn_key **ret_key)
{
    char uri[600];
    (void)snprintf(uri, sizeof uri, "tpm2:handle=%s;tcti=%s%s", handle, swtpm_tcti, more);
    return kn_key_generate(ctx, uri, kn_alg_by_name(alg), ret_key);
}

static void test_generate(void **state)
{
    static const char *const algs[] = {"EC:P-256", "EC:P-384", "RSA:2048", "RSA:3072"};
    const kn_sign_how pkcs1 = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA256]};
    static const uint8_t digest[32] = {9};
    kn_custody custody;
    kn_key *key = NULL, *second = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(algs); i++) {
        assert_ok(generate("0x81000220", algs[i], "", &key));
        assert_string_equal(kn_key_public(key)->alg->name, algs[i]);
        assert_ok(kn_key_inspect(key, &custody));
        assert_true(kn_custody_holds(&custody));
        if (kn_key_public(key)->alg->type == KN_KEY_RSA)
            rsa_signs(key, &pkcs1, digest, sizeof digest);
        else
            assert_ok(sign(key));
        assert_error(KN_E_EXISTS, generate("0x81000220", algs[i], "", &second));
        kn_key_unref(&key);
        remove_key("0x81000220");
        swtpm_check_clean();
    }
    assert_error(KN_E_KEY_USE, generate("0x81000220", "ED25519", "", &key));
    assert_ok(generate("0x81000220", "EC:P-256", "", &key));
    assert_ok(generate("0x81000221", "EC:P-256", "", &second));
    assert_false(kn_public_equal(kn_key_public(key), kn_key_public(second))); /* random, and not of a seed */
    kn_key_unref(&second);
    kn_key_unref(&key);
    remove_key("0x81000220");
    remove_key("0x81000221");
}

static void test_generate_with_authorization(void **state)
{
    char more[100];
    kn_key *key = NULL;
    (void)state;
    (void)snprintf(more, sizeof more, ";pin-source=%s", swtpm_pin_path);
    swtpm_write_pin("its own");
    assert_ok(generate("0x81000222", "EC:P-256", more, &key));
    assert_ok(sign(key));
    kn_key_unref(&key);
    assert_ok(open_key("0x81000222", "", NULL, &key)); /* it is really there */
    assert_error(KN_E_NO_PIN, sign(key));
    kn_key_unref(&key);
    remove_key("0x81000222");
    swtpm_write_pin("123456789012345678901234567890123");
    assert_error(KN_E_PIN_SOURCE, generate("0x81000222", "EC:P-256", more, &key));
    assert_error(KN_E_NO_KEY, open_key("0x81000222", "", NULL, &key));
}

/* Each command fails once: no slot is taken, and no key is left. */
static void test_each_command_fails(void **state)
{
    kn_key *key = NULL;
    unsigned failed = 0;
    (void)state;
    swtpm_arm(0, 0, 0);
    assert_ok(generate("0x81000223", "EC:P-256", "", &key));
    unsigned commands = *swtpm_count;
    kn_key_unref(&key);
    remove_key("0x81000223");
    for (unsigned n = 1; n <= commands; n++) {
        swtpm_arm(n, 1, TPM2_RC_FAILURE);
        kn_err err = generate("0x81000223", "EC:P-256", "", &key);
        uint32_t code = swtpm_codes[n - 1];
        swtpm_arm(0, 0, 0);
        swtpm_check_clean();
        if (code == TPM2_CC_FlushContext) { /* is repeated */
            assert_ok(err);
            kn_key_unref(&key);
            remove_key("0x81000223");
            continue;
        }
        assert_true(kn_failed(err));
        failed++;
        assert_error(KN_E_NO_KEY, open_key("0x81000223", "", NULL, &key));
    }
    assert_int_equal(failed, commands - 2);
}

static void count_row(const kn_object_info *info, void *arg)
{
    assert_true(info->is_key);
    *(unsigned *)arg += !strcmp(info->kind, "EC:P-256") && !strcmp(info->id, "81000200");
    *(unsigned *)arg += 100;
}

static void test_custody_and_list(void **state)
{
    char uri[340];
    unsigned seen = 0;
    kn_custody custody;
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("0x81000200", "", NULL, &key));
    assert_ok(kn_key_inspect(key, &custody));
    assert_true(kn_custody_holds(&custody));
    assert_int_equal(custody.may_sign, KN_FACT_YES);
    assert_int_equal(custody.may_derive, KN_FACT_NO);
    assert_string_equal(custody.id, "81000200");
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_make_key("0x81000210", "ecc256", "sign" NO_DA, "");
    remove_key("0x81000210");
    (void)snprintf(uri, sizeof uri, "tpm2:tcti=%s", swtpm_tcti);
    assert_ok(kn_token_objects(ctx, uri, count_row, &seen));
    assert_int_equal(seen, 601); /* six keys, one of them that */
    swtpm_check_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ecdsa),
        cmocka_unit_test(test_bound_scheme),
        cmocka_unit_test(test_rsa),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_other_name),
        cmocka_unit_test(test_wrong_keys),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_lost_first_authorization),
        cmocka_unit_test(test_threads_and_fork), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_custody_and_list),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_generate_with_authorization),
        cmocka_unit_test(test_each_command_fails),
        cmocka_unit_test(test_no_authorization),
        cmocka_unit_test(test_commands_protected),
        cmocka_unit_test(test_wrong_authorization), cmocka_unit_test(test_lockout), /* last: it spends the TPM's tries */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
