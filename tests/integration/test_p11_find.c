/* Finding exactly one token, and on it exactly one key. */
#include "kn_key.h"
#include "kn_token.h"

#include "support/certs.h"
#include "support/kn_check.h"
#include "support/p11_raw.h"
#include "support/p11_shim.h"

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static test_token *token;

static int make_token(void **state)
{
    (void)state;
    token = test_token_new("find");
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    test_token_free(&token);
    return 0;
}

static kn_err open_in(kn_ctx *ctx, const char *uri, kn_key **ret_key)
{
    kn_alias *alias = NULL;
    assert_ok(kn_alias_new(uri, NULL, &alias));
    kn_err err = kn_key_open(ctx, alias, ret_key);
    kn_alias_free(&alias);
    return err;
}

/* In a context of its own. */
static void opens(const char *uri)
{
    uint8_t digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = NULL;
    kn_check_code(open_in(ctx, uri, &key), KN_OK, uri, __FILE__, __LINE__);
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
}

static void refused(kn_code code, const char *uri)
{
    kn_ctx *ctx = test_token_context(token);
    kn_key *key = (kn_key *)8;
    kn_check_code(open_in(ctx, uri, &key), code, uri, __FILE__, __LINE__);
    assert_ptr_equal(key, (kn_key *)8);
    kn_ctx_unref(&ctx);
}

static void plant(const char *label, const char *id)
{
    raw r = raw_open(token);
    (void)raw_generate(&r, &(raw_key){.label = label, .id = id, .sensitive = true});
    raw_close(&r);
}

static void test_two_keys_of_one_label(void **state)
{
    (void)state;
    plant("twin", "t1");
    plant("twin", "t2");
    refused(KN_E_AMBIGUOUS, "pkcs11:token=find;object=twin");
    assert_detail("7431"); /* the ids, in hexadecimal */
    assert_detail("7432");
    assert_detail("'find'");
    opens("pkcs11:token=find;object=twin;id=t1");
    opens("pkcs11:token=find;id=t2");
    opens("pkcs11:token=find;id=%74%32");
    refused(KN_E_NO_KEY, "pkcs11:token=find;object=twin;id=t3");
}

static void test_no_name_at_all(void **state)
{
    (void)state;
    test_token_add(token, "find-one");
    test_token single = *token;
    single.label = "find-one";
    refused(KN_E_NO_KEY, "pkcs11:token=find-one");
    raw r = raw_open(&single);
    (void)raw_generate(&r, &(raw_key){.label = "only", .id = "o", .sensitive = true});
    raw_close(&r);
    opens("pkcs11:token=find-one");
    opens("pkcs11:token=find-one;type=private");
    r = raw_open(&single);
    (void)raw_generate(&r, &(raw_key){.label = "second", .id = "s", .sensitive = true});
    raw_close(&r);
    refused(KN_E_AMBIGUOUS, "pkcs11:token=find-one");
}

static void test_no_such_key(void **state)
{
    (void)state;
    plant("there", "th");
    refused(KN_E_NO_KEY, "pkcs11:token=find;object=ther");
    refused(KN_E_NO_KEY, "pkcs11:token=find;object=There");
    refused(KN_E_NO_KEY, "pkcs11:token=find;object=there;id=%01");
    refused(KN_E_NO_KEY, "pkcs11:token=find;object=there;type=cert");
    opens("pkcs11:token=find;object=there");
    opens("pkcs11:token=find;object=there;type=public");
}

static void test_no_such_token(void **state)
{
    (void)state;
    plant("lonely", "l");
    refused(KN_E_NO_TOKEN, "pkcs11:token=fin;object=lonely");
    assert_detail("token=fin");
    assert_detail("'find' (serial ");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;serial=0000;object=lonely");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;model=other;object=lonely");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;manufacturer=other;object=lonely");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;library-manufacturer=other;object=lonely");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;slot-manufacturer=other;object=lonely");
    refused(KN_E_NO_TOKEN, "pkcs11:token=find;slot-id=4711;object=lonely");
    opens("pkcs11:token=find;model=SoftHSM%20v2;manufacturer=SoftHSM%20project;object=lonely");
    opens("pkcs11:token=find;library-manufacturer=SoftHSM;slot-manufacturer=SoftHSM%20project;object=lonely");
}

static void note_token(const kn_token_info *info, void *arg)
{
    kn_token_info *out = arg;
    if (!strcmp(info->label, out->label))
        *out = *info;
}

