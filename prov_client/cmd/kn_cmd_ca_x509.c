#include "kn_cmd_ca_x509.h"

#include "kn_cmd_chain.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/store.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SERIAL_BYTES     20
#define EARLIER_S        300 /* clocks of devices differ */
#define SECONDS_OF_A_DAY 86400
#define RSA_BITS_MIN     2048
#define FILE_MAX         65536

static kn_exit no_memory(void)
{
    return kn_cmd_fail(KN_EXIT_FAILURE, "certificate", NULL, "out of memory");
}

/* What OpenSSL, or our provider behind it, has to say; the queue is empty afterwards. */
static kn_exit fail_openssl(kn_exit status, const char *what, const char *next)
{
    const char *data = NULL, *words = NULL;
    int flags = 0;
    unsigned long code, last = 0;
    char text[512] = "OpenSSL gives no reason";

    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        bool said = data && *data && (flags & ERR_TXT_STRING);

        if (last && !said)
            continue;
        words = ERR_reason_error_string(code);
        (void)snprintf(text, sizeof text, "%s%s%s", words ? words : "", words && said ? ": " : "", said ? data : "");
        last = code;
    }
    return kn_cmd_fail(status, what, next, "%s", text);
}

/* ---- keys ---- */

static int no_passphrase(char *buffer, int size, int rw, void *arg)
{
    (void)buffer, (void)size, (void)rw, (void)arg;
    return -1;
}

static EVP_PKEY *from_store(const char *uri)
{
    OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    EVP_PKEY *key = NULL;

    if (store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)) {
        while (!key && !OSSL_STORE_eof(store)) {
            OSSL_STORE_INFO *info = OSSL_STORE_load(store);

            if (info)
                key = OSSL_STORE_INFO_get1_PKEY(info);
            OSSL_STORE_INFO_free(info);
            if (!info && ERR_peek_error())
                break;
        }
    }
    (void)OSSL_STORE_close(store);
    return key;
}

kn_exit kn_ca_load_key(const char *reference, EVP_PKEY **ret_key)
{
    char *text = NULL;
    BIO *in = NULL;
    EVP_PKEY *key = NULL;
    kn_exit status = KN_EXIT_OK;

    ERR_clear_error();
    if (strncmp(reference, "pkcs11:", 7) == 0 || strncmp(reference, "tpm2:", 5) == 0) {
        key = from_store(reference);
    } else {
        if ((status = kn_cmd_read_text(reference, FILE_MAX, &text)))
            return status;
        in = BIO_new_mem_buf(text, -1);
        key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
        BIO_free(in);
        kn_cmd_wipe(&text);
    }
    if (!key)
        return fail_openssl(KN_EXIT_FAILURE, reference, "name a pkcs11: or tpm2: URI, or a PEM file with an alias, and see keynym key list");
    *ret_key = key;
    return KN_EXIT_OK;
}

/* NULL: the key's algorithm has a digest of its own. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
        return NULL;
    if (EVP_PKEY_is_a(key, "EC"))
        return bits > 384 ? EVP_sha512() : bits > 256 ? EVP_sha384() : EVP_sha256();
    return EVP_sha256();
}

/* ---- requests ---- */

X509_NAME *kn_ca_name(const char *name)
{
    X509_NAME *made = X509_NAME_new();

    if (made && !X509_NAME_add_entry_by_NID(made, NID_commonName, MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0)) {
        X509_NAME_free(made);
        made = NULL;
    }
    return made;
}

kn_exit kn_ca_request(EVP_PKEY *key, const char *name, X509_REQ **ret_request)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = kn_ca_name(name);
    kn_exit status = KN_EXIT_OK;

    if (!subject)
        status = kn_cmd_fail(KN_EXIT_USAGE, "--subject", "a common name has 1 to 64 characters", "'%.80s' is no common name", name);
    else if (!request || !X509_REQ_set_version(request, X509_REQ_VERSION_1) || !X509_REQ_set_subject_name(request, subject) ||
             !X509_REQ_set_pubkey(request, key))
        status = fail_openssl(KN_EXIT_FAILURE, "the request", NULL);
    else if (X509_REQ_sign(request, key, digest_for(key)) <= 0)
        status = fail_openssl(KN_EXIT_FAILURE, "the key does not sign", "keynym doctor looks at the token");
    X509_NAME_free(subject);
    if (status)
        X509_REQ_free(request);
    else
        *ret_request = request;
    ERR_clear_error();
    return status;
}

kn_exit kn_ca_read_request(const char *path, X509_REQ **ret_request)
{
    char *text = NULL;
    BIO *in;
    X509_REQ *request;
    EVP_PKEY *key;
    kn_exit status = kn_cmd_read_text(path, FILE_MAX, &text);

    if (status)
        return status;
    in = BIO_new_mem_buf(text, -1);
    request = in ? PEM_read_bio_X509_REQ(in, NULL, no_passphrase, NULL) : NULL;
    key = request ? X509_REQ_get0_pubkey(request) : NULL;
    if (!request || !key)
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "make one with keynym ca request, or openssl req", "holds no certificate request");
    else if (X509_REQ_verify(request, key) != 1)
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "make it anew", "the request is not signed with its own key");
    else if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) < RSA_BITS_MIN)
        status = kn_cmd_fail(KN_EXIT_USAGE, path, "use RSA with 2048 bits or more, or EC", "an RSA key of %d bits is too weak",
                             EVP_PKEY_get_bits(key));
    BIO_free(in);
    free(text);
    ERR_clear_error();
    if (status)
        X509_REQ_free(request);
    else
        *ret_request = request;
    return status;
}

