/* OSSL_STORE with pkcs11: URIs: what is loaded, and what is said when it cannot be. */
#include "support/p11_raw.h"
#include "support/prov.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Loads all of @uri and writes what it got: K a private key, P a public key, C a certificate, - nothing, ! a
 * failure. */
static const char *load_all(const prov *p, const char *uri, int expected)
{
    static char got[16];
    size_t n = 0;
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    if (!store)
        return "open!";
    if (expected)
        assert_int_equal(OSSL_STORE_expect(store, expected), 1);
    for (int i = 0; i < 8 && !OSSL_STORE_eof(store); i++) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        char letter = OSSL_STORE_error(store) ? '!' : '-';
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            letter = 'K';
        else if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PUBKEY)
            letter = 'P';
        else if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT)
            letter = 'C';
        got[n++] = letter;
        OSSL_STORE_INFO_free(info);
    }
    got[n] = '\0';
    assert_true(OSSL_STORE_eof(store));
    assert_int_equal(OSSL_STORE_close(store), 1);
    return got;
}

static const char *with_type(const char *object, const char *type)
{
    static char uri[512];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s%s%s?pin-source=%s&module-path=%s",
                   prov_token->label, object, *type ? ";type=" : "", type, prov_token->pin_file, test_module);
    return uri;
}

static void loads_what_is_expected(void **state)
{
    const char *uri = test_token_uri(prov_token, kn_algs[0].group);
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PKEY), "K");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_CERT), "C");
    assert_string_equal(load_all(*state, uri, 0), "KC");
}

static void loads_what_the_uri_says(void **state)
{
    const char *group = kn_algs[0].group;
    assert_string_equal(load_all(*state, with_type(group, "private"), 0), "K");
    assert_string_equal(load_all(*state, with_type(group, "public"), 0), "P");
    assert_string_equal(load_all(*state, with_type(group, "cert"), 0), "C");
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_PKEY), "K");
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, with_type(group, "public"), OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, with_type(group, "cert"), OSSL_STORE_INFO_CERT), "C");
}

static void loads_nothing_where_uri_and_caller_disagree(void **state)
{
    const char *group = kn_algs[0].group;
    assert_string_equal(load_all(*state, with_type(group, "private"), OSSL_STORE_INFO_CERT), "");
    assert_string_equal(load_all(*state, with_type(group, "cert"), OSSL_STORE_INFO_PKEY), "");
    assert_string_equal(load_all(*state, with_type(group, "public"), OSSL_STORE_INFO_PKEY), "");
    assert_string_equal(load_all(*state, with_type(group, ""), OSSL_STORE_INFO_CRL), "");
}

static void another_type_is_no_key(void **state)
{
    static const char *const types[] = {"data", "secret-key"};
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(load_all(*state, with_type(kn_algs[0].group, types[i]), 0), "!");
        prov_expect_error("no key matches", "type=", NULL);
    }
}

static void the_certificate_may_be_missing(void **state)
{
    const char *uri = test_token_uri(prov_token, kn_algs[1].group);
    assert_int_equal(load_all(*state, uri, 0)[0], 'K');
    assert_string_equal(prov_errors(), "");
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_CERT), "!");
    prov_expect_error("no certificate matches", kn_algs[1].group, NULL);
}

/* Some tokens keep public keys of others. */
static void a_public_key_alone_is_no_private_key(void **state)
{
    raw r = raw_open(prov_token);
    if (!raw_count(&r, CKO_PUBLIC_KEY, "only-public")) {
        (void)raw_generate(&r, &(raw_key){.label = "only-public", .id = "op", .sensitive = true});
        raw_delete(&r, CKO_PRIVATE_KEY, "only-public");
    }
    raw_close(&r);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "only-public"), OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("no key matches", "only a public key of that name", NULL);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "only-public"), OSSL_STORE_INFO_PUBKEY), "P");
    assert_string_equal(load_all(*state, with_type("only-public", "public"), 0), "P");
}

