/* Where a PIN is in the memory of the process: nowhere that a core dump takes along, and nowhere at all after use.
 *
 * The PIN reaches our code, and the pass-through module, which fails C_Login itself: what SoftHSM keeps is not ours. It is looked for
 * byte by byte, in disguise, so that neither the test nor what it looks with holds the PIN. */
#include "kn_key.h"
#include "kn_pin.h"
#include "kn_token.h"

#include "pkcs11/p11_uri.h"
#include "support/kn_check.h"
#include "support/p11_shim.h"

#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PIN_BYTES 48
#define TAIL      16 /* what is looked for begins here: free() overwrites what is before it, and no more */
#define MASK      0x5a

static unsigned char disguised[PIN_BYTES]; /* each byte of the PIN, but for MASK */
static test_token *token;
static shim *s;
static char pin_path[512];

typedef struct places {
    unsigned dumped, kept_out;
} places;

static unsigned count_in(const unsigned char *from, const unsigned char *to)
{
    unsigned count = 0;
    for (; from + PIN_BYTES - TAIL <= to; from++) {
        size_t i = TAIL;
        while (i < PIN_BYTES && (from[i - TAIL] ^ MASK) == disguised[i])
            i++;
        count += i == PIN_BYTES;
    }
    return count;
}

/* Reads of /proc/self/smaps go through a buffer that holds no PIN. */
static places look(void)
{
    static char line[512];
    places found = {0, 0};
    unsigned long low = 0, high = 0;
    bool readable = false, device = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        unsigned long a, b;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &a, &b, rights) == 3) {
            low = a;
            high = b;
            readable = rights[0] == 'r' && rights[1] == 'w'; /* what cannot be written holds no PIN */
            device = strstr(line, "[v") != NULL || strstr(line, "/dev/") != NULL;
        } else if (!strncmp(line, "VmFlags:", 8) && readable && !device) {
            unsigned count = count_in((const unsigned char *)low, (const unsigned char *)high);
            if (strstr(line, " dd"))
                found.kept_out += count;
            else
                found.dumped += count;
        }
    }
    (void)fclose(file);
    return found;
}

static void undisguise(unsigned char *ret_pin)
{
    for (size_t i = 0; i < PIN_BYTES; i++)
        ret_pin[i] = disguised[i] ^ MASK;
}

static void write_pin(void)
{
    unsigned char pin[PIN_BYTES];
    (void)snprintf(pin_path, sizeof pin_path, "%s", test_token_path(token, "memory-pin"));
    int fd = open(pin_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    undisguise(pin);
    assert_int_equal(write(fd, pin, PIN_BYTES), PIN_BYTES);
    explicit_bzero(pin, sizeof pin);
    assert_int_equal(close(fd), 0);
}

static int start(void **state)
{
    (void)state;
    token = test_token_new("memory");
    s = shim_new(token);
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, disguised, PIN_BYTES), PIN_BYTES);
    (void)close(fd);
    for (size_t i = 0; i < PIN_BYTES; i++) /* letters, so that it can stand in a URI */
        disguised[i] = (unsigned char)(('a' + disguised[i] % 26) ^ MASK);
    write_pin();
    return 0;
}

static int finish(void **state)
{
    (void)state;
    shim_free(&s);
    test_token_free(&token);
    return 0;
}

static void expect(unsigned dumped, unsigned kept_out)
{
    places found = look();
    assert_int_equal(found.dumped, dumped);
    assert_int_equal(found.kept_out, kept_out);
}

/* The test finds what is planted: in the heap, on the stack, in a static buffer. */
static void test_what_is_planted_is_found(void **state)
{
    static unsigned char fixed[PIN_BYTES];
    unsigned char local[PIN_BYTES], *heap = malloc(PIN_BYTES);
    (void)state;
    expect(0, 0);
    undisguise(heap);
    expect(1, 0);
    undisguise(local);
    expect(2, 0);
    undisguise(fixed);
    expect(3, 0);
    explicit_bzero(fixed, sizeof fixed);
    explicit_bzero(local, sizeof local);
    explicit_bzero(heap, PIN_BYTES);
    free(heap);
    expect(0, 0);
}