static void test_two_tokens_match(void **state)
{
    char uri[128];
    (void)state;
    plant("both", "b");
    test_token_add(token, "find-more");
    refused(KN_E_AMBIGUOUS_TOKEN, "pkcs11:model=SoftHSM%20v2;object=both");
    assert_detail("'find' (serial ");
    assert_detail("'find-more' (serial ");
    refused(KN_E_AMBIGUOUS_TOKEN, "pkcs11:object=both");

    kn_ctx *ctx = test_token_context(token);
    kn_token_info info = {.label = "find"};
    assert_ok(kn_token_list(ctx, note_token, &info));
    assert_true(info.initialised && info.login_required && info.pin_set);
    assert_true(*info.serial);
    kn_ctx_unref(&ctx);
    (void)snprintf(uri, sizeof uri, "pkcs11:serial=%s;object=both", info.serial);
    opens(uri);
    (void)snprintf(uri, sizeof uri, "pkcs11:slot-id=%lu;object=both", info.slot);
    opens(uri);
}

static void test_modules_that_cannot_be_loaded(void **state)
{
    char uri[256];
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    (void)state;
    refused(KN_E_MODULE_LOAD, "pkcs11:token=find;object=x?module-path=/nonexistent/module.so");
    assert_detail("/nonexistent/module.so");
    assert_detail("No such file");
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    test_token_write(token, "no-module.so", text);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=find;object=x?module-path=%s", test_token_path(token, "no-module.so"));
    refused(KN_E_MODULE_LOAD, uri);
    assert_detail("no-module.so");
    assert_detail("invalid ELF header");

    const kn_config config = {.module_path = "/nonexistent/module.so", .pin_source = token->pin_file};
    assert_ok(kn_ctx_new(&config, &ctx)); /* touches no module */
    assert_error(KN_E_MODULE_LOAD, open_in(ctx, "pkcs11:token=find;object=x", &key));
    assert_detail("No such file");
    kn_ctx_unref(&ctx);

    refused(KN_E_NO_MODULE, "pkcs11:token=find;object=x?module-name=no-such-module");
    assert_detail("no-such-module");
}

