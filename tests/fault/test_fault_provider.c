/* What a program sees through OpenSSL: contexts that wait hold no session, and a failure is on the error queue. */
#include "fault/fault.h"
#include "support/prov.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>

static shim *s;
static EVP_PKEY *pkey;

static void open_key(const prov *p)
{
    char uri[512];
    s = shim_new(prov_token);
    shim_calm(s);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s", prov_token->label,
                   kn_algs[0].group, prov_token->pin_file, shim_module);
    pkey = prov_load(p, uri);
    assert_non_null(pkey);
}

static void close_key(void)
{
    EVP_PKEY_free(pkey);
    shim_calm(s);
    shim_free(&s);
}

static bool verifies(const unsigned char *signature, size_t length, unsigned char text)
{
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, software, NULL) == 1 &&
                EVP_DigestVerify(ctx, signature, length, &text, 1) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(software);
    return good;
}

static void open_contexts_hold_no_session(void **state)
{
    enum { CONTEXTS = 16, SESSIONS = 6 };
    const prov *p = *state;
    EVP_MD_CTX *ctx[CONTEXTS];
    open_key(p);
    atomic_store(&s->session_cap, SESSIONS);
    atomic_store(&s->told_session_count, SESSIONS);
    for (unsigned char i = 0; i < CONTEXTS; i++) {
        ctx[i] = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit_ex(ctx[i], NULL, "SHA256", p->libctx, NULL, pkey, NULL), 1);
        assert_int_equal(EVP_DigestSignUpdate(ctx[i], &i, 1), 1);
    }
    for (unsigned char i = 0; i < CONTEXTS; i++) {
        unsigned char signature[256];
        size_t length = sizeof signature;
        assert_int_equal(EVP_DigestSignFinal(ctx[i], signature, &length), 1);
        assert_true(verifies(signature, length, i));
        EVP_MD_CTX_free(ctx[i]);
    }
    assert_true(atomic_load(&s->sessions) <= 1);
    close_key();
    fault_row("peers", "16 open digest-sign contexts, 6 sessions", "all sign; one session is used");
}

static int sign(const prov *p)
{
    unsigned char signature[256], text = 1;
    size_t length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done = EVP_DigestSignInit_ex(ctx, NULL, "SHA256", p->libctx, NULL, pkey, NULL) == 1 &&
               EVP_DigestSign(ctx, signature, &length, &text, 1) == 1;
    EVP_MD_CTX_free(ctx);
    return done;
}

static void a_failure_is_on_the_error_queue(void **state)
{
    static const CK_RV values[] = {CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_FUNCTION_CANCELED};
    const prov *p = *state;
    open_key(p);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        ERR_clear_error();
        shim_fail(s, SHIM_C_Sign, values[i], 1);
        assert_false(sign(p));
        prov_expect_error("C_Sign on token", "CKR_", NULL);
        assert_true(sign(p));
        assert_int_equal(ERR_peek_error(), 0); /* and a success leaves nothing there */
        shim_fail(s, SHIM_C_SignInit, CKR_DEVICE_ERROR, 1);
        assert_true(sign(p));
        assert_int_equal(ERR_peek_error(), 0);
    }
    close_key();
}

static void the_token_comes_back(void **state)
{
    const prov *p = *state;
    open_key(p);
    assert_true(sign(p));
    for (unsigned long slot = 0; slot < 3; slot++) {
        shim_take_out(s);
        assert_false(sign(p));
        prov_expect_error("the token was removed", NULL);
        shim_put_in(s, slot);
        assert_true(sign(p));
        assert_int_equal(ERR_peek_error(), 0);
    }
    close_key();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(open_contexts_hold_no_session),
        PROV_TEST(a_failure_is_on_the_error_queue),
        PROV_TEST(the_token_comes_back),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
