#include "tpm2_tss_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- TPM2B_PUBLIC ---- */

typedef struct reader {
    const uint8_t *at, *end;
    bool good;
} reader;

static uint32_t take_number(reader *r, size_t bytes)
{
    uint32_t n = 0;
    if ((size_t)(r->end - r->at) < bytes)
        r->good = false;
    for (size_t i = 0; r->good && i < bytes; i++)
        n = n << 8 | *r->at++;
    return n;
}

static UINT16 take_u16(reader *r)
{
    return (UINT16)take_number(r, 2);
}

/* A size of two bytes, at most @max, and what it counts. */
static void take_sized(reader *r, BYTE *ret_bytes, size_t max, UINT16 *ret_size)
{
    UINT16 size = take_u16(r);
    if (size > max || size > r->end - r->at)
        r->good = false;
    *ret_size = r->good ? size : 0;
    if (*ret_size) {
        memcpy(ret_bytes, r->at, size);
        r->at += size;
    }
}

static void take_symmetric(reader *r, TPMT_SYM_DEF_OBJECT *ret_symmetric)
{
    ret_symmetric->algorithm = take_u16(r);
    if (ret_symmetric->algorithm == TPM2_ALG_NULL)
        return;
    ret_symmetric->keyBits.sym = take_u16(r);
    ret_symmetric->mode.sym = take_u16(r);
}

static void take_rsa(reader *r, TPMT_PUBLIC *area)
{
    TPMS_RSA_PARMS *rsa = &area->parameters.rsaDetail;
    take_symmetric(r, &rsa->symmetric);
    rsa->scheme.scheme = take_u16(r);
    if (rsa->scheme.scheme != TPM2_ALG_NULL && rsa->scheme.scheme != TPM2_ALG_RSAES)
        rsa->scheme.details.anySig.hashAlg = take_u16(r);
    rsa->keyBits = take_u16(r);
    rsa->exponent = take_number(r, 4);
    take_sized(r, area->unique.rsa.buffer, sizeof area->unique.rsa.buffer, &area->unique.rsa.size);
}

static void take_ecc(reader *r, TPMT_PUBLIC *area)
{
    TPMS_ECC_PARMS *ecc = &area->parameters.eccDetail;
    TPMS_ECC_POINT *point = &area->unique.ecc;
    take_symmetric(r, &ecc->symmetric);
    ecc->scheme.scheme = take_u16(r);
    if (ecc->scheme.scheme != TPM2_ALG_NULL)
        ecc->scheme.details.anySig.hashAlg = take_u16(r);
    if (ecc->scheme.scheme == TPM2_ALG_ECDAA)
        ecc->scheme.details.ecdaa.count = take_u16(r);
    ecc->curveID = take_u16(r);
    ecc->kdf.scheme = take_u16(r);
    if (ecc->kdf.scheme != TPM2_ALG_NULL)
        ecc->kdf.details.mgf1.hashAlg = take_u16(r);
    take_sized(r, point->x.buffer, sizeof point->x.buffer, &point->x.size);
    take_sized(r, point->y.buffer, sizeof point->y.buffer, &point->y.size);
}

kn_err tpm2_tss_key_public(const uint8_t *bytes, size_t length, TPM2B_PUBLIC *ret_public)
{
    reader r = {bytes, bytes + length, true};
    TPM2B_PUBLIC public = {.size = 0};
    TPMT_PUBLIC *area = &public.publicArea;
    if (take_u16(&r) != r.end - r.at || !r.good)
        return kn_fail(KN_E_TPM_FILE, "the TPM2B_PUBLIC has not the length that it says");
    area->type = take_u16(&r);
    area->nameAlg = take_u16(&r);
    area->objectAttributes = take_number(&r, 4);
    take_sized(&r, area->authPolicy.buffer, sizeof area->authPolicy.buffer, &area->authPolicy.size);
    if (!r.good)
        return kn_fail(KN_E_TPM_FILE, "the TPM2B_PUBLIC is cut off");
    if (area->type == TPM2_ALG_RSA)
        take_rsa(&r, area);
    else if (area->type == TPM2_ALG_ECC)
        take_ecc(&r, area);
    else
        return kn_fail(KN_E_TPM_FILE, "an object of type 0x%04x, which is neither RSA nor ECC", area->type);
    if (!r.good || r.at != r.end)
        return kn_fail(KN_E_TPM_FILE, "the TPM2B_PUBLIC is cut off, or has bytes behind its end");
    *ret_public = public;
    return kn_success();
}

