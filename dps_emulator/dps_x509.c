#include "dps_x509.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

struct dps_anchors {
    X509_STORE *store;
    STACK_OF(X509) * certs;
};

/* "CN=a, O=b": most specific first, as .NET and therefore the service spells it. */
static bool name_text(const X509_NAME *name, char *out, size_t cap)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL)
        return false;
    const unsigned long style = (ASN1_STRFLGS_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) |
                                XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_DN_REV | XN_FLAG_FN_SN |
                                XN_FLAG_DUMP_UNKNOWN_FIELDS;
    bool ok = X509_NAME_print_ex(bio, name, 0, style) >= 0;
    char *text = NULL;
    long n = BIO_get_mem_data(bio, &text);
    if (ok) {
        size_t len = n > 0 ? (size_t)n : 0;
        if (len > cap - 1) {
            len = cap - 1;
            while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) /* never cut inside a character */
                len--;
        }
        if (len > 0)
            memcpy(out, text, len);
        out[len] = '\0';
        /* A name may hold any bytes; what is not text must not reach JSON. */
        if (!dps_utf8_valid((const uint8_t *)out, len) || strlen(out) != len) {
            for (size_t i = 0; i < len; i++) {
                if (out[i] == '\0' || (unsigned char)out[i] >= 0x80)
                    out[i] = '?';
            }
        }
    }
    BIO_free(bio);
    return ok;
}

static bool time_text(const ASN1_TIME *at, char out[DPS_TIME_LEN])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(at, &tm) != 1)
        return false;
    return strftime(out, DPS_TIME_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm) != 0;
}

static bool thumbprint(const X509 *cert, const EVP_MD *md, char *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(cert, md, digest, &n) != 1)
        return false;
    dps_hex(digest, n, true, out);
    return true;
}

static bool serial_text(const ASN1_INTEGER *serial, char out[DPS_SERIAL_LEN])
{
    BIGNUM *bn = ASN1_INTEGER_to_BN(serial, NULL);
    char *hex = bn != NULL ? BN_bn2hex(bn) : NULL;
    if (hex != NULL)
        snprintf(out, DPS_SERIAL_LEN, "%s", hex);
    bool ok = hex != NULL;
    OPENSSL_free(hex);
    BN_free(bn);
    return ok;
}

bool dps_cert_info_of(X509 *cert, dps_cert_info *ret_info)
{
    dps_cert_info info = {.version = X509_get_version(cert) + 1};
    if (!name_text(X509_get_subject_name(cert), info.subject, sizeof(info.subject)) ||
        !name_text(X509_get_issuer_name(cert), info.issuer, sizeof(info.issuer)) ||
        !thumbprint(cert, EVP_sha1(), info.sha1) || !thumbprint(cert, EVP_sha256(), info.sha256) ||
        !serial_text(X509_get0_serialNumber(cert), info.serial) ||
        !time_text(X509_get0_notBefore(cert), info.not_before) ||
        !time_text(X509_get0_notAfter(cert), info.not_after)) {
        ERR_clear_error();
        return false;
    }
    *ret_info = info;
    return true;
}

X509 *dps_x509_read_pem(const char *path, dps_fail *fail)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        dps_fail_set(fail, DPS_EXIT_FAILED, "cannot read the certificate \"%s\": %s; check the path", path,
                     strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > DPS_PEM_MAX) {
        dps_fail_set(fail, DPS_EXIT_FAILED, "\"%s\" is not a certificate file (PEM, at most %d bytes)", path,
                     DPS_PEM_MAX);
        return NULL;
    }
    BIO *bio = BIO_new_file(path, "r");
    X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (cert == NULL) {
        ERR_clear_error();
        dps_fail_set(fail, DPS_EXIT_FAILED,
                     "\"%s\" holds no readable PEM certificate; convert DER with: openssl x509 -inform DER",
                     path);
    }
    return cert;
}

X509 *dps_x509_parse(const void *bytes, size_t len)
{
    if (len == 0 || len > DPS_PEM_MAX)
        return NULL;
    const unsigned char *der = bytes;
    X509 *cert = d2i_X509(NULL, &der, (long)len);
    if (cert != NULL && der != (const unsigned char *)bytes + len) { /* something follows it */
        X509_free(cert);
        cert = NULL;
    }
    if (cert == NULL) {
        BIO *bio = BIO_new_mem_buf(bytes, (int)len);
        cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
        BIO_free(bio);
    }
    ERR_clear_error();
    return cert;
}

bool dps_x509_is_ca(X509 *cert)
{
    /* 1: basicConstraints CA:TRUE and keyUsage, when present, allows keyCertSign. The other values that
     * X509_check_ca() knows are certificates of before RFC 5280. */
    return X509_check_ca(cert) == 1;
}

