#include "dps_x509.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test_dps_pki.h"

#define CLIENT "clientAuth"

/* root -> intermediate; both may be anchors. */
typedef struct pki {
    test_cert root, intermediate;
} pki;

static pki make_pki(void)
{
    pki p;
    p.root = test_cert_make(&(test_cert_spec){.cn = "Root", .ca = 1});
    p.intermediate = test_cert_make(&(test_cert_spec){.cn = "Intermediate", .issuer = &p.root, .ca = 1});
    return p;
}

static void free_pki(pki *p)
{
    test_cert_free(&p->root);
    test_cert_free(&p->intermediate);
}

static dps_chain_result verify(X509 *const *anchors, size_t count, X509 *leaf, X509 *sent)
{
    dps_anchors *a = dps_anchors_new();
    assert_non_null(a);
    for (size_t i = 0; i < count; i++)
        assert_true(dps_anchors_add(a, anchors[i]));
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    assert_non_null(untrusted);
    if (sent != NULL)
        assert_true(sk_X509_push(untrusted, sent) > 0);
    dps_chain_result result = dps_x509_verify(a, leaf, untrusted);
    sk_X509_free(untrusted);
    dps_anchors_free(&a);
    return result;
}

static void expect(X509 *anchor, X509 *leaf, X509 *sent, dps_chain_verdict verdict)
{
    dps_chain_result result = verify(&anchor, anchor != NULL ? 1 : 0, leaf, sent);
    assert_int_equal(result.verdict, verdict);
}

static void test_good(void **state)
{
    (void)state;
    pki p = make_pki();
    test_cert leaf =
        test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.intermediate, .eku = CLIENT});
    test_cert plain = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.intermediate});
    expect(p.root.cert, leaf.cert, p.intermediate.cert, DPS_CHAIN_OK);
    expect(p.intermediate.cert, leaf.cert, p.intermediate.cert, DPS_CHAIN_OK);
    expect(p.intermediate.cert, leaf.cert, NULL, DPS_CHAIN_OK);  /* the issuer is the group's certificate */
    expect(p.intermediate.cert, plain.cert, NULL, DPS_CHAIN_OK); /* no extendedKeyUsage: any purpose */
    test_cert_free(&leaf);
    test_cert_free(&plain);
    free_pki(&p);
}

static void test_nearest_anchor(void **state)
{
    (void)state;
    pki p = make_pki();
    test_cert other = test_cert_make(&(test_cert_spec){.cn = "Other", .ca = 1});
    test_cert leaf =
        test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.intermediate, .eku = CLIENT});
    X509 *anchors[] = {other.cert, p.root.cert, p.intermediate.cert};
    dps_chain_result result = verify(anchors, 3, leaf.cert, p.intermediate.cert);
    assert_int_equal(result.verdict, DPS_CHAIN_OK);
    assert_int_equal(result.anchor, 2);
    test_cert_free(&other);
    test_cert_free(&leaf);
    free_pki(&p);
}

static void test_unknown_ca(void **state)
{
    (void)state;
    pki p = make_pki();
    pki q = make_pki(); /* the same names, other keys */
    test_cert leaf =
        test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.intermediate, .eku = CLIENT});
    test_cert self = test_cert_make(&(test_cert_spec){.cn = "dev1", .eku = CLIENT});
    test_cert stranger = test_cert_make(&(test_cert_spec){.cn = "Stranger", .ca = 1});
    expect(NULL, leaf.cert, p.intermediate.cert, DPS_CHAIN_UNKNOWN_CA);
    expect(stranger.cert, leaf.cert, p.intermediate.cert, DPS_CHAIN_UNKNOWN_CA);
    expect(p.root.cert, leaf.cert, NULL, DPS_CHAIN_UNKNOWN_CA); /* the intermediate was not sent */
    expect(p.root.cert, self.cert, NULL, DPS_CHAIN_UNKNOWN_CA);
    expect(leaf.cert, leaf.cert, NULL, DPS_CHAIN_UNKNOWN_CA); /* nothing was signed by a group */
    expect(p.intermediate.cert, p.intermediate.cert, NULL,
           DPS_CHAIN_WRONG_PURPOSE); /* the CA itself is no device */
    dps_chain_result result = verify(&q.intermediate.cert, 1, leaf.cert, NULL);
    assert_int_not_equal(result.verdict, DPS_CHAIN_OK);
    assert_int_not_equal(result.verdict, DPS_CHAIN_FAILED);
    test_cert_free(&leaf);
    test_cert_free(&self);
    test_cert_free(&stranger);
    free_pki(&p);
    free_pki(&q);
}