/* ---- the file ---- */

/* The [n] are EXPLICIT: ANY takes whatever is inside. */
typedef struct {
    ASN1_OBJECT *type;
    ASN1_BOOLEAN empty_auth; /* -1: absent */
    ASN1_TYPE *policy;
    ASN1_TYPE *secret;
    ASN1_TYPE *auth_policy;
    ASN1_TYPE *fourth;
    ASN1_TYPE *fifth;
    ASN1_INTEGER *parent;
    ASN1_OCTET_STRING *public;
    ASN1_OCTET_STRING *private;
} KN_TPMKEY;

DECLARE_ASN1_FUNCTIONS(KN_TPMKEY)
ASN1_SEQUENCE(KN_TPMKEY) = {
    ASN1_SIMPLE(KN_TPMKEY, type, ASN1_OBJECT),
    ASN1_EXP_OPT(KN_TPMKEY, empty_auth, ASN1_BOOLEAN, 0),
    ASN1_EXP_OPT(KN_TPMKEY, policy, ASN1_ANY, 1),
    ASN1_EXP_OPT(KN_TPMKEY, secret, ASN1_ANY, 2),
    ASN1_EXP_OPT(KN_TPMKEY, auth_policy, ASN1_ANY, 3),
    ASN1_EXP_OPT(KN_TPMKEY, fourth, ASN1_ANY, 4),
    ASN1_EXP_OPT(KN_TPMKEY, fifth, ASN1_ANY, 5),
    ASN1_SIMPLE(KN_TPMKEY, parent, ASN1_INTEGER),
    ASN1_SIMPLE(KN_TPMKEY, public, ASN1_OCTET_STRING),
    ASN1_SIMPLE(KN_TPMKEY, private, ASN1_OCTET_STRING),
} ASN1_SEQUENCE_END(KN_TPMKEY)
IMPLEMENT_ASN1_FUNCTIONS(KN_TPMKEY)

#define TYPE_LOADABLE "2.23.133.10.1.3"

static bool is_true(const ASN1_TYPE *field)
{
    return field && field->type == V_ASN1_BOOLEAN && field->value.boolean > 0;
}

static kn_err parent_of(const ASN1_INTEGER *number, uint32_t *ret_parent)
{
    int64_t value = 0;
    bool good = ASN1_INTEGER_get_int64(&value, number) == 1 && value >= INT32_MIN && value <= UINT32_MAX;
    uint32_t parent = (uint32_t)value;
    if (!good)
        return kn_fail(KN_E_TPM_FILE, "its parent is no handle");
    if (parent != TPM2_TSS_KEY_OWNER && (parent < 0x81000000u || parent > 0x81ffffffu))
        return kn_fail(KN_E_TPM_FILE, "its parent is 0x%08x; the owner hierarchy (0x40000001) and persistent handles are served", parent);
    *ret_parent = parent;
    return kn_success();
}

static kn_err private_of(const ASN1_OCTET_STRING *string, TPM2B_PRIVATE *ret_private)
{
    const uint8_t *bytes = ASN1_STRING_get0_data(string);
    size_t length = (size_t)ASN1_STRING_length(string);
    if (length < 3 || length - 2 > sizeof ret_private->buffer || (size_t)(bytes[0] << 8 | bytes[1]) != length - 2)
        return kn_fail(KN_E_TPM_FILE, "the TPM2B_PRIVATE has not the length that it says");
    ret_private->size = (UINT16)(length - 2);
    memcpy(ret_private->buffer, bytes + 2, length - 2);
    return kn_success();
}

static kn_err take(const KN_TPMKEY *asn1, tpm2_tss_key *key)
{
    char type[64] = "";
    (void)OBJ_obj2txt(type, sizeof type, asn1->type, 1);
    if (strcmp(type, TYPE_LOADABLE) != 0 || asn1->secret)
        return kn_fail(KN_E_TPM_FILE, "a TPMKey of type %s%s; loadable keys (" TYPE_LOADABLE ") are served", type,
                       asn1->secret ? " with a secret for its import" : "");
    if (is_true(asn1->fourth) || is_true(asn1->fifth))
        return kn_fail(KN_E_TPM_FILE, "a key below an RSA primary key, which is not served");
    key->empty_auth = asn1->empty_auth > 0;
    kn_err err = parent_of(asn1->parent, &key->parent);
    if (!kn_failed(err))
        err = tpm2_tss_key_public(ASN1_STRING_get0_data(asn1->public), (size_t)ASN1_STRING_length(asn1->public), &key->public);
    return kn_failed(err) ? err : private_of(asn1->private, &key->private);
}

