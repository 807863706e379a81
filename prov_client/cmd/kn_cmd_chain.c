#include "kn_cmd_chain.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 512 /* characters of a name or number that are shown */

bool kn_cmd_chain_parse(const char *pem, kn_cmd_chain *ret_chain)
{
    kn_cmd_chain chain = {.count = 0};
    X509 *cert = NULL;
    ERR_clear_error();
    BIO *in = BIO_new_mem_buf(pem, -1);
    while (in && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) && chain.count < KN_CMD_CHAIN_MAX)
        chain.cert[chain.count++] = cert;
    bool whole = !cert && chain.count && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    X509_free(cert); /* one too many */
    ERR_clear_error();
    BIO_free(in);
    if (whole)
        *ret_chain = chain;
    else
        kn_cmd_chain_free(&chain);
    return whole;
}

void kn_cmd_chain_free(kn_cmd_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        X509_free(chain->cert[i]);
    chain->count = 0;
}

static void name_text(const X509_NAME *name, char *ret_text, size_t size)
{
    BIO *out = BIO_new(BIO_s_mem());
    int length = 0;
    if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        length = BIO_read(out, ret_text, (int)size - 1);
    ret_text[length > 0 ? length : 0] = '\0';
    BIO_free(out);
}

void kn_cmd_subject(const X509 *cert, char *ret_text, size_t size)
{
    name_text(X509_get_subject_name(cert), ret_text, size);
}

void kn_cmd_time(const ASN1_TIME *time, char *ret_text, size_t size)
{
    struct tm tm;
    if (!ASN1_TIME_to_tm(time, &tm) || !strftime(ret_text, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
        (void)snprintf(ret_text, size, "?");
}

static void hexadecimal(const unsigned char *bytes, size_t length, char *ret_text)
{
    for (size_t i = 0; i < length; i++)
        (void)sprintf(ret_text + 2 * i, "%02X", bytes[i]);
}

typedef struct row {
    char subject[TEXT_MAX], issuer[TEXT_MAX], serial[TEXT_MAX], not_before[32], not_after[32];
    char sha1[2 * EVP_MAX_MD_SIZE + 1], sha256[2 * EVP_MAX_MD_SIZE + 1];
} row;

static void describe(const X509 *cert, row *r)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    memset(r, 0, sizeof *r);
    kn_cmd_subject(cert, r->subject, sizeof r->subject);
    name_text(X509_get_issuer_name(cert), r->issuer, sizeof r->issuer);
    kn_cmd_time(X509_get0_notBefore(cert), r->not_before, sizeof r->not_before);
    kn_cmd_time(X509_get0_notAfter(cert), r->not_after, sizeof r->not_after);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    size_t serial_length = (size_t)ASN1_STRING_length(serial);
    hexadecimal(ASN1_STRING_get0_data(serial), serial_length > 64 ? 64 : serial_length, r->serial);
    if (X509_digest(cert, EVP_sha1(), bytes, &length))
        hexadecimal(bytes, length, r->sha1);
    if (X509_digest(cert, EVP_sha256(), bytes, &length))
        hexadecimal(bytes, length, r->sha256);
}

void kn_cmd_chain_print(const kn_cmd_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        row r;
        describe(chain->cert[i], &r);
        printf("certificate %zu     %s\n", i + 1, r.subject);
        printf("  issuer          %s\n", r.issuer);
        printf("  serial number   %s\n", r.serial);
        printf("  valid           %s to %s\n", r.not_before, r.not_after);
        printf("  SHA-1           %s\n", r.sha1);
        printf("  SHA-256         %s\n", r.sha256);
    }
}

cJSON *kn_cmd_chain_json(const kn_cmd_chain *chain)
{
    cJSON *array = cJSON_CreateArray();
    bool good = array != NULL;
    for (size_t i = 0; good && i < chain->count; i++) {
        row r;
        describe(chain->cert[i], &r);
        cJSON *one = cJSON_CreateObject();
        good = one && kn_cmd_json_text(one, "subject", r.subject) && kn_cmd_json_text(one, "issuer", r.issuer) &&
               kn_cmd_json_text(one, "serialNumber", r.serial) && kn_cmd_json_text(one, "notBefore", r.not_before) &&
               kn_cmd_json_text(one, "notAfter", r.not_after) && kn_cmd_json_text(one, "sha1Thumbprint", r.sha1) &&
               kn_cmd_json_text(one, "sha256Thumbprint", r.sha256) && cJSON_AddItemToArray(array, one);
        if (!good)
            cJSON_Delete(one);
    }
    if (!good) {
        cJSON_Delete(array);
        return NULL;
    }
    return array;
}