/* "=" needs no escape in a value (RFC 7512 section 2.3), so a label can look like another attribute. */
static void a_label_may_look_like_a_type(void **state)
{
    EVP_PKEY *public = prov_generate("xtype=cert", &kn_algs[0]);
    const char *uri = test_token_uri(prov_token, "xtype=cert");
    assert_int_equal(load_all(*state, uri, 0)[0], 'K');
    EVP_PKEY *pkey = prov_load(*state, uri);
    assert_int_equal(EVP_PKEY_eq(pkey, public), 1);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(public);
}

static void the_parts_belong_together(void **state)
{
    const prov *p = *state;
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(test_token_uri(prov_token, kn_algs[0].group), p->libctx, NULL,
                                               NULL, NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *key = OSSL_STORE_load(store), *cert = OSSL_STORE_load(store);
    assert_int_equal(X509_check_private_key(OSSL_STORE_INFO_get0_CERT(cert), OSSL_STORE_INFO_get0_PKEY(key)),
                     1);
    assert_int_equal(EVP_PKEY_eq(OSSL_STORE_INFO_get0_PKEY(key), software), 1);
    assert_null(OSSL_STORE_load(store));
    assert_true(OSSL_STORE_eof(store));
    OSSL_STORE_INFO_free(key);
    OSSL_STORE_INFO_free(cert);
    (void)OSSL_STORE_close(store);
    EVP_PKEY_free(software);
}

static void a_public_key_is_one_of_the_default_provider(void **state)
{
    const prov *p = *state;
    EVP_PKEY *software = prov_software_public(&kn_algs[0]);
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(with_type(kn_algs[0].group, "public"), p->libctx, NULL, NULL,
                                               NULL, NULL, NULL, NULL);
    OSSL_STORE_INFO *info = OSSL_STORE_load(store);
    assert_string_equal(prov_of(OSSL_STORE_INFO_get0_PUBKEY(info)), "default");
    assert_int_equal(EVP_PKEY_eq(OSSL_STORE_INFO_get0_PUBKEY(info), software), 1);
    OSSL_STORE_INFO_free(info);
    (void)OSSL_STORE_close(store);
    EVP_PKEY_free(software);
}

/* ---- certificates, and the search for them ---- */

/* Two certificates of one label and one of another; the leaf of kn_algs[0] is there as well. */
static void plant_certificates(const prov *p)
{
    X509 *a = prov_certificate(p, prov_file(&kn_algs[0], "crt")), *b = prov_certificate(p, prov_file(&kn_algs[1], "crt"));
    X509 *ca = prov_certificate(p, test_token_path(prov_token, "ca.crt"));
    raw r = raw_open(prov_token);
    if (!raw_count(&r, CKO_CERTIFICATE, "pair")) {
        raw_certificate(&r, "pair", "p1", a);
        raw_certificate(&r, "pair", "p2", b);
        raw_certificate(&r, "the ca", NULL, ca);
    }
    raw_close(&r);
    ERR_clear_error(); /* SoftHSM's C_Initialize, called directly, leaves some */
    X509_free(a);
    X509_free(b);
    X509_free(ca);
}

static void every_certificate_of_the_uri_is_loaded(void **state)
{
    char all[512];
    plant_certificates(*state);
    assert_string_equal(load_all(*state, with_type("pair", "cert"), 0), "CC");
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "pair"), OSSL_STORE_INFO_CERT), "CC");
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "pair"), 0), "CC");
    assert_string_equal(load_all(*state, with_type("the%20ca", "cert"), 0), "C");
    (void)snprintf(all, sizeof all, "pkcs11:token=%s;type=cert?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    assert_string_equal(load_all(*state, all, 0), "CCCC");
}