kn_err tpm2_tss_key_parse(const uint8_t *der, size_t length, tpm2_tss_key *ret_key)
{
    const uint8_t *end = der;
    tpm2_tss_key key = {.parent = 0};
    kn_err err;
    ERR_set_mark();
    KN_TPMKEY *asn1 = d2i_KN_TPMKEY(NULL, &end, (long)length);
    if (!asn1)
        err = kn_fail(KN_E_TPM_FILE, "not the SEQUENCE of a TPMKey");
    else if (end != der + length)
        err = kn_fail(KN_E_TPM_FILE, "%zu bytes follow the SEQUENCE", (size_t)(der + length - end));
    else
        err = take(asn1, &key);
    KN_TPMKEY_free(asn1);
    ERR_pop_to_mark();
    if (!kn_failed(err))
        *ret_key = key;
    return err;
}

kn_err tpm2_tss_key_to_der(const tpm2_tss_key *key, const uint8_t *public, size_t public_length, uint8_t **ret_der, size_t *ret_length)
{
    const uint8_t size[] = {(uint8_t)(key->private.size >> 8), (uint8_t)key->private.size};
    uint8_t private[sizeof size + sizeof key->private.buffer], *made = NULL;
    int length = 0;
    memcpy(private, size, sizeof size);
    memcpy(private + sizeof size, key->private.buffer, key->private.size);
    KN_TPMKEY *asn1 = KN_TPMKEY_new();
    if (asn1) {
        ASN1_OBJECT_free(asn1->type);
        asn1->type = OBJ_txt2obj(TYPE_LOADABLE, 1);
        asn1->empty_auth = key->empty_auth ? 0xff : -1;
        if (asn1->type && ASN1_INTEGER_set_uint64(asn1->parent, key->parent) &&
            ASN1_OCTET_STRING_set(asn1->public, public, (int)public_length) &&
            ASN1_OCTET_STRING_set(asn1->private, private, (int)sizeof size + key->private.size))
            length = i2d_KN_TPMKEY(asn1, &made);
    }
    KN_TPMKEY_free(asn1);
    uint8_t *copy = length > 0 ? malloc((size_t)length) : NULL;
    if (copy) {
        memcpy(copy, made, (size_t)length);
        *ret_der = copy;
        *ret_length = (size_t)length;
    }
    OPENSSL_free(made);
    return copy ? kn_success() : kn_fail(KN_E_NO_MEMORY, "the DER of a TPM's key");
}

bool tpm2_tss_key_looks_like(const uint8_t *der, size_t length)
{
    static const uint8_t type[] = {0x06, 0x06, 0x67, 0x81, 0x05, 0x0a, 0x01}; /* 2.23.133.10.1, and one arc more */
    size_t header = length < 2 || der[0] != 0x30 ? 0 : der[1] < 0x80 ? 2 : 2 + (size_t)(der[1] & 0x7f);
    return header && length > header + sizeof type && !memcmp(der + header, type, sizeof type);
}

/* ---- PEM and Base64 ---- */

