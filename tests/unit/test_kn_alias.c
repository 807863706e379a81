#include "kn_alias.h"

#include "support/kn_check.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define URI "pkcs11:token=bench;object=device;type=private?pin-source=file:/etc/pin"

static kn_public new_public(const kn_alg *alg)
{
    uint8_t spki[KN_SPKI_MAX], *end = spki;
    kn_public public;
    EVP_PKEY *key = EVP_EC_gen(alg->group);
    assert_non_null(key);
    int length = i2d_PUBKEY(key, &end);
    assert_ok(kn_public_from_spki(spki, (size_t)length, &public));
    EVP_PKEY_free(key);
    return public;
}

typedef struct bytes {
    uint8_t data[KN_ALIAS_DER_MAX + 16];
    size_t length;
} bytes;

static bytes der_of(const char *uri, const kn_public *public)
{
    bytes out;
    kn_alias *alias = NULL;
    uint8_t *der = NULL;
    assert_ok(kn_alias_new(uri, public, &alias));
    assert_ok(kn_alias_to_der(alias, &der, &out.length));
    memcpy(out.data, der, out.length);
    free(der);
    kn_alias_free(&alias);
    assert_null(alias);
    return out;
}

/* DER of an alias that is written by hand. */
static bytes by_hand(const uint8_t *version, size_t version_length, const void *uri, size_t uri_length)
{
    bytes out;
    uint8_t *p = out.data;
    size_t body = version_length + 4 + uri_length;
    *p++ = 0x30;
    *p++ = 0x82;
    *p++ = (uint8_t)(body >> 8);
    *p++ = (uint8_t)body;
    memcpy(p, version, version_length);
    p += version_length;
    *p++ = 0x0c;
    *p++ = 0x82;
    *p++ = (uint8_t)(uri_length >> 8);
    *p++ = (uint8_t)uri_length;
    memcpy(p, uri, uri_length);
    out.length = 4 + body;
    return out;
}

static const uint8_t version_1[] = {0x02, 0x01, 0x01};

/* Long enough that the lengths in by_hand() are DER. */
static const char *long_uri(void)
{
    static char uri[400];
    (void)snprintf(uri, sizeof uri, "pkcs11:token=bench;object=%0128d?module-path=/%0128d", 7, 7);
    return uri;
}

static void refused_der(kn_code code, const uint8_t *der, size_t length, const char *detail)
{
    kn_alias *alias = (kn_alias *)8;
    assert_error(code, kn_alias_from_der(der, length, &alias));
    assert_ptr_equal(alias, (kn_alias *)8);
    assert_detail(detail);
}

static void refused_pem(const char *pem, const char *detail)
{
    kn_alias *alias = (kn_alias *)8;
    assert_error(KN_E_ALIAS_MALFORMED, kn_alias_from_pem(pem, strlen(pem), &alias));
    assert_ptr_equal(alias, (kn_alias *)8);
    assert_detail(detail);
}

static void same_as(const kn_alias *alias, const char *uri, const kn_public *public)
{
    assert_string_equal(kn_alias_uri(alias), uri);
    if (public)
        assert_true(kn_public_equal(kn_alias_public(alias), public));
    else
        assert_null(kn_alias_public(alias));
}

static void round_trip(const kn_public *public)
{
    kn_alias *alias = NULL, *again = NULL;
    char *pem = NULL;
    assert_ok(kn_alias_new(URI, public, &alias));
    same_as(alias, URI, public);
    bytes der = der_of(URI, public);
    assert_ok(kn_alias_from_der(der.data, der.length, &again));
    same_as(again, URI, public);
    kn_alias_free(&again);
    assert_ok(kn_alias_to_pem(alias, &pem));
    assert_text(pem, "-----BEGIN KEYNYM ALIAS PRIVATE KEY-----\n");
    assert_ok(kn_alias_from_pem(pem, strlen(pem), &again));
    same_as(again, URI, public);
    free(pem);
    kn_alias_free(&again);
    kn_alias_free(&alias);
}

static void test_round_trip(void **state)
{
    (void)state;
    round_trip(NULL);
    for (size_t i = 0; i < TEST_EC_COUNT; i++) {
        kn_public public = new_public(&kn_algs[i]);
        round_trip(&public);
    }
}