static void test_module_that_does_not_start(void **state)
{
    kn_key *key = NULL;
    (void)state;
    plant("late", "la");
    shim *s = shim_new(token);
    shim_fail(s, SHIM_C_Initialize, CKR_GENERAL_ERROR, 1);
    kn_ctx *ctx = shim_context(token->pin_file);
    assert_error(KN_E_MODULE_INIT, open_in(ctx, "pkcs11:token=find;object=late", &key));
    assert_detail("CKR_GENERAL_ERROR");
    assert_ok(open_in(ctx, "pkcs11:token=find;object=late", &key)); /* it is not in error for ever */
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

/* A module that one URI names with module-path is not searched for other URIs: what they mean would depend on what was
 * opened before. */
static void test_module_of_one_uri_only(void **state)
{
    char uri[256];
    kn_key *first = NULL, *second = NULL;
    (void)state;
    plant("modules", "mo");
    shim *s = shim_new(token);
    kn_ctx *ctx = test_token_context(token);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=find;object=modules?module-path=%s", shim_module);
    assert_ok(open_in(ctx, uri, &first));
    assert_true(shim_total(s) > 0);
    shim_reset_calls(s);
    assert_ok(open_in(ctx, "pkcs11:token=find;object=modules", &second));
    assert_int_equal(shim_total(s), 0);
    kn_key_unref(&first);
    kn_key_unref(&second);
    kn_ctx_unref(&ctx);

    (void)snprintf(uri, sizeof uri, "%s:%s", test_module, shim_module); /* configured, both count */
    const kn_config both = {.module_path = uri, .pin_source = token->pin_file};
    assert_ok(kn_ctx_new(&both, &ctx));
    assert_error(KN_E_AMBIGUOUS_TOKEN, open_in(ctx, "pkcs11:token=find;object=modules", &first));
    kn_ctx_unref(&ctx);
    shim_free(&s);
}

/* Private and public object of "nopub" go; an import leaves the private one alone. */
static void test_public_part_from_where_it_is(void **state)
{
    (void)state;
    EVP_PKEY *pkey = test_key_new("P-256");
    raw r = raw_open(token);
    (void)raw_import(&r, &(raw_key){.label = "nopub", .id = "np", .sensitive = true}, pkey);
    raw_close(&r);
    refused(KN_E_NO_PUBLIC, "pkcs11:token=find;object=nopub");

    uint8_t *spki = NULL, digest[32] = {1}, signature[KN_ECDSA_DER_MAX];
    size_t length;
    kn_public public;
    int spki_length = i2d_PUBKEY(pkey, &spki);
    assert_ok(kn_public_from_spki(spki, (size_t)spki_length, &public));
    OPENSSL_free(spki);
    kn_ctx *ctx = test_token_context(token);
    kn_alias *alias = NULL;
    kn_key *key = NULL;
    assert_ok(kn_alias_new("pkcs11:token=find;object=nopub", &public, &alias));
    assert_ok(kn_key_open(ctx, alias, &key));
    assert_ok(kn_key_sign(key, &kn_sign_ecdsa, digest, sizeof digest, signature, &length));
    kn_key_unref(&key);
    kn_alias_free(&alias);

    /* a certificate under another label, but with the key's id */
    X509 *certificate = test_cert_new("device", pkey, NULL, pkey, false);
    r = raw_open(token);
    raw_certificate(&r, "a certificate", "np", certificate);
    raw_close(&r);
    assert_ok(open_in(ctx, "pkcs11:token=find;object=nopub", &key));
    assert_true(kn_public_equal(kn_key_public(key), &public));
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    X509_free(certificate);
    EVP_PKEY_free(pkey);
}

static void test_many_certificates_of_the_label(void **state)
{
    (void)state;
    plant("crowd", "cr");
    EVP_PKEY *pkey = test_key_new("P-256");
    raw r = raw_open(token);
    for (int i = 0; i < 20; i++) {
        char id[8];
        X509 *certificate = test_cert_new("crowd", pkey, NULL, pkey, false);
        (void)snprintf(id, sizeof id, "x%d", i);
        raw_certificate(&r, "crowd", id, certificate);
        X509_free(certificate);
    }
    raw_close(&r);
    opens("pkcs11:token=find;object=crowd");
    EVP_PKEY_free(pkey);
}

/* Keys without an id, as careless tools make them: label and label belong together. */
static void test_keys_without_id(void **state)
{
    (void)state;
    plant("plain", "");
    opens("pkcs11:token=find;object=plain");
}

static void test_a_size_is_refused_by_name(void **state)
{
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG bits = 1024;
    char label[] = "rsa";
    CK_ATTRIBUTE public[] = {{CKA_MODULUS_BITS, &bits, sizeof bits}, {CKA_TOKEN, &yes, 1}, {CKA_LABEL, label, 3}};
    CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1}, {CKA_LABEL, label, 3}};
    CK_OBJECT_HANDLE handles[2];
    (void)state;
    raw r = raw_open(token);
    assert_int_equal(r.fn->C_GenerateKeyPair(r.session, &mechanism, public, 3, private, 2, &handles[0], &handles[1]),
                     CKR_OK);
    raw_close(&r);
    refused(KN_E_KEY_TYPE, "pkcs11:token=find;object=rsa");
    assert_detail("1024 bits");
}

static void count_row(const kn_object_info *info, void *arg)
{
    unsigned *count = arg;
    if (!strcmp(info->label, "listed")) {
        count[info->is_key ? 0 : 1]++;
        assert_string_equal(info->id, "6c69");
        assert_string_equal(info->kind, info->is_key ? "EC:P-256" : "X.509");
    }
}

static void test_list_of_objects(void **state)
{
    unsigned count[2] = {0, 0};
    (void)state;
    plant("listed", "li");
    EVP_PKEY *pkey = test_key_new("P-256");
    X509 *certificate = test_cert_new("listed", pkey, NULL, pkey, false);
    raw r = raw_open(token);
    raw_certificate(&r, "listed", "li", certificate);
    raw_close(&r);
    kn_ctx *ctx = test_token_context(token);
    assert_ok(kn_token_objects(ctx, "pkcs11:token=find", count_row, count));
    assert_int_equal(count[0], 1);
    assert_int_equal(count[1], 1);
    r = raw_open(token); /* somebody in this process logs out: the keys must not be missing from the list */
    raw_logout(&r);
    count[0] = 0;
    assert_ok(kn_token_objects(ctx, "pkcs11:token=find", count_row, count));
    assert_int_equal(count[0], 1);
    raw_close(&r);
    kn_ctx_unref(&ctx);
    X509_free(certificate);
    EVP_PKEY_free(pkey);
}

#define NOBODY 65534

static int give_away(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)flag, (void)at;
    return lchown(path, NOBODY, NOBODY);
}

