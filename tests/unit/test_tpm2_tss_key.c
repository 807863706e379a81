/* Files of a TPM's keys: what programs write, what is refused, and what damage does. */
#include "support/kn_check.h"

#include "kn_alias.h"
#include "tpm2/tpm2_key.h"
#include "tpm2/tpm2_tss_key.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made by a TPM: EC P-256 below the owner hierarchy's storage key. */
static const char golden_hex[] =
    "3081f006066781050a0103a0030101ff020440000001045800560023000b00040472000000100010"
    "00030010002067bb6347ea5b7f5848a7d563c9828ecb2f40e471c76a12a38ecfc2c0883b7d1f0020"
    "0f225bf473f92adb6f2072c496f56371e3e5d9950a9ab1cb9890b2b1bae07cf8048180007e00205c"
    "e676812d0810f26b938116ee27988ffe00e0592e857c9fe27ba38ee01047f5001067908bb4f43877"
    "e117183712ab8acf7a98bb4f2ef4024a381c6940615ec21810f6fa73d5bb8da7e374b0676f255809"
    "4ec83005db50fb8f4f82788cc32b4d8ffa9c31b5be32d2cbab3b1449b3982ca5a648eec38007a49d"
    "a4c079";

static uint8_t *golden;
static long golden_length;

/* ---- DER by hand ---- */

typedef struct bytes {
    uint8_t data[1200];
    size_t length;
} bytes;

static void put(bytes *out, const void *data, size_t length)
{
    assert_true(out->length + length <= sizeof out->data);
    memcpy(out->data + out->length, data, length);
    out->length += length;
}

static void put_tlv(bytes *out, uint8_t tag, const void *data, size_t length)
{
    const uint8_t head[] = {tag, 0x82, (uint8_t)(length >> 8), (uint8_t)length}; /* BER: readers of DER take it from files, too */
    put(out, head, sizeof head);
    put(out, data, length);
}

static void put_explicit(bytes *out, uint8_t number, uint8_t tag, const void *data, size_t length)
{
    bytes inner = {.length = 0};
    put_tlv(&inner, tag, data, length);
    put_tlv(out, (uint8_t)(0xa0 | number), inner.data, inner.length);
}

#define OID(last) {0x67, 0x81, 0x05, 0x0a, 0x01, last}

static const uint8_t loadable[] = OID(3), importable[] = OID(4), sealed[] = OID(5);
static const uint8_t owner[] = {0x40, 0, 0, 1}, persistent[] = {0, 0x81, 0, 0, 1}, negative[] = {0x81, 0, 0, 1};
static const uint8_t endorsement[] = {0x40, 0, 0, 0x0b}, transient[] = {0, 0x80, 0, 0, 0}, wide[] = {1, 0x81, 0, 0, 1};
static const uint8_t private[] = {0, 4, 1, 2, 3, 4};

/* What TPM2B_PUBLIC of the golden key is. */
static bytes public_of_golden(void)
{
    bytes out = {.length = 0};
    put(&out, golden + 24, 88);
    return out;
}

typedef struct parts {
    const uint8_t *type;
    int empty_auth; /* -1: absent */
    int field;      /* one more, of this number; -1: none */
    uint8_t field_tag;
    const char *field_value;
    const uint8_t *parent;
    size_t parent_length;
} parts;

static bytes file_of(const parts *p, const bytes *public, const uint8_t *sealed_part, size_t sealed_length)
{
    bytes inner = {.length = 0}, out = {.length = 0};
    const uint8_t empty_auth = (uint8_t)p->empty_auth;
    put(&inner, (const uint8_t[]){6, 6}, 2);
    put(&inner, p->type, 6);
    if (p->empty_auth >= 0)
        put_explicit(&inner, 0, 1, &empty_auth, 1);
    if (p->field >= 0)
        put_explicit(&inner, (uint8_t)p->field, p->field_tag, p->field_value, strlen(p->field_value));
    put_tlv(&inner, 2, p->parent, p->parent_length);
    put_tlv(&inner, 4, public->data, public->length);
    put_tlv(&inner, 4, sealed_part, sealed_length);
    put_tlv(&out, 0x30, inner.data, inner.length);
    return out;
}

#define PLAIN    -1, 0, NULL /* no field more */
#define BELOW(p) p, sizeof p

/* Nothing is written when it is refused. */
static void refused(const uint8_t *der, size_t length, const char *detail)
{
    tpm2_tss_key key, before;
    memset(&key, 0x5a, sizeof key);
    before = key;
    assert_error(KN_E_TPM_FILE, tpm2_tss_key_parse(der, length, &key));
    assert_detail(detail);
    assert_memory_equal(&key, &before, sizeof key);
}