/* An independent reading of the bytes: SEQUENCE { INTEGER 1, UTF8String, [0] { SubjectPublicKeyInfo } }. */
static void test_bytes(void **state)
{
    kn_public public = new_public(kn_alg_by_name("EC:P-256"));
    bytes der = der_of("pkcs11:token=a", &public);
    static const uint8_t head[] = {0x30, 0x70, 0x02, 0x01, 0x01, 0x0c, 0x0e};
    (void)state;
    assert_int_equal(der.length, 0x72);
    assert_memory_equal(der.data, head, sizeof head);
    assert_memory_equal(der.data + 7, "pkcs11:token=a", 14);
    assert_int_equal(der.data[21], 0xa0);
    assert_int_equal(der.data[22], 91);
    const uint8_t *spki = der.data + 23;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &spki, 91);
    assert_non_null(key);
    assert_ptr_equal(spki, der.data + der.length);
    EVP_PKEY_free(key);
}

static void test_every_truncation(void **state)
{
    kn_public public = new_public(kn_alg_by_name("EC:P-384"));
    (void)state;
    for (int with = 0; with < 2; with++) {
        bytes der = der_of(URI, with ? &public : NULL);
        for (size_t cut = 0; cut < der.length; cut++) {
            uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees a read behind it */
            assert_non_null(exact);
            memcpy(exact, der.data, cut);
            refused_der(KN_E_ALIAS_MALFORMED, exact, cut, "");
            free(exact);
        }
    }
}

static void test_every_mutation(void **state)
{
    kn_public public = new_public(kn_alg_by_name("EC:P-256"));
    unsigned accepted = 0, refused = 0;
    (void)state;
    for (int with = 0; with < 2; with++) {
        bytes der = der_of(URI, with ? &public : NULL);
        for (size_t i = 0; i < der.length; i++)
            for (unsigned flip = 1; flip < 256; flip++) {
                kn_alias *alias = NULL;
                uint8_t *again = NULL;
                size_t length;
                der.data[i] ^= (uint8_t)flip;
                if (kn_failed(kn_alias_from_der(der.data, der.length, &alias))) {
                    assert_null(alias);
                    refused++;
                } else {
                    assert_ok(kn_alias_to_der(alias, &again, &length));
                    assert_int_equal(length, der.length);
                    assert_memory_equal(again, der.data, length);
                    free(again);
                    kn_alias_free(&alias);
                    accepted++;
                }
                der.data[i] ^= (uint8_t)flip;
            }
    }
    assert_true(accepted > 1000); /* other labels, other points */
    assert_true(refused > 1000);
}

static void test_what_follows(void **state)
{
    bytes der = der_of(URI, NULL);
    (void)state;
    der.data[der.length] = 0;
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length + 1, "1 bytes follow");
}

static void test_ber_is_refused(void **state)
{
    bytes good = der_of("pkcs11:token=a", NULL), ber;
    (void)state;
    /* indefinite length */
    ber.data[0] = 0x30;
    ber.data[1] = 0x80;
    memcpy(ber.data + 2, good.data + 2, good.length - 2);
    memset(ber.data + good.length, 0, 2);
    refused_der(KN_E_ALIAS_MALFORMED, ber.data, good.length + 2, "BER");
    /* a length in more bytes than needed */
    ber.data[1] = 0x81;
    ber.data[2] = good.data[1];
    memcpy(ber.data + 3, good.data + 2, good.length - 2);
    refused_der(KN_E_ALIAS_MALFORMED, ber.data, good.length + 1, "");
}

static void test_by_hand(void **state)
{
    static const uint8_t version_0[] = {0x02, 0x01, 0x00}, version_2[] = {0x02, 0x01, 0x02},
                         minus_1[] = {0x02, 0x01, 0xff}, huge[] = {0x02, 0x05, 0x01, 0, 0, 0, 1};
    const char *uri = long_uri();
    char with_nul[400];
    kn_alias *alias = NULL;
    (void)state;
    bytes der = by_hand(version_1, sizeof version_1, uri, strlen(uri)); /* the test's own writer is right */
    assert_ok(kn_alias_from_der(der.data, der.length, &alias));
    same_as(alias, uri, NULL);
    kn_alias_free(&alias);
    der = by_hand(version_0, sizeof version_0, uri, strlen(uri));
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "version 0");
    der = by_hand(version_2, sizeof version_2, uri, strlen(uri));
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "version 2");
    der = by_hand(minus_1, sizeof minus_1, uri, strlen(uri));
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "version -1");
    der = by_hand(huge, sizeof huge, uri, strlen(uri));
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "");
    memcpy(with_nul, uri, strlen(uri) + 1);
    with_nul[20] = '\0';
    der = by_hand(version_1, sizeof version_1, with_nul, strlen(uri));
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "NUL");

    static const uint8_t empty[] = {0x30, 0x05, 0x02, 0x01, 0x01, 0x0c, 0x00};
    refused_der(KN_E_ALIAS_MALFORMED, empty, sizeof empty, "empty");
    static const uint8_t other[] = "\x30\x09\x02\x01\x01\x0c\x04http";
    refused_der(KN_E_URI_SCHEME, other, sizeof other - 1, "http");
}