/* Where a process that is not root can read it. */
static void copy_shim(const char *path)
{
    char bytes[65536];
    size_t length;
    FILE *from = fopen(shim_module, "r"), *to = fopen(path, "w");
    assert_true(from && to);
    while ((length = fread(bytes, 1, sizeof bytes, from)) > 0)
        assert_int_equal(fwrite(bytes, 1, length, to), length);
    (void)fclose(from);
    assert_int_equal(fclose(to), 0);
}

/* In a process that is not root, since root's p11-kit reads no user's configuration. The URI names one of two registered
 * modules; both serve the token. Says by its exit status what went wrong. */
static int child_of_module_name(shim *s, const char *uri_of_softhsm, const char *uri_of_counted)
{
    kn_ctx *ctx = NULL;
    kn_key *key = NULL;
    if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
        return 2;
    const kn_config config = {.pin_source = token->pin_file};
    if (kn_failed(kn_ctx_new(&config, &ctx)) || kn_failed(open_in(ctx, uri_of_softhsm, &key)))
        return 3;
    kn_key_unref(&key);
    if (atomic_load(&s->calls[SHIM_C_Initialize]) != 0)
        return 4; /* the other one was started, too */
    kn_ctx_unref(&ctx);
    if (kn_failed(kn_ctx_new(&config, &ctx)) || kn_failed(open_in(ctx, uri_of_counted, &key)))
        return 5;
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    if (atomic_load(&s->calls[SHIM_C_Initialize]) != 1 || atomic_load(&s->calls[SHIM_C_Finalize]) != 1)
        return 6;
    /* A name is one of p11-kit's also where modules are configured by path. */
    const kn_config with_path = {.pin_source = token->pin_file, .module_path = "/nonexistent/module.so"};
    if (kn_failed(kn_ctx_new(&with_path, &ctx)) || kn_failed(open_in(ctx, uri_of_counted, &key)))
        return 7;
    kn_key_unref(&key);
    kn_ctx_unref(&ctx);
    /* One that does not start hides nobody's tokens, and is named when none is found. */
    shim_fail(s, SHIM_C_Initialize, CKR_GENERAL_ERROR, 100);
    if (kn_failed(kn_ctx_new(&config, &ctx)) || kn_failed(open_in(ctx, "pkcs11:token=find;object=named", &key)))
        return 8;
    kn_key_unref(&key);
    if (open_in(ctx, "pkcs11:token=nosuch;object=named", &key).code != KN_E_NO_TOKEN ||
        !strstr(kn_err_detail(), "module counted does not start: CKR_GENERAL_ERROR"))
        return 9;
    kn_ctx_unref(&ctx);
    return 0;
}

static void test_module_name_starts_that_module_only(void **state)
{
    int status = 0;
    char text[600];
    (void)state;
    plant("named", "na");
    static const char *const directories[] = {".config", ".config/pkcs11", ".config/pkcs11/modules"};
    for (size_t i = 0; i < COUNT_OF(directories); i++)
        assert_int_equal(mkdir(test_token_path(token, directories[i]), 0700), 0);
    copy_shim(test_token_path(token, "counted.so"));
    (void)snprintf(text, sizeof text, "module: %s\n", test_token_path(token, "counted.so"));
    test_token_write(token, ".config/pkcs11/modules/counted.module", text);
    shim *s = shim_new(token);
    if (geteuid() == 0)
        assert_int_equal(nftw(token->dir, give_away, 8, FTW_PHYS), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("HOME", token->dir, 1);
        _exit(child_of_module_name(s, "pkcs11:token=find;object=named?module-name=softhsm2",
                                   "pkcs11:token=find;object=named?module-name=counted"));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    shim_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_keys_of_one_label),
        cmocka_unit_test(test_no_name_at_all),
        cmocka_unit_test(test_no_such_key),
        cmocka_unit_test(test_no_such_token),
        cmocka_unit_test(test_two_tokens_match),
        cmocka_unit_test(test_modules_that_cannot_be_loaded),
        cmocka_unit_test(test_module_that_does_not_start),
        cmocka_unit_test(test_module_of_one_uri_only),
        cmocka_unit_test(test_public_part_from_where_it_is),
        cmocka_unit_test(test_many_certificates_of_the_label),
        cmocka_unit_test(test_keys_without_id),
        cmocka_unit_test(test_a_size_is_refused_by_name),
        cmocka_unit_test(test_list_of_objects),
        cmocka_unit_test(test_module_name_starts_that_module_only),
    };
    return cmocka_run_group_tests(tests, make_token, remove_token);
}
