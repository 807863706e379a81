#include "token.h"

#include "kn_pin.h"
#include "kn_token.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const test_module = SOFTHSM2_MODULE;

#ifdef __SANITIZE_THREAD__
/* SoftHSM 2.6.1 calls gmtime() in C_GetTokenInfo without a lock. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libsofthsm2.so\n";
}
#endif

static void stop(const char *what)
{
    fprintf(stderr, "test token: %s: %s\n", what, kn_err_detail());
    abort();
}

static char *static_buffer(void)
{
    static _Thread_local char buffers[8][512];
    static _Thread_local unsigned next;
    return buffers[next++ % 8];
}

static void random_pin(char pin[17])
{
    unsigned char bytes[8];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        stop("no random bytes");
    for (int i = 0; i < 8; i++)
        (void)snprintf(pin + 2 * i, 3, "%02x", bytes[i]);
}

const char *test_token_path(const test_token *token, const char *name)
{
    char *path = static_buffer();
    (void)snprintf(path, 512, "%s/%s", token->dir, name);
    return path;
}

void test_token_write(const test_token *token, const char *name, const char *text)
{
    const char *path = test_token_path(token, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        stop(path);
    (void)chmod(path, 0600);
}

kn_ctx *test_token_context(const test_token *token)
{
    kn_ctx *ctx = NULL;
    kn_config config = {.module_path = test_module, .pin_source = token->pin_file};
    if (kn_failed(kn_ctx_new(&config, &ctx)))
        stop("kn_ctx_new");
    return ctx;
}

void test_token_add(const test_token *token, const char *label)
{
    char uri[128];
    kn_secret *pin = NULL, *so_pin = NULL;
    kn_ctx *ctx = test_token_context(token);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s", label);
    if (kn_failed(kn_pin_read(token->so_pin_file, &so_pin)) ||
        kn_failed(kn_pin_read(token->pin_file, &pin)) || kn_failed(kn_token_init(ctx, uri, so_pin, pin)))
        stop("kn_token_init");
    kn_secret_free(&pin);
    kn_secret_free(&so_pin);
    kn_ctx_unref(&ctx);
}

test_token *test_token_new(const char *label)
{
    char text[256], so_pin[17];
    test_token *token = calloc(1, sizeof *token);
    if (!token)
        stop("out of memory");
    token->label = label;
    (void)snprintf(token->dir, sizeof token->dir, "/tmp/keynym-test.XXXXXX");
    if (!mkdtemp(token->dir))
        stop("mkdtemp");
    (void)mkdir(test_token_path(token, "tokens"), 0700);
    (void)snprintf(text, sizeof text,
                   "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
                   "slots.removable = false\n",
                   token->dir);
    test_token_write(token, "softhsm2.conf", text);
    (void)setenv("SOFTHSM2_CONF", test_token_path(token, "softhsm2.conf"), 1);
    random_pin(token->pin);
    random_pin(so_pin);
    test_token_write(token, "pin", token->pin);
    test_token_write(token, "so-pin", so_pin);
    test_token_write(token, "wrong-pin", "not the PIN\n");
    (void)snprintf(token->pin_file, sizeof token->pin_file, "%s/pin", token->dir);
    (void)snprintf(token->so_pin_file, sizeof token->so_pin_file, "%s/so-pin", token->dir);
    (void)snprintf(token->wrong_pin_file, sizeof token->wrong_pin_file, "%s/wrong-pin", token->dir);
    test_token_add(token, label);
    return token;
}

const char *test_token_uri(const test_token *token, const char *object)
{
    char *uri = static_buffer();
    (void)snprintf(uri, 512, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s", token->label, object,
                   token->pin_file, test_module);
    return uri;
}

void test_token_free(test_token **token)
{
    char command[128];
    if (!*token)
        return;
    (void)snprintf(command, sizeof command, "rm -rf -- '%s'", (*token)->dir);
    if (system(command))
        fprintf(stderr, "test token: %s was not removed\n", (*token)->dir);
    explicit_bzero(*token, sizeof **token);
    free(*token);
    *token = NULL;
}