static void test_caps(void **state)
{
    static char uri[KN_ALIAS_URI_MAX + 2], pem[KN_ALIAS_PEM_MAX + 1];
    static uint8_t much[KN_ALIAS_DER_MAX + 1];
    kn_alias *alias = NULL;
    (void)state;
    int used = snprintf(uri, sizeof uri, "pkcs11:token=a?module-path=/");
    memset(uri + used, 'x', sizeof uri - 1 - (size_t)used);
    assert_error(KN_E_URI_MALFORMED, kn_alias_new(uri, NULL, &alias));
    assert_detail("2048");
    bytes der = by_hand(version_1, sizeof version_1, uri, KN_ALIAS_URI_MAX + 1);
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "too long");
    uri[KN_ALIAS_URI_MAX] = '\0';
    der = der_of(uri, NULL); /* the cap itself is allowed */
    assert_ok(kn_alias_from_der(der.data, der.length, &alias));
    same_as(alias, uri, NULL);
    kn_alias_free(&alias);
    refused_der(KN_E_ALIAS_MALFORMED, much, 0, "0 bytes");
    refused_der(KN_E_ALIAS_MALFORMED, much, sizeof much, "4097 bytes");
    memset(pem, '\n', sizeof pem);
    assert_error(KN_E_ALIAS_MALFORMED, kn_alias_from_pem(pem, sizeof pem, &alias));
    assert_detail("8192");
}

static void test_a_pin_is_never_inside(void **state)
{
    static const char *const uris[] = {
        "pkcs11:token=a?pin-value=98761234",
        "pkcs11:token=a?module-path=/m&pin-value=98761234",
        "pkcs11:token=a?PIN-VALUE=98761234",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uris); i++) {
        uint8_t der[128] = {0x30, 0, 0x02, 0x01, 0x01, 0x0c, 0};
        der[1] = (uint8_t)(5 + strlen(uris[i]));
        der[6] = (uint8_t)strlen(uris[i]);
        memcpy(der + 7, uris[i], strlen(uris[i]));
        refused_der(KN_E_ALIAS_SECRET, der, 7 + strlen(uris[i]), "pin-value");
        assert_detail_lacks("9876");
        assert_true(kn_uri_has_pin(uris[i]));
        char text[128];
        kn_uri_redact(uris[i], text, sizeof text);
        assert_text_lacks(text, "9876");
        assert_text(text, "token=a");
    }
    assert_false(kn_uri_has_pin(URI));
    assert_false(kn_uri_has_pin("pkcs11:object=my-pin-value=1")); /* part of another name */

    /* typed on a command line it works, but it is not written */
    kn_alias *alias = NULL;
    uint8_t *der = NULL;
    char *pem = NULL;
    size_t length;
    assert_ok(kn_alias_from_argument(uris[0], &alias));
    assert_error(KN_E_ALIAS_SECRET, kn_alias_to_der(alias, &der, &length));
    assert_detail_lacks("9876");
    assert_error(KN_E_ALIAS_SECRET, kn_alias_to_pem(alias, &pem));
    assert_null(der);
    assert_null(pem);
    kn_alias_free(&alias);
    kn_ctx *ctx = NULL;
    assert_ok(kn_ctx_new(NULL, &ctx));
    assert_error(KN_E_ALIAS_SECRET, kn_alias_complete(ctx, uris[0], NULL, &alias));
    assert_detail_lacks("9876");
    kn_ctx_unref(&ctx);
}

static char *pem_with(const char *label, const char *header, const bytes *der)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    assert_true(PEM_write_bio(bio, label, header, der->data, (long)der->length) > 0);
    long length = BIO_get_mem_data(bio, &text);
    char *copy = strndup(text, (size_t)length);
    BIO_free(bio);
    return copy;
}