/* Certificates are for everybody: a program that only reads them needs no PIN. */
static void a_certificate_needs_no_login(void **state)
{
    prov p;
    char uri[512];
    plant_certificates(*state);
    prov_open(&p, ((const prov *)*state)->order);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=pair;type=cert?module-path=%s", prov_token->label, test_module);
    assert_string_equal(load_all(&p, uri, 0), "CC");
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=not-there;type=cert?module-path=%s", prov_token->label,
                   test_module);
    assert_string_equal(load_all(&p, uri, 0), "!"); /* perhaps it is seen after a login only */
    prov_expect_error("the token wants a PIN and none is configured", NULL);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s;type=public?module-path=%s", prov_token->label,
                   kn_algs[0].group, test_module);
    assert_string_equal(load_all(&p, uri, 0), "P"); /* nor does a public key */
    prov_close(&p);
}

/* As load_all(), for a search; takes @search. */
static const char *find_all(const prov *p, const char *uri, int expected, OSSL_STORE_SEARCH *search)
{
    static char got[16];
    size_t n = 0;
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, p->libctx, NULL, NULL, NULL, NULL, NULL, NULL);
    assert_non_null(store);
    assert_non_null(search);
    assert_int_equal(OSSL_STORE_supports_search(store, OSSL_STORE_SEARCH_get_type(search)), 1);
    if (expected)
        assert_int_equal(OSSL_STORE_expect(store, expected), 1);
    assert_int_equal(OSSL_STORE_find(store, search), 1);
    while (n < 8 && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (info)
            got[n++] = OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT     ? 'C'
                       : OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PUBKEY ? 'P'
                                                                                  : 'K';
        else if (OSSL_STORE_error(store))
            got[n++] = '!';
        OSSL_STORE_INFO_free(info);
    }
    got[n] = '\0';
    (void)OSSL_STORE_close(store);
    OSSL_STORE_SEARCH_free(search);
    return got;
}

static void finds_by_name_and_serial(void **state)
{
    const prov *p = *state;
    char all[512];
    plant_certificates(p);
    (void)snprintf(all, sizeof all, "pkcs11:token=%s?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    X509 *a = prov_certificate(p, prov_file(&kn_algs[0], "crt")), *ca = prov_certificate(p, test_token_path(prov_token, "ca.crt"));
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_name(X509_get_subject_name(a))), "CC");
    assert_string_equal(find_all(p, all, OSSL_STORE_INFO_CERT, OSSL_STORE_SEARCH_by_name(X509_get_subject_name(ca))), "C");
    assert_string_equal(find_all(p, all, OSSL_STORE_INFO_PKEY, OSSL_STORE_SEARCH_by_name(X509_get_subject_name(ca))), "");
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_issuer_serial(X509_get_issuer_name(a), X509_get_serialNumber(a))),
                        "CC");
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_issuer_serial(X509_get_issuer_name(a), X509_get_serialNumber(ca))),
                        "C"); /* it is self-issued */
    /* The same name in other letters and another kind of string: not the bytes that the token has. */
    X509_NAME *other = X509_NAME_new();
    assert_int_equal(X509_NAME_add_entry_by_txt(other, "CN", MBSTRING_ASC, (const unsigned char *)"TEST  ca", -1, -1, 0), 1);
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_name(other)), "C");
    X509_NAME_free(other);
    X509_NAME *nobody = X509_NAME_new();
    assert_int_equal(X509_NAME_add_entry_by_txt(nobody, "CN", MBSTRING_ASC, (const unsigned char *)"nobody", -1, -1, 0), 1);
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_name(nobody)), "");
    X509_NAME_free(nobody);
    X509_free(a);
    X509_free(ca);
}

