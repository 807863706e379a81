/* A PIN that the program is asked for: through the UI of a store, and through a decoder's pass phrase callback. */
#include "support/p11_raw.h"
#include "support/prov.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *typed; /* what the user types; NULL: cancels */
static unsigned asked;
static char prompt[256];

static int open_ui(UI *ui)
{
    (void)ui;
    return 1;
}

static int write_ui(UI *ui, UI_STRING *text)
{
    (void)ui;
    (void)snprintf(prompt, sizeof prompt, "%s", UI_get0_output_string(text));
    return 1;
}

static int read_ui(UI *ui, UI_STRING *text)
{
    if (UI_get_string_type(text) != UIT_PROMPT)
        return 1;
    asked++;
    return typed ? UI_set_result(ui, text, typed) == 0 : -1;
}

static UI_METHOD *method(void)
{
    UI_METHOD *ui = UI_create_method("a user of the test");
    assert_non_null(ui);
    (void)UI_method_set_opener(ui, open_ui);
    (void)UI_method_set_writer(ui, write_ui);
    (void)UI_method_set_reader(ui, read_ui);
    return ui;
}

static int password(char *buffer, int size, int rwflag, void *arg)
{
    (void)rwflag, (void)arg;
    asked++;
    if (!typed || (int)strlen(typed) > size)
        return -1;
    memcpy(buffer, typed, strlen(typed));
    return (int)strlen(typed);
}

static const char *uri_of(const char *pin_source)
{
    static char uri[512];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s;type=private?module-path=%s%s%s", prov_token->label,
                   kn_algs[0].group, test_module, *pin_source ? "&pin-source=" : "", pin_source);
    return uri;
}

static EVP_PKEY *load(const prov *p, const char *uri, const UI_METHOD *ui)
{
    EVP_PKEY *pkey = NULL;
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, ui, NULL, NULL, NULL, NULL);
    assert_non_null(store);
    while (!OSSL_STORE_eof(store) && !pkey) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            pkey = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    (void)OSSL_STORE_close(store);
    return pkey;
}

static bool signs(const prov *p, EVP_PKEY *pkey)
{
    unsigned char signature[256];
    size_t length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL) == 1 &&
              EVP_DigestSign(ctx, signature, &length, (const unsigned char *)"x", 1) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static void start(const char *answer)
{
    typed = answer;
    asked = 0;
    *prompt = '\0';
}

static void a_store_asks_its_ui_once(void **state)
{
    UI_METHOD *ui = method();
    start(prov_token->pin);
    EVP_PKEY *pkey = load(*state, uri_of(""), ui);
    assert_non_null(pkey);
    assert_int_equal(asked, 1);
    assert_non_null(strstr(prompt, prov_token->label));
    assert_non_null(strstr(prompt, "PIN"));
    raw r = raw_open(prov_token); /* somebody else logs out: the PIN is used again, nobody is asked again */
    raw_logout(&r);
    raw_close(&r);
    assert_true(signs(*state, pkey));
    EVP_PKEY *again = load(*state, uri_of(""), ui);
    assert_non_null(again);
    assert_int_equal(asked, 1);
    EVP_PKEY_free(again);
    EVP_PKEY_free(pkey);
    UI_destroy_method(ui);
}

static void a_program_without_ui_is_not_asked(void **state)
{
    start(prov_token->pin);
    assert_null(load(*state, uri_of(""), NULL));
    const char *errors = prov_errors(); /* OpenSSL's own word of its missing UI is not among them */
    assert_non_null(strstr(errors, "wants a PIN"));
    assert_null(strstr(errors, "password"));
    assert_null(load(*state, uri_of("ask:"), NULL));
    prov_expect_error("wants a PIN", prov_token->label, NULL);
    assert_int_equal(asked, 0);
}

static void a_named_source_comes_before_the_user(void **state)
{
    UI_METHOD *ui = method();
    start(prov_token->pin);
    assert_null(load(*state, uri_of("/nonexistent/pin"), ui)); /* and its failure is an error, not a question */
    prov_expect_error("/nonexistent/pin", NULL);
    EVP_PKEY *pkey = load(*state, uri_of(prov_token->pin_file), ui);
    assert_non_null(pkey);
    EVP_PKEY_free(pkey);
    assert_int_equal(asked, 0);
    UI_destroy_method(ui);
}