static kn_err parse_pem(const char *path, const char *text, size_t length, tpm2_tss_key *ret_key)
{
    kn_err err = kn_fail(KN_E_TPM_FILE, "%s has no block '" TPM2_TSS_KEY_PEM_LABEL "'", path);
    bool found = false;
    ERR_set_mark();
    BIO *bio = BIO_new_mem_buf(text, (int)length);
    if (!bio)
        err = kn_fail(KN_E_NO_MEMORY, "%s", path);
    while (bio && !found) {
        char *label = NULL, *header = NULL;
        uint8_t *der = NULL;
        long der_length = 0;
        if (!PEM_read_bio(bio, &label, &header, &der, &der_length))
            break;
        found = strcmp(label, TPM2_TSS_KEY_PEM_LABEL) == 0;
        if (found && *header)
            err = kn_fail(KN_E_TPM_FILE, "%s: the PEM block has headers, and such a key is never encrypted by OpenSSL", path);
        else if (found)
            err = tpm2_tss_key_parse(der, (size_t)der_length, ret_key);
        OPENSSL_free(label);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    BIO_free(bio);
    ERR_pop_to_mark();
    return found && kn_failed(err) ? kn_fail_within(err, "%s", path) : err;
}

kn_err tpm2_tss_key_read_fd(int fd, const char *path, tpm2_tss_key *ret_key)
{
    struct stat info;
    size_t length = 0;
    ssize_t got = 1;
    char *text = malloc(TPM2_TSS_KEY_FILE_MAX + 1);
    kn_err err = text ? kn_success() : kn_fail(KN_E_NO_MEMORY, "%s", path);
    if (!kn_failed(err) && (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)))
        err = kn_fail(KN_E_IO, "the key file %s is not a regular file", path);
    while (!kn_failed(err) && length <= TPM2_TSS_KEY_FILE_MAX &&
           (got = pread(fd, text + length, TPM2_TSS_KEY_FILE_MAX + 1 - length, (off_t)length)) > 0)
        length += (size_t)got;
    if (got < 0)
        err = kn_fail(KN_E_IO, "the key file %s: %s", path, strerror(errno));
    else if (length > TPM2_TSS_KEY_FILE_MAX)
        err = kn_fail(KN_E_TPM_FILE, "%s is longer than %d bytes", path, TPM2_TSS_KEY_FILE_MAX);
    if (!kn_failed(err))
        err = parse_pem(path, text, length, ret_key);
    free(text);
    return err;
}

kn_err tpm2_tss_key_read(const char *path, tpm2_tss_key *ret_key)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a pipe is refused and not waited for */
    if (fd < 0)
        return kn_fail(KN_E_IO, "the key file %s: %s", path, strerror(errno));
    kn_err err = tpm2_tss_key_read_fd(fd, path, ret_key);
    (void)close(fd);
    return err;
}

kn_err tpm2_tss_key_write(int fd, const uint8_t *der, size_t length)
{
    char *text = NULL;
    size_t done = 0;
    kn_err err = kn_success();
    BIO *bio = BIO_new(BIO_s_mem());
    long text_length = bio && PEM_write_bio(bio, TPM2_TSS_KEY_PEM_LABEL, "", der, (long)length) ? BIO_get_mem_data(bio, &text) : 0;
    if (text_length <= 0)
        err = kn_fail(KN_E_NO_MEMORY, "the PEM of a TPM's key");
    while (!kn_failed(err) && done < (size_t)text_length) {
        ssize_t wrote = write(fd, text + done, (size_t)text_length - done);
        if (wrote > 0)
            done += (size_t)wrote;
        else if (wrote == 0 || errno != EINTR)
            err = kn_fail(KN_E_IO, "writing: %s", wrote ? strerror(errno) : "nothing more is taken");
    }
    BIO_free(bio);
    return err;
}

kn_err tpm2_tss_key_base64(const uint8_t *der, size_t length, char **ret_text)
{
    char *text = length > INT32_MAX / 2 ? NULL : malloc(4 * ((length + 2) / 3) + 1);
    if (!text)
        return kn_fail(KN_E_NO_MEMORY, "the Base64 of a TPM's key");
    (void)EVP_EncodeBlock((unsigned char *)text, der, (int)length);
    *ret_text = text;
    return kn_success();
}

/* EVP_DecodeBlock() passes over white space and what stands behind '='; what does not come out again as the same text was not
 * Base64. */
kn_err tpm2_tss_key_from_base64(const char *text, tpm2_tss_key *ret_key)
{
    size_t length = strlen(text), pad = 0;
    char *again = NULL;
    uint8_t *der = length > TPM2_TSS_KEY_FILE_MAX ? NULL : malloc(length + 1);
    int made = der ? EVP_DecodeBlock(der, (const unsigned char *)text, (int)length) : -1;
    kn_err err = made < 0 ? kn_fail(KN_E_TPM_FILE, "not Base64") : kn_success();
    while (pad < 2 && pad < length && text[length - 1 - pad] == '=')
        pad++;
    if (!kn_failed(err) && (size_t)made < pad + 1)
        err = kn_fail(KN_E_TPM_FILE, "not Base64");
    if (!kn_failed(err))
        err = tpm2_tss_key_base64(der, (size_t)made - pad, &again);
    if (!kn_failed(err) && strcmp(again, text) != 0)
        err = kn_fail(KN_E_TPM_FILE, "not Base64 without line breaks");
    if (!kn_failed(err))
        err = tpm2_tss_key_parse(der, (size_t)made - pad, ret_key);
    free(again);
    free(der);
    return err;
}