static void test_pem(void **state)
{
    bytes der = der_of(URI, NULL);
    char with_text[2048];
    kn_alias *alias = NULL;
    (void)state;
    char *pem = pem_with("PRIVATE KEY", "", &der);
    refused_pem(pem, "label is 'PRIVATE KEY'");
    free(pem);
    pem = pem_with("KEYNYM ALIAS PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233\n", &der);
    refused_pem(pem, "headers");
    free(pem);
    pem = pem_with("KEYNYM ALIAS PRIVATE KEY", "", &der);
    (void)snprintf(with_text, sizeof with_text, "a comment\nof two lines\n%s", pem);
    assert_ok(kn_alias_from_pem(with_text, strlen(with_text), &alias));
    same_as(alias, URI, NULL);
    kn_alias_free(&alias);
    for (size_t cut = 0; cut + 1 < strlen(pem); cut++)
        assert_true(kn_failed(kn_alias_from_pem(pem, cut, &alias)));
    pem[60] = '!';
    refused_pem(pem, "PEM");
    free(pem);
    refused_pem("", "PEM");
    refused_pem("pkcs11:token=a\n", "PEM");
}

/* pkcs11-provider's SEQUENCE { VisibleString, UTF8String }, with lengths of two bytes as some of its writers make them. */
static bytes foreign(const char *description, const char *uri)
{
    bytes out;
    size_t a = strlen(description), b = strlen(uri);
    const uint8_t head[] = {0x30, 0x82, (uint8_t)((a + b + 8) >> 8), (uint8_t)(a + b + 8), 0x1a, 0x82, 0, (uint8_t)a};
    const uint8_t middle[] = {0x0c, 0x82, (uint8_t)(b >> 8), (uint8_t)b};
    memcpy(out.data, head, sizeof head);
    memcpy(out.data + sizeof head, description, a);
    memcpy(out.data + sizeof head + a, middle, sizeof middle);
    memcpy(out.data + sizeof head + a + sizeof middle, uri, b);
    out.length = sizeof head + a + sizeof middle + b;
    return out;
}

static void test_another_providers_form(void **state)
{
    static const char description[] = "PKCS#11 Provider URI v1.0";
    /* DER, as pkcs11-provider itself writes it. */
    static const char written[] = "-----BEGIN PKCS#11 PROVIDER URI-----\n"
                                  "MDQaGVBLQ1MjMTEgUHJvdmlkZXIgVVJJIHYxLjAMF3BrY3MxMTp0b2tlbj1hO29i\n"
                                  "amVjdD1i\n"
                                  "-----END PKCS#11 PROVIDER URI-----\n";
    kn_alias *alias = NULL;
    (void)state;
    assert_ok(kn_alias_from_pem(written, strlen(written), &alias));
    same_as(alias, "pkcs11:token=a;object=b", NULL);
    kn_alias_free(&alias);
    bytes der = foreign(description, URI);
    assert_true(kn_alias_looks_like_der(der.data, der.length));
    assert_ok(kn_alias_from_der(der.data, der.length, &alias));
    same_as(alias, URI, NULL);
    kn_alias_free(&alias);
    char *pem = pem_with(KN_ALIAS_PEM_LABEL_FOREIGN, "", &der);
    assert_true(kn_alias_is_pem_begin(pem));
    assert_ok(kn_alias_from_pem(pem, strlen(pem), &alias));
    same_as(alias, URI, NULL);
    kn_alias_free(&alias);
    free(pem);
    for (size_t length = 1; length < der.length; length++)
        assert_error(KN_E_ALIAS_MALFORMED, kn_alias_from_der(der.data, length, &alias));
    der.data[der.length] = 0;
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length + 1, "1 bytes follow");
    der = foreign("PKCS#11 Provider URI v2.0", URI);
    refused_der(KN_E_ALIAS_MALFORMED, der.data, der.length, "description");
    der = foreign(description, "pkcs11:token=a?pin-value=98761234");
    refused_der(KN_E_ALIAS_SECRET, der.data, der.length, "pin-value");
    assert_detail_lacks("9876");
    der = foreign(description, "pkcs11:token=a;obj=b");
    refused_der(KN_E_URI_ATTRIBUTE, der.data, der.length, "obj");
    assert_false(kn_alias_is_pem_begin("-----BEGIN PRIVATE KEY-----\n"));
}

