/* The TPM backend's attestation on swtpm: commands counted, each of them failing once, the TPM restarted, busy and gone; after
 * each, no slot is taken, and the TPM signs with the old identity key or with the new one. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_attest.h"
#include "tpm2/tpm2_conn.h"

#include "dps_tpm.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY_BYTES 32

static char uri[340];
static kn_ctx *ctx;
static kn_attest *attest;
static dps_tpm_public ek, srk;

static void read_public(kn_err (*read)(kn_attest *, uint8_t **, size_t *), dps_tpm_public *ret_public)
{
    uint8_t *bytes = NULL;
    size_t length = 0;
    assert_ok(read(attest, &bytes, &length));
    const dps_blob blob = {bytes, length};
    assert_null(dps_tpm_parse_public(&blob, ret_public)); /* the service's own parser takes it */
    free(bytes);
}

static int set_up(void **state)
{
    (void)state;
    swtpm_set_up();
    (void)snprintf(uri, sizeof uri, "tpm2:tcti=%s", swtpm_tcti);
    assert_ok(kn_ctx_new(NULL, &ctx));
    assert_ok(kn_attest_open(ctx, uri, &attest));
    assert_int_equal(*swtpm_count, 0); /* nothing is asked of the TPM before it is used */
    read_public(kn_attest_endorsement_key, &ek);
    read_public(kn_attest_storage_root_key, &srk);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kn_attest_free(&attest);
    kn_ctx_unref(&ctx);
    swtpm_tear_down();
    return 0;
}

static kn_err take_key(const uint8_t key[KEY_BYTES], size_t changed_at)
{
    dps_blob blob = {NULL, 0};
    assert_true(dps_tpm_wrap(&ek, &srk, key, KEY_BYTES, "https://example.test", &blob));
    if (changed_at < blob.len)
        blob.bytes[changed_at] ^= 0x10;
    kn_err err = kn_attest_activate(attest, blob.bytes, blob.len);
    dps_blob_clear(&blob);
    return err;
}

static void fill(uint8_t key[KEY_BYTES], unsigned n)
{
    for (size_t i = 0; i < KEY_BYTES; i++)
        key[i] = (uint8_t)(n * 37 + i);
}

static bool signs_with(const uint8_t key[KEY_BYTES], size_t length)
{
    static uint8_t data[5000];
    uint8_t made[KN_ATTEST_BYTES], expected[KN_ATTEST_BYTES];
    unsigned n = 0;
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)i;
    assert_ok(kn_attest_sign(attest, data, length, made));
    assert_non_null(HMAC(EVP_sha256(), key, KEY_BYTES, data, length, expected, &n));
    return memcmp(made, expected, sizeof made) == 0;
}

static void test_no_key(void **state)
{
    uint8_t mac[KN_ATTEST_BYTES];
    (void)state;
    assert_error(KN_E_NO_IDENTITY, kn_attest_sign(attest, (const uint8_t *)"a", 1, mac));
    swtpm_check_clean();
}

static void test_commands(void **state)
{
    static const size_t lengths[] = {1, 64, 1023, 1024, 1025, 2048, 2049, 5000};
    uint8_t key[KEY_BYTES];
    dps_tpm_public again;
    (void)state;
    fill(key, 1);
    swtpm_arm(0, 0, 0);
    read_public(kn_attest_endorsement_key, &again);
    assert_int_equal(*swtpm_count, 3);
    swtpm_arm(0, 0, 0);
    assert_ok(take_key(key, SIZE_MAX));
    assert_int_equal(*swtpm_count, 13);
    fill(key, 2);
    swtpm_arm(0, 0, 0);
    assert_ok(take_key(key, SIZE_MAX));
    assert_int_equal(*swtpm_count, 18); /* the old key is there until the new one is kept */
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        swtpm_arm(0, 0, 0);
        assert_true(signs_with(key, lengths[i]));
        assert_int_equal(*swtpm_count, lengths[i] <= 1024 ? 3 : 4 + (lengths[i] - 1) / 1024);
    }
    swtpm_check_clean();
}

/* Each command of an activation fails once, in three ways: nothing is left, and there is always a key that signs. For a slot it is
 * waited. */