static int set_up(void **state)
{
    (void)state;
    golden = OPENSSL_hexstr2buf(golden_hex, &golden_length);
    return golden ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    OPENSSL_free(golden);
    return 0;
}

static void test_golden(void **state)
{
    tpm2_tss_key key;
    uint8_t *der = NULL;
    size_t length = 0;
    bytes public = public_of_golden();
    (void)state;
    assert_true(tpm2_tss_key_looks_like(golden, (size_t)golden_length));
    assert_ok(tpm2_tss_key_parse(golden, (size_t)golden_length, &key));
    assert_true(key.empty_auth);
    assert_int_equal(key.parent, TPM2_TSS_KEY_OWNER);
    assert_int_equal(key.private.size, 126);
    const TPMT_PUBLIC *area = &key.public.publicArea;
    assert_int_equal(area->type, TPM2_ALG_ECC);
    assert_int_equal(area->nameAlg, TPM2_ALG_SHA256);
    assert_int_equal(area->objectAttributes, 0x00040472);
    assert_int_equal(area->parameters.eccDetail.curveID, TPM2_ECC_NIST_P256);
    assert_int_equal(area->unique.ecc.x.size, 32);
    assert_memory_equal(area->unique.ecc.y.buffer, public.data + public.length - 32, 32);
    assert_ok(tpm2_tss_key_to_der(&key, public.data, public.length, &der, &length));
    assert_int_equal(length, golden_length);
    assert_memory_equal(der, golden, length);
    free(der);
}

static void test_variants(void **state)
{
    static const struct {
        parts parts;
        bool empty_auth;
        uint32_t parent;
    } rows[] = {
        {{loadable, 0xff, PLAIN, BELOW(owner)}, true, 0x40000001},
        {{loadable, 1, PLAIN, BELOW(owner)}, true, 0x40000001}, /* tpm2-openssl */
        {{loadable, 0, PLAIN, BELOW(owner)}, false, 0x40000001}, /* tpm2_encodeobject */
        {{loadable, -1, PLAIN, BELOW(owner)}, false, 0x40000001},
        {{loadable, 0xff, PLAIN, BELOW(persistent)}, true, 0x81000001},
        {{loadable, 0xff, PLAIN, BELOW(negative)}, true, 0x81000001}, /* tpm2-tss-engine */
        {{loadable, 0xff, 1, 0x30, "\x30\x02\x05\x01", BELOW(owner)}, true, 0x40000001},
        {{loadable, 0xff, 3, 0x30, "\x02\x01\x07", BELOW(owner)}, true, 0x40000001},
        {{loadable, 0xff, 4, 0x0c, "of the factory", BELOW(owner)}, true, 0x40000001},
    };
    bytes public = public_of_golden();
    tpm2_tss_key key;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bytes der = file_of(&rows[i].parts, &public, private, sizeof private);
        assert_true(tpm2_tss_key_looks_like(der.data, der.length));
        assert_ok(tpm2_tss_key_parse(der.data, der.length, &key));
        assert_int_equal(key.empty_auth, rows[i].empty_auth);
        assert_int_equal(key.parent, rows[i].parent);
        assert_int_equal(key.private.size, 4);
    }
}

static void test_refused(void **state)
{
    static const struct {
        parts parts;
        const char *detail;
    } rows[] = {
        {{importable, 0xff, PLAIN, BELOW(owner)}, "type 2.23.133.10.1.4"},
        {{sealed, 0xff, PLAIN, BELOW(owner)}, "type 2.23.133.10.1.5"},
        {{loadable, 0xff, 2, 4, "seed", BELOW(owner)}, "with a secret for its import"},
        {{loadable, 0xff, 4, 1, "\xff", BELOW(owner)}, "below an RSA primary key"},
        {{loadable, 0xff, 5, 1, "\xff", BELOW(owner)}, "below an RSA primary key"},
        {{loadable, 0xff, 6, 1, "\xff", BELOW(owner)}, "not the SEQUENCE"},
        {{loadable, 0xff, PLAIN, BELOW(endorsement)}, "parent is 0x4000000b"},
        {{loadable, 0xff, PLAIN, BELOW(transient)}, "parent is 0x80000000"},
        {{loadable, 0xff, PLAIN, BELOW(wide)}, "parent is no handle"},
    };
    bytes public = public_of_golden(), der;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        der = file_of(&rows[i].parts, &public, private, sizeof private);
        refused(der.data, der.length, rows[i].detail);
    }
    const parts good = {loadable, 0xff, PLAIN, BELOW(owner)};
    static const uint8_t none[] = {0, 0}, longer[] = {0, 3, 1, 2}, shorter[] = {0, 1, 1, 2};
    der = file_of(&good, &public, none, sizeof none);
    refused(der.data, der.length, "TPM2B_PRIVATE");
    der = file_of(&good, &public, longer, sizeof longer);
    refused(der.data, der.length, "TPM2B_PRIVATE");
    der = file_of(&good, &public, shorter, sizeof shorter);
    refused(der.data, der.length, "TPM2B_PRIVATE");
    public.data[3] = 0x08; /* KEYEDHASH */
    der = file_of(&good, &public, private, sizeof private);
    refused(der.data, der.length, "type 0x0008");
    refused(NULL, 0, "not the SEQUENCE");
}

