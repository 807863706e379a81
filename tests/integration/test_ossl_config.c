/* The provider's section of openssl.cnf: each setting does what it says, and a wrong one stops the provider. */
#include "support/module_leaks.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"
#include "support/prov.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A library context with a configuration of its own, which is also the default file, as it is for a program. @lines are
 * those of keynym's section. Returns whether keynym was loaded. */
static bool open_with(prov *p, const char *first, const char *second, const char *lines)
{
    char text[4096];
    (void)snprintf(text, sizeof text,
                   "openssl_conf = init\nconfig_diagnostics = 1\n[init]\nproviders = providers\n"
                   "[providers]\n%s = %s_section\n%s = %s_section\n[default_section]\nactivate = 1\n"
                   "[keynym_section]\nmodule = %s/keynym.so\nactivate = 1\n%s\n",
                   first, first, second, second, KEYNYM_MODULE_DIR, lines);
    test_token_write(prov_token, "config.cnf", text);
    const char *path = test_token_path(prov_token, "config.cnf");
    (void)setenv("OPENSSL_CONF", path, 1);
    *p = (prov){.libctx = OSSL_LIB_CTX_new()};
    (void)OSSL_LIB_CTX_load_config(p->libctx, path); /* of OpenSSL 3.0 that a provider failed is not to be learned here */
    return OSSL_PROVIDER_available(p->libctx, "keynym") == 1;
}

static void close_config(prov *p)
{
    OSSL_LIB_CTX_free(p->libctx);
    (void)unsetenv("OPENSSL_CONF");
}

/* @extra, the module and the file of the PIN. */
static const char *lines_of(const char *extra, const char *module)
{
    static char lines[1024];
    (void)snprintf(lines, sizeof lines, "%s\nmodule_path = %s\npin_source = %s", extra, module, prov_token->pin_file);
    return lines;
}

static const char *plain_uri(const char *object)
{
    static char uri[256];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s", prov_token->label, object);
    return uri;
}

static bool signs(const prov *p, EVP_PKEY *pkey)
{
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL) == 1 &&
              EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"text", 4) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static void expect_key(const prov *p)
{
    EVP_PKEY *pkey = prov_load(p, plain_uri(kn_algs[0].group));
    assert_non_null(pkey);
    assert_true(signs(p, pkey));
    EVP_PKEY_free(pkey);
    assert_string_equal(prov_errors(), "");
}

static void module_and_pin_by_configuration(void **state)
{
    prov p;
    (void)state;
    assert_true(open_with(&p, "default", "keynym", lines_of("", test_module)));
    expect_key(&p);
    close_config(&p);
    assert_true(open_with(&p, "keynym", "default", lines_of("", test_module)));
    expect_key(&p);
    close_config(&p);
}

/* Two modules, of which one cannot be loaded: named, when a key is looked for. */
static void several_modules(void **state)
{
    prov p;
    (void)state;
    char modules[512];
    (void)snprintf(modules, sizeof modules, "%s:/nonexistent/second.so", test_module);
    assert_true(open_with(&p, "default", "keynym", lines_of("", modules)));
    assert_null(prov_load(&p, plain_uri(kn_algs[0].group)));
    prov_expect_error("the PKCS#11 module cannot be loaded", "/nonexistent/second.so", NULL);
    close_config(&p);
}

/* SoftHSM is registered with p11-kit by its Debian package. */
static void a_registered_module_and_a_uri_need_no_configuration(void **state)
{
    prov p;
    char uri[512];
    (void)state;
    assert_true(open_with(&p, "default", "keynym", ""));
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-source=%s", prov_token->label, kn_algs[0].group,
                   prov_token->pin_file);
    EVP_PKEY *pkey = prov_load(&p, uri);
    assert_non_null(pkey);
    assert_true(signs(&p, pkey));
    EVP_PKEY_free(pkey);
    assert_string_equal(prov_errors(), "");
    close_config(&p);
}

static unsigned logins(shim *s)
{
    return atomic_load(&s->calls[SHIM_C_Login]);
}

static int load_certificate(const prov *p)
{
    char uri[300];
    (void)snprintf(uri, sizeof uri, "%s;type=cert", plain_uri(kn_algs[0].group));
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    int got = info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT;
    OSSL_STORE_INFO_free(info);
    (void)OSSL_STORE_close(store);
    return got;
}