static void test_each_command_fails(void **state)
{
    static const uint32_t ways[] = {TPM2_RC_FAILURE, TPM2_RC_OBJECT_MEMORY, TPM2_RC_NV_SPACE};
    uint8_t old_key[KEY_BYTES], new_key[KEY_BYTES];
    unsigned failed = 0;
    (void)state;
    for (size_t way = 0; way < COUNT_OF(ways); way++)
        for (unsigned n = 1; n <= 18; n++) {
            fill(old_key, 2 * n);
            fill(new_key, 2 * n + 1);
            swtpm_arm(0, 0, 0);
            assert_ok(take_key(old_key, SIZE_MAX));
            swtpm_arm(n, 1, ways[way]);
            kn_err err = take_key(new_key, SIZE_MAX);
            uint32_t code = swtpm_codes[n - 1];
            swtpm_arm(0, 0, 0);
            failed += kn_failed(err);
            bool is_old = signs_with(old_key, 64), is_new = signs_with(new_key, 64);
            assert_true(is_old || is_new);
            assert_true((kn_failed(err) && ways[way] != TPM2_RC_OBJECT_MEMORY) || is_new);
            if (code != TPM2_CC_FlushContext) { /* which nobody else can do for us */
                swtpm_check_clean();
            } else {
                swtpm_stop();
                swtpm_start();
            }
        }
    assert_int_equal(failed, (COUNT_OF(ways) - 1) * 16); /* all but the two FlushContext */
    fill(new_key, 99);
    assert_ok(take_key(new_key, SIZE_MAX));
    assert_true(signs_with(new_key, 64));
    swtpm_check_clean();
}

static void test_changed_blobs(void **state)
{
    uint8_t key[KEY_BYTES], other[KEY_BYTES];
    (void)state;
    fill(key, 5);
    fill(other, 6);
    assert_ok(take_key(key, SIZE_MAX));
    for (size_t at = 0; at < 764; at += 29) {
        assert_error(KN_E_TPM_BLOB, take_key(other, at));
        assert_true(signs_with(key, 64));
    }
    swtpm_check_clean();
}

/* RETRY, YIELDED and TESTING are waited for, more often than ESYS repeats; a dead connection is opened anew. */
static void test_busy_and_dead(void **state)
{
    static const uint32_t busy[] = {TPM2_RC_RETRY, TPM2_RC_YIELDED, TPM2_RC_TESTING};
    uint8_t key[KEY_BYTES], mac[KN_ATTEST_BYTES];
    (void)state;
    fill(key, 7);
    assert_ok(take_key(key, SIZE_MAX));
    for (size_t i = 0; i < COUNT_OF(busy); i++) {
        swtpm_arm(3, 12, busy[i]);
        assert_true(signs_with(key, 64));
    }
    for (unsigned n = 1; n <= 3; n++) {
        swtpm_arm(n, 1, TSS2_TCTI_RC_IO_ERROR);
        assert_true(signs_with(key, 64));
    }
    swtpm_arm(1, 100, TSS2_TCTI_RC_IO_ERROR);
    assert_error(KN_E_NO_TPM, kn_attest_sign(attest, (const uint8_t *)"a", 1, mac));
    swtpm_arm(2, 1, TPM2_RC_LOCKOUT);
    assert_error(KN_E_TPM_LOCKOUT, kn_attest_sign(attest, (const uint8_t *)"a", 1, mac));
    assert_int_equal(*swtpm_count, 2); /* not tried again */
    swtpm_arm(3, 1, TPM2_RC_AUTH_FAIL | TPM2_RC_S | TPM2_RC_1);
    assert_error(KN_E_TPM_AUTH, kn_attest_sign(attest, (const uint8_t *)"a", 1, mac));
    assert_int_equal(*swtpm_count, 3);
    swtpm_arm(0, 0, 0);
    swtpm_stop();
    assert_error(KN_E_NO_TPM, kn_attest_sign(attest, (const uint8_t *)"a", 1, mac));
    swtpm_start();
    assert_true(signs_with(key, 64));
    swtpm_check_clean();
}

static void *sign_often(void *arg)
{
    const uint8_t *key = arg;
    uint8_t made[KN_ATTEST_BYTES], expected[KN_ATTEST_BYTES];
    kn_attest *mine = NULL;
    unsigned n = 0;
    bool good = !kn_failed(kn_attest_open(ctx, uri, &mine));
    (void)HMAC(EVP_sha256(), key, KEY_BYTES, (const uint8_t *)"thread", 6, expected, &n);
    for (int i = 0; i < 20 && good; i++)
        good = !kn_failed(kn_attest_sign(mine, (const uint8_t *)"thread", 6, made)) && memcmp(made, expected, sizeof made) == 0;
    kn_attest_free(&mine);
    return good ? arg : NULL;
}

static void test_threads_and_fork(void **state)
{
    uint8_t key[KEY_BYTES];
    pthread_t threads[4];
    void *result = NULL;
    int status = 0;
    (void)state;
    fill(key, 8);
    assert_ok(take_key(key, SIZE_MAX));
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, key), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, key);
    }
    pid_t child = fork();
    if (child == 0)
        _exit(sign_often(key) ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(signs_with(key, 64));
    swtpm_check_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_key),        cmocka_unit_test(test_commands),      cmocka_unit_test(test_each_command_fails),
        cmocka_unit_test(test_changed_blobs), cmocka_unit_test(test_busy_and_dead), cmocka_unit_test(test_threads_and_fork),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