dps_cn_verdict dps_x509_common_name(X509 *cert, char ret_cn[DPS_ID_LEN])
{
    const X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0)
        return DPS_CN_MISSING;
    if (X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return DPS_CN_SEVERAL;
    unsigned char *text = NULL;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    bool ok = n > 0 && n <= DPS_ID_MAX && memchr(text, '\0', (size_t)n) == NULL;
    if (ok) {
        memcpy(ret_cn, text, (size_t)n);
        ret_cn[n] = '\0';
    }
    OPENSSL_free(text);
    ERR_clear_error();
    return ok ? DPS_CN_OK : DPS_CN_INVALID;
}

dps_anchors *dps_anchors_new(void)
{
    dps_anchors *anchors = calloc(1, sizeof(*anchors));
    if (anchors == NULL)
        return NULL;
    anchors->store = X509_STORE_new();
    anchors->certs = sk_X509_new_null();
    if (anchors->store == NULL || anchors->certs == NULL)
        dps_anchors_free(&anchors);
    return anchors;
}

void dps_anchors_free(dps_anchors **anchors)
{
    if (*anchors == NULL)
        return;
    X509_STORE_free((*anchors)->store);
    sk_X509_pop_free((*anchors)->certs, X509_free);
    free(*anchors);
    *anchors = NULL;
}

bool dps_anchors_add(dps_anchors *anchors, X509 *cert)
{
    if (X509_STORE_add_cert(anchors->store, cert) != 1 || X509_up_ref(cert) != 1)
        return false;
    if (sk_X509_push(anchors->certs, cert) <= 0) {
        X509_free(cert);
        return false;
    }
    return true;
}

static dps_chain_verdict verdict_of(int x509_error)
{
    switch (x509_error) { /* OpenSSL's numbers, not an enum of ours */
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
        return DPS_CHAIN_UNKNOWN_CA;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return DPS_CHAIN_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return DPS_CHAIN_NOT_YET_VALID;
    case X509_V_ERR_INVALID_PURPOSE:
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
        return DPS_CHAIN_WRONG_PURPOSE;
    case X509_V_ERR_OUT_OF_MEM:
    case X509_V_ERR_UNSPECIFIED:
        return DPS_CHAIN_FAILED;
    default:
        return DPS_CHAIN_REJECTED;
    }
}

/* The last certificate of a verified chain is the anchor that was used. */
static bool find_anchor(const dps_anchors *anchors, const STACK_OF(X509) * chain, size_t *ret_index)
{
    int last = sk_X509_num(chain) - 1;
    if (last < 1) /* the device's own certificate is the group's: nothing was signed by the group */
        return false;
    for (int i = 0; i < sk_X509_num(anchors->certs); i++) {
        if (X509_cmp(sk_X509_value(anchors->certs, i), sk_X509_value(chain, last)) == 0) {
            *ret_index = (size_t)i;
            return true;
        }
    }
    return false;
}

dps_chain_result dps_x509_verify(const dps_anchors *anchors, X509 *leaf, STACK_OF(X509) * untrusted)
{
    dps_chain_result result = {.verdict = DPS_CHAIN_FAILED, .x509_error = X509_V_ERR_OUT_OF_MEM};
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (ctx == NULL || X509_STORE_CTX_init(ctx, anchors->store, leaf, untrusted) != 1)
        goto out;
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(param, DPS_CHAIN_DEPTH_MAX);
    X509_VERIFY_PARAM_set_time(param, (time_t)(dps_time_served_ms() / 1000));
    X509_VERIFY_PARAM_set_auth_level(param, 2); /* 112 bits: RSA 2048, SHA-256, as the cloud asks */
    if (X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) != 1)
        goto out;
    bool verified = X509_verify_cert(ctx) == 1;
    result.x509_error = X509_STORE_CTX_get_error(ctx);
    result.depth = X509_STORE_CTX_get_error_depth(ctx);
    if (!verified)
        result.verdict = verdict_of(result.x509_error);
    else if (find_anchor(anchors, X509_STORE_CTX_get0_chain(ctx), &result.anchor))
        result.verdict = DPS_CHAIN_OK;
    else
        result.verdict = DPS_CHAIN_UNKNOWN_CA;
out:
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return result;
}

dps_chain_result dps_x509_check_leaf(X509 *leaf)
{
    dps_chain_result result = {.verdict = DPS_CHAIN_OK, .x509_error = X509_V_OK};
    time_t now = (time_t)(dps_time_served_ms() / 1000);
    if (X509_cmp_time(X509_get0_notBefore(leaf), &now) >= 0)
        result = (dps_chain_result){.verdict = DPS_CHAIN_NOT_YET_VALID, .x509_error = X509_V_ERR_CERT_NOT_YET_VALID};
    else if (X509_cmp_time(X509_get0_notAfter(leaf), &now) <= 0)
        result = (dps_chain_result){.verdict = DPS_CHAIN_EXPIRED, .x509_error = X509_V_ERR_CERT_HAS_EXPIRED};
    else if (X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1)
        result = (dps_chain_result){.verdict = DPS_CHAIN_WRONG_PURPOSE, .x509_error = X509_V_ERR_INVALID_PURPOSE};
    ERR_clear_error();
    return result;
}