static void a_user_who_cancels(void **state)
{
    UI_METHOD *ui = method();
    start(NULL);
    assert_null(load(*state, uri_of(""), ui));
    prov_expect_error("gave none", prov_token->label, NULL);
    assert_int_equal(asked, 1); /* once for all that the store was to load */
    start("");
    assert_null(load(*state, uri_of(""), ui));
    prov_expect_error("gave none", NULL);
    UI_destroy_method(ui);
}

static void a_user_who_errs(void **state)
{
    UI_METHOD *ui = method();
    start("0000-ui");
    assert_null(load(*state, uri_of(""), ui));
    assert_int_equal(asked, 1); /* no second question by itself */
    prov_expect_error("the PIN is wrong", prov_token->label, NULL);
    start(prov_token->pin);
    EVP_PKEY *pkey = load(*state, uri_of("ask:"), ui);
    assert_non_null(pkey);
    assert_int_equal(asked, 1);
    EVP_PKEY_free(pkey);
    UI_destroy_method(ui);
}

/* An alias with the public key, and one without. */
static char *alias_pem(const char *pin_source, const EVP_PKEY *public)
{
    kn_alias *alias = NULL;
    char *pem = NULL;
    kn_public expected;
    unsigned char *spki = NULL;
    if (public) {
        int length = i2d_PUBKEY(public, &spki);
        assert_true(length > 0);
        assert_false(kn_failed(kn_public_from_spki(spki, (size_t)length, &expected)));
        OPENSSL_free(spki);
    }
    assert_false(kn_failed(kn_alias_new(uri_of(pin_source), public ? &expected : NULL, &alias)));
    assert_false(kn_failed(kn_alias_to_pem(alias, &pem)));
    kn_alias_free(&alias);
    return pem;
}

static EVP_PKEY *read_pem(const prov *p, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, password, NULL, p->libctx, NULL);
    BIO_free(bio);
    return pkey;
}

static void a_file_that_says_ask(void **state)
{
    EVP_PKEY *public = prov_software_public(&kn_algs[0]);
    char *pem[2] = {alias_pem("ask:", NULL), alias_pem("ask:", public)};
    for (size_t i = 0; i < 2; i++) {
        prov_close(*state); /* each in a context that knows no PIN */
        prov_open(*state, ((prov *)*state)->order);
        start(prov_token->pin);
        EVP_PKEY *pkey = read_pem(*state, pem[i]);
        assert_non_null(pkey);
        assert_int_equal(asked, 1);
        assert_true(signs(*state, pkey)); /* here nobody could be asked any more */
        EVP_PKEY_free(pkey);
        free(pem[i]);
    }
    EVP_PKEY_free(public);
}

/* Its callback may be OpenSSL's own, which reads from the terminal or standard input. */
static void a_file_that_does_not_say_ask(void **state)
{
    char *pem = alias_pem("", NULL);
    start(prov_token->pin);
    assert_null(read_pem(*state, pem));
    assert_int_equal(asked, 0);
    prov_expect_error("wants a PIN", NULL);
    free(pem);
}

static void a_program_that_gives_none_to_a_file(void **state)
{
    EVP_PKEY *public = prov_software_public(&kn_algs[0]);
    char *pem = alias_pem("ask:", public);
    start(NULL);
    assert_null(read_pem(*state, pem));
    assert_int_equal(asked, 1);
    prov_expect_error("gave none", NULL);
    free(pem);
    EVP_PKEY_free(public);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(a_store_asks_its_ui_once),
        PROV_TEST(a_program_without_ui_is_not_asked),
        PROV_TEST(a_named_source_comes_before_the_user),
        PROV_TEST(a_user_who_cancels),
        PROV_TEST(a_user_who_errs),
        PROV_TEST(a_file_that_says_ask),
        PROV_TEST(a_file_that_does_not_say_ask),
        PROV_TEST(a_program_that_gives_none_to_a_file),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