static void test_reading(void **state)
{
    kn_secret *secret = NULL;
    (void)state;
    assert_ok(kn_pin_read(pin_path, &secret));
    expect(0, 1);
    kn_secret_free(&secret);
    expect(0, 0);
    int fd = open(pin_path, O_RDONLY | O_CLOEXEC), ends[2];
    char source[16];
    (void)snprintf(source, sizeof source, "fd:%d", fd);
    assert_ok(kn_pin_read(source, &secret));
    expect(0, 1);
    kn_secret_free(&secret);
    (void)close(fd);
    expect(0, 0);
    unsigned char pin[PIN_BYTES];
    assert_int_equal(pipe(ends), 0);
    undisguise(pin);
    assert_int_equal(write(ends[1], pin, PIN_BYTES), PIN_BYTES);
    explicit_bzero(pin, sizeof pin);
    (void)close(ends[1]);
    int high = fcntl(ends[0], F_DUPFD_CLOEXEC, 200); /* a number that was not used before */
    (void)close(ends[0]);
    (void)snprintf(source, sizeof source, "fd:%d", high);
    assert_ok(kn_pin_read(source, &secret));
    expect(0, 2); /* one of them is kept */
    kn_secret_free(&secret);
    expect(0, 1);
    (void)close(high);
}

static kn_err open_key(kn_ctx *ctx, const char *uri)
{
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    kn_err err = kn_alias_new(uri, NULL, &alias);
    if (!kn_failed(err))
        err = kn_key_open(ctx, alias, &key);
    kn_key_unref(&key);
    kn_alias_free(&alias);
    return err;
}

static void login_leaves_nothing(CK_RV rv, kn_code code, unsigned kept)
{
    shim_fail(s, SHIM_C_Login, rv, 100);
    kn_ctx *ctx = shim_context(pin_path);
    for (int i = 0; i < 3; i++)
        assert_error(code, open_key(ctx, "pkcs11:token=memory;object=x"));
    expect(0, kept);
    kn_ctx_unref(&ctx);
    expect(0, kept);
}

static void test_logging_in(void **state)
{
    unsigned kept = look().kept_out; /* of the pipe */
    (void)state;
    login_leaves_nothing(CKR_GENERAL_ERROR, KN_E_TOKEN_FAILED, kept);
    login_leaves_nothing(CKR_PIN_LOCKED, KN_E_PIN_LOCKED, kept);
    login_leaves_nothing(CKR_PIN_INCORRECT, KN_E_PIN_INCORRECT, kept); /* and the hash of it is none */
}

static void test_pin_value_in_a_uri(void **state)
{
    unsigned kept = look().kept_out;
    char uri[128];
    (void)state;
    shim_fail(s, SHIM_C_Login, CKR_GENERAL_ERROR, 100);
    kn_ctx *ctx = shim_context(NULL);
    int n = snprintf(uri, sizeof uri, "pkcs11:token=memory;object=x?pin-value=");
    undisguise((unsigned char *)uri + n);
    uri[n + PIN_BYTES] = '\0';
    p11_uri *parsed = NULL;
    assert_ok(p11_uri_new(uri, &parsed));
    expect(2, kept + 1); /* the caller's, p11-kit's and ours */
    p11_uri_free(&parsed);
    expect(1, kept);
    assert_true(kn_failed(open_key(ctx, uri)));
    explicit_bzero(uri, sizeof uri);
    expect(0, kept);
    kn_ctx_unref(&ctx);
}

static void test_typed_pin(void **state)
{
    unsigned kept = look().kept_out;
    kn_secret *pin = NULL;
    (void)state;
    kn_ctx *ctx = shim_context(NULL);
    assert_ok(kn_secret_new_empty(PIN_BYTES, &pin));
    undisguise(kn_secret_room(pin));
    kn_secret_set_length(pin, PIN_BYTES);
    shim_fail(s, SHIM_C_Login, CKR_GENERAL_ERROR, 100);
    assert_error(KN_E_TOKEN_FAILED, kn_token_login(ctx, "pkcs11:token=memory", pin));
    kn_secret_free(&pin);
    expect(0, kept + 1); /* kept for logging in again */
    kn_ctx_unref(&ctx);
    expect(0, kept);
}

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)printf("skipped: a sanitizer's own memory is as large as the address space\n");
    return 0;
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_planted_is_found), cmocka_unit_test(test_reading),
        cmocka_unit_test(test_typed_pin),                cmocka_unit_test(test_pin_value_in_a_uri),
        cmocka_unit_test(test_logging_in), /* the last: there the PIN becomes one that is known to be wrong */
    };
    return cmocka_run_group_tests(tests, start, finish);
#endif
}