static void finds_by_label(void **state)
{
    const prov *p = *state;
    char all[512];
    plant_certificates(p);
    (void)snprintf(all, sizeof all, "pkcs11:token=%s?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_alias("the ca")), "C");
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_alias(kn_algs[0].group)), "KC");
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_alias(kn_algs[1].group)), "K");
    assert_string_equal(find_all(p, all, OSSL_STORE_INFO_PUBKEY, OSSL_STORE_SEARCH_by_alias(kn_algs[1].group)), "P");
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_alias("no such label")), "");
    assert_string_equal(find_all(p, test_token_uri(prov_token, "pair"), 0, OSSL_STORE_SEARCH_by_alias("the ca")), "");
    assert_string_equal(find_all(p, test_token_uri(prov_token, "pair"), 0, OSSL_STORE_SEARCH_by_alias("pair")), "CC");
}

static void finds_by_fingerprint(void **state)
{
    const prov *p = *state;
    char all[512];
    unsigned char sha1[EVP_MAX_MD_SIZE], sha256[EVP_MAX_MD_SIZE], *spki = NULL;
    unsigned sha1_length, sha256_length;
    plant_certificates(p);
    (void)snprintf(all, sizeof all, "pkcs11:token=%s?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    X509 *ca = prov_certificate(p, test_token_path(prov_token, "ca.crt"));
    assert_int_equal(X509_digest(ca, EVP_sha1(), sha1, &sha1_length), 1);
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_key_fingerprint(EVP_sha1(), sha1, sha1_length)), "C");
    EVP_PKEY *public = prov_software_public(&kn_algs[1]);
    int length = i2d_PUBKEY(public, &spki);
    assert_int_equal(EVP_Digest(spki, (size_t)length, sha256, &sha256_length, EVP_sha256(), NULL), 1);
    assert_string_equal(find_all(p, all, 0, OSSL_STORE_SEARCH_by_key_fingerprint(EVP_sha256(), sha256, sha256_length)), "C");
    const char *narrow = test_token_uri(prov_token, kn_algs[1].group);
    assert_string_equal(find_all(p, narrow, OSSL_STORE_INFO_PKEY,
                                 OSSL_STORE_SEARCH_by_key_fingerprint(EVP_sha256(), sha256, sha256_length)),
                        "K");
    narrow = test_token_uri(prov_token, kn_algs[0].group);
    assert_string_equal(find_all(p, narrow, OSSL_STORE_INFO_PKEY,
                                 OSSL_STORE_SEARCH_by_key_fingerprint(EVP_sha256(), sha256, sha256_length)),
                        "");
    OPENSSL_free(spki);
    EVP_PKEY_free(public);
    X509_free(ca);
}

/* Every attribute selects, and none is passed over. */
static void attributes_of_the_token(void **state)
{
    const prov *p = *state;
    raw r = raw_open(prov_token);
    CK_TOKEN_INFO info;
    CK_SLOT_ID slot = r.slot;
    assert_int_equal(r.fn->C_GetTokenInfo(slot, &info), CKR_OK);
    raw_close(&r);
    char serial[17], uri[1024], path[5][200], wrong[5][200];
    (void)snprintf(serial, sizeof serial, "%.16s", (const char *)info.serialNumber);
    (void)snprintf(path[0], sizeof path[0], "serial=%s", serial);
    (void)snprintf(path[1], sizeof path[1], "model=SoftHSM%%20v2");
    (void)snprintf(path[2], sizeof path[2], "manufacturer=SoftHSM%%20project");
    (void)snprintf(path[3], sizeof path[3], "slot-id=%lu", slot);
    (void)snprintf(path[4], sizeof path[4], "serial=%s;slot-id=%lu;token=%s", serial, slot, prov_token->label);
    (void)snprintf(wrong[0], sizeof wrong[0], "serial=00");
    (void)snprintf(wrong[1], sizeof wrong[1], "model=SoftHSM");
    (void)snprintf(wrong[2], sizeof wrong[2], "manufacturer=nobody");
    (void)snprintf(wrong[3], sizeof wrong[3], "slot-id=%lu", slot + 1);
    (void)snprintf(wrong[4], sizeof wrong[4], "serial=%s;slot-id=%lu", serial, slot + 1);
    for (size_t i = 0; i < 5; i++) {
        (void)snprintf(uri, sizeof uri, "pkcs11:%.199s;object=%s;type=private?pin-source=%s&module-path=%s", path[i],
                       kn_algs[0].group, prov_token->pin_file, test_module);
        assert_string_equal(load_all(p, uri, 0), "K");
        (void)snprintf(uri, sizeof uri, "pkcs11:%.199s;object=%s;type=private?pin-source=%s&module-path=%s", wrong[i],
                       kn_algs[0].group, prov_token->pin_file, test_module);
        assert_string_equal(load_all(p, uri, 0), "!");
        prov_expect_error("no token matches", NULL);
    }
}