static void login_when_needed_always_never(void **state)
{
    prov p;
    (void)state;
    shim *s = shim_new(prov_token);
    assert_true(open_with(&p, "default", "keynym", lines_of("", shim_module)));
    assert_true(load_certificate(&p)); /* the default */
    assert_int_equal(logins(s), 0);
    expect_key(&p);
    assert_int_equal(logins(s), 1);
    close_config(&p);

    shim_reset_calls(s);
    assert_true(open_with(&p, "default", "keynym",
                          lines_of("login = always", shim_module)));
    assert_true(load_certificate(&p));
    assert_int_equal(logins(s), 1);
    close_config(&p);

    shim_reset_calls(s);
    assert_true(open_with(&p, "default", "keynym",
                          lines_of("login = never", shim_module)));
    assert_null(prov_load(&p, plain_uri(kn_algs[0].group)));
    prov_expect_error("CKR_USER_NOT_LOGGED_IN", NULL);
    assert_int_equal(logins(s), 0);
    raw r = raw_open(prov_token); /* another part of the program logs in */
    expect_key(&p);
    assert_int_equal(logins(s), 0);
    raw_close(&r);
    close_config(&p);
    ERR_clear_error();
    shim_free(&s);
}

static void sessions_max_is_kept(void **state)
{
    prov p;
    (void)state;
    shim *s = shim_new(prov_token);
    assert_true(open_with(&p, "default", "keynym",
                          lines_of("sessions_max = 1", shim_module)));
    expect_key(&p);
    assert_int_equal(atomic_load(&s->sessions), 1);
    EVP_PKEY *a = prov_load(&p, plain_uri(kn_algs[0].group)), *b = prov_load(&p, plain_uri(kn_algs[1].group));
    assert_true(signs(&p, a) && signs(&p, b)); /* two keys take turns */
    assert_int_equal(atomic_load(&s->calls[SHIM_C_OpenSession]), 1);
    EVP_PKEY_free(a);
    EVP_PKEY_free(b);
    close_config(&p);
    shim_free(&s);
}

/* Standard error goes to a file; returns what brings it back. */
static int catch_stderr(const char *path)
{
    (void)fflush(stderr);
    int saved = dup(STDERR_FILENO), file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    (void)close(file);
    return saved;
}

static void release_stderr(int saved)
{
    (void)fflush(stderr);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
}

/* OpenSSL goes on without the provider and drops what it put on the error queue: the line on standard error is left. */
static void a_wrong_line_stops_the_provider(void **state)
{
    static const struct {
        const char *line, *named;
    } rows[] = {
        {"modul_path = /usr/lib/a.so", "'modul_path' is no setting"},
        {"pin-source = /etc/pin", "'pin-source' is no setting"},
        {"pin_value = 1234", "'pin_value' is no setting"},
        {"pkcs11-module-path = /usr/lib/a.so", "'pkcs11-module-path' is no setting"},
        {"module_path = a.so", "module_path = a.so"},
        {"pin_source = 1234", "pin_source: an absolute path"},
        {"login = maybe", "login = maybe"},
        {"sessions_max = 0", "sessions_max = 0"},
        {"session_wait_ms = soon", "session_wait_ms = soon"},
        {"log_level = loud", "log_level = loud"},
    };
    (void)state;
    for (int order = 0; order < 2; order++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            prov p;
            const char *path = test_token_path(prov_token, "stderr");
            int saved = catch_stderr(path);
            bool loaded = open_with(&p, order ? "keynym" : "default", order ? "default" : "keynym", rows[i].line);
            release_stderr(saved);
            assert_false(loaded);
            char *line = prov_read(path);
            assert_non_null(strstr(line, "keynym: the configuration is not valid"));
            assert_non_null(strstr(line, rows[i].named));
            assert_non_null(strstr(line, "docs/configuration.md"));
            assert_null(strstr(line, "1234"));
            free(line);
            close_config(&p);
        }
}

/* What OpenSSL itself takes is no unknown setting, nor is what stands in a section of another provider. */
static void openssls_own_lines_are_let_through(void **state)
{
    prov p;
    char text[1024];
    (void)state;
    assert_true(open_with(&p, "default", "keynym", "soft_load = 0"));
    close_config(&p);
    (void)snprintf(text, sizeof text,
                   "openssl_conf = init\n[init]\nproviders = providers\n[providers]\nother = other_section\nkeynym = mine\n"
                   "[other_section]\nsome = thing\n[mine]\nmodule = /nonexistent.so\nunheard = of\n");
    test_token_write(prov_token, "other.cnf", text);
    (void)setenv("OPENSSL_CONF", test_token_path(prov_token, "other.cnf"), 1);
    prov_open(&p, PROV_DEFAULT_FIRST); /* loaded by the program, and not by the section "mine" */
    prov_close(&p);
    (void)unsetenv("OPENSSL_CONF");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(module_and_pin_by_configuration),
        cmocka_unit_test(several_modules),
        cmocka_unit_test(a_registered_module_and_a_uri_need_no_configuration),
        cmocka_unit_test(login_when_needed_always_never),
        cmocka_unit_test(sessions_max_is_kept),
        cmocka_unit_test(a_wrong_line_stops_the_provider),
        cmocka_unit_test(openssls_own_lines_are_let_through),
    };
    keep_modules();
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