/* ---- certificates ---- */

typedef struct extension {
    int nid;
    const char *value;
} extension;

static const extension extensions[][5] = {
    [KN_CA_ROOT] = {{NID_basic_constraints, "critical,CA:true"}, {NID_key_usage, "critical,keyCertSign,cRLSign"}},
    [KN_CA_INTERMEDIATE] = {{NID_basic_constraints, "critical,CA:true,pathlen:0"}, {NID_key_usage, "critical,keyCertSign,cRLSign"}},
    [KN_CA_DEVICE] = {{NID_basic_constraints, "critical,CA:false"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage, "clientAuth"}},
    [KN_CA_PROOF] = {{NID_basic_constraints, "critical,CA:false"}, {NID_key_usage, "critical,digitalSignature"}},
};

static bool add_extension(X509 *certificate, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    bool good = made && X509_add_ext(certificate, made, -1);

    X509_EXTENSION_free(made);
    return good;
}

static bool add_extensions(X509 *certificate, const X509 *issuer, kn_ca_profile profile)
{
    X509V3_CTX ctx;
    bool good = true;

    X509V3_set_ctx(&ctx, (X509 *)(uintptr_t)(issuer ? issuer : certificate), certificate, NULL, NULL, 0);
    for (const extension *one = extensions[profile]; good && one->value; one++)
        good = add_extension(certificate, &ctx, one->nid, one->value);
    good = good && add_extension(certificate, &ctx, NID_subject_key_identifier, "hash");
    return good && (!issuer || add_extension(certificate, &ctx, NID_authority_key_identifier, "keyid:always"));
}

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    BIGNUM *number;
    bool good;

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, and always as long */
    number = BN_bin2bn(bytes, sizeof bytes, NULL);
    good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return good;
}

static kn_exit check_issuer(const X509 *issuer, EVP_PKEY *key, unsigned days)
{
    char subject[200], end[32];
    time_t last = time(NULL) + (time_t)days * SECONDS_OF_A_DAY;

    kn_cmd_subject(issuer, subject, sizeof subject);
    kn_cmd_time(X509_get0_notAfter(issuer), end, sizeof end);
    if (!X509_check_ca((X509 *)(uintptr_t)issuer) || !(X509_get_key_usage((X509 *)(uintptr_t)issuer) & KU_KEY_CERT_SIGN))
        return kn_cmd_fail(KN_EXIT_USAGE, subject, "name the authority's certificate with --cert", "may not sign certificates");
    if (EVP_PKEY_eq(X509_get0_pubkey(issuer), key) != 1)
        return kn_cmd_fail(KN_EXIT_USAGE, subject, "name the key and the certificate of the same authority",
                           "the certificate is not that of the key");
    if (X509_cmp_time(X509_get0_notAfter(issuer), &last) < 0)
        return kn_cmd_fail(KN_EXIT_USAGE, subject, "choose fewer --days", "is valid until %s: the new certificate would outlive it", end);
    return KN_EXIT_OK;
}

/* A device's authority must be able to have devices below: OpenSSL would find that out only when a device connects. */
static kn_exit check_path(const X509 *issuer, kn_ca_profile profile)
{
    long allowed = X509_get_pathlen((X509 *)(uintptr_t)issuer);
    char subject[200];

    if (profile != KN_CA_INTERMEDIATE || allowed != 0)
        return KN_EXIT_OK;
    kn_cmd_subject(issuer, subject, sizeof subject);
    return kn_cmd_fail(KN_EXIT_USAGE, subject, "sign it with the root", "may have no authority below it (path length 0)");
}

kn_exit kn_ca_issue(kn_ca_profile profile, const X509_NAME *subject, EVP_PKEY *public, const X509 *issuer, EVP_PKEY *key,
                    unsigned days, X509 **ret_certificate)
{
    X509 *certificate;
    kn_exit status = issuer ? check_issuer(issuer, key, days) : KN_EXIT_OK;

    if (status == KN_EXIT_OK && issuer)
        status = check_path(issuer, profile);
    if (status)
        return status;
    certificate = X509_new();
    if (!certificate || !X509_set_version(certificate, X509_VERSION_3) || !set_serial(certificate) ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), -EARLIER_S) ||
        !X509_time_adj_ex(X509_getm_notAfter(certificate), (int)days, 0, NULL) || !X509_set_subject_name(certificate, subject) ||
        !X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject) ||
        !X509_set_pubkey(certificate, public) || !add_extensions(certificate, issuer, profile))
        status = ERR_peek_error() ? fail_openssl(KN_EXIT_FAILURE, "the certificate", NULL) : no_memory();
    else if (!X509_sign(certificate, key, digest_for(key)))
        status = fail_openssl(KN_EXIT_FAILURE, "the authority's key does not sign", "keynym doctor looks at the token");
    else if (X509_verify(certificate, key) != 1)
        status = fail_openssl(KN_EXIT_FAILURE, "the authority's key signs wrongly", "look at the token");
    if (status)
        X509_free(certificate);
    else
        *ret_certificate = certificate;
    ERR_clear_error();
    return status;
}
