#include "kn_hmac.h"

#include "support/kn_check.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_base64_of_every_length(void **state)
{
    (void)state;
    for (size_t length = 1; length <= KN_HMAC_KEY_MAX; length++) {
        uint8_t raw[KN_HMAC_KEY_MAX];
        char text[KN_HMAC_TEXT_MAX + 8];
        kn_secret *key = NULL;
        assert_int_equal(RAND_bytes(raw, sizeof raw), 1);
        int characters = EVP_EncodeBlock((unsigned char *)text, raw, (int)length);
        if (length < KN_HMAC_KEY_MIN) {
            assert_error(KN_E_DATA_SIZE, kn_hmac_key_from_base64(text, (size_t)characters, &key));
            assert_null(key);
            continue;
        }
        static const char *const ends[] = {"", "\n", "\r\n"};
        for (size_t i = 0; i < COUNT_OF(ends); i++) {
            strcpy(text + characters, ends[i]);
            assert_ok(kn_hmac_key_from_base64(text, strlen(text), &key));
            assert_int_equal(kn_secret_length(key), length);
            assert_memory_equal(kn_secret_data(key), raw, length);
            kn_secret_free(&key);
        }
    }
}

static void test_every_character(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text[] = "AAAAAAAAAAAAAAAAAAAAAAAA";
        bool allowed = c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c);
        kn_secret *key = NULL;
        text[5] = (char)c;
        kn_err err = kn_hmac_key_from_base64(text, sizeof text - 1, &key);
        assert_int_equal(err.code, allowed ? KN_OK : KN_E_KEY_TEXT);
        kn_secret_free(&key);
    }
}

static void test_refused_texts(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "====",
        "AAAAAAAAAAAAAAAAAAAAAAA",           /* not a multiple of four */
        "AAAAAAAAAAAAAAAAAAAAAAA=\n\n",       /* two line ends */
        " AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAA A==",
        "AAAAAAAAAAAAAAAAAAAAAAB=",           /* a bit that the padding leaves over */
        "AAAAAAAAAAAAAAAAAAAAAB==",
        "AAAAAAAAAAAAAAAAAAAAA===",
        "AAAA=AAAAAAAAAAAAAAAAAAA",
        "-AAAAAAAAAAAAAAAAAAAAA__",           /* base64url */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        kn_secret *key = NULL;
        assert_error(KN_E_KEY_TEXT, kn_hmac_key_from_base64(texts[i], strlen(texts[i]), &key));
        assert_null(key);
        assert_detail_lacks("AAA");
    }
    char longest[KN_HMAC_TEXT_MAX + 5];
    kn_secret *key = NULL;
    memset(longest, 'A', sizeof longest);
    assert_error(KN_E_KEY_TEXT, kn_hmac_key_from_base64(longest, sizeof longest - 1, &key));
}

/* RFC 4231, test cases 1, 2, 6 (whose key is longer than ours may be, but the function takes any). */
static void test_published_vectors(void **state)
{
    static uint8_t key1[20], key6[131];
    memset(key1, 0x0b, sizeof key1);
    memset(key6, 0xaa, sizeof key6);
    const struct {
        const void *key;
        size_t key_length;
        const char *data;
        uint8_t mac[4];
    } rows[] = {
        {key1, sizeof key1, "Hi There", {0xb0, 0x34, 0x4c, 0x61}},
        {"Jefe", 4, "what do ya want for nothing?", {0x5b, 0xdc, 0xc1, 0x46}},
        {key6, sizeof key6, "Test Using Larger Than Block-Size Key - Hash Key First", {0x60, 0xe4, 0x31, 0x59}},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        kn_secret *key = NULL;
        uint8_t mac[KN_HMAC_BYTES];
        assert_ok(kn_secret_new(rows[i].key, rows[i].key_length, &key));
        assert_ok(kn_hmac_software(key, (const uint8_t *)rows[i].data, strlen(rows[i].data), mac));
        assert_memory_equal(mac, rows[i].mac, sizeof rows[i].mac);
        assert_error(KN_E_DATA_SIZE, kn_hmac_software(key, mac, KN_HMAC_DATA_MAX + 1, mac));
        kn_secret_free(&key);
    }
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && !fclose(file));
    assert_int_equal(chmod(path, mode), 0);
}

static void test_files(void **state)
{
    char dir[] = "/tmp/keynym-test.XXXXXX", path[64];
    static const char good[] = "AAAAAAAAAAAAAAAAAAAAAA==\n";
    kn_secret *key = NULL;
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/key", dir);
    assert_error(KN_E_KEY_FILE, kn_hmac_key_read(path, &key));
    assert_detail("No such file");
    static const mode_t allowed[] = {0600, 0400}, refused[] = {0644, 0640, 0620, 0610, 0604, 0602, 0601};
    for (size_t i = 0; i < COUNT_OF(allowed); i++) {
        write_file(path, good, allowed[i]);
        assert_ok(kn_hmac_key_read(path, &key));
        assert_int_equal(kn_secret_length(key), 16);
        kn_secret_free(&key);
        assert_int_equal(unlink(path), 0);
    }
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        write_file(path, good, refused[i]);
        assert_error(KN_E_KEY_FILE, kn_hmac_key_read(path, &key));
        assert_detail(path);
        assert_detail_lacks("AAAA");
    }
    static const char *const bad[] = {"", "AAAA\n", "AAAAAAAAAAAAAAAAAAAAAA==AAAA", "Endpoint=AAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        write_file(path, bad[i], 0600);
        assert_true(kn_failed(kn_hmac_key_read(path, &key)));
        assert_detail(path);
        assert_detail_lacks("AAAA");
    }
    char longest[1000];
    memset(longest, 'A', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    write_file(path, longest, 0600);
    assert_error(KN_E_KEY_TEXT, kn_hmac_key_read(path, &key));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_error(KN_E_KEY_FILE, kn_hmac_key_read(path, &key));
    assert_detail("regular file");
    assert_int_equal(unlink(path), 0);
    assert_error(KN_E_KEY_FILE, kn_hmac_key_read(dir, &key));
    assert_int_equal(rmdir(dir), 0);
    assert_null(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64_of_every_length),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