static void test_rsa(void **state)
{
    static const uint8_t head[] = {0x01, 0x16, 0, 1, 0, 0x0b, 0, 4, 4, 0x72, 0, 0, 0, 0x10, 0, 0x14, 0, 0x0b, 8, 0, 0, 0, 0, 0, 1, 0};
    uint8_t modulus[256];
    const parts good = {loadable, 0xff, PLAIN, BELOW(owner)};
    bytes public = {.length = 0};
    tpm2_tss_key key;
    (void)state;
    memset(modulus, 0xc3, sizeof modulus);
    put(&public, head, sizeof head);
    put(&public, modulus, sizeof modulus);
    public.data[1] = (uint8_t)(public.length - 2);
    bytes der = file_of(&good, &public, private, sizeof private);
    assert_ok(tpm2_tss_key_parse(der.data, der.length, &key));
    const TPMT_PUBLIC *area = &key.public.publicArea;
    assert_int_equal(area->parameters.rsaDetail.scheme.scheme, TPM2_ALG_RSASSA);
    assert_int_equal(area->parameters.rsaDetail.scheme.details.rsassa.hashAlg, TPM2_ALG_SHA256);
    assert_int_equal(area->parameters.rsaDetail.keyBits, 2048);
    assert_int_equal(area->unique.rsa.size, 256);
    public.data[24] = 2; /* a modulus of 512 bytes, which is not there */
    der = file_of(&good, &public, private, sizeof private);
    refused(der.data, der.length, "cut off");
    public.data[24] = 0xff; /* more than there is room for */
    der = file_of(&good, &public, private, sizeof private);
    refused(der.data, der.length, "cut off");
}

/* Every truncation is refused, and every changed byte is refused or taken as what it says. In memory of the exact size, for the
 * sanitizers. */
static void test_damage(void **state)
{
    static const uint8_t masks[] = {0x01, 0x02, 0x10, 0x80, 0xff};
    size_t length = (size_t)golden_length, taken = 0;
    tpm2_tss_key key;
    (void)state;
    for (size_t n = 0; n < length; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, golden, n);
        refused(cut, n, "");
        (void)tpm2_tss_key_looks_like(cut, n);
        free(cut);
    }
    for (size_t at = 0; at < length; at++)
        for (size_t m = 0; m < COUNT_OF(masks); m++) {
            golden[at] ^= masks[m];
            taken += !kn_failed(tpm2_tss_key_parse(golden, length, &key));
            golden[at] ^= masks[m];
        }
    assert_true(taken > 5 * 126); /* the private part is the TPM's to judge */
    assert_true(taken < 5 * (126 + 64 + 32 + 14));
    uint8_t longer[400];
    memcpy(longer, golden, length);
    longer[length] = 0;
    refused(longer, length + 1, "1 bytes follow");
}

/* ---- as an alias ---- */

static void test_alias(void **state)
{
    kn_alias *alias = NULL, *again = NULL;
    uint8_t *der = NULL;
    size_t length = 0;
    (void)state;
    assert_true(kn_alias_looks_like_der(golden, (size_t)golden_length));
    assert_true(kn_alias_is_pem_begin("-----BEGIN TSS2 PRIVATE KEY-----\n"));
    assert_false(kn_alias_is_pem_begin("-----BEGIN TSS2 PRIVATE KEYS-----\n"));
    assert_ok(kn_alias_from_der(golden, (size_t)golden_length, &alias));
    assert_text(kn_alias_uri(alias), "tpm2:key=MIHw");
    assert_string_equal(kn_alias_public(alias)->alg->name, "EC:P-256");
    assert_ok(kn_alias_to_der(alias, &der, &length));
    assert_ok(kn_alias_from_der(der, length, &again));
    assert_string_equal(kn_alias_uri(again), kn_alias_uri(alias));
    assert_true(kn_public_equal(kn_alias_public(again), kn_alias_public(alias)));
    free(der);
    kn_alias_free(&again);
    kn_alias_free(&alias);
}

