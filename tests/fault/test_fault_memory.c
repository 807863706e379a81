/* The nth allocation fails, for each n, once and from there on: ours, and those of libcrypto on our behalf. The module's own
 * (SoftHSM uses the same libcrypto) do not fail: what it makes of that is not ours.
 *
 * Linked with --wrap, so that allocations of the backends come here. */
#include "fault/fault.h"

#include "support/certs.h"

#include <openssl/crypto.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIVE_MAX 65536 /* pointers of ours at one time */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *old);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *old);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

/* volatile: the header says of malloc() that it changes nothing in this file (attribute leaf). */
static volatile bool armed, for_ever;
static volatile unsigned fail_at, allocations, failures, live_count;
static const void *live[LIVE_MAX];

static bool is_to_fail(void)
{
    if (!armed || atomic_load(&fault_shim->inside))
        return false;
    allocations = allocations + 1;
    bool fails = for_ever ? allocations >= fail_at : allocations == fail_at;
    failures = failures + fails;
    return fails;
}

static size_t place_of(const void *pointer)
{
    size_t at = ((uintptr_t)pointer >> 4) % LIVE_MAX;
    while (live[at] && live[at] != pointer)
        at = (at + 1) % LIVE_MAX;
    return at;
}

static void *note(void *pointer)
{
    if (pointer && live_count < LIVE_MAX / 2) {
        live[place_of(pointer)] = pointer;
        live_count = live_count + 1;
    }
    return pointer;
}

/* Removes, and moves up what was behind it. */
static void forget(const void *pointer)
{
    size_t at = place_of(pointer);
    if (!pointer || !live[at])
        return; /* of p11-kit or libc */
    live[at] = NULL;
    live_count = live_count - 1;
    for (size_t next = (at + 1) % LIVE_MAX; live[next]; next = (next + 1) % LIVE_MAX) {
        const void *moved = live[next];
        live[next] = NULL;
        live[place_of(moved)] = moved;
    }
}

void *__wrap_malloc(size_t size)
{
    return is_to_fail() ? NULL : note(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_to_fail() ? NULL : note(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (is_to_fail())
        return NULL;
    forget(old);
    return note(__real_realloc(old, size));
}

void __wrap_free(void *old)
{
    forget(old);
    __real_free(old);
}

char *__wrap_strndup(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *copy = __wrap_malloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, SIZE_MAX);
}

static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return is_to_fail() ? NULL : __real_malloc(size);
}

static void *crypto_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return is_to_fail() ? NULL : __real_realloc(old, size);
}

static void crypto_free(void *old, const char *file, int line)
{
    (void)file, (void)line;
    __real_free(old);
}

/* ---- the operations, each from nothing to nothing ---- */

static kn_err new_context(kn_ctx **ret_ctx)
{
    const kn_config config = {.module_path = shim_module, .pin_source = fault_token->pin_file};
    return kn_ctx_new(&config, ret_ctx);
}

static kn_err do_open(void)
{
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    kn_err err = new_context(&ctx);
    if (!kn_failed(err))
        err = fault_open_uri(ctx, FAULT_URI, &key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return err;
}

static kn_public public;

/* A key whose public key only the alias has: the token is searched, and the first signature verified by libcrypto. */
static kn_err do_sign(void)
{
    static const uint8_t digest[32] = {1};
    uint8_t signature[KN_ECDSA_DER_MAX];
    size_t length = 77;
    kn_ctx *ctx = NULL;
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    memset(signature, 0x5a, sizeof signature);
    kn_err err = new_context(&ctx);
    if (!kn_failed(err))
        err = kn_alias_new("pkcs11:token=fault;object=lone", &public, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, &key);
    if (!kn_failed(err))
        err = kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length);
    if (kn_failed(err) && (length != 77 || signature[0] != 0x5a))
        abort();
    kn_key_unref(&key);
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
    return err;
}

static kn_err do_generate(void)
{
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    kn_err err = new_context(&ctx);
    if (!kn_failed(err))
        err = kn_key_generate(ctx, "pkcs11:token=fault;object=tortured", kn_alg_by_name("EC:P-256"), &key);
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    return err;
}

/* Nothing is there after a failure, and everything after a success. */
static void remove_generated(bool made)
{
    raw r = raw_open(fault_token);
    assert_int_equal(raw_count(&r, CKO_PRIVATE_KEY, "tortured"), made ? 1 : 0);
    assert_int_equal(raw_count(&r, CKO_PUBLIC_KEY, "tortured"), made ? 1 : 0);
    if (made) {
        raw_delete(&r, CKO_PRIVATE_KEY, "tortured");
        raw_delete(&r, CKO_PUBLIC_KEY, "tortured");
    }
    raw_close(&r);
}