static void test_validity(void **state)
{
    (void)state;
    pki p = make_pki();
    test_cert expired = test_cert_make(
        &(test_cert_spec){.cn = "dev1", .issuer = &p.root, .eku = CLIENT, .from_s = -7200, .to_s = -3600});
    test_cert early = test_cert_make(
        &(test_cert_spec){.cn = "dev1", .issuer = &p.root, .eku = CLIENT, .from_s = 3600, .to_s = 7200});
    test_cert old_ca = test_cert_make(
        &(test_cert_spec){.cn = "Old", .issuer = &p.root, .ca = 1, .from_s = -7200, .to_s = -3600});
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &old_ca, .eku = CLIENT});
    expect(p.root.cert, expired.cert, NULL, DPS_CHAIN_EXPIRED);
    expect(p.root.cert, early.cert, NULL, DPS_CHAIN_NOT_YET_VALID);
    expect(old_ca.cert, leaf.cert, NULL, DPS_CHAIN_EXPIRED); /* the group's certificate */
    dps_chain_result result = verify(&p.root.cert, 1, leaf.cert, old_ca.cert);
    assert_int_equal(result.verdict, DPS_CHAIN_EXPIRED);
    assert_int_equal(result.depth, 1);
    test_cert_free(&expired);
    test_cert_free(&early);
    test_cert_free(&old_ca);
    test_cert_free(&leaf);
    free_pki(&p);
}

static void test_purpose(void **state)
{
    (void)state;
    pki p = make_pki();
    test_cert server =
        test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.root, .eku = "serverAuth"});
    test_cert no_ca = test_cert_make(&(test_cert_spec){.cn = "dev0", .issuer = &p.root, .eku = CLIENT});
    test_cert forged = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &no_ca, .eku = CLIENT});
    expect(p.root.cert, server.cert, NULL, DPS_CHAIN_WRONG_PURPOSE);
    expect(p.root.cert, forged.cert, no_ca.cert, DPS_CHAIN_WRONG_PURPOSE); /* a device that signs devices */
    test_cert_free(&server);
    test_cert_free(&no_ca);
    test_cert_free(&forged);
    free_pki(&p);
}

static void test_damaged(void **state)
{
    (void)state;
    pki p = make_pki();
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.root, .eku = CLIENT});
    test_cert weak =
        test_cert_make(&(test_cert_spec){.cn = "dev1", .issuer = &p.root, .eku = CLIENT, .digest = "SHA1"});
    unsigned char *der = NULL;
    int n = i2d_X509(leaf.cert, &der);
    der[n - 1] ^= 1; /* in the signature */
    const unsigned char *at = der;
    X509 *bad = d2i_X509(NULL, &at, n);
    assert_non_null(bad);
    expect(p.root.cert, bad, NULL, DPS_CHAIN_REJECTED);
    expect(p.root.cert, weak.cert, NULL, DPS_CHAIN_REJECTED);
    X509_free(bad);
    OPENSSL_free(der);
    test_cert_free(&leaf);
    test_cert_free(&weak);
    free_pki(&p);
}