/* A key whose file is not the one that the alias was made of. */
static void test_changed(void **state)
{
    tpm2_state nothing = {.pin_source = NULL};
    kn_alias *alias = NULL;
    kn_public other;
    void *key = NULL;
    static const uint8_t generator[] = {
        4,    0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d,
        0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb,
        0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};
    (void)state;
    assert_ok(kn_alias_from_der(golden, (size_t)golden_length, &alias));
    assert_ok(kn_public_from_ec_point(kn_alg_by_name("EC:P-256"), generator, sizeof generator, &other));
    assert_error(KN_E_KEY_CHANGED, tpm2_key_open(&nothing, kn_alias_uri(alias), &other, &key, NULL));
    assert_null(key);
    assert_ok(tpm2_key_open(&nothing, kn_alias_uri(alias), kn_alias_public(alias), &key, NULL)); /* no TPM is asked */
    tpm2_key_free(key);
    kn_alias_free(&alias);
}

/* ---- Base64 and files ---- */

static void test_base64(void **state)
{
    tpm2_tss_key key;
    char *text = NULL, changed[400];
    (void)state;
    assert_ok(tpm2_tss_key_base64(golden, (size_t)golden_length, &text));
    assert_ok(tpm2_tss_key_from_base64(text, &key));
    size_t length = strlen(text);
    for (size_t cut = 0; cut < length; cut++) {
        (void)snprintf(changed, sizeof changed, "%.*s", (int)cut, text);
        assert_error(KN_E_TPM_FILE, tpm2_tss_key_from_base64(changed, &key));
    }
    (void)snprintf(changed, sizeof changed, " %s", text);
    assert_error(KN_E_TPM_FILE, tpm2_tss_key_from_base64(changed, &key));
    (void)snprintf(changed, sizeof changed, "%s\n", text);
    assert_error(KN_E_TPM_FILE, tpm2_tss_key_from_base64(changed, &key));
    (void)snprintf(changed, sizeof changed, "%s====", text);
    assert_error(KN_E_TPM_FILE, tpm2_tss_key_from_base64(changed, &key));
    free(text);
}

static char dir[] = "/tmp/kn-tss-key-XXXXXX", path[60];

static void write_file(const char *before, const char *label, const char *header, size_t padding)
{
    char *text = NULL;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_ok(tpm2_tss_key_base64(golden, (size_t)golden_length, &text));
    (void)fprintf(file, "%s-----BEGIN %s-----\n%s", before, label, header);
    for (size_t i = 0; i < strlen(text); i += 64)
        (void)fprintf(file, "%.64s\n", text + i);
    (void)fprintf(file, "-----END %s-----\n%*s", label, (int)padding, "");
    assert_int_equal(fclose(file), 0);
    free(text);
}

static void refused_file(kn_code code, const char *detail)
{
    tpm2_tss_key key;
    assert_error(code, tpm2_tss_key_read(path, &key));
    assert_detail(detail);
    assert_detail(path);
}

static void test_files(void **state)
{
    static const char other[] = "a text\n-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n";
    tpm2_tss_key key;
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/key.pem", dir);
    refused_file(KN_E_IO, "No such file");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_ok(tpm2_tss_key_write(fd, golden, (size_t)golden_length));
    assert_int_equal(close(fd), 0);
    assert_ok(tpm2_tss_key_read(path, &key));
    assert_int_equal(key.private.size, 126);
    write_file(other, "TSS2 PRIVATE KEY", "", 100);
    assert_ok(tpm2_tss_key_read(path, &key));
    write_file(other, "PRIVATE KEY", "", 0);
    refused_file(KN_E_TPM_FILE, "no block 'TSS2 PRIVATE KEY'");
    write_file("", "TSS2 PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n", 0);
    refused_file(KN_E_TPM_FILE, "headers");
    write_file("", "TSS2 PRIVATE KEY", "AAAA\n", 0);
    refused_file(KN_E_TPM_FILE, "not the SEQUENCE");
    write_file("", "TSS2 PRIVATE KEY", "", TPM2_TSS_KEY_FILE_MAX);
    refused_file(KN_E_TPM_FILE, "longer than");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused_file(KN_E_IO, "not a regular file");
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s", dir);
    refused_file(KN_E_IO, "not a regular file");
    assert_int_equal(rmdir(dir), 0);
    fd = open("/dev/full", O_WRONLY);
    assert_error(KN_E_IO, tpm2_tss_key_write(fd, golden, (size_t)golden_length));
    assert_detail("No space left");
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_variants), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rsa),    cmocka_unit_test(test_damage),   cmocka_unit_test(test_alias),
        cmocka_unit_test(test_changed), cmocka_unit_test(test_base64),  cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
