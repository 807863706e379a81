/* What is handed out in place of a plaintext whose padding was wrong. */
#include "kn_decrypt.h"

#include "support/kn_check.h"

#include <openssl/rand.h>
#include <sys/wait.h>
#include <unistd.h>

static kn_public key_of(size_t bits)
{
    uint8_t modulus[KN_RSA_MAX], exponent[] = {1, 0, 1};
    kn_public public;
    assert_int_equal(RAND_bytes(modulus, sizeof modulus), 1);
    modulus[0] |= 0x80;
    assert_ok(kn_public_from_rsa(modulus, bits / 8, exponent, sizeof exponent, &public));
    return public;
}

static const kn_decrypt_how pkcs1 = {.padding = KN_PAD_PKCS1};

static kn_decrypted decrypt(const kn_decrypt_how *how, const kn_public *public, const uint8_t *data, bool good,
                            const void *plain, size_t length)
{
    kn_decrypted d = {.length = 0};
    assert_ok(kn_decrypt_prepare(how, public, data, &d));
    memcpy(d.plain, plain, length);
    d.length = length;
    d.good = good;
    kn_decrypt_finish(how, public->alg->coord_bytes, &d);
    return d;
}

static void test_what_is_good_is_kept(void **state)
{
    uint8_t data[KN_RSA_MAX], plain[KN_RSA_MAX];
    (void)state;
    assert_int_equal(RAND_bytes(data, sizeof data), 1);
    assert_int_equal(RAND_bytes(plain, sizeof plain), 1);
    for (size_t bits = 2048; bits <= 4096; bits += 1024) {
        kn_public public = key_of(bits);
        const size_t lengths[] = {0, 1, 48, bits / 8 - 11};
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
            kn_decrypted d = decrypt(&pkcs1, &public, data, true, plain, lengths[i]);
            assert_int_equal(d.length, lengths[i]);
            assert_memory_equal(d.plain, plain, lengths[i]);
        }
    }
}

/* The same ciphertext twice: the same answer, or two questions would tell what one does not. */
static void test_what_is_not_is_replaced_always_alike(void **state)
{
    uint8_t data[KN_RSA_MAX], zero[KN_RSA_MAX] = {0};
    bool lengths_differ = false;
    size_t last = 0;
    (void)state;
    kn_public public = key_of(2048), other = key_of(2048);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(RAND_bytes(data, sizeof data), 1);
        kn_decrypted once = decrypt(&pkcs1, &public, data, false, "x", 1);
        kn_decrypted twice = decrypt(&pkcs1, &public, data, false, "other leftovers", 15);
        assert_int_equal(once.length, twice.length);
        assert_memory_equal(once.plain, twice.plain, sizeof once.plain);
        assert_in_range(once.length, 0, 256 - 11);
        assert_memory_not_equal(once.plain, zero, 32);
        kn_decrypted of_other = decrypt(&pkcs1, &other, data, false, "x", 1);
        assert_memory_not_equal(once.plain, of_other.plain, 32);
        data[255] ^= 1;
        kn_decrypted flipped = decrypt(&pkcs1, &public, data, false, "x", 1);
        assert_memory_not_equal(once.plain, flipped.plain, 32);
        lengths_differ |= i && last != once.length;
        last = once.length;
    }
    assert_true(lengths_differ);
}

/* A module that claims success with an impossible length. */
static void test_a_length_that_cannot_be_is_replaced(void **state)
{
    uint8_t data[KN_RSA_MAX] = {1}, plain[KN_RSA_MAX] = {0};
    (void)state;
    kn_public public = key_of(2048);
    kn_decrypted d = decrypt(&pkcs1, &public, data, true, plain, 256 - 10);
    assert_in_range(d.length, 0, 256 - 11);
    assert_memory_not_equal(d.plain, plain, 32);
}

static void test_tls(void **state)
{
    static const struct {
        bool good;
        size_t length;
        uint8_t version[2];
        unsigned wanted, wanted_too;
        bool kept;
    } rows[] = {
        {true, 48, {3, 3}, 0x0303, 0, true},        {true, 48, {3, 1}, 0x0303, 0x0301, true},
        {true, 48, {3, 3}, 0x0303, 0x0301, true},   {true, 48, {3, 1}, 0x0303, 0, false},
        {true, 48, {0, 0}, 0x0303, 0, false},       {false, 48, {3, 3}, 0x0303, 0, false},
        {true, 47, {3, 3}, 0x0303, 0, false},       {true, 49, {3, 3}, 0x0303, 0, false},
        {true, 0, {3, 3}, 0x0303, 0, false},        {false, 0, {0, 0}, 0x0303, 0, false},
    };
    uint8_t data[KN_RSA_MAX] = {0}, plain[64];
    (void)state;
    kn_public public = key_of(2048);
    assert_int_equal(RAND_bytes(plain, sizeof plain), 1);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const kn_decrypt_how how = {
            .padding = KN_PAD_TLS, .tls_version = rows[i].wanted, .tls_version_too = rows[i].wanted_too};
        memcpy(plain, rows[i].version, 2);
        kn_decrypted d = decrypt(&how, &public, data, rows[i].good, plain, rows[i].length);
        kn_decrypted again = decrypt(&how, &public, data, rows[i].good, plain, rows[i].length);
        assert_int_equal(d.length, 48);
        assert_int_equal(!memcmp(d.plain, plain, 48), rows[i].kept);
        assert_int_equal(!memcmp(d.plain, again.plain, 48), rows[i].kept); /* else: random each time */
    }
}

/* The workers of a server, forked before one of them decrypted anything: one answer, or asking all of them tells. Comes first. */
static void test_workers_answer_alike(void **state)
{
    uint8_t data[KN_RSA_MAX] = {7}, theirs[32];
    int ends[2], status;
    kn_ctx *ctx = NULL;
    (void)state;
    assert_ok(kn_ctx_new(NULL, &ctx));
    kn_public public = key_of(2048);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        kn_decrypted d = decrypt(&pkcs1, &public, data, false, "x", 1);
        _exit(write(ends[1], d.plain, sizeof theirs) != sizeof theirs);
    }
    kn_decrypted d = decrypt(&pkcs1, &public, data, false, "x", 1);
    assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_memory_equal(d.plain, theirs, sizeof theirs);
    (void)close(ends[0]);
    (void)close(ends[1]);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_answer_alike),
        cmocka_unit_test(test_what_is_good_is_kept),
        cmocka_unit_test(test_what_is_not_is_replaced_always_alike),
        cmocka_unit_test(test_a_length_that_cannot_be_is_replaced),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
