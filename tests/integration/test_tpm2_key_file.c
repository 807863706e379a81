/* Keys of a TPM in files, on swtpm: made, loaded for each use, damaged, of another TPM, with commands counted and failed. */
#include "support/kn_check.h"
#include "support/swtpm.h"

#include "kn_crypto.h"
#include "tpm2/tpm2_conn.h"
#include "tpm2/tpm2_tss_key.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static kn_ctx *ctx;
static char with_pin[100];

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", swtpm_dir, name);
    return path;
}

static const char *uri_of(const char *name, const char *more)
{
    static char uri[700];
    (void)snprintf(uri, sizeof uri, "tpm2:file=%s;tcti=%s%s", path_of(name), swtpm_tcti, more);
    return uri;
}

static kn_err generate(const char *name, const char *alg, const char *more, kn_key **ret_key)
{
    return kn_key_generate(ctx, uri_of(name, more), kn_alg_by_name(alg), ret_key);
}

static kn_err open_key(const char *name, const char *more, kn_key **ret_key)
{
    kn_alias *alias = NULL;
    assert_ok(kn_alias_new(uri_of(name, more), NULL, &alias));
    kn_err err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

static kn_err sign(kn_key *key)
{
    static const uint8_t digest[32] = {1, 2, 3};
    const kn_sign_how pkcs1 = {.scheme = KN_RSA_PKCS1, .digest = &kn_digests[KN_SHA256]};
    const kn_sign_how *how = kn_key_public(key)->alg->type == KN_KEY_RSA ? &pkcs1 : &kn_sign_ecdsa;
    uint8_t signature[KN_SIGNATURE_MAX];
    size_t length = 0;
    kn_err err = kn_key_sign(key, how, digest, sizeof digest, signature, &length);
    if (!kn_failed(err))
        assert_true(kn_crypto_verify(kn_key_public(key), how, digest, sizeof digest, signature, length));
    return err;
}

static kn_err use_once(const char *name, const char *more)
{
    kn_key *key = NULL;
    kn_err err = open_key(name, more, &key);
    if (!kn_failed(err))
        err = sign(key);
    kn_key_unref(&key);
    return err;
}

static int set_up(void **state)
{
    kn_key *key = NULL;
    (void)state;
    swtpm_set_up();
    (void)snprintf(with_pin, sizeof with_pin, ";pin-source=%s", swtpm_pin_path);
    assert_ok(kn_ctx_new(NULL, &ctx));
    assert_ok(generate("plain.pem", "EC:P-256", "", &key));
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

static void test_generate(void **state)
{
    static const char *const algs[] = {"EC:P-256", "EC:P-384", "RSA:2048", "RSA:3072"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(algs); i++) {
        kn_custody custody;
        struct stat info;
        kn_key *key = NULL, *again = NULL;
        assert_ok(generate("new.pem", algs[i], "", &key));
        assert_int_equal(stat(path_of("new.pem"), &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        assert_string_equal(kn_key_public(key)->alg->name, algs[i]);
        assert_ok(kn_key_inspect(key, &custody));
        assert_true(kn_custody_holds(&custody));
        assert_ok(sign(key));
        assert_error(KN_E_EXISTS, generate("new.pem", algs[i], "", &again));
        assert_ok(open_key("new.pem", "", &again));
        assert_true(kn_public_equal(kn_key_public(key), kn_key_public(again)));
        assert_ok(sign(again));
        kn_key_unref(&again);
        kn_key_unref(&key);
        assert_int_equal(unlink(path_of("new.pem")), 0);
        swtpm_check_clean();
    }
    kn_key *key = NULL;
    assert_error(KN_E_KEY_USE, generate("new.pem", "ED25519", "", &key));
    assert_error(KN_E_IO, generate("nowhere/new.pem", "EC:P-256", "", &key));
    assert_error(KN_E_URI_MALFORMED, kn_key_generate(ctx, "tpm2:handle=0x81000200;parent=0x81000001", kn_alg_by_name("EC:P-256"), &key));
    assert_int_equal(access(path_of("new.pem"), F_OK), -1);
}

/* What one signature takes of the TPM. */
static void test_commands(void **state)
{
    static const uint32_t first[] = {TPM2_CC_CreatePrimary, TPM2_CC_Load, TPM2_CC_FlushContext, TPM2_CC_ContextSave,
                                     TPM2_CC_Sign,          TPM2_CC_FlushContext},
                          next[] = {TPM2_CC_ContextLoad, TPM2_CC_Sign, TPM2_CC_FlushContext};
    kn_key *key = NULL;
    (void)state;
    swtpm_arm(0, 0, 0);
    assert_ok(open_key("plain.pem", "", &key));
    assert_int_equal(*swtpm_count, 0);
    assert_ok(sign(key));
    assert_int_equal(*swtpm_count, COUNT_OF(first));
    assert_memory_equal(swtpm_codes, first, sizeof first);
    for (int i = 0; i < 10; i++) {
        swtpm_arm(0, 0, 0);
        assert_ok(sign(key));
        assert_int_equal(*swtpm_count, COUNT_OF(next));
        assert_memory_equal(swtpm_codes, next, sizeof next);
    }
    kn_key_unref(&key);
    swtpm_check_clean();
}

static void test_many_keys(void **state)
{
    kn_key *keys[9] = {NULL};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        assert_ok(open_key("plain.pem", "", &keys[i]));
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(keys); i++)
            assert_ok(sign(keys[i]));
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        kn_key_unref(&keys[i]);
    swtpm_check_clean();
}

static void test_authorization(void **state)
{
    kn_key *key = NULL;
    (void)state;
    swtpm_write_pin("its own");
    assert_ok(generate("auth.pem", "EC:P-256", with_pin, &key));
    assert_ok(sign(key));
    kn_key_unref(&key);
    assert_error(KN_E_NO_PIN, use_once("auth.pem", ""));
    assert_detail("auth.pem");
    swtpm_write_pin("wrong");
    assert_ok(open_key("auth.pem", with_pin, &key));
    assert_error(KN_E_PIN_INCORRECT, sign(key));
    swtpm_check_clean();
    swtpm_write_pin("its own");
    assert_ok(sign(key));
    kn_key_unref(&key);
    assert_int_equal(swtpm_tries_spent(), 0); /* not bound to the lockout */
}

/* The PIN source of the configuration is for keys that may have an authorization. */
static void test_configured_source(void **state)
{
    kn_config config = {.pin_source = swtpm_pin_path};
    kn_ctx *usual = ctx;
    (void)state;
    swtpm_write_pin("its own"); /* of auth.pem */
    assert_ok(kn_ctx_new(&config, &ctx));
    assert_ok(use_once("auth.pem", ""));
    assert_ok(use_once("plain.pem", ""));
    kn_ctx_unref(&ctx);
    ctx = usual;
}

static void test_protected(void **state)
{
    char more[200];
    kn_key *key = NULL;
    (void)state;
    (void)snprintf(more, sizeof more, "%s;da=yes", with_pin);
    swtpm_write_pin("its own");
    assert_ok(generate("da.pem", "EC:P-256", more, &key));
    kn_key_unref(&key);
    swtpm_write_pin("wrong");
    assert_ok(open_key("da.pem", with_pin, &key));
    assert_error(KN_E_PIN_INCORRECT, sign(key));
    assert_error(KN_E_PIN_INCORRECT, sign(key)); /* remembered */
    assert_int_equal(swtpm_tries_spent(), 1);
    swtpm_write_pin("its own");
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* A storage key at a handle as the parent; and when it is not there. */
static void test_persistent_parent(void **state)
{
    kn_key *key = NULL;
    (void)state;
    swtpm_tools("tpm2_createprimary -Q -C o -G ecc -c p.ctx && tpm2_evictcontrol -Q -C o -c p.ctx 0x81000001 && tpm2_flushcontext -t");
    assert_ok(generate("child.pem", "EC:P-256", ";parent=0x81000001", &key));
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_arm(0, 0, 0);
    assert_ok(use_once("child.pem", ""));
    for (unsigned i = 0; i < *swtpm_count; i++)
        assert_int_not_equal(swtpm_codes[i], TPM2_CC_CreatePrimary);
    swtpm_check_clean();
    swtpm_tools("tpm2_evictcontrol -Q -C o -c 0x81000001");
    assert_error(KN_E_TPM_FILE, use_once("child.pem", ""));
    assert_detail("its parent, 0x81000001, is not in the TPM");
    swtpm_tools("tpm2_createprimary -Q -C o -G ecc384 -c p.ctx && tpm2_evictcontrol -Q -C o -c p.ctx 0x81000001 && tpm2_flushcontext -t");
    assert_error(KN_E_TPM_FILE, use_once("child.pem", ""));
    assert_detail("below another parent");
    swtpm_tools("tpm2_evictcontrol -Q -C o -c 0x81000001; tpm2_createprimary -Q -C o -G ecc -p secret -c p.ctx && "
          "tpm2_evictcontrol -Q -C o -c p.ctx 0x81000001 && tpm2_flushcontext -t");
    assert_error(KN_E_TPM_FILE, use_once("child.pem", ""));
    assert_detail("has an authorization, which is not supported");
    assert_error(KN_E_TPM_AUTH, generate("other.pem", "EC:P-256", ";parent=0x81000001", &key));
    assert_int_equal(access(path_of("other.pem"), F_OK), -1);
    swtpm_tools("tpm2_evictcontrol -Q -C o -c 0x81000001");
    assert_error(KN_E_TPM_FILE, generate("other.pem", "EC:P-256", ";parent=0x81000001", &key));
    swtpm_check_clean();
}

static size_t read_der(const char *name, uint8_t ret_der[KN_ALIAS_DER_MAX])
{
    char text[2000];
    size_t length = 0;
    FILE *file = fopen(path_of(name), "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    assert_ok(kn_alias_pem_to_der(text, n, ret_der, &length));
    return length;
}

static void write_der(const char *name, const uint8_t *der, size_t length)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_ok(tpm2_tss_key_write(fileno(file), der, length));
    assert_int_equal(fclose(file), 0);
}

/* Any byte of it changed: the key is not used, and nothing is left in the TPM. Only emptyAuth is no part of the key. */
static void test_damaged(void **state)
{
    uint8_t der[KN_ALIAS_DER_MAX];
    size_t length = read_der("plain.pem", der), used = 0;
    (void)state;
    for (size_t at = 0; at < length; at++) {
        der[at] ^= 0x41;
        write_der("damaged.pem", der, length);
        der[at] ^= 0x41;
        kn_err err = use_once("damaged.pem", "");
        used += !kn_failed(err);
        if (kn_failed(err) && err.code != KN_E_KEY_TYPE && err.code != KN_E_KEY_USE)
            assert_error(KN_E_TPM_FILE, err);
    }
    assert_int_equal(used, 1);
    swtpm_check_clean();
}

/* Each command of making and of using a key fails once: no slot is taken, no file is left, and the next one works. */
static void test_each_command_fails(void **state)
{
    kn_key *key = NULL;
    (void)state;
    swtpm_arm(0, 0, 0);
    assert_ok(generate("each.pem", "EC:P-256", "", &key));
    unsigned commands = *swtpm_count;
    kn_key_unref(&key);
    for (unsigned n = 1; n <= commands; n++) {
        assert_int_equal(unlink(path_of("each.pem")), 0);
        swtpm_arm(n, 1, TPM2_RC_FAILURE);
        kn_err err = generate("each.pem", "EC:P-256", "", &key);
        uint32_t code = swtpm_codes[n - 1];
        bool harmless = code == TPM2_CC_FlushContext || code == TPM2_CC_ContextSave;
        swtpm_arm(0, 0, 0);
        swtpm_check_clean();
        assert_int_equal(kn_failed(err), !harmless);
        assert_int_equal(access(path_of("each.pem"), F_OK), harmless ? 0 : -1);
        kn_key_unref(&key);
        if (!harmless)
            assert_ok(generate("each.pem", "EC:P-256", "", &key));
        kn_key_unref(&key);
    }
    for (unsigned n = 1; n <= 6 + 3; n++) {
        assert_ok(open_key("each.pem", "", &key));
        swtpm_arm(n, 1, TPM2_RC_FAILURE);
        kn_err err = sign(key);
        kn_err second = sign(key);
        swtpm_arm(0, 0, 0);
        swtpm_check_clean();
        assert_true(!kn_failed(err) || !kn_failed(second));
        assert_ok(sign(key));
        kn_key_unref(&key);
    }
}

/* Contexts that were saved are gone with a reset of the TPM, and may be refused for other reasons: the file is loaded again. */
static void test_lost_contexts(void **state)
{
    static const uint32_t codes[] = {TPM2_RC_INTEGRITY + TPM2_RC_P + TPM2_RC_1, TPM2_RC_HANDLE + TPM2_RC_P + TPM2_RC_1, TPM2_RC_REFERENCE_H0};
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("plain.pem", "", &key));
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        assert_ok(sign(key));
        swtpm_arm(1, 1, codes[i]);
        assert_ok(sign(key));
        assert_int_equal(swtpm_codes[0], TPM2_CC_ContextLoad);
        assert_int_equal(swtpm_codes[1], TPM2_CC_CreatePrimary);
    }
    swtpm_arm(0, 0, 0);
    swtpm_stop();
    assert_error(KN_E_NO_TPM, sign(key));
    swtpm_start();
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

static void test_slots(void **state)
{
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("plain.pem", "", &key));
    swtpm_tools("tpm2_createprimary -Q -C o -G ecc -c a.ctx && tpm2_createprimary -Q -C o -G ecc -c b.ctx");
    assert_error(KN_E_TPM_SLOTS, sign(key));
    assert_detail("plain.pem");
    swtpm_tools("[ \"$(tpm2_getcap handles-transient | wc -l)\" = 2 ] && tpm2_flushcontext -t");
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* By the name of a resource manager's TCTI: a key stays loaded until it is freed, and each signature is one command. */
static void test_managed(void **state)
{
    char link_path[128], uri[700];
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    (void)state;
    (void)snprintf(link_path, sizeof link_path, "%s/libtss2-tcti-tabrmd.so", swtpm_dir);
    assert_int_equal(symlink(TCTI_SHIM, link_path), 0);
    (void)snprintf(uri, sizeof uri, "tpm2:file=%s;tcti=%s:swtpm:path=%s/s", path_of("plain.pem"), link_path, swtpm_dir);
    assert_ok(kn_alias_new(uri, NULL, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    kn_alias_free(&alias);
    swtpm_arm(0, 0, 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_ok(sign(key));
        assert_int_equal(*swtpm_count, 4 + i); /* CreatePrimary, Load, FlushContext of the parent */
    }
    swtpm_tools("[ \"$(tpm2_getcap handles-transient | wc -l)\" = 1 ]");
    static const uint32_t lost[] = {TPM2_RC_REFERENCE_H0, TPM2_RC_VALUE | TPM2_RC_H | TPM2_RC_1, TPM2_RC_HANDLE | TPM2_RC_H | TPM2_RC_1};
    for (size_t i = 0; i < COUNT_OF(lost); i++) { /* it was reset, which the manager does not tell */
        swtpm_arm(1, 1, lost[i]);
        assert_ok(sign(key));
        swtpm_tools("tpm2_flushcontext -t"); /* of the one that was only said to be lost */
    }
    swtpm_arm(1, 1, TPM2_RC_VALUE | TPM2_RC_P | TPM2_RC_1); /* about the data */
    assert_error(KN_E_TPM_FAILED, sign(key));
    assert_int_equal(*swtpm_count, 1);
    swtpm_arm(0, 0, 0);
    swtpm_stop();
    swtpm_start();
    assert_ok(sign(key));
    kn_key_unref(&key);
    swtpm_check_clean();
}

/* Programs that know nothing of each other, more than the TPM has slots: each waits until one is free. */
static void test_processes(void **state)
{
    pid_t children[6];
    int status = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        children[i] = fork();
        if (children[i] == 0) {
            kn_key *key = NULL;
            bool good = !kn_failed(open_key("plain.pem", "", &key));
            for (int n = 0; good && n < 40; n++)
                good = !kn_failed(sign(key));
            if (!good)
                (void)fprintf(stderr, "%s\n", kn_err_detail());
            kn_key_unref(&key);
            _exit(good ? 0 : 1);
        }
    }
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    swtpm_check_clean();
}

static unsigned transients(void)
{
    char path[100];
    unsigned n = 0;
    swtpm_tools("tpm2_getcap handles-transient | wc -l >count");
    (void)snprintf(path, sizeof path, "%s/count", swtpm_dir);
    FILE *file = fopen(path, "r");
    assert_true(file && fscanf(file, "%u", &n) == 1);
    (void)fclose(file);
    return n;
}

/* Killed wherever it was: what a signature had loaded stays, one slot at most, and the next programs are told what to do; a new file is
 * whole or not there. */
static void test_killed(void **state)
{
    kn_key *key = NULL;
    int status = 0;
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            kn_key *made = NULL;
            while (!kn_failed(generate("killed.pem", "EC:P-256", "", &made)) && !kn_failed(sign(made)) && unlink(path_of("killed.pem")) == 0)
                kn_key_unref(&made);
            _exit(1);
        }
        (void)usleep(20000 + i * 1700);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_in_range(transients(), 0, 2); /* making a key: its parent, and the key */
        swtpm_tools("tpm2_flushcontext -t");
        if (access(path_of("killed.pem"), F_OK) == 0) {
            assert_ok(open_key("killed.pem", "", &key));
            assert_ok(sign(key));
            kn_key_unref(&key);
        }
        swtpm_tools("rm -f killed.pem && [ -z \"$(find . -name '*killed*')\" ]");
    }
    swtpm_check_clean();
}

static void *sign_often(void *key)
{
    for (int i = 0; i < 25; i++)
        assert_ok(sign(key));
    return NULL;
}

static void test_threads_and_fork(void **state)
{
    pthread_t threads[4];
    kn_key *key = NULL;
    int status = 0;
    (void)state;
    assert_ok(open_key("plain.pem", "", &key));
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

/* The last one: the seed of the owner hierarchy is another afterwards. */
static void test_another_seed(void **state)
{
    kn_key *key = NULL;
    (void)state;
    assert_ok(open_key("plain.pem", "", &key));
    assert_ok(sign(key));
    swtpm_tools("tpm2_clear -c p");
    assert_error(KN_E_TPM_FILE, sign(key));
    assert_detail("made by another TPM");
    kn_key_unref(&key);
    swtpm_check_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_configured_source),
        cmocka_unit_test(test_protected),
        cmocka_unit_test(test_persistent_parent),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_each_command_fails),
        cmocka_unit_test(test_lost_contexts),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_managed),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_threads_and_fork),
        cmocka_unit_test(test_another_seed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