/* Other keys' DER must pass by. */
static void test_what_is_no_alias(void **state)
{
    static const uint8_t pkcs8[] = {0x30, 0x0a, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};
    static const uint8_t rsa[] = {0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x00, 0x02, 0x82, 0x01, 0x01};
    static const uint8_t sec1[] = {0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20, 0x00};
    static const uint8_t certificate[] = {0x30, 0x82, 0x01, 0x00, 0x30, 0x81, 0x80};
    static const uint8_t cut[] = {0x30, 0x84, 0x00};
    (void)state;
    assert_false(kn_alias_looks_like_der(pkcs8, sizeof pkcs8));
    assert_false(kn_alias_looks_like_der(rsa, sizeof rsa));
    assert_false(kn_alias_looks_like_der(sec1, sizeof sec1));
    assert_false(kn_alias_looks_like_der(certificate, sizeof certificate));
    assert_false(kn_alias_looks_like_der(cut, sizeof cut));
    assert_false(kn_alias_looks_like_der(cut, 1));
    assert_false(kn_alias_looks_like_der(cut, 0));
}

static void test_argument(void **state)
{
    char path[] = "/tmp/keynym-test.XXXXXX";
    bytes der = der_of(URI, NULL);
    char *pem = pem_with("KEYNYM ALIAS PRIVATE KEY", "", &der);
    kn_alias *alias = NULL;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, pem, strlen(pem)), strlen(pem));
    assert_ok(kn_alias_from_argument(path, &alias));
    same_as(alias, URI, NULL);
    kn_alias_free(&alias);
    assert_int_equal(ftruncate(fd, 60), 0);
    assert_error(KN_E_ALIAS_MALFORMED, kn_alias_from_argument(path, &alias));
    assert_detail(path);
    assert_int_equal(ftruncate(fd, 0), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(pwrite(fd, "0123456789012345678901234567890123456789012345678\n", 50, 50 * i), 50);
    assert_error(KN_E_ALIAS_MALFORMED, kn_alias_from_argument(path, &alias));
    assert_detail("8192");
    (void)close(fd);
    (void)unlink(path);
    free(pem);
    assert_error(KN_E_IO, kn_alias_from_argument(path, &alias));
    assert_detail("No such file");
    assert_error(KN_E_IO, kn_alias_from_argument("/tmp", &alias));
    assert_ok(kn_alias_from_argument("PKCS11:token=a", &alias));
    kn_alias_free(&alias);
    assert_error(KN_E_URI_ATTRIBUTE, kn_alias_from_argument("pkcs11:obj=a", &alias));
    assert_detail("obj");
    assert_null(alias);
    /* a scheme that is misspelt makes it a path, which must not be shown with the PIN */
    assert_error(KN_E_IO, kn_alias_from_argument("pkcs1:token=a?pin-value=98761234", &alias));
    assert_detail_lacks("9876");
    assert_error(KN_E_URI_SCHEME, kn_alias_new("pkcs1:token=a?pin-value=98761234", NULL, &alias));
    assert_detail_lacks("9876");
}

static void test_complete(void **state)
{
    kn_ctx *ctx = NULL;
    kn_alias *alias = NULL;
    const kn_config config = {.module_path = "/usr/lib/a.so", .pin_source = "/etc/pin"};
    const kn_config two = {.module_path = "/usr/lib/a.so:/usr/lib/b.so"};
    (void)state;
    assert_ok(kn_ctx_new(&config, &ctx));
    assert_ok(kn_alias_complete(ctx, "pkcs11:token=a;object=b", NULL, &alias));
    assert_text(kn_alias_uri(alias), "pin-source=");
    assert_text(kn_alias_uri(alias), "/etc/pin");
    assert_text(kn_alias_uri(alias), "module-path=");
    assert_text(kn_alias_uri(alias), "a.so");
    kn_alias_free(&alias);
    assert_ok(kn_alias_complete(ctx, "pkcs11:token=a?pin-source=/mine&module-name=other", NULL, &alias));
    assert_text(kn_alias_uri(alias), "/mine");
    assert_text_lacks(kn_alias_uri(alias), "/etc/pin");
    assert_text_lacks(kn_alias_uri(alias), "module-path");
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
    assert_ok(kn_ctx_new(&two, &ctx)); /* which of them is not known */
    assert_ok(kn_alias_complete(ctx, "pkcs11:token=a", NULL, &alias));
    assert_text_lacks(kn_alias_uri(alias), "module-path");
    kn_alias_free(&alias);
    kn_ctx_unref(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_mutation),
        cmocka_unit_test(test_what_follows),
        cmocka_unit_test(test_ber_is_refused),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_a_pin_is_never_inside),
        cmocka_unit_test(test_pem),
        cmocka_unit_test(test_another_providers_form),
        cmocka_unit_test(test_what_is_no_alias),
        cmocka_unit_test(test_argument),
        cmocka_unit_test(test_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