typedef struct operation {
    const char *name;
    kn_err (*run)(void);
    bool generates;
} operation;

/* One n. False when the operation has fewer allocations. */
static bool torture(const operation *op, unsigned n, bool ever, unsigned *ret_named)
{
    unsigned before = live_count;
    armed = true, for_ever = ever, fail_at = n, allocations = failures = 0;
    kn_err err = op->run();
    armed = false;
    if (op->generates)
        remove_generated(!kn_failed(err));
    if (kn_failed(err)) {
        ++*ret_named;
        if (!failures)
            fail_msg("%s: %s", op->name, kn_err_detail());
        if (err.code != KN_E_NO_MEMORY && err.code != KN_E_CRYPTO)
            fail_msg("%s, allocation %u%s: %s: %s", op->name, n, ever ? " and on" : "", kn_code_name(err.code),
                     kn_err_detail());
        if (strlen(kn_err_detail()) < 5)
            fail_msg("%s, allocation %u: %s without a text", op->name, n, kn_code_name(err.code));
    }
    if (live_count != before)
        fail_msg("%s, allocation %u%s: %d blocks are left", op->name, n, ever ? " and on" : "", (int)(live_count - before));
    if (fault_sessions())
        fail_msg("%s, allocation %u: %u sessions are left", op->name, n, fault_sessions());
    return failures > 0;
}

static void test_torture(void **state)
{
    const operation *op = *state;
    (void)alarm(3 * FAULT_SECONDS);
    for (int i = 0; i < 2; i++) { /* what is made once in a process */
        assert_ok(op->run());
        if (op->generates)
            remove_generated(true);
    }
    unsigned n[2] = {0}, named[2] = {0};
    for (int ever = 0; ever < 2; ever++) {
        while (torture(op, n[ever] + 1, ever, &named[ever]))
            n[ever]++;
        kn_err err = op->run();
        assert_ok(err); /* nothing is poisoned */
        if (op->generates)
            remove_generated(true);
    }
    print_message("%s: %u allocations, one fails: %u errors; all from there on: %u errors\n", op->name, n[0], named[0],
                  named[1]);
    assert_true(n[0] > 10);
    fault_row("memory", op->name, "every one of its allocations: a named error or success, nothing left, no crash, the next operation works");
}

static void *planted;

static kn_err do_leak(void)
{
    planted = malloc(10);
    return planted ? kn_success() : kn_fail(KN_E_NO_MEMORY, "ten bytes"); /* and the block is left */
}

/* The planted positive: a block that an operation leaves is counted, and an allocation that fails is seen. */
static void test_planted(void **state)
{
    unsigned before = live_count;
    (void)state;
    assert_ok(do_leak());
    assert_int_equal(live_count, before + 1);
    free(planted);
    assert_int_equal(live_count, before);
    armed = true, for_ever = false, fail_at = 1, allocations = failures = 0;
    kn_err err = do_leak();
    armed = false;
    assert_int_equal(err.code, KN_E_NO_MEMORY);
    assert_int_equal(failures, 1);
}

static int setup(void **state)
{
    uint8_t *spki = NULL;
    if (fault_setup(state))
        return -1;
    EVP_PKEY *software = test_key_new("P-256");
    int length = i2d_PUBKEY(software, &spki);
    kn_err err = kn_public_from_spki(spki, length > 0 ? (size_t)length : 0, &public);
    OPENSSL_free(spki);
    raw r = raw_open(fault_token);
    (void)raw_import(&r, &(raw_key){.label = "lone", .id = "l", .sensitive = true}, software);
    raw_close(&r);
    EVP_PKEY_free(software);
    return kn_failed(err) ? -1 : 0;
}

int main(void)
{
    static const operation open = {"open", do_open, false}, sign = {"open and sign by alias", do_sign, false},
                           generate = {"generate", do_generate, true};
    if (!CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free)) {
        (void)fprintf(stderr, "libcrypto has allocated before main\n");
        return 1;
    }
#define TORTURE(op) {"torture: " #op, test_torture, fault_calm, fault_end, (void *)(uintptr_t)&op}
    const struct CMUnitTest tests[] = {TORTURE(open), TORTURE(sign), TORTURE(generate), FAULT_TEST(test_planted)};
    return cmocka_run_group_tests(tests, setup, fault_teardown);
}