static void expect_cn(const test_cert_spec *spec, dps_cn_verdict verdict, const char *cn)
{
    char got[DPS_ID_LEN] = "";
    test_cert cert = test_cert_make(spec);
    assert_int_equal(dps_x509_common_name(cert.cert, got), verdict);
    if (cn != NULL)
        assert_string_equal(got, cn);
    test_cert_free(&cert);
}

static void test_common_name(void **state)
{
    (void)state;
    char long_name[65];
    memset(long_name, 'x', 64); /* the most that X.520 allows and OpenSSL writes */
    long_name[64] = '\0';
    expect_cn(&(test_cert_spec){.cn = "Dev-1"}, DPS_CN_OK, "Dev-1");
    expect_cn(&(test_cert_spec){.cn = long_name}, DPS_CN_OK, long_name);
    expect_cn(&(test_cert_spec){.cn = NULL}, DPS_CN_MISSING, NULL);
    expect_cn(&(test_cert_spec){.cn = "dev1", .second_cn = "dev2"}, DPS_CN_SEVERAL, NULL);
}

static void test_common_name_with_nul(void **state)
{
    (void)state;
    test_cert cert = test_cert_make(&(test_cert_spec){.cn = NULL});
    char got[DPS_ID_LEN];
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.cert), "CN", V_ASN1_UTF8STRING,
                                                (const unsigned char *)"dev1\0x", 6, -1, 0),
                     1);
    assert_int_equal(dps_x509_common_name(cert.cert, got), DPS_CN_INVALID);
    test_cert_free(&cert);
}

static void test_info(void **state)
{
    (void)state;
    pki p = make_pki();
    dps_cert_info info;
    assert_true(dps_cert_info_of(p.intermediate.cert, &info));
    assert_string_equal(info.subject, "CN=Intermediate");
    assert_string_equal(info.issuer, "CN=Root");
    assert_int_equal(info.version, 3);
    assert_int_equal(strlen(info.sha1), 40);
    assert_int_equal(strlen(info.sha256), 64);
    assert_int_equal(strspn(info.sha256, "0123456789ABCDEF"), 64);
    assert_int_equal(strlen(info.not_before), strlen("2024-01-01T00:00:00Z"));
    assert_int_equal(info.not_after[19], 'Z');
    assert_true(dps_x509_is_ca(p.root.cert));
    test_cert leaf = test_cert_make(&(test_cert_spec){.cn = "d\xc3\xa9v", .issuer = &p.root});
    assert_false(dps_x509_is_ca(leaf.cert));
    assert_true(dps_cert_info_of(leaf.cert, &info));
    assert_string_equal(info.subject, "CN=d\xc3\xa9v");
    test_cert_free(&leaf);
    free_pki(&p);
}

static void test_read_pem(void **state)
{
    (void)state;
    char dir[64], path[96];
    dps_fail fail;
    pki p = make_pki();
    test_dir_make(dir);
    snprintf(path, sizeof(path), "%s/a.pem", dir);
    test_cert_write(p.root.cert, path);
    X509 *read = dps_x509_read_pem(path, &fail);
    assert_non_null(read);
    assert_int_equal(X509_cmp(read, p.root.cert), 0);
    X509_free(read);
    assert_null(dps_x509_read_pem(dir, &fail)); /* a folder */
    snprintf(path, sizeof(path), "%s/b.pem", dir);
    assert_null(dps_x509_read_pem(path, &fail));
    assert_non_null(strstr(fail.text, "cannot read"));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
    fclose(file);
    assert_null(dps_x509_read_pem(path, &fail));
    assert_non_null(strstr(fail.text, "no readable PEM certificate"));
    test_dir_remove(dir);
    free_pki(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_nearest_anchor),
        cmocka_unit_test(test_unknown_ca),  cmocka_unit_test(test_validity),
        cmocka_unit_test(test_purpose),     cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_common_name), cmocka_unit_test(test_common_name_with_nul),
        cmocka_unit_test(test_info),        cmocka_unit_test(test_read_pem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
