#include "test_dps_pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <unistd.h>

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_cn(X509_NAME *name, const char *cn)
{
    if (cn != NULL)
        assert_int_equal(
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0), 1);
}

test_cert test_cert_make(const test_cert_spec *spec)
{
    test_cert made = {.cert = X509_new(), .key = EVP_EC_gen("P-256")};
    assert_non_null(made.cert);
    assert_non_null(made.key);
    uint64_t serial = 0;
    assert_int_equal(RAND_bytes((unsigned char *)&serial, sizeof(serial)), 1);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(made.cert), serial >> 1);
    X509_set_version(made.cert, 2);
    bool given = spec->from_s != 0 || spec->to_s != 0;
    X509_gmtime_adj(X509_getm_notBefore(made.cert), given ? spec->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.cert), given ? spec->to_s : 86400);
    X509_NAME *name = X509_get_subject_name(made.cert);
    add_cn(name, spec->cn);
    add_cn(name, spec->second_cn);
    X509_set_pubkey(made.cert, made.key);
    const test_cert *issuer = spec->issuer != NULL ? spec->issuer : &made;
    X509_set_issuer_name(made.cert, X509_get_subject_name(issuer->cert));
    add_extension(made.cert, issuer->cert, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (spec->ca)
        add_extension(made.cert, issuer->cert, NID_key_usage, "critical,keyCertSign");
    if (spec->eku != NULL)
        add_extension(made.cert, issuer->cert, NID_ext_key_usage, spec->eku);
    add_extension(made.cert, issuer->cert, NID_subject_key_identifier, "hash");
    const EVP_MD *md = EVP_get_digestbyname(spec->digest != NULL ? spec->digest : "SHA256");
    assert_true(X509_sign(made.cert, issuer->key, md) != 0);
    return made;
}

void test_cert_free(test_cert *cert)
{
    X509_free(cert->cert);
    EVP_PKEY_free(cert->key);
    *cert = (test_cert){0};
}

void test_cert_write(X509 *cert, const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    assert_int_equal(fclose(file), 0);
}

void test_dir_make(char path[64])
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0' || strlen(base) > 32)
        base = "/tmp";
    snprintf(path, 64, "%s/dps-test-XXXXXX", base);
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_dir_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