/* What a file holds for another key is noticed by OpenSSL itself, when it compares the two. */
static void a_certificate_of_another_key_is_refused(void **state)
{
    const prov *p = *state;
    EVP_PKEY *pkey = prov_key(p, &kn_algs[0]), *same_curve = prov_generate("mismatch", &kn_algs[0]);
    prov_issue(same_curve, "mismatch", -60, 3600, test_token_path(prov_token, "mismatch.crt"));
    X509 *cert = prov_certificate(p, test_token_path(prov_token, "mismatch.crt"));
    assert_int_equal(X509_check_private_key(cert, pkey), 0);
    assert_non_null(strstr(prov_errors(), "key values mismatch"));
    SSL_CTX *ctx = prov_ssl_ctx(p->libctx, TLS_client_method(), TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_not_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
    assert_non_null(strstr(prov_errors(), "key values mismatch"));
    SSL_CTX_free(ctx);
    raw r = raw_open(prov_token);
    raw_delete(&r, CKO_PRIVATE_KEY, "mismatch");
    raw_delete(&r, CKO_PUBLIC_KEY, "mismatch");
    raw_close(&r);
    X509_free(cert);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(same_curve);
}

static void names_what_is_wrong_with_a_uri(void **state)
{
    static const struct {
        const char *uri, *sentence, *named;
    } rows[] = {
        {"pkcs11:obj=a-key", "an attribute that is not known", "obj"},
        {"pkcs11:token=keynym;object=a;Object=b", "an attribute that is not known", "Object"},
        {"pkcs11:token=keynym;object=a?pin-file=/x", "an attribute that is not known", "pin-file"},
        {"pkcs11:token=keynym;object=a;object=b", "malformed", "object"},
        {"pkcs11:token=keynym;object", "malformed", "object"},
        {"pkcs11:token=keynym;object=a;type=privat", "malformed", "type="},
        {"pkcs11:token=keynym;id=%zz", "malformed", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(load_all(*state, rows[i].uri, OSSL_STORE_INFO_PKEY), "open!");
        prov_expect_error(rows[i].sentence, rows[i].named, NULL);
    }
}

static void names_what_is_missing(void **state)
{
    char uri[512];
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-key"), OSSL_STORE_INFO_PKEY),
                        "!");
    prov_expect_error("no key matches", "no-such-key", "keynym key list", NULL);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-key"), OSSL_STORE_INFO_PUBKEY),
                        "!");
    prov_expect_error("no key matches", "no-such-key", NULL);
    assert_string_equal(load_all(*state, test_token_uri(prov_token, "no-such-thing"), 0), "!");
    prov_expect_error("no key matches", "no-such-thing", "neither a private key nor a certificate", NULL);
    assert_string_equal(load_all(*state, with_type("no-such-cert", "cert"), 0), "!");
    prov_expect_error("no certificate matches", "no-such-cert", NULL);
    (void)snprintf(uri, sizeof uri, "pkcs11:token=no-such-token;object=a?module-path=%s", test_module);
    assert_string_equal(load_all(*state, uri, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("no token matches", "no-such-token", NULL);
    assert_string_equal(
        load_all(*state, "pkcs11:object=a?module-path=/no/such/module.so", OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("the PKCS#11 module cannot be loaded", "/no/such/module.so", NULL);
}

static void names_two_matches(void **state)
{
    char any[512];
    (void)snprintf(any, sizeof any, "pkcs11:token=%s?pin-source=%s&module-path=%s", prov_token->label,
                   prov_token->pin_file, test_module);
    assert_string_equal(load_all(*state, any, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("more than one object matches", kn_algs[0].group, kn_algs[1].group, NULL);
}

static void names_what_is_wrong_with_the_pin(void **state)
{
    prov p; /* of its own: a login lasts as long as the provider */
    char uri[512];
    (void)state;
    prov_open(&p, PROV_DEFAULT_FIRST);
    static const char *const files[] = {"no-such-pin", "wrong-pin"};
    static const char *const sentences[] = {"the PIN source cannot be used", "the PIN is wrong"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?pin-source=%s&module-path=%s",
                       prov_token->label, kn_algs[0].group, test_token_path(prov_token, files[i]),
                       test_module);
        assert_string_equal(load_all(&p, uri, OSSL_STORE_INFO_PKEY), "!");
        prov_expect_error(sentences[i], NULL);
    }
    (void)snprintf(uri, sizeof uri, "pkcs11:token=%s;object=%s?module-path=%s", prov_token->label,
                   kn_algs[0].group, test_module);
    assert_string_equal(load_all(&p, uri, OSSL_STORE_INFO_PKEY), "!");
    prov_expect_error("the token wants a PIN and none is configured", "pin-source", NULL);
    assert_string_equal(load_all(&p, test_token_uri(prov_token, kn_algs[0].group), OSSL_STORE_INFO_PKEY),
                        "K");
    prov_close(&p);
}

/* Programs write PEM to standard output; a line of ours in front of it spoils it. */
static void writes_nothing_to_standard_output(void **state)
{
    const char *path = test_token_path(prov_token, "stdout");
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    (void)load_all(*state, test_token_uri(prov_token, kn_algs[0].group), 0);
    (void)load_all(*state, test_token_uri(prov_token, "no-such-key"), 0);
    (void)load_all(*state, "pkcs11:obj=a", 0);
    (void)fflush(stdout);
    off_t written = lseek(file, 0, SEEK_END);
    (void)dup2(saved, STDOUT_FILENO);
    (void)close(saved);
    (void)close(file);
    assert_int_equal(written, 0);
    assert_string_not_equal(prov_errors(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROV_TEST(loads_what_is_expected),
        PROV_TEST(loads_what_the_uri_says),
        PROV_TEST(loads_nothing_where_uri_and_caller_disagree),
        PROV_TEST(another_type_is_no_key),
        PROV_TEST(the_certificate_may_be_missing),
        cmocka_unit_test_setup_teardown(a_label_may_look_like_a_type, prov_setup_default_first,
                                        prov_teardown),
        PROV_TEST(the_parts_belong_together),
        PROV_TEST(a_public_key_is_one_of_the_default_provider),
        PROV_TEST(a_public_key_alone_is_no_private_key),
        PROV_TEST(every_certificate_of_the_uri_is_loaded),
        PROV_TEST(a_certificate_needs_no_login),
        PROV_TEST(finds_by_name_and_serial),
        PROV_TEST(finds_by_label),
        PROV_TEST(finds_by_fingerprint),
        PROV_TEST(attributes_of_the_token),
        PROV_TEST(a_certificate_of_another_key_is_refused),
        PROV_TEST(names_what_is_wrong_with_a_uri),
        PROV_TEST(names_what_is_missing),
        PROV_TEST(names_two_matches),
        cmocka_unit_test(names_what_is_wrong_with_the_pin),
        PROV_TEST(writes_nothing_to_standard_output),
    };
    return cmocka_run_group_tests(tests, prov_group_setup, prov_group_teardown);
}
